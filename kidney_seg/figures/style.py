"""Colors, window and resolution of all figures, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import InputError
from data_prep.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common form of color vision, and on gray
COLORS = {"kidney": "#56B4E9", "tumor": "#E69F00"}  # on CT
CURVE_COLORS = {"kidney": "#0072B2", "tumor": "#D55E00", "loss": "#444444"}  # on white
WINDOW_HU = (-79.0, 304.0)
DPI = 130
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # no time of writing


def check_name(path: str | Path) -> Path:
    """Return the path of a picture to be written; InputError unless its name ends in .png, .svg or .pdf."""
    path = Path(path)
    if path.suffix not in _METADATA:
        raise InputError(f"{path}: expected a picture's name that ends in {', '.join(_METADATA)}")
    return path


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all, in the format of its name (see `check_name`); return its path.

    The same figure gives the same bytes as PNG.
    """
    path = check_name(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata=_METADATA[path.suffix])
    return path
