"""A server under load: `python -m benchmarks.serving DIR`, an exported model.

Clients at once, each sending scan after scan; prints slices a second, p50 and p95 of a request, errors, and how the
server's memory went. Without `--server`, the stand-in for TF Serving runs in a process of its own on this machine: what
is measured is then client, protocol and graph, not TF Serving.
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
GROWTH_MB = 64  # of the server's memory after the first third: more is a leak


class Timed:
    """A transport that notes how long requests took."""

    def __init__(self, inner: Any, seconds: list[float]):
        self.inner, self.seconds = inner, seconds
        self.address, self.inflation = inner.address, inner.inflation

    def request(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """Pass a request on."""
        begun = time.perf_counter()
        answer = self.inner.request(signature, inputs, timeout_s)
        if signature == "png":
            self.seconds.append(time.perf_counter() - begun)
        return answer

    def close(self) -> None:
        """Pass it on."""
        self.inner.close()


def measure(server: str, pid: int | None, clients: int, seconds: float, voxels: np.ndarray) -> dict[str, Any]:
    """Let `clients` send the volume, once and then again for so many seconds; returns the figures that `main` prints.

    pid: the server's process on this machine, whose memory is watched (Linux), or None.
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
            while not done[number] or time.monotonic() < end:  # once at least, however slow the machine is
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
    return {
        "slices_per_second": sum(done) / took,
        "p50_ms": 1000 * float(np.percentile(times, 50)) if times else float("nan"),
        "p95_ms": 1000 * float(np.percentile(times, 95)) if times else float("nan"),
        "requests": len(times),
        "errors": errors,
        "memory_mb": (settled[0], settled[-1]) if settled else None,
    }


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _volume(slices: int, edge: int) -> np.ndarray:
    from data_prep.phantom.patient import simulate_patient

    patient = simulate_patient(0, size=128, slices=max(8, slices)).image[:slices]
    times = edge // 128
    large = np.repeat(np.repeat(patient, times, 1), times, 2)
    noise = np.random.default_rng(0).normal(0, 20, large.shape)  # CT does not compress better than its noise
    return (large + noise).astype(np.int16)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description="Measure a served model under load, over gRPC and REST."
    )
    add = parser.add_argument
    add("model", metavar="DIR", nargs="?", help="exported model, for the stand-in server")
    add("--server", metavar="HOST:PORT", nargs="+", help="running servers instead (http:// for REST)")
    add("--clients", type=int, default=8, metavar="N", help="at once (default: %(default)s)")
    add("--seconds", type=float, metavar="S", help=f"each protocol (default: {SECONDS:g})")
    add("--slices", type=int, default=32, metavar="N", help="of a scan (default: %(default)s)")
    add("--edge", type=int, default=512, metavar="PX", help="rows and columns (default: %(default)s)")
    add("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s, memory not judged")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print a line for each protocol; 1 if there was an error or the server's memory grew. See `--help`."""
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
        told = f"{memory[0]:.0f} -> {memory[1]:.0f}" if memory else "-"
        print(
            f"{'REST' if server.startswith('http') else 'gRPC':8} {found['slices_per_second']:9.1f} "
            f"{found['p50_ms']:8.0f} {found['p95_ms']:8.0f} {found['requests']:9d} {len(found['errors']):7d}  {told}"
        )
        for error in found["errors"][:3]:
            print(f"error: {error}", file=sys.stderr)
        leaks = memory and memory[1] - memory[0] > GROWTH_MB and not quick  # in a second it only warms up
        good = good and not found["errors"] and not leaks
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
