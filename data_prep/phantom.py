"""Simulated patients in the KiTS layout: data to learn from where there are no real ones, and the demo's.

`python -m data_prep.phantom --out DIR` writes a cohort. Every patient follows from (seed, index) alone.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_prep.command import InputError, progress, run_command
from data_prep.files import read_json, replacing, write_json
from data_prep.phantom_build import EASY, HARD, draw_build
from data_prep.phantom_canvas import TISSUES, Canvas
from data_prep.phantom_kidneys import paint_cysts, paint_kidney, paint_tumor, tumor_size_ml
from data_prep.phantom_torso import paint_torso

GENERATOR = 2  # raise it whenever the same seed gives other voxels: cohorts of two generators must not mix
RECORD = "phantom.json"
IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"
SMALLEST_SIZE, SMALLEST_SLICES = 32, 8
# KiTS: an array index of (slice, row, column) runs toward the feet, the back and the left; in SimpleITK it is x, y, z
KITS_DIRECTION = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Phantom:
    """One simulated patient, [z, y, x] in LPS axial order: z up to the head, y to the back, x to the patient's left."""

    image: np.ndarray  # int16, HU
    labels: np.ndarray  # uint8: 0 background, 1 kidney (cysts too), 2 tumor
    tissues: np.ndarray  # uint8, index into phantom_canvas.TISSUES: what was painted last with half of the voxel
    spacing_mm: tuple[float, float, float]  # z, y, x
    facts: dict  # what was drawn: sizes, enhancement, contrast; plain numbers, strings and booleans


def places(index: int, seed: int) -> tuple[float, float]:
    """Return the patient's places (0..1, exclusive) in the cohort's orders of tumor size and of contrast.

    A sequence of low discrepancy (multiples of two irrational numbers) from a random start by seed: every run
    of patients has the spread of the whole distribution, small cohorts too, and still no patient depends on
    another.
    """
    start = np.random.default_rng([seed]).random(2)
    place = (start + (index + 1) * np.array([(5**0.5 - 1) / 2, 2**0.5 - 1])) % 1.0
    size, contrast = np.clip(place, 1e-6, 1 - 1e-6)
    return float(size), float(contrast)


def simulate_patient(index: int, seed: int = 0, size: int = 128, slices: int = 32, hard: bool = False) -> Phantom:
    """Return patient `index` of the cohort `seed` on `slices` x `size` x `size` voxels.

    The field of view is 333 to 486 mm, the slices cover 141 to 192 mm, whatever their numbers. Both kidneys
    and one tumor are always there. `hard`: contrast, place, noise and distractors as hard as KiTS; else most
    tumors stand out. Under 32 pixels or 8 slices raise InputError.
    """
    _refuse_small(size, slices)
    difficulty = HARD if hard else EASY
    rng = np.random.default_rng([seed, index])
    size_place, contrast_place = places(index, seed)
    build = draw_build(rng, difficulty)
    field_mm = float(np.clip(2 * build.half_width_mm * rng.uniform(1.03, 1.13), 333.0, 486.0))
    spacing_mm = (rng.uniform(4.4, 6.0) * 32 / slices, field_mm / size, field_mm / size)
    canvas = Canvas(rng, (slices, size, size), spacing_mm, warp_mm=rng.uniform(2.0, 4.0))
    paint_torso(canvas, build, difficulty)
    kidneys = [paint_kidney(canvas, build, side) for side in (-1.0, 1.0)]
    cysts = paint_cysts(canvas, kidneys, difficulty)
    target_ml = tumor_size_ml(size_place, difficulty.smallest_tumor_ml)
    drawn = paint_tumor(canvas, build, kidneys, target_ml, contrast_place, difficulty)
    noise_hu = rng.uniform(*difficulty.noise_hu)
    image = _with_noise(canvas, noise_hu)

    names = [TISSUES.index(name) for name in ("cortex", "medulla", "cyst")]
    labels = np.isin(canvas.tissue, names).astype(np.uint8)
    labels[drawn.pop("label")] = 2
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    facts = {
        "index": index, "seed": seed, "hard": hard, **drawn,
        "kidney_ml": float((labels == 1).sum() * voxel_ml),
        "tumor_ml": float((labels == 2).sum() * voxel_ml),
        "tumor_target_ml": target_ml, "cysts": cysts, "noise_hu": float(noise_hu), "phase": build.phase,
        "contrast_hu": float(image[labels == 1].mean() - image[labels == 2].mean()),
        "painted_hu": build.hu,
    }  # fmt: skip
    return Phantom(image, labels, canvas.tissue, tuple(float(mm) for mm in spacing_mm), facts)


def _refuse_small(size: int, slices: int) -> None:
    if size < SMALLEST_SIZE or slices < SMALLEST_SLICES:
        raise InputError(
            f"phantom: {slices} slices of {size} pixels are too few for kidneys;"
            f" give at least {SMALLEST_SLICES} slices of {SMALLEST_SIZE} pixels"
        )


def _with_noise(canvas: Canvas, noise_hu: float) -> np.ndarray:
    """Return the painted HU as int16 with noise that neighbors share, as a scanner's filter leaves it."""
    from scipy.ndimage import gaussian_filter

    # in millimeters, so that the grain does not grow with the voxels
    sigma = [0.35, *(max(1.9 / mm, 0.3) for mm in canvas.spacing_mm[1:])]
    noise = gaussian_filter(canvas.rng.standard_normal(canvas.shape_zyx, dtype=np.float32), sigma, mode="nearest")
    noise *= noise_hu / noise.std()
    texture = 2.5 * canvas.smooth_field(14.0)
    return np.clip(np.rint(canvas.hu + noise + texture), -1024, 3071).astype(np.int16)


