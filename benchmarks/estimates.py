"""Estimates of time and cost: a training of the preset `paper` on KiTS23, and the prediction of many scans.

Nothing is measured here. Each input is an option; docs/explanation/measurements/scale.md has their sources.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.split.sets import FRACTIONS
from kidney_seg.config.model import HEADS
from kidney_seg.config.presets import PRESETS

GPUS = (1, 4, 16)
CORES = (16, 64, 256)
BACKWARD = 2.0  # operations of the backward pass, over those of the forward pass


def _of(default: float, text: str) -> float:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Inputs:
    """The inputs of the estimates, each with its help text as an option of the command."""

    forward_gflop: float = _of(23.94, "operations of the network for one slice of 256 x 256, in 1e9; counted")
    parameters: float = _of(5_680_016, "trained parameters; counted")
    norms: float = _of(26, "batch normalizations, each a message in the forward and in the backward pass; counted")
    scans: float = _of(489, "labelled scans for training, one per patient; KiTS23")
    slices: float = _of(216, "slices per scan; mean of KiTS19's 210 public scans")
    feed_ms: float = _of(2.3, "ms of a core to read and augment one slice for training; measured")
    feeders: float = _of(2, "batches that one process prepares at once")
    judge_ms: float = _of(2.5, "ms of a core per slice to validate a round, without the network; measured")
    scan_s: float = _of(4.0, "s of a core to predict a scan, without the network; measured")
    score_s: float = _of(3.9, "s of a core to score a scan as predicted and post-processed; measured")
    core_ms: float = _of(116.0, "ms of a core for the network on one slice with ONNX Runtime; measured")
    label_mb: float = _of(0.32, "MB per label file; mean of 126 of KiTS19")
    peak_tflops: float = _of(156.0, "peak of a GPU in 1e12 operations a second; A100 with TF32")
    share: float = _of(0.2, "share of the peak that is reached; assumed")
    step_ms: float = _of(5.0, "ms per step that do not depend on its slices; assumed")
    gpus_per_host: float = _of(4, "GPUs per host; assumed")
    host_gb_s: float = _of(200.0, "GB/s between GPUs of a host; assumed")
    network_gb_s: float = _of(12.5, "GB/s between hosts, 100 Gbit/s; assumed")
    host_message_ms: float = _of(0.03, "ms per message within a host; assumed")
    network_message_ms: float = _of(0.06, "ms per message between hosts; assumed")
    gpu_usd: float = _of(2.0, "price per GPU and hour; assumed")
    core_usd: float = _of(0.04, "price per core and hour; assumed")
    many: float = _of(100_000, "scans of the second table")
    packed: float = _of(0.6, "size of a .nii.gz relative to its voxels; assumed")
    disk_gb_s: float = _of(1.0, "GB/s of the shared file system; assumed")

    @property
    def slice_ms(self) -> float:
        """Return the ms of a GPU for the network on one slice."""
        return self.forward_gflop / (self.peak_tflops * self.share)

    @property
    def scan_gb(self) -> float:
        """Return the GB of a scan of 512 x 512 pixels as a .nii.gz."""
        return self.slices * 512 * 512 * 2 / 1e9 * self.packed


@dataclass(frozen=True)
class Training:
    """A training of the preset `paper` with one process per GPU: ms per step, s of the parts, hours in total."""

    gpus: int
    batch: int
    compute_ms: float
    exchange_ms: float
    feed_ms: float
    step_ms: float
    steps_s: float
    judging_s: float
    test_s: float
    hours: float
    usd: float


def training(inputs: Inputs, gpus: int) -> Training:
    """Return the estimate of a training that plays all its rounds, each once.

    The batch is the preset's, or one slice per GPU if there are more GPUs; the steps stay the same. The parts of a step
    add up, while slices are prepared in parallel. One process validates the rounds and scores the test patients.
    """
    config = PRESETS["paper"]
    batch = max(config.data.batch_size, gpus)
    own = batch / gpus
    compute_ms = own * inputs.slice_ms * (1 + BACKWARD)
    feed_ms = own * inputs.feed_ms / inputs.feeders
    exchange_ms = _exchange_ms(inputs, gpus)
    step_ms = max(compute_ms + inputs.step_ms + exchange_ms, feed_ms)
    rounds = config.rounds
    steps_s = (rounds.starts * rounds.start_steps + rounds.max_rounds * rounds.steps) * step_ms / 1000
    _, selection, test = (share * inputs.scans for share in FRACTIONS)
    judged = (rounds.starts + rounds.max_rounds) * selection * inputs.slices
    judging_s = judged * (inputs.slice_ms + inputs.judge_ms) / 1000
    test_s = test * (_gpu_scan_s(inputs) + inputs.score_s)
    hours = (steps_s + judging_s + test_s) / 3600
    usd = hours * gpus * inputs.gpu_usd
    return Training(gpus, batch, compute_ms, exchange_ms, feed_ms, step_ms, steps_s, judging_s, test_s, hours, usd)


def _exchange_ms(inputs: Inputs, gpus: int) -> float:
    # ring all-reduce: each GPU sends and receives 2 (n - 1) / n of the float32 gradient
    if gpus == 1:
        return 0.0
    within = gpus <= inputs.gpus_per_host
    gb_s = inputs.host_gb_s if within else inputs.network_gb_s
    message_ms = inputs.host_message_ms if within else inputs.network_message_ms
    messages = 2 * inputs.norms + len(HEADS) + 1
    return 2 * (gpus - 1) / gpus * 4 * inputs.parameters / (gb_s * 1e6) + messages * message_ms


def _gpu_scan_s(inputs: Inputs) -> float:
    return inputs.scan_s + inputs.slices * inputs.slice_ms / 1000


@dataclass(frozen=True)
class Prediction:
    """Prediction of many scans: the processors, days of computing and of reading, days in total, and the cost."""

    on: str
    busy: float  # share of the time in which the network computes
    compute_days: float
    read_days: float
    days: float
    usd: float


def prediction(inputs: Inputs, gpus: int = 0, cores: int = 0) -> Prediction:
    """Return the estimate for GPUs, one process each, or for cores: the slower of computing and reading."""
    network_s = inputs.slices * (inputs.slice_ms if gpus else inputs.core_ms) / 1000
    scan_s = inputs.scan_s + network_s
    compute_days = inputs.many * scan_s / (gpus or cores) / 86400
    read_days = inputs.many * inputs.scan_gb / inputs.disk_gb_s / 86400
    days = max(compute_days, read_days)
    usd = days * 24 * (gpus * inputs.gpu_usd + cores * inputs.core_usd)
    on = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"{cores} cores"
    return Prediction(on, network_s / scan_s, compute_days, read_days, days, usd)


TRAINING_COLUMNS = (  # headings and formats
    "GPUs | batch | network, ms | exchange, ms | reading, ms | step, ms | all steps | validation | test | hours | USD",
    "{gpus} | {batch} | {compute_ms:.1f} | {exchange_ms:.1f} | {feed_ms:.1f} | {step_ms:.1f} | {steps_s:.0f} s | "
    "{judging_s:.0f} s | {test_s:.0f} s | {hours:.2f} | {usd:.2f}",
)
PREDICTION_COLUMNS = (
    "on | network computes | computing, days | reading, days | days | USD",
    "{on} | {percent:.0f} % of the time | {compute_days:.2f} | {read_days:.2f} | {days:.2f} | {usd:.0f}",
)


def tables(inputs: Inputs) -> str:
    """Return both tables, and the disk space of the scans, as Markdown."""
    trainings = [vars(training(inputs, gpus)) for gpus in GPUS]
    found = [prediction(inputs, gpus=gpus) for gpus in GPUS] + [prediction(inputs, cores=cores) for cores in CORES]
    predictions = [vars(row) | {"percent": 100 * row.busy} for row in found]
    scans_tb, labels_gb = inputs.many * inputs.scan_gb / 1000, inputs.many * inputs.label_mb / 1000
    disk = f"On disk: {scans_tb:.1f} TB of scans, {labels_gb:.0f} GB of labels."
    return "\n\n".join([_table(*TRAINING_COLUMNS, trainings), _table(*PREDICTION_COLUMNS, predictions), disk])


def _table(heads: str, cells: str, rows: Sequence[dict]) -> str:
    lines = [heads, " | ".join("---" for _ in heads.split("|")), *(cells.format(**row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimates",
        description=__doc__,
        epilog="example: python -m benchmarks.estimates --peak-tflops 495 --gpu-usd 3",
    )
    for one in fields(Inputs):
        option, text = f"--{one.name.replace('_', '-')}", f"{one.metadata['help']} (default: %(default)s)"
        parser.add_argument(option, metavar="X", type=float, default=one.default, help=text)
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    for name, value in vars(arguments).items():
        if not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} {value:g}: expected a number above 0")
    print(tables(Inputs(**vars(arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
