"""One call: the same labels from a file, from images in memory and from the command."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import kidney_seg
from data_prep.errors import InputError
from data_prep.phantom.cohort import write_cohort
from data_prep.volume import read_labels

pytestmark = pytest.mark.network

RUN = Path(__file__).parents[1] / "made_by_0_1" / "run"  # another model than the one that ships: it is small
HOW = {"odds": (1.0, 70.0, 110.0)}  # labels without sense: here every voxel counts


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, cases=1, size=64, slices=12, seed=1)
    return next(folder.glob("case_*/imaging.nii.gz"))


@pytest.fixture(scope="module")
def found(scan):
    return kidney_seg.segment(scan, RUN, **HOW)


def test_a_file_and_the_command_have_the_same_labels(scan, found, tmp_path):
    record = kidney_seg.predict_scan(RUN, scan, tmp_path / "labels.nii.gz", **HOW)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii.gz").voxels, found.labels)
    assert 0 < np.mean(found.labels > 0) < 1
    assert found.volumes_ml == record["volumes_ml"] and found.flags == record["flags"]
    assert found.kidneys == record["kidneys"] and found.tumors == record["tumors"]


@pytest.mark.parametrize("axes", ["file", "turned"])
def test_images_in_memory_have_the_labels_of_their_file(scan, found, axes, tmp_path):
    image = nib.load(scan)
    if axes == "turned":  # stored in another order: the same voxels in the patient
        image = nib.as_closest_canonical(image)
        nib.save(image, tmp_path / "turned.nii.gz")
        scan = tmp_path / "turned.nii.gz"
    for given in (
        {"image": sitk.ReadImage(str(scan))},
        {"image": image},
        {"image": np.asarray(image.dataobj), "affine": image.affine},
    ):
        made = kidney_seg.segment(model=RUN, **given, **HOW)
        np.testing.assert_array_equal(made.labels, found.labels)
        np.testing.assert_allclose(made.spacing_mm, found.spacing_mm, rtol=1e-5)
        made.save(tmp_path / "labels.nii.gz")
        saved = nib.load(tmp_path / "labels.nii.gz")
        np.testing.assert_allclose(saved.affine, image.affine, atol=1e-3)
        assert np.asarray(saved.dataobj).sum() == found.labels.sum()
        (tmp_path / "labels.nii.gz").unlink()


def test_repr_and_a_name_that_exists(found, tmp_path):
    size = " x ".join(map(str, found.labels.shape))
    assert repr(found).startswith(f"<Segmentation {size}; kidneys: ")
    (tmp_path / "labels.nii.gz").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists; choose another name"):
        found.save(tmp_path / "labels.nii.gz")
    assert (tmp_path / "labels.nii.gz").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("image", "more", "said"),
    [
        (np.zeros((4, 4, 4)), {}, "give affine="),
        (np.zeros((4, 4)), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (np.zeros((4, 4, 4), complex), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (np.full((4, 4, 4), np.nan), {"affine": np.eye(4)}, "NaN or infinity"),
        (np.zeros((4, 4, 4)), {"affine": np.zeros((4, 4))}, "expected positive numbers"),
    ],
)
def test_images_that_are_none(image, more, said):
    with pytest.raises(InputError, match=said):
        kidney_seg.segment(image, RUN, **more)


def test_arguments_that_would_be_ignored_are_refused(scan):
    for given in ({"image": scan}, {"image": nib.load(scan)}, {"image": sitk.ReadImage(str(scan))}):
        with pytest.raises(InputError, match="affine= is for an array alone"):
            kidney_seg.segment(model=RUN, affine=np.eye(4), **given)
    with pytest.raises(InputError, match="series= selects in a folder of DICOM files"):
        kidney_seg.segment(np.zeros((4, 4, 4)), RUN, affine=np.eye(4), series="1")


def test_a_dead_link_is_not_written_over(found, tmp_path):
    (tmp_path / "labels.nii.gz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists; choose another name"):
        found.save(tmp_path / "labels.nii.gz")
    assert (tmp_path / "labels.nii.gz").is_symlink()
