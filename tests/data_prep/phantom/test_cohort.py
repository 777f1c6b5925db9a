"""The simulated cohort: its statistics, its files, and that it neither mixes nor repeats."""

from __future__ import annotations

import json
import os
import re
from functools import partial

import nibabel
import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.phantom import cohort as phantom_cohort
from data_prep.phantom.__main__ import main
from data_prep.phantom.cohort import write_cohort
from data_prep.phantom.files import write_nifti
from data_prep.phantom.options import places
from data_prep.phantom.painting.body_size import EASY, HARD
from data_prep.phantom.painting.canvas import TISSUES, Canvas, coverage
from data_prep.phantom.painting.kidneys import tumor_size_ml
from data_prep.phantom.patient import simulate_patient
from data_prep.volume import read_volume

SMALL = {"size": 64, "slices": 16}


@pytest.fixture(scope="module")
def patients():
    return [simulate_patient(index) for index in range(6)]


def voxel_ml(patient):
    return np.prod(patient.spacing_mm) / 1000.0


def test_coverage_is_the_share_of_a_voxel():
    # a plane at x = 1.25 voxels: voxel 1 reaches from 0.5 to 1.5, so three quarters of it lie inside
    x = np.broadcast_to(np.arange(4.0), (3, 3, 4))
    np.testing.assert_allclose(coverage(x - 1.25)[1, 1], [1.0, 0.75, 0.0, 0.0])
    # the level's unit does not matter, and neither does the axis
    np.testing.assert_allclose(coverage(10 * (x - 1.25)).transpose(2, 1, 0)[:, 1, 1], [1.0, 0.75, 0.0, 0.0])


def test_sphere_has_its_volume():
    canvas = Canvas(np.random.default_rng(0), (20, 40, 40), (3.0, 2.0, 2.0), warp_mm=0.0)
    box, level = canvas.ellipsoid((5.0, -4.0, 3.0), (20.0, 20.0, 20.0))
    assert coverage(level).sum() * 12.0 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)
    middle = np.unravel_index(level.argmin(), level.shape)
    at = [canvas.axes_mm[k][box[k]][middle[k]] for k in (2, 1, 0)]
    np.testing.assert_allclose(at, (5.0, -4.0, 3.0), atol=1.5)


def test_smooth_field_has_unit_variance_and_the_box_of_its_part():
    canvas = Canvas(np.random.default_rng(0), (16, 64, 64), (5.0, 3.0, 3.0), warp_mm=1.0)
    field = canvas.smooth_field(10.0)
    assert field.shape == (16, 64, 64)
    assert abs(field.mean()) < 0.15 and 0.85 < field.std() < 1.15
    # neighbors at a tenth of the knots' distance are alike, voxels three knots apart are not
    assert np.corrcoef(field[:, :, :-1].ravel(), field[:, :, 1:].ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(field[:, :, :-11].ravel(), field[:, :, 11:].ravel())[0, 1]) < 0.2
    box = canvas.box((0.0, 0.0, 0.0), 12.0)
    assert canvas.smooth_field(10.0, box).shape == canvas.hu[box].shape


@pytest.mark.parametrize(("difficulty", "smallest"), [(EASY, 2.5), (HARD, 0.8)])
def test_tumor_sizes_have_the_spread_of_kits(difficulty, smallest):
    sizes = np.array([tumor_size_ml(places(index, seed=7)[0], difficulty.smallest_tumor_ml) for index in range(200)])
    assert np.median(sizes) == pytest.approx(30.0, rel=0.1)
    assert (sizes < 5.0).mean() == pytest.approx(0.15, abs=0.02)
    assert np.percentile(sizes, 95) == pytest.approx(373.0, rel=0.1)
    assert sizes.min() >= smallest and sizes.max() <= 420.0


def test_tumor_size_by_hand():
    # one deviation under the median: 30 exp(-1.729) = 5.324; the upper half: 30 exp(1.532) = 138.8
    assert tumor_size_ml(0.15865525) == pytest.approx(5.324, rel=1e-3)
    assert tumor_size_ml(0.84134475) == pytest.approx(138.8, rel=1e-3)
    assert tumor_size_ml(1e-6) == 0.8 and tumor_size_ml(1 - 1e-6) == 420.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_cohorts_have_the_spread_too(seed):
    ranks = np.array([places(index, seed) for index in range(40)])
    assert ((ranks > 0) & (ranks < 1)).all()
    # of 40 patients, 15 % are 6
    assert np.abs((ranks < 0.15).sum(axis=0) - 6).max() <= 1
    assert len(np.unique(ranks[:, 0])) == 40


