"""Several processes that train together, on one host or on many, under JAX.

JAX finds them and does the arithmetic over all. Process 0 leads: it alone plays the rounds, judges, and writes the run
folder, as a single process does. The others follow: they wait for a round, take their share of its batches, and wait
again. For that every follower holds a connection to process 0; after each batch all agree over it whether to stop, and
where it breaks, a process is gone and the others end.
"""

from __future__ import annotations

import hmac
import os
import queue
import secrets
import socket
import struct
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import NoReturn

import numpy as np

from data_prep.errors import InputError

GONE = 3  # exit code of a process whose companion is gone
JOIN_SECONDS = 300
GRACE_SECONDS = 10.0  # for a follower that is told to end within a batch, which may never end
NOTICE_SECONDS = 2.0  # in which the end of another process is seen
_KEY_BYTES, _HOST_BYTES = 32, 255
_ROUND, _AGREE, _END = b"R", b"A", b"E"


class Ended(Exception):
    """Process 0 has ended the training; `code` is its exit code."""

    def __init__(self, code: int):
        super().__init__(f"process 0 has ended with code {code}")
        self.code = code


class Group:
    """The connections of one process to the others: of process 0 to all, of the others to process 0.

    index, count: which process this is, of how many.
    """

    def __init__(self, index: int, count: int, peers: dict[int, Connection]):
        self.index, self.count = index, count
        self._peers = peers
        self._inbox: dict[int, queue.Queue[bytes]] = {peer: queue.Queue() for peer in peers}
        self._over = False
        self._idle = False
        for peer in peers:
            threading.Thread(target=self._read, args=(peer,), daemon=True).start()

    def send(self, content: bytes) -> None:
        """Send a message from process 0 to all others."""
        self._send(_ROUND + content)

    def receive(self) -> bytes:
        """Return the next message from process 0; raises Ended where there will be none."""
        self._idle = True
        try:
            return self._next(0, _ROUND)
        finally:
            self._idle = False

    def agree(self, value: int | None) -> int | None:
        """Return the same in all processes: the `value` of the first that gave one, None if none did.

        All call it, and none goes on before all have. Values are above 0.
        """
        if self.index:
            self._send(_AGREE + struct.pack("i", value or 0))
            return struct.unpack("i", self._next(0, _AGREE))[0] or None
        values = [value, *(struct.unpack("i", self._next(peer, _AGREE))[0] for peer in self._peers)]
        agreed = next((one for one in values if one), None)
        self._send(_AGREE + struct.pack("i", agreed or 0))
        return agreed

    def end(self, code: int) -> None:
        """Tell the others that the training is over, with the exit code of process 0; nothing is sent afterwards."""
        self._over = True
        if self.index == 0:
            self._send(_END + struct.pack("i", code))

    def fail(self) -> None:
        """After an exception that the end of another process may have caused: let that be said instead of it."""
        if not self._over:
            time.sleep(NOTICE_SECONDS)

    def _send(self, message: bytes) -> None:
        for peer, connection in self._peers.items():
            try:
                connection.send_bytes(message)
            except OSError:
                self._lost(peer)

    def _next(self, peer: int, kind: bytes) -> bytes:
        message = self._inbox[peer].get()
        if message[:1] == _END:
            self._over = True
            raise Ended(struct.unpack("i", message[1:])[0])
        if message[:1] != kind:
            raise RuntimeError(f"process {peer} sent {message[:1]!r} where {kind!r} was due")
        return message[1:]

    def _read(self, peer: int) -> None:
        while True:
            try:
                message = self._peers[peer].recv_bytes()
            except (EOFError, OSError):
                self._lost(peer)
                return
            self._inbox[peer].put(message)
            if message[:1] == _END:
                if not self._idle:
                    time.sleep(GRACE_SECONDS)
                    if not self._over:  # this process hangs in a step that process 0 has left
                        _leave("process 0 has ended the training", struct.unpack("i", message[1:])[0])
                return

    def _lost(self, peer: int) -> None:
        if not self._over:
            _leave(
                f"process {peer} of {self.count} is gone (killed, or its host or network failed; its own output may "
                "tell): this one ends, too; run the same command again to go on, with as many processes as you like",
                GONE,
            )


def _leave(why: str, code: int) -> NoReturn:
    """End the process at once: its main thread may wait for ever in a step that nobody else takes."""
    sys.stdout.flush()
    print(f"error: {why}", file=sys.stderr, flush=True)
    os._exit(code)


def join(
    coordinator: str, processes: int | None = None, process: int | None = None, seconds: int = JOIN_SECONDS
) -> Group:
    """Join the processes that meet at `coordinator`, HOST:PORT on the host of process 0, as number `process` of them.

    `auto` for all three: as JAX finds them from Slurm, Open MPI and the like. To be called before anything else of
    JAX. InputError where Keras' backend is not JAX, where the three do not fit together, and where not all processes
    are there within `seconds`.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise InputError(
            f"--coordinator {coordinator}: several processes need Keras' backend jax, found "
            f"{keras.backend.backend()}; set KERAS_BACKEND=jax"
        )
    import jax

    host = socket.gethostname()
    if coordinator == "auto":
        address, count, number = None, None, None
    else:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(f"--coordinator {coordinator}: expected HOST:PORT of process 0, such as node1:12355")
        if processes is None or process is None or not 0 <= process < processes:
            raise InputError(
                f"--processes {processes} --process {process}: expected both, the second from 0 to below the first"
            )
        address, count, number = coordinator, processes, process
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, by which batches are ended well
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(address, count, number, initialization_timeout=seconds, shutdown_timeout_seconds=20)
        return _connect(host, jax.process_index(), jax.process_count(), seconds)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--coordinator {coordinator}: the processes did not meet ({reason}); start all of them, with the same "
            "address, which must be one of process 0 that the others can reach"
        ) from None


def _connect(host: str, index: int, count: int, seconds: float) -> Group:
    """Connect everybody with process 0. Its address, and a key against strangers, are told by JAX's own means."""
    from jax.experimental import multihost_utils

    note = np.zeros(2 + _KEY_BYTES + _HOST_BYTES, np.uint8)
    server = None
    if index == 0:
        server = socket.create_server(("" if not _is_loopback(host) else host, 0))
        server.settimeout(seconds)
        key = secrets.token_bytes(_KEY_BYTES)
        content = struct.pack("!H", server.getsockname()[1]) + key + host.encode()
        note[: len(content)] = np.frombuffer(content, np.uint8)
    content = bytes(np.asarray(multihost_utils.broadcast_one_to_all(note)))
    port, key = struct.unpack("!H", content[:2])[0], content[2 : 2 + _KEY_BYTES]
    if server is None:
        stream = socket.create_connection((content[2 + _KEY_BYTES :].rstrip(b"\0").decode(), port), seconds)
        stream.settimeout(None)
        connection = Connection(stream.detach())
        connection.send_bytes(key + struct.pack("!I", index))
        return Group(index, count, {0: connection})
    peers: dict[int, Connection] = {}
    with server:
        while len(peers) < count - 1:
            stream, _ = server.accept()
            stream.settimeout(None)
            connection = Connection(stream.detach())
            if not connection.poll(seconds):
                raise OSError("a process connected and said nothing")
            hello = connection.recv_bytes(_KEY_BYTES + 4)
            if hmac.compare_digest(hello[:_KEY_BYTES], key):
                peers[struct.unpack("!I", hello[_KEY_BYTES:])[0]] = connection
    return Group(0, count, peers)


def _is_loopback(host: str) -> bool:
    return socket.gethostbyname(host).startswith("127.")
