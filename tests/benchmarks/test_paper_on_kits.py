"""The paper's experiment: arms that differ in one thing, journals, tables from them, and trainings that resume."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.helpers import SMALLEST, write_cache

from benchmarks.paper_on_kits import __main__ as experiment
from benchmarks.paper_on_kits import arms, journals, patients
from benchmarks.paper_on_kits.arms import ARMS, METHOD, STEPS, find_names, make_arm
from benchmarks.paper_on_kits.journals import SCORES, Journal, Plan, plan_of, read_journal, read_journals
from benchmarks.paper_on_kits.tables import matched, means, tables
from benchmarks.real_slices.arms import CohortSettings
from benchmarks.real_slices.training import prepare
from benchmarks.support.page import marks, read_place
from data_prep.cache.manifest import read_manifest
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json, write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.cohort import write_cohort
from data_prep.split.sets import read_split
from kidney_seg.config.run_config import differences
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.progressive.planning import plan_attempt
from kidney_seg.training.stop_request import Stopped

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "paper_and_code.md"
KEPT = ROOT / "benchmarks" / "paper_on_kits" / "journals"
NAME = "benchmarks.paper_on_kits"
BEGIN, END = marks(NAME)
ROUNDS = ("start_steps", "steps", "max_rounds", "patience")
GRID = ("size", "width_factor")
TINY = [*SMALLEST, "width_factor=0.05", "batch_size=2", "checkpoint_seconds=0"]


def settings_changed(name: str, other: str) -> set[str]:
    return {
        text.partition(":")[0] for text in differences(make_arm(other, STEPS).config(), make_arm(name, STEPS).config())
    }


def test_every_arm_has_the_same_steps_and_differs_by_what_it_says():
    for name, change in ARMS.items():
        rounds = make_arm(name, STEPS).config().rounds
        assert rounds.start_steps + rounds.max_rounds * rounds.steps == STEPS
        assert (rounds.starts, rounds.retries) == (1, 0) and rounds.patience > rounds.max_rounds  # all are played
        assert change.group in arms.GROUPS and change.against in ARMS
        base = ARMS[change.against]
        stated = {text.partition("=")[0] for text in set(change.settings) ^ set(base.settings)}
        stated |= set(ROUNDS[:3]) if change.rounds != base.rounds else set()
        stated |= set(GRID) if change.size != base.size else set()
        assert settings_changed(name, change.against) - {"patience"} == stated, name
        data_differs = (change.patients, change.simulated) != (base.patients, base.simulated)
        assert bool(stated) != data_differs or name == METHOD, name  # one change each
    assert settings_changed("no-gates", METHOD) == {"gates"}
    assert make_arm("one-training", 100).config().rounds.start_steps == 100


def test_arms_are_found_by_group_in_the_order_of_work():
    assert find_names(["paper"])[:2] == [METHOD, "one-training"] and len(find_names(["paper"])) == 8
    assert find_names(["size", "no-gates", METHOD]) == [METHOD, "no-gates", "method-256", "one-training-256"]
    with pytest.raises(InputError, match="--arms nonsense: expected groups"):
        find_names(["paper", "nonsense"])
    with pytest.raises(InputError, match="--steps 12: expected a multiple of 5"):
        make_arm(METHOD, 12)


def test_arms_draw_the_same_patients_and_samples(tmp_path):
    label = np.zeros((4, 16, 16), np.uint8)
    label[:, 4:12, 4:12], label[1:, 6:9, 6:9] = 1, 2
    cases = {f"case_{number:05d}": (np.zeros(label.shape, np.int16), label) for number in range(6)}
    manifest = write_cache(tmp_path, cases)
    store, names = SliceStore(manifest, manifest.entries, 1.0), list(cases)

    def drawn(name: str, place: tuple[int, int]):
        attempt = plan_attempt(make_arm(name, 50).config(), 3, store, names, place)
        return attempt.patients, [vars(samples) for samples in attempt.samples]

    equal = [name for name in find_names(["paper"]) if name not in (METHOD, "one-training")]
    assert len(equal) == 6
    for place in ((0, 0), (1, 0), (4, 0)):
        expected = drawn(METHOD, place)
        for name in equal:
            found = drawn(name, place)
            assert found[0] == expected[0]
            np.testing.assert_equal(found[1], expected[1])
    assert drawn(METHOD, (1, 0))[0] != drawn(METHOD, (2, 0))[0]  # rounds differ


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder of twelve simulated patients."""
    folder = tmp_path_factory.mktemp("data") / "runs"
    write_cohort(folder, cases=12, size=32, slices=8)
    return folder


