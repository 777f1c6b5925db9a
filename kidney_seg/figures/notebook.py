"""Displays for notebooks: a volume viewer, a figure with sliders, the live curves of a training."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError, require
from data_prep.geometry.placement import place_labels
from data_prep.labels import CLASS_NAMES
from data_prep.volume import read_labels, read_volume
from kidney_seg.figures import style
from kidney_seg.figures.overlays import most_informative_slice, overlay
from kidney_seg.run import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_PX = 420
OPACITY = 0.5


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
    niivue = require("ipyniivue", "notebooks")
    low, high = style.WINDOW_HU
    viewer = niivue.NiiVue(height=HEIGHT_PX, is_nearest_interpolation=True, is_radiological_convention=True)
    volumes = [niivue.Volume(path=image, colormap="gray", cal_min=low, cal_max=high)]
    if labels is not None:
        overlay = niivue.Volume(path=labels, opacity=OPACITY)
        channels = zip(*(bytes.fromhex(style.COLORS.get(name, "#000000")[1:]) for name in CLASS_NAMES), strict=True)
        colors = dict(zip("RGB", map(list, channels), strict=True))
        overlay.set_colormap_label({**colors, "A": [0, 255, 255], "I": [0, 1, 2], "labels": list(CLASS_NAMES)})
        volumes.append(overlay)
    viewer.load_volumes(volumes)
    return viewer


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
