"""Probabilities smoothed along z, against SciPy and by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from support.helpers import save
from support.threshold_model import SIZE, striped_hu, threshold_model, write_threshold_model

from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings, probabilities_to_labels, to_network
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.model.model_file import find_source
from kidney_seg.predict.__main__ import main
from kidney_seg.predict.engines import make_job, open_predictor
from kidney_seg.predict.predictor import Predictor, make_predictor, predict_slabs
from kidney_seg.predict.smoothing import smooth_along_z


def random_prob(slices: int) -> np.ndarray:
    prob = np.random.default_rng(slices).dirichlet(np.ones(3), (slices, 5, 4)).astype(np.float32)
    assert prob.shape == (slices, 5, 4, 3)
    return prob


@pytest.mark.parametrize("slices", [1, 2, 7, 40])
@pytest.mark.parametrize(("spacing_mm", "sigma_mm"), [(1.0, 6.0), (3.0, 6.0), (5.0, 1.0), (2.0, 50.0), (5.0, 0.5)])
def test_slabs_are_smoothed_as_the_whole_is(slices, spacing_mm, sigma_mm):
    whole = random_prob(slices)
    expected = gaussian_filter1d(whole, sigma_mm / spacing_mm, axis=0, mode="nearest")
    for length in (1, 3, 16):
        slabs = (whole[first : first + length] for first in range(0, slices, length))
        made = list(smooth_along_z(slabs, slices, spacing_mm, sigma_mm))
        assert all(len(one) for one in made) and made[0].dtype == np.float32
        np.testing.assert_allclose(np.concatenate(made), expected, atol=1e-6)
        np.testing.assert_allclose(np.concatenate(made).sum(axis=-1), 1, atol=1e-6)


def test_one_bright_slice_by_hand():
    """A single slice of tumor, 3 mm apart, sigma 6 mm: 0.2 of it stays, exp(-1/8) of that one slice away."""
    prob = np.zeros((41, 1, 1, 2), np.float32)
    prob[..., 0], prob[20] = 1, (0, 1)
    made = np.concatenate(list(smooth_along_z([prob], 41, 3.0, 6.0)))[:, 0, 0, 1]
    total = sum(math.exp(-(k**2) / 8) for k in range(-8, 9))  # two slices are one standard deviation, it ends at four
    assert made[20] == pytest.approx(1 / total, abs=1e-6)
    assert made[21] == made[19] == pytest.approx(math.exp(-1 / 8) / total, abs=1e-6)
    assert made[11] == made[29] == 0


def test_no_smoothing_passes_slabs_through():
    slabs = [random_prob(4), random_prob(3)]
    assert [id(one) for one in smooth_along_z(iter(slabs), 7, 1.0, 0.0)] == [id(one) for one in slabs]
    assert list(smooth_along_z([], 0, 1.0, 6.0)) == []


def test_memory_does_not_grow_with_the_scan():
    """Of 1000 slices at most 3 + 2 x 8 are held, so a slab comes out as soon as it can."""
    read, largest = 0, 0

    def slabs():
        nonlocal read
        for _ in range(250):
            read += 4
            yield np.ones((4, 1, 1, 2), np.float32)

    done = 0
    for one in smooth_along_z(slabs(), 1000, 3.0, 6.0):
        done += len(one)
        largest = max(largest, read - done)
    assert done == 1000 and largest <= 8


@pytest.mark.network
def test_labels_of_a_volume_follow_the_spacing():
    """One slice of tumor in thick slices stays; the same in thin ones is noise and goes. In both engines' way."""
    hu = np.full((30, 32, 32), 100, np.int16)
    hu[15] = 200
    model, settings = threshold_model(), GridSettings(SIZE)
    plain, smooth = make_predictor(model, 4), make_predictor(model, 4)
    smooth.smooth_z_mm = 2.0
    for z_mm, stays in ((5.0, True), (1.0, False)):
        volume = SimpleNamespace(voxels=hu, spacing_mm=(z_mm, 1.0, 1.0))
        found = predict_slabs(smooth, volume, settings, with_percent=True)
        prob = gaussian_filter1d(plain(to_network(hu, volume.spacing_mm, settings)), 2 / z_mm, axis=0, mode="nearest")
        np.testing.assert_array_equal(
            found.labels, probabilities_to_labels(prob, hu.shape, volume.spacing_mm, settings)
        )
        assert (found.labels[15] == 2).all() == stays and (found.labels[12] == 1).all()
        assert (found.tumor_confidence is not None) == stays
        assert found.tumor_percent[15, 8, 8] == round(100 * float(prob[15, 4, 4, 2]))


