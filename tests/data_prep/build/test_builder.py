from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from data_prep.build import builder as build_module
from data_prep.build import case as build_case
from data_prep.build.__main__ import main
from data_prep.build.builder import build
from data_prep.cache.manifest import read_case, read_manifest, verify
from data_prep.datasets import kits
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of_source
from data_prep.geometry.network_grid import GridSettings, labels_to_network, to_network
from data_prep.volume import read_volume

KITS_AFFINE = np.array([[0, 0, -2.0, 0], [0, -2.0, 0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1]])
SETTINGS = GridSettings(16)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = KITS_AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def write_patient(folder: Path, seed: int = 0, labels: bool = True) -> None:
    image = np.random.default_rng(seed).integers(-1000, 1000, (3, 32, 32)).astype(np.int16)
    save(folder / "imaging.nii.gz", image)
    if labels:
        label = np.zeros((3, 32, 32), np.uint8)
        label[0, 4:12, 4:12] = 1  # 64 voxels; slice 0 of the file is the uppermost
        label[0, 4:8, 4:8] = 2  # 16 of them
        label[1, 0:2, 0:2] = 3  # a cyst of 4
        save(folder / "segmentation.nii.gz", label)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    write_patient(root / "case_00000", seed=0)
    write_patient(root / "case_00001_s0002", seed=1)
    write_patient(root / "case_00002", seed=2, labels=False)
    return root


def test_a_cohort_becomes_a_cache(cohort: Path, tmp_path: Path) -> None:
    result = build(cohort, tmp_path / "cache", SETTINGS)
    assert (result.made, result.kept, result.failures) == (3, 0, [])
    assert result.problems == ["case_00002: has no labels: usable for prediction only"]
    manifest = read_manifest(tmp_path / "cache")
    assert manifest == result.manifest and manifest.settings == SETTINGS
    one, two, three = manifest.entries
    assert (one.case, one.patient, one.slices, one.labelled) == ("case_00000", "case_00000", 3, True)
    assert (two.case, two.patient) == ("case_00001_s0002", "case_00001")
    assert (three.labelled, three.pixels, three.tumor_ml, three.label_sha256) == (False, None, None, None)
    assert one.pixel_mm == 4.0 and one.spacing_mm == (5.0, 2.0, 2.0) and one.shape_zyx == (3, 32, 32)
    assert one.kidney_ml == pytest.approx((64 + 4) * 20 / 1000)  # voxels of 20 mm3, the cyst counts as kidney
    assert one.tumor_ml == pytest.approx(16 * 20 / 1000)
    # axial from the feet: the file's first slice comes last; four voxels a pixel
    assert one.pixels == ((256, 0, 0), (255, 1, 0), (240, 12, 4))
    image, label = read_case(manifest, one)
    assert label.max() == 2
    volume = read_volume(cohort / "case_00000" / "imaging.nii.gz")
    assert np.array_equal(image, to_network(volume.voxels, volume.spacing_mm, SETTINGS))
    for entry in manifest.entries:
        verify(manifest, entry)
    with h5py.File(tmp_path / "cache" / "case_00000.h5") as file:
        assert json.loads(file.attrs["settings"]) == {"size": 16, "pixel_mm": None}
        assert json.loads(file.attrs["source_grid"])["size"] == [3, 32, 32]
        assert file.attrs["image_sha256"] == one.image_sha256
        assert "image_path" not in file.attrs
    assert one.image_path == str(cohort / "case_00000" / "imaging.nii.gz")
    assert one.slices_sha256 == hashlib.sha256(image.tobytes()).hexdigest()


def test_two_processes_make_the_same_bytes_as_one(cohort: Path, tmp_path: Path) -> None:
    one = build(cohort, tmp_path / "one", SETTINGS)
    two = build(cohort, tmp_path / "two", SETTINGS, jobs=2)
    assert two.manifest.sha256 == one.manifest.sha256
    assert two.manifest.data_sha256 == one.manifest.data_sha256


