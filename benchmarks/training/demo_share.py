"""The whole demo: the share of its time spent in training steps."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.rows import Row

WORK = (
    "what `make demo` does, in an empty folder, once: simulation, caches, training, scores, report; the seconds of its "
    "epochs by the run's own clock, those that wait for data included"
)
DEMO = "from kidney_seg.progressive.__main__ import main; sys.exit(main([]))", "runs/demo"  # code, and its run folder
QUICK = (
    "from kidney_seg.progressive.small_run import small_run\n"
    "small_run('.', 'starts=1', 'start_steps=2', 'max_rounds=0', "
    "'width_factor=0.1', 'gates=', 'multi_scale_input=false', 'deep_supervision=false')",
    "progressive",
)
GOAL = ">= 0.7"


def rows(quick: bool) -> Iterator[Row]:
    """Yield the seconds of the whole job, of its epochs, and of waiting for data."""
    from kidney_seg.run.journal import Journal, RunStatus

    root = Path(__file__).resolve().parents[2]
    work, run = QUICK if quick else DEMO
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {work}"]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        journal = Journal(Path(folder) / run)
        if journal.status is not RunStatus.FINISHED:
            raise RuntimeError(f"the demo: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}")
    epochs = journal.history()
    trained, waited = (sum(row[name] for row in epochs) for name in ("seconds", "waited"))
    job, steps = "demo, the whole job", "demo, steps of training"
    yield Row(job, seconds, "s")
    yield Row(steps, trained, "s", ratio=trained / seconds, yardstick=job, goal=GOAL)
    yield Row("demo, waiting for data", waited, "s", ratio=waited / trained, yardstick=steps, goal="<= 0.03")
