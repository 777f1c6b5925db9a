"""Options of simulated cohorts: what they refuse, and what they do to patients whose anatomy is simulated."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import label
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.phantom.__main__ import main
from data_prep.phantom.cohort import write_cohort
from data_prep.phantom.options import SMALL_ML, Variation, places
from data_prep.phantom.painting.body_size import draw_build
from data_prep.phantom.painting.canvas import TISSUES
from data_prep.phantom.painting.kidneys import tumor_size_ml
from data_prep.phantom.patient import simulate_patient

SMALL = {"size": 64, "slices": 16}


def objects(mask):
    return label(mask, np.ones((3, 3, 3)))[1]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"contrast_hu": (60.0, 40.0)}, "contrast 60:40"),
        ({"contrast_hu": (-5.0, 40.0)}, "0 <= low"),
        ({"contrast_hu": (float("nan"), 40.0)}, "contrast nan"),
        ({"noise_hu": -1.0}, "noise -1: expected 0 to 100 HU"),
        ({"noise_hu": float("nan")}, "noise nan"),
        ({"thickness_mm": 0.1}, "thickness 0.1: expected 0.5 to 15 mm"),
        ({"small": 1.5}, "small 1.5: expected 0 to 1"),
        ({"single_kidney": -0.1}, "single-kidney -0.1"),
        ({"second_phase": 2.0}, "second-phase 2"),
    ],
)
def test_nonsense_is_refused_in_one_line(bad, words):
    with pytest.raises(InputError) as caught:
        Variation(**bad)
    assert words in one_line(caught)


def test_the_record_holds_what_departs():
    assert Variation().record() == {}
    given = Variation(contrast_hu=(40.0, 60.0), single_kidney=0.25).record()
    assert given == {"contrast_hu": [40.0, 60.0], "single_kidney": 0.25}
    assert json.loads(json.dumps(given)) == given


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_shares_hold_in_small_cohorts(share):
    one = Variation(small=share, single_kidney=share, second_phase=share)
    sizes = [tumor_size_ml(one.size_place(places(index, 5)[0])) for index in range(40)]
    for found in (
        sum(size <= SMALL_ML for size in sizes),
        sum(one.kidneys(index, 5) == "single" for index in range(40)),
        sum(one.scanned_twice(index, 5) for index in range(40)),
    ):
        assert abs(found - 40 * share) <= 1.5
    assert min(sizes) >= 0.8 and max(sizes) <= 420.0


def test_a_small_tumor_is_a_ball_of_four_centimeters():
    assert pytest.approx(33.51, abs=0.01) == SMALL_ML


def test_places_keep_their_order_whatever_the_share():
    for share in (0.1, 0.5, 0.8):
        moved = [Variation(small=share).size_place(place) for place in np.linspace(0.001, 0.999, 50)]
        assert (np.diff(moved) > 0).all()


def test_contrast_is_what_was_asked_for_in_every_patient():
    for index in range(6):
        facts = simulate_patient(index, hard=True, variation=Variation(contrast_hu=(45.0, 50.0)), **SMALL).facts
        hu = facts["painted_hu"]
        assert 45.0 <= 0.65 * hu["cortex"] + 0.35 * hu["medulla"] - facts["tumor_hu"] <= 50.0
        assert not facts["low_contrast"]


def test_noise_is_what_was_asked_for():
    clean, noisy = (simulate_patient(0, variation=Variation(noise_hu=noise), **SMALL) for noise in (0.0, 30.0))
    np.testing.assert_array_equal(clean.labels, noisy.labels)
    inside = clean.image > -300  # air cannot become darker
    assert (noisy.image - clean.image)[inside].std() == pytest.approx(30.0, rel=0.03)
    assert 1.5 < clean.image[:, :3].std() < 3.0  # the unevenness of 2.5 HU stays


def test_thickness_says_how_many_slices_there_are():
    for index in range(3):
        thick = simulate_patient(index, size=64, variation=Variation(thickness_mm=8.0))
        assert thick.spacing_mm[0] == 8.0
        plain = simulate_patient(index, size=64)
        assert abs(len(thick.image) * 8.0 - len(plain.image) * plain.spacing_mm[0]) <= 4.0 + 1e-6
        assert set(np.unique(thick.labels)) == {0, 1, 2}


def test_a_single_kidney_bears_the_tumor():
    sides = set()
    for index in range(6):
        patient = simulate_patient(index, size=96, slices=12, variation=Variation(single_kidney=1.0))
        assert patient.facts["kidneys"] == "single"
        sides.add(patient.facts["side"])
        x = np.argwhere(patient.labels == 1)[:, 2]
        assert (x < 46).mean() > 0.97 or (x > 49).mean() > 0.97  # the midline lies between pixels 47 and 48
        assert (patient.labels == 2).any()
    assert sides == {"left", "right"}


def test_a_second_phase_follows_in_the_file_without_labels():
    plain = simulate_patient(1, **SMALL)
    patient = simulate_patient(1, variation=Variation(second_phase=1.0), **SMALL)
    assert patient.image.shape == (32, 64, 64) and patient.spacing_mm == plain.spacing_mm
    # a file runs toward the feet: the second half of it is the first of the axial array
    np.testing.assert_array_equal(patient.image[16:], plain.image)
    np.testing.assert_array_equal(patient.labels[16:], plain.labels)
    assert not patient.labels[:16].any() and patient.facts["second_phase"]
    again = patient.image[:16].astype(float)
    assert np.corrcoef(again.ravel(), plain.image.ravel())[0, 1] > 0.98
    assert 0.0 < np.abs(again - plain.image).mean() < 40.0
    aorta = plain.tissues == TISSUES.index("aorta")
    assert np.median(again[aorta]) > np.median(plain.image[aorta]) + 30  # .8 first, then late arterial


def test_a_phase_there_and_back_is_the_same_patient():
    build = draw_build(np.random.default_rng(4), Variation().difficulty(hard=True))
    back = build.in_phase(0.0 if build.phase > 0.5 else 1.0).in_phase(build.phase)
    assert back.hu == pytest.approx(build.hu) and back.half_width_mm == build.half_width_mm
    early, late = build.in_phase(0.0).hu, build.in_phase(1.0).hu
    assert early["aorta"] - late["aorta"] == pytest.approx(135.0)
    assert early["cortex"] - early["medulla"] >= 60.0 and late["cortex"] - late["medulla"] == pytest.approx(4.0)


def test_half_of_the_contrast_agent_is_half_of_the_enhancement():
    build = draw_build(np.random.default_rng(4), Variation().difficulty(hard=True))
    half = build.enhanced(0.5)
    assert half.hu["aorta"] == pytest.approx((build.hu["aorta"] + 40) / 2)
    assert half.hu["cortex"] == pytest.approx((build.hu["cortex"] + 34) / 2)
    assert half.hu["fat"] == build.hu["fat"] and half.hu["bone"] == build.hu["bone"]
    early, late = half.in_phase(0.0).hu, half.in_phase(1.0).hu
    assert early["aorta"] - late["aorta"] == pytest.approx(135.0 / 2)
    none = build.enhanced(0.0).hu
    assert none["cortex"] == 34 and none["medulla"] == 32 and none["vein"] == none["aorta"] == 40


def test_the_command_writes_them_and_keeps_cohorts_apart(tmp_path, capsys):
    out = tmp_path / "cohort"
    command = ["--out", str(out), "--cases", "2", "--size", "32", "--thickness-mm", "12", "--noise", "5"]
    command += ["--contrast", "60:80", "--small", "0.5", "--single-kidney", "0.5", "--second-phase", "1"]
    assert main(command) == 0
    record = json.loads((out / "phantom.json").read_text())
    assert record["contrast_hu"] == [60.0, 80.0] and record["noise_hu"] == 5.0 and record["generator"] == 2
    facts = json.loads((out / "case_00001" / "facts.json").read_text())
    assert facts["second_phase"] is True and facts["noise_hu"] == 5.0 and facts["index"] == 1
    capsys.readouterr()
    assert main(command) == 0
    assert "0 made, 2 kept" in capsys.readouterr().out
    assert main([*command, "--contrast", "70"]) == 2
    assert "contrast_hu [60.0, 80.0], asked for [70.0, 70.0]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--contrast", "dark"], "contrast dark: expected a number"),
        (["--contrast", "40:"], None),
        (["--slices", "9", "--thickness-mm", "5"], "--slices 9 and --thickness-mm"),
        (["--jobs", "0"], "jobs 0"),
        (["--small", "-1"], "small -1"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, capsys, arguments, words):
    code = main(["--out", str(tmp_path / "cohort"), "--cases", "1", "--size", "32", *arguments])
    error = capsys.readouterr().err
    if words is None:
        assert code == 0
    else:
        assert code == 2 and words in error and error.count("\n") == 1
        assert not (tmp_path / "cohort").exists()


def test_plain_cohorts_have_the_record_they_always_had(tmp_path):
    write_cohort(tmp_path / "cohort", cases=1, size=32, slices=8)
    assert json.loads((tmp_path / "cohort" / "phantom.json").read_text()) == {
        "generator": 2, "cases": 1, "size": 32, "slices": 8, "seed": 0, "hard": False,
    }  # fmt: skip
