"""Displays for notebooks: a volume viewer, a figure with sliders, the live curves of a training."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError, require
from data_prep.files.plain_paths import plain_folder
from data_prep.formats.image_writer import write_image
from data_prep.geometry.placement import place_labels
from data_prep.labels import STRUCTURES
from data_prep.volume import read_labels, read_volume
from kidney_seg.figures import style
from kidney_seg.figures.overlays import (
    Example,
    most_informative_slice,
    most_informative_z,
    overlay,
    overlay_grid,
)
from kidney_seg.run import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from data_prep.geometry.source_grid import SourceGrid
    from data_prep.geometry.volume import Volume

HEIGHT_PX = 420
OPACITY = 0.5
MOST_VOXELS = 1 << 25  # that are sent to a browser: 512 x 512 x 128


def show_volume(image: str | Path, labels: str | Path | None = None, *, widget: bool = True) -> Any:
    """Return an interactive viewer of a CT file with its labels, for the last line of a cell.

    It is ipyniivue's (extra `notebooks`): three planes, the patient's right on the left; the mouse wheel scrolls, the
    right button changes the window. Without that package, or with `widget=False`, it is a matplotlib figure of the most
    informative slice.
    """
    if widget:
        try:
            return _widget(Path(image), None if labels is None else Path(labels))
        except InputError:
            pass  # the package is not installed
    return _slice(Path(image), None if labels is None else Path(labels))


def show_labels(volume: Volume, labels: np.ndarray, *, widget: bool = True) -> Any:
    """Return a viewer of a CT in memory with labels uint8 [z, y, x], for the last line of a cell.

    With ipyniivue three planes and 3-D; else with ipywidgets (both: extra `notebooks`) axial slices to scroll through;
    else, or with `widget=False`, a matplotlib figure of the most informative slice. ipyniivue gets every second or
    third pixel of a scan of more than `MOST_VOXELS`.
    """
    if widget:
        with suppress(InputError):  # a package that is not installed
            return _volumes(volume, labels)
        with suppress(InputError):
            return _scroll(volume, labels)
    return _labelled(volume, labels, most_informative_z(labels, labels))


def slider(draw: Callable[..., Figure], **ranges: tuple[float, float, float]) -> Any:
    """Show the figure of `draw` with one slider (lowest, highest, step) per argument in `ranges`.

    Sliders start at the defaults of `draw`. Without ipywidgets (extra `notebooks`) `draw()` is shown once.
    """
    from IPython.display import display

    try:
        widgets = require("ipywidgets", "notebooks")
    except InputError:
        return display(_png(draw()))
    arguments = inspect.signature(draw).parameters
    sliders = {
        name: widgets.FloatSlider(value=arguments[name].default, min=low, max=high, step=step)
        for name, (low, high, step) in ranges.items()
    }
    return widgets.interact(lambda **chosen: display(_png(draw(**chosen))), **sliders)


def live(run: str | Path) -> Callable[[str], None]:
    """Return a `log` function for `progressive.train` that shows the last lines and the run's learning curves."""
    from IPython.display import Image, clear_output, display

    curves, lines = Path(run) / layout.CURVES, []

    def log(line: str) -> None:
        lines.append(line)
        clear_output(wait=True)
        print("\n".join(lines[-12:]))
        if curves.is_file():
            display(Image(filename=str(curves), width=640))

    return log


def _widget(image: Path, labels: Path | None) -> Any:
    return _niivue({"path": image}, None if labels is None else {"path": labels})


def _volumes(volume: Volume, labels: np.ndarray) -> Any:
    require("ipyniivue", "notebooks")  # before the work
    step = math.ceil(math.sqrt(volume.voxels.size / MOST_VOXELS))
    shown = [array[:, ::step, ::step] for array in (volume.voxels, labels)]
    grid = volume.source.axial
    spacing = (grid.spacing[0] * step, grid.spacing[1] * step, grid.spacing[2])
    grid = replace(grid, size=shown[0].shape[::-1], spacing=spacing)
    scan, found = (
        {"name": f"{name}.nii.gz", "data": _nifti(array, grid)}
        for name, array in zip(("scan", "labels"), shown, strict=True)
    )
    return _niivue(scan, found, show_3d=True)


def _nifti(axial: np.ndarray, grid: SourceGrid) -> bytes:
    with plain_folder() as folder:
        write_image(axial, grid, folder / "image.nii.gz", level=1)
        return (folder / "image.nii.gz").read_bytes()


def _niivue(image: dict[str, Any], labels: dict[str, Any] | None, show_3d: bool = False) -> Any:
    niivue = require("ipyniivue", "notebooks")
    low, high = style.WINDOW_HU
    options = {"multiplanar_show_render": niivue.ShowRender.ALWAYS} if show_3d else {}
    viewer = niivue.NiiVue(height=HEIGHT_PX, is_nearest_interpolation=True, is_radiological_convention=True, **options)
    volumes = [niivue.Volume(**image, colormap="gray", cal_min=low, cal_max=high)]
    if labels is not None:
        overlay = niivue.Volume(**labels, opacity=OPACITY)
        channels = zip(*((0, 0, 0), *(row.rgb for row in STRUCTURES.values())), strict=True)
        colors = dict(zip("RGB", map(list, channels), strict=True))
        numbers = [0, *STRUCTURES]
        names = ["background", *(row.name for row in STRUCTURES.values())]
        alpha = [0, *[255] * len(STRUCTURES)]
        overlay.set_colormap_label({**colors, "A": alpha, "I": numbers, "labels": names})
        volumes.append(overlay)
    viewer.load_volumes(volumes)
    return viewer


def _scroll(volume: Volume, labels: np.ndarray) -> Any:
    widgets = require("ipywidgets", "notebooks")
    from IPython.display import display

    first, last = most_informative_z(labels, labels), len(labels) - 1
    chosen = widgets.IntSlider(value=first, min=0, max=last, description="slice", continuous_update=False)
    return widgets.interactive(lambda z: display(_png(_labelled(volume, labels, z))), z=chosen)


def _labelled(volume: Volume, labels: np.ndarray, z: int) -> Figure:
    """Return CT and labels of one axial slice side by side."""
    _, dy, dx = volume.spacing_mm
    title = f"slice {z} of 0 to {len(labels) - 1}"
    return overlay_grid([Example(volume.voxels[z], None, labels[z], title, dy / dx)])


def _slice(image: Path, labels: Path | None) -> Figure:
    ct = read_volume(image)
    if labels is None:
        return overlay(ct.voxels[len(ct.voxels) // 2], None, None, title=image.name)
    truth = place_labels(read_labels(labels), ct.source).voxels
    example = most_informative_slice(ct.voxels, truth, truth, image.parent.name, {})
    return overlay(example.image_hu, example.truth, None, title=f"{image.name}, {labels.name}")


def _png(figure: Figure) -> Any:
    from IPython.display import Image

    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=90)
    return Image(data=made.getvalue())
