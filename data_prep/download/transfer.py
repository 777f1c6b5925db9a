"""One file over HTTP or from a disk: resumed within the file, tried again after growing pauses.

`requests` reads the answers: proxies and certificates come from the environment as everywhere, and TensorFlow installs
it already. Resuming within a file is ours: no small library does it together with the check that the file on the server
is still the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from data_prep.files.atomic import write_file
from data_prep.files.names import printable

PIECE = 1 << 20
CONNECT_S, READ_S = 15.0, 60.0
STALL_S, STALL_BYTES = 120.0, 1 << 16  # slower than this is no connection
LONGEST_PAUSE_S = 300.0
FOR_GOOD = (400, 401, 402, 403, 404, 405, 410, 451)  # answers that another try does not change


class Refused(Exception):
    """A file that cannot be had from an address; the text says why."""


class Stopped(Exception):
    """The user stops the download; what was received stays for the next one."""


class _Trouble(Exception):
    """A failure that may pass; pause_s: what the server asks for, or None."""

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


@dataclass
class Retry:
    """How often an address is tried without any progress, and the first pause in seconds, which then doubles."""

    tries: int = 8
    pause_s: float = 1.0
    stop: Event = field(default_factory=Event)

    def wait(self, seconds: float) -> None:
        """Wait; Stopped if the user stops meanwhile."""
        if self.stop.wait(min(seconds, LONGEST_PAUSE_S)):
            raise Stopped


@dataclass
class _Answer:
    pieces: Iterator[bytes]
    start: int  # of the first piece in the file
    total: int | None
    mark: str  # of this version of the file; empty if the server gives none


def fetch(address: str, part: Path, retry: Retry, received: Callable[[int], None] = lambda count: None) -> None:
    """Bring the file at `address` to `part`, after the bytes that are there.

    A file `part` with `.json` added holds the address and the server's mark of the version (ETag or date). Another
    version, another address, or a server without ranges or marks starts the file over.

    Args:
        received: gets the number of bytes of every piece; negative if bytes are dropped.

    Raises:
        Refused: the answer is final (such as 404), or `retry.tries` tries in a row brought nothing.
        Stopped: the user stops.
        OSError: the disk refuses.
    """
    fruitless, rounds = 0, 0
    while True:
        before = _size(part)
        try:
            _go_on(address, part, retry, received)
            return
        except _Trouble as trouble:
            rounds += 1
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= retry.tries or rounds >= 10 * retry.tries:
                raise Refused(f"{trouble} ({rounds} tries)") from None
            asked = trouble.pause_s
            retry.wait(retry.pause_s * 2 ** min(fruitless, 8) if asked is None else asked)


def forget(part: Path, received: Callable[[int], None] = lambda count: None) -> None:
    """Remove a part and what is known of it."""
    received(-_size(part))
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _go_on(address: str, part: Path, retry: Retry, received: Callable[[int], None]) -> None:
    mark = _mark_of(part, address)
    start = _size(part) if mark else 0
    with _opened(address, start, mark) as answer:
        if answer.start != _size(part) or (start and answer.mark != mark):
            forget(part, received)
            if answer.start:  # the middle of another version, or of a file that is not here
                raise _Trouble("the file on the server has changed", 0.0)
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
                    raise _Trouble("the server sends almost nothing")
        if answer.total is not None and done < answer.total:
            raise _Trouble(f"the connection ended after {done:,} of {answer.total:,} bytes")
        if answer.total is not None and done > answer.total:
            forget(part, received)
            raise _Trouble(f"the server sent more than the {answer.total:,} bytes that it had announced")


@contextmanager
def _opened(address: str, start: int, mark: str) -> Iterator[_Answer]:
    if urlsplit(address).scheme == "file":
        with _opened_file(Path(url2pathname(urlsplit(address).path)), start, mark) as answer:
            yield answer
        return
    import requests
    from urllib3.exceptions import HTTPError

    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": mark}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
            yield _answer(response, start, mark)
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise Refused("not an address; expected one that begins with https://, http:// or file://") from None
    except requests.exceptions.SSLError:
        raise _Trouble("the server's certificate is not accepted") from None
    except requests.exceptions.Timeout:
        raise _Trouble("the server does not answer in time") from None
    except (requests.exceptions.RequestException, HTTPError):
        host = printable(urlsplit(address).hostname or "", 80)
        raise _Trouble(f"no connection to {host}, or it was cut") from None


def _answer(response: Any, start: int, mark: str) -> _Answer:
    code = response.status_code
    if code == 416 and start:  # nothing follows: all is here, or what is here is of another version
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
        return _Answer(iter(()), start if length == str(start) else -1, None, mark)
    if code in FOR_GOOD:
        raise Refused(f"the server answers {code} {printable(response.reason or '', 40)}".strip())
    if code not in (200, 206):
        raise _Trouble(f"the server answers {code}", _seconds(response.headers.get("Retry-After", "")))
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    first = 0
    if code == 206:
        span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        begin = span.partition("-")[0]
        if not begin.isdecimal():
            raise _Trouble("the server's answer names no range")
        first, total = int(begin), int(whole) if whole.isdecimal() else None
    tag = response.headers.get("ETag", "")
    mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    return _Answer(response.raw.stream(PIECE, decode_content=False), first, total, mark)


@contextmanager
def _opened_file(path: Path, start: int, mark: str) -> Iterator[_Answer]:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            now = f"{found.st_size}-{found.st_mtime_ns}"
            start = start if mark == now and start <= found.st_size else 0
            file.seek(start)
            yield _Answer(iter(lambda: file.read(PIECE), b""), start, found.st_size, now)
    except OSError as error:
        if error.filename != str(path):
            raise
        raise Refused(error.strerror or "cannot be read") from None


def _seconds(text: str) -> float | None:
    if text.strip().isdecimal():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


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
