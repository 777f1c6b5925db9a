"""Prediction of whole volumes, by step and by engine: `python -m benchmarks.predict_volume`.

The volume is drawn here: noise, two kidneys and a tumor in a third of its slices. The network has its first weights;
its answer is thrown away for the drawn labels as probabilities, so that the steps after it have as much to do as with
a trained one. Both engines run batches of the same volume in turn. Where all slices would take too long (`--share N`),
one batch in N goes through the network and the time of all is N times as much. Peak memory is that of a process of its
own that predicts as the command does, percents and DICOM aside, less what it holds when its program and network are
loaded; there, one batch in sixteen goes through the network, which holds on to nothing between batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np

from data_prep.command import run_command
from data_prep.grid import GridSettings
from kidney_seg.config import PRESETS, Config
from kidney_seg.predictor import Forward, Predictor

ENGINES = ("keras", "onnx")
STEPS = ("read", "to grid", "network", "back", "rule", "review", "write")
SPACING_MM = (3.0, 0.78, 0.78)
GOALS = "goals: network 80 % of the whole; rule 1 s at most; onnx 1.4 times as fast as keras; memory 2 GB at most"


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


@dataclass
class Stopwatch:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add the time of a block to a step's."""
        start = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - start

    def around(self, step: str, function: Callable) -> Callable:
        """Return the function with its time added to a step's."""

        def timed(*arguments, **options):
            with self(step):
                return function(*arguments, **options)

        return timed


def drawn_predictor(
    network: Forward, config: Config, size: Size, slices: int, share: int, watch: Stopwatch
) -> Predictor:
    """Return a predictor that runs the network on the first batch in `share`, and answers with the drawn labels."""
    from data_prep.grid import shares_to_network

    count = config.prediction.slices_per_batch
    starts = iter(range(0, slices, count))
    mean_of = slices / sum(min(count, slices - first) for first in range(0, slices, count * share))

    def forward(batch: np.ndarray) -> np.ndarray:
        first = next(starts)
        if first // count % share == 0:
            before = watch.seconds["network"]
            with watch("network"):
                network(batch)
            watch.seconds["network"] += (watch.seconds["network"] - before) * (mean_of - 1)
        drawn = draw_labels(size, slices, first, first + len(batch))
        return shares_to_network(drawn, SPACING_MM, GridSettings(config.model.size))

    return Predictor(forward, config.model.size, config.model.input_slices, config.model.classes, count)


def time_volume(network: Forward, config: Config, folder: Path, size: Size, share: int) -> dict[str, float]:
    """Return seconds by step of one volume."""
    from data_prep import grid, volume
    from kidney_seg import postprocess, review, whole_volume

    watch = Stopwatch()
    with watch("read"):
        image = volume.read_volume(folder / "volume.nii.gz")
    predictor = drawn_predictor(network, config, size, size.slices, share, watch)
    with (
        mock.patch.object(grid, "to_network", watch.around("to grid", grid.to_network)),
        mock.patch.object(grid, "probabilities_to_labels", watch.around("back", grid.probabilities_to_labels)),
    ):
        found = whole_volume.predict_slabs(predictor, image, GridSettings(config.model.size))
    with watch("rule"):
        labels, objects = postprocess.apply_rule(found.labels, image.spacing_mm)
    with watch("review"):
        review.describe(found.labels, labels, objects, image.spacing_mm, image.voxels, found.tumor_confidence)
    with watch("write"):
        volume.write_labels(labels, image.source, folder / "labels.nii.gz")
    return {step: watch.seconds[step] for step in STEPS}


def open_network(config: Config, folder: Path, engine: str) -> Forward:
    """Return the network of `folder`, made if it is not there, by an engine; warmed up by two batches."""
    from kidney_seg.engines import open_predictor
    from kidney_seg.model import build_model
    from kidney_seg.modelfile import find_source, save_model

    model = folder / "model.keras"
    if not model.exists():
        save_model(build_model(config.model), config, GridSettings(config.model.size), model)
    network = open_predictor([find_source(model)], config.prediction, engine).forward
    for _ in range(2):
        edge = config.model.size
        network(np.zeros((config.prediction.slices_per_batch, edge, edge, config.model.input_slices), np.float32))
    return network


