"""Attention maps of the gates, and the scaled images, of a forward pass: computed and drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

_LAYERS = re.compile(r"gate\d+_attention|scale\d+")


def attention_maps(model: keras.Model, slices_hu: np.ndarray) -> dict[str, np.ndarray]:
    """Return attention maps and scaled images of slices, by layer name, full size first; empty without such layers.

    slices_hu: [n, size, size, input_slices] in HU. `gate1_attention` to `gate4_attention`, float32 [n, h, w] in 0..1:
    weights of the gates. `scale2` to `scale4`, float32 [n, h, w]: pooled images in 0..1 of the window.
    """
    import keras

    names = sorted(layer.name for layer in model.layers if _LAYERS.fullmatch(layer.name))
    if not names:
        return {}
    inner = keras.Model(model.inputs, {name: model.get_layer(name).output for name in names})
    made = inner.predict({"image": np.asarray(slices_hu, np.float32)}, verbose=0)
    return {name: made[name][..., made[name].shape[-1] // 2] for name in names}


def plot_attention_maps(maps: dict[str, np.ndarray], which: int = 0, columns: int = 4) -> Figure:
    """Return a figure of the maps of one slice, with names and sizes; black is 0, white is 1."""
    from matplotlib.figure import Figure

    if not maps:
        raise ValueError("nothing to draw: the network has neither gates nor scaled images")
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, images) in zip(axes, maps.items(), strict=False):
        ax.imshow(images[which], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        height, width = images[which].shape
        ax.set_title(f"{name}\n{height} x {width}", fontsize=9)
    return figure


seen_by, draw_seen = attention_maps, plot_attention_maps  # their names in version 0.1
