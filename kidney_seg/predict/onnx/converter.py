"""Convert the Keras network to an ONNX graph, layer by layer: float32, any batch size, no TensorFlow inside.

The network has few kinds of layers, and each has a short function here; unknown ones are refused by name. (tf2onnx
converts by way of TensorFlow's graphs and supports TensorFlow's versions late.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kidney_seg.config.model import HEADS
from kidney_seg.predict.onnx.graph import Graph

if TYPE_CHECKING:
    import keras

IMAGE = "image"  # input of the whole graph: HU, float32 [batch, size, size, input_slices], as the Keras model's
PROBABILITIES = "probabilities"  # its output: float32 [batch, size, size, classes], the finest head


def to_onnx(model: keras.Model, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the network of `build_model` as an ONNX file.

    Its input is `image`, HU as float32 [batch, size, size, input_slices]; its output is `probabilities` of the finest
    head, float32 [batch, size, size, classes]. Half precision becomes float32. metadata: texts kept in the file.
    ValueError names a layer that cannot be converted.
    """
    graph = Graph()
    graph.add("Identity", [add_network(graph, model, IMAGE)], PROBABILITIES)
    image, answer = ((np.float32, ["batch", *tensor.shape[1:]]) for tensor in (model.inputs[0], _finest(model)))
    return graph.serialize({IMAGE: image}, {PROBABILITIES: answer}, metadata or {})


def add_network(graph: Graph, model: keras.Model, image: str) -> str:
    """Add the network's nodes to a graph with a tensor `image`; return the name of the finest head's tensor.

    Shapes and units as in `to_onnx`. Other nodes of the graph may compute `image` and use the result.
    """
    names = {id(model.inputs[0]): graph.add("Transpose", [image], perm=[0, 3, 1, 2])}  # channels first, as ONNX has it
    for layer in _needed(model):
        kind = type(layer).__name__
        known = kind in _CONVERTERS and layer.get_config().get("data_format", "channels_last") == "channels_last"
        _refuse(not known, layer, f"{kind} with this data format")
        given = [names[id(tensor)] for tensor in _inputs(layer)]
        names[id(layer.output)] = _CONVERTERS[kind](graph, layer, given)
    return graph.add("Transpose", [names[id(_finest(model))]], perm=[0, 2, 3, 1])


def _finest(model: keras.Model) -> Any:
    return model.output[HEADS[-1]]


def _inputs(layer: keras.Layer) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _needed(model: keras.Model) -> list[keras.Layer]:
    # the layers that the finest head depends on, each after its inputs
    makers = {id(layer.output): layer for layer in model.layers}
    order: dict[int, keras.Layer] = {}
    left = [_finest(model)]
    while left:
        tensor = left[-1]
        missing = [one for one in _inputs(makers[id(tensor)]) if id(one) not in order and id(one) != id(tensor)]
        if missing:
            left += missing
        else:
            order.setdefault(id(tensor), makers[id(tensor)])
            left.pop()
    return [layer for layer in order.values() if type(layer).__name__ != "InputLayer"]


def _refuse(condition: object, layer: keras.Layer, what: str) -> None:
    if condition:
        raise ValueError(f"layer {layer.name}: {what} cannot be converted to ONNX")


def _weights(layer: keras.Layer) -> list[np.ndarray]:
    return [np.asarray(values, np.float32) for values in layer.get_weights()]


def _activated(graph: Graph, layer: keras.Layer, tensor: str) -> str:
    name = layer.activation.__name__
    if name == "linear":
        return tensor
    if name == "softmax":
        return graph.add("Softmax", [tensor], axis=1)
    operators = {"relu": "Relu", "sigmoid": "Sigmoid"}
    _refuse(name not in operators, layer, f"the activation {name}")
    return graph.add(operators[name], [tensor])


def _kernel(graph: Graph, layer: keras.Layer) -> list[str]:
    # kernel and bias, if any; a transposed convolution has its channels swapped in both frameworks
    _refuse(layer.dilation_rate != (1, 1) or getattr(layer, "groups", 1) != 1, layer, "dilation and groups")
    kernel, *bias = _weights(layer)
    return [graph.constant(kernel.transpose(3, 2, 0, 1)), *map(graph.constant, bias)]


