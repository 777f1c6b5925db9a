"""One call: the same labels from a file, from images in memory and from the command."""

from __future__ import annotations

import gzip
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from support.dicom_files import write_study, zipped
from support.threshold_model import striped_hu, write_threshold_model

import kidney_seg
from data_prep.errors import InputError
from data_prep.phantom.cohort import write_cohort
from data_prep.volume import read_labels
from kidney_seg import segmentation
from kidney_seg.figures import notebook
from kidney_seg.predict import engines

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


def test_one_study_in_a_folder_or_a_zip_file_and_never_one_of_several(tmp_path):
    model = write_threshold_model(tmp_path / "best.keras")
    for number in (1, 2):
        write_study(tmp_path / "tree" / f"p{number}", striped_hu(6), number)
    expected = kidney_seg.segment(tmp_path / "tree" / "p1", model)
    assert len([note for note in expected.notes if note.startswith("2 CT series found: read series 3")]) == 1
    with pytest.raises(InputError, match=r"holds 2 scans \(p1, p2\); expected one: give its file or folder"):
        kidney_seg.segment(tmp_path / "tree", model)
    packed = kidney_seg.segment(zipped(tmp_path / "tree" / "p1", tmp_path / "p1.zip"), model)
    assert packed.notes == expected.notes
    np.testing.assert_array_equal(packed.labels, expected.labels)
    packed.save(tmp_path / "p1.dcm")  # from headers that were in the zip file
    np.testing.assert_array_equal(read_labels(tmp_path / "p1.dcm").voxels, expected.labels)


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


def test_a_clean_table_in_notebooks(found):
    flags = [{"flag": "a", "what": "a <b>"}]
    kidneys, tumors = [{"side": "left", "volume_ml": 150.4}], [{"side": "left", "volume_ml": 8.06, "diameter_mm": 25.2}]
    model = {"name": "starter", "data": "d", "license": "CC BY-NC-SA 4.0"}
    record = {**found.record, "kidneys": kidneys, "tumors": tumors, "flags": flags, "model": model}
    shown = replace(found, record=record)._repr_html_()
    assert "<th>Scan</th><td>12 x 64 x 64 voxels (z, y, x) of 12.3 x 6.24 x 6.24 mm</td>" in shown
    for row in ("Kidney</th><td>left, 150 mL", "Tumor</th><td>left, 8.1 mL, 25 mm", "Review</th><td>a &lt;b&gt;"):
        assert f"<th>{row}</td>" in shown
    assert "<th>License</th><td>CC BY-NC-SA 4.0</td>" in shown


def test_saved_for_viewers(found, tmp_path):
    found.save(tmp_path / "labels.seg.nrrd")
    assert sitk.ReadImage(str(tmp_path / "labels.seg.nrrd")).GetMetaData("Segment1_Name") == "Tumor"
    with pytest.raises(InputError, match="not a DICOM series"):
        found.save(tmp_path / "labels.dcm")
    with pytest.raises(InputError, match="the name does not end in"):
        found.save(tmp_path / "labels.png")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.seg.nrrd"]


def test_shown_by_what_is_installed(found, monkeypatch):
    modules = __import__("sys").modules
    viewer = found.show()
    assert [volume.name for volume in viewer.volumes] == ["scan.nii.gz", "labels.nii.gz"]
    assert viewer.opts.multiplanar_show_render.name == "ALWAYS"
    image, labels = (nib.Nifti1Image.from_bytes(gzip.decompress(volume.data)) for volume in viewer.volumes)
    np.testing.assert_allclose(image.affine, labels.affine)
    np.testing.assert_array_equal(np.asarray(labels.dataobj).T, found.labels)
    place = found.volume.source.axial
    np.testing.assert_allclose(image.affine[:3, 3], np.array(place.origin) * (-1, -1, 1), atol=1e-3)
    monkeypatch.setattr(notebook, "MOST_VOXELS", found.labels.size // 3)
    small = nib.Nifti1Image.from_bytes(gzip.decompress(found.show().volumes[1].data))
    np.testing.assert_array_equal(np.asarray(small.dataobj).T, found.labels[:, ::2, ::2])
    np.testing.assert_allclose(small.affine, labels.affine @ np.diag([2, 2, 1, 1]), atol=1e-4)

    monkeypatch.setitem(modules, "ipyniivue", None)  # as if it were not installed
    slider = found.show().children[0]
    z = int((found.labels == 2).sum(axis=(1, 2)).argmax())
    assert (slider.min, slider.value, slider.max) == (0, z, len(found.labels) - 1)
    monkeypatch.setitem(modules, "ipywidgets", None)
    for figure in (found.show(), found.show(widget=False)):
        assert f"slice {z} of 0 to 11" in [text.get_text() for text in figure.findobj(Annotation)]
        assert len(figure.axes) == 2


def test_the_wheel_draws_another_slice(found, monkeypatch):
    drawn = []
    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)
    monkeypatch.setattr(notebook, "_labelled", lambda volume, labels, z: drawn.append(z) or Figure())
    shown = found.show()
    shown.children[0].value = 3
    assert drawn[-1] == 3


