"""The queue: one scan at a time goes to the process that segments; cancel ends that process and starts another."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, of_memory_error, of_os_error
from kidney_seg.app.entries import CHOOSING, DONE, FAILED, RUNNING, WAITING, Entries, Entry
from kidney_seg.app.opening import series_to_choose, with_series
from kidney_seg.app.worker import Engine, Task, work

_DIED = "the process that segments has ended; most often memory was short: close other programs, or use a smaller scan"


class Jobs:
    """The waiting entries and the process. All methods are for the thread of the page's event loop."""

    def __init__(self, entries: Entries, engine: Engine, folder: Path):
        self._entries, self._engine, self._folder = entries, engine, folder
        self._loop = asyncio.get_running_loop()
        self._starts = 0
        self._running: Entry | None = None
        self._process: SpawnProcess | None = None
        self.ready = False  # whether the network is loaded
        self._start()

    def _start(self) -> None:
        """Start a process and a thread that listens to it."""
        self._starts += 1
        self.ready = False
        self._temporary = self._folder / f"worker-{self._starts}"
        self._temporary.mkdir()
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(self._engine, self._temporary, other), daemon=True)
        self._process.start()
        other.close()
        listen = threading.Thread(target=self._listen, args=(self._pipe, self._starts), daemon=True)
        listen.start()

    def _listen(self, pipe: Any, start: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            try:
                while True:
                    self._loop.call_soon_threadsafe(self._heard, start, *pipe.recv())
            except (EOFError, OSError):
                self._loop.call_soon_threadsafe(self._heard, start, "died", 0)

    def _heard(self, start: int, what: str, number: int, *values: Any) -> None:
        if start != self._starts:  # of a process that was ended
            return
        entry = self._running
        if what == "ready":
            self.ready = True
        elif what == "died":
            was_ready = self.ready
            self._stop_process()
            if was_ready:  # else it would die again at once; the next scan tries
                self._start()
            if entry is not None:
                self._finish(entry, FAILED, _DIED)
        if entry is None or number != entry.number:
            return
        if what == "progress":
            entry.begun_s = entry.begun_s or time.monotonic()
            entry.progress = (values[0], values[1])
        elif what == "note":
            entry.notes.append(values[0])
        elif what == "image":
            entry.image = values[0]
        elif what == "failed":
            self._finish(entry, FAILED, values[0])
        elif what == "done":
            entry.result, entry.grid = values
            self._finish(entry, DONE)

    def _finish(self, entry: Entry, state: str, error: str = "") -> None:
        entry.state, entry.error = state, error
        self._running = None
        self._next()

    def _next(self) -> None:
        """Send the first waiting entry to the process, if it has nothing to do."""
        waiting = next((entry for entry in self._entries if entry.state == WAITING), None)
        if self._running is not None or waiting is None:
            return
        if self._process is None:
            self._start()
        self._running, waiting.state = waiting, RUNNING
        waiting.begun_s = 0.0
        with contextlib.suppress(OSError):  # it has died: `_listen` says so
            self._pipe.send(Task(waiting.number, waiting.source, waiting.labels, waiting.folder / "view"))

    async def look(self, entry: Entry) -> None:
        """Find out which series there are; then let the user choose, or put the entry into the queue."""
        try:
            choices, notes = await asyncio.to_thread(series_to_choose, entry.source)
        except InputError as error:
            entry.state, entry.error = FAILED, error.detail
            return
        except OSError as error:
            known = of_os_error(error)
            entry.state, entry.error = FAILED, known.detail if known else "the files cannot be read; choose others"
            return
        except MemoryError as error:
            entry.state, entry.error = FAILED, of_memory_error(error).detail
            return
        entry.notes += notes
        if choices:
            entry.choices, entry.state = choices, CHOOSING
        else:
            self.wait(entry)

    def choose(self, entry: Entry, index: int) -> None:
        """Take one of the offered series. InputError if there is no such choice."""
        if entry.state != CHOOSING or not 0 <= index < len(entry.choices):
            raise InputError("there is no such series to choose", code="no_choice")
        entry.source = with_series(entry.source, entry.choices[index]["series"])
        entry.choices = []
        self.wait(entry)

    def wait(self, entry: Entry) -> None:
        """Put an entry at the end of the queue."""
        entry.state = WAITING
        self._next()

    def remove(self, entry: Entry) -> None:
        """Cancel an entry and remove all that was made of it; a running one ends its process."""
        running = entry is self._running
        if running:
            self._running = None
            self._stop_process()
        self._entries.remove(entry)
        if running:
            self._start()
            self._next()

    def _stop_process(self) -> None:
        if self._process is None:
            return
        self._starts += 1  # what it still says is not heard
        self._process.kill()
        self._process.join()
        self._process, self.ready = None, False
        self._pipe.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def close(self) -> None:
        """End the process."""
        self._running = None
        self._stop_process()
