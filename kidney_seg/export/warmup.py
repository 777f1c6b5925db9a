"""Warm-up requests for TF Serving, which runs them while it loads so that the first user does not wait.

The file `assets.extra/tf_serving_warmup_requests` holds PredictionLog records, as TF Serving documents it.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from kidney_seg.export import contract
from kidney_seg.export.slice_png import encode_slice

FILE = "tf_serving_warmup_requests"
EDGE = 512  # rows and columns of most CT


def write(path: Path, model_name: str) -> None:
    """Write one request per signature. InputError if TF Serving's protos are not installed."""
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        raise InputError(
            "warm-up requests need tensorflow-serving-api; run: pip install 'kidney_seg[serving]'"
        ) from None
    slices = np.zeros((1, EDGE, EDGE), np.float32)
    spacing_mm = np.full((1, 2), 0.8)
    requests: dict[str, dict[str, Any]] = {
        contract.DEFAULT: {"slices": slices, "spacing_mm": spacing_mm},
        contract.PNG: {"slices": [encode_slice(slices[0].astype(np.int16))], "spacing_mm": spacing_mm},
        contract.HEADS: {"slices": slices, "spacing_mm": spacing_mm},
        contract.ABOUT: {"ask": [b""]},
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, values in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    if sum(1 for _ in tf.data.TFRecordDataset(str(path))) != len(requests):
        raise OSError(errno.EIO, "what was written cannot be read back", str(path))
