"""Speed of inference of each engine, compared with PyTorch and with a matrix product."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.support.arms import Arm, in_turn
from benchmarks.support.networks import config_of
from benchmarks.support.operations import inference_operations
from benchmarks.support.rows import Row, speed_row
from benchmarks.training.step import TINY

WORK = "probabilities of the finest head for 64 (demo) or 16 slices; PyTorch in inference mode, channels last"
SIZES = {"demo": ([], 64, 16), "paper": ([], 16, 4)}  # settings, slices per turn, and per call of PyTorch
TURNS = 7
NEEDS = ("torch",)


def rows(quick: bool) -> Iterator[Row]:
    """Yield slices per second of each preset and engine, and the fraction of the matrix product's rate."""
    from kidney_seg.model.attention_unet import build_model

    sizes, turns, edge = ({"demo": (TINY, 2, 1)}, 1, 256) if quick else (SIZES, TURNS, 3072)
    for preset, (settings, slices, at_once) in sizes.items():
        config = config_of(preset, settings)
        same = {"preset": preset, "settings": settings, "slices": slices}
        ours = "benchmarks.support.networks:engine_inference"
        found = in_turn(
            {
                "PyTorch": Arm("benchmarks.support.networks:torch_inference", {**same, "at_once": at_once}),
                "TensorFlow": Arm(ours, {**same, "engine": "keras"}),
                "ONNX Runtime": Arm(ours, {**same, "engine": "onnx"}),
                "product": Arm("benchmarks.support.machine:matrix_product", {"edge": edge}),
            },
            turns,
        )
        what = f"inference, {preset}, {config.model.size} x {config.model.size}"
        goals = {"PyTorch": "", "TensorFlow": ">= 0.9", "ONNX Runtime": ">= 1.15"}
        for name, goal in goals.items():
            beside = None if name == "PyTorch" else ("PyTorch", found["PyTorch"], slices)
            yield speed_row(f"{what}: {name}", found[name], slices, "slices/s", yardstick=beside, goal=goal)
        operations = inference_operations(build_model(config.model), ("head4",)) * slices / 1e9
        product = ("matrix product", found["product"], 2 * edge**3 / 1e9)
        for name, goal in (("ONNX Runtime", ">= 0.65"), ("TensorFlow", ""), ("PyTorch", "")):
            row = f"{what}: {name}, arithmetic"
            yield speed_row(row, found[name], operations, "GFLOP/s", yardstick=product, goal=goal)
