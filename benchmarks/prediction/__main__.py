"""Prediction of whole volumes, by step and by engine: `python -m benchmarks.prediction`.

The volume is drawn: noise, two kidneys, and a tumor in a third of its slices. The network has initial weights; its
output is replaced by the drawn labels, so that later steps work as hard as with a trained one. With `--share N`, one
batch in N runs through the network, and its time counts N times. Memory is the peak of a process that predicts like the
command (without percents and DICOM), minus what it holds once program and network are loaded; one batch in sixteen then
runs through the network, which keeps nothing between batches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.support.arms import Arm, Parts, Timing, in_turn, memory_mb
from benchmarks.support.networks import config_of
from benchmarks.support.rows import Row, speed_row, table, time_row
from benchmarks.training.step import TINY
from data_prep.cli import command
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config
from kidney_seg.predict.predictor import Forward, Predictor

WORK = "a whole volume, by step and by engine; memory: more than the program holds once its network is loaded"
ENGINES = ("keras", "onnx")
STEPS = ("read", "to grid", "network", "back", "rule", "review", "write")
GOALS = {"network": ">= 0.8", "rule": "<= 1"}  # a fraction of the whole; seconds
FASTER, MOST_MB = ">= 1.4", "<= 2000"  # onnx; more than the program
SPACING_MM = (3.0, 0.78, 0.78)


@dataclass(frozen=True)
class Size:
    """What is measured: `slices` of `edge` x `edge` pixels for time, `long` of them for memory."""

    slices: int = 216
    long: int = 1059
    edge: int = 512


QUICK = Size(slices=16, long=40, edge=64)


def draw_labels(size: Size, slices: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """Return labels uint8 [z, edge, edge] of some of the slices: two kidneys in the middle, a tumor at one of them."""
    z = np.linspace(-1, 1, slices)[first:last, None, None]
    y, x = np.ogrid[-1 : 1 : size.edge * 1j, -1 : 1 : size.edge * 1j]
    labels = np.zeros((len(z), size.edge, size.edge), np.uint8)
    for value, place, radius in ((1, (0, 0.2, -0.4), 0.17), (1, (0.05, 0.2, 0.4), 0.17), (2, (0, 0.1, 0.45), 0.08)):
        level = ((z - place[0]) / (2 * radius)) ** 2 + ((y - place[1]) / radius) ** 2 + ((x - place[2]) / radius) ** 2
        labels[level < 1] = value
    return labels


def write_volume(path: Path, slices: int, edge: int) -> None:
    """Write a CT of noise, which compresses about as a real one."""
    import SimpleITK as sitk

    plane = np.random.default_rng(0).normal(0, 20, (edge, edge)).astype(np.int16)
    image = sitk.GetImageFromArray(np.stack([np.roll(plane, k, axis=1) for k in range(slices)]))
    image.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(image, str(path), useCompression=True)


class Stopwatch(defaultdict[str, float]):
    """Seconds by step."""

    def __init__(self) -> None:
        super().__init__(float)

    def around(self, step: str, function: Callable) -> Callable:
        """Return the function with its time added to a step's."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            self[step] += time.perf_counter() - start
            return result

        return timed


def drawn_predictor(
    network: Forward, config: Config, size: Size, slices: int, share: int, watch: Stopwatch
) -> Predictor:
    """Return a predictor of the drawn labels that runs the network on one batch in `share`."""
    from data_prep.geometry.network_grid import shares_to_network

    count = config.prediction.slices_per_batch
    starts = iter(range(0, slices, count))
    mean_of = slices / sum(min(count, slices - first) for first in range(0, slices, count * share))

    def forward(batch: np.ndarray) -> np.ndarray:
        first = next(starts)
        if first // count % share == 0:
            before = watch["network"]
            watch.around("network", network)(batch)
            watch["network"] += (watch["network"] - before) * (mean_of - 1)
        drawn = draw_labels(size, slices, first, first + len(batch))
        return shares_to_network(drawn, SPACING_MM, GridSettings(config.model.size))

    return Predictor(forward, config.model.size, config.model.input_slices, config.model.classes, count)


def time_volume(network: Forward, config: Config, folder: Path, size: Size, share: int) -> dict[str, float]:
    """Return seconds by step of one volume."""
    from data_prep import volume
    from kidney_seg.postprocess import review
    from kidney_seg.postprocess.distant_objects import apply_rule
    from kidney_seg.predict import predictor as prediction

    watch = Stopwatch()
    image = watch.around("read", volume.read_volume)(folder / "volume.nii.gz")
    predictor = drawn_predictor(network, config, size, size.slices, share, watch)
    with ExitStack() as patches:
        for step, name in (("to grid", "to_network"), ("back", "probabilities_to_labels")):
            timed = watch.around(step, getattr(prediction, name))
            patches.enter_context(mock.patch.object(prediction, name, timed))
        found = prediction.predict_slabs(predictor, image, GridSettings(config.model.size))
    labels, objects = watch.around("rule", apply_rule)(found.labels, image.spacing_mm)
    describe = watch.around("review", review.describe)
    describe(found.labels, labels, objects, image.spacing_mm, image.voxels, found.tumor_confidence)
    watch.around("write", volume.write_labels)(labels, image.source, folder / "labels.nii.gz")
    return {step: watch[step] for step in STEPS}


