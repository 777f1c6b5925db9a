"""The HTTP handler of uploads: streamed to the disk under names of our own, up to the limits of number and size."""

from __future__ import annotations

import shutil
from typing import BinaryIO

from tornado.web import HTTPError, stream_request_body

from data_prep.errors import InputError
from kidney_seg.app.entries import LOOKING, Entry
from kidney_seg.app.handlers import Guarded
from kidney_seg.app.opening import KINDS, ending_of

_ROOM = 4  # times its size: the file, its voxels unpacked, labels and files to save
_SPARE = 1 << 30


@stream_request_body
class Upload(Guarded):
    """One file. Its name stays in the browser, which sends the ending alone."""

    target: Entry | None = None
    file: BinaryIO | None = None

    def prepare(self) -> None:
        """Refuse what is foreign, too large, or one too many; then make room."""
        super().prepare()
        if self.request.method != "POST":
            raise HTTPError(405, log_message="expected POST")
        ending = ending_of(self.get_query_argument("ending", ""))
        try:
            size = int(self.request.headers.get("Content-Length", ""))
        except ValueError:
            raise InputError("expected the header Content-Length", code="no_length") from None
        if not 0 < size <= self.app.limit:
            found = "is empty" if size <= 0 else f"has {size / 1e9:.3g} GB"
            detail = f"the file {found}; expected at most {self.app.limit / 1e9:.3g} GB (--max-gb)"
            raise InputError(detail, code="too_large" if size > 0 else "empty_file")
        connection = self.request.connection
        connection.set_max_body_size(size)  # type: ignore[union-attr]
        self.target = self.app.entries.add(KINDS[ending], ending=ending)
        if shutil.disk_usage(self.target.folder).free < _ROOM * size + _SPARE:
            self._give_up()
            raise InputError("the disk of temporary files has too little room; free some space, or set TMPDIR")
        self.file = open(self.target.source.scan, "wb")  # noqa: SIM115  closed in `post` or `on_finish`

    def data_received(self, chunk: bytes) -> None:
        """Write a piece."""
        if self.file is not None:
            self.file.write(chunk)

    async def post(self) -> None:
        """Take the whole file."""
        assert self.target is not None and self.file is not None
        self.file.close()
        self.file = None
        entry, self.target = self.target, None
        entry.state = LOOKING
        self.finish({"number": entry.number})
        await self.app.jobs.look(entry)

    def on_connection_close(self) -> None:
        """Remove what arrived of a file whose sender has gone."""
        self._give_up()

    def on_finish(self) -> None:
        """Remove what arrived of a refused file."""
        self._give_up()

    def _give_up(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        if self.target is not None:
            self.app.entries.remove(self.target)
            self.target = None
