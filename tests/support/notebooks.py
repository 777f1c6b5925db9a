"""Runs notebooks and keeps their outputs small: `make notebooks`, or `python -m tests.support.notebooks [NAME ...]`."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import zmq
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT_S = 600  # a cell; on two free cores the longest takes half a minute
WIDGET = "application/vnd.jupyter.widget-view+json"
KEPT = ("image/png", "text/plain", "text/html")
MOST_PX = 900


class Client(NotebookClient):
    """nbclient that notices every reply.

    It sends an output widget's new state over the socket on which it waits, past asyncio's side of that socket. ZeroMQ
    signals a message once, and a send takes that signal: a reply that came just before it is seen only when the cell's
    time is up. So after each message, asyncio's side looks whether there is something to read.
    """

    def process_message(self, *arguments):
        try:
            return super().process_message(*arguments)
        finally:
            self.kc.shell_channel.socket.get(zmq.EVENTS)


def run(path: Path, folder: Path, first: str = "", limit_s: int | None = LIMIT_S) -> Client:
    """Run a notebook in a folder, with `first` as a cell before its own; return its client, `nb` has the outputs."""
    content = nbformat.read(path, as_version=4)
    if first:
        content.cells.insert(0, nbformat.v4.new_code_cell(first))
    client = Client(content, timeout=limit_s, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return client


def stored(client: Client) -> nbformat.NotebookNode:
    """Return a notebook that ran with outputs that any viewer shows: pictures in 64 colors, no widgets, no numbers."""
    for number, cell in enumerate(client.nb.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = list(
                _joined(_small(one) for one in cell.outputs for one in _shown(one, client.widget_state))
            )
    client.nb.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return client.nb


def kinds(outputs: list[Any]) -> list[str]:
    """Return what a cell shows: `text`, `image/png`, ...; progress on standard error and widgets do not count."""
    found = []
    for one in outputs:
        if one.output_type == "stream":
            found += ["text"] if one.name == "stdout" else []
        else:
            found += [next((kind for kind in KEPT if kind in one.data), one.output_type)]
    return sorted(set(found))


def _shown(output: Any, widgets: dict[str, Any]) -> Iterator[Any]:
    """Yield what is seen of an output: of a widget the outputs within it, of standard error nothing."""
    if output.output_type == "stream":
        if output.name == "stdout":
            yield output
    elif output.output_type == "error" or WIDGET not in output.data:
        yield output
    else:
        yield from _within(output.data[WIDGET]["model_id"], widgets)


def _within(model: str, widgets: dict[str, Any]) -> Iterator[Any]:
    state = widgets.get(model, {})
    yield from map(nbformat.from_dict, state.get("outputs", ()))
    for child in state.get("children", ()):
        yield from _within(child.removeprefix("IPY_MODEL_"), widgets)


def _small(output: Any) -> Any:
    output = nbformat.from_dict(output)
    if "execution_count" in output:
        output.execution_count = None
    if "data" in output:
        output.metadata = {}
        output.data = nbformat.from_dict({kind: output.data[kind] for kind in KEPT if kind in output.data})
        for kind in ("text/plain", "text/html"):
            if kind in output.data:
                output.data[kind] = _plain(output.data[kind])
        if "image/png" in output.data:
            output.data["image/png"] = _png(output.data["image/png"])
    elif "text" in output:
        output.text = _plain(output.text)
    return output


def _plain(text: str) -> str:
    """Return text without what differs from run to run: addresses of objects, and this computer's folders."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text).replace(f"{ROOT}/", "")
    return text.replace(f"{Path.home()}/", "~/").replace(tempfile.gettempdir() + "/", "")


def _png(text: str) -> str:
    made = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image = image.convert("RGB")
        image.thumbnail((MOST_PX, MOST_PX))
        image.quantize(64).save(made, "png", optimize=True)
    return base64.b64encode(made.getvalue()).decode()


def _joined(outputs: Iterator[Any]) -> Iterator[Any]:
    """Yield outputs with text that follows text joined, and without pictures that repeat the one before."""
    last = None
    for one in outputs:
        if last is not None and one.output_type == last.output_type == "stream":
            last.text += one.text
            continue
        if last is not None and one == last:
            continue
        last = one
        yield one


def main(names: list[str]) -> int:
    """Run the notebooks in one folder, one after another, and write their outputs; `names`: these alone."""
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        for path in NOTEBOOKS:
            if not names or path.name in names:
                nbformat.write(stored(run(path, Path(folder), limit_s=None)), path)
                print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
