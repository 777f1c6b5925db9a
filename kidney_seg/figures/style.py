"""Colors, display window and resolution of all figures, and how they are saved."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.atomic import write_file
from data_prep.files.outputs import check_outputs, has_text
from data_prep.labels import CLASS_NAMES, IDS, STRUCTURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {name: STRUCTURES[IDS[name]].color for name in CLASS_NAMES[1:]}  # on CT
CURVE_COLORS = {"kidney": "#0072B2", "tumor": "#D55E00", "loss": "#444444"}  # on white
MARKERS = {"kidney": "o", "tumor": "s"}
GRID_COLOR = "#DDDDDD"
WINDOW_HU = (-79.0, 304.0)  # display window: black and white
DPI = 130
_MADE_BY = "kidney_seg"  # in every picture; without the time of writing
_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": _MADE_BY},
    ".svg": {"Creator": _MADE_BY, "Date": None},
    ".pdf": {"Creator": _MADE_BY, "CreationDate": None},
}


def windowed(image_hu: np.ndarray, window: tuple[float, float] = WINDOW_HU) -> np.ndarray:
    """Return gray values in 0..1, float32, of an image in HU: 0 up to the lower end of the window, 1 from the upper."""
    low, high = window
    return np.clip((np.asarray(image_hu, np.float32) - low) / (high - low), 0, 1)


def new_axes(size_inches: tuple[float, float], axis: str = "y", **labels: Any) -> tuple[Figure, Axes]:
    """Return a figure with one plot, whose grid lines cross `axis`; `labels` go to `Axes.set`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
    ax = figure.subplots()
    ax.set(**labels)
    plain(ax, axis)
    return figure, ax


def plain(ax: Axes, axis: str = "y") -> None:
    """Show light grid lines behind the data, and no frame at the top and right."""
    ax.grid(axis=axis, color=GRID_COLOR, linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """Add a legend of marks below the plots; entries are (text, marker, edge color, face color)."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", markersize=7, label=text, marker=marker, color=edge, markerfacecolor=face)
        for text, marker, edge, face in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def structure_entries(names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Return the entries of structures for `legend`."""
    return [(name, MARKERS[name], CURVE_COLORS[name], CURVE_COLORS[name]) for name in names]


def check_name(path: str | Path) -> Path:
    """Return the path of a picture to be written; InputError unless its name ends in .png, .svg or .pdf."""
    path = Path(path)
    if path.suffix not in _METADATA:
        raise InputError(f"expected the name of a picture that ends in {', '.join(_METADATA)}", path=path)
    return path


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture that `save_figure` wrote."""
    return has_text(_MADE_BY.encode())(path)


def check_picture(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raise InputError unless a command may write a picture there, or replace one that it made; see `check_outputs`."""
    check_outputs([check_name(path)], inputs, is_picture)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all, in the format of its name (see `check_name`); return its path.

    The same figure gives the same bytes as PNG.
    """
    path = check_name(path)
    made = io.BytesIO()
    figure.savefig(made, format=path.suffix[1:], metadata=_METADATA[path.suffix])
    write_file(path, made.getvalue())
    return path


save = save_figure  # the documented name in version 0.1