@pytest.mark.network
@pytest.mark.parametrize("engine", ["keras", "onnx"])
def test_engines_and_ensembles_smooth_alike(tmp_path, engine):
    paths = [
        write_threshold_model(tmp_path / name, "smooth_z_mm=3", kidney_hu=hu)
        for name, hu in (("a.keras", 50), ("b.keras", 90))
    ]
    job = make_job(paths[0], [str(paths[1])], engine)
    assert job.settings.smooth_z_mm == 3 and job.made_by["settings"]["smooth_z_mm"] == 3
    volume = SimpleNamespace(voxels=striped_hu(9), spacing_mm=(2.0, 1.0, 1.0))
    grid = GridSettings(SIZE)
    sources = [find_source(path) for path in paths]
    prob = open_predictor(sources, PredictionConfig())(to_network(volume.voxels, volume.spacing_mm, grid))
    prob = gaussian_filter1d(prob, 1.5, axis=0, mode="nearest")
    expected = probabilities_to_labels(prob, volume.voxels.shape, volume.spacing_mm, grid)
    made = predict_slabs(job.predictor, volume, grid).labels
    certain = np.sort(prob, axis=-1)[..., -1] - np.sort(prob, axis=-1)[..., -2] > 1e-3
    certain = np.repeat(np.repeat(certain, 2, 1), 2, 2)
    assert len(np.unique(made)) > 1 and certain.mean() > 0.9
    np.testing.assert_array_equal(made[certain], expected[certain])


@pytest.mark.network
def test_the_command_sets_it_and_old_records_stay_valid(tmp_path, capsys):
    model = write_threshold_model(tmp_path / "best.keras")
    scan = save(tmp_path / "scan.nii.gz", striped_hu(9)[::-1])  # slices of 3 mm
    command = [str(model), str(scan), "--no-postprocess", "--out"]
    assert main([*command, str(tmp_path / "plain.nii.gz")]) == 0
    assert "smooth_z_mm" not in make_job(model).made_by["settings"]  # as records have it that are older than it
    assert main([*command, str(tmp_path / "smooth.nii.gz"), "--set", "prediction.smooth_z_mm=6"]) == 0
    plain, smooth = (np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("plain", "smooth"))
    assert plain.any() and smooth.any() and not np.array_equal(plain, smooth)
    assert main([*command, str(tmp_path / "smooth.nii.gz"), "--set", "smooth_z_mm=3"]) == 2
    assert "made with other settings" in capsys.readouterr().err
    for wrong, words in (
        ("smooth_z_mm=-1", "found -1.0, expected 0 or more"),
        ("smooth_z_mm=nan", "found nan, expected 0 or more"),
        ("smooth_z_mm=60", "expected 0 to 50 mm"),
        ("steps=20", "--set: found 'steps', expected one of"),
        ("smooth_mm=6", "did you mean 'smooth_z_mm'"),
    ):
        assert main([*command, str(tmp_path / "other.nii.gz"), "--set", wrong]) == 2
        assert words in capsys.readouterr().err


def test_slices_without_positions_are_not_smoothed():
    predictor = Predictor(lambda batch: batch, 4, 3, 3, 2, smooth_z_mm=6.0)
    slices = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 4, 4), np.int16)
    np.testing.assert_array_equal(predictor(slices)[:, 0, 0, 1], np.arange(5))


def test_the_setting_is_checked():
    assert PredictionConfig().smooth_z_mm == 0
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="smooth_z_mm"):
            PredictionConfig(smooth_z_mm=wrong)
