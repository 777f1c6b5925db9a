"""A small picture of a scan with the outlines of its labels: the slices that tell most, for a page of many scans."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from data_prep.files.atomic import write_file
from data_prep.files.regular_files import is_special
from data_prep.geometry.components import bounding_box
from data_prep.labels import TUMOR
from kidney_seg.figures.style import COLORS, windowed

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT_PX = 240  # of every view
MOST_WIDE = 2.2  # width over height of a view
MARGIN_MM = 30.0
QUALITY = 65
_LINE_PX = 2


def draw(voxels: np.ndarray, labels: np.ndarray, spacing_mm: Sequence[float], labels_sha256: str) -> bytes:
    """Return a JPEG of a scan with outlines: kidney with its tumors blue, tumor orange.

    Beside each other: the axial slice with most tumor, if there is any, that with most kidney, and the coronal one with
    most of both; without labels the middle slices. Patient's right is on the left.

    Args:
        voxels: int16 HU [z, y, x] in axial order.
        labels: uint8, of the same shape.
        spacing_mm: of the three axes.
        labels_sha256: of the label file; kept in the picture, so that it is not shown with other labels.
    """
    from PIL import Image

    z_mm, y_mm, x_mm = spacing_mm
    tumor, any_label = labels == TUMOR, labels > 0
    by_slice = any_label.sum(axis=(1, 2))
    axial = [int(tumor.sum(axis=(1, 2)).argmax())] if tumor.any() else []
    axial.append(int(by_slice.argmax()) if by_slice.any() else len(voxels) // 2)
    views = [_view(voxels[z], labels[z], (y_mm, x_mm)) for z in dict.fromkeys(axial)]
    if len(voxels) > 1:
        by_row = any_label.sum(axis=(0, 2))
        y = int(by_row.argmax()) if by_row.any() else voxels.shape[1] // 2
        views.append(_view(voxels[::-1, y], labels[::-1, y], (z_mm, x_mm)))
    whole = Image.new("RGB", (sum(view.width for view in views) + 4 * (len(views) - 1), HEIGHT_PX))
    left = 0
    for view in views:
        whole.paste(view, (left, 0))
        left += view.width + 4
    made = io.BytesIO()
    whole.save(made, "JPEG", quality=QUALITY, optimize=True, comment=labels_sha256.encode())
    return made.getvalue()


def write_picture(path: Path, content: bytes) -> None:
    """Write a picture, whole or not at all."""
    write_file(path, content)


def read_picture(path: Path, labels_sha256: str) -> bytes | None:
    """Return a picture that `draw` made of labels with this checksum; None if there is none."""
    return path.read_bytes() if labels_sha256 and _drawn_of(path) == labels_sha256 else None


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture that `draw` made."""
    return _drawn_of(path) != ""


def _drawn_of(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    if is_special(path):
        return ""
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", b"") if image.format == "JPEG" else b""
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    found = comment.decode("ascii", errors="replace")
    return found if re.fullmatch(r"[0-9a-f]{64}", found) else ""


def _view(hu: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float]) -> Image:
    from PIL import Image, ImageDraw

    box = _box(labels, spacing_mm)
    hu, labels = hu[box], labels[box]
    height_mm, width_mm = hu.shape[0] * spacing_mm[0], hu.shape[1] * spacing_mm[1]
    scale_px = min(HEIGHT_PX / height_mm, MOST_WIDE * HEIGHT_PX / width_mm)  # per mm
    size = (max(1, round(width_mm * scale_px)), max(1, round(height_mm * scale_px)))
    gray = Image.fromarray(np.round(255 * windowed(hu)).astype(np.uint8))
    view = gray.resize(size, Image.Resampling.BILINEAR).convert("RGB")
    pen = ImageDraw.Draw(view)
    scale = np.array([size[0] / hu.shape[1], size[1] / hu.shape[0]])
    for mask, name in ((labels > 0, "kidney"), (labels == TUMOR, "tumor")):
        for line in _outlines(mask):
            pen.line([tuple(point) for point in (line + 0.5) * scale], COLORS[name], _LINE_PX)
    pen.text((4, size[1] // 2), "R", "white", stroke_width=1, stroke_fill="black")
    framed = Image.new("RGB", (size[0], HEIGHT_PX))
    framed.paste(view, (0, (HEIGHT_PX - size[1]) // 2))
    return framed


def _box(labels: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[slice, ...]:
    margin = (0, *(round(MARGIN_MM / mm) for mm in spacing_mm))
    box = bounding_box((labels > 0)[np.newaxis], margin=margin)
    return (slice(None), slice(None)) if box is None else box[1:]


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of a mask [y, x] as arrays of (x, y) in pixels, from the center of the first."""
    if not mask.any():
        return []
    from contourpy import contour_generator

    lines = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    return [line - 1 for line in cast(list[np.ndarray], lines)]  # their type with the default `line_type`
