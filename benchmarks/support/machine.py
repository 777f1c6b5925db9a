"""Speed of the machine (matrix product, copy, disk) and its load by other processes."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.rows import Row, speed_row
from kidney_seg.hardware import instructions

WORK = "matrix product of float32; copy of memory; a file just written, read from disk and from the cache"
PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "onnxruntime", "torch")
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_tile": "AMX"}
EDGE, QUICK_EDGE = 3072, 256  # of the square matrices
COPY_MB, QUICK_MB = 512, 8


def describe() -> dict[str, str]:
    """Return what a measurement depends on: processor, cores, memory, system, versions."""
    words = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in words if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB",
        "instructions": ", ".join(name for flag, name in INSTRUCTIONS.items() if flag in instructions()) or "unknown",
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    from_which = packages_distributions()  # TensorFlow comes from `tensorflow` or `tensorflow-cpu`
    for package in PACKAGES:
        found[package] = version(from_which[package][0]) if package in from_which else "not installed"
    return found


class Others:
    """Measure the share of the processors used by others (Linux; includes time stolen from a virtual machine).

    Own child processes are subtracted once they have ended and were waited for.
    """

    def __init__(self) -> None:
        self.busy, self.all = self._busy_and_all()

    def share(self) -> float:
        """Return the share since the start, 0 to 1."""
        busy, everything = self._busy_and_all()
        return max(0.0, busy - self.busy) / max(1.0, everything - self.all)

    @staticmethod
    def _busy_and_all() -> tuple[float, float]:
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        idle = ticks[3] + ticks[4]
        return sum(ticks) - idle - own * os.sysconf("SC_CLK_TCK"), sum(ticks)


def matrix_product(edge: int, repeats: int = 1) -> Callable[[], object]:
    """Return a function that multiplies two float32 matrices by oneDNN, as TensorFlow's convolutions do."""
    import tensorflow as tf

    first, second = tf.random.normal((edge, edge)), tf.random.normal((edge, edge))
    product = tf.function(tf.matmul, jit_compile=False)

    def work() -> None:
        for _ in range(repeats):
            product(first, second).numpy()

    return work


def copy(megabytes: int) -> Callable[[], object]:
    """Return a function that copies so many MB in memory, by one thread."""
    import numpy as np

    source = np.ones(megabytes * 10**6, np.uint8)
    target = np.zeros_like(source)
    return lambda: np.copyto(target, source)


def read_disk(path: str, cached: bool) -> Callable[[], object]:
    """Return a function that reads a whole file from disk or from the system's cache."""

    def work() -> None:
        with open(path, "rb", buffering=0) as file:
            if not cached:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(8 << 20):
                pass

    return work


def rate_now(edge: int = 1024, turns: int = 9) -> float:
    """Return the rate of matrix products by numpy in this process, in GFLOP/s."""
    import numpy as np

    matrix = np.ones((edge, edge), np.float32)
    best = float("inf")
    for _ in range(turns):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * edge**3 / best / 1e9


def rows(quick: bool) -> Iterator[Row]:
    """Yield the machine's rates."""
    edge, megabytes, turns = (QUICK_EDGE, QUICK_MB, 3) if quick else (EDGE, COPY_MB, 9)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "file"
        path.write_bytes(os.urandom(megabytes * 10**6))
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # only what is on disk can be dropped from the cache
        ours = "benchmarks.support.machine"
        arms = {
            "product": Arm(f"{ours}:matrix_product", {"edge": edge}),
            "copy": Arm(f"{ours}:copy", {"megabytes": megabytes}),
            "disk": Arm(f"{ours}:read_disk", {"path": str(path), "cached": False}),
            "cache": Arm(f"{ours}:read_disk", {"path": str(path), "cached": True}),
        }
        found = in_turn(arms, turns)
    yield speed_row("matrix product, all cores", found["product"], 2 * edge**3 / 1e9, "GFLOP/s")
    yield speed_row("copy, one thread", found["copy"], megabytes / 1e3, "GB/s")
    yield speed_row("read, disk", found["disk"], megabytes / 1e3, "GB/s")
    yield speed_row("read, system's cache", found["cache"], megabytes / 1e3, "GB/s")
