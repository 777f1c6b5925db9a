"""The same network, loss and optimizer in PyTorch, to compare speed with.

It has the layers of `kidney_seg.model`; with a Keras model's weights (`take_weights`) it gives the same outputs and
loss (tests/benchmarks/test_torch_twin.py). All kernels are mirrored, and so are inputs and outputs: after a transposed
convolution of stride 2 Keras crops the last row and column, where PyTorch without a copy can only crop the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import HEADS, LEVELS, ModelConfig
from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_unet import GATE_WIDTHS, SCALE_WIDTHS, SIDE_WIDTHS, UP_WIDTHS

if TYPE_CHECKING:
    import keras

KERAS_EPSILON = 1e-3  # of its batch normalization


class Twin(nn.Module):
    """The network; image HU float32 [batch, 1, size, size] to logits by head, [batch, classes, size/s, size/s].

    It follows widths, gates, decoder, multi-scale input, heads, and the window; ValueError for other settings that
    change the layers.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        own = {"gate3_signal": "up2", "gate_interpolation": "nearest", "normalization": "batch", "precision": "float32"}
        if any(getattr(config, name) != value for name, value in own.items()):
            raise ValueError(f"the twin has {', '.join(f'{name}={value}' for name, value in own.items())} only")
        self.config = config
        momentum = 1 - config.batch_norm_momentum
        made = self.made = nn.ModuleDict()  # by the names of the Keras layers

        def width(channels: int) -> int:
            return max(1, round(channels * config.width_factor))

        def conv(name: str, before: int, after: int, kernel: int, stride: int = 1) -> int:
            made[name] = nn.Conv2d(before, after, kernel, stride, padding=1 if kernel == 3 else 0)
            return after

        def norm(name: str, channels: int) -> None:
            made[name] = nn.BatchNorm2d(channels, eps=KERAS_EPSILON, momentum=momentum)

        def block(name: str, before: int, channels: int) -> int:
            for number in (1, 2):
                before = conv(f"{name}_conv{number}", before, width(channels), 3)
                norm(f"{name}_norm{number}", before)
            return before

        skips, channels = {}, config.input_slices
        for level in range(1, LEVELS + 1):
            if level > 1 and config.multi_scale_input:
                channels += conv(f"scale{level}_conv", config.input_slices, width(SCALE_WIDTHS[level - 1]), 3)
            channels = skips[level] = block(f"encoder{level}", channels, config.widths[level - 1])
        below = block("center", channels, config.widths[LEVELS])
        for level in range(LEVELS, 0, -1):
            skip, inner = skips[level], width(GATE_WIDTHS[level - 1])
            if level in config.gates:
                gate = f"gate{level}"
                conv(f"{gate}_signal_conv", below, below, 1)
                norm(f"{gate}_signal_norm", below)
                conv(f"{gate}_theta", skip, inner, 2, stride=2)
                conv(f"{gate}_phi", below, inner, 1)
                made[f"{gate}_phi_up"] = nn.ConvTranspose2d(inner, inner, 3, padding=1)
                conv(f"{gate}_psi", inner, 1, 1)
                conv(f"{gate}_out", skip, skip, 1)
                norm(f"{gate}_out_norm", skip)
            up = width(UP_WIDTHS[level - 1])
            made[f"up{level}"] = nn.ConvTranspose2d(below, up, 3, stride=2, padding=1, output_padding=1)
            below = up + skip
            head = HEADS[LEVELS - level]
            if config.decoder == "inline" or head in config.heads:
                decoded = block(f"decoder{level}", below, SIDE_WIDTHS[level - 1])
                below = decoded if config.decoder == "inline" else below
            if head in config.heads:
                conv(f"{head}_logits", decoded, config.classes, 1)

    def forward(self, image: torch.Tensor, heads: tuple[str, ...] | None = None) -> dict[str, torch.Tensor]:
        """Return the logits of these heads, or of all; other heads are not computed."""
        config, made = self.config, self.made
        wanted = config.heads if heads is None else heads

        def block(x: torch.Tensor, name: str) -> torch.Tensor:
            for number in (1, 2):
                x = functional.relu(made[f"{name}_norm{number}"](made[f"{name}_conv{number}"](x)), inplace=True)
            return x

        low, high = config.hu_window
        x = pooled = ((image - low) / (high - low)).clamp(0, 1)
        skips, outputs = {}, {}
        for level in range(1, LEVELS + 1):
            if level > 1:
                x = functional.max_pool2d(x, 2)
                if config.multi_scale_input:
                    pooled = functional.avg_pool2d(pooled, 2)
                    x = torch.cat([functional.relu(made[f"scale{level}_conv"](pooled)), x], 1)
            x = skips[level] = block(x, f"encoder{level}")
        below = block(functional.max_pool2d(x, 2), "center")
        for level in range(LEVELS, 0, -1):
            skip, gate = skips[level], f"gate{level}"
            if level in config.gates:
                signal = functional.relu(made[f"{gate}_signal_norm"](made[f"{gate}_signal_conv"](below)))
                mixed = made[f"{gate}_theta"](skip) + made[f"{gate}_phi_up"](made[f"{gate}_phi"](signal))
                attention = torch.sigmoid(made[f"{gate}_psi"](functional.relu(mixed)))
                weighed = skip * functional.interpolate(attention, scale_factor=2, mode="nearest")
                skip = made[f"{gate}_out_norm"](made[f"{gate}_out"](weighed))
            below = torch.cat([functional.relu(made[f"up{level}"](below)), skip], 1)
            head = HEADS[LEVELS - level]
            if config.decoder == "inline" or head in wanted:
                decoded = block(below, f"decoder{level}")
                below = decoded if config.decoder == "inline" else below
            if head in wanted:
                outputs[head] = made[f"{head}_logits"](decoded)
        return outputs

    def take_weights(self, model: keras.Model) -> None:
        """Copy all weights and moving averages of a Keras model; KeyError or RuntimeError if layers differ."""
        left = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
        for name, layer in self.made.items():
            values = left.pop(name)
            if isinstance(layer, nn.BatchNorm2d):
                names = ("weight", "bias", "running_mean", "running_var")
            else:
                names = ("weight", "bias")
                kernel = values[0][::-1, ::-1]  # [row, column, in, out], of a transposed one [row, column, out, in]
                values = [kernel.transpose(3, 2, 0, 1).copy(), *values[1:]]
            for kind, value in zip(names, values, strict=True):
                getattr(layer, kind).data.copy_(torch.from_numpy(value))
        if left:
            raise KeyError(f"layers that the twin lacks: {', '.join(left)}")


def focal_tversky(logits: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], loss: LossConfig):
    """Return the weighted sum over heads of the Focal Tversky Loss, with a preset's `loss` settings.

    `targets`: one-hot float32 [batch, classes, height, width] by head. Sums over the batch, mean over the foreground
    classes.
    """
    total = 0.0
    for head, weight in zip(HEADS[-len(logits) :], loss.head_weights[-len(logits) :], strict=True):
        truth, found = targets[head][:, 1:], torch.softmax(logits[head], 1)[:, 1:]
        over = (0, 2, 3)
        both, missed = (truth * found).sum(over), (truth * (1 - found)).sum(over)
        false = ((1 - truth) * found).sum(over)
        smoothing = loss.smoothing
        rest = loss.alpha * missed + (1 - loss.alpha) * false
        wrong = rest / (both + rest + smoothing)
        total = total + weight * wrong.clamp_min(1e-7).pow(loss.exponent).mean()
    return total


def optimizer_of(twin: Twin, config: Config) -> torch.optim.Optimizer:
    """Return Adam with the settings of the Keras optimizer."""
    return torch.optim.Adam(twin.parameters(), lr=config.rounds.peak_rate, eps=1e-7)
