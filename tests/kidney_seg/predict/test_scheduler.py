"""Scans predicted by the workers of a Dask scheduler: the same files as one process makes."""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import pytest
from support.batches import made_in
from support.helpers import on_a_cluster_that_loses_a_worker, save, second_worker_died
from support.threshold_model import striped_hu, write_threshold_model

from data_prep.parallel.tasks import absolute
from kidney_seg.predict import batch, engines
from kidney_seg.predict.__main__ import main

pytestmark = pytest.mark.network

SCANS = 10


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, scans of which one is damaged, and what one process predicts of them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_threshold_model(folder / "best.keras")
    for number in range(SCANS):
        (folder / f"cases/case_{number:05d}").mkdir(parents=True)
        image = save(folder / f"cases/case_{number:05d}/imaging.nii.gz", striped_hu(40 + number, 128)[::-1])
    without = nib.Nifti1Image(striped_hu(40, 128), None)  # nothing said of orientation
    nib.save(without, folder / "cases/case_00000/imaging.nii.gz")
    image.write_bytes(image.read_bytes()[:-40])
    assert main([str(folder / "best.keras"), str(folder / "cases"), "--out", str(folder / "one")]) == 2
    return folder


def test_a_process_opens_the_network_once_and_a_task_that_is_given_up_costs_its_scan_only(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = []

    def opening(*arguments):
        opened.append(arguments)
        return open_predictor(*arguments)

    @contextmanager
    def died(function, tasks, *, jobs, scheduler):
        assert scheduler == "tcp://node1:8786"
        sent = [pickle.loads(pickle.dumps(absolute(task))) for task in tasks]
        monkeypatch.chdir("/")  # a worker's folder is another
        with second_worker_died(function, sent) as results:
            yield results
        monkeypatch.chdir(undisturbed)

    open_predictor = engines.open_predictor
    monkeypatch.setattr(engines, "open_predictor", opening)
    monkeypatch.setattr(batch, "run", died)
    monkeypatch.chdir(undisturbed)
    out = Path(os.path.relpath(tmp_path / "parts"))
    command = ["best.keras", "cases", "--out", str(out), "--scheduler", "tcp://node1:8786"]
    assert main(command) == 2
    told = capsys.readouterr()
    failed = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert failed[0] == "error: case_00001: its task failed (KilledWorker: 4 times); run again: finished scans are kept"
    assert len(failed) == 2 and failed[1].startswith(f"error: case_{SCANS - 1:05d}: ") and "truncated" in failed[1]
    assert (
        f"{out}/case_00000.nii.gz: kidney" in told.out and f"{SCANS - 2} label volumes in {out}, 2 failed" in told.out
    )
    assert "note: case_00000: the header has no orientation" in told.err
    assert len(opened) == 1
    expected = {name: content for name, content in made_in(undisturbed / "one").items() if "00001" not in name}
    made = {name: content for name, content in made_in(out).items() if "00001" not in name}
    tables = ("summary.csv", "overview.html")
    assert all(made.pop(name) != expected.pop(name) for name in tables) and made == expected
    assert "case_00001,failed" in (out / "summary.csv").read_text()


@pytest.mark.slow
def test_a_cluster_with_a_worker_killed_in_the_middle_makes_the_files_of_one_process(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    command = ["kidney_seg.predict", str(undisturbed / "best.keras"), str(undisturbed / "cases"), "--out", str(out)]
    made = lambda: len(list(out.glob("case_*.nii.gz")))  # noqa: E731
    code, said = on_a_cluster_that_loses_a_worker(command, made, 1, SCANS - 1)
    assert code == 2, said[-2000:]
    failed = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(failed) == 1 and f"case_{SCANS - 1:05d}" in failed[0] and "truncated" in failed[0]
    assert made_in(out) == made_in(undisturbed / "one")