def write_nifti(path: Path, voxels: np.ndarray, spacing_mm: Sequence[float]) -> None:
    """Write LPS axial voxels [z, y, x] with KiTS' axis order and affine (nibabel: (z, y, x), codes I, P, L)."""
    import SimpleITK as sitk

    # z is turned to run toward the feet, then the axes are reversed: SimpleITK's own order is x, y, z
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels[::-1].transpose(2, 1, 0)))
    image.SetSpacing([float(mm) for mm in spacing_mm])
    image.SetDirection(KITS_DIRECTION)
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)


def write_cohort(
    out: str | Path,
    cases: int = 40,
    size: int = 128,
    slices: int = 32,
    seed: int = 0,
    hard: bool = False,
    jobs: int = 1,
) -> list[Path]:
    """Write patients 0 .. cases - 1 to `out`/case_00000 and so on, and return their folders.

    Each holds imaging.nii.gz (int16 HU) and segmentation.nii.gz (uint8); `out`/phantom.json has the settings.
    Where the same cohort was begun, whole cases are kept and the missing ones are made. A folder with
    anything else in it, or with a cohort of other settings, raises InputError and is left as it is. `jobs`
    processes share the work; the files are the same.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    missing = missing_cases(out, cases, size, slices, seed, hard)
    folders = [Path(out) / _case_name(index) for index in range(cases)]
    if not missing:
        return folders
    write = partial(_write_patient, Path(out), seed, size, slices, hard)
    if jobs == 1:
        for index in progress(missing, "simulating patients"):
            write(index)
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            list(progress(pool.map(write, missing), "simulating patients", total=len(missing)))
    return folders


def _write_patient(out: Path, seed: int, size: int, slices: int, hard: bool, index: int) -> None:
    patient = simulate_patient(index, seed, size, slices, hard)
    write_nifti(out / _case_name(index) / IMAGE, patient.image, patient.spacing_mm)
    write_nifti(out / _case_name(index) / LABELS, patient.labels, patient.spacing_mm)


def missing_cases(
    out: str | Path, cases: int = 40, size: int = 128, slices: int = 32, seed: int = 0, hard: bool = False
) -> list[int]:
    """Return which patients of a cohort `out` lacks or has in part; `out` is the cohort's from then on.

    InputError where `write_cohort` raises it.
    """
    if cases < 1 or seed < 0:
        raise InputError(f"phantom: {cases} cases, seed {seed}; give at least 1 case and a seed of 0 or more")
    _refuse_small(size, slices)
    table = {"cases": cases, "size": size, "slices": slices, "seed": seed, "hard": hard}
    out = Path(out)
    _claim(out, {"generator": GENERATOR, **table}, {_case_name(index) for index in range(cases)})
    voxels = size * size * slices
    return [index for index in range(cases) if not _is_whole(out / _case_name(index), voxels)]


def _case_name(index: int) -> str:
    return f"case_{index:05d}"


def _claim(out: Path, settings: dict, names: set[str]) -> None:
    """Make `out` the folder of this cohort or raise InputError; first of all, so that two cohorts never mix."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: this is a file; give a folder for the simulated cohort")
    record = out / RECORD
    found = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    if record.name in found:
        there = read_json(record, "record of the simulated cohort")
        if there != settings:
            raise InputError(
                f"{out}: holds a simulated cohort of other settings ({_differences(there, settings)});"
                " give the same settings or another --out"
            )
    elif found:
        raise InputError(
            f"{out}: is not empty (found {sorted(found)[0]}) and has no {RECORD}; give a new or an empty folder"
        )
    strange = sorted(set(found) - names - {RECORD})
    if strange:
        raise InputError(f"{out}: holds {strange[0]}, which is not part of this cohort; move it away")
    if record.name not in found:
        try:
            write_json(record, settings)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{out}: a part of this path is a file; give another folder") from None


def _differences(there: object, settings: dict) -> str:
    if not isinstance(there, dict):
        return f"{RECORD} is not a table of settings"
    keys = [key for key in settings if there.get(key) != settings[key]] or sorted(set(there) - set(settings))
    return ", ".join(f"{key} {there.get(key)}, asked {settings.get(key)}" for key in keys)


def _is_whole(folder: Path, voxels: int) -> bool:
    """Whether both files of a case decompress to the end, checksum included, with every voxel (2 and 1 byte each)."""
    for name, bytes_per_voxel in ((IMAGE, 2), (LABELS, 1)):
        try:
            with gzip.open(folder / name) as file:
                length = len(file.read())
        except (OSError, EOFError, zlib.error):
            return False
        if length < voxels * bytes_per_voxel + 348:  # a NIfTI-1 header and the voxels
            return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Write a simulated cohort; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.phantom",
        description="Write a cohort of simulated patients in the KiTS layout (case_00000/imaging.nii.gz and"
        " segmentation.nii.gz). The same command again goes on with what is missing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write to: new, empty, or the same cohort"
    )
    parser.add_argument("--cases", type=int, default=40, metavar="N", help="number of patients")
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="pixels along each side of a slice")
    parser.add_argument("--slices", type=int, default=32, metavar="N", help="slices a patient")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same voxels")
    parser.add_argument("--hard", action="store_true", help="contrast, sizes and distractors as hard as KiTS")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    options = parser.parse_args(argv)

    def body() -> int:
        asked = (options.out, options.cases, options.size, options.slices, options.seed, options.hard)
        missing = missing_cases(*asked)
        folders = write_cohort(*asked, jobs=options.jobs)
        made = f"{len(missing)} made, {len(folders) - len(missing)} there already" if missing else "all there already"
        print(f"{options.out}: {len(folders)} simulated patients ({made})")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
