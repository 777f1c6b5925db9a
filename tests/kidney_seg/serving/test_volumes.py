"""Whole volumes through servers that speak TF Serving's gRPC and REST, and what becomes of it when they do not."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import assert_same_labels, save, three_classes
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.serving.stand_in import MESSAGE_BYTES, Refused, Servable, serve_grpc, serve_rest
from data_prep.phantom.patient import simulate_patient
from data_prep.volume import read_labels, read_volume
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.config.run_config import Config
from kidney_seg.export import examples
from kidney_seg.export.slice_png import encode_slice
from kidney_seg.model.model_file import load_model
from kidney_seg.postprocess.distant_objects import remove_distant_objects
from kidney_seg.predict import __main__ as predict
from kidney_seg.serving import __main__ as serving_command
from kidney_seg.serving import client as serving_client
from kidney_seg.serving import volumes as serving
from kidney_seg.serving.client import RetryPolicy, segment

pytestmark = [pytest.mark.network, pytest.mark.system]

QUICK = ["--retries", "3", "--timeout", "120"]
RAW = ["--no-postprocess"]  # the rule would carry one pixel's difference on to others


@pytest.fixture(scope="module")
def loaded(exported):
    return Servable(exported[1])


@pytest.fixture
def servable(loaded):
    """The loaded model, without troubles and with its counters at 0."""
    loaded.trouble, loaded.largest, loaded.asked = lambda: None, 0, 0
    return loaded


@pytest.fixture(params=["grpc", "rest"])
def server(request, servable):
    """Address of a server by gRPC and by REST."""
    if request.param == "grpc":
        running, port = serve_grpc(servable)
        yield f"127.0.0.1:{port}"
        running.stop(0).wait()
    else:
        running, port = serve_rest(servable)
        yield f"http://127.0.0.1:{port}"
        running.shutdown()
        running.server_close()


@pytest.fixture(scope="module")
def patient(tmp_path_factory, exported):
    """A scan of 512 x 512 that takes several messages; the labels of `kidney_seg.predict`, and probabilities."""
    root = tmp_path_factory.mktemp("patient")
    small = simulate_patient(1, size=128, slices=16).image
    large = np.repeat(np.repeat(small, 4, 1), 4, 2)
    large += np.random.default_rng(0).integers(-200, 200, large.shape).astype(np.int16)  # as hard to compress as CT
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-8.0, 0, 0, 0], [0, 0, 0, 1]])
    image = save(root / "imaging.nii.gz", large, affine)
    assert predict.main([str(exported[0]), str(image), "--out", str(root / "labels.nii.gz"), "--no-postprocess"]) == 0
    volume, labels = read_volume(image), read_labels(root / "labels.nii.gz").voxels
    spacing_mm = np.tile(volume.spacing_mm[1:], (len(labels), 1))
    answers = examples.example_outputs(load_model(exported[0]), {"slices": volume.voxels, "spacing_mm": spacing_mm})
    return image, labels, three_classes(answers)


def test_a_volume_has_the_labels_of_predict(server, servable, patient, tmp_path):
    image, expected, probabilities = patient
    out = tmp_path / "labels.nii.gz"
    assert serving_command.main([server, str(image), "--out", str(out), *RAW]) == 0
    raw = read_labels(out)
    assert_same_labels(raw.voxels, expected, probabilities)
    assert len(np.unique(expected)) == 3
    assert servable.asked >= 4 and 500_000 < servable.largest < 4_000_000 < MESSAGE_BYTES
    assert serving_command.main([server, str(image), "--out", str(out)]) == 2  # exists
    after = tmp_path / "after.nii.gz"
    assert serving_command.main([server, str(image), "--out", str(after)]) == 0
    ruled = remove_distant_objects(raw.voxels, raw.spacing_mm, kidney_ml=5)  # as the model's settings say
    np.testing.assert_array_equal(read_labels(after).voxels, ruled)


def test_a_batch_has_the_records_and_the_table_of_predict(server, exported, tmp_path, capsys):
    for number in (1, 2):
        folder = tmp_path / "cases" / f"case_0000{number}"
        folder.mkdir(parents=True)
        save(folder / "imaging.nii.gz", simulate_patient(number, size=48, slices=8).image)
    (tmp_path / "cases" / "case_00003").mkdir()
    (tmp_path / "cases" / "case_00003" / "imaging.nii.gz").write_bytes(b"cut off")
    served, own = tmp_path / "served", tmp_path / "own"
    assert serving_command.main([server, str(tmp_path / "cases"), "--out", str(served)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("device: server 127.0.0.1") and "error: case_00003: " in said.err
    assert "2 label volumes" in said.out and "1 failed; overview.html shows them" in said.out
    assert predict.main([str(exported[0]), str(tmp_path / "cases"), "--out", str(own)]) == 2
    assert {str(path.relative_to(own)) for path in own.rglob("*")} == {
        str(path.relative_to(served)) for path in served.rglob("*")
    }
    records = [json.loads((folder / "case_00001.json").read_text()) for folder in (served, own)]
    assert records[0]["made_by"] == records[1]["made_by"] and records[0].keys() == records[1].keys()
    assert records[0]["engine"] == "server" and records[0]["image"] == records[1]["image"]
    capsys.readouterr()
    assert serving_command.main([server, str(tmp_path / "cases"), "--out", str(served)]) == 2
    assert capsys.readouterr().out.count("exists, complete and made in the same way") == 2


def test_troubles_that_pass(server, servable, patient, tmp_path):
    image, expected, probabilities = patient
    codes = iter(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])

    def trouble():
        code = next(codes, None)
        if code:
            raise Refused(code, "in a moment")

    servable.trouble = trouble
    out = tmp_path / "labels.nii.gz"
    assert serving_command.main([server, str(image), "--out", str(out), *QUICK, *RAW]) == 0
    assert_same_labels(read_labels(out).voxels, expected, probabilities)


@pytest.mark.parametrize(
    ("code", "options", "words"),
    [
        ("UNAVAILABLE", ["--retries", "1"], "tried 2 times"),
        ("INTERNAL", [], "out of luck"),
        ("slow", ["--retries", "0", "--timeout", "0.3"], "tried once"),
    ],
)
def test_troubles_that_stay_end_in_one_line_and_no_file(
    server, servable, patient, tmp_path, capsys, code, options, words
):
    def trouble():
        if servable.asked > 2:  # in the middle
            if code == "slow":
                time.sleep(1.0)
            else:
                raise Refused(code, "out of luck")

    servable.trouble = trouble
    out = tmp_path / "labels.nii.gz"
    assert serving_command.main([server, str(patient[0]), "--out", str(out), *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0] and "127.0.0.1" in errors[0], errors
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_dies_in_the_middle_and_comes_back(servable, patient, tmp_path, capsys):
    image, expected, probabilities = patient
    running, port = serve_grpc(servable)
    out = tmp_path / "labels.nii.gz"

    def die():
        if servable.asked == 3:
            threading.Thread(target=running.stop, args=(0,)).start()
            time.sleep(0.2)

    servable.trouble = die
    assert serving_command.main([f"127.0.0.1:{port}", str(image), "--out", str(out), "--retries", "1"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "UNAVAILABLE" in error[0]
    assert list(tmp_path.iterdir()) == []

    back = {}

    def come_back():
        time.sleep(1.0)
        servable.trouble = lambda: None
        back["server"] = serve_grpc(servable, port)[0]

    thread = threading.Thread(target=come_back)
    thread.start()
    assert serving_command.main([f"127.0.0.1:{port}", str(image), "--out", str(out), "--retries", "6", *RAW]) == 0
    thread.join()
    back["server"].stop(0).wait()
    assert_same_labels(read_labels(out).voxels, expected, probabilities)


def test_a_model_of_another_name_or_kind(server, patient, tmp_path, capsys):
    out = str(tmp_path / "labels.nii.gz")
    assert serving_command.main([server, str(patient[0]), "--out", out, "--name", "liver"]) == 2
    assert "not found" in capsys.readouterr().err


def test_a_model_that_changes_meanwhile(server, servable, patient, tmp_path, capsys, monkeypatch):
    contracts = iter(["1", "2"])
    real = serving_client.segment.__globals__["fetch_contract"]

    def fetch(transport, policy):
        return real(transport, policy)[0], next(contracts)

    monkeypatch.setitem(serving_client.segment.__globals__, "fetch_contract", fetch)
    assert serving_command.main([server, str(patient[0]), "--out", str(tmp_path / "labels.nii.gz")]) == 2
    assert "changed its model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["contract", "--config"])
def test_smoothing_along_z_is_refused_not_left_out(servable, exported, patient, tmp_path, capsys, monkeypatch, source):
    running, port = serve_grpc(servable)
    settings = PredictionConfig(smooth_z_mm=6)
    more = []
    if source == "contract":
        real = serving.fetch_contract

        def smoothing(transport, policy):
            contract, content = real(transport, policy)
            return replace(contract, prediction=settings), content

        monkeypatch.setattr(serving, "fetch_contract", smoothing)
    else:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(Config(prediction=settings).to_dict()))
        more = ["--config", str(config)]
    out = tmp_path / "labels.nii.gz"
    command = [f"127.0.0.1:{port}", str(patient[0]), "--out", str(out), *RAW, *more]
    assert serving_command.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: smooth_z_mm=6: found smoothing along z, expected 0") and error.count("\n") == 1
    assert not out.exists()
    assert serving_command.main([*command, "--set", "smooth_z_mm=0"]) == 0
    assert_same_labels(read_labels(out).voxels, *patient[1:])
    running.stop(0).wait()


GOOD, SPACING = np.zeros((2, 20, 30), np.float32), np.ones((2, 2))
FILES = [encode_slice(np.zeros((20, 30), np.int16))] * 2
WRONG = {
    "rank 4": ("serving_default", GOOD[None], SPACING, "not compatible"),
    "rank 2": ("serving_default", GOOD[0], SPACING, "not compatible"),
    "type": ("serving_default", GOOD.astype(np.int32), SPACING, "Type mismatch"),
    "strings": ("serving_default", np.array([[[b"a"]]]), SPACING[:1], "Type mismatch"),
    "NaN": ("serving_default", GOOD * np.nan, SPACING, "NaN or infinity"),
    "infinity": ("heads", GOOD + np.inf, SPACING, "NaN or infinity"),
    "empty batch": ("serving_default", GOOD[:0], SPACING[:0], "at least one slice"),
    "no pixels": ("serving_default", GOOD[:, :0], SPACING, "at least one slice"),
    "too many rows": ("serving_default", np.zeros((1, 5000, 2), np.float32), SPACING[:1], "at most 4096"),
    "spacing 0": ("serving_default", GOOD, SPACING * 0, "0.01 to 100"),
    "spacing NaN": ("serving_default", GOOD, SPACING * np.nan, "0.01 to 100"),
    "one spacing": ("serving_default", GOOD, SPACING[:1], "for every slice"),
    "no PNG": ("png", [b"text"] * 2, SPACING, "gray PNG"),
    "empty PNG": ("png", [b""] * 2, SPACING, "gray PNG"),
    "no slices": ("png", [], SPACING[:0], "at least one slice"),
    "cut off": ("png", [FILES[0][:50], FILES[1]], SPACING, "Invalid PNG"),
    "huge": ("png", [FILES[0][:16] + (60_000).to_bytes(4, "big") * 2 + FILES[0][24:]], SPACING[:1], "at most 4096"),
    "two sizes": ("png", [FILES[0], encode_slice(np.zeros((3, 3), np.int16))], SPACING, "one size"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_malformed_requests_get_an_error_and_the_server_goes_on(servable, grpc_stub, wrong):
    signature, slices, spacing_mm, words = WRONG[wrong]
    with pytest.raises(grpc.RpcError) as caught:
        grpc_stub.Predict(request(signature, slices=slices, spacing_mm=spacing_mm), timeout=120)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()
    answer = grpc_stub.Predict(request("png", slices=FILES, spacing_mm=SPACING), timeout=120)
    assert len(answer.outputs["labels_bytes"].string_val) == 2


def test_missing_inputs_and_unknown_signatures(grpc_stub):
    for wrong in (request("png", slices=FILES), request("nothing", slices=FILES), request("about", question=[b""])):
        with pytest.raises(grpc.RpcError) as caught:
            grpc_stub.Predict(wrong, timeout=120)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def request(signature, **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "kidney_seg", signature
    for name, values in inputs.items():
        kind = tf.string if name == "slices" and isinstance(values, list) else None
        made.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype=kind))
    return made


@pytest.fixture
def grpc_stub(servable):
    running, port = serve_grpc(servable)
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    running.stop(0).wait()


def test_rest_in_rows_and_columns_without_the_client(servable, exported):
    running, port = serve_rest(servable)
    example = np.round(np.random.default_rng(2).normal(0, 300, (2, 9, 12)))
    spacing = [[20.0, 20.0]] * 2

    def post(content, code=200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", "/v1/models/kidney_seg:predict", json.dumps(content))
        response = connection.getresponse()
        assert response.status == code
        return json.loads(response.read())

    rows = [{"slices": one.tolist(), "spacing_mm": mm} for one, mm in zip(example, spacing, strict=True)]
    by_row = post({"instances": rows})["predictions"]
    by_column = post({"inputs": {"slices": example.tolist(), "spacing_mm": spacing}})["outputs"]
    assert by_column["labels"] == [one["labels"] for one in by_row]
    assert set(by_column) == {"labels", "kidney_probability", "tumor_probability"}
    files = [{"b64": base64.b64encode(encode_slice(one.astype(np.int16))).decode()} for one in example]
    encoded = post({"signature_name": "png", "inputs": {"slices": files, "spacing_mm": spacing}})["outputs"]
    decoded = tf.stack([tf.io.decode_png(base64.b64decode(one["b64"])) for one in encoded])[..., 0]
    labels = np.array(by_column["labels"], np.uint8)
    assert_same_labels(decoded.numpy(), labels, three_classes({key: np.array(by_column[key]) for key in by_column}))
    for wrong in ({"instances": []}, {"inputs": {"slices": [[1.0]], "spacing_mm": spacing}}, {}):
        assert "error" in post(wrong, 400)
    running.shutdown()
    running.server_close()


def test_eight_clients_at_once(server, servable, patient):
    volume = simulate_patient(3, size=64, slices=12)

    def client(_):
        transport = serving.connect(server)
        try:
            return segment(transport, volume.image, volume.spacing_mm, RetryPolicy(), concurrent_requests=2)[0]
        finally:
            transport.close()

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(client, range(24))
    for one in others:
        np.testing.assert_array_equal(one, first)
