"""Whether an ONNX file holds the weights of a `.keras` file, without loading Keras."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import raise_if_out_of_memory
from kidney_seg.config.model import HEADS
from kidney_seg.model.model_archive import CONFIG_MEMBER, WEIGHTS_MEMBER
from kidney_seg.model.model_file import ModelSource

if TYPE_CHECKING:
    import h5py

_LARGE = 64  # numbers; constants of a network beside its weights are smaller


def has_weights_of(content: bytes, source: ModelSource) -> bool:
    """Return whether an ONNX file holds all weights that the finest head needs, and no other large constant.

    False if either file cannot be understood. The order of the graph is not compared.
    """
    import onnx

    try:
        constants = [onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(content).graph.initializer]
        weights = stored_weights(source)
    except Exception as error:  # h5py's and protobuf's have no common base; loading the model says what is wrong
        raise_if_out_of_memory(error, source.path)
        return False
    held = {values.tobytes() for values in constants}
    large = {values.tobytes() for values in constants if values.size >= _LARGE}
    stored: set[bytes] = set()
    free: set[bytes] = set()  # moved by class odds
    for values in weights:
        with_odds = source.weights is not None and values.shape == (source.config.model.classes,)
        (free if with_odds else stored).add(values.tobytes())
    return stored <= held and large <= stored | free


def stored_weights(source: ModelSource) -> list[np.ndarray]:
    """Return the weights of the layers that the finest head needs, as float32, kernels in the order of ONNX."""
    import h5py

    with zipfile.ZipFile(source.path) as archive:
        needed = _needed(json.loads(archive.read(CONFIG_MEMBER))["config"])
        content = archive.read(WEIGHTS_MEMBER) if source.weights is None else source.weights.read_bytes()
    found: list[np.ndarray] = []

    def add(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.parent.attrs["name"] in needed:
            if item.is_virtual or item.external or item.nbytes > len(content):
                raise ValueError("weights that are not in the file")
            values = np.asarray(item[...], np.float32)
            found.append(np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values))

    with h5py.File(io.BytesIO(content), "r") as file:
        file["layers"].visititems(add)
    return found


def _needed(network: dict[str, Any]) -> set[str]:
    """Return the names of the layers between the inputs and the finest head, by Keras' description of the network."""
    before = {layer["name"]: _names(layer["inbound_nodes"]) for layer in network["layers"]}
    needed, waiting = set(), [network["output_layers"][HEADS[-1]][0]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += before[name]
    return needed


def _names(node: Any) -> list[str]:
    """Return the names of the layers that a description of calls mentions: the first of each `keras_history`."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        return [history[0]] if history else [name for value in node.values() for name in _names(value)]
    return [name for value in node for name in _names(value)] if isinstance(node, list) else []
