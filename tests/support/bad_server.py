"""A server of files on loopback that misbehaves on order."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Orders:
    """What the server does next, by path: a list of moods, one a request; without any it behaves.

    Moods: a number (that status), `cut` (half of what is left, then the end), `long` (announces more than it sends),
    `garbage` (other bytes of the same number), `no_ranges`, `no_mark`, `slow`, `later` (429 with Retry-After),
    `busy` (429 with Retry-After of a second), `redirect`, `linked` (redirect that names the file's SHA-256, as Hugging
    Face does), `mislinked` (another SHA-256), `liar` (206 with the range of another version), `drop` (no answer),
    `trickle` (a few bytes at a time).
    """

    def __init__(self) -> None:
        self.moods: dict[str, list] = defaultdict(list)
        self.always: dict[str, object] = {}
        self.asked: list[tuple[str, str | None]] = []


@contextmanager
def serving(folder: Path):
    """Yield the address of the folder's files and the `Orders`."""
    orders = Orders()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words):
            pass

        def do_GET(self):
            path = self.path
            orders.asked.append((path, self.headers.get("Range")))
            mood = orders.moods[path].pop(0) if orders.moods[path] else orders.always.get(path, "good")
            file = folder / path.lstrip("/").removeprefix("moved/")
            if mood == "drop":
                self.close_connection = True
                return
            if isinstance(mood, int) or mood in ("later", "busy"):
                pause = {"later": {"Retry-After": "0"}, "busy": {"Retry-After": "1"}}.get(mood, {})
                self._end(429 if pause else mood, **pause)
                return
            if mood in ("redirect", "linked", "mislinked"):
                names = {"linked": file.read_bytes(), "mislinked": b""} if file.is_file() else {}
                sha256 = hashlib.sha256(names[mood]).hexdigest() if mood in names else None
                self._end(302, Location=f"/moved{path}", **({"X-Linked-ETag": f'"{sha256}"'} if sha256 else {}))
                return
            if not file.is_file():
                self._end(404)
                return
            content = file.read_bytes()
            if mood == "garbage":
                content = bytes(len(content))
            mark = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            ranged, start = self.headers.get("Range"), 0
            same = self.headers.get("If-Range") == mark
            if ranged and (same or mood == "liar") and mood != "no_ranges":
                start = int(ranged.removeprefix("bytes=").rstrip("-"))
            if start >= len(content) and start:
                self._end(416, **{"Content-Range": f"bytes */{len(content)}"})
                return
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) + 1000 * (mood == "long")))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if mood != "no_mark":
                self.send_header("ETag", mark)
            self.end_headers()
            if mood in ("cut", "long"):
                self.wfile.write(body[: max(1, len(body) // 2)] if mood == "cut" else body)
                self.close_connection = True
            elif mood == "trickle":
                for begin in range(0, len(body), 8):
                    self.wfile.write(body[begin : begin + 8])
                    time.sleep(0.05)
            elif mood == "slow":
                for begin in range(0, len(body), 50_000):
                    self.wfile.write(body[begin : begin + 50_000])
                    time.sleep(0.02)
            else:
                self.wfile.write(body)

        def _end(self, code, **headers):
            self.send_response(code)
            for name, value in (headers | {"Content-Length": "0"}).items():
                self.send_header(name, value)
            self.end_headers()

        def handle(self):
            with suppress(ConnectionError):  # the client was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", orders
    finally:
        server.shutdown()
        server.server_close()
