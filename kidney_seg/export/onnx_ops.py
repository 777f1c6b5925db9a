"""ONNX's operations for `data_prep.geometry.resampling`: tensors of a graph under construction as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kidney_seg.predict.onnx.graph import TYPES, Graph


def _operator(name: str, kind: type | None = None, swapped: bool = False) -> Callable[[Tensor, Any], Tensor]:
    def method(self: Tensor, other: Any) -> Tensor:
        pair = (self, self.like(other))
        one, two = pair[::-1] if swapped else pair
        return one.apply(name, two, kind=kind)

    return method


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a graph; `kind` is its NumPy type, which numbers beside it take."""

    graph: Graph
    name: str
    kind: type

    __array_ufunc__ = None  # numpy leaves operators to this class
    __add__ = __radd__ = _operator("Add")
    __mul__ = __rmul__ = _operator("Mul")
    __sub__, __rsub__ = _operator("Sub"), _operator("Sub", swapped=True)
    __truediv__, __and__ = _operator("Div"), _operator("And")
    __lt__, __le__ = _operator("Less", np.bool_), _operator("LessOrEqual", np.bool_)
    __gt__, __ge__ = _operator("Greater", np.bool_), _operator("GreaterOrEqual", np.bool_)

    def like(self, x: Any) -> Tensor:
        """Return a tensor, or numbers as a constant of this tensor's type."""
        return x if isinstance(x, Tensor) else Tensor(self.graph, self.graph.constant(x, self.kind), self.kind)

    def apply(self, operator: str, *others: Tensor, kind: type | None = None, **attributes: Any) -> Tensor:
        """Return an operator's result on this tensor and others, of this one's type unless `kind` is given."""
        names = [self.name, *(other.name for other in others)]
        return Tensor(self.graph, self.graph.add(operator, names, **attributes), kind or self.kind)


def _function(operator: str, kind: type | None = None, **attributes: Any) -> Any:
    return staticmethod(lambda x, *others: x.apply(operator, *map(x.like, others), kind=kind, **attributes))


@dataclass(frozen=True)
class OnnxOps:
    """`ArrayOps` for tensors of a graph; weights: per slice, as (first source pixels, values)."""

    graph: Graph

    shape = _function("Shape", np.int64)
    round, floor, minimum, maximum = map(_function, ("Round", "Floor", "Min", "Max"))
    equal = _function("Equal", np.bool_)

    def constant(self, x: Any) -> Tensor:
        """Return numbers as a tensor of their own NumPy type; a tensor as it is."""
        kind = None if isinstance(x, Tensor) else np.asarray(x).dtype.type
        return x if kind is None else Tensor(self.graph, self.graph.constant(x, kind), kind)

    def astype(self, x: Any, dtype: type) -> Tensor:
        return self.constant(x).apply("Cast", kind=dtype, to=TYPES[dtype])

    def arange(self, count: Tensor) -> Tensor:
        return self.constant(0).apply("Range", count, self.constant(1))

    def clip(self, x: Tensor, low: Any, high: Any) -> Tensor:
        return self.minimum(self.maximum(x, low), high)

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        x = self.constant(x)
        return condition.apply("Where", x, x.like(y), kind=x.kind)

    def max(self, x: Tensor, axis: Sequence[int] | None = None) -> Tensor:
        return x.apply("ReduceMax", keepdims=0, axes=axis)

    def sum(self, x: Tensor) -> Tensor:
        return x.apply("ReduceSum", self.constant([-1]))

    def all(self, x: Tensor) -> Tensor:
        return self.astype(self.astype(x, np.float32).apply("ReduceMin", keepdims=0), np.bool_)

    def take(self, x: Tensor, indices: Any, axis: int) -> Tensor:
        return x.apply("Gather", self.constant(indices), axis=axis)

    def put(self, x: Tensor, indices: Tensor, values: Tensor) -> Tensor:
        return x.apply("ScatterND", self.expand_dims(indices, 1), values)

    def flatnonzero(self, x: Tensor) -> Tensor:
        return self.take(x.apply("NonZero", kind=np.int64), 0, 0)

    def expand_dims(self, x: Tensor, axis: int) -> Tensor:
        return x.apply("Unsqueeze", self.constant([axis]))

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.apply("Transpose", perm=list(axes))

    def flip(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        back = np.full(len(axes), -1)
        return x.apply("Slice", *map(self.constant, (back, np.full(len(axes), np.iinfo(int).min), axes, back)))

    def concat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Join tensors along the first axis."""
        return tensors[0].apply("Concat", *tensors[1:], axis=0)

    def weights(self, first: Any, values: Any, n_from: Any) -> tuple[Tensor, Tensor]:
        return self.constant(first), self.constant(values)

    def resample_rows(self, planes: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        from onnx import helper

        first, values = weights
        first = first.apply(
            "Expand", self.concat([self.take(self.shape(planes), [0], 0), self.take(self.shape(first), [1], 0)])
        )
        last = self.take(self.shape(planes), 1, 0) - 1
        full = self.concat([self.shape(first), self.take(self.shape(planes), [2, 3], 0)])
        zeros, times = full.apply("ConstantOfShape", kind=np.float32), self.take(self.shape(values), 2, 0)

        body = Graph(f"{self.graph.prefix}loop_{len(self.graph.nodes)}/")  # reads tensors of the graph by their names
        inner = OnnxOps(body)
        first, last, planes, values = (Tensor(body, one.name, one.kind) for one in (first, last, planes, values))
        number, proceed, total = (
            Tensor(body, f"{body.prefix}{name}", kind)
            for name, kind in (("number", np.int64), ("proceed", np.bool_), ("total", np.float32))
        )
        place = inner.expand_dims(inner.minimum(first + number, last), 2)
        weight = inner.expand_dims(inner.expand_dims(inner.take(values, number, 2), 2), 3)
        summed = total + planes.apply("GatherND", place, batch_dims=1) * weight
        shapes: Any = ((number, []), (proceed, []), (total, None), (proceed.apply("Identity"), []), (summed, None))
        infos = [helper.make_tensor_value_info(one.name, TYPES[one.kind], shape) for one, shape in shapes]
        looped = helper.make_graph(body.nodes, f"{body.prefix}body", infos[:3], infos[3:], body.constants)
        return Tensor(self.graph, self.graph.add("Loop", [times.name, "", zeros.name], body=looped), np.float32)
