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

from benchmarks.support.arms import Parts, memory_mb


def main() -> int:
    """Serve one arm; see the module's first lines."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print
    module, function = sys.argv[1].split(":")
    work: Callable[[], object] = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    for _ in sys.stdin:
        start = time.perf_counter()
        made = work()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "peak_mb": memory_mb(), "parts": made if isinstance(made, Parts) else {}}
        del made
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
