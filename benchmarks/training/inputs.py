"""The input pipeline: slices per second from a cache, compared with a copy of the same bytes and training steps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.networks import config_of
from benchmarks.support.rows import Row, speed_row
from benchmarks.training.step import TINY

WORK = (
    "batches of `training_dataset` from a cache of simulated patients, discarded at once; copy: the bytes of all"
    " these batches by numpy, one thread; training: steps on one batch in memory, in the same turns"
)
STILL = "shift=0 scale=0 rotation_deg=0 flip=0 contrast=0 brightness_hu=0".split()
PATIENTS, QUICK_PATIENTS = 12, 3
SIZES = {"demo": (400, 4), "paper": (24, 0)}  # batches a turn; steps of training, where they are measured
TURNS = 7
FROM = {  # settings, and whether the files' pages are dropped from the system's cache before each turn
    "memory": ([], False),
    "disk, in the system's cache": (["memory_gb=0"], False),
    "disk": (["memory_gb=0"], True),
}


def make_cache(root: Path, preset: str, settings: list[str], patients: int, **cohort: int) -> Path:
    """Simulate and build what is missing below `root` for a preset; returns the cache folder.

    `cohort`: `size` and `slices` of the simulated scans.
    """
    from data_prep.build.builder import build
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.phantom.cohort import write_cohort

    write_cohort(root / "patients", cases=patients, **cohort)
    cache = root / f"cache-{preset}"
    result = build(root / "patients", cache, GridSettings(config_of(preset, settings).model.size))
    for path in cache.glob("*.h5"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # only what is on disk can be dropped from the system's cache
    if result.failures:
        raise RuntimeError(result.failures[0])
    return cache


def batches(cache: str, preset: str, settings: list[str], steps: int, cold: bool = False) -> Callable[[], object]:
    """Return a function that makes an epoch's batches from a cache and consumes them in a graph, as `fit` does."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    import tensorflow as tf

    from kidney_seg.pipeline.dataset import ReadyTimes, training_dataset

    store, samples, config = _plan(cache, preset, settings, steps)
    dataset = training_dataset(store, [samples], config, ready=ReadyTimes())
    files = [store.manifest.root / entry.file for entry in store.entries]

    @tf.function
    def consume():
        return dataset.reduce(np.int64(0), lambda count, _: count + 1)

    def work() -> None:
        if cold:
            _drop(files)
        made = int(consume())
        if made != steps:
            raise RuntimeError(f"{made} batches of {steps} were made")

    return work


def copy_batches(cache: str, preset: str, settings: list[str], steps: int) -> Callable[[], object]:
    """Return a function that copies the images and targets of an epoch's batches, array by array."""
    from kidney_seg.pipeline.targets import targets

    store, samples, config = _plan(cache, preset, settings, steps)
    sources = []
    for case, position in zip(samples.case, samples.position, strict=True):
        image, label = store.read(case, position)
        sources += [image, *targets(label, config).values()]
    goals = [np.zeros_like(source) for source in sources]

    def work() -> None:
        for source, goal in zip(sources, goals, strict=True):
            np.copyto(goal, source)

    return work


def _plan(cache: str, preset: str, settings: list[str], steps: int):
    from data_prep.cache.manifest import read_manifest
    from kidney_seg.pipeline.sampling import draw_samples
    from kidney_seg.pipeline.slice_store import SliceStore

    config, manifest = config_of(preset, settings), read_manifest(cache)
    store = SliceStore(manifest, manifest.entries, config.data.memory_gb, config.model.input_slices)
    patients = sorted({entry.patient for entry in store.entries})
    return store, draw_samples(store, patients, steps, config, 0, 0, 0, 0), config


def _drop(files: list[Path]) -> None:
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rows(quick: bool) -> Iterator[Row]:
    """Yield slices per second of each preset and source, compared with the copy and the training."""
    turns, patients = (1, QUICK_PATIENTS) if quick else (TURNS, PATIENTS)
    sizes, places = ({"demo": (4, 1)}, {"memory": FROM["memory"]}) if quick else (SIZES, FROM)
    settings, cohort = (TINY, {"size": 32, "slices": 8}) if quick else ([], {})
    ours = "benchmarks.training.inputs:batches"
    with tempfile.TemporaryDirectory() as scratch:
        for preset, (steps, training_steps) in sizes.items():
            same = {
                "cache": str(make_cache(Path(scratch), preset, settings, patients, **cohort)),
                "preset": preset,
                "steps": steps,
            }
            arms = {"copy": Arm("benchmarks.training.inputs:copy_batches", {**same, "settings": [*settings, *STILL]})}
            for place, (kept, cold) in places.items():
                for change, still in (("as it is", STILL), ("changed", [])):
                    own = {"settings": [*settings, *still, *kept], "cold": cold}
                    arms[f"{place}, {change}"] = Arm(ours, {**same, **own})
            if training_steps:
                step = {"preset": preset, "settings": settings, "steps": training_steps}
                arms["training"] = Arm("benchmarks.support.networks:keras_training", step)
            found = in_turn(arms, turns, warm_up=0 if quick else 2)
            config = config_of(preset, settings)
            what, batch = f"pipeline, {preset}, {config.model.size} px", config.data.batch_size
            slices = steps * batch
            yield speed_row(f"{what}: copy", found["copy"], slices, "slices/s")
            for place in places:
                goal = ">= 0.5" if place == "memory" else ""
                name, copied = f"{place}, as it is", ("copy", found["copy"], slices)
                yield speed_row(f"{what}: {name}", found[name], slices, "slices/s", yardstick=copied, goal=goal)
            for place in places:
                name = f"{place}, changed"
                if training_steps:
                    yardstick, goal = ("training", found["training"], training_steps * batch), ">= 10"
                else:
                    yardstick, goal = ("copy", found["copy"], slices), ""
                yield speed_row(f"{what}: {name}", found[name], slices, "slices/s", yardstick=yardstick, goal=goal)
