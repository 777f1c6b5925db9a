"""One file over HTTP or from a disk: resumed within the file, tried again after growing pauses.

Resuming within a file is ours: no small library does it together with the check that the file on the server is still
the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from data_prep.download.answers import Refused, Trouble, opened
from data_prep.files.atomic import write_file

STALL_S, STALL_BYTES = 120.0, 1 << 16  # slower than this is no connection
LONGEST_PAUSE_S = 300.0


class Stopped(Exception):
    """The user stops the download; what was received stays for the next one."""


@dataclass
class Retry:
    """How often an address is tried without any progress, and the first pause in seconds, which then doubles.

    A host that gave nothing in all tries of a file, and no other file since, is tried once for each further file.

    told: gets the reason when a try brought nothing, such as `the server answers 503`.
    """

    tries: int = 8
    pause_s: float = 1.0
    stop: Event = field(default_factory=Event)
    told: Callable[[str], None] = lambda why: None
    silent_hosts: set[str] = field(default_factory=set)

    def wait(self, seconds: float) -> None:
        """Wait; Stopped if the user stops meanwhile."""
        if self.stop.wait(min(seconds, LONGEST_PAUSE_S)):
            raise Stopped


def fetch(address: str, part: Path, retry: Retry, received: Callable[[int], None] = lambda count: None) -> str:
    """Bring the file at `address` to `part`, after the bytes that are there; return the SHA-256 that the server names.

    A file `part` with `.json` added holds the address and the server's mark of the version (ETag or date). Another
    version, another address, or a server without ranges or marks starts the file over.

    Args:
        received: gets the number of bytes of every piece; negative if bytes are dropped.

    Returns:
        64 hexadecimal digits; empty if the server does not name it, as most do not.

    Raises:
        Refused: the answer is final (such as 404), or `retry.tries` tries in a row brought nothing.
        Stopped: the user stops.
        OSError: the disk refuses.
    """
    host = urlsplit(address).netloc
    fruitless, rounds = 0, 0
    while True:
        before = _size(part)
        try:
            sha256 = _go_on(address, part, retry, received)
        except Trouble as trouble:
            rounds += 1
            fruitless = 0 if _size(part) > before else fruitless + 1
            if not fruitless:
                retry.silent_hosts.discard(host)
            tries = 1 if host in retry.silent_hosts else retry.tries
            if fruitless >= tries or rounds >= 10 * retry.tries:
                if fruitless >= retry.tries:
                    retry.silent_hosts.add(host)
                raise Refused(f"{trouble} ({rounds} {'try' if rounds == 1 else 'tries'})") from None
            if fruitless:
                retry.told(str(trouble))
            asked = trouble.pause_s
            retry.wait(retry.pause_s * 2 ** min(fruitless, 8) if asked is None else asked)
        else:
            retry.silent_hosts.discard(host)
            return sha256


def forget(part: Path, received: Callable[[int], None] = lambda count: None) -> None:
    """Remove a part and what is known of it."""
    received(-_size(part))
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _go_on(address: str, part: Path, retry: Retry, received: Callable[[int], None]) -> str:
    mark = _mark_of(part, address)
    start = _size(part) if mark else 0
    with opened(address, start, mark) as answer:
        if answer.start != _size(part) or (start and answer.mark != mark):
            forget(part, received)
            if answer.start:  # the middle of another version, or of a file that is not here
                raise Trouble("the file on the server has changed", 0.0)
        if answer.total is not None:
            _refuse_no_room(part, answer.total - answer.start)
        if not answer.start:
            write_file(_notes(part), json.dumps({"address": address, "mark": answer.mark}).encode())
        done, since, recent = answer.start, time.monotonic(), 0
        with open(part, "ab") as file:
            for piece in answer.pieces:
                file.write(piece)
                done, recent = done + len(piece), recent + len(piece)
                received(len(piece))
                if retry.stop.is_set():
                    raise Stopped
                if recent >= STALL_BYTES:
                    since, recent = time.monotonic(), 0
                elif time.monotonic() - since > STALL_S:
                    raise Trouble("the server sends almost nothing")
        if answer.total is not None and done < answer.total:
            raise Trouble(f"the connection ended after {done:,} of {answer.total:,} bytes")
        if answer.total is not None and done > answer.total:
            forget(part, received)
            raise Trouble(f"the server sent more than the {answer.total:,} bytes that it had announced")
        return answer.sha256


def _refuse_no_room(part: Path, needed: int) -> None:
    import errno
    import shutil

    if needed > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _mark_of(part: Path, address: str) -> str:
    try:
        known = json.loads(_notes(part).read_bytes())
        return str(known["mark"]) if known["address"] == address else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0
