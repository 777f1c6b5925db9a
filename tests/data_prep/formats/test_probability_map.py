"""Probabilities as files, read back by nibabel."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from support.helpers import save

from data_prep.errors import InputError
from data_prep.formats.probability_map import write_percent
from data_prep.volume import read_image, read_volume, write_labels

OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.array([[0, -0.6, -0.8, 3], [0, -0.8, 0.6, 7], [-1, 0, 0, -5]]) * (2.5, 0.9, 0.8, 1)  # axes as in KiTS


@pytest.mark.parametrize("affine", [np.diag([0.8, 0.9, 2.5, 1]), OBLIQUE], ids=["RAS", "oblique"])
def test_probabilities_lie_on_the_grid_of_the_labels(tmp_path, affine):
    image = read_volume(save(tmp_path / "ct.nii.gz", np.zeros((5, 6, 7), np.int16), affine))
    percent = np.random.default_rng(0).integers(0, 101, image.voxels.shape).astype(np.uint8)
    write_percent(percent, image.source, tmp_path / "tumor.nii.gz")
    write_labels(percent // 50, image.source, tmp_path / "labels.nii.gz")
    made, labels = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("tumor", "labels"))
    np.testing.assert_array_equal(made.affine, labels.affine)
    np.testing.assert_allclose(made.affine, affine, atol=1e-5)
    assert made.shape == (5, 6, 7) and made.get_data_dtype() == np.uint8
    values = made.get_fdata()
    assert values.max() == pytest.approx(1)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), np.rint(values * 100) // 50)
    np.testing.assert_allclose(read_image(tmp_path / "tumor.nii.gz").values, values.T, atol=1e-6)


def test_other_shapes_and_names_are_refused(tmp_path):
    image = read_volume(save(tmp_path / "ct.nii.gz", np.zeros((5, 6, 7), np.int16)))
    with pytest.raises(ValueError, match="the array has the shape"):
        write_percent(np.zeros((1, 2, 3), np.uint8), image.source, tmp_path / "tumor.nii.gz")
    with pytest.raises(InputError, match=r"only as \.nii\.gz"):
        write_percent(np.zeros(image.voxels.shape, np.uint8), image.source, tmp_path / "tumor.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]
