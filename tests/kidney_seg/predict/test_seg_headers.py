"""Headers that make no DICOM SEG are found before the network runs, by everyone who writes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from support.dicom_files import random_hu, slices_of, without_identifiers

from data_prep.errors import InputError
from data_prep.geometry.volume import Volume
from data_prep.scans import Choice, find_one, read_scan
from data_prep.scans.scan import seg_notes
from kidney_seg.predict.outputs import outputs_beside
from kidney_seg.predict.scans import process_scan

FRAME = generate_uid(entropy_srcs=["frame"])


def no_instance(data: Dataset, k: int) -> None:
    if k == 3:
        data.SOPInstanceUID = ""
        data.file_meta.MediaStorageSOPInstanceUID = ""


def one_instance(data: Dataset, k: int) -> None:
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"


def no_frame(data: Dataset, k: int) -> None:
    del data.FrameOfReferenceUID


def two_frames(data: Dataset, k: int) -> None:
    data.FrameOfReferenceUID = f"1.2.{k % 2}"


BAD: dict[str, tuple[Callable[[Dataset, int], None], str]] = {
    "no instance": (no_instance, "1 of 6 slices have no SOPInstanceUID, which a DICOM SEG must refer to"),
    "one instance": (one_instance, "several slices have the same SOPInstanceUID"),
    "no frame": (no_frame, "6 of 6 slices have no FrameOfReferenceUID"),
    "two frames": (two_frames, "the slices have 2 values of FrameOfReferenceUID"),
}


def series(folder: Path, change: Callable[[Dataset, int], None] = lambda data, k: None) -> Path:
    def both(data: Dataset, k: int) -> None:
        data.FrameOfReferenceUID = FRAME
        change(data, k)

    slices = slices_of(random_hu(), change=both)
    folder.mkdir()
    for k, data in enumerate(slices):
        data.save_as(folder / f"{k}.dcm")
    return folder


class Network:
    """A `Segmenter` that counts how often it is asked, and labels nothing."""

    def __init__(self) -> None:
        self.asked = 0
        self.engine = "keras"
        self.made_by: dict[str, Any] = {"models": ["a"]}
        self.origin: dict[str, Any] = {}

    def segment(
        self, volume: Volume, with_percent: bool = False, watch: Any = iter
    ) -> tuple[np.ndarray, None, dict[str, Any]]:
        self.asked += 1
        return np.zeros(volume.voxels.shape, np.uint8), None, {"volumes_ml": {}, "kidneys": [], "flags": []}


@pytest.mark.parametrize("bad", BAD)
def test_predict_and_the_client_say_so_before_the_network_runs(tmp_path: Path, bad: str) -> None:
    change, words = BAD[bad]
    folder, network = series(tmp_path / "ct", change), Network()
    outputs = outputs_beside(tmp_path / "out" / "labels.nii.gz", dicom_seg=True)
    with pytest.raises(InputError, match=words) as caught:
        process_scan(network, find_one(folder, Choice(for_seg=True)), outputs)
    without_identifiers(str(caught.value))
    assert "without --dicom-seg" in caught.value.detail
    assert network.asked == 0 and not outputs.labels.exists()
    process_scan(network, find_one(folder), outputs_beside(outputs.labels))
    assert network.asked == 1 and outputs.labels.exists()


@pytest.mark.parametrize("bad", BAD)
def test_segment_and_the_page_note_it_before_the_network_runs(tmp_path: Path, bad: str) -> None:
    change, words = BAD[bad]
    (note,) = seg_notes(read_scan(find_one(series(tmp_path / "ct", change))))
    assert note.startswith("its labels cannot be saved as a DICOM SEG: ") and words in note
    assert seg_notes(read_scan(find_one(series(tmp_path / "sound")))) == ()


def test_values_that_are_emptied_are_noted_before_the_network_runs(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", lambda data, k: setattr(data, "PatientSex", "U"))
    lines: list[str] = []
    outputs = outputs_beside(tmp_path / "labels.nii.gz", dicom_seg=True)
    process_scan(Network(), find_one(folder, Choice(for_seg=True)), outputs, log=lines.append)
    assert "note: ct: a DICOM SEG cannot hold the series' PatientSex: left empty there" in lines
    assert outputs.seg is not None and outputs.seg.exists()
