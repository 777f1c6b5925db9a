"""Figures: what is drawn where, by the pixel where that can be done; and files that appear whole."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from kidney_seg.figures.overlays import Example, most_informative_slice, overlay, overlay_grid
from kidney_seg.figures.style import COLORS, CURVE_COLORS, save_figure
from kidney_seg.figures.training_curves import learning_curves

PNG = b"\x89PNG\r\n\x1a\n"


def slice_and_labels(shape=(40, 60)):
    image = np.full(shape, 100, np.int16)
    labels = np.zeros(shape, np.uint8)
    labels[10:20, 5:15] = 1
    labels[12:16, 8:12] = 2
    return image, labels


def picture(ax):
    return ax.images[0].get_array()


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def test_overlay_has_the_ct_the_truth_and_the_prediction():
    image, truth = slice_and_labels()
    prediction = np.roll(truth, 30, axis=1)
    figure = overlay(image, truth, prediction, window=(0, 200), title="a case")
    plain, true, predicted = figure.axes
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["CT", "truth", "prediction"]
    assert plain.texts[-1].get_text() == "a case"
    assert np.allclose(picture(plain), 0.5)
    assert np.allclose(picture(true)[truth == 1], 0.35 + 0.3 * rgb(COLORS["kidney"]))
    assert np.allclose(picture(true)[truth == 2], 0.35 + 0.3 * rgb(COLORS["tumor"]))
    assert np.allclose(picture(true)[truth == 0], 0.5)
    assert np.allclose(picture(predicted)[prediction == 2], 0.35 + 0.3 * rgb(COLORS["tumor"]))
    assert np.allclose(picture(predicted)[prediction == 0], 0.5)
    assert (len(plain.collections), len(true.collections)) == (0, 2)  # outlines of kidney and tumor


def test_outlines_run_around_the_pixels_and_close_at_the_border():
    image, labels = slice_and_labels()
    labels[:] = 0
    labels[0:4, 0:6] = 1
    figure = overlay(image, labels, labels)
    outline = figure.axes[1].collections[0].get_paths()[0].vertices
    assert outline.min(axis=0).tolist() == [-0.5, -0.5]
    assert outline.max(axis=0).tolist() == [5.5, 3.5]
    full = overlay(image, np.ones_like(labels), np.zeros_like(labels))
    assert [len(ax.collections) for ax in full.axes] == [0, 1, 0]


def test_window_and_cysts():
    image, labels = slice_and_labels()
    image[0, :3] = (-1000, -79, 304)
    labels[labels == 2] = 3
    figure = overlay(image, labels, None)
    assert picture(figure.axes[0])[0, :3, 0].tolist() == [0.0, 0.0, 1.0]
    assert len(figure.axes[1].collections) == 1  # a cyst is kidney: one outline
    assert len(figure.axes) == 2  # no prediction anywhere, no column


def test_grid_of_examples_with_and_without_truth_and_margin():
    image, labels = slice_and_labels()
    examples = [Example(image, labels, labels, "one"), Example(image[:, :50], None, None, "two", aspect=2.0)]
    figure = overlay_grid(examples, margin_px=7)
    assert len(figure.axes) == 6
    assert picture(figure.axes[0]).shape == (7 + 10 + 7, 5 + 10 + 7, 3)  # 5 pixels to the left border
    assert picture(figure.axes[3]).shape == (40, 50, 3)
    assert figure.axes[4].texts[0].get_text() == "no truth"
    assert figure.axes[3].get_aspect() == 2.0


def test_wrong_shapes_and_nothing_to_draw():
    image, labels = slice_and_labels()
    with pytest.raises(ValueError, match=r"case x.*prediction"):
        overlay(image, labels, labels[1:], title="case x")
    with pytest.raises(ValueError, match="no examples"):
        overlay_grid([])


def test_no_text_lies_on_another():
    image, labels = slice_and_labels()
    figure = overlay_grid([Example(image, labels, labels, f"case_{i:05d}: kidney 0.91") for i in range(3)])
    figure.draw_without_rendering()
    texts = [text for ax in figure.axes for text in ax.texts] + figure.legends[0].get_texts()
    check_apart(texts, figure)


def check_apart(texts, figure):
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 3
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def training(rounds=4, epochs=3):
    history = [
        {"round": r, "epoch": e, "step": 10 * (r * epochs + e + 1), "loss": 1 / (1 + r + e)}
        for r in range(rounds)
        for e in range(epochs)
    ]
    ends = [
        {
            "round": r,
            "step": 10 * epochs * (r + 1),
            "accepted": r != 2,
            "kidney": 0.8 + 0.01 * r,
            "tumor": 0.1 * r,
        }
        for r in range(rounds)
    ]
    return history, ends


def test_learning_curves_by_round():
    history, rounds = training()
    upper, lower = learning_curves(history, rounds).axes
    losses = [line for line in upper.lines if line.get_marker() == "."]
    steps = [list(line.get_xdata()) for line in losses]
    assert steps == [[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]]
    assert [text.get_text() for text in upper.texts] == ["round 0", "round 1", "round 2", "round 3"]
    assert [text.xy[0] for text in upper.texts] == [15, 45, 75, 105]
    points = {
        (line.get_marker(), line.get_xdata()[0]): (line.get_ydata()[0], line.get_markerfacecolor())
        for line in lower.lines
        if line.get_marker() in ("o", "s")
    }
    assert len(points) == 8
    assert points["s", 60] == (pytest.approx(0.1), CURVE_COLORS["tumor"])
    assert points["o", 30] == (0.8, CURVE_COLORS["kidney"])
    assert points["o", 90] == (pytest.approx(0.82), "white")  # the rejected round


def test_learning_curves_with_gaps_starts_and_nothing():
    history, rounds = training(rounds=12)
    rounds[3]["tumor"] = None
    history[5]["loss"] = float("nan")
    history += [{"round": 0, "start": 1, "step": 10, "loss": 2.0}]
    figure = learning_curves(iter(history), iter(rounds))
    figure.draw_without_rendering()
    upper = figure.axes[0]
    assert sum(line.get_marker() == "." for line in upper.lines) == 13
    check_apart([*upper.texts, *figure.legends[0].get_texts()], figure)
    learning_curves([], []).draw_without_rendering()


def test_save_is_png_whole_and_repeatable(tmp_path):
    history, rounds = training()
    path = save_figure(learning_curves(history, rounds), tmp_path / "new" / "curves.png")
    first = path.read_bytes()
    assert first.startswith(PNG)
    assert save_figure(learning_curves(history, rounds), path).read_bytes() == first
    assert [item.name for item in path.parent.iterdir()] == ["curves.png"]


def test_real_slice(shared_data, tmp_path):
    from data_prep.volume import read_labels, read_volume

    case = shared_data / "kits_real_slices" / "case_00160_s0098"  # the one case that is not square
    if not case.is_dir():
        pytest.skip(f"{case} is absent")
    image = read_volume(case / "imaging.nii.gz").voxels[0]
    labels = read_labels(case / "segmentation.nii.gz").voxels[0]
    figure = overlay(image, labels, labels, title="case_00160")
    assert [len(ax.collections) for ax in figure.axes] == [0, 2, 2]
    width, height = figure.get_size_inches()
    assert width > 2 * height
    assert save_figure(figure, tmp_path / "overlay.png").stat().st_size > 20_000


def test_import_alone_loads_no_matplotlib():
    code = "import sys, kidney_seg.figures.overlays; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_most_informative_slice_is_the_one_with_most_tumor():
    image = np.arange(48, dtype=np.int16).reshape(3, 4, 4)
    truth = np.zeros((3, 4, 4), np.uint8)
    truth[0], truth[2, 0, 0] = 1, 2
    picture = most_informative_slice(image, truth, truth, "case_00007", {"kidney": 0.5, "tumor": math.nan}, aspect=2.0)
    assert picture.title == "case_00007, slice 2: kidney 0.50"
    assert picture.image_hu[0, 0] == 32 and picture.aspect == 2.0
    nothing = most_informative_slice(image, truth * 0, truth * 0, "x", {"kidney": None, "tumor": None})
    assert nothing.title == "x, slice 0: neither kidney nor tumor, in truth or prediction"


@pytest.mark.filterwarnings("error")
def test_nothing_outside_takes_the_room_of_the_axes(tmp_path):
    image, _ = slice_and_labels()
    plain = overlay_grid([Example(image, None, None, "short")])
    long = overlay_grid([Example(image, None, None, "a name as long as this " * 8)])
    for figure in (plain, long):
        figure.draw_without_rendering()
    assert long.axes[0].get_position().bounds == pytest.approx(plain.axes[0].get_position().bounds)
    curves = learning_curves([{"round": 0, "step": 20, "loss": 1.0}], [])  # the first report of a run
    curves.draw_without_rendering()
    assert curves.axes[0].get_position().width > 0.7
