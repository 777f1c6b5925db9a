"""Every notebook runs from top to bottom with no data of one's own, and is stored with its outputs."""

from __future__ import annotations

import re
import time
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from support.notebooks import NOTEBOOKS, Client, kinds, run, stored

from kidney_seg.figures import notebook

ROOT = Path(__file__).resolve().parents[2]
MOST_KB = 500  # of a notebook with its outputs
# Before the first cell, so that what is trained takes seconds: what the network finds is not the point here. One gate
# stays, whose map notebook 2 shows; each layer more is traced in every notebook.
SHORT = """from kidney_seg.progressive import small_run as _small_run
_small_run.SETTINGS += ("width_factor=0.1", "gates=1", "multi_scale_input=false", "deep_supervision=false")
_small_run.SETTINGS += ("starts=1", "start_steps=6", "steps=4", "max_rounds=1")
"""
# What a cell prints within an output widget, nbclient sends back while it waits for the cell's reply.
WITHIN_A_WIDGET = """from ipywidgets import Output
with (shown := Output()):
    print("within")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all of them: what notebook 2 trains the later ones find there."""
    return tmp_path_factory.mktemp("notebooks")


def test_there_are_seven():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_", "06_", "07_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_with_small_outputs(path):
    assert path.stat().st_size < 1000 * MOST_KB
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    assert 'find_spec("kidney_seg") is None' in cells[0].source and "%pip install" in cells[0].source
    assert any("image/png" in kinds(cell.outputs) for cell in cells)
    for cell in cells:
        assert "def " not in cell.source and "class " not in cell.source  # no logic lives in a notebook
        assert cell.execution_count is None and all(one.output_type != "error" for one in cell.outputs)
        text = " ".join(one.get("text", "") for one in cell.outputs)
        assert "WARNING" not in text and str(ROOT) not in text  # no message of a library, no folder of one computer


def shown(cells) -> list[tuple[str, list[str]]]:
    """Return source and kinds of outputs of the cells of code; widgets and the training's progress aside."""
    return [
        (cell.source, kinds(cell.outputs)) for cell in cells if cell.cell_type == "code" and "live(" not in cell.source
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_shows_what_is_stored(path, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = run(path, folder, SHORT)
    content = stored(client)
    told = {
        "01_the_data": "truncated",
        "02_the_network": "5,687,504",
        "03_the_loss": "nan",
        "04_progressive_training": "accepted",
        "05_results": "Table 1",
        "06_serving": "True",
        "07_your_own_scan": "(True, True)",
    }[path.stem]
    assert told in "".join(str(output) for cell in content.cells for output in cell.get("outputs", []))
    kept = nbformat.read(path, as_version=4)
    assert shown(content.cells[1:]) == shown(kept.cells)  # another output: make notebooks
    if path.stem in ("01_the_data", "03_the_loss"):  # nothing is trained
        for now, then in zip(content.cells[1:], kept.cells, strict=True):
            assert words(now.get("outputs", [])) == words(then.get("outputs", []))


def words(outputs) -> list[str]:
    """Return the words of the outputs' text without its numbers, which differ by rounding."""
    texts = [one.get("text", "") + one.get("data", {}).get("text/plain", "") for one in outputs]
    return re.findall(r"[a-z_]{2,}", " ".join(texts))


def test_a_reply_that_comes_just_before_a_widget_is_updated_is_noticed():
    class Late(Client):
        def process_message(self, message, *rest):
            if message["msg_type"] == "stream":
                time.sleep(1)  # the cell has ended, and its reply is there, when this is sent back
                received.append(time.monotonic())
            return super().process_message(message, *rest)

    received: list[float] = []
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WITHIN_A_WIDGET)])
    client = Late(content, timeout=60)
    client.on_cell_executed = lambda **_: received.append(time.monotonic())
    client.execute()
    assert received[1] - received[0] < 10  # nbclient alone: 59
    (state,) = [state for state in client.widget_state.values() if "outputs" in state]
    assert state["outputs"][0]["text"] == "within\n"


def test_viewer(tmp_path, monkeypatch):
    from data_prep.phantom.cohort import write_cohort

    (case,) = write_cohort(tmp_path / "patients", cases=1, size=32, slices=8)
    image, labels = case / "imaging.nii.gz", case / "segmentation.nii.gz"
    widget = notebook.show_volume(image, labels)
    assert [Path(volume.path).name for volume in widget.volumes] == ["imaging.nii.gz", "segmentation.nii.gz"]
    assert widget.opts.is_radiological_convention  # the patient's right is on the left, as everywhere here
    colors = widget.volumes[1].colormap_label.lut
    assert colors[:12] == [0, 0, 0, 0, 0x56, 0xB4, 0xE9, 255, 0xE6, 0x9F, 0x00, 255]  # background is clear

    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)  # as if it were not installed
    drawn = notebook.show_volume(image, labels)
    assert len(drawn.axes) == 2 and drawn.axes[0].images
    assert len(notebook.show_volume(image).axes) == 1


def test_sliders_begin_at_the_defaults_and_draw_anew():
    drawn = []

    def draw(alpha: float = 0.7, exponent: float = 0.75) -> Figure:
        drawn.append((alpha, exponent))
        return Figure()

    shown = notebook.slider(draw, alpha=(0.1, 0.9, 0.1), exponent=(0.5, 2.0, 0.25))
    assert drawn == [(0.7, 0.75)]
    shown.widget.children[0].value = 0.9
    assert drawn[1:] == [(0.9, 0.75)]
