"""DICOM series of a made-up patient, written by pydicom, for tests."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

IDENTIFIERS = ("DOE", "JANE", "MRN-7734", "19610203", "ST-MARY", "1.2.826.0.1.3680043")  # none may leave the headers
SPACING_MM = (2.5, 0.8, 0.7)  # z, y, x

Change = Callable[[Dataset, int], None]


def slices_of(
    hu: np.ndarray,
    *,
    uid: str | None = None,
    axes: np.ndarray | None = None,
    change: Change | None = None,
) -> list[Dataset]:
    """Return the data sets of HU [z, y, x]; columns of `axes` are the directions (LPS) of x, y and z.

    `change` alters each data set, given its index.
    """
    axes = np.eye(3) if axes is None else axes
    uid = uid or generate_uid(entropy_srcs=["series"])
    made = []
    for k, plane in enumerate(hu):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(k)])
        data.SeriesInstanceUID = uid
        data.StudyInstanceUID = generate_uid(entropy_srcs=[uid])
        data.PatientName = "DOE^JANE"
        data.PatientID = "MRN-7734"
        data.PatientBirthDate = "19610203"
        data.InstitutionName = "ST-MARY"
        data.SeriesDescription = "abdomen of JANE"
        data.Modality = "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = len(hu) - k  # against the positions, as scanners may count
        data.ImagePositionPatient = [
            round(v, 6) for v in (np.array([-90.0, -120.5, 33.25]) + k * SPACING_MM[0] * axes[:, 2])
        ]
        data.ImageOrientationPatient = [round(v, 9) for v in (*axes[:, 0], *axes[:, 1])]
        data.PixelSpacing = [SPACING_MM[1], SPACING_MM[2]]
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel = 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit = 15
        data.PixelRepresentation = 0
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        data.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        data["PixelData"].VR = "OW"
        if change is not None:
            change(data, k)
        made.append(data)
    return made


def save_slices(folder: Path, slices: list[Dataset], prefix: str = "DOE_JANE") -> Path:
    """Write data sets under names in another order than their positions; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(0).permutation(len(slices))
    for name, data in zip(names, slices, strict=True):
        data.save_as(folder / f"{prefix}_{name:03d}.dcm", enforce_file_format=True)
    return folder


def write_study(folder: Path, hu: np.ndarray, number: int = 1, modality: str = "CT") -> Path:
    """Write a study of patient `number` as PACS export it; return the folder.

    Two series, thick without contrast agent (every second slice) and thin portal venous (HU [z, y, x]), in folders of
    their own; a scout; a report. The folder's name may hold the patient's, DOE^JANE and MRN-`number`.
    """
    uid = f"1.2.826.0.1.3680043.10.99.{number}"

    def of(series: int, description: str, scout: bool = False) -> Change:
        def change(data: Dataset, k: int) -> None:
            data.StudyInstanceUID, data.PatientID = uid, f"MRN-{number:04d}"
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{series}.{k + 1}"
            data.FrameOfReferenceUID, data.SeriesDescription = f"{uid}.9", description
            if modality != "CT":
                data.Modality = modality
                data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
            if scout:
                data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            if series == 2:
                data.ImagePositionPatient = [*data.ImagePositionPatient[:2], 33.25 + 2 * k * SPACING_MM[0]]

        return change

    series = {1: (hu[:1], "scout", True), 2: (hu[::2], "abd native 5.0"), 3: (hu, "abd portal venous 2.5")}
    for key, (voxels, *about) in series.items():
        save_slices(folder / f"SE{key}", slices_of(voxels, uid=f"{uid}.{key}", change=of(key, *about)), f"IM{key}")
    report = slices_of(hu[:1], uid=f"{uid}.4", change=of(4, "report"))[0]
    report.Modality = "SR"
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = BasicTextSRStorage
    save_slices(folder / "SE4", [report], "SR")
    return folder


def zipped(folder: Path, path: Path) -> Path:
    """Move a folder into a zip file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def random_hu(slices: int = 6, rows: int = 9, columns: int = 7) -> np.ndarray:
    """Return noise of CT's range, int16 [z, y, x]."""
    return np.random.default_rng(1).integers(-1000, 2000, (slices, rows, columns)).astype(np.int16)


def without_identifiers(text: str) -> str:
    """Return the text, which must hold nothing of the made-up patient."""
    assert not [word for word in IDENTIFIERS if word in text], text
    return text
