"""Tensors of an ONNX graph in the making, to calculate with as with arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET = 17  # of 2022: what runtimes of the last years read
IR_VERSION = 8  # the file format that goes with it


@dataclass
class Graph:
    """Nodes and constants of a graph in the making; tensors are known by their names.

    prefix: of the names that `add` and `constant` make, so that two parts of one graph do not meet.
    """

    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name, made up if none is given."""
        from onnx import helper

        output = output or f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}/node", **attributes))
        return output

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        # C order: a transposed kernel would be written as its own transpose
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), name))
        return name


FLOAT, UINT8, INT64, BOOL, DOUBLE = 1, 2, 7, 9, 11  # onnx.TensorProto's


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph in the making, to calculate with; numbers take the type `kind`, as operators in ONNX ask."""

    graph: Graph
    name: str
    kind: type

    def apply(self, operator: str, *others: Any, kind: type | None = None, **attributes: Any) -> Tensor:
        """Return an operator's result on this tensor and others, of this one's type unless `kind` is given."""
        names = [one.name if isinstance(one, Tensor) else self.graph.constant(one, self.kind) for one in others]
        return Tensor(self.graph, self.graph.add(operator, [self.name, *names], **attributes), kind or self.kind)

    def __add__(self, other: Any) -> Tensor:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> Tensor:
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> Tensor:
        return self.apply("Div", other)

    def is_(self, relation: str, other: Any) -> Tensor:
        """Compare: `Equal`, `Less`, `LessOrEqual`, `Greater`, `GreaterOrEqual`."""
        return self.apply(relation, other, kind=np.bool_)

    def and_(self, other: Tensor) -> Tensor:
        """Both are true."""
        return self.apply("And", other)

    def least(self, other: Any) -> Tensor:
        """Return the smaller of both."""
        return self.apply("Min", other)

    def most(self, other: Any) -> Tensor:
        """Return the larger of both."""
        return self.apply("Max", other)

    def floor(self) -> Tensor:
        """Round down."""
        return self.apply("Floor")

    def cast(self, kind: type) -> Tensor:
        """Return the values as another type."""
        code = {np.float32: FLOAT, np.uint8: UINT8, np.int64: INT64, np.bool_: BOOL, np.float64: DOUBLE}[kind]
        return self.apply("Cast", kind=kind, to=code)

    def reduce(self, operator: str, axes: list[int] | None = None) -> Tensor:
        """Reduce axes (all, without), which stay with length 1, unless there are none to stay."""
        if operator == "ReduceSum":
            return Tensor(
                self.graph, self.graph.add(operator, [self.name, self.graph.constant(axes, np.int64)]), self.kind
            )
        return self.apply(operator, **({"axes": axes} if axes else {"keepdims": 0}))

    def wider(self, *axes: int) -> Tensor:
        """Return the tensor with new axes of length 1."""
        axes_name = self.graph.constant(axes, np.int64)
        return Tensor(self.graph, self.graph.add("Unsqueeze", [self.name, axes_name]), self.kind)

    def squeezed(self, axis: int) -> Tensor:
        """Return the tensor without an axis of length 1."""
        axes = self.graph.constant([axis], np.int64)
        return Tensor(self.graph, self.graph.add("Squeeze", [self.name, axes]), self.kind)

    def cut(self, end: Tensor, axis: int) -> Tensor:
        """Return the first `end` (int64 [1]) of an axis."""
        start, along = (self.graph.constant([number], np.int64) for number in (0, axis))
        return Tensor(self.graph, self.graph.add("Slice", [self.name, start, end.name, along]), self.kind)

    def transposed(self, *order: int) -> Tensor:
        """Return the tensor with its axes in another order."""
        return self.apply("Transpose", perm=list(order))

    def at(self, index: Any, axis: int) -> Tensor:
        """Return what lies at an index (or indices) of an axis."""
        name = index.name if isinstance(index, Tensor) else self.graph.constant(index, np.int64)
        return Tensor(self.graph, self.graph.add("Gather", [self.name, name], axis=axis), self.kind)

    def shape(self) -> Tensor:
        """Return the shape, int64."""
        return self.apply("Shape", kind=np.int64)

    def upto(self) -> Tensor:
        """Return 0, 1, ... below this scalar, int64."""
        zero, one = self.graph.constant(0, np.int64), self.graph.constant(1, np.int64)
        return Tensor(self.graph, self.graph.add("Range", [zero, self.name, one]), np.int64)
