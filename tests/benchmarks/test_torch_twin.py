"""The network that speed is compared with is the same network: outputs, loss, parameters, operations."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch, the yardstick of the benchmarks (requirements-bench.txt)")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.support.networks import config_of, draw_batch  # noqa: E402
from benchmarks.support.operations import inference_operations, training_operations  # noqa: E402
from benchmarks.support.torch_twin import Twin, focal_tversky  # noqa: E402
from kidney_seg.losses.keras_losses import build_losses  # noqa: E402
from kidney_seg.model.attention_unet import build_model  # noqa: E402

SMALL = ["size=32", "width_factor=0.2"]


def mirrored(array: np.ndarray):
    """Return [batch, channels, height, width], mirrored both ways, of channels-last."""
    return torch.from_numpy(array[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize(
    "settings", [[], ["decoder=inline"], ["multi_scale_input=false", "gates=2,3", "input_slices=3"]]
)
def test_the_twin_gives_the_same_outputs_and_loss(settings: list[str]) -> None:
    import keras

    config = config_of("paper", [*SMALL, *settings])
    keras.utils.set_random_seed(1)
    model = build_model(config.model)
    image, targets = draw_batch(config, 2)
    model({"image": image}, training=True)  # moving averages that are not the first ones
    expected = model({"image": image}, training=False)
    twin = Twin(config.model).eval()
    twin.take_weights(model)
    with torch.inference_mode():
        logits = twin(mirrored(image))
    assert list(logits) == list(config.model.heads)
    for head, values in logits.items():
        found = torch.softmax(values, 1).numpy()[:, :, ::-1, ::-1].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(found, np.asarray(expected[head]), atol=2e-5)

    losses, weights = build_losses(config.loss, config.model)
    ours = sum(weights[head] * float(losses[head](targets[head], expected[head])) for head in losses)
    theirs = focal_tversky(logits, {head: mirrored(target) for head, target in targets.items()}, config.loss)
    assert float(theirs) == pytest.approx(ours, rel=1e-4)
    assert sum(values.numel() for values in twin.parameters()) == sum(
        int(np.prod(values.shape)) for values in model.trainable_weights
    )


@pytest.mark.parametrize("settings", [[], ["decoder=inline"]])
def test_operations_are_those_that_pytorch_counts(settings: list[str]) -> None:
    config = config_of("paper", [*SMALL, *settings])
    model, twin = build_model(config.model), Twin(config.model)
    image, targets = draw_batch(config, 1)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        twin(mirrored(image), ("head4",))
    assert inference_operations(model, ("head4",)) == counted.get_total_flops()
    with FlopCounterMode(display=False) as counted:
        logits = twin(mirrored(image))
        focal_tversky(logits, {head: mirrored(target) for head, target in targets.items()}, config.loss).backward()
    assert training_operations(model) == counted.get_total_flops()


def test_settings_that_the_twin_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="gate3_signal"):
        Twin(config_of("paper", ["gate3_signal=up1"]).model)
    with pytest.raises(KeyError):
        Twin(config_of("paper", [*SMALL, "gates=1"]).model).take_weights(build_model(config_of("paper", SMALL).model))
