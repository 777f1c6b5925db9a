"""The page's program over HTTP: what is saved equals the command's, limits, errors in one line, cancel, kill."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal

import numpy as np
import pydicom
import pytest
import requests
from support.app_process import running
from support.dicom_files import IDENTIFIERS, save_slices, slices_of, write_study, zipped
from support.helpers import free_port, save
from support.threshold_model import striped_hu, write_threshold_model

from data_prep.labels import IDS, STRUCTURES
from data_prep.volume import read_labels
from kidney_seg.app.__main__ import main
from kidney_seg.app.entries import MOST_ENTRIES
from kidney_seg.predict.__main__ import main as predict

pytest.importorskip("tornado", reason="no extra `app`")
pytestmark = [pytest.mark.network, pytest.mark.system]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "best.keras")


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    with running(tmp_path_factory.mktemp("page") / "temporary", "--model", str(model), "--max-gb", "0.01") as page:
        yield page


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "Jane Doe.nii.gz", striped_hu()[::-1])


@pytest.fixture(autouse=True)
def empty_list(page):
    yield
    for entry in page.get("state").json()["entries"]:
        page.post(f"scans/{entry['number']}/remove")


def saved(page, number: int, ending: str) -> bytes:
    answer = page.get(f"scans/{number}/save{ending}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="scan-{number}{ending}"'
    return answer.content


def made_by_command(model, scan, folder, number: int, ending: str, *words: str) -> bytes:
    out = folder / f"scan-{number}{ending}"
    assert predict([str(model), str(scan), "--out", str(out), *words]) == 0
    return out.read_bytes()


def test_what_is_saved_equals_what_predict_writes(page, model, scan, tmp_path):
    number = page.upload(scan, ".nii.gz")
    entry = page.wait(number, "done")
    assert entry["image"]["shape"] == [5, 32, 32] and entry["has_labels"] and entry["error"] == ""
    assert saved(page, number, ".nii.gz") == made_by_command(model, scan, tmp_path, number, ".nii.gz")
    slicer = saved(page, number, ".seg.nrrd")
    assert slicer == made_by_command(model, scan, tmp_path / "slicer", number, ".seg.nrrd")
    ours, theirs = json.loads(saved(page, number, ".json")), json.loads((tmp_path / f"scan-{number}.json").read_text())
    for record in (ours, theirs):
        assert record.pop("seconds") >= 0
    assert ours == theirs
    labels = np.frombuffer(page.get(f"scans/{number}/labels.bin").content, np.uint8).reshape(5, 32, 32)
    np.testing.assert_array_equal(labels, read_labels(tmp_path / f"scan-{number}.nii.gz").voxels)
    voxels = np.frombuffer(page.get(f"scans/{number}/voxels.bin").content, "<i2").reshape(5, 32, 32)
    assert set(np.unique(voxels)) == {-100, 100, 200}


def test_numbers_and_page_are_those_of_a_folder(page, model, scan, tmp_path):
    number = page.upload(scan, ".nii.gz")
    page.wait(number, "done")
    shutil.copy(scan, tmp_path / f"scan-{number}.nii.gz")
    assert predict([str(model), str(tmp_path / f"scan-{number}.nii.gz"), "--out", str(tmp_path / "out")]) == 0
    ours = next(csv.DictReader(io.StringIO(saved(page, number, ".csv").decode())))
    theirs = next(csv.DictReader((tmp_path / "out" / "summary.csv").open()))
    assert ours.pop("seconds") and theirs.pop("seconds") and ours == theirs
    printed = page.get(f"scans/{number}/print.html")
    assert "script-src" not in printed.headers["Content-Security-Policy"]
    assert printed.text == (tmp_path / "out" / "overview.html").read_text()


def test_two_series_in_a_zip_file(page, model, tmp_path):
    archive = zipped(write_study(tmp_path / "DOE^JANE", np.repeat(striped_hu(6), 2, axis=0)), tmp_path / "study.zip")
    number = page.upload(archive, ".zip")
    entry = page.wait(number, "choosing")
    texts = [one["text"] for one in entry["choices"]]
    assert len(texts) == 2 and "portal venous" in texts[0] and "native" in texts[1]
    assert not [text for text in texts if any(word in text for word in IDENTIFIERS)]
    assert entry["choices"][0]["series"] is None and entry["choices"][1]["series"]
    assert page.post(f"scans/{number}/choose", json={"index": 7}).status_code == 400
    assert page.post(f"scans/{number}/choose", json={"index": 1}).status_code == 200
    entry = page.wait(number, "done")
    assert entry["image"]["shape"][0] == 6 and entry["is_dicom"]
    words = "--series", texts[1].split("(")[1][:8], "--dicom-seg"
    expected = made_by_command(model, archive, tmp_path, number, ".nii.gz", *words)
    assert saved(page, number, ".nii.gz") == expected
    (tmp_path / "ours.dcm").write_bytes(saved(page, number, ".dcm"))
    ours, theirs = (pydicom.dcmread(tmp_path / name) for name in ("ours.dcm", f"scan-{number}.dcm"))
    assert ours.PixelData == theirs.PixelData and ours.SegmentSequence == theirs.SegmentSequence
    assert ours.ReferencedSeriesSequence == theirs.ReferencedSeriesSequence


def test_one_series_needs_no_choice(page, tmp_path):
    archive = zipped(save_slices(tmp_path / "one", slices_of(striped_hu())), tmp_path / "one.zip")
    assert page.wait(page.upload(archive, ".zip"), "done")["is_dicom"]


def test_what_cannot_be_read_says_why_in_one_line(page, scan, tmp_path):
    mr = zipped(write_study(tmp_path / "mr", striped_hu(6), modality="MR"), tmp_path / "mr.zip")
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(scan.read_bytes()[:-200])
    noise = tmp_path / "noise.nrrd"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    for path, ending, word in (
        (mr, ".zip", "MR"),
        (damaged, ".nii.gz", ""),
        (noise, ".nrrd", ""),
        (noise, ".zip", "unzip"),
    ):
        entry = page.wait(page.upload(path, ending), "failed")
        assert entry["error"] and "\n" not in entry["error"] and word in entry["error"], entry
        assert "/" not in entry["error"].replace("and/or", "") or str(tmp_path) not in entry["error"]
    number = page.upload(scan, ".nii.gz")  # and the next one is read
    page.wait(number, "done")


def asked_by_hand(page, path: str, length: int) -> requests.Response:
    """Announce a body of `length` bytes, send none, and return the answer."""
    request = requests.Request("POST", page.address + path, headers={"Origin": page.origin}).prepare()
    request.headers["Content-Length"] = str(length)
    with requests.Session() as session:
        return session.send(request, timeout=60)


def test_limits(page, scan, tmp_path):
    def refused(answer, status: int, word: str) -> None:
        assert answer.status_code == status and word in answer.json()["error"], answer.text

    refused(page.post("upload?ending=.exe", data=b"MZ"), 400, "expected a file that ends in .nii.gz")
    refused(page.post("upload?ending=.nii", data=b""), 400, "is empty")
    refused(page.post("upload?ending=.nii", data=iter([b"a"])), 400, "Content-Length")
    refused(asked_by_hand(page, "upload?ending=.nii", 20_000_000), 413, "has 0.02 GB; expected at most 0.01 GB")
    path = page.post("upload?ending=/../../x.nii", data=b"no image")  # of a name, the ending alone counts
    assert page.wait(path.json()["number"], "failed")["kind"] == "NIfTI"
    refused(page.post("open", json={"scan": "/" + "a" * 100}), 400, "no such file or folder")
    refused(page.post("open", json={"scan": "relative/path"}), 400, "expected a whole path")
    for what in ("scan", "labels", "truth"):
        wanted = {"scan": str(scan), what: "/" + "a" * 300}
        refused(page.post("open", json=wanted), 400, "File name too long; choose a shorter name")
    refused(page.post("open", data=b"[1]"), 400, "expected a JSON object")
    refused(page.post("open", data=b"[" * 3_000), 400, "expected a JSON object")
    refused(page.post("scans/999/remove"), 404, "removed")
    refused(page.get("assets/handlers.py"), 404, "nothing")
    refused(page.get("assets/labels.py"), 404, "nothing")
    refused(page.get("..%2f..%2fetc%2fpasswd"), 404, "nothing")
    for _ in range(MOST_ENTRIES):
        page.post("open", json={"scan": str(scan)})
    refused(page.post("open", json={"scan": str(scan)}), 400, "which is the most")


def test_the_page_takes_names_and_colors_of_labels_from_the_label_table(page):
    answer = page.get("assets/labels.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    text = answer.text.removeprefix("export const LABELS = ").rstrip(";\n")
    assert json.loads(text) == {str(IDS[name]): {"name": name, "rgb": list(STRUCTURES[IDS[name]].rgb)} for name in IDS}
    for name in ("app.js", "planes.js", "pixels.js", "tables.js"):  # and holds no copy
        script = page.get(f"assets/{name}").text
        assert [row.name for row in STRUCTURES.values() if re.search(r",\s*".join(map(str, row.rgb)), script)] == []


def test_foreign_requests_get_nothing(page):
    port = page.origin.rpartition(":")[2]
    token = page.address.split("/")[3]
    wrong = token[:-1] + ("y" if token.endswith("x") else "x")
    for answer in (
        requests.get(f"http://127.0.0.1:{port}/", timeout=60),
        requests.get(f"http://127.0.0.1:{port}/{wrong}/state", timeout=60),
        requests.get(f"{page.address}state", headers={"Host": "evil.example"}, timeout=60),
        page.post("open", headers={"Origin": "https://evil.example"}, json={"scan": "/etc"}),
        requests.post(f"{page.address}open", json={"scan": "/etc"}, timeout=60),
        requests.put(f"{page.address}state", timeout=60),
        page.post("upload?ending=.nii", headers={"Origin": "https://evil.example"}, data=b"x"),
    ):
        assert answer.status_code == 403 and token not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers


def test_a_path_of_this_computer_with_its_truth(page, scan, tmp_path, model):
    folder = tmp_path / "cases" / "case_00000"
    folder.mkdir(parents=True)
    shutil.copy(scan, folder / "imaging.nii.gz")
    truth = np.zeros((5, 32, 32), np.uint8)
    truth[1:, 8:24, 8:16] = 1
    save(folder / "segmentation.nii.gz", truth[::-1])
    number = page.post("open", json={"scan": str(folder)}).json()["number"]
    page.wait(number, "done")
    found = page.get(f"scans/{number}/findings.json").json()
    assert 0 < found["dice"]["kidney with masses"] <= 1
    assert page.get(f"scans/{number}/truth.bin").content == read_labels(folder / "segmentation.nii.gz").voxels.tobytes()
    # what `predict` wrote is shown as it is, and nothing is computed
    assert predict([str(model), str(tmp_path / "cases"), "--out", str(tmp_path / "out")]) == 0
    other = page.post("open", json={"scan": str(folder), "labels": str(tmp_path / "out")}).json()["number"]
    page.wait(other, "done")
    assert page.get(f"scans/{other}/findings.json").json()["dice"] == found["dice"]
    assert saved(page, other, ".nii.gz") == (tmp_path / "out" / "case_00000.nii.gz").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["imaging.nii.gz", "segmentation.nii.gz"]
    # a truth of another scan is refused before the work
    save(folder / "segmentation.nii.gz", truth[:, ::2])
    wrong = page.post("open", json={"scan": str(folder)}).json()["number"]
    assert "do not fit the scan" in page.wait(wrong, "failed")["error"]


def test_queue_and_cancel(tmp_path):
    scan = save(tmp_path / "long.nii.gz", np.tile(striped_hu(), (60, 2, 2)))
    with running(tmp_path / "temporary") as page:  # the model that ships takes its time
        first, second, third = (page.upload(scan, ".nii.gz") for _ in range(3))
        page.wait(first, "running")
        assert [page.entry(number)["state"] for number in (second, third)] == ["waiting"] * 2
        assert page.get(f"scans/{first}/labels.bin").status_code == 404
        page.until(lambda: page.wait(first, "running")["progress"][0])
        root = next((tmp_path / "temporary").glob("kidney_seg-app-*"))
        assert page.post(f"scans/{first}/remove").status_code == 200
        assert page.entry(first) is None and not (root / f"scan-{first}").exists()
        assert page.post(f"scans/{third}/remove").status_code == 200
        page.wait(second, "running")
        assert {path.name for path in root.iterdir()} == {".lock", f"scan-{second}", "worker-3"}


def test_after_a_kill_the_next_start_removes_what_was_left(model, scan, tmp_path):
    temporary = tmp_path / "temporary"
    with running(temporary, "--model", str(model)) as page:
        page.wait(page.upload(scan, ".nii.gz"), "done")
        page.process.send_signal(signal.SIGKILL)
        page.process.wait()
        left = [path.name for path in temporary.glob("kidney_seg-app-*")]
        assert len(left) == 1
    with running(temporary, "--model", str(model)) as page:
        assert [path.name for path in temporary.glob("kidney_seg-app-*")] != left
        assert page.get("state").json()["entries"] == []


def test_its_log_holds_no_name_and_no_token(model, scan, tmp_path):
    with running(tmp_path / "temporary", "--model", str(model)) as page:
        page.wait(page.upload(scan, ".nii.gz"), "done")
        page.get("nothing/here")
        page.post("open", json={"scan": str(scan.with_name("absent Doe.nii"))})
        token = page.address.split("/")[3]
    text = (tmp_path / "temporary.log").read_text()
    assert token not in text and "Doe" not in text and not re.search(r"Traceback|\d{3} GET", text), text


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    busy = free_port()
    for words, part in (
        (["--model", str(tmp_path / "none.keras")], "none.keras"),
        (["--port", "70000"], "expected 0 to 65535"),
        (["--max-gb", "0"], "--max-gb 0"),
        (["--server", f"http://127.0.0.1:{busy}"], str(busy)),
        (["--set", "nothing=1"], "nothing"),
    ):
        assert main(["--no-browser", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("error: ") and part in line], lines
