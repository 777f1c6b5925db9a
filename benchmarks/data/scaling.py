"""Cost of four times as many patients: time and memory of a build, an epoch's data, predictions and scores."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.networks import config_of
from benchmarks.support.rows import Row, time_row
from benchmarks.training.step import TINY

TIMES = 4
WORK = (
    f"{TIMES} times as many patients: the same ones under {TIMES} names; each in a process of its own, warmed up; "
    f"time: seconds / {TIMES} / seconds of one time; memory: the peaks of both processes"
)
PATIENTS, QUICK_PATIENTS = 6, 1
STEPS_PER_PATIENT = 20
TURNS = 7
GOAL = "<= 1.15"


def make_patients(root: Path, patients: int, **cohort: int) -> dict[int, Path]:
    """Simulate patients; return the folders that hold each of them once, and `TIMES` times under other names."""
    from data_prep.phantom.cohort import write_cohort

    folders = {1: root / "once", TIMES: root / "several"}
    write_cohort(folders[1], cases=patients, **cohort)
    cases = sorted(folders[1].glob("case_*"))
    for copy in range(TIMES):
        for number, case in enumerate(cases):
            shutil.copytree(case, folders[TIMES] / f"case_{copy * patients + number:05d}")
    return folders


def building(patients: str, cache: str, size: int) -> Callable[[], object]:
    """Return a function that builds a cache of all case folders below `patients` from scratch."""
    from data_prep.build.builder import build
    from data_prep.geometry.network_grid import GridSettings

    def work() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        failures = build(patients, cache, GridSettings(size)).failures
        if failures:
            raise RuntimeError(failures[0])

    return work


def predicting(patients: str, out: str, preset: str, settings: list[str]) -> Callable[[], object]:
    """Return a function that predicts all scans with an untrained network and writes the labels."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    from data_prep.geometry.network_grid import GridSettings
    from data_prep.scans import find_scans
    from kidney_seg.model.attention_unet import build_model
    from kidney_seg.model.model_file import find_source, save_model
    from kidney_seg.predict.engines import Job
    from kidney_seg.predict.outputs import outputs_beside
    from kidney_seg.predict.scans import process_scan

    config, folder = config_of(preset, settings), Path(out)
    folder.mkdir()
    model = folder / "model.keras"
    save_model(build_model(config.model), config, GridSettings(config.model.size), model)
    job = Job([find_source(model)], config.prediction)
    scans, _ = find_scans([patients])

    def work() -> None:
        for scan in scans:
            process_scan(job, scan, outputs_beside(folder / f"{scan.name}.nii.gz"))

    return work


def scoring(patients: str) -> Callable[[], object]:
    """Return a function that scores all true labels against themselves."""
    from kidney_seg.evaluate.folders import score_folders

    return lambda: score_folders(patients, patients)


def rows(quick: bool) -> Iterator[Row]:
    """Yield, per kind of work, time per patient and memory for many patients, compared with few."""
    patients, turns = (QUICK_PATIENTS, 1) if quick else (PATIENTS, TURNS)
    settings, cohort = (TINY, {"size": 32, "slices": 8}) if quick else ([], {})
    steps = 2 if quick else STEPS_PER_PATIENT
    size = config_of("demo", settings).model.size
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        kinds: dict[str, dict[int, Arm]] = {name: {} for name in ("build", "epoch's data", "predict", "evaluate")}
        for times, folder in make_patients(root, patients, **cohort).items():
            own, cache = {"patients": str(folder)}, str(root / f"cache{times}")
            network = {"preset": "demo", "settings": settings}
            # from disk: how much is kept in memory is a setting
            epoch = {
                "cache": cache,
                "preset": "demo",
                "settings": [*settings, "memory_gb=0"],
                "steps": times * steps * patients,
            }
            kinds["build"][times] = Arm("benchmarks.data.scaling:building", {**own, "cache": cache, "size": size})
            kinds["epoch's data"][times] = Arm("benchmarks.training.inputs:batches", epoch)
            kinds["predict"][times] = Arm(
                "benchmarks.data.scaling:predicting", {**own, "out": str(root / f"predicted{times}"), **network}
            )
            kinds["evaluate"][times] = Arm("benchmarks.data.scaling:scoring", own)
        for name, arms in kinds.items():
            found = in_turn({str(times): arm for times, arm in arms.items()}, turns, warm_up=0 if quick else 2)
            few, many = found["1"], found[str(TIMES)]
            few_name, many_name = f"{name}, {patients} patients", f"{name}, {TIMES * patients} patients"
            yield time_row(few_name, few)
            yield time_row(many_name, many, yardstick=(few_name, few), work=TIMES, goal=GOAL)
            grown = many.peak_mb / few.peak_mb
            yield Row(f"{many_name}: memory", many.peak_mb, "MB", ratio=grown, yardstick=few_name, goal=GOAL)
