"""Seconds and memory of building one case: `python -m benchmarks.build_cases [--quick]`.

Two yardsticks of "reading and decompressing alone" stand beside it, for the very same two files: inflating them by
Python's gzip, and `read_volume` with `read_labels`, which inflate faster, check, and bring into axial order.
Each figure is the median of several runs, in turns, after one that does not count. The peak of the memory is that of a
whole process that builds the case, interpreter and libraries included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

SIZE = 512
SLICES = (50, 200, 1059)  # 1059 is the longest scan of KiTS19
QUICK_SLICES = (20, 40)
SPACING_MM = (3.0, 0.78, 0.78)
GOAL_RATIO = 1.5  # for 200 slices
GOAL_MB = 1500

_PEAK = """
import json, resource, sys
from pathlib import Path
from data_prep.build import build
result = build(sys.argv[1], sys.argv[2])
status = Path("/proc/self/status")  # ru_maxrss also counts what the process was before it began Python
if status.exists():
    (kib,) = [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")]
else:
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(json.dumps({"made": result.made, "mb": kib * 1024 / 1e6}))
"""


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


def seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median time of each work, run in turns, after a first turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - begin)
    return {name: median(found) for name, found in times.items()}


def time_case(folder: Path, cache: Path, repeats: int) -> dict[str, float]:
    """Return the seconds of `inflate`, `read` and `build` of one case folder."""
    from data_prep.build_case import Built, build_case
    from data_prep.grid import DEFAULT_SETTINGS
    from data_prep.kits import find_cases
    from data_prep.volume import read_labels, read_volume

    (case,) = find_cases(folder)[0]
    cache.mkdir(exist_ok=True)

    def inflate() -> None:
        for path in (case.image, case.labels):
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass

    def read() -> None:
        read_volume(case.image)
        read_labels(case.labels)

    def build() -> None:
        (cache / f"{case.name}.h5").unlink(missing_ok=True)
        if not isinstance(build_case(case, cache, DEFAULT_SETTINGS), Built):
            raise RuntimeError("the case was not built")

    return seconds({"inflate": inflate, "read": read, "build": build}, repeats)


def peak_mb(folder: Path, cache: Path) -> float:
    """Return the peak memory, in MB, of a process that builds the case folder into a new cache."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(folder), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    if found["made"] != 1:
        raise RuntimeError("the case was not built")
    return found["mb"]


def main(argv: list[str] | None = None) -> int:
    """Print the table; see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build_cases", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small volumes, few runs: whether it runs at all")
    parser.add_argument("--repeats", type=int, help="runs of each (default: 7, with --quick 2)")
    options = parser.parse_args(argv)
    repeats = options.repeats or (2 if options.quick else 7)
    heads = ("slices", "gzip s", "read s", "build s", "/ read", "/ gzip", "peak MB")
    print(" ".join(f"{head:>8}" for head in heads))
    for slices in QUICK_SLICES if options.quick else SLICES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "case_00000"
            write_case(folder, slices)
            mb = peak_mb(folder, Path(scratch) / "fresh")
            found = time_case(folder, Path(scratch) / "cache", repeats)
        build_s = found["build"]
        times = (found["inflate"], found["read"], build_s, build_s / found["read"], build_s / found["inflate"])
        print(" ".join((f"{slices:>8}", *(f"{value:>8.2f}" for value in times), f"{mb:>8.0f}")), flush=True)
    print(f"goals: 200 slices in {GOAL_RATIO} times reading and decompressing alone; below {GOAL_MB} MB for 1059")
    return 0


if __name__ == "__main__":
    sys.exit(main())
