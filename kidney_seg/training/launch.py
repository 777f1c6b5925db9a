"""The options by which a command becomes one of several processes, and its course as one of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from data_prep.cache.manifest import Manifest
from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.training.process_group import Group, join


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--coordinator`, `--processes` and `--process`; defaults are JAX's own environment variables."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        default=os.environ.get("JAX_COORDINATOR_ADDRESS"),
        help="train in several processes, which meet there, on the host of process 0 (needs KERAS_BACKEND=jax); "
        "auto: as Slurm or Open MPI say",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", default=_number("JAX_NUM_PROCESSES"), help="how many they are"
    )
    parser.add_argument(
        "--process", type=int, metavar="I", default=_number("JAX_PROCESS_ID"), help="which one this is, from 0"
    )


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else None


def check_alone(arguments: argparse.Namespace) -> None:
    """Raise InputError where an option does not go together with several processes."""
    for name, value in (("seeds", arguments.seeds), ("reproduce", arguments.reproduce)):
        if value is not None:
            raise InputError(f"--{name}: not in several processes; leave it out, or --coordinator")
    if arguments.data is None:
        raise InputError(
            f"--coordinator {arguments.coordinator}: expected --data with it; the demo is trained by one process"
        )


def train_together(
    arguments: argparse.Namespace, manifest: Manifest, config: Config, lead: Callable[[Group], int]
) -> int:
    """Join the others, then `lead` or train along; returns the exit code of process 0, in all of them."""
    group = join(arguments.coordinator, arguments.processes, arguments.process)
    from kidney_seg.training.follower import follow
    from kidney_seg.training.stop_request import stop_request

    code = 1
    try:
        if group.index == 0:
            code = lead(group)
        else:
            with stop_request() as stop:
                code = follow(group, manifest, config, stop)
    except InputError:
        code = 2
        raise
    except Exception:
        group.fail()
        raise
    finally:
        group.end(code)
    return code
