"""Which label maps a folder holds, and which of them a cohort takes."""

from __future__ import annotations

import pytest
from support.helpers import one_line
from support.label_maps import ball, two_kidneys, write_maps

from data_prep.errors import InputError
from data_prep.phantom.label_maps import LabelMap, choose_maps, find_label_maps

LARGE = {2, 4, 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine label maps, three of them with a large tumor."""
    maps = {}
    for number in range(9):
        labels = maps[f"case_{number:05d}"] = two_kidneys(tumor_mm=15.0)  # 14 mL
        if number in LARGE:
            ball(labels, (92.0, 24.0, 0.0), 24.0, 2)  # 58 mL; a ball of 4 cm has 33.5
    return write_maps(tmp_path_factory.mktemp("maps"), maps)


def test_maps_are_found_by_name(folder, tmp_path):
    found = find_label_maps(folder)
    assert [one.name for one in found] == [f"case_{number:05d}" for number in range(9)]
    assert found[3].path == folder / "case_00003" / "segmentation.nii.gz"
    (tmp_path / "case_00000").mkdir()
    for place, words in ((tmp_path, "no label file"), (tmp_path / "absent", "is not a folder")):
        with pytest.raises(InputError, match=words) as caught:
            find_label_maps(place)
        one_line(caught)


def test_a_case_keeps_its_number(folder):
    assert [one.number for one in find_label_maps(folder)] == list(range(9))
    named = LabelMap("liver-7", folder)
    assert named.number >= 100_000 and named.number != LabelMap("liver-8", folder).number


def test_choice_follows_from_the_seed(folder):
    maps = find_label_maps(folder)
    assert choose_maps(maps, None, 0, None) == maps
    chosen = choose_maps(maps, 4, 1, None)
    assert len(chosen) == 4 and chosen == sorted(chosen, key=lambda one: one.name)
    assert chosen == choose_maps(maps, 4, 1, None)
    assert len({tuple(choose_maps(maps, 4, seed, None)) for seed in range(6)}) > 3


@pytest.mark.parametrize(("cases", "share", "large"), [(4, 0.5, 2), (3, 0.0, 3), (4, 1.0, 0), (6, 0.66, 2)])
def test_the_share_of_small_tumors_is_met(folder, cases, share, large):
    for seed in range(3):
        chosen = [one.number for one in choose_maps(find_label_maps(folder), cases, seed, share)]
        assert len(chosen) == cases and chosen == sorted(chosen)
        assert len(LARGE & set(chosen)) == large


def test_too_many_are_refused(folder):
    maps = find_label_maps(folder)
    for cases, small, words in (
        (10, None, "there are 9"),
        (None, 0.5, "also give a number of cases"),
        (6, 0.0, "6 of 6 cases should have a larger tumor, 3 label maps have one"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            choose_maps(maps, cases, 0, small)
        one_line(caught)
