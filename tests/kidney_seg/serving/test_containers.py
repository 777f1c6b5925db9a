"""The containers' files: TF Serving as compose.yaml configures it, by the stand-in, since no Docker runs here."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from benchmarks.serving.stand_in import Servable, serve_grpc, serve_rest
from data_prep.phantom.cohort import write_cohort
from data_prep.volume import read_labels
from kidney_seg.__main__ import COMMANDS, load_command
from kidney_seg.export.versions import latest
from kidney_seg.weights import STARTER_FILE

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
MODEL = SERVICES["serving"]["environment"]
PORTS = {"gRPC": "8500", "REST": "8501"}  # of the image


def batching() -> dict[str, int]:
    """Return the parameters of batching that the server gets, by name."""
    (given,) = SERVICES["serving"]["configs"]
    assert f"--batching_parameters_file={given['target']}" in SERVICES["serving"]["command"]
    content = COMPOSE["configs"][given["source"]]["content"]
    lines = [re.fullmatch(r"(\w+) \{ value: (\d+) \}", line) for line in content.splitlines()]
    return {line[1]: int(line[2]) for line in lines}


@pytest.fixture(scope="module")
def running(exported):
    """Ports of a stand-in with the model, name and largest batch of compose.yaml, by protocol."""
    base = exported[1].parents[1]  # in place of the volume
    (mounted,) = SERVICES["serving"]["volumes"]
    assert mounted == f"models:{MODEL['MODEL_BASE_PATH']}:ro"
    servable = Servable(latest(base / MODEL["MODEL_NAME"]), MODEL["MODEL_NAME"], batching()["max_batch_size"])
    grpc, grpc_port = serve_grpc(servable)
    rest, rest_port = serve_rest(servable)
    yield {"gRPC": str(grpc_port), "REST": str(rest_port)}
    grpc.stop(0).wait()
    rest.shutdown()
    rest.server_close()


@pytest.mark.network
@pytest.mark.parametrize("protocol", PORTS)
def test_client_of_compose_segments_a_scan(protocol, running, tmp_path):
    (case,) = write_cohort(tmp_path / "made", cases=1, size=32, slices=40)  # all fit into one message, not one batch
    shutil.copy(case / "imaging.nii.gz", tmp_path / "scan.nii.gz")
    name, *arguments = SERVICES["client"]["command"]
    places = {f"serving:{PORTS['gRPC']}": f"{'http://' * (protocol == 'REST')}127.0.0.1:{running[protocol]}"}
    (mounted,) = SERVICES["client"]["volumes"]
    assert mounted == "./scans:/scans"
    words = [places.get(word, word.replace("/scans", str(tmp_path))) for word in arguments]
    assert load_command(f"kidney_seg.{name}").main(words) == 0
    assert read_labels(tmp_path / "labels.nii.gz").voxels.shape == (40, 32, 32)


@pytest.mark.network
def test_health_check_asks_for_the_model(running):
    kind, *command = SERVICES["serving"]["healthcheck"]["test"]
    assert kind == "CMD" and f"/{PORTS['REST']} " in command[-1]
    if not shutil.which(command[0]):
        pytest.skip("bash is not installed")

    def healthy(text: str) -> bool:
        return subprocess.run([*command[:-1], text], stderr=subprocess.DEVNULL, timeout=20).returncode == 0

    text = command[-1].replace(PORTS["REST"], running["REST"])
    assert healthy(text)
    assert not healthy(text.replace(MODEL["MODEL_NAME"], "other"))
    assert not healthy(command[-1].replace(PORTS["REST"], "1"))


def test_ports_are_of_this_computer_only():
    assert SERVICES["serving"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in PORTS.values()]


def test_the_exported_model_fits_the_settings():
    command = SERVICES["export"]["entrypoint"][-1]
    folder = f"{MODEL['MODEL_BASE_PATH']}/{MODEL['MODEL_NAME']}"
    assert f"[ -d {folder}/1 ]" in command and command.endswith(f"kidney-seg export starter --out {folder}")
    assert SERVICES["export"]["volumes"] == [f"models:{MODEL['MODEL_BASE_PATH']}"]
    with zipfile.ZipFile(STARTER_FILE) as archive:
        config = json.loads(archive.read("kidney_seg.json"))["config"]
    assert config["model"]["input_slices"] == 1  # several must not be batched across requests
    assert (config["prediction"]["smooth_z_mm"] > 0) == ("smooth_z_mm=0" in SERVICES["client"]["command"])


def test_page_and_compose_have_the_same_batching():
    page = (ROOT / "docs" / "howto" / "serving.md").read_text(encoding="utf-8")
    assert COMPOSE["configs"]["batching"]["content"] in page


def test_dockerfile_copies_what_the_ignore_file_lets_through():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    for name in copied:
        assert (ROOT / name).exists() and any(fnmatch.fnmatch(name, pattern) for pattern in kept), name
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert 'ENTRYPOINT ["kidney-seg"]' in text and "kidney-seg =" in setup["options.entry_points"]["console_scripts"]
    assert {"kidney_seg.export", "kidney_seg.serving"} <= set(COMMANDS)
    minor = re.search(r"^FROM python:(\d\.\d+)-", text, re.MULTILINE)[1]
    assert f"Programming Language :: Python :: {minor}" in setup["metadata"]["classifiers"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"tensorflow-cpu=={re.search(r'tensorflow.and-cuda.==([0-9.]+)', text)[1]} " in pins
