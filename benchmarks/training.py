"""What a training costs: `python -m benchmarks.training CACHE [--preset P] [--set ...]`.

Trains epochs of equal length and prints, for each arm, the time of a step, the share of it that the step waits for
data, and how the memory grows from epoch to epoch. Arms: slices kept in memory, slices read from disk one by one, and
on demand XLA and half precision. Each arm is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from data_prep.command import InputError, run_command

ARMS = {
    "in memory": [],
    "from disk": ["memory_gb=0"],
    "XLA": ["jit_compile=on"],
    "mixed_bfloat16": ["precision=mixed_bfloat16"],
}
USUAL = ("in memory", "from disk")
WARM_UP = 5  # epochs: allocators and caches fill


def measure(cache: Path, preset: str, settings: list[str], epochs: int, steps: int) -> dict:
    """Train on all labelled patients of a cache; returns the rows of the epochs, each with `rss_mb` at its end."""
    from data_prep.cache import read_manifest
    from kidney_seg.config import PRESETS
    from kidney_seg.quiet import quiet_tensorflow

    manifest = read_manifest(cache)
    config = PRESETS[preset].with_settings([f"size={manifest.settings.size}", *settings])
    quiet_tensorflow()
    from kidney_seg.pipeline import SliceStore, draw_samples
    from kidney_seg.training import Trainer

    store = SliceStore(manifest, manifest.entries, config.data.memory_gb, config.model.input_slices)
    patients = sorted({entry.patient for entry in store.entries})
    samples = [draw_samples(store, patients, steps, config, 0, 0, 0, epoch) for epoch in range(epochs)]
    memory: list[float] = []
    trainer = Trainer(config)
    trainer.initialize(0)
    rows = trainer.fit_round(store, samples, config.rounds.peak_rate, lambda row: memory.append(_resident_mb()))
    return {"batch_size": config.data.batch_size, "rows": rows, "rss_mb": memory}


def _resident_mb() -> float:
    """Return what this process has in memory now, in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmRSS")


def summary(found: dict) -> dict:
    """Return medians and the growth of memory, from the epochs after the warm-up (all, of fewer)."""
    skip = WARM_UP if len(found["rows"]) > 2 * WARM_UP else 1
    rows, memory = found["rows"][skip:], found["rss_mb"][skip:]
    lengths = [row["steps"] for row in found["rows"]]
    steps = lengths[1] - lengths[0]
    seconds = sum(row["seconds"] for row in rows)
    return {
        "ms_a_step": 1000 * statistics.median(row["seconds"] for row in rows) / steps,
        "ms_a_slice": 1000 * statistics.median(row["seconds"] for row in rows) / steps / found["batch_size"],
        "waiting_percent": 100 * sum(row["waited"] for row in rows) / seconds,
        "memory_mb": memory[-1],
        "growth_mb": max(memory) - memory[0],
    }


def main(argv: list[str] | None = None) -> int:
    """The command; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description="Time of a training step, share of it that waits for data, and memory over epochs.",
    )
    parser.add_argument("cache", metavar="CACHE", help="cache folder; its size is the network's")
    parser.add_argument("--preset", default="demo", help="demo or paper (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings, for all arms")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=USUAL, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=20, help="steps an epoch (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write all rows here")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the arm that this process measures
    options = parser.parse_args(argv)

    def body() -> int:
        if options.one:
            settings = [*options.set, *ARMS[options.one]]
            print(json.dumps(measure(Path(options.cache), options.preset, settings, options.epochs, options.steps)))
            return 0
        if options.epochs < 3 or options.steps < 1:
            raise InputError(
                f"--epochs {options.epochs} --steps {options.steps}: expected at least 3 epochs and 1 step"
            )
        results = {}
        print(f"{options.preset}: {options.epochs} epochs of {options.steps} steps")
        print(f"{'arm':16}{'ms a step':>11}{'ms a slice':>12}{'waiting':>9}{'memory':>10}{'growth':>9}", flush=True)
        for arm in options.arms:
            command = [sys.executable, "-m", "benchmarks.training", *(argv or sys.argv[1:]), "--one", arm]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
                raise InputError(f"arm {arm}: {said[-1]}")
            found = json.loads(done.stdout.splitlines()[-1])
            results[arm] = {**summary(found), **found}
            one = results[arm]
            print(
                f"{arm:16}{one['ms_a_step']:11.1f}{one['ms_a_slice']:12.2f}{one['waiting_percent']:8.2f}%"
                f"{one['memory_mb']:7.0f} MB{one['growth_mb']:6.0f} MB",
                flush=True,
            )
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
