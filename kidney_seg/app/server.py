"""The server of the page: bound to this computer, with a token, until it is stopped."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from data_prep.errors import InputError
from data_prep.version import code_version
from kidney_seg.app.entries import MOST_GB, Entries, Source
from kidney_seg.app.guard import HOST
from kidney_seg.app.handlers import (
    App,
    Asset,
    Choose,
    Findings,
    Guarded,
    Nothing,
    Open,
    Page,
    Print,
    Remove,
    Save,
    State,
    Voxels,
)
from kidney_seg.app.jobs import Jobs
from kidney_seg.app.scratch import scratch_folder
from kidney_seg.app.uploads import Upload
from kidney_seg.app.worker import Engine

_BODY = 64 << 10  # bytes of a request that is no upload


def serve(
    engine: Engine | None = None,
    *,
    port: int = 0,
    browser: bool = True,
    most_gb: float = MOST_GB,
    demo: bool = False,
    opened: Callable[[str], None] | None = None,
) -> None:
    """Serve the page on this computer until SIGINT or SIGTERM; then remove all temporary files.

    Args:
        engine: how scans are segmented; None: by the model that ships.
        port: 0 takes a free one.
        browser: open the page in the user's browser.
        most_gb: of one upload.
        demo: begin with a simulated patient and its truth.
        opened: receives the address; None prints it.

    Raises:
        InputError: no such model or server, or the port is taken.
    """
    engine = engine or Engine()
    about = describe(engine)
    with scratch_folder() as folder:
        asyncio.run(_serve(engine, folder, about, port, browser, int(most_gb * 1e9), demo, opened or _say))


def describe(engine: Engine) -> dict[str, Any]:
    """Return what the page always shows of the model: name, data, license. InputError as for `Engine.job`."""
    origin = engine.job().origin
    about = origin.get("model") or {"data": "; ".join(origin.get("trained_on", [])), "license": ""}
    where = f"server {engine.server}" if engine.server else engine.model
    model = {**about, "name": about.get("name") or Path(where).name}
    return {"model": model, "server": engine.server, "version": code_version()}


async def _serve(
    engine: Engine,
    folder: Path,
    about: dict[str, Any],
    port: int,
    browser: bool,
    limit: int,
    demo: bool,
    opened: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        sockets = bind_sockets(port, HOST)
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; choose another, or omit it", code="port") from None
    entries = Entries(folder)
    jobs = Jobs(entries, engine, folder)
    app = App(secrets.token_urlsafe(24), sockets[0].getsockname()[1], entries, jobs, limit, about)
    server = HTTPServer(application(app), max_body_size=_BODY)
    server.add_sockets(sockets)
    address = f"http://{HOST}:{app.port}/{app.token}/"
    try:
        if demo:
            await _add_demo(entries, jobs, folder)
        opened(address)
        if browser:
            await asyncio.to_thread(webbrowser.open, address)
        await stop.wait()
    finally:
        server.stop()
        jobs.close()


def application(app: App) -> Application:
    """Return the addresses and their handlers."""
    here, number = r"/[^/]+", r"/scans/(\d{1,9})"
    routes: list[tuple[str, type[Guarded]]] = [
        (rf"{here}/", Page),
        (rf"{here}/assets/([a-z]+\.[a-z]+)", Asset),
        (rf"{here}/state", State),
        (rf"{here}/upload", Upload),
        (rf"{here}/open", Open),
        (rf"{here}{number}/choose", Choose),
        (rf"{here}{number}/remove", Remove),
        (rf"{here}{number}/(voxels|labels|truth)\.bin", Voxels),
        (rf"{here}{number}/(findings|surfaces)\.json", Findings),
        (rf"{here}{number}/save(\.[a-z.]+)", Save),
        (rf"{here}{number}/print\.html", Print),
    ]
    shared = {"app": app}
    return Application(
        [(path, handler, shared) for path, handler in routes],
        default_handler_class=Nothing,
        default_handler_args=shared,
        log_function=lambda handler: None,  # addresses hold the token
        compress_response=False,
    )


async def _add_demo(entries: Entries, jobs: Jobs, folder: Path) -> None:
    """Add a simulated patient with its truth."""
    from kidney_seg.app.demo import simulate

    scan, truth = await asyncio.to_thread(simulate, folder / "demo")
    await jobs.look(entries.add("NIfTI", Source(scan, truth=truth)))


def _say(address: str) -> None:
    print(f"The page: {address}", flush=True)
    print("Only this computer can open it. Ctrl-C ends it and removes its temporary files.", file=sys.stderr)
