"""Pictures of scores: Dice by patient and by tumor size, detection by size, agreement of volumes.

Rows in, matplotlib figures out. A row is a mapping with `case` and what each function names; None and NaN are left out.
Every collection of marks has `hover`: a text for each mark, which the HTML report shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kidney_seg.metrics.overlap import STRUCTURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeGuard, cast

from kidney_seg.figures.style import CURVE_COLORS, DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
from kidney_seg.metrics.overlap import AVERAGE


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return a picture: every run as a dot, the mean of each arm with its interval, one panel a structure."""
    from matplotlib.figure import Figure

    from kidney_seg.figures.style import CURVE_COLORS, DPI

    arms = list(dict.fromkeys(row["arm"] for row in rows))
    made = Figure(figsize=(8.0, 1.6 + 0.5 * len(arms)), dpi=DPI, layout="constrained")
    panels = made.subplots(1, len(STRUCTURES), sharey=True, squeeze=False)[0]
    for ax, structure in zip(panels, STRUCTURES, strict=True):
        for row in rows:
            if row["structure"] != structure:
                continue
            y = -arms.index(row["arm"])
            color = CURVE_COLORS[structure]
            ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2, alpha=0.5)
            ax.plot(row["mean"], y, "|", color=color, markersize=14, markeredgewidth=2)
            ax.plot(row["runs"], [y + 0.15] * len(row["runs"]), "o", color=color, markersize=4)
        ax.set_title(f"{structure} (dots: runs)", fontsize=10)
        ax.set_xlabel("Dice, mean and 95 % interval", fontsize=9)
        ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_ylim(-len(arms) + 0.5, 0.6)
    panels[0].set_yticks([-index for index in range(len(arms))], arms)
    return made


def draw_thresholds(summary: Mapping[str, Any]) -> Figure:
    """Return a figure of the paired differences by distance, with their intervals."""
    from matplotlib.figure import Figure

    from kidney_seg.figures.style import CURVE_COLORS

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.add_subplot()
    for shift, (name, marker) in enumerate((("kidney", "o"), ("tumor", "s"))):
        lines = [
            line
            for line in summary["table"]
            if line["structure"] == name and None not in (line["distance_mm"], line["low"])
        ]
        places = np.arange(len(lines)) + 0.14 * (shift - 0.5)
        middle = np.array([line["difference"] for line in lines])
        reach = np.abs(np.array([[line["low"], line["high"]] for line in lines]).reshape(-1, 2).T - middle)
        ax.errorbar(places, middle, reach, fmt=marker, color=CURVE_COLORS[name], capsize=3, label=name)
    distances = [line["distance_mm"] for line in summary["table"] if line["structure"] == AVERAGE][1:]
    ax.set_xticks(range(len(distances)), [f"{mm:g}" for mm in distances])
    ax.axhline(0, color=CURVE_COLORS["loss"], linewidth=0.8)
    ax.set(xlabel="objects stay up to this distance from the kidneys (mm)", ylabel="Dice with the rule - without it")
    ax.legend(frameon=False)
    return figure


SIZE_INCHES = (4.8, 3.4)  # a column's width: text stays readable on a phone
SIZE_LIMITS_CM = (2.0, 4.0, 7.0)  # between the size classes
MARKERS = {"kidney": "o", "tumor": "s"}
GRAY = "#666666"


class Telling(Protocol):
    """A collection of marks that tells what each of them is."""

    hover: list[str]


