"""A server under load: `python -m benchmarks.serving DIR`, an exported model.

Concurrent clients send one scan after the other. Without `--server`, the stand-in for TF Serving runs in a process on
this machine, so that client, protocol and graph are measured, not TF Serving.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cli import command
from data_prep.errors import InputError

QUICK_SECONDS, SECONDS = 1.0, 60.0
GROWTH_MB = 64  # growth of the server's memory after the first third; more is a leak


class Timed:
    """A transport that records how long requests take."""

    def __init__(self, inner: Any, seconds: list[float]):
        self.inner, self.seconds = inner, seconds
        self.address, self.inflation, self.close = inner.address, inner.inflation, inner.close

    def request(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """Send a request."""
        begun = time.perf_counter()
        answer = self.inner.request(signature, inputs, timeout_s)
        if signature == "png":
            self.seconds.append(time.perf_counter() - begun)
        return answer


def measure(server: str, pid: int | None, clients: int, seconds: float, voxels: np.ndarray) -> dict[str, Any]:
    """Let `clients` send the volume, at least once and for `seconds`; return the numbers that `main` prints.

    pid: the server's process on this machine, whose memory is measured (Linux), or None.
    """
    from kidney_seg.serving.client import RetryPolicy, segment
    from kidney_seg.serving.volumes import connect

    times: list[float] = []
    errors: list[str] = []
    done = [0] * clients
    end = time.monotonic() + seconds
    begun = time.perf_counter()

    def client(number: int) -> None:
        transport = Timed(connect(server), times)
        try:
            while not done[number] or time.monotonic() < end:  # at least once on a slow machine
                segment(transport, voxels, (3.0, 0.8, 0.8), RetryPolicy(retries=0), concurrent_requests=2)
                done[number] += len(voxels)
        except InputError as error:
            errors.append(str(error))
        finally:
            transport.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        if pid is not None:
            memory.append(_resident_mb(pid))
        time.sleep(0.2)
    took = time.perf_counter() - begun
    settled = memory[len(memory) // 3 :]
    p50_ms, p95_ms = 1000 * np.percentile(times or [np.nan], (50, 95))
    return {
        "slices_per_second": sum(done) / took,
        "p50_ms": float(p50_ms),
        "p95_ms": float(p95_ms),
        "requests": len(times),
        "errors": errors,
        "memory_mb": (settled[0], settled[-1]) if settled else None,
    }


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), float("nan"))


def _volume(slices: int, edge: int) -> np.ndarray:
    from data_prep.phantom.patient import simulate_patient

    patient = simulate_patient(0, size=128, slices=max(8, slices)).image[:slices]
    times = edge // 128
    large = np.repeat(np.repeat(patient, times, 1), times, 2)
    noise = np.random.default_rng(0).normal(0, 20, large.shape)  # as hard to compress as CT
    return (large + noise).astype(np.int16)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description="Measure a served model under load, over gRPC and REST."
    )
    add = parser.add_argument
    add("model", metavar="DIR", nargs="?", help="exported model for the stand-in server")
    add("--server", metavar="HOST:PORT", nargs="+", help="measure running servers instead (http:// for REST)")
    add("--clients", type=int, default=8, metavar="N", help="concurrent clients (default: %(default)s)")
    add("--seconds", type=float, metavar="S", help=f"seconds per protocol (default: {SECONDS:g})")
    add("--slices", type=int, default=32, metavar="N", help="slices of a scan (default: %(default)s)")
    add("--edge", type=int, default=512, metavar="PX", help="rows and columns of a slice (default: %(default)s)")
    add("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s per protocol, without a limit on memory")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print a line per protocol; 1 if a request failed or the server's memory grew."""
    if bool(options.model) == bool(options.server):
        raise InputError("give an exported model, or --server HOST:PORT")
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    voxels = _volume(options.slices, options.edge)
    if options.server:
        return _report(dict.fromkeys(options.server), options.clients, seconds, voxels, options.quick)
    command = [sys.executable, "-m", "benchmarks.serving.stand_in", options.model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        ports = process.stdout.readline().split()
        if not ports:
            raise InputError(f"{options.model}: the stand-in server did not start")
        servers = {f"127.0.0.1:{ports[0]}": process.pid, f"http://127.0.0.1:{ports[1]}": process.pid}
        try:
            return _report(servers, options.clients, seconds, voxels, options.quick)
        finally:
            process.stdin.close()


def _report(servers: Mapping[str, int | None], clients: int, seconds: float, voxels: np.ndarray, quick: bool) -> int:
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    good = True
    print(f"{clients} clients, {seconds:g} s, scans of {' x '.join(map(str, voxels.shape))}")
    print(f"{'protocol':8} {'slices/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'requests':>9} {'errors':>7}  server MB")
    for server, pid in servers.items():
        found = measure(server, pid, clients, seconds, voxels)
        memory = found["memory_mb"]
        growth = f"{memory[0]:.0f} -> {memory[1]:.0f}" if memory else "-"
        print(
            f"{'REST' if server.startswith('http') else 'gRPC':8} {found['slices_per_second']:9.1f} "
            f"{found['p50_ms']:8.0f} {found['p95_ms']:8.0f} {found['requests']:9d} {len(found['errors']):7d}  {growth}"
        )
        for error in found["errors"][:3]:
            print(f"error: {error}", file=sys.stderr)
        leaks = memory and memory[1] - memory[0] > GROWTH_MB and not quick  # one second is only warm-up
        good = good and not found["errors"] and not leaks
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
