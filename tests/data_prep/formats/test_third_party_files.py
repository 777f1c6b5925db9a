"""The image files in the wheel of nibabel: values equal to nibabel's, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.helpers import one_line

from data_prep.errors import InputError
from data_prep.volume import read_image

FILES = sorted(
    path
    for folder in (Path(nib.__file__).parent / "tests" / "data", Path(nib.__file__).parent / "nicom" / "tests" / "data")
    if folder.is_dir()
    for path in folder.iterdir()
    if path.name.endswith((".nii", ".nii.gz"))
)


@pytest.mark.skipif(not FILES, reason="this wheel of nibabel holds no test files")
def test_files_of_the_nibabel_wheel() -> None:
    read = []
    for path in FILES:
        try:
            stored = read_image(path)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        image = nib.load(path)
        values = np.asarray(image.dataobj)
        values = values.reshape(values.shape[:3]).T
        assert np.allclose(stored.values, values, rtol=1e-6), path.name
        lps = image.affine * np.array([[-1.0], [-1.0], [1.0], [1.0]])
        steps = np.reshape(stored.grid.direction, (3, 3)) * stored.grid.spacing
        assert np.allclose(steps, lps[:3, :3], atol=1e-4) and np.allclose(stored.grid.origin, lps[:3, 3], atol=1e-3)
        read.append(path.name)
    assert {"anatomical.nii", "standard.nii.gz"} <= set(read)


def test_a_surface_file_is_refused_in_one_line() -> None:
    path = next((path for path in FILES if "dconn" in path.name), None)
    if path is None:
        pytest.skip("this wheel of nibabel holds no CIFTI file")
    with pytest.raises(InputError) as caught:
        read_image(path)
    one_line(caught)
