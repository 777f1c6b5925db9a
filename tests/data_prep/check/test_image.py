from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data_prep.check.image import image_problems, most_similar_part, runs, survey_image
from data_prep.phantom.patient import simulate_patient

SPACING = (5.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    return simulate_patient(0, size=64, slices=20).image


def codes(hu: np.ndarray, spacing_mm: tuple[float, float, float] = SPACING) -> list[str]:
    return [code for code, _ in image_problems(survey_image(hu, spacing_mm))]


def test_the_survey_counts_as_numpy_does(hu: np.ndarray) -> None:
    survey = survey_image(hu, SPACING)
    for percent in (0.5, 5.0, 50.0, 95.0, 99.5):
        assert survey.percentile(percent) == np.percentile(hu, percent, method="inverted_cdf")
    assert survey.hu_range == (hu.min(), hu.max())
    assert survey.share(-200, 300) == np.mean((hu >= -200) & (hu <= 300))
    assert survey.sha256 == hashlib.sha256(b"(20, 64, 64)" + hu.tobytes()).hexdigest()
    clipped = np.clip(hu, -200, 300).astype(float)
    assert np.allclose(survey.thumbs, clipped.reshape(20, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(20, 256), atol=0.01)


def test_the_extremes_of_int16_are_counted() -> None:
    survey = survey_image(np.array([[[-32768, 32767]]], np.int16), SPACING)
    assert (survey.percentile(50), survey.percentile(100)) == (-32768, 32767)


def test_sound_scans_give_nothing(hu: np.ndarray) -> None:
    assert codes(hu) == []
    assert codes(np.where(hu < -900, -2048, hu)) == []  # padding outside a round field of view


@pytest.mark.parametrize("padding", [0, 1, -2000])
def test_ct_as_it_is_stored_is_named_with_and_without_padding(hu: np.ndarray, padding: int) -> None:
    stored = hu + 1024
    stored[:, :8] = padding
    assert codes(stored) == ["not_rescaled"]


def test_mr_is_named() -> None:
    rng = np.random.default_rng(0)
    assert codes(rng.gamma(2.0, 300.0, (20, 64, 64)).astype(np.int16)) == ["no_air"]


def test_sizes(hu: np.ndarray) -> None:
    assert codes(hu[:15]) == ["few_slices"]
    assert codes(hu[:1]) == []  # the folder's matter
    assert codes(hu[:, :-4]) == ["odd_matrix"]
    for spacing_mm in ((5.0, 0.005, 0.005), (5.0, 50.0, 50.0), (1000.0, 5.0, 5.0)):
        assert codes(hu, spacing_mm) == ["field_of_view"]


def test_lost_slices_and_planes_are_said_where_they_are(hu: np.ndarray) -> None:
    lost = hu.copy()
    lost[[3, 4, 9]] = -1024
    assert dict(image_problems(survey_image(lost, SPACING)))["blank_slices"].endswith("(-1024): 3-4, 9")
    lost = hu.copy()
    lost[:, :, 60:] = 0
    assert dict(image_problems(survey_image(lost, SPACING)))["blank_planes"].endswith("not air: 60-63")
    lost[:, :, 60:] = -1024
    assert codes(lost) == []  # padding
    lost = hu.copy()
    lost[7] = lost[8] = lost[6]
    assert dict(image_problems(survey_image(lost, SPACING)))["doubled_slices"].endswith("voxel for voxel: 6-7")


def test_an_appended_phase_is_found_wherever_it_starts() -> None:
    rng = np.random.default_rng(1)
    for index in range(4):
        patient = simulate_patient(index, size=64, slices=32, hard=True)
        later = np.roll(patient.image, 1, axis=2) + rng.normal(0, 20, patient.image.shape)  # it breathed, other noise
        later[patient.labels == 1] -= 80  # another contrast phase
        later = np.clip(later, -1024, 3071).astype(np.int16)
        for begin in (0, 5):
            both = np.concatenate([patient.image, later[begin:]])
            (line,) = [what for code, what in image_problems(survey_image(both, SPACING)) if code == "second_phase"]
            first, second, similarity = most_similar_part(survey_image(both, SPACING).thumbs, 5.0)
            assert second - first == 32 - begin and similarity > 0.7
            assert f"slices from {second} show" in line
        assert "second_phase" not in codes(patient.image)


def test_long_legs_are_no_second_phase(hu: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    legs = np.repeat(hu[-1:], 60, axis=0) + rng.normal(0, 20, (60, 64, 64))
    assert codes(np.concatenate([hu, legs.astype(np.int16)])) == []


def test_short_scans_are_not_compared(hu: np.ndarray) -> None:
    assert most_similar_part(survey_image(np.concatenate([hu[:15], hu[:15]]), SPACING).thumbs, 5.0) == (0, 0, 0.0)


def test_real_scans_give_no_false_alarm(shared_data) -> None:
    from data_prep.volume import read_volume

    volume = read_volume(shared_data / "real_ct" / "case_90000" / "imaging.nii.gz")
    assert codes(volume.voxels, volume.spacing_mm) == ["odd_matrix"]
    doubled = np.concatenate([volume.voxels, volume.voxels])
    assert codes(doubled, volume.spacing_mm) == ["odd_matrix", "second_phase"]


def test_runs_are_written_short() -> None:
    assert runs(np.array([1])) == "1"
    assert runs(np.arange(0, 20, 2)) == "0, 2, 4, 6, 8, 10, ..."