@pytest.fixture(scope="module")
def cache(runs, tmp_path_factory) -> Path:
    return prepare(str(runs), tmp_path_factory.mktemp("out"), GridSettings(32))


def test_fewer_patients_are_nested_and_the_others_stay(cache, tmp_path):
    manifest, whole = read_manifest(cache), patients.fold_file(cache, 1)
    assert patients.fewer(whole, cache, 1, None, tmp_path) == whole
    sets = {n: read_split(patients.fewer(whole, cache, 1, n, tmp_path), manifest) for n in (2, 4)}
    full = read_split(whole, manifest)
    assert set(sets[2]["train"]) < set(sets[4]["train"]) < set(full["train"])
    assert [len(own["train"]) for own in sets.values()] == [2, 4]
    assert all(own[part] == full[part] for own in sets.values() for part in ("validation", "test"))
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.iterdir())
    patients.fewer(whole, cache, 1, 2, tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.iterdir()) == before
    with pytest.raises(InputError, match="training patients; expected 60 or more"):
        patients.fewer(whole, cache, 1, 60, tmp_path)


def test_simulated_patients_beside_real_ones_are_for_training_alone(runs, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(patients, "SIMULATED", CohortSettings(1, 32, 5.0, "wild", cases=3))
    whole = patients.fold_file(cache, 0)
    few = patients.fewer(whole, cache, 0, 4, tmp_path / "splits")
    for split in (whole, few):
        mixed, file = patients.beside(str(runs), cache, split, tmp_path, GridSettings(32), 1)
        manifest = read_manifest(mixed)
        found, real = read_split(file, manifest), read_split(split, read_manifest(cache))
        assert found["train"] == [*real["train"], "case_90000", "case_90001", "case_90002"]
        assert (found["validation"], found["test"]) == (real["validation"], real["test"])
        assert len(manifest.entries) == 12 + 3
    assert len(list((tmp_path / "splits").glob("with-simulated-*.json"))) == 2


def journal(arm: str, fold: int, dice: dict[str, tuple], seed: int = 0, steps: int = 50, **more) -> Journal:
    """Return the journal of a training that was not done, on test patients with these SCORES."""
    plan = plan_of(make_arm(arm, steps), fold, seed, steps, ())
    change = ARMS[arm]
    against = "" if change.against == arm else change.against
    made = Journal(
        plan, change.why, change.group, against, steps, 90.0, 0, 0.0, 8, "a processor, 2 cores", 2,
        {"tensorflow": "2.20.0"}, "d" * 8, "s" * 8, None, [{"score": 0.5, "accepted": True, "trouble": None}], dice,
    )  # fmt: skip
    return replace(made, **more)


def keep(folder: Path, *made: Journal) -> Path:
    for one in made:
        write_json(folder / one.plan.file, {"schema": 1, **journals.asdict(one)})
    return folder


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the cells of the tables by the first of a row; of several rows, the first one."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(name, cells)
    return found


def test_tables_are_those_computed_by_hand(tmp_path):
    first = {"case_00000": (0.8, 0.2, 0.9, 0.4), "case_00001": (0.6, 0.4, 0.7, 0.6)}
    second = {"case_00002": (0.7, 0.0, 0.8, None), "case_00003": (1.0, 0.6, 1.0, 0.6)}
    lower = {name: tuple(None if x is None else round(x - 0.1, 3) for x in own) for name, own in first.items()}
    made = [
        journal("no-gates", 0, lower, trouble="almost no tumor is predicted"),
        journal(METHOD, 0, first),
        journal(METHOD, 1, second),
        journal(METHOD, 0, {"case_00000": (0, 0, 0, 0)}, steps=100),
    ]
    folder = keep(tmp_path, *made)
    assert read_journals(folder) == [made[1], made[2], made[3], made[0]]  # in the order of the arms
    text = tables(read_journals(folder))
    rows = rows_of(text)
    assert rows["the paper, 40 whole scans"] == [".953", ".572", ".763"]
    kidney, tumor, average = rows["the method on stacks, post-processed"]
    assert kidney.startswith(".850 [") and tumor.startswith(".533 [") and average == ".692"
    assert rows["the method on stacks, as predicted"][1].startswith(".300 [")
    assert "4 test patients" not in text  # one of them has no tumor
    assert "3 test patients, folds 0, 1, seed 0, 50 steps" in text
    # both patients lose exactly .1: the interval has no width
    same = "**-.100 [-.100, -.100]**"
    assert rows["`no-gates`"] == ["no attention gates", "`method`", "1", "2", ".700", same, ".400", same, "1"]
    assert rows["`method`"][:5] == ["the paper's method", "", "2", "3", ".850"]
    before = rows["`method, as predicted`"]
    assert before[:3] == ["no post-processing", "`method`", "2"] and before[5] == "-.075 [-.100, +.000]"
    line = "python -m benchmarks.paper_on_kits STACKS --out OUT --arms no-gates --folds 0 --seeds 0 --steps 50"
    assert line in text.splitlines()
    assert line.replace("no-gates", "method").replace("--folds 0", "--folds 0 1") in text.splitlines()
    assert "| `no-gates` | 1 | 8 | 50 | 0.0 | 0 | 0 |" in text
    assert "**What it took** on a processor, 2 cores, 2 threads, TensorFlow 2.20.0, without" in text
    both = tables([*made[:1], *(replace(one, processor="another") for one in made[1:])])
    assert "| `no-gates` | 1 | 8 | 50 | 0.0 | 0 | 0 | a processor, 2 cores, 2 threads, TensorFlow 2.20.0 |" in both
    captions = [line for line in text.splitlines() if line.startswith("**") and "Dice" in line]
    assert len(captions) == 3 and all(
        "middle of the image, and nearly every slice has a tumor" in one for one in captions
    )


def test_arms_are_compared_over_the_folds_and_seeds_that_both_have():
    own = {"case_00000": (0.0, 0.0, 0.5, 0.5)}
    better = {"case_00000": (0.0, 0.0, 0.7, 0.9)}
    first = [journal(METHOD, 0, own), journal(METHOD, 0, better, seed=1), journal(METHOD, 1, own)]
    second = [journal("tversky", 0, better), journal("tversky", 0, own, seed=2)]
    theirs, ours = matched(first, second)
    assert (theirs, ours) == (first[:1], second[:1])
    assert means(first[:2], "tumor") == {"case_00000": 0.7}  # over the seeds
    rows = rows_of(tables([*first, *second]))
    assert rows["`tversky`"][2:8] == ["1", "1", ".700", "+.200", ".900", "+.400"]  # no interval of one patient
    alone = rows_of(tables(second))
    assert alone["`tversky`"][1:6] == ["", "2", "1", ".600", ""]


def test_a_learning_curve_is_compared_with_the_same_number_of_patients():
    low, high = ({"case_00000": (0, 0, x, x), "case_00001": (0, 0, x, x)} for x in (0.25, 0.5))
    made = [
        journal("patients-15", 0, low),
        journal("simulated-before-15", 0, high, teacher_steps=50, teacher_seconds=60.0),
        journal("simulated-beside-all", 0, high),
    ]
    text = tables(made)
    rows = rows_of(text)
    assert rows["`simulated-before-15`"][1:6] == ["`patients-15`", "1", "2", ".500", "**+.250 [+.250, +.250]**"]
    assert rows["`simulated-beside-all`"][1] == ""  # there is no `method` to compare with
    assert "50, after 50 on simulated patients" in text


def test_journals_of_other_settings_or_other_files_are_refused(tmp_path):
    made = journal(METHOD, 0, {"case_00000": (0.8, 0.2, None, 0.4)})
    path = keep(tmp_path, made) / made.plan.file
    assert read_journal(path) == made and journals.is_done(made.plan, tmp_path)
    assert made.score("tumor") == {"case_00000": 0.2} and made.score("postprocessed_kidney") == {}
    assert not journals.is_done(replace(made.plan, seed=1), tmp_path)
    other = replace(made.plan, settings=("gates=",))
    with pytest.raises(
        InputError, match=r"is of other settings \(settings: .* remove it, or choose another --journals"
    ):
        journals.is_done(other, tmp_path)
    whole = read_json(path, "journal")
    for change, words in (
        ({"schema": 2}, "expected schema 1"),
        ({"dice": {"case_00000": [0.5]}}, "expected 4 numbers a patient"),
        ({"steps": "many"}, "found 'many', expected int"),
        ({"more": 1}, "found 'more'"),
    ):
        write_json(path, whole | change)
        with pytest.raises(InputError, match="is no journal of this experiment") as caught:
            read_journals(tmp_path)
        assert words in str(caught.value)
    path.write_text("[]")
    with pytest.raises(InputError, match="is no journal"):
        read_journals(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="found no journal"):
        read_journals(tmp_path)


def test_tables_have_their_place_in_a_page(tmp_path, capsys):
    target = tmp_path / "page.md"
    target.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    folder = keep(tmp_path / "kept", journal(METHOD, 0, {"case_00000": (0.8, 0.2, 0.9, 0.4)}))
    assert experiment.main(["--tables", str(folder), "--into", str(target)]) == 0
    shown = capsys.readouterr().out
    assert shown.strip() == read_place(target, NAME) == tables(read_journals(folder)).strip()
    text = target.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n\n") and text.endswith(f"\n\n{END}\n\nAfter\n")
    target.write_text("no marks")
    assert experiment.main(["--tables", str(folder), "--into", str(target)]) == 2
    assert "each once" in capsys.readouterr().err and target.read_text() == "no marks"
    assert experiment.main(["--tables", str(folder), "--into", str(tmp_path / "absent.md")]) == 2
    assert "no such page" in capsys.readouterr().err


def test_the_page_shows_the_tables_of_the_kept_journals():
    kept = sorted(KEPT.glob("*.json"))
    assert read_place(PAGE, NAME) == (tables(read_journals(KEPT)).strip() if kept else "")
    assert sum(path.stat().st_size for path in kept) < 600_000


def test_wrong_words_get_one_line(runs, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    for words, expected in (
        ([], "expected folders of cases and --out DIR, or --tables"),
        ([str(runs)], "expected folders of cases and --out DIR"),
        ([str(runs), *out, "--folds", "5"], "expected folds from 0 to 4"),
        ([str(runs), *out, "--seeds", "-1"], "seeds of 0 or more"),
        ([str(runs), *out, "--steps", "7"], "a multiple of 5"),
        ([str(runs), *out, "--arms", "x"], "--arms x"),
        ([str(runs), *out, "--set", "stepz=1"], "stepz"),
        ([str(runs), *out, "--into", "page.md"], "give --tables JOURNALS with it"),
        ([str(runs), "--tables", str(tmp_path)], "leave out the folders of cases"),
        (["--tables", str(tmp_path / "none")], "found no journal"),
    ):
        assert experiment.main(words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and expected in lines[0], words
    assert not (tmp_path / "out").exists()


def test_a_signal_ends_it_with_what_to_do(runs, tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise Stopped(signal.SIGTERM, " in round 1, which is saved")

    monkeypatch.setattr(experiment.training, "train_arm", stopped)
    words = [str(runs), "--out", str(tmp_path), "--arms", METHOD, "--folds", "0", "--steps", "5"]
    assert experiment.main(words) == 143
    assert "stopped by SIGTERM in round 1, which is saved: run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "journals").exists()


@pytest.mark.slow
@pytest.mark.network
def test_a_killed_experiment_resumes_and_trains_nothing_twice(runs, tmp_path, capsys):
    words = [str(runs), "--out", str(tmp_path / "out"), "--arms", METHOD, "one-training", "--folds", "0"]
    words += ["--steps", "60", "--set", *TINY]
    first, second = (f"{name}-fold0-seed0-60steps.json" for name in (METHOD, "one-training"))
    kept, folder = tmp_path / "out" / "journals", tmp_path / "out" / "60steps"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.paper_on_kits", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while not list((folder / "one-training").glob("fold0-seed0/checkpoints/*.npz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert (kept / first).is_file() and not (kept / second).exists()  # killed within the second training
    finished = times(folder / METHOD)
    assert experiment.main(words) == 0
    assert times(folder / METHOD) == finished
    whole, one = read_journals(kept)
    assert (whole.steps, one.steps, len(whole.rounds), len(one.rounds)) == (60, 60, 5, 1)
    assert whole.plan.extra == one.plan.extra == tuple(TINY) and whole.against == ""
    cache = next((tmp_path / "out").glob("cache-*"))
    sets = read_split(patients.fold_file(cache, 0), read_manifest(cache))
    for made in (whole, one):
        assert sorted(made.dice) == sets["test"] and made.trained_on == len(sets["train"])
        assert made.seconds > 0 and made.threads >= 1 and set(made.versions) == {"tensorflow", "keras"}
        run = folder / made.plan.arm / "fold0-seed0"
        for row in read_json(run / "evaluation" / "test" / "scores.json", "scores")["cases"]:
            expected = [row[f"{name}_dice"] for name in SCORES]
            np.testing.assert_allclose(np.array(made.dice[row["patient"]], float), np.array(expected, float), atol=1e-4)
    before = times(tmp_path / "out")
    assert experiment.main(words) == 0  # all is done
    assert times(tmp_path / "out") == before
    (kept / second).unlink()
    assert experiment.main(words) == 0  # as if it was killed between the scores and the journal
    assert read_journal(kept / second) == one
    assert math.isfinite(whole.rounds[0]["score"]) and "Table 1 of real patients" in tables([whole, one])


def times(folder: Path) -> dict[Path, int]:
    """Return when each file below a folder was written; locks are left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
@pytest.mark.network
def test_simulated_patients_teach_the_weights_that_real_ones_begin_with(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "SIMULATED", CohortSettings(1, 32, 5.0, "wild", cases=6))
    monkeypatch.setitem(ARMS, "simulated-before-15", replace(ARMS["simulated-before-15"], patients=3))
    words = [str(runs), "--out", str(tmp_path), "--arms", "simulated-before-15", "--folds", "0", "--steps", "5"]
    assert experiment.main([*words, "--set", *TINY]) == 0
    (made,) = read_journals(tmp_path / "journals")
    assert (made.trained_on, made.steps, made.teacher_steps) == (3, 5, 5) and made.teacher_seconds > 0
    manifest = read_json(tmp_path / "5steps" / "simulated-before-15" / "fold0-seed0" / "manifest.json", "manifest")
    assert manifest["pretrained_sha256"] == sha256_of(tmp_path / "5steps" / "simulated" / "seed0" / "best.keras")


def test_plan_names_its_file():
    plan = Plan("no-gates", 2, 1, 4000, ("gates=",), 128, 2.25, None, "")
    assert plan.file == "no-gates-fold2-seed1-4000steps.json"
