"""Patients around label maps: their labels are kept, and what surrounds them is where it can be."""

from __future__ import annotations

import json
import time

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from support.helpers import one_line
from support.label_maps import SHAPE, SPACING_MM, two_kidneys, write_maps

from data_prep.build.builder import build
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings, labels_to_network
from data_prep.phantom.__main__ import main
from data_prep.phantom.around_labels import simulate_around
from data_prep.phantom.cohort import write_label_cohort
from data_prep.phantom.options import Variation
from data_prep.split import __main__ as split
from data_prep.volume import read_labels, read_volume


@pytest.fixture(scope="module")
def patient():
    return simulate_around(two_kidneys(), SPACING_MM, index=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    maps = {f"case_{number:05d}": two_kidneys(tumor) for number, tumor in ((12, 14.0), (40, 18.0), (121, 26.0))}
    return write_maps(tmp_path_factory.mktemp("maps"), maps)


def test_the_labels_are_kept_on_their_own_grid(patient):
    np.testing.assert_array_equal(patient.labels, two_kidneys())
    assert patient.image.shape == SHAPE and patient.image.dtype == np.int16 and patient.spacing_mm == SPACING_MM
    assert patient.tissues is None and patient.facts["index"] == 3
    assert patient.facts["tumor_ml"] == pytest.approx(np.count_nonzero(patient.labels == 2) * 0.036)
    json.dumps(patient.facts, allow_nan=False)


@pytest.mark.parametrize("index", range(4))
def test_gray_values_of_kidney_tumor_and_surroundings(index):
    patient = simulate_around(two_kidneys(), SPACING_MM, index, variation=Variation(contrast_hu=(60.0, 60.0)))
    kidney, tumor = (binary_erosion(patient.labels == value, iterations=2) for value in (1, 2))
    hu = patient.facts["painted_hu"]
    assert hu["medulla"] - 25 < np.median(patient.image[kidney]) < hu["cortex"] + 25
    assert patient.facts["tumor_hu"] == pytest.approx(0.65 * hu["cortex"] + 0.35 * hu["medulla"] - 60.0)
    if not patient.facts["necrotic"]:
        assert np.median(patient.image[tumor]) == pytest.approx(patient.facts["tumor_hu"], abs=12)
    # fat next to the kidneys: in no place air or bone, and no kidney-like gray without a label
    foreground = patient.labels > 0
    rim = binary_dilation(foreground) & ~foreground
    assert -130 < np.median(patient.image[rim]) < 30
    near = binary_dilation(foreground, iterations=3) & ~foreground
    assert (patient.image[near] < -500).mean() < 0.005 and (patient.image[near] > 350).mean() < 0.02


def test_the_body_holds_the_labels(patient):
    # from each labelled voxel outward there is tissue before the air: labels grown by 12 mm are inside of the skin
    inside = binary_dilation(patient.labels > 0, iterations=3)
    assert (patient.image[inside] > -300).all()
    assert np.median(patient.image[:, :3]) < -900  # and the body ends somewhere


def test_cortex_is_brighter_than_what_lies_deep_in_early_phases():
    gap = {}
    for index in (4, 5):
        one = simulate_around(two_kidneys(), SPACING_MM, index, hard=True, variation=Variation(noise_hu=0.0))
        kidney = one.labels == 1
        outer = binary_erosion(kidney) & ~binary_erosion(kidney, iterations=2)
        deep = binary_erosion(kidney, iterations=4)
        gap["late" if one.facts["phase"] > 0.8 else "early"] = np.median(one.image[outer]) - np.median(one.image[deep])
    assert gap["early"] > 25 > gap["late"] > -10


@pytest.mark.slow
def test_hard_patients_have_the_gray_values_of_real_ones():
    # 211 real slices: kidney 49 to 200 HU (5 to 95 % of the medians), half of them 98 to 146, and 54 less in tumors
    gray = []
    for index in range(24):
        one = simulate_around(two_kidneys(), SPACING_MM, index, size=32, hard=True)
        gray.append([np.median(one.image[one.labels == value]) for value in (1, 2)])
    kidney, tumor = np.array(gray).T
    assert 85 < np.median(kidney) < 140 and kidney.min() > 20 and kidney.max() < 240
    assert 30 < np.median(kidney - tumor) < 75 and tumor.min() > 0
    easy = [simulate_around(two_kidneys(), SPACING_MM, index, size=32) for index in range(4)]
    assert min(np.median(one.image[one.labels == 1]) for one in easy) > 120


def test_a_coarser_grid_has_the_caches_labels():
    patient = simulate_around(two_kidneys(), SPACING_MM, 3, size=64)
    np.testing.assert_array_equal(patient.labels, labels_to_network(two_kidneys(), SPACING_MM, GridSettings(64)))
    assert patient.spacing_mm == (4.0, 6.0, 6.0) and patient.image.shape == (44, 64, 64)


def test_slices_are_merged_to_the_thickness_asked_for():
    thick = simulate_around(two_kidneys(), SPACING_MM, 3, variation=Variation(thickness_mm=11.0))
    assert thick.spacing_mm == (12.0, 3.0, 3.0) and thick.image.shape == (14, 128, 128)  # two of 44 are left over
    volume = np.count_nonzero(two_kidneys()) * 0.036
    assert np.count_nonzero(thick.labels) * 0.108 == pytest.approx(volume, rel=0.03)
    thin = simulate_around(two_kidneys(), SPACING_MM, 3, variation=Variation(thickness_mm=1.0))
    assert thin.spacing_mm == SPACING_MM


def test_the_same_seed_gives_the_same_voxels(patient):
    again = simulate_around(two_kidneys(), SPACING_MM, index=3)
    np.testing.assert_array_equal(again.image, patient.image)
    assert again.facts == patient.facts
    for other in ({"index": 4}, {"index": 3, "seed": 1}):
        assert (simulate_around(two_kidneys(), SPACING_MM, **other).image != patient.image).mean() > 0.5


def test_a_single_kidney_changes_the_labels():
    single = simulate_around(two_kidneys(), SPACING_MM, 3, variation=Variation(single_kidney=1.0))
    assert single.facts["kidneys"] == "single" and not single.labels[:, :, :64].any()
    where = binary_erosion(two_kidneys() == 1, iterations=3) & (np.arange(SHAPE[2]) < 64)
    assert np.median(single.image[where]) < 60  # no kidney is painted there either
    healthy = two_kidneys(tumor_mm=0)
    kept = simulate_around(healthy, SPACING_MM, 3, variation=Variation(single_kidney=1.0))
    assert kept.facts["kidneys"] == "as labelled"
    np.testing.assert_array_equal(kept.labels, healthy)


def test_a_second_phase_has_no_labels(patient):
    twice = simulate_around(two_kidneys(), SPACING_MM, 3, variation=Variation(second_phase=1.0))
    n = SHAPE[0]
    np.testing.assert_array_equal(twice.image[n:], patient.image)
    np.testing.assert_array_equal(twice.labels[n:], patient.labels)
    assert not twice.labels[:n].any()
    assert np.corrcoef(twice.image[:n].ravel(), patient.image.ravel())[0, 1] > 0.98
    assert (twice.image[:n] != patient.image).mean() > 0.5


def test_cysts_of_later_data_sets_are_kidney():
    labels = two_kidneys()
    labels[10:12][labels[10:12] == 1] = 3
    patient = simulate_around(labels, SPACING_MM, 3)
    np.testing.assert_array_equal(patient.labels, two_kidneys())


@pytest.mark.parametrize(
    ("labels", "settings", "words"),
    [
        (np.zeros(SHAPE, np.uint8), {}, "map 7: has no kidney"),
        (two_kidneys()[20:21], {}, "has 1 slices"),
        (two_kidneys()[20:26], {"variation": Variation(thickness_mm=15.0)}, "6 slices of 4 mm, 1 of 16 mm"),
        (two_kidneys(), {"size": 100}, "multiple of 16"),
        (two_kidneys() * (np.arange(SHAPE[2]) % 43 == 0).astype(np.uint8), {"size": 32}, "12.0 mm per pixel no kidney"),
    ],
)
def test_maps_that_cannot_be_used(labels, settings, words):
    with pytest.raises(InputError) as caught:
        simulate_around(labels, SPACING_MM, 0, name="map 7", **settings)
    assert words in one_line(caught)


def test_the_command_writes_a_cohort_that_builds_and_splits(folder, tmp_path, capsys):
    out = tmp_path / "cohort"
    command = ["--out", str(out), "--labels", str(folder), "--size", "64", "--seed", "2"]
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == ["case_00012", "case_00040", "case_00121", "phantom.json"]
    assert json.loads((out / "case_00121" / "facts.json").read_text())["index"] == 121
    record = json.loads((out / "phantom.json").read_text())
    assert record["label_generator"] == 1 and record["size"] == 64 and len(record["label_maps_sha256"]) == 64
    capsys.readouterr()
    assert main(command) == 0
    assert "0 made, 3 kept" in capsys.readouterr().out
    result = build(out, tmp_path / "cache", GridSettings(64))
    assert not result.failures and len(result.manifest.entries) == 3
    assert all(entry.tumor_ml > 5 for entry in result.manifest.entries)
    assert split.main([str(tmp_path / "cache")]) == 0


def test_files_lie_on_the_label_maps_own_grid(folder, tmp_path):
    write_label_cohort(tmp_path / "cohort", folder, cases=1, seed=1)
    (case,) = (tmp_path / "cohort").glob("case_*")
    source = nibabel.load(folder / case.name / "segmentation.nii.gz")
    for name in ("imaging", "segmentation"):
        file = nibabel.load(case / f"{name}.nii.gz")
        np.testing.assert_allclose(file.affine[:3, :3], source.affine[:3, :3], atol=1e-5)
        assert file.shape == source.shape
    np.testing.assert_array_equal(np.asarray(file.dataobj), np.asarray(source.dataobj))
    image, labels = (read(case / f"{name}.nii.gz") for read, name in ((read_volume, "imaging"), (read_labels, name)))
    kidney = binary_erosion(labels.voxels == 1, iterations=2)
    assert np.median(image.voxels[kidney]) > 100


def test_several_processes_write_the_same(folder, tmp_path):
    for jobs in (1, 2):
        write_label_cohort(tmp_path / str(jobs), folder, size=32, jobs=jobs)
    for name in ("case_00012", "case_00121"):
        one, two = (read_volume(tmp_path / str(jobs) / name / "imaging.nii.gz").voxels for jobs in (1, 2))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slices", "20"], "--slices 20 and --labels"),
        (["--cases", "4"], "there are 3 label maps"),
        (["--size", "100"], "multiple of 16"),
        (["--size", "16"], "at least"),
        (["--small", "0.5"], "also give a number of cases"),
        (["--cases", "0"], "0 cases"),
    ],
)
def test_the_command_refuses_in_one_line(folder, tmp_path, capsys, arguments, words):
    assert main(["--out", str(tmp_path / "cohort"), "--labels", str(folder), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "cohort").exists()


def test_cohorts_of_other_label_maps_do_not_mix(folder, tmp_path, capsys):
    out = tmp_path / "cohort"
    write_label_cohort(out, folder, size=32)
    other = write_maps(tmp_path / "other", {"case_00012": two_kidneys(20.0)})
    assert main(["--out", str(out), "--labels", str(other), "--size", "32"]) == 2
    assert "label_maps_sha256" in capsys.readouterr().err
    assert main(["--out", str(out), "--cases", "3", "--size", "32"]) == 2


@pytest.mark.parametrize("name", ["case_00010", "case_00030", "case_00110"])
def test_real_label_maps(shared_data, name):
    volume = read_labels(shared_data / "kits19_labels" / name / "segmentation.nii.gz")
    start = time.process_time()
    patient = simulate_around(volume.voxels, volume.spacing_mm, int(name[-5:]), size=128)
    assert time.process_time() - start < 20
    expected = labels_to_network(volume.voxels, volume.spacing_mm, GridSettings(128))
    np.testing.assert_array_equal(patient.labels, expected)
    foreground = binary_erosion(patient.labels > 0)
    assert (patient.image[foreground] > -50).mean() > 0.99
    shell = binary_dilation(patient.labels > 0, iterations=2) & (patient.labels == 0)
    assert (patient.image[shell] < -500).mean() < 0.01 and (patient.image[shell] > 300).mean() < 0.02
    assert np.median(patient.image[:, :4, :4]) < -900
