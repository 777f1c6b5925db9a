"""The page's program as a process of its own, asked over HTTP as a browser asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

PATIENCE_S = 300.0


class Page:
    """A running program: its address, and requests as its own page makes them."""

    def __init__(self, process: subprocess.Popen, address: str):
        self.process, self.address = process, address
        self.origin = address.split("/", 3)[0] + "//" + address.split("/")[2]

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.address + path, headers=headers, timeout=PATIENCE_S)

    def post(self, path: str, **options: Any) -> requests.Response:
        headers = {"Origin": self.origin, **options.pop("headers", {})}
        return requests.post(self.address + path, headers=headers, timeout=PATIENCE_S, **options)

    def upload(self, path: Path, ending: str) -> int:
        answer = self.post(f"upload?ending={ending}", data=path.read_bytes())
        assert answer.status_code == 200, answer.text
        return answer.json()["number"]

    def entry(self, number: int) -> dict[str, Any] | None:
        return next((one for one in self.get("state").json()["entries"] if one["number"] == number), None)

    def wait(self, number: int, *states: str) -> dict[str, Any]:
        """Return an entry as soon as it has one of the states; fails if it gets another final one."""
        entry: dict[str, Any] | None = {}

        def reached() -> bool:
            nonlocal entry
            entry = self.entry(number)
            assert entry is not None, "the entry is gone"
            assert entry["state"] in states or entry["state"] not in ("failed", "done"), entry
            return entry["state"] in states

        self.until(reached)
        return entry

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"not within {PATIENCE_S:.0f} s; {self.get('state').text}"
            time.sleep(0.1)


@contextmanager
def running(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Page]:
    """Run the program with `folder` for temporary files; at the end it is stopped and must leave nothing there."""
    folder.mkdir(exist_ok=True)
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "kidney_seg.app", "--no-browser", *words]
    env = {**os.environ, "TMPDIR": str(folder), "HOME": str(home), "PYTHONFAULTHANDLER": "1", **(environment or {})}
    log = open(folder.parent / f"{folder.name}.log", "w")  # noqa: SIM115
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
    try:
        line = process.stdout.readline()
        assert line.startswith("The page: http://127.0.0.1:"), Path(log.name).read_text()
        yield Page(process, line.split()[-1])
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(PATIENCE_S) == 0
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # prints where its threads are
                process.wait()
                raise AssertionError(Path(log.name).read_text()) from None
            assert [path.name for path in folder.iterdir() if path.name.startswith("kidney_seg")] == []
            assert list(home.iterdir()) == []
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        log.close()
