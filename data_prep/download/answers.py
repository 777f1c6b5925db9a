"""One HTTP or disk read of a file from a given byte on, with the file's size and version.

`requests` reads the answers: proxies and certificates come from the environment as everywhere, and TensorFlow installs
it already.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from data_prep.files.names import printable
from data_prep.files.regular_files import is_special

PIECE = 1 << 18
CONNECT_S, READ_S = 15.0, 60.0
FOR_GOOD = (400, 401, 402, 403, 404, 405, 410, 451)  # answers that another try does not change
_SHA256 = re.compile("[0-9a-f]{64}")


class Refused(Exception):
    """A file that cannot be had from an address; the text says why."""


class Trouble(Exception):
    """A failure that may pass; pause_s: what the server asks for, or None."""

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


@dataclass
class Answer:
    """An open answer.

    start: of the first piece in the file. total: bytes of the whole file, or None. mark: of this version of the file;
    empty if the server gives none. sha256: of the whole file, where the server announces it (Hugging Face), else empty.
    """

    pieces: Iterator[bytes]
    start: int
    total: int | None
    mark: str
    sha256: str = ""


@contextmanager
def opened(address: str, start: int, mark: str) -> Iterator[Answer]:
    """Yield the answer for a file from byte `start` on, if it is still the version `mark`; else from its first byte.

    Refused and Trouble say what is wrong, also while the pieces are read.
    """
    if urlsplit(address).scheme == "file":
        with _opened_file(Path(url2pathname(urlsplit(address).path)), start, mark) as answer:
            yield answer
        return
    import requests
    from urllib3.exceptions import HTTPError

    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": mark}
    host = printable(urlsplit(address).hostname or "", 80)
    try:
        with requests.get(address, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
            yield _answer(response, start, mark)
    except requests.exceptions.InvalidProxyURL:
        raise Refused(f"the proxy for {host} is no address; {_PROXIES}") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as no:
        if "SOCKS" in str(no):
            raise Refused(f"the proxy for {host} is a SOCKS one, which needs the package pysocks") from None
        raise Refused("not an address; expected one that begins with https://, http:// or file://") from None
    except requests.exceptions.SSLError:
        raise Trouble(f"the certificate of {host} is not accepted") from None
    except requests.exceptions.ProxyError:
        raise Trouble(f"the proxy does not connect to {host}; {_PROXIES}") from None
    except requests.exceptions.TooManyRedirects:
        raise Refused(f"{host} redirects without end") from None
    except requests.exceptions.Timeout:
        raise Trouble(f"{host} does not answer in time") from None
    except (requests.exceptions.RequestException, HTTPError):
        raise Trouble(f"no connection to {host}, or it was cut") from None


_PROXIES = "see http_proxy, https_proxy and all_proxy in the environment"


def _answer(response: Any, start: int, mark: str) -> Answer:
    code, sha256 = response.status_code, _announced(response)
    if code == 416 and start:  # nothing follows: all is here, or what is here is of another version
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
        return Answer(iter(()), start if length == str(start) else -1, None, mark, sha256)
    if code in FOR_GOOD:
        raise Refused(f"the server answers {code} {printable(response.reason or '', 40)}".strip())
    if code not in (200, 206):
        raise Trouble(f"the server answers {code}", _seconds(response.headers.get("Retry-After", "")))
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    first = 0
    if code == 206:
        span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        begin = span.partition("-")[0]
        if not begin.isdecimal():
            raise Trouble("the server's answer names no range")
        first, total = int(begin), int(whole) if whole.isdecimal() else None
    tag = response.headers.get("ETag", "")
    mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    read = getattr(response.raw, "read1", response.raw.read)  # read waits for a whole piece: it cannot see a stall
    pieces = iter(lambda: read(PIECE, decode_content=False), b"")
    return Answer(pieces, first, total, mark, sha256)


def _announced(response: Any) -> str:
    """Return the SHA-256 that Hugging Face names where it redirects to the file itself, or an empty text."""
    for one in (*response.history, response):
        found = one.headers.get("X-Linked-ETag", "").strip('"')
        if _SHA256.fullmatch(found):
            return found
    return ""


@contextmanager
def _opened_file(path: Path, start: int, mark: str) -> Iterator[Answer]:
    if is_special(path):
        raise Refused("is a pipe or a device")
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            now = f"{found.st_size}-{found.st_mtime_ns}"
            start = start if mark == now and start <= found.st_size else 0
            file.seek(start)
            yield Answer(iter(lambda: file.read(PIECE), b""), start, found.st_size, now)
    except OSError as error:
        if error.filename != str(path):
            raise
        raise Refused(error.strerror or "cannot be read") from None


def _seconds(text: str) -> float | None:
    """Return the seconds of a `Retry-After`, which is a number or a date; None if it is neither.

    >>> _seconds("120"), _seconds("soon"), _seconds("Wed, 21 Oct 2015 07:28:00 GMT")
    (120.0, None, 0.0)
    """
    if text.strip().isdecimal():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
