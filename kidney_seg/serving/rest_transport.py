"""Requests to TF Serving over REST, with slices and labels as base64 in JSON; needs no TensorFlow."""

from __future__ import annotations

import base64
import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from data_prep.files.json_files import parse_json
from kidney_seg.serving.client import MESSAGE_BYTES, TransportError

_RETRIABLE = (429, 502, 503, 504)
_ONLY_OUTPUT = {"png": "labels_bytes", "about": "contract_bytes"}


class RestTransport:
    """`/v1/models/MODEL:predict` of one server; see `client.Transport`."""

    inflation = 4 / 3 + 0.01  # base64

    def __init__(self, address: str, model: str, *, secure: bool = False):
        """address: HOST:PORT. secure: https."""
        self.address = address
        self._path = f"/v1/models/{quote(model, safe='')}:predict"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()  # kept open for the next request

    def request(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """See `client.Transport`."""
        columns = {
            name: [{"b64": base64.b64encode(one).decode("ascii")} for one in values]
            if isinstance(values, list)
            else values.tolist()
            for name, values in inputs.items()
        }
        body = json.dumps({"signature_name": signature, "inputs": columns}, separators=(",", ":")).encode("ascii")
        if len(body) > MESSAGE_BYTES:
            raise TransportError(f"a request of {len(body)} bytes is more than {MESSAGE_BYTES}", False)
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._kind(self.address)
        connection.timeout = timeout_s  # of each part: of connecting, sending and every read
        try:
            status, text = _within(timeout_s, lambda: self._exchange(connection, body))
        except (OSError, http.client.HTTPException) as error:
            _end(connection)
            raise TransportError(f"{type(error).__name__}: {error}", True) from None
        self._idle.put(connection)
        if len(text) > MESSAGE_BYTES:
            raise TransportError(f"the answer has more than {MESSAGE_BYTES} bytes", False)
        return self._outputs(status, text, signature)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read(MESSAGE_BYTES + 1)
        if not response.isclosed():  # longer than what was read, so the connection cannot be used again
            connection.close()
        return response.status, text

    def _outputs(self, status: int, text: bytes, signature: str) -> dict[str, list[bytes]]:
        try:
            answer = parse_json(text)
        except ValueError:
            answer = None
        if status != 200:
            reason = answer.get("error", "") if isinstance(answer, dict) else text[:200].decode("latin-1")
            raise TransportError(f"HTTP {status}: {reason}", status in _RETRIABLE)
        try:
            outputs = answer["outputs"]
            if not isinstance(outputs, dict):  # TF Serving omits the name of a single output
                outputs = {_ONLY_OUTPUT[signature]: outputs}
            return {name: [base64.b64decode(one["b64"]) for one in values] for name, values in outputs.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise TransportError(f"not an answer of TF Serving ({error!r})", False) from None

    def close(self) -> None:
        """See `client.Transport`."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


def _within(seconds: float, work: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return what `work` returns, or raise what it raises; TimeoutError after `seconds`.

    In a thread, because a socket's own limit is one of each read: a server that sends a byte a second meets it.
    """
    result: Future[tuple[int, bytes]] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from None


def _end(connection: http.client.HTTPConnection) -> None:
    # also a read that is waiting in another thread; `close` alone waits for it
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
