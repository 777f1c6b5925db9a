"""What notebooks show: a volume to scroll through, a figure with sliders, a training as it goes on."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError, require
from data_prep.volume import read_labels, read_volume
from kidney_seg.figures import style
from kidney_seg.figures.overlays import LABELS, overlay, telling_slice
from kidney_seg.run import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_PX = 420
OPACITY = 0.5


def show_volume(image: str | Path, labels: str | Path | None = None, *, widget: bool = True) -> Any:
    """Return an interactive viewer of a CT file with its labels on it, for the last line of a cell.

    It is ipyniivue's (extra `notebooks`): three planes, the patient's right on the left; the mouse wheel scrolls, the
    right button changes the window. Without that package, or with `widget=False`, it is a matplotlib figure of the
    slice that tells most.
    """
    if widget:
        try:
            return _widget(Path(image), None if labels is None else Path(labels))
        except InputError:
            pass  # the package is not there
    return _slice(Path(image), None if labels is None else Path(labels))


def slider(draw: Callable[..., Figure], **ranges: tuple[float, float, float]) -> Any:
    """Show the figure that `draw` makes, with a slider (lowest, highest, step) for each of its arguments in `ranges`.

    Each begins where `draw` has its default. Without ipywidgets (extra `notebooks`) the figure is shown once, as
    `draw()` makes it.
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
    """Return what `progressive.train` takes as `say`: it shows the last lines and the run's curves as they grow."""
    from IPython.display import Image, clear_output, display

    curves, lines = Path(run) / layout.CURVES, []

    def say(line: str) -> None:
        lines.append(line)
        clear_output(wait=True)
        print("\n".join(lines[-12:]))
        if curves.is_file():
            display(Image(filename=str(curves), width=640))

    return say


def _widget(image: Path, labels: Path | None) -> Any:
    niivue = require("ipyniivue", "notebooks")
    low, high = style.WINDOW_HU
    viewer = niivue.NiiVue(height=HEIGHT_PX, is_nearest_interpolation=True, is_radiological_convention=True)
    volumes = [niivue.Volume(path=image, colormap="gray", cal_min=low, cal_max=high)]
    if labels is not None:
        overlay = niivue.Volume(path=labels, opacity=OPACITY)
        names = ("background", *LABELS)
        channels = zip(*[_rgb("#000000"), *(_rgb(style.COLORS[name]) for name in LABELS)], strict=True)
        colors = dict(zip("RGB", map(list, channels), strict=True))
        overlay.set_colormap_label({**colors, "A": [0, 255, 255], "I": [0, 1, 2], "labels": list(names)})
        volumes.append(overlay)
    viewer.load_volumes(volumes)
    return viewer


def _slice(image: Path, labels: Path | None) -> Figure:
    ct = read_volume(image)
    if labels is None:
        return overlay(ct.voxels[len(ct.voxels) // 2], None, None, title=image.name)
    truth = read_labels(labels).voxels
    example = telling_slice(ct.voxels, truth, truth, image.parent.name, {})
    return overlay(example.image_hu, example.truth, None, title=f"{image.name}, {labels.name}")


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _png(figure: Figure) -> Any:
    from IPython.display import Image

    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=90)
    return Image(data=made.getvalue())
