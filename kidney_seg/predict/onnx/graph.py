"""Nodes and constants of an ONNX graph under construction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET = 17  # of 2022: what runtimes of the last years read
IR_VERSION = 8  # the file format of that version

TYPES = {np.float32: 1, np.uint8: 2, np.int64: 7, np.bool_: 9, np.float64: 11}  # onnx.TensorProto's numbers


@dataclass
class Graph:
    """Nodes and constants of a graph; tensors are identified by their names.

    prefix: of the names that `add` and `constant` make, so that names in two parts of one graph differ.
    known: names of constants by their checksums, where equal ones are kept once.
    """

    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    known: dict[bytes, str] | None = None

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name, generated if `output` is None."""
        from onnx import helper

        output = output or f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}/node", **attributes))
        return output

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        # C order: a transposed kernel would be written as its own transpose
        array: np.ndarray = np.array(values, dtype=dtype, order="C")
        if self.known is not None:
            key = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).digest()
            if (found := self.known.setdefault(key, name)) != name:
                return found
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def serialize(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
        """Return the checked ONNX model of the whole graph.

        inputs, outputs: NumPy type and shape (numbers, or names of free edges) by name; metadata: texts in the file.
        """
        import onnx
        from onnx import helper

        def described(tensors: Mapping[str, tuple[type, Sequence[Any]]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TYPES[np.dtype(dtype).type], shape)
                for name, (dtype, shape) in tensors.items()
            ]

        model = helper.make_model(
            helper.make_graph(self.nodes, "kidney_seg", described(inputs), described(outputs), self.constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="kidney_seg",
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()
