"""What the network sees: the pyramid equals pooling by hand, the gates' maps are weights."""

from __future__ import annotations

import numpy as np
import pytest

from kidney_seg.config.run_config import Config
from kidney_seg.model.attention_maps import attention_maps, plot_attention_maps
from kidney_seg.model.attention_unet import build_model

pytestmark = pytest.mark.network


def model(*settings: str):
    return build_model(Config().with_settings(["size=32", "width_factor=0.1", *settings]).model)


def test_pyramid_and_gates():
    hu = np.random.default_rng(0).integers(-300, 500, (2, 32, 32, 1)).astype(np.int16)
    seen = attention_maps(model(), hu)
    assert list(seen) == [*(f"gate{level}_attention" for level in (1, 2, 3, 4)), "scale2", "scale3", "scale4"]
    window = np.clip((hu[..., 0] + 79.0) / (304 + 79), 0, 1)
    np.testing.assert_allclose(seen["scale3"], window.reshape(2, 8, 4, 8, 4).mean((2, 4)), atol=1e-5)
    for level in (1, 2, 3, 4):
        maps = seen[f"gate{level}_attention"]
        assert maps.shape == (2, 64 >> level, 64 >> level) and 0 < maps.min() < maps.max() < 1
    shown = [ax.get_title().split("\n")[0] for ax in plot_attention_maps(seen, which=1).axes if ax.images]
    assert shown == list(seen)


def test_a_network_without_them():
    plain = attention_maps(model("gates=", "multi_scale_input=false"), np.zeros((1, 32, 32, 1)))
    assert plain == {}
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_attention_maps(plain)
