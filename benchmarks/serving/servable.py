"""A served model, as TF Serving holds it: its graph in a session, its signatures, its refusals."""

from __future__ import annotations

import binascii
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Refused(Exception):
    """A refused request, with the name of a gRPC code."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


class Servable:
    """A loaded version of a model.

    trouble: called before every request; may sleep or raise `Refused`. largest: bytes of the largest message in either
    direction. asked: number of requests. max_batch_size: as in TF Serving's file of batching; None: no limit.
    """

    def __init__(self, folder: str | Path, name: str = "kidney_seg", max_batch_size: int | None = None):
        import tensorflow as tf
        from tensorflow.core.protobuf import config_pb2

        tf.get_logger().setLevel("ERROR")  # the session that TF Serving uses is deprecated
        self.name, self.version = name, Path(folder).name
        self.max_batch_size = max_batch_size
        self.trouble: Callable[[], None] = lambda: None
        self.largest = self.asked = 0
        self._lock = threading.Lock()
        session = tf.compat.v1.Session(graph=tf.Graph())
        with session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        self.definitions = dict(meta.signature_def)
        self._calls = {}
        for key, definition in self.definitions.items():
            options = config_pb2.CallableOptions()
            options.feed.extend(one.name for one in definition.inputs.values())
            options.fetch.extend(one.name for one in definition.outputs.values())
            if options.feed:
                self._calls[key] = session._make_callable_from_options(options)

    def run(self, name: str, signature: str, given: Mapping[str, Any], convert: Callable) -> dict[str, np.ndarray]:
        """Run a signature; `convert` turns an input and the definition of its tensor into an array."""
        import tensorflow as tf

        with self._lock:
            self.asked += 1
        self.trouble()
        if name != self.name:
            raise Refused("NOT_FOUND", f"Servable not found for request: Latest({name})")
        if signature not in self._calls:
            raise Refused("INVALID_ARGUMENT", f"Serving signature name: {signature!r} not found in signature def")
        definition = self.definitions[signature]
        if set(given) != set(definition.inputs):
            raise Refused("INVALID_ARGUMENT", f"input must contain {sorted(definition.inputs)}, found {sorted(given)}")
        try:
            arrays = [convert(given[key], definition.inputs[key]) for key in definition.inputs]
            if self.max_batch_size is not None and (size := max(map(len, arrays))) > self.max_batch_size:
                text = f"Task size {size} is larger than maximum input batch size {self.max_batch_size}"
                raise Refused("INVALID_ARGUMENT", text)
            made = self._calls[signature](*arrays)
        except (ValueError, TypeError, MemoryError, binascii.Error) as error:
            raise Refused("INVALID_ARGUMENT", str(error)) from None
        except tf.errors.OpError as error:
            code = "INVALID_ARGUMENT" if isinstance(error, tf.errors.InvalidArgumentError) else "INTERNAL"
            raise Refused(code, error.message) from None
        return dict(zip(definition.outputs, made, strict=True))

    def saw(self, size: int) -> None:
        """Record the size of a message."""
        with self._lock:
            self.largest = max(self.largest, size)