def test_what_is_there_is_kept_and_what_changed_is_made_again(cohort: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = build(cohort, cache, SETTINGS)
    times = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.h5")}
    again = build(cohort, cache, SETTINGS)
    assert (again.made, again.kept) == (0, 3) and again.manifest == first.manifest
    assert times == {path.name: path.stat().st_mtime_ns for path in cache.glob("*.h5")}

    (cache / "manifest.json").unlink()  # a build that was stopped early: files, no manifest
    (cache / "case_00002.h5").unlink()
    resumed = build(cohort, cache, SETTINGS)
    assert (resumed.made, resumed.kept) == (1, 2) and resumed.manifest == first.manifest

    write_patient(cohort / "case_00000", seed=9)  # another image
    write_patient(cohort / "case_00002", seed=2)  # labels came
    damaged = cache / "case_00001_s0002.h5"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 0xFF
    damaged.write_bytes(content)
    changed = build(cohort, cache, SETTINGS)
    assert (changed.made, changed.kept) == (3, 0)
    assert changed.manifest.entries[1] == first.manifest.entries[1]
    assert changed.manifest.entries[2].labelled
    for entry in changed.manifest.entries:
        verify(changed.manifest, entry)


def test_two_settings_or_two_sources_never_mix(cohort: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(cohort, cache, SETTINGS)
    before = {path: path.read_bytes() for path in cache.iterdir()}
    for other in (GridSettings(32), GridSettings(16, 2.0)):
        with pytest.raises(InputError, match="choose another --cache"):
            build(cohort, cache, other)
    write_patient(tmp_path / "other" / "case_00077")
    with pytest.raises(InputError, match="holds other cases"):
        build(tmp_path / "other", cache, SETTINGS)
    write_patient(tmp_path / "same_name" / "case_00000", seed=5)
    with pytest.raises(InputError, match=r"holds another image as case_00000, from .*data/case_00000"):
        build(tmp_path / "same_name", cache, SETTINGS)
    assert all(path.read_bytes() == content for path, content in before.items())
    (cache / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"case_00000\.h5: was made with size 16, not size 32"):
        build(cohort, cache, GridSettings(32))


def test_a_moved_cohort_is_kept_and_a_removed_case_leaves_the_manifest(cohort: Path, tmp_path: Path) -> None:
    build(cohort, tmp_path / "cache", SETTINGS)
    moved = cohort.rename(tmp_path / "moved")
    for file in (moved / "case_00002").iterdir():
        file.unlink()
    (moved / "case_00002").rmdir()
    result = build(moved, tmp_path / "cache", SETTINGS)
    assert (result.made, result.kept) == (0, 2)
    assert result.problems == ["case_00002: is in the cache, no longer in the source: removed from the manifest"]
    assert result.manifest.entries[0].image_path == str(moved / "case_00000" / "imaging.nii.gz")


def spoil_truncated(folder: Path) -> None:
    path = folder / "imaging.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])


def spoil_nan(folder: Path) -> None:
    image = np.zeros((3, 32, 32), np.float32)
    image[0, 0, 0] = np.nan
    save(folder / "imaging.nii.gz", image)


def spoil_grid(folder: Path) -> None:
    affine = KITS_AFFINE.copy()
    affine[:3, 3] = 4.0
    save(folder / "segmentation.nii.gz", np.zeros((3, 32, 32), np.uint8), affine)


SPOILS = {
    "truncated": (spoil_truncated, "truncated"),
    "nan": (spoil_nan, "NaN"),
    "grid": (spoil_grid, "another grid than the image"),
    "shape": (lambda f: save(f / "segmentation.nii.gz", np.zeros((3, 32, 31), np.uint8)), "has (3, 32, 31) voxels"),
    "values": (lambda f: save(f / "segmentation.nii.gz", np.full((3, 32, 32), 7, np.uint8)), "label values 7"),
    "empty": (lambda f: (f / "segmentation.nii.gz").write_bytes(b""), "is empty"),
    "text": (lambda f: (f / "imaging.nii.gz").write_text("moved to the archive"), "not a NIfTI-1 file"),
    "folder": (lambda f: [(f / "imaging.nii.gz").unlink(), (f / "imaging.nii.gz").mkdir()], "holds no file"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_bad_case_is_one_line_and_2_and_the_others_are_built(
    cohort: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, word = SPOILS[name]
    spoil(cohort / "case_00000")
    assert main([str(cohort), "--cache", str(tmp_path / "cache"), "--size", "16"]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line and "build:" not in line]
    assert len(errors) == 1 and errors[0].startswith("error: case_00000: ") and word in errors[0]
    manifest = read_manifest(tmp_path / "cache")
    assert [entry.case for entry in manifest.entries] == ["case_00001_s0002", "case_00002"]
    assert not (tmp_path / "cache" / "case_00000.h5").exists()


def test_a_case_that_became_bad_is_taken_off(cohort: Path, tmp_path: Path) -> None:
    build(cohort, tmp_path / "cache", SETTINGS)
    spoil_nan(cohort / "case_00000")
    result = build(cohort, tmp_path / "cache", SETTINGS, jobs=2)
    assert len(result.failures) == 1 and result.failures[0].startswith("case_00000: ")
    assert [entry.case for entry in result.manifest.entries] == ["case_00001_s0002", "case_00002"]


def test_bad_arguments_are_one_line_and_2(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    cache = str(tmp_path / "cache")
    for arguments, word in [
        ([str(tmp_path / "empty"), "--cache", cache], "no case folder"),
        ([str(tmp_path / "absent"), "--cache", cache], "no such folder"),
        ([str(tmp_path / "file"), "--cache", cache], "is a file"),
        ([str(cohort), "--cache", cache, "--size", "100"], "multiple of 16"),
        ([str(cohort), "--cache", cache, "--pixel-mm", "-1"], "positive number"),
        ([str(cohort), "--cache", cache, "--jobs", "0"], "1 or more"),
        ([str(cohort), "--cache", str(tmp_path / "file")], "expected a folder"),
    ]:
        assert main(arguments) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1 and word in text
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "manifest.json").write_text('{"schema": 99}')
    assert main([str(cohort), "--cache", cache]) == 2
    assert "schema 99" in capsys.readouterr().err


def test_our_own_defect_names_the_case_and_keeps_its_traceback(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path) -> None:
        if "case_00000" in str(path):
            raise ZeroDivisionError("ours")
        return read_volume(path)

    monkeypatch.setattr(build_case, "read_volume", broken)
    result = build(cohort, tmp_path / "cache", SETTINGS)
    assert result.failures == [
        "case_00000: unexpected ZeroDivisionError: ours; a defect of this program, please report it"
    ]
    assert "in broken" in result.tracebacks[0] and "ZeroDivisionError: ours" in result.tracebacks[0]
    assert [entry.case for entry in result.manifest.entries] == ["case_00001_s0002", "case_00002"]
    assert main([str(cohort), "--cache", str(tmp_path / "cache"), "--size", "16"]) == 2
    assert "in broken" in capsys.readouterr().err


def test_identical_images_are_noted_however_they_are_packed(cohort: Path, tmp_path: Path) -> None:
    image = cohort / "case_00000" / "imaging.nii.gz"
    (cohort / "case_00003").mkdir()
    (cohort / "case_00003" / "imaging.nii").write_bytes(gzip.decompress(image.read_bytes()))
    result = build(cohort, tmp_path / "cache", SETTINGS)
    assert "case_00000: holds the same image as case_00003" in result.problems


def test_what_reading_decided_is_noted(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_case, "read_volume", lambda path: replace(read_volume(path), notes=("chose series 2",)))
    assert "case_00000: chose series 2" in build(cohort, tmp_path / "cache", SETTINGS).problems


def test_patterns_are_handed_to_find_cases(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find(*arguments):
        asked.append(arguments)
        return kits.find_cases(cohort)

    monkeypatch.setattr(build_module, "find_cases", find)
    arguments = [str(cohort), "--cache", str(tmp_path / "cache"), "--size", "16"]
    assert main(arguments) == 0
    assert main([*arguments, "--images", "i/{case}.nii", "--labels", "l/{case}.nii"]) == 0
    assert asked == [(str(cohort), None, None), (str(cohort), "i/{case}.nii", "l/{case}.nii")]


def test_a_case_in_a_folder_is_hashed_whole(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = cohort / "case_00000" / "imaging.nii.gz"
    whole = series.rename(cohort / "kept.nii.gz")
    series.mkdir()
    for name in ("a", "b"):
        (series / name).write_text(name)
    monkeypatch.setattr(build_case, "read_volume", lambda path: read_volume(whole if path.is_dir() else path))
    first = build(cohort, tmp_path / "cache", SETTINGS)
    assert first.failures == [] and first.manifest.entries[0].image_sha256 == sha256_of_source(series)
    (series / "b").write_text("changed")
    assert build(cohort, tmp_path / "cache", SETTINGS).made == 1


def test_under_pseudonyms_only_sources_json_tells_who_is_who(cohort: Path, tmp_path: Path) -> None:
    root = tmp_path / "hospital"
    cohort.rename(root)
    (root / "case_00000").rename(root / "DOE^JANE_19600101")
    write_patient(root / "case_00001_s0003", seed=3)
    cache = tmp_path / "cache"
    result = build(root, cache, SETTINGS, pseudonyms=True)
    assert result.failures == [] and result.made == 4
    by_source = {Path(entry.image_path).parent.name: entry for entry in result.manifest.entries}
    jane = by_source["DOE^JANE_19600101"]
    assert jane.case == jane.patient == f"case-{jane.image_sha256[:12]}" and jane.file == f"{jane.case}.h5"
    one, two = by_source["case_00001_s0002"], by_source["case_00001_s0003"]
    assert one.patient == two.patient and one.case != two.case and one.patient in (one.case, two.case)
    for path in cache.iterdir():
        for word in (b"DOE", b"JANE", b"19600101", b"hospital", b"case_0000"):
            assert (word in path.read_bytes()) == (path.name == "sources.json")
        assert "DOE" not in path.name

    assert build(root, cache, SETTINGS, pseudonyms=True).kept == 4
    (cache / "sources.json").unlink()  # as the cache is passed on
    shared = read_manifest(cache)
    assert {entry.image_path for entry in shared.entries} == {None}
    assert shared.data_sha256 == result.manifest.data_sha256
    assert build(root, cache, SETTINGS, pseudonyms=True).manifest == result.manifest


def test_under_pseudonyms_a_doubled_image_is_refused_and_an_unreadable_one_fails(cohort: Path, tmp_path: Path) -> None:
    (cohort / "case_00002" / "imaging.nii.gz").unlink()
    (cohort / "case_00002" / "imaging.nii.gz").mkdir()
    result = build(cohort, tmp_path / "cache", SETTINGS, pseudonyms=True)
    assert result.made == 2 and len(result.failures) == 1 and result.failures[0].startswith("case_00002: ")
    write_patient(cohort / "case_00002b", seed=0)
    with pytest.raises(InputError, match="case_00002b and case_00000: hold the same image"):
        build(cohort, tmp_path / "cache", SETTINGS, pseudonyms=True)


def test_help_is_quick_and_names_the_defaults() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "data_prep.build", "--help"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "default: 256" in result.stdout
    for heavy in ("SimpleITK", "h5py", "scipy", "tensorflow"):
        assert heavy not in result.stderr


def test_real_slices_are_cached_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "kits_real_slices" / "case_00135_s0103"
    manifest = build(folder, tmp_path / "cache").manifest
    image, label = read_case(manifest, manifest.entries[0])
    assert image.shape == label.shape == (1, 256, 256)
    raw = np.asarray(nib.load(folder / "segmentation.nii.gz").dataobj)  # (1, row, column), as KiTS stores it
    expected = labels_to_network(raw, manifest.entries[0].spacing_mm, GridSettings(256))
    assert np.array_equal(label, expected)
    assert image[label > 0].mean() > image[label == 0].mean() + 50  # enhanced kidney: image and label coincide