def test_same_seed_same_voxels_whatever_came_before(patients):
    again = simulate_patient(3)
    np.testing.assert_array_equal(again.image, patients[3].image)
    np.testing.assert_array_equal(again.labels, patients[3].labels)
    assert again.spacing_mm == patients[3].spacing_mm and again.facts == patients[3].facts
    assert (simulate_patient(3, seed=1).image != again.image).mean() > 0.5
    assert (simulate_patient(3, hard=True).image != again.image).mean() > 0.5


@pytest.mark.parametrize(
    ("drawn", "every_2731st", "voxels"),
    [
        (
            {"index": 0},
            "-980 -103 -1 -1000 -124 1 -1005 -81 -108 -990 42 -88 -1011 23 107 -995 -79 97 -1004 120 92 -989 138 96",
            [64869, 646, 21],
        ),
        (
            {"index": 3, "seed": 5, "hard": True},
            "-997 -99 44 -1011 -86 -41 -1005 -60 1 -1001 -52 -32 -1007 -105 94 -992 42 103 -984 67 111 -991 57 90",
            [64955, 561, 20],
        ),
    ],
)
def test_the_voxels_of_generator_2(drawn, every_2731st, voxels):
    # as version 2 drew them at first; a processor's rounding may turn a unit, and no draw may come or go
    patient = simulate_patient(**drawn, **SMALL)
    assert phantom_cohort.GENERATOR == 2
    np.testing.assert_allclose(patient.image.ravel()[1::2731], [int(hu) for hu in every_2731st.split()], atol=1)
    np.testing.assert_allclose(np.bincount(patient.labels.ravel()), voxels, atol=1)


def test_every_patient_has_two_kidneys_and_one_tumor(patients):
    from scipy.ndimage import label

    for patient in patients:
        assert patient.image.dtype == np.int16 and patient.labels.dtype == np.uint8
        assert patient.image.shape == patient.labels.shape == patient.tissues.shape == (32, 128, 128)
        assert set(np.unique(patient.labels)) == {0, 1, 2}
        bodies, count = label(patient.labels > 0, np.ones((3, 3, 3)))
        volumes = np.sort(np.bincount(bodies.ravel())[1:])[::-1] * voxel_ml(patient)
        assert count >= 2 and volumes[1] > 40.0  # both kidneys, apart
        assert label(patient.labels == 2, np.ones((3, 3, 3)))[1] == 1
        assert patient.facts["tumor_ml"] == pytest.approx(patient.facts["tumor_target_ml"], abs=0.1)
        assert patient.facts["tumor_ml"] == pytest.approx((patient.labels == 2).sum() * voxel_ml(patient))
        assert 180.0 < patient.facts["kidney_ml"] < 420.0


def test_spacing_varies_as_in_kits(patients):
    spacing = np.array([patient.spacing_mm for patient in patients])
    assert (spacing[:, 0] >= 4.4).all() and (spacing[:, 0] <= 6.0).all()
    assert (spacing[:, 1] >= 333 / 128).all() and (spacing[:, 1] <= 486 / 128).all()
    assert (spacing[:, 1] == spacing[:, 2]).all()
    assert np.ptp(spacing[:, 0]) > 0.5 and np.ptp(spacing[:, 1]) > 0.3
    # other numbers of voxels cover about the same millimeters
    coarse = simulate_patient(0, **SMALL)
    assert coarse.image.shape == (16, 64, 64)
    np.testing.assert_allclose(np.array(coarse.spacing_mm), 2 * spacing[0])


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [
        ("air", -1005, -960),
        ("fat", -115, -85),
        ("muscle", 45, 75),
        ("bone", 180, 450),
        ("liver", 70, 130),
        ("spleen", 85, 150),
        ("aorta", 120, 340),
        ("cortex", 130, 230),
        ("tumor", 30, 190),  # the smallest share many voxels with fat
    ],
)
def test_hu_of_tissues(patients, tissue, low, high):
    for patient in patients:
        here = patient.image[patient.tissues == TISSUES.index(tissue)]
        assert len(here) > 15
        assert low < np.median(here) < high


