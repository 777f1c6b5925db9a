"""Plots of scores: rows in, matplotlib figures out.

A row is a mapping with the columns that each function names; None and NaN are left out. Every collection of marks has
`hover`, a text per mark, which the HTML report shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from kidney_seg.figures.style import CURVE_COLORS, DPI, MARKERS, legend, new_axes, plain, structure_entries
from kidney_seg.metrics.lesion_detection import SIZES_MM
from kidney_seg.metrics.missing import exists
from kidney_seg.metrics.overlap import AVERAGE, SCORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

SIZE_INCHES = (4.8, 3.4)  # the width of a column: text stays readable on a phone
GRAY = "#666666"
HOLLOW = ("Dice 0", "s", GRAY, "white")  # the mark of a Dice of 0


class HoverPoints(Protocol):
    """A collection of marks with a text per mark."""

    hover: list[str]


def plot_arms(rows: Sequence[Row]) -> Figure:
    """Return one panel per structure: each run as a dot, the mean of each arm with its interval (`compare.compare`)."""
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(row["arm"] for row in rows))
    figure = Figure(figsize=(8.0, 1.6 + 0.5 * len(arms)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(SCORED), sharey=True, squeeze=False)[0]
    for ax, structure in zip(panels, SCORED, strict=True):
        color = CURVE_COLORS[structure]
        for row in (row for row in rows if row["structure"] == structure):
            y = -arms.index(row["arm"])
            ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2, alpha=0.5)
            ax.plot(row["mean"], y, "|", color=color, markersize=14, markeredgewidth=2)
            ax.plot(row["runs"], [y + 0.15] * len(row["runs"]), "o", color=color, markersize=4)
        ax.set_title(f"{structure} (dots: runs)", fontsize=10)
        ax.set_xlabel("Dice, mean and 95 % interval", fontsize=9)
        plain(ax, "x")
        ax.set_ylim(-len(arms) + 0.5, 0.6)
    panels[0].set_yticks([-index for index in range(len(arms))], arms)
    return figure


def plot_thresholds(summary: Row) -> Figure:
    """Return the paired differences by distance with their intervals (`threshold.summarize_thresholds`)."""
    figure, ax = new_axes(
        (6.4, 3.6),
        xlabel="objects up to this distance from the kidneys are kept (mm)",
        ylabel="Dice, post-processed - as predicted",
    )
    for shift, (name, marker) in enumerate(MARKERS.items()):
        rows = [row for row in summary["table"] if row["structure"] == name]
        rows = [row for row in rows if None not in (row["distance_mm"], row["low"])]
        places = np.arange(len(rows)) + 0.14 * (shift - 0.5)
        middle = np.array([row["difference"] for row in rows])
        reach = np.abs(np.array([[row["low"], row["high"]] for row in rows]).reshape(-1, 2).T - middle)
        ax.errorbar(places, middle, reach, fmt=marker, color=CURVE_COLORS[name], capsize=3, label=name)
    distances = [row["distance_mm"] for row in summary["table"] if row["structure"] == AVERAGE][1:]
    ax.set_xticks(range(len(distances)), [f"{mm:g}" for mm in distances])
    ax.axhline(0, color=CURVE_COLORS["loss"], linewidth=0.8)
    ax.legend(frameon=False)
    return figure


def dice_by_patient(rows: Iterable[Row]) -> Figure:
    """Return the Dice of kidney and tumor of every case, sorted by that of the tumor, best first.

    Rows have `case`, `kidney` and `tumor` (Dice). Cases without a tumor in truth and prediction come last, sorted by
    kidney; cases without both are left out. A Dice of 0 has a hollow mark.
    """
    rows = [row for row in rows if exists(row["kidney"]) or exists(row["tumor"])]
    rows.sort(key=lambda row: [row[name] if exists(row[name]) else -1.0 for name in ("tumor", "kidney")], reverse=True)
    figure, ax = new_axes(SIZE_INCHES, ylabel="Dice")
    for name in SCORED:
        points = [(place, row[name], _describe(row, name)) for place, row in enumerate(rows, 1) if exists(row[name])]
        _marks(ax, points, name)
    ax.set(xlabel="cases, sorted by the Dice of the tumor", ylim=(-0.03, 1.03), xlim=(0.3, max(len(rows), 1) + 0.7))
    ax.locator_params(axis="x", integer=True)
    legend(figure, [*structure_entries(SCORED), HOLLOW])
    return figure


def dice_by_size(rows: Iterable[Row], size_name: str = "diameter of the largest tumor") -> Figure:
    """Return the Dice of the tumor against its diameter in cm on a logarithmic axis.

    Rows have `case`, `tumor` (Dice) and `diameter_mm`; cases without a true tumor are left out. Dotted lines separate
    the size classes; a Dice of 0 has a hollow mark. `size_name` describes the diameter.
    """
    points = [
        (row["diameter_mm"] / 10, row["tumor"], f"{_describe(row, 'tumor')}, {row['diameter_mm'] / 10:.1f} cm")
        for row in rows
        if exists(row["tumor"]) and exists(row["diameter_mm"]) and row["diameter_mm"] > 0
    ]
    figure, ax = new_axes(SIZE_INCHES, ylabel="Dice of the tumor")
    _marks(ax, points, "tumor")
    sizes = [point[0] for point in points] or [1.0, 10.0]
    ax.set(xscale="log", xlabel=f"{size_name}, cm", ylim=(-0.03, 1.03))
    ax.set_xlim(min(*sizes, 1.8) / 1.15, max(*sizes, 8.0) * 1.15)
    for limit_mm in SIZES_MM:
        ax.axvline(limit_mm / 10, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    _plain_ticks(ax, (0.5, 1, 2, 4, 7, 10, 15, 20))
    legend(figure, [*structure_entries(["tumor"]), HOLLOW])
    return figure


def detection_by_size(classes: Sequence[Row]) -> Figure:
    """Return the share of tumors found in each size class as bars, with 95 % intervals.

    Rows have `size_class` (its name), `n`, `found`, and `low`, `high` of the share (None for no interval).
    """
    figure, ax = new_axes(SIZE_INCHES, ylabel="share of tumors found", xlabel="diameter of the tumor")
    for place, row in enumerate(classes):
        if not row["n"]:
            ax.text(place, 0.02, "no tumor", ha="center", color=GRAY, fontsize=9)
            continue
        share = top = row["found"] / row["n"]
        ax.bar(place, share, width=0.62, color=CURVE_COLORS["tumor"], alpha=0.85)
        low, high = row.get("low"), row.get("high")
        if exists(low) and exists(high):
            top = max(share, high)
            spread = [[max(0.0, share - low)], [max(0.0, high - share)]]
            ax.errorbar(place, share, spread, color="#333333", capsize=4, linewidth=1.2)
        ax.text(place, top + 0.03, f"{row['found']} of {row['n']}", ha="center", fontsize=9)
    ax.set_xticks(range(len(classes)), [row["size_class"] for row in classes])
    ax.set(ylim=(0, 1.15), xlim=(-0.6, max(len(classes), 1) - 0.4), yticks=np.arange(0, 1.01, 0.25))
    return figure


def volume_agreement(rows: Iterable[Row]) -> Figure:
    """Return Bland and Altman's plot of the tumor's volume: predicted - true, against the mean of the two, in mL.

    Rows have `case`, `tumor_ml` and `predicted_tumor_ml`; cases without both are left out. From three cases on, lines
    show the mean difference and the limits of agreement, 1.96 standard deviations (of n - 1) to both sides.
    """
    points = [
        ((predicted + true) / 2, predicted - true, f"{row['case']}: {predicted:.1f} mL predicted, {true:.1f} mL true")
        for row in rows
        for true, predicted in [(row["tumor_ml"], row["predicted_tumor_ml"])]
        if exists(true) and exists(predicted) and true + predicted > 0
    ]
    figure, ax = new_axes(SIZE_INCHES, ylabel="predicted - true, mL")
    ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    _marks(ax, points, "tumor", hollow_at=None)
    ax.set(xscale="log", xlabel="mean of true and predicted tumor volume, mL")
    _plain_ticks(ax, (0.1, 1, 10, 100, 1000))
    if len(points) > 2:
        differences = np.array([point[1] for point in points])
        mean, spread = differences.mean(), 1.96 * differences.std(ddof=1)
        for sign, style, name in ((0, "-", "mean"), (-1, "--", "-1.96 SD"), (1, "--", "+1.96 SD")):
            value = mean + sign * spread
            ax.axhline(value, color=GRAY, linewidth=1, linestyle=style, zorder=1)
            ax.annotate(
                f"{name} {value:.3g}", (1, value), (-2, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", fontsize=8, color="#444444",
            )  # fmt: skip
    return figure


def _marks(ax: Axes, points: Sequence[tuple[float, float, str]], name: str, hollow_at: float | None = 0.0) -> None:
    """Draw (x, y, hover text) as marks of a structure; hollow where y is `hollow_at`."""
    if not points:
        return
    color = CURVE_COLORS[name]
    faces = ["white" if y == hollow_at else color for _, y, _ in points]
    x, y, hover = zip(*points, strict=True)
    drawn = ax.scatter(x, y, s=30, marker=MARKERS[name], facecolors=faces, edgecolors=color, zorder=3, clip_on=False)
    cast(HoverPoints, drawn).hover = list(hover)


def _plain_ticks(ax: Axes, values: Sequence[float]) -> None:
    low, high = ax.get_xlim()
    shown = [value for value in values if low <= value <= high]
    ax.set_xticks(shown, [f"{value:g}" for value in shown])
    ax.minorticks_off()


def _describe(row: Row, name: str) -> str:
    return f"{row['case']}: Dice {row[name]:.3f} ({name})"
