"""How many scans can be predicted at once without running out of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from data_prep.errors import InputError
from data_prep.scans import Scan
from data_prep.volume import read_grid

PROGRAM_BYTES = 1_100_000_000  # a process with its network; with ONNX Runtime .3 GB
BYTES_PER_VOXEL = 9  # voxels, labels, objects; 6.3 were measured at 512 x 512 x 1059
_UNKNOWN = 512 * 512 * 600  # voxels of a scan whose header is not read


def jobs_that_fit(
    wanted: int, scans: Sequence[Scan], available: int | None = None, log: Callable[[str], None] = print
) -> int:
    """Return how many of `wanted` processes the memory holds, 1 at least, each with the largest scan; log if fewer.

    available: bytes; None asks the system.
    """
    if wanted <= 1:
        return wanted
    available = available_bytes() if available is None else available
    each = PROGRAM_BYTES + BYTES_PER_VOXEL * max(map(_voxels, scans), default=0)
    fitting = max(1, min(wanted, len(scans), available // each))
    if fitting < min(wanted, len(scans)):
        log(f"note: --jobs {wanted}: the memory free now, {available / 1e9:.1f} GB, is enough for {fitting}")
    return fitting


def available_bytes() -> int:
    """Return how much memory is free, by the system and by the limits of this process' group."""
    found = [_meminfo("MemAvailable")]
    for folder, most, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # without a limit the text is `max`
            found.append(int(Path(folder, most).read_text()) - int(Path(folder, used).read_text()))
    return max(0, min(found))


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def _voxels(scan: Scan) -> int:
    if scan.problem is not None or not scan.image.exists():
        return 0
    if scan.found is not None:
        return math.prod(scan.found.grid.size)
    try:
        return math.prod(read_grid(scan.image).size) if scan.image.is_file() and not scan.study else _UNKNOWN
    except InputError:  # it is reported when it is read
        return 0