def pooled(scan: Path) -> np.ndarray:
    return kidney_seg.segment(scan, RUN, **HOW).labels


def in_another_process(scan: Path, out: Path) -> None:
    np.save(out, pooled(scan))


def test_a_pool_of_four_threads_has_the_same_labels(scan, found, monkeypatch):
    opened = []
    monkeypatch.setattr(engines, "open_predictor", lambda *a, load=engines.open_predictor: opened.append(1) or load(*a))
    segmentation._with_loaded_network.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        for labels in pool.map(pooled, [scan] * 8):
            np.testing.assert_array_equal(labels, found.labels)
    assert opened == [1]  # one network for all


@pytest.mark.slow
def test_a_spawned_daemonic_process_has_the_same_labels(scan, found, tmp_path):
    target, out = in_another_process, tmp_path / "labels.npy"
    process = multiprocessing.get_context("spawn").Process(target=target, args=(scan, out), daemon=True)
    process.start()
    process.join(300)
    assert process.exitcode == 0
    np.testing.assert_array_equal(np.load(out), found.labels)


def test_a_forked_process_says_that_it_cannot(scan, found):
    def ask(pipe):
        try:
            found.record["labels"] = pooled(scan)
        except InputError as error:
            pipe.send(str(error))

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=ask, args=(theirs,), daemon=True)
    process.start()
    assert ours.poll(60)  # it does not wait forever
    assert "was forked from one that had used a network, and cannot use it; start processes with" in ours.recv()
    process.join(60)


def test_axes_of_length_one_and_units_of_nibabel(scan, found):
    image = nib.load(scan)
    meters = image.affine.copy()
    meters[:3] /= 1000
    longer = nib.Nifti1Image(np.asarray(image.dataobj)[..., None, None], meters)
    longer.header.set_xyzt_units("meter")
    made = kidney_seg.segment(longer, RUN, **HOW)
    np.testing.assert_array_equal(made.labels, found.labels)
    np.testing.assert_allclose(made.spacing_mm, found.spacing_mm, rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "more", "said"),
    [
        (np.zeros((4, 4, 4)), {}, "give affine="),
        (np.zeros((4, 4)), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (np.zeros((4, 4, 4), complex), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (np.full((4, 4, 4), np.nan), {"affine": np.eye(4)}, "NaN or infinity"),
        (np.zeros((4, 4, 4)), {"affine": np.diag([0, 0, 0, 1])}, "expected positive numbers"),
        (np.zeros((4, 4, 4)), {"affine": np.full((4, 4), np.nan)}, "the last row 0, 0, 0, 1"),
        (np.zeros((4, 4, 4)), {"affine": np.eye(3)}, "affine of shape \\(3, 3\\)"),
        (np.zeros((4, 4, 4)), {"affine": "unknown"}, "affine of type str holds no numbers"),
        (np.zeros((4, 4, 4, 2)), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (np.zeros((0, 4, 4)), {"affine": np.eye(4)}, "expected one 3-D image in HU"),
        (None, {"affine": np.eye(4)}, "expected one 3-D image in HU"),
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
