"""Several processes that train together under JAX, on one host or on many.

Process 0 leads: it alone plays the rounds, validates, and writes the run folder, as a single process does. The others
follow (`launch`): they receive a round, train their share of its batches, and wait for the next. All that they send
each other are collectives of `jax.experimental.multihost_utils`, which fail where a process is gone.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from data_prep.errors import InputError
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.training.stop_request import StopRequest

GONE = 3  # exit code of a process that lost another one
HEARTBEAT_SECONDS = 30  # without a heartbeat for so long, JAX ends the other processes
WAIT_SECONDS = 30 * 86400  # for process 0, which validates alone; by default XLA gives up after half an hour on CPUs
# JAX raises a failed collective as RuntimeError or ValueError; the text starts with the status code.
_LOST = ("UNKNOWN", "UNAVAILABLE", "INTERNAL", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")


class TrainingEnded(Exception):
    """Process 0 has ended the training with the exit code `args[0]`."""


class ProcessGroup:
    """The processes that train together, as one of them sees it: number `index` of `count`."""

    def __init__(self, index: int, count: int):
        self.index, self.count = index, count
        self.in_step = False  # within `together`: the others wait in a collective, and only see that this one is gone

    @contextmanager
    def together(self, stop: StopRequest) -> Iterator[None]:
        """A block with collectives that every process finishes: the first signal is only noted."""
        self.in_step = True
        with stop.noted_only():
            yield
        self.in_step = False  # not after an exception

    def share(self, **arrays: Any) -> dict[str, np.ndarray]:
        """Return the arrays of process 0 in all processes, bit for bit; raises TrainingEnded where it has ended."""
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        content = np.frombuffer(stream.getvalue(), np.uint8)
        size = int(self._all("broadcast_one_to_all", np.int32(content.size)))
        if size < 0:
            raise TrainingEnded(-1 - size)
        content = self._all("broadcast_one_to_all", np.resize(content, size))
        with np.load(io.BytesIO(content.tobytes()), allow_pickle=False) as file:
            return dict(file)

    def send_round(
        self, state: Mapping[str, np.ndarray], epochs: Sequence[Samples], peak_rate: float, steps: int
    ) -> None:
        """Send a round that starts from `state` after `steps` steps; the others `receive_round` it."""
        columns = {f"samples_{name}": [vars(epoch)[name] for epoch in epochs] for name in vars(epochs[0])}
        self.share(peak_rate=peak_rate, steps=steps, **columns, **state)

    def receive_round(self) -> tuple[dict[str, np.ndarray], list[Samples], float, int]:
        state = self.share()
        columns = {name[8:]: state.pop(name) for name in list(state) if name.startswith("samples_")}
        epochs = [Samples(**dict(zip(columns, rows, strict=True))) for rows in zip(*columns.values(), strict=True)]
        return state, epochs, float(state.pop("peak_rate")), int(state.pop("steps"))

    def agree(self, value: int | None) -> int | None:
        """Return in all processes the `value`, above 0, of the first that gave one; None if none did."""
        values = self._all("process_allgather", np.int32(value or 0))
        return next((int(given) for given in values if given), None)

    def end(self, code: int) -> None:
        """End the training in all processes with the exit code of process 0."""
        if self.in_step:
            _exit(code)
        if self.index == 0:
            self._all("broadcast_one_to_all", np.int32(-1 - code))

    def leave(self, error: Exception) -> NoReturn:
        """Report an error after which the processes cannot train together, and end this one at once."""
        if isinstance(error, InputError):
            _exit(2, f"error: {error}")
        if isinstance(error, (RuntimeError, ValueError)) and str(error).startswith(_LOST):
            reason = str(error).splitlines()[0]
            _exit(
                GONE,
                f"error: process {self.index} of {self.count} lost another one, which was killed, failed (its own "
                f"output names the reason) or cannot be reached ({reason}); run the same command again to resume, with "
                "any number of processes",
            )
        _exit(1, "".join(traceback.format_exception(error)).rstrip())

    def _all(self, collective: str, value: np.ndarray | np.int32) -> np.ndarray:
        from jax.experimental import multihost_utils

        try:
            return np.asarray(getattr(multihost_utils, collective)(value))
        except (RuntimeError, ValueError) as error:
            self.leave(error)


def _exit(code: int, line: str = "") -> NoReturn:
    """End the process without JAX's shutdown, which waits for the others."""
    sys.stdout.flush()
    print(line, end="\n" if line else "", file=sys.stderr, flush=True)
    os._exit(code)


def join(coordinator: str, processes: int | None, process: int | None, seconds: int = 300) -> ProcessGroup:
    """Join the processes that meet at `coordinator`, HOST:PORT of process 0, as number `process` of `processes`.

    `auto`: as JAX finds all three from Slurm, Open MPI and the like. Must precede everything else of JAX.

    Raises:
        InputError: Keras' backend is not JAX, the three do not fit together, or not all processes join in `seconds`.
    """
    import keras

    if (backend := keras.backend.backend()) != "jax":
        raise InputError(
            f"--coordinator {coordinator}: several processes need Keras' backend jax, found {backend}; set "
            "KERAS_BACKEND=jax"
        )
    import jax

    address, count, number = (coordinator, processes, process) if coordinator != "auto" else (None, None, None)
    host, _, port = coordinator.rpartition(":")
    if address and not (host and port.isdecimal()):
        raise InputError(f"--coordinator {coordinator}: expected HOST:PORT of process 0, such as node1:12355")
    if address and (processes is None or process is None or not 0 <= process < processes):
        raise InputError(
            f"--processes {processes} --process {process}: expected both, the second from 0 to below the first"
        )
    jax.config.update("jax_enable_preemption_service", False)  # knows SIGTERM alone: docs/howto/scale.md
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_collective_timeout_seconds={WAIT_SECONDS} {flags}"
    try:
        jax.distributed.initialize(
            address,
            count,
            number,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=20,
        )
        return ProcessGroup(jax.process_index(), jax.process_count())
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"--coordinator {coordinator}: the processes did not meet ({str(error).splitlines()[0]}); start all of "
            "them, with the same address, which must be one of process 0 that the others can reach"
        ) from None
    finally:
        os.environ["XLA_FLAGS"] = flags  # JAX has read its own; TensorFlow's copy of XLA does not know that one
