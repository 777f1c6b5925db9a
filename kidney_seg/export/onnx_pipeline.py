"""The whole pipeline as one ONNX graph: raw HU slices in, labels and probabilities out, as `serving_default`.

`served_grid` and `served_graph` again, in ONNX's operators and the same order of sums. ONNX has no assertion: a check
is a lookup that fails, and its name is what the runtime's error quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data_prep.errors import require
from data_prep.geometry.network_grid import AIR_HU
from kidney_seg.export import contract
from kidney_seg.predict.onnx.converter import add_network
from kidney_seg.predict.onnx.graph import BOOL, DOUBLE, FLOAT, INT64, IR_VERSION, OPSET, UINT8, Graph, Tensor
from kidney_seg.predict.test_time_augmentation import View, shares, views_of

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

Weights = tuple[Tensor, Tensor]


def build(loaded: ModelFile, metadata: Mapping[str, str]) -> bytes:
    """Return the ONNX model as bytes; `metadata`: texts kept in it. ValueError for a layer that ONNX cannot have."""
    onnx = require("onnx", "onnx")
    from onnx import helper

    settings = loaded.grid
    graph = Graph("pipeline/")
    slices = Tensor(graph, "slices", np.float32)
    spacing_mm = Tensor(graph, "spacing_mm", np.float64)
    slices, spacing_mm = _checked(slices, spacing_mm)
    shape = slices.shape()
    count, height, width = (shape.at(axis, 0) for axis in range(3))
    spacings = [spacing_mm.at(axis, 1) for axis in (0, 1)]
    if settings.pixel_mm is None:
        fields = [edge.cast(np.float64) * mm for edge, mm in zip((height, width), spacings, strict=True)]
        mm = fields[0].most(fields[1]) / settings.size
    else:
        mm = spacings[0] * 0 + settings.pixel_mm
    size = Tensor(graph, graph.constant(settings.size, np.int64), np.int64)

    by = [_weights(edge, one, size, mm) for edge, one in zip((height, width), spacings, strict=True)]
    rows = _resample(slices - AIR_HU, by[0], 3)
    seen = _resample(rows.transposed(0, 2, 1), by[1], 3).transposed(0, 2, 1) + AIR_HU
    seen = _whole_hu(seen)
    channels = loaded.config.model.input_slices
    neighbors = count.upto().wider(1) + (np.arange(channels) - channels // 2)
    neighbors = neighbors.most(0).least(count - 1)
    image = seen.at(neighbors, 0).transposed(0, 2, 3, 1)

    prob = _combined(image, loaded)
    by = [_weights(size, mm, edge, one) for edge, one in zip((height, width), spacings, strict=True)]
    rows = _resample(prob, by[0], 4)
    back = _resample(rows.transposed(0, 2, 1, 3), by[1], 4).transposed(0, 2, 1, 3)
    ones = prob.at([0], 3).at(0, 2) * 0 + 1  # [batch, size, 1]
    inside = _resample(ones, by[0], 3) * _resample(ones, by[1], 3).transposed(0, 2, 1)
    one = Tensor(graph, graph.constant(1, np.float32), np.float32)
    classes = [back.at(0, 3) + (one - inside), back.at(1, 3), back.at(2, 3)]
    _finish(graph, classes)

    promised = contract.signatures(settings, (), len(classes))[contract.DEFAULT]
    axes = ["batch", "height", "width"]
    codes = {"float32": FLOAT, "float64": DOUBLE, "uint8": UINT8}
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, codes[dtype], axes if len(edges) == 3 else ["batch", 2])
            for name, (dtype, edges) in side.items()
        ]
        for side in (promised.inputs, promised.outputs)
    )
    made = helper.make_model(
        helper.make_graph(graph.nodes, "kidney_seg", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kidney_seg",
    )
    helper.set_model_props(made, dict(metadata))
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def _combined(image: Tensor, loaded: ModelFile) -> Tensor:
    """`served_graph._combined` in ONNX's operators."""
    graph, settings, size = image.graph, loaded.config.prediction, loaded.grid.size
    views, activation = views_of(settings.flips, settings.zooms, size), loaded.config.model.activation
    seen = graph.add("Concat", [_there(image, view, size).name for view in views], axis=0)
    count = image.shape().at(0, 0)
    made = []
    for number, member in enumerate(loaded.members):
        network = Graph(f"network{number}/", graph.nodes, graph.constants)
        prob = Tensor(graph, add_network(network, member.model, seen), np.float32)
        if len(loaded.members) == len(views) == 1:
            return prob  # its odds are in the model
        trained = _weighed(prob, [1 / factor for factor in member.config.prediction.odds], activation)
        parts = [trained.at(count.upto() + count * view, 0) for view in range(len(views))]
        made += [_back(part, view, size) for part, view in zip(parts, views, strict=True)]
    total = Tensor(graph, graph.add("Sum", [one.name for one in made]), np.float32)
    return _weighed(total / (shares(views) * len(loaded.members)), settings.odds, activation)


