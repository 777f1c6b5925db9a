"""Cost of a training: `python -m benchmarks.training CACHE [--preset P] [--set ...]`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.support.arms import Arm, Parts, in_turn, memory_mb
from benchmarks.support.rows import Row, table
from benchmarks.training.inputs import PATIENTS, QUICK_PATIENTS, make_cache
from benchmarks.training.step import TINY
from data_prep.cache.manifest import read_manifest
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.json_files import write_json
from kidney_seg.config.presets import PRESETS

WORK = (
    "epochs of equal length from a cache: the time of a step, the share of it that waits for data, and how memory "
    "grows from epoch to epoch; slices kept in memory, or read from disk one by one"
)
ARMS = {
    "in memory": [],
    "from disk": ["memory_gb=0"],
    "XLA": ["jit_compile=on"],
    "mixed_bfloat16": ["precision=mixed_bfloat16"],
}
USUAL = ("in memory", "from disk")
WARM_UP = 5  # epochs: allocators and caches fill
EPOCHS, STEPS = 30, 20
WAITING = "<= 3"  # percent


def epochs_of(cache: str, preset: str, settings: list[str], epochs: int, steps: int) -> Callable[[], Parts]:
    """Return a function that trains one round on all labelled patients of a cache and returns its `summary`."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    manifest = read_manifest(cache)
    config = PRESETS[preset].with_settings([f"size={manifest.settings.size}", *settings])
    quiet_tensorflow()
    from kidney_seg.pipeline.sampling import draw_samples
    from kidney_seg.pipeline.slice_store import SliceStore
    from kidney_seg.training.trainer import Trainer

    store = SliceStore(manifest, manifest.entries, config.data.memory_gb, config.model.input_slices)
    patients = sorted({entry.patient for entry in store.entries})
    samples = [draw_samples(store, patients, steps, config, 0, 0, 0, epoch) for epoch in range(epochs)]
    trainer = Trainer(config)
    trainer.initialize(0)

    def work() -> Parts:
        memory: list[float] = []
        report = lambda row: memory.append(memory_mb("VmRSS"))  # noqa: E731
        rows = trainer.fit_round(store, samples, config.rounds.peak_rate, report)
        return summary(rows, memory, steps)

    return work


def summary(rows: Sequence[dict], memory: Sequence[float], steps: int) -> Parts:
    """Return median time of a step (ms), share of waiting for data (%), memory at the end and its growth (MB).

    The first epochs, or at least one, are warm-up and do not count.

    >>> rows = [{"seconds": 9.0, "waited": 1.0}, {"seconds": 2.0, "waited": 0.0}, {"seconds": 3.0, "waited": 0.1}]
    >>> dict(summary(rows, [100.0, 110.0, 115.0], steps=10))
    {'step_ms': 250.0, 'waiting_percent': 2.0, 'memory_mb': 115.0, 'growth_mb': 5.0}
    """
    skip = WARM_UP if len(rows) > 2 * WARM_UP else 1
    rows, memory = rows[skip:], memory[skip:]
    seconds = [row["seconds"] for row in rows]
    return Parts(
        step_ms=1000 * statistics.median(seconds) / steps,
        waiting_percent=100 * sum(row["waited"] for row in rows) / sum(seconds),
        memory_mb=memory[-1],
        growth_mb=max(memory) - memory[0],
    )


def measured(
    cache: str, preset: str, settings: list[str], arms: Sequence[str], epochs: int, steps: int
) -> Iterator[Row]:
    """Yield the rows of these arms, each measured in its own process."""
    same = {"cache": cache, "preset": preset, "epochs": epochs, "steps": steps}
    for arm in arms:
        given = {**same, "settings": [*settings, *ARMS[arm]]}
        timing = in_turn({arm: Arm("benchmarks.training.__main__:epochs_of", given)}, 1, warm_up=0)[arm]
        found = {name: value for name, (value,) in timing.parts.items()}
        what = f"training, {preset}: {arm}"
        yield Row(f"{what}, a step", found["step_ms"], "ms", peak_mb=timing.peak_mb)
        yield Row(f"{what}, of it waiting for data", found["waiting_percent"], "%", goal=WAITING)
        yield Row(f"{what}, memory at the end", found["memory_mb"], "MB")
        yield Row(f"{what}, growth since epoch {WARM_UP}", found["growth_mb"], "MB")


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows of the demo, trained on a cache of simulated patients."""
    settings, cohort = (TINY, {"size": 32, "slices": 8}) if quick else ([], {})
    epochs, steps = (3, 2) if quick else (EPOCHS, STEPS)
    with tempfile.TemporaryDirectory() as scratch:
        cache = make_cache(Path(scratch), "demo", settings, QUICK_PATIENTS if quick else PATIENTS, **cohort)
        yield from measured(str(cache), "demo", settings, USUAL[1:] if quick else USUAL, epochs, steps)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=f"Train {WORK}.",
        epilog="example: python -m benchmarks.training cache --preset demo",
    )
    parser.add_argument("cache", metavar="CACHE", help="cache folder; its size is the network's")
    parser.add_argument("--preset", choices=PRESETS, default="demo", help="(default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of all arms")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=USUAL, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="per epoch (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write the rows to this file")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    if options.epochs < 3 or options.steps < 1:
        raise InputError(f"--epochs {options.epochs} --steps {options.steps}: expected at least 3 epochs and 1 step")
    read_manifest(options.cache)  # bad input is reported here, not by the process of an arm
    PRESETS[options.preset].with_settings(options.set)
    found = list(measured(options.cache, options.preset, options.set, options.arms, options.epochs, options.steps))
    print(table(found))
    if options.json:
        write_json(Path(options.json), [asdict(row) for row in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
