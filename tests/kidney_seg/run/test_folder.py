"""The run folder: what it refuses, what it keeps, what it notices."""

from __future__ import annotations

import json

import pytest

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.run import layout
from kidney_seg.run.folder import RunFolder
from kidney_seg.run.journal import AttemptTrained, ModelWritten, RoundPlayed

IDENTITY = {"seed": 1, "data_sha256": "d", "split_sha256": "s", "data": "somewhere"}


class Weights:
    """Stands in for a network: its weights are one text."""

    def __init__(self, text: str = ""):
        self.text = text

    def save_weights(self, path):
        path.write_text(self.text)

    def load_weights(self, path):
        self.text = path.read_text()


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run", Config(), IDENTITY)
    yield folder
    folder.close()


def test_new_folder_holds_settings_and_manifest(run):
    assert Config.from_dict(json.loads((run.root / "config.json").read_text())) == Config()
    manifest = json.loads((run.root / "manifest.json").read_text())
    assert manifest["seed"] == 1 and manifest["versions"]["tensorflow"].startswith("2.")


def test_a_run_goes_on_with_other_devices_but_not_with_another_batch(run):
    run.close()
    RunFolder(run.root, Config().with_settings(["devices=all"]), IDENTITY).close()
    with pytest.raises(InputError, match=r"settings \(batch_size: 8 -> 16\)"):
        RunFolder(run.root, Config().with_settings(["devices=all", "batch_size=16"]), IDENTITY)


def test_journal_is_there_after_reopening(run):
    run.journal.note(AttemptTrained(0, 0, steps=4, history=[{"steps": 4, "loss": 0.5}]))
    run.close()
    again = RunFolder(run.root, Config(), IDENTITY)
    assert again.journal.last(AttemptTrained, round=0, attempt=0).steps == 4
    again.write_history(0)
    assert (again.root / layout.history(0)).read_text().splitlines() == ["round,start,step,steps,loss", "0,0,4,4,0.5"]
    again.close()


def test_other_settings_seed_or_data_are_refused_with_what_differs(run):
    run.close()
    with pytest.raises(InputError, match=r"alpha: 0.7 -> 0.6"):
        RunFolder(run.root, Config().with_settings(["alpha=0.6"]), IDENTITY)
    with pytest.raises(InputError, match=r"seed: 1 -> 2"):
        RunFolder(run.root, Config(), IDENTITY | {"seed": 2})
    with pytest.raises(InputError, match=r"data_sha256: 'd' -> 'e'"):
        RunFolder(run.root, Config(), IDENTITY | {"data_sha256": "e"})
    with pytest.raises(InputError, match=r"pretrained_sha256: None -> 'p'"):
        RunFolder(run.root, Config(), IDENTITY | {"pretrained_sha256": "p"})
    RunFolder(run.root, Config(), IDENTITY | {"data": "moved elsewhere"}).close()


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no run"):
        RunFolder(tmp_path, Config(), IDENTITY)
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt", Config(), IDENTITY)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_second_process_is_kept_out(run):
    with pytest.raises(InputError, match="another process"):
        RunFolder(run.root, Config(), IDENTITY)


def test_weights_are_checked_when_loaded(run):
    record = AttemptTrained(2, 0, **run.save_weights(Weights("good"), 2, 0))
    loaded = Weights()
    run.load_weights(loaded, record)
    assert loaded.text == "good"
    (run.root / record.weights).write_text("evil")
    with pytest.raises(InputError, match="damaged"):
        run.load_weights(loaded, record)
    (run.root / record.weights).unlink()
    with pytest.raises(InputError, match="missing"):
        run.load_weights(loaded, record)


def test_damaged_journal_is_named(run):
    run.journal.note(ModelWritten("s"))
    run.close()
    path = run.root / "journal.jsonl"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(InputError, match=r"journal\.jsonl: damaged"):
        RunFolder(run.root, Config(), IDENTITY)


@pytest.mark.parametrize(
    ("warm_start", "damaged", "kept"),
    [("best", (0, 1), 1), ("best", (1, 0), 6), ("last", (1, 0), 3), ("best", (2, 0), 5), ("best", None, 6)],
)
def test_damaged_weights_take_the_run_back_to_before_they_were_trained(run, warm_start, damaged, kept):
    """Two starts, the second accepted; a rejected round; an attempt of the next. `kept`: events that still count."""
    journal, made = run.journal, {}
    for place in ((0, 0), (0, 1), None, (1, 0), None, (2, 0)):
        if place:
            made[place] = journal.note(AttemptTrained(*place, **run.save_weights(Weights(str(place)), *place)))
            last = made[place]
        else:
            journal.note(
                RoundPlayed(last.round, last.round == 0, last.attempt, weights=last.weights, sha256=last.sha256)
            )
    if damaged:
        (run.root / made[damaged].weights).write_text("evil")
    log = []
    run.take_back_damaged(warm_start, log.append)
    assert len(journal.events) == kept and len(log) == (kept < 6)
    run.close()
    again = RunFolder(run.root, Config(), IDENTITY)
    assert again.journal.events == journal.events
    again.close()
