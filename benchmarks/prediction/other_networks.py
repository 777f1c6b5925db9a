"""A scan by `predict starter`, and by the networks that a user would take instead, on the same cores.

The networks are nnU-Net's for KiTS23, as its planner makes them, and one of TotalSegmentator's size on voxels of 3 mm.
They have random weights, which cost the same. One window is timed and counts as often as nnU-Net's sliding window takes
it: windows overlap by half. Left out are their flipped windows (4 or 8 times as many), and reading, resampling and
writing. The time of `starter` is that of its command: from the start of the program to labels on the disk.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.support.arms import Arm, Timing, in_turn
from benchmarks.support.rows import Row, time_row

WORK = "a scan of 512 x 512 x 216 voxels of 0.78 x 0.78 x 3 mm; memory of one window"
NEEDS = ("torch", "dynamic_network_architectures")
SPACING_MM = (3.0, 0.78125, 0.78125)
SHAPE, QUICK_SHAPE = (216, 512, 512), (24, 64, 64)
ENLARGED = (3, 2, 2)  # times the simulated patient
TURNS = 3
OVERLAP = 0.5
OURS = "starter, whole command"


@dataclass(frozen=True)
class Network:
    """A network of nnU-Net's: its window in pixels, the spacing that it works at, features by stage, and outputs."""

    window: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    features: tuple[int, ...]
    outputs: int

    def windows(self, shape: tuple[int, ...]) -> int:
        """Return how many windows cover a scan of SPACING_MM; one of two dimensions covers it slice by slice.

        >>> NETWORKS["nnU-Net, 2-D"].windows((216, 512, 512)), NETWORKS["nnU-Net, 3-D"].windows((216, 512, 512))
        (216, 490)
        """
        dims = len(self.window)
        count = 1 if dims == 3 else shape[0]
        for edge, window, old, new in zip(shape[-dims:], self.window, SPACING_MM[-dims:], self.spacing_mm, strict=True):
            length = max(round(edge * old / new), window)
            count *= math.ceil((length - window) / (window * OVERLAP)) + 1
        return count


NETWORKS = {  # github.com/MIC-DKFZ/nnUNet/issues/2227 gives the plans of KiTS23
    "nnU-Net, 2-D": Network((512, 512), (0.78125, 0.78125), (32, 64, 128, 256, 512, 512, 512, 512), 4),
    "nnU-Net, 3-D": Network((128, 128, 128), (1.0, 0.78125, 0.78125), (32, 64, 128, 256, 320, 320), 4),
    "TotalSegmentator's size, 3 mm": Network((112, 112, 128), (3.0, 3.0, 3.0), (32, 64, 128, 256, 320), 118),
}
TINY_NETWORK = Network((32, 32), (0.78125, 0.78125), (4, 8), 4)


def one_window(window: list[int], features: list[int], outputs: int) -> Callable[[], object]:
    """Return a function that computes one window: two convolutions a stage, as nnU-Net's default network has."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    dims, stages = len(window), len(features)
    layer = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims]
    norm = {2: torch.nn.InstanceNorm2d, 3: torch.nn.InstanceNorm3d}[dims]
    network = PlainConvUNet(
        1,
        stages,
        features,
        layer,
        3,
        [1] + [2] * (stages - 1),
        2,
        outputs,
        2,
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    image = torch.randn(1, 1, *window)

    def work() -> None:
        with torch.inference_mode():
            network(image)

    return work


def whole_command(folder: str) -> Callable[[], object]:
    """Return a function that segments `folder`/scan.nii.gz with the command."""
    words = ["-m", "kidney_seg.predict", "starter", f"{folder}/scan.nii.gz", "--out", f"{folder}/labels.nii.gz"]

    def work() -> None:
        subprocess.run([sys.executable, *words, "--force"], check=True, capture_output=True)

    return work


def write_scan(path: Path, shape: tuple[int, ...]) -> None:
    """Write a simulated patient, enlarged to a shape."""
    import numpy as np
    import SimpleITK as sitk

    from data_prep.phantom.cohort import write_cohort
    from data_prep.volume import read_volume

    with tempfile.TemporaryDirectory() as folder:
        small = [edge // times for edge, times in zip(shape, ENLARGED, strict=True)]
        (case,) = write_cohort(folder, 1, size=small[1], slices=small[0], hard=True)
        voxels = read_volume(case / "imaging.nii.gz").voxels
    for axis, times in enumerate(ENLARGED):
        voxels = voxels.repeat(times, axis)
    image = sitk.GetImageFromArray(voxels.astype(np.int16))
    image.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(image, str(path), useCompression=True)


def rows(quick: bool) -> Iterator[Row]:
    """Yield seconds a scan of each network, and how many times as long as `starter` it takes."""
    shape, networks = (QUICK_SHAPE, {"tiny": TINY_NETWORK}) if quick else (SHAPE, NETWORKS)
    with tempfile.TemporaryDirectory() as folder:
        write_scan(Path(folder) / "scan.nii.gz", shape)
        here = "benchmarks.prediction.other_networks"
        arms = {OURS: Arm(f"{here}:whole_command", {"folder": folder})}
        for name, one in networks.items():
            work = {"window": one.window, "features": one.features, "outputs": one.outputs}
            arms[name] = Arm(f"{here}:one_window", work)
        found = in_turn(arms, 1 if quick else TURNS, warm_up=1)
    yield replace(time_row(OURS, found[OURS]), peak_mb=None)  # it is of a process that only waits
    for name, one in networks.items():
        count = one.windows(shape)
        whole = Timing(tuple(count * seconds for seconds in found[name].seconds), found[name].peak_mb)
        yield time_row(f"{name}, {count} windows", whole, yardstick=(OURS, found[OURS]))
