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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from data_prep.errors import InputError
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.training.stop_request import StopRequest

GONE = 3  # exit code of a process that lost another one
JOIN_SECONDS = 300
HEARTBEAT_SECONDS = 30  # without a heartbeat for so long, JAX ends the other processes
WAIT_SECONDS = 30 * 86400  # for process 0, which validates alone; XLA on CPUs gives up after half an hour by itself
# JAX raises a failed collective as RuntimeError or ValueError; the text starts with the status code.
_LOST = ("UNKNOWN", "UNAVAILABLE", "INTERNAL", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")


class TrainingEnded(Exception):
    """Process 0 has ended the training; `code` is its exit code."""

    def __init__(self, code: int):
        super().__init__(f"process 0 has ended with code {code}")
        self.code = code


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

    def broadcast(self, content: bytes = b"") -> bytes:
        """Return the `content` of process 0 in all processes; raises TrainingEnded where it has ended."""
        from jax.experimental.multihost_utils import broadcast_one_to_all

        size = int(self._collective(broadcast_one_to_all, np.int32(len(content))))
        if size < 0:
            raise TrainingEnded(-1 - size)
        buffer = np.zeros(size, np.uint8) if self.index else np.frombuffer(content, np.uint8)
        return self._collective(broadcast_one_to_all, buffer).tobytes()

    def send(self, **arrays: Any) -> None:
        """Send arrays from process 0 to all others, bit for bit."""
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        self.broadcast(stream.getvalue())

    def receive(self) -> dict[str, np.ndarray]:
        """Return the arrays that process 0 sends next; raises TrainingEnded if there are none."""
        with np.load(io.BytesIO(self.broadcast()), allow_pickle=False) as file:
            return dict(file)

    def send_round(
        self, state: Mapping[str, np.ndarray], epochs: Sequence[Samples], peak_rate: float, steps: int
    ) -> None:
        """Send what `receive_round` returns in the others: a round that starts from `state` after `steps` steps."""
        columns = {f"samples_{name}": [vars(epoch)[name] for epoch in epochs] for name in vars(epochs[0])}
        self.send(peak_rate=peak_rate, steps=steps, **columns, **state)

    def receive_round(self) -> tuple[dict[str, np.ndarray], list[Samples], float, int]:
        """Return the next round of process 0; raises TrainingEnded if there is none."""
        state = self.receive()
        peak_rate, steps = float(state.pop("peak_rate")), int(state.pop("steps"))
        names = [name for name in state if name.startswith("samples_")]
        columns = {name.removeprefix("samples_"): state.pop(name) for name in names}
        epochs = [Samples(**dict(zip(columns, rows, strict=True))) for rows in zip(*columns.values(), strict=True)]
        return state, epochs, peak_rate, steps

    def agree(self, value: int | None) -> int | None:
        """Return in all processes the `value`, above 0, of the first that gave one; None if none did."""
        from jax.experimental.multihost_utils import process_allgather

        values = self._collective(process_allgather, np.int32(value or 0))
        return next((int(given) for given in values if given), None)

    def end(self, code: int) -> None:
        """End the training with the exit code of process 0, in all processes."""
        from jax.experimental.multihost_utils import broadcast_one_to_all

        if self.in_step:
            _exit(code)
        if self.index == 0:
            self._collective(broadcast_one_to_all, np.int32(-1 - code))

    def leave(self, error: Exception) -> NoReturn:
        """Report an error after which the processes cannot go on together, and end this one at once."""
        code, status = 1, str(error).partition(":")[0]
        if isinstance(error, InputError):
            code = 2
            print(f"error: {error}", file=sys.stderr)
        elif isinstance(error, (RuntimeError, ValueError)) and status in _LOST:
            code, reason = GONE, str(error).splitlines()[0]
            print(
                f"error: process {self.index} of {self.count} lost another one, which was killed, failed (its own "
                f"output names the reason) or cannot be reached ({reason}); run the same command again to resume, with "
                "any number of processes",
                file=sys.stderr,
            )
        else:
            traceback.print_exception(error)
        _exit(code)

    def _collective(self, run: Callable[[Any], Any], value: Any) -> np.ndarray:
        try:
            return np.asarray(run(value))
        except (RuntimeError, ValueError) as error:
            self.leave(error)


def _exit(code: int) -> NoReturn:
    """End the process without JAX's shutdown, which waits for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def join(
    coordinator: str, processes: int | None = None, process: int | None = None, seconds: int = JOIN_SECONDS
) -> ProcessGroup:
    """Join the processes that meet at `coordinator`, HOST:PORT of process 0, as number `process` of `processes`.

    `auto`: as JAX finds all three from Slurm, Open MPI and the like. Must precede everything else of JAX.

    Raises:
        InputError: Keras' backend is not JAX, the three do not fit together, or not all processes join in `seconds`.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise InputError(
            f"--coordinator {coordinator}: several processes need Keras' backend jax, found "
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax"
        )
    import jax

    address: str | None = coordinator
    if coordinator == "auto":
        address = processes = process = None
    elif not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator {coordinator}: expected HOST:PORT of process 0, such as node1:12355")
    elif processes is None or process is None or not 0 <= process < processes:
        raise InputError(
            f"--processes {processes} --process {process}: expected both, the second from 0 to below the first"
        )
    jax.config.update("jax_enable_preemption_service", False)  # knows SIGTERM alone: docs/howto/scale.md
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    flags = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_collective_timeout_seconds={WAIT_SECONDS} {flags or ''}"
    try:
        jax.distributed.initialize(
            address,
            processes,
            process,
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
    finally:  # JAX has read the flags; TensorFlow's copy of XLA does not know this one
        del os.environ["XLA_FLAGS"]
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags
