"""Learning curves: loss and Dice over the steps of a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kidney_seg.figures.style import CURVE_COLORS, DPI, MARKERS, legend, plain, structure_entries
from kidney_seg.metrics.overlap import SCORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(
    history: Iterable[Mapping[str, Any]],
    rounds: Iterable[Mapping[str, Any]],
    size_inches: tuple[float, float] = (7.2, 5.0),
) -> Figure:
    """Return the training loss by step, above the Dice of the validation patients after each round.

    Args:
        history: rows with `round`, `step`, `loss`, and `start` if a round has several networks, one line each. None and
            NaN are gaps; may be empty.
        rounds: rows with `round`, `step`, `accepted`, `kidney`, `tumor`; accepted rounds have filled markers, rejected
            ones hollow. None and NaN are gaps; may be empty.
        size_inches: width and height of the figure.
    """
    from matplotlib.figure import Figure

    history, rounds = list(history), sorted(rounds, key=lambda row: row["step"])
    figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.2))
    _draw_loss(upper, history)
    for name, marker in MARKERS.items():
        steps, values = [row["step"] for row in rounds], np.array([row.get(name) for row in rounds], float)
        color = CURVE_COLORS[name]
        lower.plot(steps, values, color=color, linewidth=1, alpha=0.6, zorder=2)
        for step, value, row in zip(steps, values, rounds, strict=True):
            face = color if row["accepted"] else "white"
            lower.plot(step, value, marker, color=color, markerfacecolor=face, markersize=7, zorder=3, clip_on=False)
    lower.set(ylim=(0, 1), xlabel="training step", ylabel="Dice,\nvalidation patients")
    _mark_rounds((upper, lower), history or rounds)
    black = CURVE_COLORS["loss"]
    accepted = ("accepted", "D", black, black), ("rejected", "D", black, "white")
    legend(figure, [*structure_entries(SCORED), *accepted])
    for ax in (upper, lower):
        plain(ax)
    return figure


def _draw_loss(ax: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    for _, group in itertools.groupby(history, key=lambda row: (row["round"], row.get("start"))):
        rows = list(group)
        steps, losses = [row["step"] for row in rows], np.array([row["loss"] for row in rows], float)
        ax.plot(steps, losses, color=CURVE_COLORS["loss"], linewidth=1.3, marker=".", markersize=4)
    ax.set_ylabel("training loss")


def _mark_rounds(axes: Sequence[Axes], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a line between rounds, and the number of each round above its middle."""
    last: dict[int, float] = {}
    for row in rows:
        last[row["round"]] = max(row["step"], last.get(row["round"], row["step"]))
    start = 0.0
    for number, end in sorted(last.items()):
        text = f"round {number}" if start == 0 or len(last) <= 8 else str(number)
        place = {"xy": ((start + end) / 2, 1.0), "xycoords": ("data", "axes fraction")}
        above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
        axes[0].annotate(text, **place, **above, fontsize=8, color="#555555")  # type: ignore[arg-type]
        for ax in axes:
            ax.axvline(end, color="#BBBBBB", linewidth=0.8, linestyle=":", zorder=0)
        start = end
    if start:  # else the label of a round with one report would lie outside and shrink the axes
        axes[-1].set_xlim(-0.03 * start, 1.03 * start)
