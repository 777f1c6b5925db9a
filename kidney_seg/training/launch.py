"""Train in several processes: the options `--coordinator`, `--processes`, `--process`, and how a process joins."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from data_prep.cache.manifest import Manifest
from data_prep.errors import InputError
from kidney_seg.config.run_config import Config, differences
from kidney_seg.training.process_group import ProcessGroup, TrainingEnded, join
from kidney_seg.training.stop_request import Stopped, stop_request


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--coordinator`, `--processes` and `--process`; defaults are JAX's own environment variables."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        default=os.environ.get("JAX_COORDINATOR_ADDRESS"),
        help="train in several processes; address of process 0, to which the others connect (needs "
        "KERAS_BACKEND=jax); auto: as Slurm or Open MPI set it (default: $JAX_COORDINATOR_ADDRESS)",
    )
    for option, metavar, variable, text in (
        ("--processes", "N", "JAX_NUM_PROCESSES", "number of processes"),
        ("--process", "I", "JAX_PROCESS_ID", "number of this process, from 0"),
    ):
        default = os.environ.get(variable, "")
        parser.add_argument(
            option,
            type=int,
            metavar=metavar,
            default=int(default) if default.isdecimal() else None,
            help=f"{text} (default: ${variable})",
        )


def check_alone(arguments: argparse.Namespace) -> None:
    """Raise InputError where an option does not go together with several processes."""
    for name, value in (("seeds", arguments.seeds), ("reproduce", arguments.reproduce)):
        if value is not None:
            raise InputError(f"--{name}: not available in several processes; omit it or --coordinator")
    if arguments.data is None:
        raise InputError(
            f"--coordinator {arguments.coordinator}: expected --data with it; the demo is trained by one process"
        )


def train_together(
    arguments: argparse.Namespace, manifest: Manifest, config: Config, lead: Callable[[ProcessGroup], int]
) -> int:
    """Join the other processes, then `lead` or follow; returns the exit code of process 0 in all of them."""
    group = join(arguments.coordinator, arguments.processes, arguments.process)
    check_same(group, manifest, config)
    code = 1
    try:
        code = lead(group) if group.index == 0 else follow(group, manifest, config)
    except Exception as error:
        if group.index or group.in_step:
            group.leave(error)
        code = 2 if isinstance(error, InputError) else 1
        raise
    finally:
        group.end(code)
    return code


def check_same(group: ProcessGroup, manifest: Manifest, config: Config) -> None:
    """Raise InputError in all processes if one has another cache or other settings than process 0."""
    leader = group.share(data_sha256=manifest.data_sha256, config=json.dumps(config.to_dict()))
    problem, name = None, f"process {group.index}"
    if str(leader["data_sha256"]) != manifest.data_sha256:
        problem = f"{manifest.root}: {name} finds other data here than process 0; give all the same cache"
    elif found := differences(Config.from_dict(json.loads(str(leader["config"]))), config):
        problem = f"{name} has other settings than process 0 ({'; '.join(found)}); give all the same"
    if other := group.agree(group.index if problem else None):
        raise InputError(problem or f"process {other} has another cache or other settings, see its output")


def follow(group: ProcessGroup, manifest: Manifest, config: Config) -> int:
    """Train along with process 0 until it ends; returns its exit code. Writes nothing; a signal stops all processes."""
    from kidney_seg.pipeline.slice_store import SliceStore
    from kidney_seg.training.progress import Progress
    from kidney_seg.training.trainer import Trainer

    with stop_request() as stop, stop.noted_only():
        try:
            patients = set(group.share()["patients"])
            trainer = Trainer(config, group)
            entries = [entry for entry in manifest.entries if entry.patient in patients]
            store = SliceStore(manifest, entries, config.data.memory_gb, config.model.input_slices)
            while True:
                state, epochs, peak_rate, steps = group.receive_round()
                trainer.set_state(state)
                try:
                    trainer.fit_round(store, epochs, peak_rate, start=Progress(steps), stop=stop)
                except Stopped as stopped:
                    if group.in_step:  # by a second signal, within a step
                        return stopped.exit_code
        except TrainingEnded as ended:
            return ended.args[0]
