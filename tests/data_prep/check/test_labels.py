from __future__ import annotations

import numpy as np
import pytest

from data_prep.check.labels import label_problems, survey_labels

SPACING = (5.0, 2.0, 2.0)  # a voxel of 0.02 mL


def two_kidneys() -> np.ndarray:
    """Kidneys of 16 x 20 x 20 voxels, 128 mL, each with a tumor; [40, 80, 80]."""
    labels = np.zeros((40, 80, 80), np.uint8)
    for x in (10, 50):
        labels[10:26, 40:60, x : x + 20] = 1
        labels[15:18, 42:46, x + 2 : x + 6] = 2
    return labels


def found(labels: np.ndarray, hu: np.ndarray | None = None) -> dict[str, str]:
    return dict(label_problems(survey_labels(labels, SPACING, hu)))


def test_volumes_by_hand() -> None:
    survey = survey_labels(two_kidneys(), SPACING)
    assert survey.bodies_ml == (128.0, 128.0)
    assert survey.voxels == (40 * 80 * 80 - 12800, 12800 - 96, 96, 0)
    assert survey.kidney_ml == pytest.approx(256.0) and survey.tumor_ml == pytest.approx(1.92)
    assert (survey.gaps, survey.median_hu) == ((), None)
    assert found(two_kidneys()) == {}


def test_empty_and_small() -> None:
    assert found(np.zeros((20, 8, 8), np.uint8)).keys() == {"empty_label"}
    assert found(np.zeros((1, 8, 8), np.uint8)) == {}  # one slice need not hold a kidney
    labels = np.zeros_like(two_kidneys())
    labels[5:10, 5:15, 5:15] = 1  # 10 mL
    assert found(labels).keys() == {"no_tumor", "small_label", "stray_object"}


def test_bodies() -> None:
    one = two_kidneys()
    one[:, :, 40:] = 0
    assert found(one).keys() == {"one_body"}
    phases = np.concatenate([two_kidneys(), two_kidneys()])
    assert "4 bodies of 128, 128, 128, 128 mL" in found(phases)["many_bodies"]
    stray = two_kidneys()
    stray[30:35, 5:10, 5:10] = 1  # 2.5 mL
    stray[0, 0, 0] = 1  # a speck is usual
    assert found(stray)["stray_object"] == "separate objects of 2.5 mL"


def test_gaps_of_all_and_of_one_kidney() -> None:
    labels = two_kidneys()
    labels[15] = 0
    assert found(labels)["label_gap"].endswith("between labelled ones: 15")
    labels = two_kidneys()
    labels[15, :, 40:] = 0  # the other kidney is there
    assert found(labels)["label_gap"].endswith("between labelled ones: 15")
    labels = two_kidneys()
    labels[14:17] = 0
    assert found(labels)["label_gap"].endswith("between labelled ones: 14-16")


def test_what_is_no_gap() -> None:
    labels = two_kidneys()
    labels[15, 42:58, 12:28] = 0  # a hole inside a kidney, as a spared center
    assert "label_gap" not in found(labels)
    apart = np.zeros_like(labels)
    apart[5:15, 40:60, 10:30] = 1  # kidneys at different heights
    apart[17:27, 40:60, 50:70] = 2
    assert "label_gap" not in found(apart)


def test_labels_on_their_image_and_beside() -> None:
    labels = two_kidneys()
    hu = np.full(labels.shape, -1000, np.int16)
    hu[labels > 0] = 150
    assert found(labels, hu) == {}
    assert "median of -1000 HU, 100% of them on air" in found(labels, np.roll(hu, 30, axis=1))["label_misplaced"]
    assert found(labels, np.roll(hu, 4, axis=1)).keys() == {"label_misplaced"}  # 20 % on air
    hu[labels > 0] = 900
    assert found(labels, hu).keys() == {"label_misplaced"}


@pytest.mark.slow
def test_real_label_maps_give_no_false_alarm(shared_data) -> None:
    from data_prep.volume import read_labels

    expected = {"case_00002": set(), "case_00005": {"one_body"}, "case_00208": set(), "case_00136": set()}
    for name, codes in expected.items():
        volume = read_labels(shared_data / "kits19_labels" / name / "segmentation.nii.gz")
        survey = survey_labels(volume.voxels, volume.spacing_mm)
        assert {code for code, _ in label_problems(survey)} == codes, name


def test_sizes_that_cannot_be() -> None:
    labels = two_kidneys()
    problems = dict(label_problems(survey_labels(labels, (50.0, 20.0, 20.0))))
    assert problems["large_label"] == "kidneys and tumors have 256.0 L; expected 5 L at most"
    thin = np.zeros((20, 300, 8), np.uint8)
    thin[3:5, 3:5, :], thin[3, :, 3] = 1, 2
    assert "a tumor measures 60 cm" in dict(label_problems(survey_labels(thin, SPACING)))["large_label"]
