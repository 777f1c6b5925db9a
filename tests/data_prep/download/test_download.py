"""Downloads from a server that misbehaves: in the end equal bytes, or one line for what is missing."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.bad_server import serving

from data_prep.datasets.kits import find_cases
from data_prep.download.__main__ import main
from data_prep.download.cases import download_kits
from data_prep.download.records import Known, downloaded, provenance
from data_prep.download.sources import IMAGES, SOURCES, choose_cases
from data_prep.download.transfer import Retry, Stopped
from data_prep.errors import InputError
from data_prep.origin import Origin
from data_prep.phantom.cohort import write_cohort


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Three simulated patients in KiTS' layout, as a server has them."""
    root = tmp_path_factory.mktemp("published")
    write_cohort(root, cases=3, size=64, slices=16)
    for number, path in enumerate(sorted(root.glob("case_*"))):
        path.rename(root / f"case_{number:05d}")
    return root


KILLS = 20


def fetched(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("case_*/[!.]*.nii.gz"))}


def get(address: str, out: Path, **how):
    return download_kits("kits23", out, [0, 1, 2], accept_license=True, mirror=address, retry=Retry(4, 0.001), **how)


def test_equal_files_with_records(published, tmp_path):
    with serving(published) as (address, _):
        outcome = get(address, tmp_path / "KITS")
        assert (outcome.made, outcome.kept, outcome.missing) == (6, 0, [])
        assert fetched(tmp_path / "KITS") == fetched(published)
        again = get(address, tmp_path / "KITS")
    assert (again.made, again.kept, again.missing) == (0, 6, [])
    table = json.loads((tmp_path / "KITS" / "checksums.json").read_text())["files"]
    assert table["case_00000/imaging.nii.gz"]["voxels"] == table["case_00000/segmentation.nii.gz"]["voxels"]
    whole = json.loads((tmp_path / "KITS" / "provenance.json").read_text())
    assert whole["dataset"] == "kits23"
    assert whole["labels_commit"] is whole["labels_revision"] is None  # this mirror has no records of its own
    assert whole["cases"]["case_00001"]["imaging.nii.gz"] == f"{address}/case_00001/imaging.nii.gz"
    assert "CC BY-NC-SA 4.0" in (tmp_path / "KITS" / "LICENSE.txt").read_text()
    assert [case.name for case in find_cases(tmp_path / "KITS")[0]] == ["case_00000", "case_00001", "case_00002"]


@pytest.mark.parametrize(
    "moods",
    [
        ["cut", "cut", "cut", "cut", "cut", "cut"],
        [500, 503, "drop"],
        ["later", "later"],
        ["redirect"],
        ["linked"],
        ["mislinked"],
        ["trickle"],
        ["garbage"],
        ["cut", "garbage"],
        ["long"],
        ["slow"],
        ["cut", "no_ranges"],
        ["no_mark"],
        ["cut", "liar", "cut"],
    ],
    ids=str,
)
def test_troubles_that_pass(published, tmp_path, moods, monkeypatch):
    monkeypatch.setattr("data_prep.download.transfer.STALL_S", 0.3)
    with serving(published) as (address, orders):
        orders.moods["/case_00001/imaging.nii.gz"] += moods
        outcome = get(address, tmp_path / "KITS", jobs=2)
    assert outcome.missing == [] and fetched(tmp_path / "KITS") == fetched(published)
    assert not list((tmp_path / "KITS").rglob(".part-*"))


def test_a_cut_file_goes_on_where_it_ended(published, tmp_path):
    path = "/case_00001/imaging.nii.gz"
    with serving(published) as (address, orders):
        orders.moods[path] += ["cut", "cut"]
        get(address, tmp_path / "KITS")
    size = (published / path[1:]).stat().st_size
    ranges = [asked for where, asked in orders.asked if where == path]
    assert ranges == [None, f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]


