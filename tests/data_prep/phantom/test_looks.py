"""Several patients around one label map: their names, whose they are, and that each is drawn on its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.helpers import one_line, write_cache
from support.label_maps import SPACING_MM, two_kidneys, write_maps

from data_prep.build.builder import build
from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom import cohort as phantom_cohort
from data_prep.phantom.__main__ import main
from data_prep.phantom.around_labels import simulate_around
from data_prep.phantom.cohort import write_label_cohort
from data_prep.phantom.options import Variation, order_of
from data_prep.split import __main__ as split_command
from data_prep.split import sets as split
from data_prep.volume import read_labels, read_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    maps = {f"case_{number:05d}": two_kidneys(tumor) for number, tumor in ((12, 14.0), (40, 18.0), (121, 26.0))}
    return write_maps(tmp_path_factory.mktemp("maps"), maps)


@pytest.fixture(scope="module")
def cohort(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("looks") / "cohort"
    assert main(["--out", str(out), "--labels", str(folder), "--size", "64", "--looks", "2", "--wild"]) == 0
    return out


def test_looks_have_the_names_and_the_patient_of_their_map(cohort):
    cases, problems = find_cases(cohort)
    assert not problems and [(case.name, case.patient) for case in cases] == [
        (f"case_{number}_look{look}", f"case_{number}") for number in ("00012", "00040", "00121") for look in (0, 1)
    ]
    record = json.loads((cohort / "phantom.json").read_text())
    assert record["looks"] == 2 and record["wild"] is True and record["label_generator"] == 1
    facts = [json.loads((case.image.parent / "facts.json").read_text()) for case in cases]
    assert [(one["index"], one["look"]) for one in facts] == [(n, look) for n in (12, 40, 121) for look in (0, 1)]


def test_looks_differ_and_their_labels_do_not(cohort):
    one, two = (cohort / f"case_00040_look{look}" for look in (0, 1))
    labels = [read_labels(case / "segmentation.nii.gz").voxels for case in (one, two)]
    np.testing.assert_array_equal(*labels)
    images = [read_volume(case / "imaging.nii.gz").voxels.astype(float) for case in (one, two)]
    inside = images[0] > -300
    assert (images[0] != images[1])[inside].mean() > 0.9
    facts = [json.loads((case / "facts.json").read_text()) for case in (one, two)]
    for key in ("phase", "enhancement", "noise_hu", "painted_hu", "appearance", "tumor_hu"):
        assert facts[0][key] != facts[1][key]


def test_a_look_depends_on_nothing_but_seed_map_and_look(folder, cohort, tmp_path):
    write_label_cohort(tmp_path / "two", folder, size=64, jobs=2, looks=2, variation=Variation(wild=True))
    for case in ("case_00012_look1", "case_00121_look0"):
        for name in ("imaging.nii.gz", "segmentation.nii.gz", "facts.json"):
            assert (tmp_path / "two" / case / name).read_bytes() == (cohort / case / name).read_bytes()
    alone = simulate_around(two_kidneys(26.0), SPACING_MM, 121, size=64, variation=Variation(wild=True), look=1)
    np.testing.assert_array_equal(read_volume(cohort / "case_00121_look1" / "imaging.nii.gz").voxels, alone.image)


def test_the_voxels_of_label_generator_1():
    # as version 1 drew them before there were looks; a processor's rounding may turn a unit, and no draw may come or go
    patient = simulate_around(two_kidneys(), SPACING_MM, 3, seed=5, size=64, hard=True)
    every_7307th = "-1002 -1011 12 95 -973 -988 -527 -45 -54 -984 -990 -1001 325 -136 -1006 -788 -2 -974 -983 -1002 73"
    assert phantom_cohort.LABEL_GENERATOR == 1 and "appearance" not in patient.facts
    np.testing.assert_allclose(patient.image.ravel()[1::7307][:21], [int(hu) for hu in every_7307th.split()], atol=1)
    np.testing.assert_allclose(np.bincount(patient.labels.ravel()), [177794, 2246, 184], atol=1)


def test_no_look_is_the_patient_without_looks():
    images = [simulate_around(two_kidneys(), SPACING_MM, 3, size=32, look=look).image for look in (None, 0, 1)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (images[one] != images[other]).mean() > 0.5


def test_shares_are_drawn_for_each_look():
    single = Variation(single_kidney=0.5)
    kinds = [[single.kidneys(order_of(index, look), 3) for index in range(40)] for look in range(3)]
    assert all(abs(one.count("single") - 20) <= 1 for one in kinds)
    assert kinds[0] != kinds[1] != kinds[2]
    assert order_of(7, None) == 7 and len({order_of(n, k) for n in range(300) for k in (None, 0, 1, 2)}) == 1200


def test_a_split_never_parts_the_looks_of_a_map(cohort, tmp_path, capsys):
    assert not build(cohort, tmp_path / "cache", GridSettings(64)).failures
    assert split_command.main([str(tmp_path / "cache")]) == 0
    written = json.loads((tmp_path / "cache" / "split.json").read_text())
    assert sorted(patient for part in split.SETS for patient in written[part]) == [
        "case_00012", "case_00040", "case_00121",
    ]  # fmt: skip
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:3] for row in rows if row[0] in split.SETS] == [["1", "2"]] * 3  # patients, cases


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--looks", "0"], "looks 0: expected 1 or more"),
        (["--looks", "2", "--cases", "4"], "there are 3 label maps"),
        (["--looks", "2", "--hard", "--wild"], "leave out --hard"),
    ],
)
def test_the_command_refuses_in_one_line(folder, tmp_path, capsys, arguments, words):
    assert main(["--out", str(tmp_path / "cohort"), "--labels", str(folder), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and words in lines[0] and not (tmp_path / "cohort").exists()


def test_maps_of_the_patients_in_a_cache_are_left_out(folder, tmp_path, capsys):
    names = [one.name for one in sorted(folder.iterdir())]
    voxels = np.zeros((2, 16, 16), np.int16)
    for known, left in ((names[:1], names[1:]), (names, [])):
        cases = {name: (voxels, voxels.astype(np.uint8)) for name in known}
        write_cache(tmp_path / f"cache{len(known)}", cases)
        command = ["--out", str(tmp_path / "out"), "--labels", str(folder), "--size", "64", "--cases", "2"]
        code = main([*command, "--without", str(tmp_path / f"cache{len(known)}")])
        if left:
            assert code == 0 and sorted(path.parent.name for path in (tmp_path / "out").glob("*/facts.json")) == left
    assert code == 2 and "all label maps are of excluded patients" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "cohort"), "--without", str(tmp_path / "cache1")]) == 2
    assert "only with --labels; leave it out" in capsys.readouterr().err


def test_looks_need_label_maps(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "cohort"), "--looks", "2"]) == 2
    assert "--looks 2: only with --labels" in capsys.readouterr().err


def test_looks_need_names_that_a_split_knows(tmp_path):
    maps = write_maps(tmp_path / "maps", {"liver-7": two_kidneys()})
    assert len(phantom_cohort.plan_label_cohort(tmp_path / "out", maps).makers) == 1
    with pytest.raises(InputError, match="rename the folder") as caught:
        phantom_cohort.plan_label_cohort(tmp_path / "out", maps, looks=2)
    assert str(maps / "liver-7") in one_line(caught)


def test_one_look_is_as_none(folder, tmp_path):
    plain, one = (phantom_cohort.plan_label_cohort(tmp_path / "out", folder, **more) for more in ({}, {"looks": 1}))
    assert list(plain.makers) == list(one.makers) == ["case_00012", "case_00040", "case_00121"]
    assert plain.settings == one.settings and not {"looks", "wild"} & set(plain.settings)
