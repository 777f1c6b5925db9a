"""A stand-in for TF Serving with one exported model: `python -m benchmarks.serving.stand_in DIR`, on 127.0.0.1.

It implements PredictionService of TF Serving's published protos and the predict call of its REST API, and runs the
graph in a session, as TF Serving does. For tests and measurements; it batches nothing, refuses what would be too large
for a batch, and watches no folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from benchmarks.serving.servable import Refused, Servable
from data_prep.cli import command

HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
MESSAGE_BYTES = 4 * 1024 * 1024  # gRPC's default


def serve_grpc(servable: Servable, port: int = 0) -> tuple[Any, int]:
    """Start a gRPC server on 127.0.0.1; return it (`stop(0)` ends it) and its port."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            servable.saw(request.ByteSize())
            spec = request.model_spec
            signature = spec.signature_name or "serving_default"
            try:
                made = servable.run(spec.name, signature, request.inputs, lambda one, _: tf.make_ndarray(one))
            except Refused as refused:
                context.abort(grpc.StatusCode[refused.code], str(refused))
            answer = predict_pb2.PredictResponse()
            answer.model_spec.name = servable.name
            answer.model_spec.version.value = int(servable.version)
            for key in request.output_filter or made:
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(made[key]))
            servable.saw(answer.ByteSize())
            return answer

    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def serve_rest(servable: Servable, port: int = 0) -> tuple[ThreadingHTTPServer, int]:
    """Start a REST server on 127.0.0.1; return it (`shutdown` and `server_close` end it) and its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path != f"/v1/models/{servable.name}":
                self._answer(404, {"error": f"Could not find any versions of model {self.path}"})
                return
            status = {"error_code": "OK", "error_message": ""}
            state = {"version": servable.version, "state": "AVAILABLE", "status": status}
            self._answer(200, {"model_version_status": [state]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            servable.saw(len(body))
            try:
                self._answer(200, _predict(servable, self.path, body))
            except Refused as refused:
                self._answer(HTTP_CODES[refused.code], {"error": str(refused)})

        def _answer(self, code: int, content: Any) -> None:
            text = json.dumps(content).encode()
            servable.saw(len(text))
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def _predict(servable: Servable, path: str, body: bytes) -> dict[str, Any]:
    """Answer a request in the row (`instances`) or column (`inputs`) format of TF Serving's documentation."""
    name, colon, verb = path.removeprefix("/v1/models/").rpartition(":")
    if not colon or verb != "predict":
        raise Refused("INVALID_ARGUMENT", f"Malformed request: POST {path}")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refused("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
    signature = request.get("signature_name", "serving_default")
    rows = "instances" in request
    if rows == ("inputs" in request):
        raise Refused("INVALID_ARGUMENT", "expected either 'instances' or 'inputs'")
    given = request["instances"] if rows else request["inputs"]
    if rows and given and isinstance(given[0], dict) and "b64" not in given[0]:
        given = {key: [one[key] for one in given] for key in given[0]}
    if not isinstance(given, dict):
        given = {next(iter(servable.definitions[signature].inputs)): given}
    made = servable.run(name.partition("/")[0], signature, given, _from_json)
    columns = {key: _to_json(values, key) for key, values in made.items()}
    if rows:
        split = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"predictions": split if len(columns) > 1 else next(iter(columns.values()))}
    return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}


def _from_json(values: Any, info: Any) -> np.ndarray:
    import tensorflow as tf

    if info.dtype != tf.string.as_datatype_enum:
        return np.array(values, tf.as_dtype(info.dtype).as_numpy_dtype)
    return np.array([base64.b64decode(one["b64"]) if isinstance(one, dict) else one.encode() for one in values], object)


def _to_json(values: np.ndarray, name: str) -> Any:
    if values.dtype != object:
        return values.tolist()
    if not name.endswith("_bytes"):
        return [one.decode() for one in values]
    return [{"b64": base64.b64encode(one).decode()} for one in values]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.stand_in",
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.serving.stand_in exported --grpc 8500 --rest 8501",
    )
    add = parser.add_argument
    add("model", metavar="DIR", help="exported model: version folder, or folder of versions")
    add("--grpc", type=int, default=0, metavar="PORT", help="port of gRPC (default: a free one)")
    add("--rest", type=int, default=0, metavar="PORT", help="port of REST (default: a free one)")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print the ports of gRPC and REST, and serve until standard input ends."""
    from kidney_seg.export.versions import latest
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    servable = Servable(latest(options.model))
    running = [serve_grpc(servable, options.grpc), serve_rest(servable, options.rest)]  # keeps the servers alive
    print(*(port for _, port in running), flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