def dice_by_patient(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return the Dice of kidney and tumor of every case, sorted by that of the tumor, best first.

    Rows have `case`, `kidney` and `tumor` (Dice). Cases without a tumor in truth and prediction come last, sorted by
    kidney; those with neither are left out. A Dice of 0 has a hollow mark.
    """
    rows = [row for row in rows if _is_number(row["kidney"]) or _is_number(row["tumor"])]
    rows = sorted(rows, key=lambda row: (_known(row["tumor"], -1.0), _known(row["kidney"], -1.0)), reverse=True)
    figure, ax = _axes("Dice")
    for name in ("kidney", "tumor"):
        points = [(place, row[name], _told(row, name)) for place, row in enumerate(rows, 1) if _is_number(row[name])]
        _marks(ax, points, name)
    ax.set(xlabel="cases, sorted by the Dice of the tumor", ylim=(-0.03, 1.03), xlim=(0.3, max(len(rows), 1) + 0.7))
    ax.locator_params(axis="x", integer=True)
    _legend(figure, ("kidney", "tumor"))
    return figure


def dice_by_size(rows: Iterable[Mapping[str, Any]], size_name: str = "diameter of the largest tumor") -> Figure:
    """Return the Dice of the tumor against its diameter in cm on a logarithmic axis.

    Rows have `case`, `tumor` (Dice) and `diameter_mm`; those without a tumor in the truth are left out. Dotted lines
    part the size classes; a Dice of 0 has a hollow mark. `size_name` says what the diameter is.
    """
    points = [
        (row["diameter_mm"] / 10, row["tumor"], f"{_told(row, 'tumor')}, {row['diameter_mm'] / 10:.1f} cm")
        for row in rows
        if _is_number(row["tumor"]) and _is_number(row["diameter_mm"]) and row["diameter_mm"] > 0
    ]
    figure, ax = _axes("Dice of the tumor")
    _marks(ax, points, "tumor")
    sizes = [point[0] for point in points] or [1.0, 10.0]
    ax.set(xscale="log", xlabel=f"{size_name}, cm", ylim=(-0.03, 1.03))
    ax.set_xlim(min(*sizes, 1.8) / 1.15, max(*sizes, 8.0) * 1.15)
    for limit in SIZE_LIMITS_CM:
        ax.axvline(limit, color="#999999", linewidth=0.8, linestyle=":", zorder=0)
    _plain_ticks(ax, (0.5, 1, 2, 4, 7, 10, 15, 20))
    _legend(figure, ("tumor",))
    return figure


def detection_by_size(classes: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the share of tumors found in each size class as bars, with 95 % intervals.

    Rows have `size_class` (its name), `n`, `found`, and `low`, `high` (of the share; None where there is none).
    Classes without a tumor are written as such.
    """
    figure, ax = _axes("share of tumors found")
    for place, row in enumerate(classes):
        if not row["n"]:
            ax.text(place, 0.02, "no tumor", ha="center", color=GRAY, fontsize=9)
            continue
        share = row["found"] / row["n"]
        ax.bar(place, share, width=0.62, color=CURVE_COLORS["tumor"], alpha=0.85)
        top = share
        if _is_number(row.get("low")) and _is_number(row.get("high")):
            top = max(share, row["high"])
            spread = [[max(0.0, share - row["low"])], [max(0.0, row["high"] - share)]]
            ax.errorbar(place, share, spread, color="#333333", capsize=4, linewidth=1.2)
        ax.text(place, top + 0.03, f"{row['found']} of {row['n']}", ha="center", fontsize=9)
    ax.set_xticks(range(len(classes)), [row["size_class"] for row in classes])
    ax.set(xlabel="diameter of the tumor", ylim=(0, 1.15), xlim=(-0.6, max(len(classes), 1) - 0.4))
    ax.set_yticks(np.arange(0, 1.01, 0.25))
    return figure


def volume_agreement(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return Bland and Altman's plot of the tumor's volume: predicted less true, against the mean of the two, in mL.

    Rows have `case`, `tumor_ml` and `predicted_tumor_ml`; cases with neither are left out. Lines: the mean difference
    and the limits of agreement, 1.96 standard deviations (of n - 1) to both sides, where there are three cases.
    """
    rows = [row for row in rows if _is_number(row["tumor_ml"]) and _is_number(row["predicted_tumor_ml"])]
    rows = [row for row in rows if row["tumor_ml"] + row["predicted_tumor_ml"] > 0]
    points = [
        (
            (row["predicted_tumor_ml"] + row["tumor_ml"]) / 2,
            row["predicted_tumor_ml"] - row["tumor_ml"],
            f"{row['case']}: {row['predicted_tumor_ml']:.1f} mL predicted, {row['tumor_ml']:.1f} mL true",
        )
        for row in rows
    ]
    figure, ax = _axes("predicted - true, mL")
    ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    _marks(ax, points, "tumor", hollow_at=None)
    ax.set(xscale="log", xlabel="mean of true and predicted tumor volume, mL")
    _plain_ticks(ax, (0.1, 1, 10, 100, 1000))
    if len(points) > 2:
        differences = np.array([point[1] for point in points])
        mean, spread = differences.mean(), 1.96 * differences.std(ddof=1)
        for value, style, name in (
            (mean, "-", "mean"),
            (mean - spread, "--", "-1.96 SD"),
            (mean + spread, "--", "+1.96 SD"),
        ):
            ax.axhline(value, color=GRAY, linewidth=1, linestyle=style, zorder=1)
            ax.annotate(
                f"{name} {value:.3g}", (1, value), (-2, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", fontsize=8, color="#444444",
            )  # fmt: skip
    return figure


def _axes(ylabel: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    ax = figure.subplots()
    ax.set_ylabel(ylabel)
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _marks(ax: Axes, points: Sequence[tuple[float, float, str]], name: str, hollow_at: float | None = 0.0) -> None:
    """Draw (x, y, hover text) as marks of a structure; hollow where y is `hollow_at`."""
    if not points:
        return
    color = CURVE_COLORS[name]
    faces = ["white" if y == hollow_at else color for _, y, _ in points]
    x, y, hover = zip(*points, strict=True)
    drawn = ax.scatter(x, y, s=30, marker=MARKERS[name], facecolors=faces, edgecolors=color, zorder=3, clip_on=False)
    cast(Telling, drawn).hover = list(hover)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    entries = [(name, MARKERS[name], CURVE_COLORS[name], CURVE_COLORS[name]) for name in names]
    entries.append(("Dice 0", "s", GRAY, "white"))
    handles = [
        Line2D([], [], linestyle="none", markersize=6, marker=marker, color=color, markerfacecolor=face, label=label)
        for label, marker, color, face in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _plain_ticks(ax: Axes, values: Sequence[float]) -> None:
    low, high = ax.get_xlim()
    shown = [value for value in values if low <= value <= high]
    ax.set_xticks(shown, [f"{value:g}" for value in shown])
    ax.minorticks_off()


def _told(row: Mapping[str, Any], name: str) -> str:
    return f"{row['case']}: Dice {row[name]:.3f} ({name})"


def _is_number(value: Any) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _known(value: float | None, otherwise: float) -> float:
    return value if _is_number(value) else otherwise
