"""The demo as a whole: what share of its time goes into steps of training."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row

WORK = (
    "`python -m kidney_seg.progressive` in an empty folder, once: simulation, caches, training, scores, report; the "
    "seconds of its epochs by the run's own clock, those that wait for data included"
)
QUICK = "start_steps=4 steps=4 starts=1 max_rounds=1 width_factor=0.1 size=32".split()
GOAL = ">= 0.7"


def rows(quick: bool) -> Iterator[Row]:
    """Yield the seconds of the job, of its epochs, and of waiting for data."""
    from kidney_seg.run import history_of, read_events

    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        code = (
            f"import sys; sys.path.insert(0, {str(root)!r}); from kidney_seg.progressive import main; sys.exit(main())"
        )
        command = [sys.executable, "-c", code, *(["--set", *QUICK] if quick else [])]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode > 1:  # 1: it ended, and every start collapsed
            raise RuntimeError(f"the demo: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}")
        epochs = history_of(read_events(Path(folder) / "runs" / "demo"))
    trained = sum(row["seconds"] for row in epochs)
    waited = sum(row["waited"] for row in epochs)
    job = "demo, the whole job"
    yield Row(job, seconds, "s")
    yield Row("demo, steps of training", trained, "s", ratio=trained / seconds, yardstick=job, goal=GOAL)
    steps = "demo, steps of training"
    yield Row("demo, waiting for data", waited, "s", ratio=waited / trained, yardstick=steps, goal="<= 0.03")
