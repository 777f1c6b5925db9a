"""With `--server`, the page saves what the serving client writes, and says when the server fails."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
from support.app_process import running
from support.helpers import save

from benchmarks.serving.stand_in import Refused, Servable, serve_grpc, serve_rest
from data_prep.phantom.patient import simulate_patient
from data_prep.volume import read_labels
from kidney_seg.serving.__main__ import main as serving

pytest.importorskip("tornado", reason="no extra `app`")
pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def servable(exported):
    return Servable(exported[1])


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "Jane Doe.nii.gz", simulate_patient(1, size=64, slices=40).image)


@contextmanager
def by_grpc(servable, port=0):
    server, port = serve_grpc(servable, port)
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@contextmanager
def by_rest(servable, port=0):
    server, port = serve_rest(servable, port)
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("serve", [by_grpc, by_rest])
def test_what_is_saved_equals_what_the_client_writes(serve, servable, scan, tmp_path):
    with serve(servable) as server, running(tmp_path / "temporary", "--server", server) as page:
        assert page.get("state").json()["server"] == server
        number = page.upload(scan, ".nii.gz")
        asked = page.wait(number, "done")["progress"]
        assert asked[0] == asked[1] > 1
        for ending in (".nii.gz", ".seg.nrrd"):
            out = tmp_path / ending[1:] / f"scan-{number}{ending}"
            assert serving([server, str(scan), "--out", str(out)]) == 0
            assert page.get(f"scans/{number}/save{ending}").content == out.read_bytes()
        theirs = json.loads((tmp_path / "nii.gz" / f"scan-{number}.json").read_text())
        ours = page.get(f"scans/{number}/save.json").json()
        assert ours["engine"] == "server" and ours.pop("seconds") >= 0 and theirs.pop("seconds") >= 0
        assert ours == theirs
    assert set(np.unique(read_labels(tmp_path / "nii.gz" / f"scan-{number}.nii.gz").voxels)) == {0, 1, 2}


def test_a_server_that_fails_is_said_and_may_recover(servable, scan, tmp_path, monkeypatch):
    def overloaded() -> None:
        raise Refused("UNAVAILABLE", "overloaded")

    with by_rest(servable) as server, running(tmp_path / "temporary", "--server", server) as page:
        page.until(lambda: page.get("state").json()["ready"])
        with monkeypatch.context() as patch:
            patch.setattr(servable, "trouble", overloaded)
            error = page.wait(page.upload(scan, ".nii.gz"), "failed")["error"]
        assert "overloaded" in error and "is the server running" in error and "\n" not in error
        page.wait(page.upload(scan, ".nii.gz"), "done")
