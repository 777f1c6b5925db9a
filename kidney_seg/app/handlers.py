"""HTTP handlers (Tornado) of the page's addresses: page, state, voxels, findings, files to save; but of uploads."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tornado.web import HTTPError, RequestHandler

from data_prep.errors import InputError
from data_prep.files.json_files import parse_json, read_json
from kidney_seg.app.entries import DONE, Entries, Entry
from kidney_seg.app.guard import HEADERS, known_error, refusal
from kidney_seg.app.jobs import Jobs
from kidney_seg.app.opening import open_paths
from kidney_seg.app.saving import SAVED, print_page, saved_file
from kidney_seg.app.view_files import label_script

_CHUNK = 1 << 20
_TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}
LABELS = "labels.js"  # made from the label table
ASSETS = {  # name in the address -> package and file
    **{name: ("kidney_seg.app", name) for name in ("app.css", "app.js", "planes.js", "pixels.js", "tables.js")},
    "view.js": ("kidney_seg.report", "view.js"),  # the surfaces, as the report turns them
}
_PRINTED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"


@dataclass
class App:
    """What all handlers share. limit: bytes of one upload; about: model and version, for the page."""

    token: str
    port: int
    entries: Entries
    jobs: Jobs
    limit: int
    about: dict[str, Any]


class Guarded(RequestHandler):
    """A handler that refuses what `guard` refuses; errors become one line of JSON, and nothing is logged but faults."""

    app: App

    def initialize(self, app: App) -> None:
        """Keep what is shared."""
        self.app = app

    def set_default_headers(self) -> None:
        """Set headers that keep everything on this computer and in this page."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse foreign requests before anything else."""
        token = self.request.path.lstrip("/").partition("/")[0]
        if refused := refusal(self.request.method or "", self.request.headers, token, self.app.token, self.app.port):
            raise HTTPError(refused[0], reason=None, log_message=refused[1])

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with {"error": one line}."""
        error = known_error(kwargs.get("exc_info", (None, None, None))[1])
        text = "a defect of this program; please report it, with the lines in the terminal"
        if isinstance(error, InputError):
            text = str(error) if error.code in ("no_such_file", "no_labels", "no_scan") else error.detail
            self.set_status(413 if error.code == "too_large" else 400)
        elif isinstance(error, HTTPError):
            text = error.log_message or "there is nothing at this address"
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": " ".join(text.split())}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Print faults of ours, without the address, which holds the token."""
        if not isinstance(known_error(value), HTTPError | InputError):
            traceback.print_exception(typ, value, tb, file=sys.stderr)

    def entry(self, number: str) -> Entry:
        """Return an entry of the list; 404 if it was removed."""
        entry = self.app.entries.get(int(number))
        if entry is None:
            raise HTTPError(404, log_message="this scan was removed")
        return entry

    async def send_file(self, path: Path) -> None:
        """Send a file piece by piece."""
        with open(path, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                self.write(piece)
                await self.flush()


class Nothing(Guarded):
    """Any other address."""

    def prepare(self) -> None:
        """Refuse, or say that nothing is here."""
        super().prepare()
        raise HTTPError(404)


class Page(Guarded):
    """The page."""

    def get(self) -> None:
        """Send it."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish((files("kidney_seg.app") / "assets" / "page.html").read_bytes())


class Asset(Guarded):
    """Scripts and styles, from this package alone."""

    def get(self, name: str) -> None:
        """Send one; 404 for any other name."""
        if name != LABELS and name not in ASSETS:
            raise HTTPError(404)
        self.set_header("Content-Type", f"{_TYPES[Path(name).suffix]}; charset=utf-8")
        if name == LABELS:
            self.finish(label_script())
        else:
            package, file = ASSETS[name]
            self.finish((files(package) / "assets" / file).read_bytes())


class State(Guarded):
    """The list of scans, the model and the limits."""

    def get(self) -> None:
        """Send it as JSON."""
        entries = [entry.public() for entry in self.app.entries]
        self.finish({**self.app.about, "entries": entries, "ready": self.app.jobs.ready, "most_bytes": self.app.limit})


class Open(Guarded):
    """Paths of this computer."""

    async def post(self) -> None:
        """Add the scan of {"scan": path, "labels": path or "", "truth": path or ""}."""
        wanted = body_of(self)
        texts = [str(wanted.get(name) or "") for name in ("scan", "labels", "truth")]
        kind, source = await asyncio.to_thread(open_paths, *texts)
        entry = self.app.entries.add(kind, source)
        self.finish({"number": entry.number})
        await self.app.jobs.look(entry)


class Choose(Guarded):
    """The choice of one of several series."""

    def post(self, number: str) -> None:
        """Take series {"index": n}."""
        index = body_of(self).get("index")
        self.app.jobs.choose(self.entry(number), index if isinstance(index, int) else -1)
        self.finish({})


class Remove(Guarded):
    """Cancel, or remove from the list."""

    def post(self, number: str) -> None:
        """Remove an entry with all its files."""
        self.app.jobs.remove(self.entry(number))
        self.finish({})


class Voxels(Guarded):
    """Voxels in axial order: int16 HU, or uint8 labels."""

    async def get(self, number: str, what: str) -> None:
        """Send voxels.bin, labels.bin, truth.bin; 404 until they exist."""
        entry = self.entry(number)
        path = entry.folder / "view" / f"{what}.bin"
        if entry.image is None or (what != "voxels" and entry.state != DONE) or not path.exists():
            raise HTTPError(404, log_message="not there yet")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", path.stat().st_size)
        await self.send_file(path)


class Findings(Guarded):
    """The tables of a result, and its surfaces."""

    async def get(self, number: str, what: str) -> None:
        """Send `findings` or `surfaces` as JSON."""
        entry = self.entry(number)
        if entry.state != DONE:
            raise HTTPError(404, log_message="not there yet")
        view = entry.folder / "view"
        found = (
            read_json(view / "findings.json", "findings")
            if what == "findings"
            else await asyncio.to_thread(_surfaces, entry)
        )
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(found))


class Save(Guarded):
    """Files to save."""

    async def get(self, number: str, ending: str) -> None:
        """Send the result in one format."""
        if ending not in SAVED:
            raise HTTPError(404)
        path = await asyncio.to_thread(saved_file, self.entry(number), ending)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{path.name}"')
        self.set_header("Content-Length", path.stat().st_size)
        await self.send_file(path)


class Print(Guarded):
    """The page to print."""

    async def get(self, number: str) -> None:
        """Send it; its styles and pictures are inside."""
        html = await asyncio.to_thread(print_page, self.entry(number))
        self.set_header("Content-Security-Policy", _PRINTED)
        self.finish(html)


def body_of(handler: RequestHandler) -> dict[str, Any]:
    """Return the JSON object of a request; InputError for anything else."""
    try:
        found = parse_json(handler.request.body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError("expected a JSON object", code="no_json")
    return found


def _surfaces(entry: Entry) -> list[dict[str, Any]]:
    import numpy as np

    from kidney_seg.report.meshes import scene

    assert entry.image is not None
    shape = tuple(entry.image["shape"])
    paths = [entry.folder / "view" / f"{what}.bin" for what in ("labels", "truth")]
    maps = [np.fromfile(path, np.uint8).reshape(shape) for path in paths if path.exists()]
    return scene(maps, entry.image["spacing_mm"])
