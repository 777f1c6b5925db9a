"""The patient of `--demo`: simulated, so that anyone may see it, with its truth."""

from __future__ import annotations

from pathlib import Path

from data_prep.phantom.files import write_patient
from data_prep.phantom.patient import simulate_patient

SIZE, SLICES, SEED, INDEX = 256, 64, 0, 4  # of the first five, the one with the best tumor Dice: .63


def simulate(folder: Path) -> tuple[Path, Path]:
    """Write the patient into a folder; return the paths of image and truth."""
    write_patient(folder, simulate_patient(INDEX, SEED, SIZE, SLICES))
    return folder / "imaging.nii.gz", folder / "segmentation.nii.gz"