def _pads(total: list[int]) -> list[int]:
    before = [pad // 2 for pad in total]  # as TensorFlow pads: the odd pixel at the end
    return before + [pad - half for pad, half in zip(total, before, strict=True)]


def _conv(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    same = layer.padding == "same"
    _refuse(same and layer.strides != (1, 1), layer, "padding with strides")
    pads = _pads([(edge - 1) * same for edge in layer.kernel_size])
    made = graph.add("Conv", [*given, *_kernel(graph, layer)], strides=list(layer.strides), pads=pads)
    return _activated(graph, layer, made)


def _conv_transpose(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    pads = [edge - stride for edge, stride in zip(layer.kernel_size, layer.strides, strict=True)]
    known = layer.padding == "same" and layer.output_padding is None and min(pads) >= 0
    _refuse(not known, layer, "this transposed convolution")
    inputs = [*given, *_kernel(graph, layer)]
    made = graph.add("ConvTranspose", inputs, strides=list(layer.strides), pads=_pads(pads))
    return _activated(graph, layer, made)


def _batch_norm(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    _refuse(not (layer.scale and layer.center) or layer.axis not in (-1, 3), layer, "this normalization")
    return graph.add("BatchNormalization", [*given, *map(graph.constant, _weights(layer))], epsilon=layer.epsilon)


def _group_norm(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    _refuse(not (layer.scale and layer.center) or layer.axis not in (-1, 3), layer, "this normalization")
    # the operator of this name is newer than OPSET: each group is normalized as an instance
    height, width, channels = layer.input.shape[1:]
    ones = [graph.constant(np.full(layer.groups, value)) for value in (1, 0)]
    grouped = graph.add("Reshape", [*given, graph.constant([0, layer.groups, -1], np.int64)])
    grouped = graph.add("InstanceNormalization", [grouped, *ones], epsilon=layer.epsilon)
    made = graph.add("Reshape", [grouped, graph.constant([0, channels, height, width], np.int64)])
    factor, offset = (graph.constant(values.reshape(channels, 1, 1)) for values in _weights(layer))
    return graph.add("Add", [graph.add("Mul", [made, factor]), offset])


def _relu(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    _refuse(layer.negative_slope or layer.threshold, layer, "slope and threshold")
    if layer.max_value is None:
        return graph.add("Relu", given)
    return graph.add("Clip", [*given, graph.constant(0), graph.constant(layer.max_value)])


def _rescaling(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    scaled = graph.add("Mul", [*given, graph.constant(layer.scale)])
    return graph.add("Add", [scaled, graph.constant(layer.offset)])


def _pooling(operator: str) -> Callable[[Graph, Any, list[str]], str]:
    def convert(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
        _refuse(layer.padding != "valid", layer, f"padding {layer.padding}")
        return graph.add(operator, given, kernel_shape=list(layer.pool_size), strides=list(layer.strides))

    return convert


def _upsampling(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    known = {
        "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    }
    _refuse(layer.interpolation not in known, layer, f"interpolation {layer.interpolation}")
    return graph.add("Resize", [*given, "", graph.constant([1, 1, *layer.size])], **known[layer.interpolation])


def _concatenate(graph: Graph, layer: keras.Layer, given: list[str]) -> str:
    if layer.axis not in (-1, 3):
        raise ValueError(f"layer {layer.name}: only channels can be concatenated in ONNX, found axis {layer.axis}")
    return graph.add("Concat", given, axis=1)


_CONVERTERS: dict[str, Callable[[Graph, Any, list[str]], str]] = {
    "Activation": lambda graph, layer, given: _activated(graph, layer, *given),
    "Add": lambda graph, layer, given: graph.add("Add", given),
    "AveragePooling2D": _pooling("AveragePool"),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Conv2DTranspose": _conv_transpose,
    "GroupNormalization": _group_norm,
    "MaxPooling2D": _pooling("MaxPool"),
    "Multiply": lambda graph, layer, given: graph.add("Mul", given),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "UpSampling2D": _upsampling,
}
