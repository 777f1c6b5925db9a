"""The paper's network: an attention U-Net with multi-scale inputs and four supervised outputs (Figure 1).

Layer by layer it is `attn_reg` of the Focal Tversky Loss authors' public code, with what the paper changes: attention
gates "also added to the most upper layer". Keras only, no custom layer: a saved model loads without this package.
`python -m kidney_seg.model` prints or draws it level by level.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from kidney_seg.config.model import HEADS, LEVELS, ModelConfig

if TYPE_CHECKING:
    import keras

UP_WIDTHS = (32, 32, 64, 32)  # channels of the transposed convolutions that arrive at level 1 .. 4 (authors' code)
SIDE_WIDTHS = (32, 64, 128, 256)  # channels of the side branches (or, inline, decoder blocks) at level 1 .. 4
SCALE_WIDTHS = (0, 64, 128, 256)  # channels of the convolution on the pooled image at level 1 .. 4
GATE_WIDTHS = (16, 32, 64, 128)  # inner channels of the gates; 16 continues the authors' 32, 64, 128


def build_model(config: ModelConfig | None = None) -> keras.Model:
    """Build the enhanced attention U-Net with its initial weights.

    Args:
        config: of the network, such as `Config().model`; the paper's settings by default. Its `precision` counts, not
            Keras' global policy.

    Returns:
        A model of `image`: HU, float32 [batch, size, size, input_slices], the segmented slice amid its neighbors in z.
        Its output is a dict of probabilities, float32 [batch, size/s, size/s, classes]: `head1` (s = 8), `head2` (4),
        `head3` (2), `head4` (1), ordered as the paper's loss weights; only `head4` without deep supervision.

    Source: paper, section 1 and Figure 1; widths, gates and the order of convolutions from Abraham and Khan's code.
    """
    import keras

    config = config or ModelConfig()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)  # of every layer made below
    try:
        return _connect(config)
    finally:
        keras.config.set_dtype_policy(before)


def _connect(config: ModelConfig) -> keras.Model:
    import keras
    from keras import layers

    def width(channels: int) -> int:
        return max(1, round(channels * config.width_factor))

    def block(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
        for number in (1, 2):
            x = layers.Conv2D(width(channels), 3, padding="same", name=f"{name}_conv{number}")(x)
            x = normalized(x, f"{name}_norm{number}")
            x = layers.ReLU(name=f"{name}_relu{number}")(x)
        return x

    def normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        if config.normalization == "group":
            return layers.GroupNormalization(math.gcd(x.shape[-1], config.norm_groups), name=name)(x)
        return layers.BatchNormalization(momentum=config.batch_norm_momentum, name=name)(x)

    def gating_signal(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        x = layers.Conv2D(x.shape[-1], 1, name=f"{name}_signal_conv")(x)
        return layers.ReLU(name=f"{name}_signal_relu")(normalized(x, f"{name}_signal_norm"))

    def gate(skip: keras.KerasTensor, signal: keras.KerasTensor, level: int) -> keras.KerasTensor:
        """Additive attention: weight each position of `skip` by the coarser `signal`."""
        name, inner = f"gate{level}", width(GATE_WIDTHS[level - 1])
        theta = layers.Conv2D(inner, 2, strides=2, name=f"{name}_theta")(skip)
        phi = layers.Conv2D(inner, 1, name=f"{name}_phi")(signal)
        ratio = theta.shape[1] // phi.shape[1]  # 1, or 2 where the authors' `up1` stands in for `up2`
        phi = layers.Conv2DTranspose(inner, 3, strides=ratio, padding="same", name=f"{name}_phi_up")(phi)
        mixed = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([theta, phi]))
        attention = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_psi")(mixed)
        attention = layers.UpSampling2D(2, interpolation=config.gate_interpolation, name=f"{name}_attention")(attention)
        weighted = layers.Multiply(name=f"{name}_weigh")([skip, attention])
        return normalized(layers.Conv2D(skip.shape[-1], 1, name=f"{name}_out")(weighted), f"{name}_out_norm")

    head_bias = keras.initializers.Constant(_prior_biases(config))
    image = keras.Input((config.size, config.size, config.input_slices), name="image")
    low, high = config.hu_window
    # always in float32: bfloat16 has eight bits, so neighboring HU would be equal at 300 HU
    scaled = layers.Rescaling(1 / (high - low), -low / (high - low), dtype="float32", name="hu_window_scale")(image)
    scaled = layers.ReLU(max_value=1.0, dtype="float32", name="hu_window_clip")(scaled)

    # Encoder. paper: "down-sampled by average pooling with 2 x 2 kernels, so that four inputs ... are generated"
    skips = {}
    x, pooled_image = scaled, scaled
    for level in range(1, LEVELS + 1):
        if level > 1:
            x = layers.MaxPooling2D(2, name=f"pool{level - 1}")(x)
            if config.multi_scale_input:
                pooled_image = layers.AveragePooling2D(2, name=f"scale{level}")(pooled_image)
                seen = layers.Conv2D(
                    width(SCALE_WIDTHS[level - 1]), 3, padding="same", activation="relu", name=f"scale{level}_conv"
                )(pooled_image)
                x = layers.Concatenate(name=f"scale{level}_join")([seen, x])
        x = skips[level] = block(x, config.widths[level - 1], f"encoder{level}")
    center = block(layers.MaxPooling2D(2, name=f"pool{LEVELS}")(x), config.widths[LEVELS], "center")

    # Decoder, coarse to fine. `merged[level]` is up1 .. up4 of the authors at level 4 .. 1.
    merged: dict[int, keras.KerasTensor] = {}
    outputs: dict[str, keras.KerasTensor] = {}
    below = center
    for level in range(LEVELS, 0, -1):
        skip = skips[level]
        if level in config.gates:
            source = merged[4] if level == 2 and config.gate3_signal == "up1" else below
            skip = gate(skip, gating_signal(source, f"gate{level}"), level)
        up = layers.Conv2DTranspose(
            width(UP_WIDTHS[level - 1]), 3, strides=2, padding="same", activation="relu", name=f"up{level}"
        )(below)
        joined = layers.Concatenate(name=f"up{level}_join")([up, skip])
        branch = HEADS[LEVELS - level]
        if config.decoder == "inline" or branch in config.heads:
            decoded = block(joined, SIDE_WIDTHS[level - 1], f"decoder{level}")
        below = merged[level] = decoded if config.decoder == "inline" else joined
        if branch in config.heads:
            logits = layers.Conv2D(config.classes, 1, bias_initializer=head_bias, name=f"{branch}_logits")(decoded)
            outputs[branch] = layers.Activation(config.activation, dtype="float32", name=branch)(logits)
    return keras.Model({"image": image}, outputs, name="enhanced_unet")


def _prior_biases(config: ModelConfig) -> list[float]:
    """Return the heads' initial biases, which give `foreground_prior` as the probability of all foreground classes."""
    prior = config.foreground_prior
    if prior == 0:
        return [0.0] * config.classes
    if config.activation == "sigmoid":  # every class by itself
        return [math.log(prior / (1 - prior))] * config.classes
    each = prior / (config.classes - 1)
    return [math.log(1 - prior)] + [math.log(each)] * (config.classes - 1)


def in_single_precision(model: keras.Model, config: ModelConfig) -> keras.Model:
    """Return the network computed in float32, whatever `precision` it was trained in; its weights are float32."""
    if config.precision == "float32":
        return model
    twin = build_model(replace(config, precision="float32"))
    twin.set_weights(model.get_weights())
    return twin
