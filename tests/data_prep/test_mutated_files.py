"""Files with bytes changed at random, from a fixed seed: read, or refused in one line; no traceback, no signal.

By hand, with thousands of each kind: `python tests/data_prep/test_mutated_files.py FOLDER TRIES [KIND ...]`.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from support.dicom_files import random_hu, save_slices, slices_of
from support.helpers import peak_mb

from data_prep.cache.case_file import is_whole, read_facts, write_case
from data_prep.cache.packed_slices import find_slices
from data_prep.dicom.seg_writer import write_dicom_seg
from data_prep.errors import InputError
from data_prep.volume import read_labels, read_volume

KINDS = ("nii", "nii.gz", "nrrd", "mha", "dicom", "seg", "h5")
TRIES = 40  # of each kind, in another process: a signal would end it
_WORDS = (b"-1", b"999999", b"1e308", b"nan", b"inf", b"0", b"x" * 70_000, b"\n\n", b": ", b"(1,0,0)", b"\xff\xff", b"")


def with_frame(data: Dataset, _: int) -> None:
    data.FrameOfReferenceUID, data.SeriesNumber = "1.2.3", 1


def sound(folder: Path, kind: str) -> tuple[Path, Path]:
    """Write a sound scan; return what is read, and the file to be changed."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = random_hu(4, 8, 8)
    path = folder / f"a.{kind}"
    if kind == "h5":
        write_case(path, hu, (hu > 0).astype(np.uint8), {"case": "a", "settings": "{}", "spacing_mm": (5.0, 2.0, 2.0)})
        return path, path
    if kind == "seg":
        save_slices(folder / "of", slices_of(hu, change=with_frame))
        labels, about = (hu > 0).astype(np.uint8), {"algorithm_name": "a", "algorithm_version": "1"}
        write_dicom_seg(labels, read_volume(folder / "of"), folder / "a.dcm", **about)
        return folder / "a.dcm", folder / "a.dcm"
    if kind == "dicom":
        save_slices(folder / "scan", slices_of(hu))
        return folder / "scan", sorted((folder / "scan").iterdir())[1]
    if "nii" in kind:
        nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-2.0, -2.0, 5.0, 1.0])), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(path))
    return path, path


def read_cache(path: Path) -> None:
    """Read a case's file of a cache in all ways; InputError if a slice cannot be read."""
    read_facts(path)
    whole = is_whole(path)
    slices = find_slices(path)
    for index in range(len(slices.places["image"])):
        image, label = slices.read(index)
        assert (image.dtype, label.dtype) == (np.int16, np.uint8) and image.shape == label.shape == slices.shape_yx
    assert whole in (True, False)


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


READERS = {"dicom": (read_volume,), "seg": (read_labels,), "h5": (read_cache,)}


def read_mutations(folder: Path, kind: str, tries: int) -> Counter:
    """Read the changed files as image and as labels; count the outcomes, and note the slowest in ms."""
    scan, file = sound(folder, kind)
    whole, rng, outcomes = file.read_bytes(), np.random.default_rng(KINDS.index(kind)), Counter()
    for _ in range(tries):
        file.write_bytes(mutated(whole, rng))
        for read in READERS.get(kind, (read_volume, read_labels)):
            began = time.process_time()
            try:
                if (volume := read(scan)) is not None:
                    assert volume.voxels.dtype in (np.int16, np.uint8) and volume.voxels.ndim == 3
                    assert np.isfinite([*volume.source.spacing, *volume.source.origin]).all()
                outcomes["read"] += 1
            except InputError as error:
                assert str(error).isprintable() and len(str(error)) < 1500, str(error)[:300]
                outcomes["refused"] += 1
            outcomes["ms"] = max(outcomes["ms"], int(1000 * (time.process_time() - began)))
    return outcomes


def test_changed_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(tmp_path), str(TRIES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    found = {line.split(": ")[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert found.pop("memory") < 2000 and found.keys() == set(KINDS) and min(found.values()) > TRIES / 4


if __name__ == "__main__":
    faulthandler.enable()
    for name in sys.argv[3:] or KINDS:
        faulthandler.dump_traceback_later(max(120, 5 * int(sys.argv[2])), exit=True)
        found = read_mutations(Path(sys.argv[1]), name, int(sys.argv[2]))
        print(f"{name}: {found['refused']} refused, {found['read']} read, slowest {found['ms']} ms", flush=True)
    print(f"memory: {peak_mb()} MB")
