"""Tasks handed to the workers of a Dask scheduler (extra `scale`): retries, and one bad task does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from data_prep.errors import InputError, require
from data_prep.parallel.workers import Died

RETRIES = 2  # of a task whose function raises; tasks of a worker that dies go to another one anyhow
JOIN_SECONDS = 30


def in_scheduler(
    function: Callable[..., Any], tasks: Sequence[tuple], address: str, retries: int = RETRIES
) -> Generator[tuple[int, Any]]:
    """Call `function(*task)` for every task on the workers of the scheduler at `address`, such as tcp://node1:8786.

    Yields (index of the task, result) as they finish; the result is a `Died` where the workers died under the task
    again and again, or its function raised every time. The workers need this package, and the same paths. Closing the
    iterator cancels what has not begun. InputError where Dask is not installed and where no scheduler answers.
    """
    distributed = require("distributed", "scale")
    try:
        client = distributed.Client(address, timeout=JOIN_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}: no Dask scheduler answers ({' '.join(str(error).split())}); start one with "
            "dask scheduler, and workers with dask worker"
        ) from None
    with client:
        # impure: what a task does is to write files, so that no result of an earlier build stands for it
        futures = [client.submit(function, *task, pure=False, retries=retries) for task in tasks]
        places = {future.key: index for index, future in enumerate(futures)}
        try:
            for future in distributed.as_completed(futures):
                try:
                    result = future.result()
                except Exception as error:  # of the function, of the workers, of the cluster
                    result = Died(None, " ".join(f"{type(error).__name__}: {error}".split()))
                yield places[future.key], result
        finally:
            client.cancel(futures)