def open_network(config: Config, folder: Path, engine: str) -> Forward:
    """Return a network that an engine runs, after two batches of warm-up; its model file is written to `folder`."""
    from kidney_seg.model.attention_unet import build_model
    from kidney_seg.model.model_file import find_source, save_model
    from kidney_seg.predict.engines import open_predictor

    model = folder / "model.keras"
    folder.mkdir()
    save_model(build_model(config.model), config, GridSettings(config.model.size), model)
    network = open_predictor([find_source(model)], config.prediction, engine).forward
    for _ in range(2):
        edge = config.model.size
        network(np.zeros((config.prediction.slices_per_batch, edge, edge, config.model.input_slices), np.float32))
    return network


def timed(
    folder: str, engine: str, preset: str, settings: list[str], share: int, slices: int, edge: int
) -> Callable[[], Parts]:
    """Return a function that predicts `folder`/volume.nii.gz and returns its seconds by step."""
    config, size = config_of(preset, settings), Size(slices=slices, edge=edge)
    network = open_network(config, Path(folder) / engine, engine)
    return lambda: Parts(time_volume(network, config, Path(folder), size, share))


def remembered(folder: str, engine: str, long: int, edge: int) -> Callable[[], Parts]:
    """Return a function that predicts `folder`/long.nii.gz like the command and returns MB before and at the peak."""
    import cc3d  # noqa: F401  counted as part of the program
    import edt  # noqa: F401
    import scipy.sparse  # noqa: F401
    import SimpleITK  # noqa: F401

    from data_prep.scans import Scan
    from kidney_seg.model.model_file import find_source
    from kidney_seg.predict.engines import Job
    from kidney_seg.predict.outputs import outputs_beside
    from kidney_seg.predict.scans import process_scan

    source, volume = find_source(Path(folder) / engine / "model.keras"), Path(folder) / "long.nii.gz"
    job = Job((source,), source.config.prediction, engine)
    network = job.predictor.forward

    def work() -> Parts:
        before = memory_mb("VmRSS")
        drawn = drawn_predictor(network, source.config, Size(edge=edge), long, 16, Stopwatch())
        with mock.patch.dict(job.__dict__, {"predictor": drawn}):
            process_scan(job, Scan("long", volume), outputs_beside(Path(folder) / f"{engine}.nii.gz"))
        return Parts(before=before, peak=memory_mb())

    return work


def rows(quick: bool, turns: int | None = None, preset: str = "paper", share: int = 1) -> Iterator[Row]:
    """Yield seconds by step of each engine, the network's fraction of them, both engines' speed, and memory."""
    size, settings = (QUICK, TINY) if quick else (Size(), [])
    ours = "benchmarks.prediction.__main__"
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Path(folder) / "volume.nii.gz", size.slices, size.edge)
        same = {"folder": folder, "preset": preset, "settings": settings, "share": share}
        arms = {
            engine: Arm(f"{ours}:timed", {**same, "engine": engine, "slices": size.slices, "edge": size.edge})
            for engine in ENGINES
        }
        found = in_turn(arms, turns or (1 if quick else 3), warm_up=1)
        (Path(folder) / "volume.nii.gz").unlink()
        write_volume(Path(folder) / "long.nii.gz", size.long, size.edge)
        memory = {}
        for engine in ENGINES:  # one at a time: two may not fit into memory
            arm = Arm(f"{ours}:remembered", {"folder": folder, "engine": engine, "long": size.long, "edge": size.edge})
            memory[engine] = in_turn({engine: arm}, 1, warm_up=0)[engine].parts
    what = f"predict, {preset}, {size.slices} slices of {size.edge} px"
    for engine, timing in found.items():
        turns_of_steps = zip(*(timing.parts[step] for step in STEPS), strict=True)
        whole = Timing(tuple(map(sum, turns_of_steps)), timing.peak_mb)
        yield time_row(f"{what}: {engine}, all", whole)
        for step in STEPS:
            beside = ("all", whole) if step == "network" else None
            row = f"{what}: {engine}, {step}"
            yield time_row(row, timing.part(step), yardstick=beside, goal=GOALS.get(step, ""))
    networks = {engine: timing.part("network") for engine, timing in found.items()}
    keras = ("keras", networks["keras"], size.slices)
    name = f"{what}: onnx beside keras, network"
    yield speed_row(name, networks["onnx"], size.slices, "slices/s", yardstick=keras, goal=FASTER)
    for engine, parts in memory.items():
        (before,), (peak,) = parts["before"], parts["peak"]
        name = f"predict, {preset}, {size.long} slices of {size.edge} px: {engine}, memory"
        yield Row(name, peak - before, "MB", peak_mb=peak, goal=MOST_MB)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    example = "example: python -m benchmarks.prediction --preset demo --repeats 1"
    parser = argparse.ArgumentParser(
        "python -m benchmarks.prediction", description=__doc__.splitlines()[0], epilog=example
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="small volumes and network, to see that it runs")
    add("--repeats", type=int, metavar="N", help="volumes per engine (default: 3, with --quick 1)")
    add("--preset", choices=PRESETS, default="paper", help="settings of the network (default: %(default)s)")
    add("--share", type=int, default=1, metavar="N", help="run only one batch in N (default: %(default)s)")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print the table."""
    print(table(rows(options.quick, options.repeats, options.preset, options.share)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