def peak_mb(model: Path, volume: Path, engine: str, size: Size) -> dict[str, float]:
    """Predict as the command does, in this process; return MB held before, and at the peak."""
    import cc3d  # noqa: F401  before, for these are the program
    import edt  # noqa: F401
    import scipy.sparse  # noqa: F401
    import SimpleITK  # noqa: F401

    from kidney_seg.modelfile import find_source
    from kidney_seg.predict_scans import Job, predict_scan
    from kidney_seg.prediction_files import outputs_of
    from kidney_seg.prediction_inputs import Scan

    source = find_source(model)
    job = Job([source], source.config.prediction, engine)
    network = job.predictor.forward
    before = _memory_mb("VmRSS")
    drawn = drawn_predictor(network, source.config, size, size.long, 16, Stopwatch())
    with mock.patch.dict(job.__dict__, {"predictor": drawn}):
        predict_scan(job, Scan("volume", volume), outputs_of(volume.with_name(f"{engine}.nii.gz")))
    return {"before": before, "peak": _memory_mb("VmHWM")}


def _memory_mb(name: str) -> float:
    # of this program alone; getrusage would give the largest of it and of the process that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def main(argv: list[str] | None = None) -> int:
    """Print the tables; see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict_volume", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small volumes and network: whether it runs at all")
    parser.add_argument("--repeats", type=int, default=3, help="volumes of each engine (default: %(default)s)")
    parser.add_argument("--preset", choices=PRESETS, default="paper", help="the network (default: %(default)s)")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="one batch in N goes through the network")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    size = QUICK if options.quick else Size()
    config = PRESETS[options.preset]
    if options.quick:
        config = config.with_settings(["size=32", "width_factor=0.1"])
    if options.peak:
        print(json.dumps(peak_mb(Path(options.peak[0]), Path(options.peak[1]), options.peak[2], size)))
        return 0
    return run_command(lambda: _measure(config, size, options))


def _measure(config: Config, size: Size, options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_volume(folder / "volume.nii.gz", size.slices, size.edge)
        networks = {engine: open_network(config, folder, engine) for engine in ENGINES}
        runs = {engine: [] for engine in ENGINES}
        for _ in range(options.repeats):
            for engine, network in networks.items():  # in turn: the load of the machine is the same for both
                runs[engine].append(time_volume(network, config, folder, size, options.share))
        heads = ("engine", *STEPS, "all", "network %")
        print(f"seconds for {size.slices} slices of {size.edge} x {size.edge}, medians of {options.repeats}")
        print(" ".join(f"{head:>9}" for head in heads))
        middle = {}
        for engine, rows in runs.items():
            steps = middle[engine] = {step: statistics.median(row[step] for row in rows) for step in STEPS}
            whole = sum(steps.values())
            values = (*steps.values(), whole, 100 * steps["network"] / whole)
            print(f"{engine:>9}", *(f"{value:>9.2f}" for value in values), flush=True)
        print(f"onnx / keras: {middle['keras']['network'] / middle['onnx']['network']:.2f} times as fast")

        (folder / "long").mkdir()
        write_volume(folder / "long" / "volume.nii.gz", size.long, size.edge)
        quick = ["--quick"] if options.quick else []
        for engine in ENGINES:
            where = [str(folder / "model.keras"), str(folder / "long" / "volume.nii.gz"), engine]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.predict_volume", *quick, "--peak", *where],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            more = found["peak"] - found["before"]
            print(f"{engine}: {size.long} slices take {more:.0f} MB beside the program's {found['before']:.0f} MB")
    print(GOALS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
