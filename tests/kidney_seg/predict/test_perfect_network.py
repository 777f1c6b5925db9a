"""The whole path with a network that answers with the truth, as soft labels on its grid: nothing may be lost."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.dicom_files import SPACING_MM, save_slices, slices_of

from data_prep.geometry.network_grid import GridSettings, shares_to_network
from data_prep.scans import Scan
from data_prep.volume import read_labels, read_volume
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_file import ModelSource
from kidney_seg.predict.engines import Job
from kidney_seg.predict.outputs import outputs_beside
from kidney_seg.predict.predictor import Predictor
from kidney_seg.predict.scans import process_scan

# of the 126: the lowest Dice of kidney, and oblong slices (benchmarks.label_round_trip has the others, without the
# files and the rule)
MAPS = ("case_00154", "case_00160")


def oracle_job(truth: np.ndarray, spacing_mm: tuple[float, float, float]) -> Job:
    """Return a job whose network answers with the truth [z, y, x], batch after batch."""
    settings, place = GridSettings(256), 0

    def forward(batch: np.ndarray) -> np.ndarray:
        nonlocal place
        place += len(batch)
        return shares_to_network(truth[place - len(batch) : place], spacing_mm, settings)

    job = Job((ModelSource(Path("oracle"), "", Config(), settings),), Config().prediction)
    job.__dict__["_predictor"] = Predictor(forward, 256, 1, 3, 16)
    return job


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def keeps(path: Path, folder: Path) -> tuple[float, float]:
    """Predict a label file as if it were a CT; return Dice of kidney and tumor against itself, by nibabel."""
    volume = read_labels(path)
    folder.mkdir()
    outputs = outputs_beside(folder / "labels.nii.gz")
    process_scan(oracle_job(volume.voxels, volume.spacing_mm), Scan("case", path), outputs)
    truth, made = nib.load(path), nib.load(outputs.labels)
    assert made.shape == truth.shape
    np.testing.assert_allclose(made.affine, truth.affine, atol=1e-4)
    assert nib.aff2axcodes(made.affine) == nib.aff2axcodes(truth.affine) == ("I", "P", "L")
    a, b = np.asarray(made.dataobj), np.asarray(truth.dataobj)
    return dice(a > 0, b > 0), dice(a == 2, b == 2)


@pytest.mark.slow
def test_real_label_maps(shared_data, tmp_path):
    maps = shared_data / "kits19_labels"
    rows = np.array([keeps(maps / name / "segmentation.nii.gz", tmp_path / name) for name in MAPS])
    kidney, tumor = rows.mean(axis=0)
    assert kidney >= 0.995 and tumor >= 0.99, rows


def test_a_dicom_series(shared_data, tmp_path):
    volume = read_labels(shared_data / "kits19_labels" / "case_00004" / "segmentation.nii.gz")
    truth = volume.voxels[volume.voxels.any(axis=(1, 2))]  # all of them: of a kidney cut to pieces the rule takes some
    turned = np.diag([-1.0, 1.0, -1.0])  # feet first
    folder = save_slices(tmp_path / "series", slices_of(truth.astype(np.int16)[::-1, :, ::-1], axes=turned))
    image = read_volume(folder)
    np.testing.assert_array_equal(image.voxels, truth)
    outputs = outputs_beside(tmp_path / "labels.nii.gz")
    process_scan(oracle_job(truth, image.spacing_mm), Scan("case", folder), outputs)
    made = read_labels(outputs.labels)
    assert made.spacing_mm == pytest.approx(SPACING_MM)
    assert made.source.size == image.source.size
    np.testing.assert_allclose(made.source.origin, image.source.origin, atol=1e-4)
    np.testing.assert_allclose(made.source.direction, image.source.direction, atol=1e-6)
    assert dice(made.voxels > 0, truth > 0) >= 0.995 and dice(made.voxels == 2, truth == 2) >= 0.99
