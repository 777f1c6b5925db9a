"""The formats of docs/explanation/geometry.md: every command takes the same formats, with the same result."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes
from support.dicom_files import save_slices, slices_of

from data_prep.build.builder import build
from data_prep.check.folder import check_folder
from data_prep.geometry.network_grid import GridSettings
from data_prep.volume import read_labels, read_volume, write_labels
from kidney_seg.evaluate.folders import score_folders

SHAPE = (20, 160, 180)  # of voxels of 2.5 x .8 x .7 mm


def patient() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:18, 80:120, 20:60], labels[3:17, 80:125, 115:155] = 1, 1
    labels[8:12, 85:95, 25:40] = 2
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 20:150, 5:175] = -90
    hu[labels == 1], hu[labels == 2] = 160, 80
    return hu + np.random.default_rng(0).integers(-9, 9, SHAPE).astype(np.int16), labels


def write_seg(path: Path, labels: np.ndarray, slices: list, kind: str) -> None:
    named = [
        hd.seg.SegmentDescription(number, name, codes.SCT.Organ, code, "MANUAL")
        for number, name, code in ((1, "Kidney", codes.SCT.Kidney), (2, "Tumor", codes.SCT.Neoplasm))
    ]
    hd.seg.Segmentation(slices, labels, kind, named, hd.UID(), 1, hd.UID(), 1, "A", "B", "1", "2").save_as(path)


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case folder for every format of the labels, each with the same DICOM series as its image."""
    root = tmp_path_factory.mktemp("truths")
    hu, labels = patient()

    def whole(data, k: int) -> None:
        data.StudyDate = data.StudyTime = data.StudyID = data.AccessionNumber = data.ReferringPhysicianName = ""
        data.PatientSex, data.FrameOfReferenceUID, data.PositionReferenceIndicator = "", "1.2.3", ""
        data.SeriesNumber, data.SliceThickness, data.Manufacturer = 1, 2.5, ""

    slices = slices_of(hu, change=whole)
    for ending in ("nii", "nii.gz", "nrrd", "mha", "dcm", "label_map.dcm"):
        folder = root / ending.replace(".", "_")
        save_slices(folder / "imaging", slices)
        if "dcm" in ending:
            write_seg(folder / "segmentation.dcm", labels, slices, "LABELMAP" if "map" in ending else "BINARY")
        else:
            write_labels(labels, read_volume(folder / "imaging").source, folder / f"segmentation.{ending}")
    return root


@pytest.mark.slow
def test_check_build_and_evaluate_take_the_same_label_files(truths: Path, tmp_path: Path) -> None:
    names = sorted(folder.name for folder in truths.iterdir())
    report = check_folder(truths)
    assert {one.code for one in report.findings} == {"same_image", "same_labels", "odd_matrix", "small_label"}
    kidney_ml = {name: report.facts[name]["kidney_ml"] for name in names}
    expected = np.count_nonzero(patient()[1]) * 2.5 * 0.8 * 0.7 / 1000
    assert kidney_ml == pytest.approx(dict.fromkeys(names, expected), rel=1e-3)
    built = build(truths, tmp_path / "cache", GridSettings(32))
    assert built.failures == []
    assert {entry.case: entry.kidney_ml for entry in built.manifest.entries} == pytest.approx(kidney_ml, rel=1e-3)
    truth = tmp_path / "nii"
    truth.symlink_to(truths / "nii")
    for name in names:
        (file,) = (truths / name).glob("segmentation.*")
        (row,) = score_folders(file, truths / "nii" / "segmentation.nii").rows
        assert (row["kidney_dice"], row["tumor_dice"]) == (1.0, 1.0)
        assert read_labels(file).voxels.shape == SHAPE