def _there(image: Tensor, view: View, size: int) -> Tensor:
    """`View.there` in ONNX's operators."""
    seen = _mirrored(image, view, size)
    return seen if view.to is None else _product(view.to, seen - AIR_HU) + AIR_HU


def _back(prob: Tensor, view: View, size: int) -> Tensor:
    """`View.back` in ONNX's operators."""
    return _mirrored(prob if view.fro is None else _product(view.fro, prob), view, size)


def _mirrored(planes: Tensor, view: View, size: int) -> Tensor:
    for axis in view.axes:
        planes = planes.at(np.arange(size)[::-1], axis)
    return planes


def _product(matrix: np.ndarray, planes: Tensor) -> Tensor:
    left = Tensor(planes.graph, planes.graph.constant(matrix), np.float32)
    return left.apply("MatMul", planes.transposed(0, 3, 1, 2)).apply("MatMul", matrix.T).transposed(0, 2, 3, 1)


def _weighed(prob: Tensor, factors: Sequence[float], activation: str) -> Tensor:
    made = prob * np.asarray(factors, np.float32)
    if activation == "softmax":
        return made / made.reduce("ReduceSum", [3])
    return made / (made + 1 - prob)


def _finish(graph: Graph, classes: list[Tensor]) -> None:
    background, kidney, tumor = classes
    is_tumor = tumor.is_("Greater", background.most(kidney))
    zero, one, two = (graph.constant(number, np.uint8) for number in range(3))
    either = graph.add("Where", [kidney.is_("Greater", background).name, one, zero])
    graph.add("Where", [is_tumor.name, two, either], "labels")
    graph.add("Identity", [kidney.name], "kidney_probability")
    graph.add("Identity", [tumor.name], "tumor_probability")


def _whole_hu(values: Tensor) -> Tensor:
    low, high = (values.graph.constant(edge, np.float32) for edge in (-32768, 32767))
    return Tensor(values.graph, values.graph.add("Clip", [values.apply("Round").name, low, high]), np.float32)


def _checked(slices: Tensor, spacing_mm: Tensor) -> tuple[Tensor, Tensor]:
    low, high = contract.SPACING_MM
    shape = slices.shape()
    voxels = shape.reduce("ReduceProd")
    edges = shape.at([1, 2], 0)
    expected = Tensor(slices.graph, slices.graph.add("Concat", [shape.at([0], 0).name, _two(slices)], axis=0), np.int64)
    sized = voxels.is_("Greater", 0).and_(voxels.is_("LessOrEqual", contract.MAX_VOXELS))
    limits = f"at most {contract.MAX_EDGE} rows and columns and {contract.MAX_VOXELS} pixels in all"
    checks = {
        f"slices: expected at least one pixel and {limits}": sized.and_(
            _all(edges.is_("LessOrEqual", contract.MAX_EDGE))
        ),
        "spacing_mm: expected (row, column) for every slice, shape [batch, 2]": _all(
            spacing_mm.shape().is_("Equal", expected)
        ),
        f"spacing_mm: expected {low} to {high} mm": _all(
            spacing_mm.is_("GreaterOrEqual", low).and_(spacing_mm.is_("LessOrEqual", high))
        ),
        "slices: NaN or infinity found, expected HU": _all(
            slices.apply("Abs").is_("LessOrEqual", float(np.finfo(np.float32).max))
        ),
    }
    passed = [_lookup(slices.graph, valid, f"kidney_seg: {text}") for text, valid in checks.items()]
    for one in passed[:3]:  # zeros: nothing but an order
        spacing_mm = spacing_mm + one.cast(np.float64)
    return _whole_hu(slices + passed[3]), spacing_mm


def _two(like: Tensor) -> str:
    return like.graph.constant([2], np.int64)


def _all(valid: Tensor) -> Tensor:
    return valid.cast(np.float32).reduce("ReduceMin").cast(np.bool_)


