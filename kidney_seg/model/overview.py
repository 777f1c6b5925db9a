"""The levels of a network as a table, or drawn as the paper's Figure 1."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kidney_seg.config.model import HEADS, LEVELS

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOTTOM = LEVELS + 1  # the level of the center
_LEVEL_OF = (
    *((re.compile(rf"(encoder|scale|gate|up|decoder){level}_|up{level}$"), level) for level in range(1, BOTTOM)),
    *((re.compile(rf"{head}_"), LEVELS - index) for index, head in enumerate(HEADS)),
    (re.compile(r"center_"), BOTTOM),
)


@dataclass(frozen=True)
class Level:
    """One resolution of a network, read from its layers; None for a part that it lacks."""

    number: int  # 1 (full size) to 4; 5 is the center
    pixels: int  # height and width
    image: int | None  # channels of the convolution on the pooled image (level 1: of the image itself)
    encoder: int  # channels
    gate: int | None  # channels inside the attention gate
    signal: int | None  # pixels of the gating signal
    merged: int | None  # channels where decoder and skip connection join
    decoder: int | None  # channels
    inline: bool  # whether the next finer level continues from the decoder block, not from the join
    head: tuple[str, int] | None  # name and classes of the supervised output
    parameters: int  # of all layers of this level


def levels(model: keras.Model) -> list[Level]:
    """Return the levels of a network of `build_model`, from full size to the center."""
    named = {layer.name: layer for layer in model.layers}

    def channels(name: str) -> int | None:
        return named[name].output.shape[-1] if name in named else None

    def level_at(number: int) -> Level:
        bottom = number == BOTTOM
        encoder = named["center_relu2" if bottom else f"encoder{number}_relu2"].output
        signal = named.get(f"gate{number}_signal_conv")
        head = HEADS[LEVELS - number] if not bottom else ""
        joined, above = named.get(f"up{number}_join"), named.get(f"up{number - 1}")
        return Level(
            number,
            pixels=encoder.shape[1],
            image=channels("image") if number == 1 else channels(f"scale{number}_conv"),
            encoder=encoder.shape[-1],
            gate=channels(f"gate{number}_theta"),
            signal=signal.input.shape[1] if signal is not None else None,
            merged=channels(f"up{number}_join"),
            decoder=channels(f"decoder{number}_relu2"),
            inline=joined is not None and above is not None and above.input is not joined.output,
            head=(head, named[head].output.shape[-1]) if head in named else None,
            parameters=sum(layer.count_params() for layer in model.layers if _level_of(layer.name) == number),
        )

    return [level_at(number) for number in range(1, BOTTOM + 1)]


def _level_of(name: str) -> int | None:
    return next((level for pattern, level in _LEVEL_OF if pattern.match(name)), None)


def table(model: keras.Model) -> str:
    """Return the network level by level as a table of text, with the totals below."""
    rows = [["level", "pixels", "image", "encoder", "gate", "signal from", "merged", "decoder", "output", "parameters"]]
    for level in levels(model):
        head = f"{level.head[0]}, {level.head[1]} classes" if level.head else "-"
        signal = f"{level.signal} x {level.signal}" if level.signal else None
        cells = (level.image, level.encoder, level.gate, signal, level.merged, level.decoder)
        shown = ("-" if cell is None else str(cell) for cell in cells)
        name = "center" if level.number == BOTTOM else str(level.number)
        rows.append([name, f"{level.pixels} x {level.pixels}", *shown, head, f"{level.parameters:,}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    lines.append(f"{model.count_params():,} parameters, {trainable:,} of them trainable; numbers are channels")
    return "\n".join(lines)


# x of the drawing's columns: scaled images, encoder, gates, decoder, outputs
IMAGE, ENCODER, GATE, DECODER, OUTPUT = 0.0, 2.2, 4.4, 6.6, 8.8
FILLS = {"image": "#DDDDDD", "encoder": "#BBD9EE", "gate": "#F6D8AE", "decoder": "#CBE3C4", "output": "#F2C4C4"}
WIDE, HIGH = 1.5, 0.62


def draw(model: keras.Model) -> Figure:
    """Return the network as in Figure 1 of the paper: scaled images, encoder, gates, decoder, four outputs."""
    from matplotlib.figure import Figure

    found = levels(model)
    figure = Figure(figsize=(11.5, 7.2), layout="constrained")
    ax = figure.add_subplot()
    for level in found:
        y = -1.35 * level.number
        size = f"{level.pixels} x {level.pixels}"
        below = None if level.number == BOTTOM else found[level.number]
        if level.image is not None:
            _box(ax, IMAGE, y, "image", f"image {size}")
            _arrow(ax, (IMAGE, y), (ENCODER, y), "" if level.number == 1 else f"conv {level.image}")
        if below is not None:
            if below.image is not None:
                _arrow(ax, (IMAGE, y), (IMAGE, y - 1.35), "average\npool")
            _arrow(ax, (ENCODER, y), (ENCODER, y - 1.35), "max pool")
        _box(ax, ENCODER, y, "encoder", f"{level.encoder} ch.\n{size}")
        if level.merged is None or below is None:
            continue
        if level.gate is not None:
            _box(ax, GATE, y, "gate", f"gate, {level.gate} ch.")
            _arrow(ax, (ENCODER, y), (GATE, y))
            source = next(other for other in found if other.pixels == level.signal)
            x = ENCODER if source.merged is None else DECODER
            _arrow(ax, (x, -1.35 * source.number), (GATE, y), dashed=True)
        _arrow(ax, (GATE if level.gate is not None else ENCODER, y), (DECODER, y), "skip" if level.gate is None else "")
        _arrow(ax, (DECODER if below.merged is not None else ENCODER, y - 1.35), (DECODER, y), "up")
        block = f", block {level.decoder}" if level.inline else ""
        _box(ax, DECODER, y, "decoder", f"{level.merged} ch.{block}\n{size}")
        if level.head:
            _box(ax, OUTPUT, y, "output", f"{level.head[0]}: {level.head[1]} classes\n{size}")
            _arrow(ax, (DECODER, y), (OUTPUT, y), "" if level.inline else f"block {level.decoder}")
    names = ("scaled images", "encoder", "attention gates", "decoder", "supervised outputs")
    for x, name in zip((IMAGE, ENCODER, GATE, DECODER, OUTPUT), names, strict=True):
        ax.text(x, -0.55, name, ha="center", fontsize=10, weight="bold")
    ax.set_title(f"{model.name}: {model.count_params():,} parameters (dashed: gating signals)", fontsize=10)
    ax.set_xlim(IMAGE - 1, OUTPUT + 1)
    ax.set_ylim(-1.35 * BOTTOM - 0.7, -0.3)
    ax.set_axis_off()
    return figure


def _box(ax: Axes, x: float, y: float, kind: str, text: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(
        FancyBboxPatch(
            (x - WIDE / 2, y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0.02",
            facecolor=FILLS[kind], edgecolor="#555555", linewidth=0.8, zorder=3,
        )
    )  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", fontsize=8, zorder=4)


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", dashed: bool = False
) -> None:
    """Draw an arrow between the borders of two boxes, given by their centers."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = min(WIDE / 2 / abs(dx) if dx else math.inf, HIGH / 2 / abs(dy) if dy else math.inf)
    first, last = (start[0] + share * dx, start[1] + share * dy), (end[0] - share * dx, end[1] - share * dy)
    style = {"arrowstyle": "-|>", "color": "#555555", "linestyle": "--" if dashed else "-", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", last, first, arrowprops=style, zorder=2)
    if text:
        x, y = (first[0] + last[0]) / 2, (first[1] + last[1]) / 2
        across, along = ("center", "bottom") if not dy else ("left", "top" if dx else "center")
        x, y = x + (0.06 if dy else 0), y + (0.03 if not dy else 0)
        ax.text(x, y, text, fontsize=7, color="#333333", ha=across, va=along)
