"""The transports against servers that are slow, hostile or no model server, over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from data_prep.errors import InputError
from kidney_seg.export.slice_png import decode_labels
from kidney_seg.serving.client import RetryPolicy, TransportError, fetch_contract
from kidney_seg.serving.volumes import connect

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield HOST:PORT of a server that does `answer` with each connection after its first bytes."""
    ended = threading.Event()

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            answer(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):  # closed with something unread, it would be reset under the answer
                pass

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def drip(start: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(0.05)

    return answer


def once(content: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(content)


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
@pytest.mark.parametrize("start", [b"", HEAD + b"X: ", HEAD + b"Content-Length: 4000\r\n\r\n", b"\x00\x00\x06\x04"])
def test_the_timeout_is_one_of_the_whole_request(scheme: str, start: bytes) -> None:
    if scheme == "grpc":
        pytest.importorskip("tensorflow_serving", reason="no extra `serving`")
    with serving(drip(start)) as address:
        transport = connect(f"{scheme}://{address}")
        began = time.monotonic()
        with pytest.raises(TransportError) as caught:
            transport.request("about", {"ask": [b""]}, 0.5)
        took = time.monotonic() - began
        transport.close()
    assert took < 2 and caught.value.retriable
    if scheme == "http" and start[:4] == b"HTTP":
        assert "no whole answer within 0.5 s" in str(caught.value)


def test_a_connection_that_timed_out_is_not_used_again() -> None:
    seen: list[int] = []

    def answer(connection: socket.socket) -> None:
        seen.append(connection.fileno())
        if len(seen) == 1:
            drip(HEAD)(connection)
        connection.sendall(HEAD + b'Content-Length: 33\r\n\r\n{"outputs": [{"b64": "eA=="}]}   ')

    with serving(answer) as address:
        transport = connect(f"http://{address}")
        with pytest.raises(TransportError):
            transport.request("about", {"ask": [b""]}, 0.3)
        assert transport.request("about", {"ask": [b""]}, 5) == {"contract_bytes": [b"x"]}
        transport.close()


HOSTILE = {
    "escape sequences": (400, json.dumps({"error": "\x1b]0;x\x07\nerror: fine"}).encode(), "HTTP 400: .x1b"),
    "escapes, no JSON": (500, b"\x1b[2J\x9b31m", "HTTP 500: .x1b"),
    "too deep": (200, b"[" * 1_000_000, "not an answer"),
    "another form": (200, b'{"outputs": {"contract_bytes": 5}}', "not an answer"),
    "numbers": (200, b'{"outputs": [1, 2]}', "not an answer"),
    "a huge number": (200, b'{"outputs": 1' + b"0" * 5000 + b"}", "not an answer"),
    "no base64": (200, b'{"outputs": [{"b64": "\xff"}]}', "not an answer"),
    "no contract": (200, b'{"outputs": [{"b64": "W10="}]}', "contract"),
    "a deep contract": (200, b'{"outputs": [{"b64": "' + b"W1tb" * 100_000 + b'"}]}', "contract"),
    "too long": (200, b" " * 4_100_000, "more than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_answers_that_are_none_end_in_one_line(name: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    from support.helpers import save

    from kidney_seg.serving.__main__ import main

    code, body, words = HOSTILE[name]
    content = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (code, len(body)) + body
    scan = save(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16))
    with serving(once(content)) as address:
        out = str(tmp_path / "out.nii.gz")
        assert main([f"http://{address}", str(scan), "--out", out, "--retries", "0", "--timeout", "20"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and error[:-1].isprintable() and len(error) < 700
    assert words.replace(".x1b", "\\x1b") in error, error
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_status_lines_and_headers_that_are_none() -> None:
    for content in (
        b"",
        b"\x1b[2J\r\n\r\n",
        b"HTTP/1.1 x\r\n\r\n",
        HEAD + b"X: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 " * 9000,
    ):
        with serving(once(content)) as address, pytest.raises(InputError) as caught:
            fetch_contract(connect(f"http://{address}"), RetryPolicy(5, 0))
        assert "\n" not in str(caught.value)


def test_pictures_of_gigapixels_and_of_other_kinds_are_refused(recwarn: pytest.WarningsRecorder) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    start = b"\x89PNG\r\n\x1a\n"
    for edge in (12_000, 60_000, 2**31 - 1):
        header = edge.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
        for rest in (
            chunk(b"IDAT", zlib.compress(b"")),
            chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(9_000_000))),
            b"",
        ):
            with pytest.raises(ValueError):
                decode_labels(start + chunk(b"IHDR", header) + rest, (3, 2))
    assert not recwarn.list


@pytest.mark.parametrize("timeout_s", [float("inf"), float("nan"), 1e300, -1])
def test_timeouts_that_are_none(timeout_s: float) -> None:
    with pytest.raises(InputError, match="timeout"):
        RetryPolicy(timeout_s)