def _lookup(graph: Graph, valid: Tensor, name: str) -> Tensor:
    # 0 at index 0 where it is valid; there is no index 1
    from onnx import helper

    one = Tensor(graph, graph.constant(1, np.int64), np.int64)
    index = one - valid.cast(np.int64)
    output = f"{graph.prefix}check_{len(graph.nodes)}"
    table = graph.constant([0], np.float32)
    graph.nodes.append(helper.make_node("Gather", [table, index.name], [output], name=name, axis=0))
    return Tensor(graph, output, np.float32)


def _weights(n_from: Tensor, mm_from: Tensor, n_to: Tensor, mm_to: Tensor) -> Weights:
    """`served_grid.resampling_weights`: int64 [batch, n_to], float32 [batch, n_to, k]."""
    mm_from, mm_to = mm_from.wider(1, 2), mm_to.wider(1, 2)
    count, last = n_from.cast(np.float64), n_from - 1

    def edges(index: Tensor, number: Tensor, mm: Tensor) -> Tensor:
        return (index.cast(np.float64) - number.cast(np.float64) / 2) * mm

    target = n_to.upto().wider(0, 2)
    low, high = edges(target, n_to, mm_to), edges(target + 1, n_to, mm_to)
    most = (mm_to / mm_from).reduce("ReduceMax").cast(np.int64) + 4
    first = ((low / mm_from + count / 2).floor() - 1).most(0).least(last.cast(np.float64)).cast(np.int64)
    source = first + most.least(n_from + 1).upto().wider(0, 1)
    upper = high.least(edges(source + 1, n_from, mm_from))
    lower = low.most(edges(source, n_from, mm_from))
    overlap = (upper - lower).most(0) / mm_to * source.is_("Less", n_from).cast(np.float64)

    position = ((low + high) / 2 / mm_from + (count - 1) / 2).most(0).least(last.cast(np.float64))
    left = position.cast(np.int64).least((n_from - 2).most(0))
    share = position - left.cast(np.float64)
    inside = overlap.reduce("ReduceSum", [2])
    at_left, at_right = (source.is_("Equal", one).cast(np.float64) for one in (left, left + 1))
    linear = at_left * ((share * -1 + 1) * inside) + at_right * (share * inside)

    grows = mm_to.is_("GreaterOrEqual", mm_from).cast(np.float64)
    weights = (grows * overlap + (grows * -1 + 1) * linear).cast(np.float32)
    places = weights.shape().at(2, 0).upto() + 1
    used = (weights.apply("Abs").is_("Greater", 0).cast(np.int64) * places).reduce("ReduceMax").most(1)
    return first.squeezed(2), weights.cut(used.wider(0), 2)


def _resample(planes: Tensor, by: Weights, rank: int) -> Tensor:
    """`served_grid.resample_rows`: float32 [batch, n_from, ...] -> [batch, n_to, ...]."""
    from onnx import helper

    graph, (first, weights) = planes.graph, by
    shape = planes.shape()
    last = shape.at(1, 0) - 1
    rest = [shape.at([axis], 0).name for axis in range(2, rank)]
    full = graph.add("Concat", [first.shape().name, *rest], axis=0)
    zeros = graph.add("ConstantOfShape", [full])

    inner = Graph(f"{graph.prefix}loop_{len(graph.nodes)}/")
    number, total = (
        Tensor(inner, f"{inner.prefix}{name}", kind) for name, kind in (("number", np.int64), ("total", np.float32))
    )
    place = (Tensor(inner, first.name, np.int64) + number).least(Tensor(inner, last.name, np.int64)).wider(2)
    row = inner.add("GatherND", [planes.name, place.name], batch_dims=1)
    weight = Tensor(inner, weights.name, np.float32).at(number, 2)
    if rank > 2:
        weight = weight.wider(*range(2, rank))
    summed = total + Tensor(inner, row, np.float32) * weight
    go_on, goes_on = f"{inner.prefix}condition", inner.add("Identity", [f"{inner.prefix}condition"])
    body = helper.make_graph(
        inner.nodes,
        f"{inner.prefix}body",
        [
            helper.make_tensor_value_info(number.name, INT64, []),
            helper.make_tensor_value_info(go_on, BOOL, []),
            helper.make_tensor_value_info(total.name, FLOAT, None),
        ],
        [
            helper.make_tensor_value_info(goes_on, BOOL, []),
            helper.make_tensor_value_info(summed.name, FLOAT, None),
        ],
        inner.constants,
    )
    times = weights.shape().at(2, 0)
    return Tensor(graph, graph.add("Loop", [times.name, "", zeros], body=body), np.float32)
