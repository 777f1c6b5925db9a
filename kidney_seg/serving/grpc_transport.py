"""Requests to TF Serving over gRPC, with its published protos (extra `serving`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.errors import InputError
from kidney_seg.serving.client import MESSAGE_BYTES, TransportError

_RETRIABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")


class GrpcTransport:
    """The PredictionService of one server; see `client.Transport`."""

    inflation = 1.01  # each byte string is preceded by its length

    def __init__(self, address: str, model: str, *, secure: bool = False):
        """address: HOST:PORT. secure: TLS with the system's certificates. InputError without the extra."""
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError:
            raise InputError(
                "gRPC needs tensorflow-serving-api: pip install 'kidney_seg[serving]', or use http://HOST:PORT"
            ) from None
        self.address, self._model, self._request = address, model, predict_pb2.PredictRequest
        options = [
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),  # the server is in the local network
            ("grpc.enable_retries", 0),  # `RetryPolicy` counts retries
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
            if secure
            else grpc.insecure_channel(address, options)
        )
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def request(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """See `client.Transport`."""
        import grpc
        from tensorflow.core.framework import types_pb2

        request = self._request()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            tensor = request.inputs[name]
            if isinstance(values, list):
                tensor.dtype = types_pb2.DT_STRING
                tensor.string_val.extend(values)
                shape = (len(values),)
            else:
                tensor.dtype = types_pb2.DT_DOUBLE
                tensor.tensor_content = values.astype("<f8").tobytes()
                shape = values.shape
            for edge in shape:
                tensor.tensor_shape.dim.add(size=edge)
        try:
            answer = self._service.Predict(request, timeout=timeout_s)
        except grpc.RpcError as error:
            code = error.code().name
            raise TransportError(f"{code}: {error.details()}", code in _RETRIABLE) from None
        return {name: list(tensor.string_val) for name, tensor in answer.outputs.items()}

    def close(self) -> None:
        """See `client.Transport`."""
        self._channel.close()
