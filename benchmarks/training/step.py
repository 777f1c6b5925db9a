"""A training step, compared with the same network in PyTorch and with the rate of matrix products."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.machine import describe
from benchmarks.support.networks import config_of
from benchmarks.support.operations import training_operations
from benchmarks.support.rows import Row, speed_row

WORK = "forward, loss of all heads, backward, Adam; 8 slices a step; PyTorch is eager, channels last, unless named"
# the fewest layers, since TensorFlow traces the full network for 10 s
TINY = "width_factor=0.1 size=32 gates= multi_scale_input=false deep_supervision=false".split()
SIZES = {"demo": ([], 20), "paper": ([], 1)}  # settings, steps a turn
TURNS = 5
NEEDS = ("torch",)


def rows(quick: bool) -> Iterator[Row]:
    """Yield slices per second of each preset and engine, and the share of the matrix product's rate."""
    from kidney_seg.model.attention_unet import build_model

    sizes, turns, edge = ({"demo": (TINY, 1)}, 1, 256) if quick else (SIZES, TURNS, 3072)
    for preset, (settings, steps) in sizes.items():
        config = config_of(preset, settings)
        arguments = {"preset": preset, "steps": steps}
        ours, torch = "benchmarks.support.networks:keras_training", "benchmarks.support.networks:torch_training"
        ways = {
            "PyTorch": Arm(torch, {**arguments, "settings": settings}),
            "PyTorch, channels first": Arm(torch, {**arguments, "settings": settings, "channels_last": False}),
            "PyTorch, compiled": Arm(torch, {**arguments, "settings": settings, "compiled": True}),
            "PyTorch, bfloat16": Arm(torch, {**arguments, "settings": settings, "bfloat16": True}),
            "TensorFlow": Arm(ours, {**arguments, "settings": settings}),
            "TensorFlow, without oneDNN": Arm(
                ours, {**arguments, "settings": settings}, {"TF_ENABLE_ONEDNN_OPTS": "0"}
            ),
            "TensorFlow, XLA": Arm(ours, {**arguments, "settings": [*settings, "jit_compile=on"]}),
            "TensorFlow, bfloat16": Arm(ours, {**arguments, "settings": [*settings, "precision=mixed_bfloat16"]}),
        }
        if quick or "BF16" not in describe()["instructions"]:  # slower than all others without units for it
            del ways["TensorFlow, bfloat16"], ways["PyTorch, bfloat16"]
        if quick:  # compiling takes a minute
            del ways["PyTorch, compiled"]
        found = in_turn({**ways, "product": Arm("benchmarks.support.machine:matrix_product", {"edge": edge})}, turns)
        slices = steps * config.data.batch_size
        what = f"training, {preset}, {config.model.size} x {config.model.size}"
        yardstick = ("PyTorch", found["PyTorch"], slices)
        for name in ways:
            beside = None if name == "PyTorch" else yardstick
            goal = ">= 1.0" if name == "TensorFlow" else ""
            yield speed_row(f"{what}: {name}", found[name], slices, "slices/s", yardstick=beside, goal=goal)
        operations = training_operations(build_model(config.model)) * slices / 1e9
        product = ("matrix product", found["product"], 2 * edge**3 / 1e9)
        for name, goal in (("TensorFlow", ">= 0.4"), ("PyTorch", "")):
            row = f"{what}: {name}, arithmetic"
            yield speed_row(row, found[name], operations, "GFLOP/s", yardstick=product, goal=goal)