def test_cysts_are_water_and_labelled_kidney():
    found = 0
    for index in range(12):
        patient = simulate_patient(index, **SMALL)
        cyst = (patient.tissues == TISSUES.index("cyst")) & (patient.labels != 2)
        assert (patient.labels[cyst] == 1).all()
        if cyst.sum() > 10:
            found += 1
            # some of its voxels are shared with kidney, fat or noise; the darker half is not with kidney
            assert -40 < np.percentile(patient.image[cyst], 30) < 45
    assert found >= 2


def test_anatomy_lies_where_it_should(patients):
    for patient in patients:

        def center(name, patient=patient):
            return np.argwhere(patient.tissues == TISSUES.index(name)).mean(axis=0)

        z, y, x = 0, 1, 2
        # LPS: x grows to the patient's left, y to the back, z to the head
        assert center("liver")[x] < 64 < center("spleen")[x]
        assert center("bowel")[y] < center("aorta")[y] < center("bone")[y] + 20
        assert center("liver")[z] > center("bowel")[z]
        kidney = np.argwhere(patient.labels > 0)
        assert kidney[:, y].mean() > 64 > center("bowel")[y]


def test_noise_is_correlated_between_neighbors(patients):
    air = patients[0].image[:, :6, :].astype(float)
    assert (patients[0].tissues[:, :6, :] == 0).all()
    air -= air.mean()
    assert np.corrcoef(air[:, :, :-1].ravel(), air[:, :, 1:].ravel())[0, 1] > 0.2


def test_edges_have_partial_volume(patients):
    # between the air outside and the skin there are voxels of neither, as in a real scan
    image = patients[0].image
    assert ((image > -900) & (image < -250)).sum() > 500


@pytest.mark.slow
def test_hard_cohort_is_harder():
    easy = [simulate_patient(index, **SMALL).facts for index in range(20)]
    hard = [simulate_patient(index, hard=True, **SMALL).facts for index in range(20)]
    assert 2 <= sum(facts["low_contrast"] for facts in easy) <= 4  # 15 % of 20 are 3
    assert 7 <= sum(facts["low_contrast"] for facts in hard) <= 9  # 40 %
    median = [np.median([facts["contrast_hu"] for facts in cohort]) for cohort in (easy, hard)]
    assert median[0] > median[1] + 10 and median[0] > 60


def test_files_are_laid_out_as_kits(tmp_path):
    folders = write_cohort(tmp_path / "cohort", cases=2, **SMALL)
    assert [folder.name for folder in folders] == ["case_00000", "case_00001"]
    patient = simulate_patient(1, **SMALL)
    for name, voxels, dtype in (("imaging", patient.image, np.int16), ("segmentation", patient.labels, np.uint8)):
        file = nibabel.load(folders[1] / f"{name}.nii.gz")
        assert nibabel.aff2axcodes(file.affine) == ("I", "P", "L")
        assert file.shape == (16, 64, 64) and file.get_data_dtype() == dtype
        dz, dy, dx = patient.spacing_mm
        expected = np.array([[0, 0, -dx], [0, -dy, 0], [-dz, 0, 0]])
        np.testing.assert_allclose(file.affine[:3, :3], expected, atol=1e-5)
        # the first slice of the file is the topmost, that of the array the lowest
        np.testing.assert_array_equal(np.asarray(file.dataobj), voxels[::-1])


def test_simpleitk_finds_axial_order_again(tmp_path):
    import SimpleITK as sitk

    patient = simulate_patient(0, **SMALL)
    write_nifti(tmp_path / "image.nii.gz", patient.image, patient.spacing_mm)
    image = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "image.nii.gz")), "LPS")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), patient.image)
    np.testing.assert_allclose(image.GetSpacing()[::-1], patient.spacing_mm, rtol=1e-6)


