"""Files with bytes changed at random, from a fixed seed: read, or refused in one line; no traceback, no signal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from support.dicom_files import random_hu, save_slices, slices_of

from data_prep.errors import InputError
from data_prep.volume import read_labels, read_volume

KINDS = ("nii", "nii.gz", "nrrd", "mha", "dicom")
TRIES = 40  # of each kind, in another process: a signal would end it
_WORDS = (b"-1", b"999999", b"1e308", b"nan", b"inf", b"0", b"x" * 70_000, b"\n\n", b": ", b"(1,0,0)", b"\xff\xff", b"")


def sound(folder: Path, kind: str) -> tuple[Path, Path]:
    """Write a sound scan; return what is read, and the file to be changed."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = random_hu(4, 8, 8)
    path = folder / f"a.{kind}"
    if kind == "dicom":
        save_slices(folder / "scan", slices_of(hu))
        return folder / "scan", sorted((folder / "scan").iterdir())[1]
    if "nii" in kind:
        nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-2.0, -2.0, 5.0, 1.0])), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(path))
    return path, path


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with up to four changes, most of them in its first kilobyte."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, min(len(changed), 1024 if rng.random() < 0.8 else len(changed)) or 1))
        how = rng.integers(0, 4)
        if how == 0 and changed:
            changed[place] ^= int(rng.integers(1, 256))
        elif how == 1:
            word = _WORDS[rng.integers(len(_WORDS))]
            changed[place : place + int(rng.integers(0, 12))] = word
        elif how == 2:
            del changed[place : place + int(rng.integers(1, 64))]
        elif rng.random() < 0.2:
            del changed[int(rng.integers(0, len(changed) + 1)) :]
    return bytes(changed)


def read_mutations(folder: Path, kind: str) -> Counter:
    """Read the changed files as image and as labels; count the outcomes."""
    scan, file = sound(folder, kind)
    whole, rng, outcomes = file.read_bytes(), np.random.default_rng(KINDS.index(kind)), Counter()
    for _ in range(TRIES):
        file.write_bytes(mutated(whole, rng))
        for read in (read_volume,) if kind == "dicom" else (read_volume, read_labels):
            try:
                volume = read(scan)
                assert volume.voxels.dtype in (np.int16, np.uint8) and volume.voxels.ndim == 3
                assert np.isfinite([*volume.source.spacing, *volume.source.origin]).all()
                outcomes["read"] += 1
            except InputError as error:
                assert str(error).isprintable() and len(str(error)) < 1500, str(error)[:300]
                outcomes["refused"] += 1
    return outcomes


def test_changed_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    found = {line.split(": ")[0]: int(line.split(": ")[1]) for line in done.stdout.splitlines()}
    assert found.keys() == set(KINDS) and min(found.values()) > TRIES / 4


if __name__ == "__main__":
    for name in KINDS:
        print(f"{name}: {read_mutations(Path(sys.argv[1]), name)['refused']}")