def test_a_file_that_changes_under_a_resumed_download(published, tmp_path):
    server = tmp_path / "server"
    shutil.copytree(published, server)
    with serving(server) as (address, orders):
        path = "/case_00001/imaging.nii.gz"
        orders.always[path] = "cut"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("data_prep.download.transfer.Retry.wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                get(address, tmp_path / "KITS", jobs=1)
        assert (tmp_path / "KITS/case_00001/.part-imaging.nii.gz").stat().st_size > 0
        assert not (tmp_path / "KITS/case_00001/imaging.nii.gz").exists()
        shutil.copy(server / "case_00002/imaging.nii.gz", server / path[1:])
        del orders.always[path]
        assert get(address, tmp_path / "KITS").missing == []
    assert fetched(tmp_path / "KITS") == fetched(server)


@pytest.mark.parametrize(
    ("mood", "told"),
    [
        (404, "the server answers 404 Not Found"),
        (403, "the server answers 403 Forbidden"),
        (500, r"the server answers 500 \(\d+ tries\)"),
        ("drop", r"no connection to 127.0.0.1, or it was cut \(\d+ tries\)"),
        ("garbage", r"what the server sends is no whole image \(not a NIfTI-1 file"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_one_line(published, tmp_path, mood, told):
    with serving(published) as (address, orders):
        orders.always["/case_00001/imaging.nii.gz"] = mood
        outcome = get(address, tmp_path / "KITS")
    (line,) = outcome.missing
    assert re.match(f"case_00001/imaging.nii.gz: {told}", line)
    assert outcome.made == 5 and set(fetched(published)) - set(fetched(tmp_path / "KITS")) == {
        "case_00001/imaging.nii.gz"
    }


def test_a_case_of_which_nothing_came_leaves_no_folder(published, tmp_path):
    out = tmp_path / "KITS"
    outcome = download_kits(
        "kits23", out, [2, 7], accept_license=True, mirror=published.as_uri(), retry=Retry(1, 0.001)
    )
    assert len(outcome.missing) == 2 and [path.name for path in sorted(out.glob("case_*"))] == ["case_00002"]
    assert [case.name for case in find_cases(out)[0]] == ["case_00002"]


def test_other_sizes_of_image_and_labels(published, tmp_path):
    shutil.copytree(published, tmp_path / "server")
    (other,) = write_cohort(tmp_path / "other", cases=1, size=32, slices=8)
    shutil.copy(other / "segmentation.nii.gz", tmp_path / "server/case_00002/segmentation.nii.gz")
    outcome = get((tmp_path / "server").as_uri(), tmp_path / "KITS")
    (line,) = outcome.missing
    assert re.fullmatch(r"case_00002: image and labels have \S+ x .* voxels; remove both and run this again", line)


def test_a_folder_as_mirror_and_files_that_were_there(published, tmp_path):
    own = tmp_path / "KITS" / "case_00000"
    own.mkdir(parents=True)
    shutil.copy(published / "case_00000/imaging.nii.gz", own)
    whole = (published / "case_00000/segmentation.nii.gz").read_bytes()
    (own / "segmentation.nii.gz").write_bytes(whole[:-20])
    outcome = get(published.as_uri(), tmp_path / "KITS")
    assert (outcome.made, outcome.kept) == (4, 1)
    (line,) = outcome.missing
    assert line.startswith("case_00000/segmentation.nii.gz: is here, but the file is truncated") and "remove it" in line
    assert (own / "segmentation.nii.gz").read_bytes() == whole[:-20]  # a user's file is never replaced


@pytest.mark.slow
def test_killed_at_random_moments(published, tmp_path):
    words = [sys.executable, "-m", "data_prep.download", "kits23", "--cases", "0-2", "--accept-license"]
    shutil.copytree(published, tmp_path / "server")
    for path in (tmp_path / "server").glob("case_*/imaging.nii.gz"):  # long enough to be killed within
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    with serving(tmp_path / "server") as (address, orders):
        for path in (tmp_path / "server").glob("case_*/*"):
            orders.always["/" + str(path.relative_to(tmp_path / "server"))] = "slow"
        chance = random.Random(4)
        for _ in range(KILLS):
            child = subprocess.Popen(
                [*words, "--out", str(tmp_path / "KITS"), "--mirror", address, "--jobs", "2"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            begun, before = time.monotonic(), len(orders.asked)
            while len(orders.asked) == before and child.poll() is None and time.monotonic() - begun < 30:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.4))
            child.kill()
            child.wait()
            for path in (tmp_path / "KITS").glob("case_*/[!.]*"):
                assert path.read_bytes() == (tmp_path / "server" / path.relative_to(tmp_path / "KITS")).read_bytes()
        assert get(address, tmp_path / "KITS").missing == []
    assert fetched(tmp_path / "KITS") == fetched(tmp_path / "server")


def test_ctrl_c_ends_soon_and_keeps_what_was_received(published, tmp_path):
    with serving(published) as (address, orders):
        orders.always["/case_00000/imaging.nii.gz"] = 503
        retry = Retry(tries=100, pause_s=60.0)
        threading.Timer(0.5, retry.stop.set).start()
        begun = time.monotonic()
        with pytest.raises(Stopped):
            download_kits("kits23", tmp_path / "K", [0], accept_license=True, mirror=address, retry=retry)
        assert time.monotonic() - begun < 20


def test_command(published, tmp_path, capsys):
    words = ["kits23", "--out", str(tmp_path / "KITS"), "--cases", "0,1", "--mirror", published.as_uri()]
    assert main(words) == 2
    assert "CC BY-NC-SA 4.0" in (told := capsys.readouterr().err) and "--accept-license" in told
    assert not (tmp_path / "KITS").exists()
    assert main([*words, "--accept-license"]) == 0
    told = capsys.readouterr().out
    assert re.match(
        r"KiTS23, version 0.1.3: 2 cases, 2 of them to download, about 0.2 GB \(\d+.\d GB are free\) and 1 minute at",
        told,
    )
    assert "Please cite" in told and "4 files made, 0 kept, 0 missing (cases 0-1)" in told
    assert main([*words, "--accept-license"]) == 0  # accepted before: not shown again
    told = capsys.readouterr().out
    assert told.startswith("KiTS23, version 0.1.3: 2 cases, 0 of them to download\n") and "Please cite" not in told
    assert main(words) == 0
    (tmp_path / "KITS/case_00001/imaging.nii.gz").unlink()
    capsys.readouterr()
    assert main([*words[:-1], (tmp_path / "nothing").as_uri()]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {tmp_path / 'nothing'}: no such folder; expected an address such as")
    (tmp_path / "nothing").mkdir()
    assert main([*words[:-1], (tmp_path / "nothing").as_uri()]) == 1
    assert "missing: case_00001/imaging.nii.gz: No such file or directory" in capsys.readouterr().err
    assert main(["kits19", *words[1:]]) == 2
    assert "holds kits23; expected kits19" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x", "3-", "700", "0-9,,2", "9-3", "1-99999999999"])
def test_bad_cases(text, tmp_path, capsys):
    assert main(["kits19", "--out", str(tmp_path / "K"), "--cases", text, "--accept-license"]) == 2
    assert capsys.readouterr().err.startswith(f"error: --cases {text!r}: ")


def test_a_foreign_file_is_not_replaced(published, tmp_path):
    for name in ("checksums.json", "provenance.json", "LICENSE.txt"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text('{"mine": 1}')
        with pytest.raises(InputError) as caught:
            get(published.as_uri(), folder)
        assert caught.value.code == "foreign" and (folder / name).read_text() == '{"mine": 1}'


def test_a_small_disk(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(InputError, match="489 cases need about 49 GB, 1 GB are free") as caught:
        download_kits("kits23", tmp_path / "K", accept_license=True)
    assert caught.value.code == "disk_space" and not (tmp_path / "K").exists()


def test_a_small_disk_and_a_mirror_whose_sizes_are_known(published, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)
    needed = sum(path.stat().st_size for path in published.glob("case_*/*.nii.gz"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: free._replace(free=needed - 1))
    with pytest.raises(InputError, match="3 cases need about 0 GB, 0 GB are free"):
        get(published.as_uri(), tmp_path / "K")
    monkeypatch.setattr("shutil.disk_usage", lambda path: free._replace(free=needed))
    assert get(published.as_uri(), tmp_path / "K").made == 6


def test_published_facts():
    assert [len(SOURCES[name].cases) for name in ("kits19", "kits21", "kits23")] == [300, 300, 489]
    assert 300 not in SOURCES["kits23"].cases and choose_cases(SOURCES["kits23"], None)[-1] == 588
    for source in SOURCES.values():
        assert re.fullmatch("[0-9a-f]{40}", source.commit)
        files = source.files(160)
        assert files["imaging.nii.gz"][0].endswith("/images/case_00160.nii.gz") and len(IMAGES) == 2
        (labels,) = files[source.label_file]
        assert re.fullmatch(rf"https://[\w./-]+/{source.commit}/[\w/]+/case_00160/\w+\.nii\.gz", labels)
        for name, address in source.extra_files().items():
            assert re.fullmatch(rf"https://[\w./-]+/{source.name}/{source.commit}/[\w/]*{re.escape(name)}", address)
        assert "changelog.md" in source.extra_files()
    assert list(SOURCES["kits19"].files(250)) == ["imaging.nii.gz"]


def test_a_proxy_from_the_environment_is_asked(published, tmp_path, monkeypatch):
    with serving(published) as (address, orders):
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        outcome = get("http://no.such.host.invalid/mirror", tmp_path / "KITS")
    assert outcome.missing and any(path.startswith("http://no.such.host.invalid/mirror/") for path, _ in orders.asked)


def test_full_disk_ends_it(published, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, os.strerror(28), str(tmp_path / "KITS/case_00000/x"))

    monkeypatch.setattr("data_prep.download.transfer.fetch", full)
    with pytest.raises(OSError, match="No space left"):
        get(published.as_uri(), tmp_path / "KITS")


def test_a_cache_knows_which_labels_were_downloaded(tmp_path):
    source = SOURCES["kits23"]
    labels = {f"case_{number:05d}/segmentation.nii.gz": Known(1, "", (1, 1, 1), "", source.commit) for number in (0, 1)}
    for files, told in (
        (labels, "labels: version 0.1.3, commit e282208"),
        (labels | {"case_00002/segmentation.nii.gz": Known(1, "", (1, 1, 1), "")}, "labels: of an unknown revision"),
    ):
        (tmp_path / "provenance.json").write_text(json.dumps({"kidney_seg_provenance": 1} | provenance(source, files)))
        found = downloaded(tmp_path, Origin("kits19"))  # by their numbers alone they could be KiTS19's
        assert (found.kind, str(found)) == ("kits23", f"KiTS23 patients ({told})")
    assert downloaded(tmp_path / "elsewhere", Origin("kits19")) == Origin("kits19")


def test_a_mirror_that_was_downloaded_proves_its_files(published, tmp_path):
    shutil.copytree(published, tmp_path / "server")
    first, commit = tmp_path / "server", SOURCES["kits23"].commit
    get(first.as_uri(), first)  # makes the records of a folder that has the files
    for name in ("checksums.json", "provenance.json"):  # as if they were from the challenge's repository
        content = json.loads((first / name).read_text())
        for file, known in content.get("files", {}).items():
            known["labels_commit"] = commit if "segmentation" in file else ""
        (first / name).write_text(json.dumps(content))
    (first / "changelog.md").write_text("# KiTS23 Changelog")
    (first / "case_00001/imaging.nii.gz").write_bytes((first / "case_00002/imaging.nii.gz").read_bytes())
    outcome = get(first.as_uri(), tmp_path / "K")
    (line,) = outcome.missing
    assert re.match(
        r"case_00001/imaging.nii.gz: another version than checksums.json lists \(SHA-256 [0-9a-f]{12}, ", line
    )
    whole = json.loads((tmp_path / "K/provenance.json").read_text())
    assert (whole["labels_commit"], whole["labels_revision"]) == (commit, "version 0.1.3")
    assert whole["cases"]["case_00001"]["labels_commit"] == commit
    assert (tmp_path / "K/changelog.md").read_text() == "# KiTS23 Changelog"
    with pytest.raises(InputError, match="holds kits23; expected kits19"):
        download_kits("kits19", tmp_path / "L", [0], accept_license=True, mirror=first.as_uri())


def test_a_file_of_another_version_than_was_recorded(published, tmp_path):
    shutil.copytree(published, tmp_path / "server")
    path = "case_00001/imaging.nii.gz"
    get((tmp_path / "server").as_uri(), tmp_path / "K")
    (tmp_path / "K" / path).unlink()
    shutil.copy(published / "case_00002/imaging.nii.gz", tmp_path / "server" / path)
    (line,) = get((tmp_path / "server").as_uri(), tmp_path / "K").missing
    assert (
        line.startswith(f"{path}: another version than checksums.json lists") and not (tmp_path / "K" / path).exists()
    )
    listed = json.loads((tmp_path / "K/checksums.json").read_text())
    del listed["files"][path]
    (tmp_path / "K/checksums.json").write_text(json.dumps(listed))
    assert get((tmp_path / "server").as_uri(), tmp_path / "K").missing == []


@pytest.mark.parametrize("text", ["nonsense", "ftp://a/b", "http://", "file://host/b", "", "/data/KITS"])
def test_a_mirror_that_is_no_address_is_one_line(tmp_path, text, capsys):
    words = ["kits23", "--out", str(tmp_path / "K"), "--cases", "0", "--accept-license", "--mirror", text]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: --mirror {text}: expected an address such as")
    assert not (tmp_path / "K").exists()


def test_a_pause_that_the_server_asks_for(published, tmp_path):
    with serving(published) as (address, orders):
        orders.moods["/case_00000/imaging.nii.gz"] += ["busy", "busy"]
        began = time.monotonic()
        assert get(address, tmp_path / "K").missing == []
    assert 2 <= time.monotonic() - began < 20


def test_a_host_that_is_silent_is_not_waited_for_with_every_file(published, tmp_path, monkeypatch):
    waits, told = [], []
    monkeypatch.setattr("data_prep.download.transfer.Retry.wait", lambda self, seconds: waits.append(seconds))
    with serving(published) as (address, _):
        pass  # nobody listens there any more
    retry = Retry(4, 1.0, told=told.append)
    numbers = range(40)
    outcome = download_kits("kits23", tmp_path / "K", numbers, accept_license=True, mirror=address, jobs=1, retry=retry)
    assert len(outcome.missing) == 2 * len(numbers) and set(told) == {"no connection to 127.0.0.1, or it was cut"}
    assert sum(seconds >= 2 for seconds in waits) < 20  # 3 for the first file, and those of the records


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("http://", "the proxy for no.such.host.invalid is no address; see http_proxy, https_proxy and all_proxy"),
        ("http://127.0.0.1:1", "the proxy does not connect to no.such.host.invalid; see http_proxy"),
        ("socks5://127.0.0.1:1", "the proxy for no.such.host.invalid is a SOCKS one, which needs the package pysocks"),
    ],
)
def test_a_proxy_that_is_none_is_named(tmp_path, monkeypatch, proxy, told):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    lines = get("http://no.such.host.invalid/mirror", tmp_path / "KITS").missing
    assert len(lines) == 6 and all(line.partition(": ")[2].startswith(told) for line in lines), lines