def test_affine_is_that_of_a_real_file(tmp_path, shared_data):
    real = nibabel.load(next(iter(sorted((shared_data / "kits_real_slices").glob("*/imaging.nii.gz")))))
    write_nifti(tmp_path / "image.nii.gz", np.zeros(real.shape, np.int16), real.header.get_zooms())
    ours = nibabel.load(tmp_path / "image.nii.gz")
    np.testing.assert_allclose(ours.affine, real.affine, atol=1e-5)
    assert ours.shape == real.shape and ours.header.get_zooms() == pytest.approx(real.header.get_zooms())


def test_same_cohort_again_does_nothing_and_goes_on_where_it_stopped(tmp_path, capsys):
    out = tmp_path / "cohort"
    command = ["--out", str(out), "--cases", "3", "--size", "32", "--slices", "8"]
    assert main(command) == 0
    assert "3 made" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in out.rglob("*.nii.gz")}
    times = {path: path.stat().st_mtime_ns for path in before}
    assert main(command) == 0
    assert "0 made, 3 kept" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in before}

    (out / "case_00001" / "segmentation.nii.gz").unlink()
    whole = out / "case_00002" / "imaging.nii.gz"
    whole.write_bytes(whole.read_bytes()[:-100])
    assert main(command) == 0
    assert "2 made, 1 kept" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in out.rglob("*.nii.gz")}


def test_killed_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def killed(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom_cohort, "simulate_patient", killed)
    command = ["--out", str(tmp_path / "cohort"), "--cases", "1", "--size", "32", "--slices", "8"]
    assert main(command) == 130
    monkeypatch.undo()
    assert main(command) == 0


@pytest.mark.parametrize("change", [["--seed", "1"], ["--cases", "2"], ["--size", "48"], ["--slices", "9"], ["--hard"]])
def test_other_settings_never_mix(tmp_path, capsys, change):
    out = tmp_path / "cohort"
    command = ["--out", str(out), "--cases", "1", "--size", "32", "--slices", "8"]
    assert main(command) == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    capsys.readouterr()
    assert main([*command, *change]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "other settings" in error and change[0].strip("-") in error
    assert before == sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=re.escape("letter.txt")):
        write_cohort(tmp_path, cases=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(InputError, match="file"):
        write_cohort(tmp_path / "letter.txt", cases=1, **SMALL)
    with pytest.raises(InputError, match="file"):
        write_cohort(tmp_path / "letter.txt" / "below", cases=1, **SMALL)

    out = tmp_path / "cohort"
    write_cohort(out, cases=1, size=32, slices=8)
    (out / "case_00099").mkdir()
    with pytest.raises(InputError, match="case_00099"):
        write_cohort(out, cases=1, size=32, slices=8)
    (out / "phantom.json").write_text("{")
    with pytest.raises(InputError, match="record"):
        write_cohort(out, cases=1, size=32, slices=8)
    (out / "phantom.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="other settings"):
        write_cohort(out, cases=1, size=32, slices=8)


@pytest.mark.parametrize("bad", [{"cases": 0}, {"seed": -1}, {"size": 16}, {"slices": 4}])
def test_senseless_settings_are_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(InputError):
        write_cohort(tmp_path / "cohort", **bad)
    assert not (tmp_path / "cohort").exists()


def test_several_processes_write_the_same_files(tmp_path):
    for jobs in (1, 2):
        write_cohort(tmp_path / str(jobs), cases=3, size=32, slices=8, jobs=jobs)
    assert (tmp_path / "1/case_00002/facts.json").read_text() == (tmp_path / "2/case_00002/facts.json").read_text()
    for index in range(3):
        one, two = (read_volume(tmp_path / str(jobs) / f"case_{index:05d}" / "imaging.nii.gz") for jobs in (1, 2))
        np.testing.assert_array_equal(one.voxels, two.voxels)
    with pytest.raises(InputError, match="jobs 0"):
        write_cohort(tmp_path / "3", cases=3, jobs=0)


def test_a_worker_that_dies_is_named(tmp_path):
    cohort = phantom_cohort.Cohort(tmp_path / "cohort", {}, {name: partial(os._exit, 3) for name in ("a", "b")})
    with pytest.raises(InputError, match=r": [ab]: its process ended with code 3, .*: finished cases are kept"):
        cohort.write_missing(jobs=2)
