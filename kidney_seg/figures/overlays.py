"""CT slices with true and predicted labels: arrays in, matplotlib figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from data_prep.geometry.components import bounding_box
from kidney_seg.figures.style import COLORS, DPI, WINDOW_HU, windowed
from kidney_seg.metrics.missing import exists
from kidney_seg.metrics.overlap import tissue_masks, tumor_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 2.7


@dataclass(frozen=True)
class Example:
    """One slice: `image_hu` [y, x] in HU; `truth` and `prediction`: labels [y, x] or None."""

    image_hu: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    title: str = ""
    aspect: float = 1.0  # height of a pixel over its width


def most_informative_z(truth: np.ndarray, predicted: np.ndarray) -> int:
    """Return the slice with most of the true tumor, else of the true kidney, else of the prediction; 0 without any."""
    masks = (mask for mask in (tumor_mask(truth), truth > 0, predicted > 0) if mask.any())
    return int(next(masks, truth > 0).sum(axis=(1, 2)).argmax())


def most_informative_slice(
    image_hu: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    case: str,
    dice: Mapping[str, float | None],
    aspect: float = 1.0,
) -> Example:
    """Return the slice of `most_informative_z` as an example for `overlay_grid`.

    Arrays are [z, y, x]; the title has the case, the slice and `dice` by structure, without None and NaN.
    """
    z = most_informative_z(truth, predicted)
    known = [f"{name} {value:.2f}" for name, value in dice.items() if exists(value)]
    scores = ", ".join(known) or "neither kidney nor tumor, in truth or prediction"
    hu, true, found = (volume[z].copy() for volume in (image_hu, truth, predicted))  # a view would keep the volume
    return Example(hu, true, found, f"{case}, slice {z}: {scores}", aspect)


def overlay(
    image_hu: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    window: tuple[float, float] = WINDOW_HU,
    title: str = "",
    margin_px: int | None = None,
) -> Figure:
    """Return CT, CT with truth, and CT with prediction side by side; see `overlay_grid`."""
    return overlay_grid([Example(image_hu, truth, prediction, title)], window, margin_px)


def overlay_grid(
    examples: Sequence[Example], window: tuple[float, float] = WINDOW_HU, margin_px: int | None = None
) -> Figure:
    """Return one row per example: CT, CT with truth, CT with prediction; a column that no example has is left out.

    Structures are tinted and outlined: kidney (label 1 and 3) blue, tumor (2) orange. Slices are in LPS axial order, so
    the patient's right is on the left, marked R.

    Args:
        examples: at least one.
        window: black and white in HU.
        margin_px: show only the box around the labels with this margin; the whole slice without labels.

    Raises:
        ValueError: there is no example, or shapes within one differ.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    if not examples:
        raise ValueError("no examples to draw")
    views = [_cropped(example, margin_px) for example in examples]
    columns = ["CT"] + [name for name in ("truth", "prediction") if any(getattr(v, name) is not None for v in views)]
    heights = [PANEL_INCHES * _height_over_width(view) for view in views]
    height = sum(heights) + 0.3 * len(views) + 0.35
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(PANEL_INCHES * len(columns) + 0.1, height), dpi=DPI, layout=layout)
    axes = figure.subplots(len(views), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, view in zip(axes, views, strict=True):
        for ax, name in zip(row, columns, strict=True):
            _draw_slice(ax, view, name, window)
        row[0].set_title(" ", fontsize=9, pad=3, loc="right")  # reserves a line: a long title would shift the panels
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 3), "textcoords": "offset points"}
        row[0].annotate(view.title, fontsize=9, va="baseline", **place).set_in_layout(False)
    handles = [Patch(facecolor=color, label=name) for name, color in COLORS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _cropped(example: Example, margin_px: int | None) -> Example:
    arrays = {name: getattr(example, name) for name in ("image_hu", "truth", "prediction")}
    arrays = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    shapes = {name: array.shape for name, array in arrays.items()}
    if set(shapes.values()) != {shapes["image_hu"]} or len(shapes["image_hu"]) != 2:
        raise ValueError(f"{example.title or 'example'}: found shapes {shapes}; expected one [y, x]")
    labels = [array[np.newaxis] for name, array in arrays.items() if name != "image_hu"]
    if margin_px is None or not labels or (box := bounding_box(*labels, margin=(0, margin_px, margin_px))) is None:
        return example
    return replace(example, **{name: array[box[1:]] for name, array in arrays.items()})


def _height_over_width(view: Example) -> float:
    height, width = view.image_hu.shape
    return min(1.5, max(0.3, height * view.aspect / width))


def _draw_slice(ax: Axes, view: Example, name: str, window: tuple[float, float]) -> None:
    from matplotlib import patheffects
    from matplotlib.colors import to_rgb

    ax.set_axis_off()
    labels = None if name == "CT" else getattr(view, name)
    gray = windowed(view.image_hu, window)
    picture = np.repeat(gray[:, :, np.newaxis], 3, axis=2)  # [y, x, rgb]
    masks = {} if labels is None else tissue_masks(labels)
    for structure, mask in masks.items():
        picture[mask] = 0.7 * picture[mask] + 0.3 * np.array(to_rgb(COLORS[structure]))
    ax.imshow(picture, aspect=view.aspect, interpolation="nearest")
    height, width = gray.shape
    for structure, mask in masks.items():
        if mask.any():  # a rim of zeros closes outlines at the border
            x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
            ax.contour(x, y, np.pad(mask, 1).astype(np.float32), [0.5], colors=COLORS[structure], linewidths=1.1)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    caption = name if name == "CT" or labels is not None else f"no {name}"
    edge = [patheffects.withStroke(linewidth=2, foreground="black")]
    write = partial(ax.text, transform=ax.transAxes, color="white", fontsize=9, path_effects=edge)
    write(0.02, 0.02, caption, va="bottom")
    write(0.02, 0.5, "R", va="center")
