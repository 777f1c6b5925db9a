"""Figures of scores: every case where it belongs, nothing where there is nothing, files in every format."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kidney_seg.figures.score_plots import detection_by_size, dice_by_patient, dice_by_size, volume_agreement
from kidney_seg.figures.style import CURVE_COLORS, save_figure

ROWS = [
    {"case": "a", "kidney": 0.9, "tumor": 0.4, "diameter_mm": 35.0, "tumor_ml": 20.0, "predicted_tumor_ml": 26.0},
    {"case": "b", "kidney": 0.8, "tumor": 0.0, "diameter_mm": 15.0, "tumor_ml": 2.0, "predicted_tumor_ml": 0.0},
    {"case": "c", "kidney": 0.95, "tumor": math.nan, "diameter_mm": None, "tumor_ml": 0.0, "predicted_tumor_ml": 0.0},
    {"case": "d", "kidney": None, "tumor": 0.7, "diameter_mm": 80.0, "tumor_ml": 200.0, "predicted_tumor_ml": 190.0},
    {"case": "e", "kidney": None, "tumor": None, "diameter_mm": None, "tumor_ml": 0.0, "predicted_tumor_ml": 0.0},
]


def marks(ax):
    """By collection: [(x, y, hover, filled)]."""
    return [
        [
            (*xy, text, tuple(face) != (1, 1, 1, 1))
            for xy, text, face in zip(c.get_offsets().tolist(), c.hover, faces, strict=True)
        ]
        for c in ax.collections
        if hasattr(c, "hover")
        for faces in [np.broadcast_to(c.get_facecolors(), (len(c.hover), 4))]
    ]


def test_dice_by_patient_is_sorted_by_the_tumor():
    figure = dice_by_patient(iter(ROWS))
    kidney, tumor = marks(figure.axes[0])
    assert [(x, y, filled) for x, y, _, filled in tumor] == [(1, 0.7, True), (2, 0.4, True), (3, 0, False)]
    assert [(x, y) for x, y, *_ in kidney] == [(2, 0.9), (3, 0.8), (4, 0.95)]
    assert tumor[2][2] == "b: Dice 0.000 (tumor)" and kidney[0][2] == "a: Dice 0.900 (kidney)"


def test_dice_by_size_has_the_cases_with_a_tumor():
    figure = dice_by_size(ROWS)
    (tumor,) = marks(figure.axes[0])
    assert [(x, y, filled) for x, y, _, filled in tumor] == [(3.5, 0.4, True), (1.5, 0, False), (8, 0.7, True)]
    assert tumor[0][2] == "a: Dice 0.400 (tumor), 3.5 cm"
    assert figure.axes[0].get_xscale() == "log"
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [2, 4, 7]
    low, high = figure.axes[0].get_xlim()
    assert low < 1.5 and high > 8


def test_detection_by_size_has_bars_intervals_and_says_nothing_where_nothing_is():
    classes = [
        {"size_class": "up to 2 cm", "n": 4, "found": 1, "low": 0.05, "high": 0.7},
        {"size_class": "over 2 cm", "n": 0, "found": 0, "low": None, "high": None},
    ]
    ax = detection_by_size(classes).axes[0]
    (bar,) = ax.patches
    assert bar.get_height() == 0.25
    assert sorted(text.get_text() for text in ax.texts) == ["1 of 4", "no tumor"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["up to 2 cm", "over 2 cm"]
    (error,) = (segments for c in ax.collections if len(segments := c.get_segments()))
    assert error[0][:, 1].tolist() == pytest.approx([0.05, 0.7])


def test_volume_agreement_by_hand():
    figure = volume_agreement(ROWS)
    (tumor,) = marks(figure.axes[0])
    assert [(x, y) for x, y, *_ in tumor] == [(23, 6), (1, -2), (195, -10)]
    assert tumor[0][2] == "a: 26.0 mL predicted, 20.0 mL true"
    # mean -2; squared distances 64, 0, 64: standard deviation 8 with n - 1
    values = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert values == pytest.approx([0, -2, -2 - 1.96 * 8, -2 + 1.96 * 8])


@pytest.mark.parametrize("draw", [dice_by_patient, dice_by_size, detection_by_size, volume_agreement])
def test_nothing_draws_an_empty_figure(draw):
    draw([]).draw_without_rendering()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figures_are_saved_in_every_format(ending, tmp_path):
    assert save_figure(dice_by_patient(ROWS), tmp_path / f"figure.{ending}").stat().st_size > 3000


def test_colors_are_apart_for_the_color_blind():
    """Simulated protanopia and deuteranopia (Machado, Oliveira, Fernandes 2009, severity 1) keep the two apart."""
    protan = np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    )
    deutan = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    colors = [
        np.array([int(CURVE_COLORS[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]) for name in ("kidney", "tumor")
    ]
    for matrix in (np.eye(3), protan, deutan):
        one, other = (matrix @ color for color in colors)
        assert np.abs(one - other).sum() > 0.5
