"""The whole pipeline as one ONNX graph: raw HU slices in, labels and probabilities out, as `serving_default`.

ONNX has no assertion: each check is a lookup that fails, and its name is quoted in the runtime's error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import require
from data_prep.geometry.resampling import whole_hu
from data_prep.geometry.slice_neighbors import neighbor_indices
from kidney_seg.export import contract
from kidney_seg.export.onnx_ops import OnnxOps, Tensor
from kidney_seg.export.served_steps import request_checks, segment
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.onnx.converter import add_network
from kidney_seg.predict.onnx.graph import Graph

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile


def build_onnx(loaded: ModelFile, metadata: Mapping[str, str]) -> bytes:
    """Return the ONNX model as bytes; metadata: texts kept in it. ValueError for a layer that cannot be converted."""
    require("onnx", "onnx")
    graph = Graph("pipeline/")
    weights: dict[bytes, str] = {}  # once, however often a network is called
    xp = OnnxOps(graph)
    slices, spacing_mm = _checked(Tensor(graph, "slices", np.float32), Tensor(graph, "spacing_mm", np.float64), xp)

    def run(numbered: tuple[int, Any], views: Sequence[Tensor]) -> list[Tensor]:
        """All views of a batch go through a network at once."""
        number, model = numbered
        part = Graph(f"network{number}/", graph.nodes, graph.constants, weights)
        prob = Tensor(graph, add_network(part, model, xp.concat(views).name), np.float32)
        if len(views) == 1:
            return [prob]
        count = xp.take(xp.shape(views[0]), 0, 0)
        return [xp.take(prob, xp.arange(count) + count * view, 0) for view in range(len(views))]

    def network(seen: Tensor) -> Tensor:
        config, count = loaded.config, xp.take(xp.shape(seen), 0, 0)
        members = [((number, one.model), one.config.prediction.odds) for number, one in enumerate(loaded.members)]
        neighbors = xp.take(seen, neighbor_indices(xp.arange(count), count, config.model.input_slices, xp), 0)
        images = xp.transpose(neighbors, (0, 2, 3, 1))
        return combined(members, config.prediction, config.model.activation, loaded.grid.size, xp, run)(images)

    for name, tensor in segment(slices, spacing_mm, network, loaded.grid, xp).items():
        graph.add("Identity", [tensor.name], name)
    signature = contract.signatures(loaded.grid, (), loaded.config.model.classes)[contract.DEFAULT]
    edges = ["batch", "height", "width"]
    inputs, outputs = (
        {name: (dtype, edges if len(shape) == 3 else ["batch", 2]) for name, (dtype, shape) in side.items()}
        for side in (signature.inputs, signature.outputs)
    )
    return graph.serialize(inputs, outputs, metadata)


def _checked(slices: Tensor, spacing_mm: Tensor, xp: OnnxOps) -> tuple[Tensor, Tensor]:
    """Refuse invalid requests; return whole HU as `read_volume` makes them, and the spacing.

    Lookups return 0; adding it makes them run before anything else.
    """
    *others, pixels = [_lookup(check.valid, check.expected, xp) for check in request_checks(slices, spacing_mm, xp)]
    for zero in others:
        spacing_mm = spacing_mm + xp.astype(zero, np.float64)
    return whole_hu(slices + pixels, xp), spacing_mm


def _lookup(valid: Tensor, expected: str, xp: OnnxOps) -> Tensor:
    # 0 at index 0 where it is valid; there is no index 1
    from onnx import helper

    graph, index = xp.graph, 1 - xp.astype(valid, np.int64)
    output = f"{graph.prefix}check_{len(graph.nodes)}"
    table = graph.constant([0], np.float32)
    graph.nodes.append(
        helper.make_node("Gather", [table, index.name], [output], name=f"kidney_seg: {expected}", axis=0)
    )
    return Tensor(graph, output, np.float32)
