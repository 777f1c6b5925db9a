"""The process of one arm (see `benchmarks.support.arms`): `python -m benchmarks.support.one_arm MODULE:FUNCTION JSON`.

The function, called with the JSON's arguments, returns the work as a function without arguments. Each line of input is
answered by one line: seconds of the work, done once, and the peak memory. Work that measures more returns `Parts`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.support.arms import Parts, memory_mb


def prepare(target: str, arguments: dict[str, Any]) -> Callable[[], object]:
    """Return the work of an arm: what the function MODULE:FUNCTION returns for these arguments."""
    module, function = target.split(":")
    return getattr(importlib.import_module(module), function)(**arguments)


def do(work: Callable[[], object]) -> dict[str, Any]:
    """Do the work once; return its seconds, the peak memory of this process in MB, and the `Parts` that it measured."""
    start = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": memory_mb(), "parts": made if isinstance(made, Parts) else {}}


def main() -> int:
    """Serve one arm; see the module's first lines."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print
    work = prepare(sys.argv[1], json.loads(sys.argv[2]))
    for _ in sys.stdin:
        print(json.dumps(do(work)), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
