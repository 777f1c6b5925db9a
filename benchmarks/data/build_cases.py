"""Seconds and memory of building one case: `python -m benchmarks.data.build_cases [--quick]`."""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.rows import Row, table, time_row

WORK = (
    "a case of 512 x 512 pixels; two yardsticks of reading and decompressing alone, of the very same two files: "
    "`gzip`, which inflates them by Python's gzip, and `read`, by `read_volume` with `read_labels`, which inflates "
    "faster, checks, and brings into axial order"
)
SIZE = 512
SLICES = (50, 200, 1059)  # 1059 is the longest scan of KiTS19
QUICK_SLICES = (20, 40)
SPACING_MM = (3.0, 0.78, 0.78)
TURNS = 7
GOALS = {200: "<= 1.5"}  # times as long as reading
GOALS_MB = {1059: "<= 1500"}


def write_case(folder: Path, slices: int, seed: int = 0) -> None:
    """Write a case of SIZE x SIZE x `slices` that packs like a CT: a smooth body with organs, noise of 12 HU, air.

    imaging.nii.gz is int16 HU, segmentation.nii.gz uint8 with two kidneys and a tumor in the middle third.
    """
    import SimpleITK as sitk

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
    body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    labels = np.zeros((slices, SIZE, SIZE), np.uint8)
    image = np.empty(labels.shape, np.int16)
    for k in range(slices):
        extent = 1 - ((k - slices / 2) / (slices / 6)) ** 2  # of the kidneys in this slice
        if extent > 0:
            for side in (-1, 1):
                labels[k][((x - 0.4 * side) / 0.13) ** 2 + ((y - 0.2) / 0.16) ** 2 < extent] = 1
            labels[k][((x - 0.5) / 0.06) ** 2 + ((y - 0.2) / 0.06) ** 2 < extent] = 2
        organs = 40 + 30 * np.sin(6 * x + k / 30) * np.cos(7 * y)
        hu = np.where(body, organs + 120 * (labels[k] == 1) + 60 * (labels[k] == 2), np.float32(-1000))
        image[k] = np.rint(hu + rng.normal(0, 12, hu.shape)).clip(-1024, 3000)
    folder.mkdir(parents=True)
    for name, voxels in (("imaging", image), ("segmentation", labels)):
        volume = sitk.GetImageFromArray(voxels)
        volume.SetSpacing(SPACING_MM[::-1])
        sitk.WriteImage(volume, str(folder / f"{name}.nii.gz"), useCompression=True)


def inflating(case: str) -> Callable[[], object]:
    """Return the inflation of a case folder's two files, to nowhere."""
    paths = sorted(Path(case).glob("*.nii.gz"))

    def work() -> None:
        for path in paths:
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass

    return work


def reading(case: str) -> Callable[[], object]:
    """Return the reading of a case folder's image and labels."""
    from data_prep.volume import read_labels, read_volume

    def work() -> None:
        read_volume(Path(case) / "imaging.nii.gz")
        read_labels(Path(case) / "segmentation.nii.gz")

    return work


def building(case: str, cache: str) -> Callable[[], object]:
    """Return the building of a case folder's file, anew."""
    from data_prep.build.case import Built, Task, build_case
    from data_prep.datasets.kits import find_cases
    from data_prep.geometry.network_grid import DEFAULT_SETTINGS

    (found,) = find_cases(case)[0]
    folder = Path(cache)
    folder.mkdir()

    def work() -> None:
        (folder / f"{found.name}.h5").unlink(missing_ok=True)
        if not isinstance(build_case(Task(found, folder, DEFAULT_SETTINGS)), Built):
            raise RuntimeError("the case was not built")

    return work


def rows(quick: bool, turns: int | None = None) -> Iterator[Row]:
    """Yield seconds by number of slices, beside both yardsticks, and the memory of a process that builds."""
    for slices in QUICK_SLICES if quick else SLICES:
        with tempfile.TemporaryDirectory() as scratch:
            case = Path(scratch) / "case_00000"
            write_case(case, slices)
            ours = "benchmarks.data.build_cases"
            arms = {
                "gzip": Arm(f"{ours}:inflating", {"case": str(case)}),
                "read": Arm(f"{ours}:reading", {"case": str(case)}),
                "build": Arm(f"{ours}:building", {"case": str(case), "cache": f"{scratch}/cache"}),
            }
            found = in_turn(arms, turns or (2 if quick else TURNS), warm_up=1)
        what = f"case of {slices} slices"
        yield time_row(f"{what}: gzip", found["gzip"])
        yield time_row(f"{what}: read", found["read"])
        yield time_row(f"{what}: build", found["build"], yardstick=("read", found["read"]), goal=GOALS.get(slices, ""))
        yield time_row(f"{what}: build, beside gzip", found["build"], yardstick=("gzip", found["gzip"]))
        yield Row(f"{what}: build, memory", found["build"].peak_mb, "MB", goal=GOALS_MB.get(slices, ""))


def main(argv: list[str] | None = None) -> int:
    """Print the table; see the module's first line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data.build_cases", description=f"Build one case: {WORK}."
    )
    parser.add_argument("--quick", action="store_true", help="small volumes, few runs: whether it runs at all")
    parser.add_argument("--repeats", type=int, help=f"runs of each (default: {TURNS}, with --quick 2)")
    options = parser.parse_args(argv)
    print(table(rows(options.quick, options.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
