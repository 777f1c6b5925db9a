"""The network against the authors' parameter counts and the paper's Figure 1, and what is shown of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kidney_seg.config.model import ModelConfig
from kidney_seg.model.__main__ import main
from kidney_seg.model.attention_unet import build_model
from kidney_seg.model.overview import draw, levels

pytestmark = pytest.mark.network

AUTHORS = {"activation": "sigmoid", "classes": 1, "gates": (2, 3, 4), "gate3_signal": "up1"}


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        (AUTHORS, 5_638_503),
        (AUTHORS | {"classes": 3}, 5_639_471),
        (AUTHORS | {"classes": 3, "gates": (1, 2, 3, 4)}, 5_656_304),
        ({}, 5_687_504),
        (AUTHORS | {"input_slices": 3}, 5_647_143),
        (
            AUTHORS | {"classes": 3, "gates": (1, 2, 3, 4), "gate3_signal": "up2", "widths": (32, 64, 128, 256, 512)},
            8_591_312,
        ),
    ],
    ids=["authors", "3 classes", "top gate", "up2", "3 channels", "wide level 4"],
)
def test_parameter_counts_of_the_authors_code(settings, parameters):
    # counted in the public code of reference 1 of the paper (attn_reg), and with the paper's changes
    assert build_model(ModelConfig(**settings)).count_params() == parameters


def test_trainable_parameters_of_the_paper():
    model = build_model()
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == 5_680_016


def test_figure_1():
    model = build_model()
    assert [tuple(model.output[head].shape[1:]) for head in model.output] == [
        (32, 32, 3),
        (64, 64, 3),
        (128, 128, 3),
        (256, 256, 3),
    ]
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.AveragePooling2D)]
    assert [tuple(layer.output.shape[1:]) for layer in pools] == [(128, 128, 1), (64, 64, 1), (32, 32, 1)]
    assert all(layer.pool_size == (2, 2) for layer in pools)
    assert [tuple(model.get_layer(f"gate{level}_weigh").output.shape[1:3]) for level in (1, 2, 3, 4)] == [
        (256, 256),
        (128, 128),
        (64, 64),
        (32, 32),
    ]


def test_window_is_inside():
    model = build_model(ModelConfig(size=16, width_factor=0.1, hu_window=(0.0, 200.0)))
    window = keras.Model(model.inputs, model.get_layer("hu_window_clip").output)
    hu = np.full((1, 16, 16, 1), -1000.0, np.float32)
    hu[0, 0, :4, 0] = [0, 50, 200, 3000]
    np.testing.assert_allclose(np.asarray(window(hu))[0, 0, :5, 0], [0, 0.25, 1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_heads_begin_at_the_prior(activation):
    config = ModelConfig(size=16, width_factor=0.1, activation=activation, foreground_prior=0.04)
    biases = [np.asarray(build_model(config).get_layer(f"{head}_logits").bias) for head in config.heads]
    expected = [0.96, 0.02, 0.02] if activation == "softmax" else [0.04] * 3
    for bias in biases:
        odds = np.exp(bias)
        made = odds / odds.sum() if activation == "softmax" else odds / (1 + odds)
        np.testing.assert_allclose(made, expected, atol=1e-6)
    unbiased = build_model(ModelConfig(size=16, width_factor=0.1, foreground_prior=0.0))
    assert not np.asarray(unbiased.get_layer("head4_logits").bias).any()


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_precision_is_that_of_the_settings(precision):
    model = build_model(ModelConfig(size=16, width_factor=0.1, precision=precision))
    assert keras.config.dtype_policy().name == "float32"  # as it was before
    inside = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}[precision]
    assert model.get_layer("center_conv1").compute_dtype == inside
    assert {model.get_layer(name).compute_dtype for name in ("hu_window_scale", "hu_window_clip", *model.output)} == {
        "float32"
    }
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


def test_group_normalization_sees_its_own_slice_alone_and_has_what_divides_the_channels():
    config = ModelConfig(size=16, width_factor=0.3, normalization="group", norm_groups=6)
    model = build_model(config)
    groups = {layer.input.shape[-1]: layer.groups for layer in model.layers if "norm" in layer.name}
    assert groups[10] == 2 and groups[19] == 1 and groups[154] == 2  # 0.3 times 32, 64 and 512 channels
    hu = np.random.default_rng(0).normal(50, 100, (3, 16, 16, 1)).astype(np.float32)
    together = np.asarray(model({"image": hu}, training=True)["head4"])
    alone = np.concatenate([np.asarray(model({"image": one[None]}, training=False)["head4"]) for one in hu])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.count_params() == sum(np.prod(variable.shape) for variable in model.trainable_variables)


def test_levels_are_read_off_the_network():
    first, second, _, fourth, center = levels(build_model())
    assert (first.pixels, first.image, first.encoder, first.gate, first.signal) == (256, 1, 32, 16, 128)
    assert (first.merged, first.decoder, first.inline, first.head) == (64, 32, False, ("head4", 3))
    assert (fourth.encoder, fourth.gate, fourth.signal, fourth.head) == (64, 128, 16, ("head1", 3))
    assert (center.encoder, center.gate, center.merged, center.decoder, center.head) == (512, None, None, None, None)
    assert second.inline is False and second.image == 64
    plain = ModelConfig(gates=(), multi_scale_input=False, deep_supervision=False, decoder="inline", input_slices=3)
    first, second, *_ = levels(build_model(plain))
    assert (first.image, first.gate, first.signal, second.image, second.inline) == (3, None, None, None, True)
    assert (first.head, second.head, second.decoder) == (("head4", 3), None, 64)


@pytest.mark.parametrize("settings", [{}, AUTHORS, {"decoder": "inline", "deep_supervision": False}])
def test_levels_hold_every_parameter(settings):
    model = build_model(ModelConfig(size=16, width_factor=0.1, **settings))
    assert sum(level.parameters for level in levels(model)) == model.count_params()


def test_drawing_shows_what_the_network_has():
    def shown(**settings) -> list[str]:
        return [text.get_text() for text in draw(build_model(ModelConfig(size=32, **settings))).axes[0].texts]

    texts = shown()
    assert sum(text.startswith("gate, ") for text in texts) == 4
    assert sum(text.startswith("head") for text in texts) == 4
    assert sum(text.startswith("image ") for text in texts) == 4
    texts = shown(gates=(2, 3), multi_scale_input=False, deep_supervision=False)
    assert sum(text.startswith("gate, ") for text in texts) == 2
    assert sum(text.startswith("head") for text in texts) == 1
    assert sum(text.startswith("image ") for text in texts) == 1


def test_command(tmp_path, capsys):
    figure = tmp_path / "figure1.png"
    assert main(["--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "5,687,504 parameters, 5,680,016 of them trained" in printed
    assert "head4, 3 classes" in printed and str(figure) in printed
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--figure", "f.jpg"], ".png, .svg, .pdf"),
        (["--set", "input_slices=2"], "odd number"),
        (["--set", "gamma=1.3333"], "exponent=0.75"),
        (["--set", "decoder=inlin"], "did you mean 'inline'"),
        (["no-run"], "no such model"),
        (["run", "--set", "size=64"], "not both"),
    ],
)
def test_bad_input_gets_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
