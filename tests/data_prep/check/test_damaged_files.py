"""Files damaged in many ways: the data check names every one, and finds nothing in the other case."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.helpers import save

from data_prep.check.findings import KINDS
from data_prep.check.folder import check_folder
from data_prep.files.json_files import write_json
from data_prep.phantom.patient import simulate_patient

HURT, WHOLE = "case_00001", "case_00002"
IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"
Damage = Callable[[Path], object]  # is given the folder of the case to damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated patients, written by nibabel, and their kits.json."""
    root = tmp_path_factory.mktemp("sound")
    records = []
    for index, name in enumerate((HURT, WHOLE)):
        patient = simulate_patient(index, size=64, slices=20)
        (root / name).mkdir()
        z, y, x = patient.spacing_mm
        affine = np.array([[0, 0, x, 0], [0, y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1]])
        save(root / name / IMAGE, patient.image[::-1], affine)
        save(root / name / LABELS, patient.labels[::-1], affine)
        spacing = {"x_spacing": x, "y_spacing": y, "z_spacing": z}
        records.append({"case_id": name, "voxel_spacing": spacing})
    write_json(root / "kits.json", records)
    return root


def test_the_cases_are_sound_before(sound: Path) -> None:
    report = check_folder(sound)
    assert (report.findings, report.exit_code, len(report.names)) == ((), 0, 2)
    assert str(report) == f"{sound}: 2 cases without problems"


def cut(name: str, keep: float) -> Damage:
    """Keep a share of the file (under 1), that many bytes (1 or more), or all but that many (< 0)."""

    def damage(case: Path) -> None:
        content = (case / name).read_bytes()
        end = int(keep * len(content)) if 0 <= keep < 1 else int(keep)
        (case / name).write_bytes(content[:end])

    return damage


def flip(name: str, place: float) -> Damage:
    """Flip a byte: at a share of the file (0 < place < 1), or at an index."""

    def damage(case: Path) -> None:
        content = bytearray((case / name).read_bytes())
        content[int(place * len(content)) if 0 < place < 1 else int(place)] ^= 0xFF
        (case / name).write_bytes(content)

    return damage


def header(name: str, form: str, offset: int, *values: float) -> Damage:
    """Write into the NIfTI header, under an intact gzip stream."""

    def damage(case: Path) -> None:
        content = bytearray(gzip.decompress((case / name).read_bytes()))
        struct.pack_into("<" + form, content, offset, *values)
        (case / name).write_bytes(gzip.compress(content))

    return damage


def voxels(name: str, change: Callable[[np.ndarray], np.ndarray], dtype: type | None = None) -> Damage:
    """Change the stored voxels (axes I, P, L), keeping the affine."""

    def damage(case: Path) -> None:
        image = nib.load(case / name)
        array = np.array(image.dataobj)
        save(case / name, change(array.astype(dtype or array.dtype)), image.affine)

    return damage


def affine(name: str, change: np.ndarray) -> Damage:
    def damage(case: Path) -> None:
        image = nib.load(case / name)
        save(case / name, np.array(image.dataobj), change @ image.affine)

    return damage


def content(name: str, made: Callable[[bytes], bytes]) -> Damage:
    return lambda case: (case / name).write_bytes(made((case / name).read_bytes()))


def renamed(name: str, new: str) -> Damage:
    return lambda case: (case / name).rename(case / new)


def in_place(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something else in the place of the file."""

    def damage(case: Path) -> None:
        (case / name).unlink()
        make(case / name)

    return damage


def put(place: tuple, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def shift(mm: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = mm
    return matrix


def turn(degrees: float) -> np.ndarray:
    matrix, angle = np.eye(4), np.deg2rad(degrees)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def zipped(raw: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("imaging.nii", gzip.decompress(raw))
    return packed.getvalue()


def from_the_other(name: str) -> Damage:
    return lambda case: shutil.copy(case.parent / WHOLE / name, case / name)


def second_phase(case: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 15, (20, 64, 64))
    voxels(IMAGE, lambda a: np.concatenate([a, np.clip(a + noise, -1024, 3000).astype(a.dtype)]))(case)
    voxels(LABELS, lambda a: np.concatenate([a, np.zeros_like(a)]))(case)


def labelled_twice(case: Path) -> None:
    for name in (IMAGE, LABELS):
        voxels(name, lambda a: np.concatenate([a, a]))(case)


def without_the_middle(array: np.ndarray) -> np.ndarray:
    labelled = np.flatnonzero(array.any(axis=(1, 2)))
    array[labelled[len(labelled) // 2]] = 0
    return array


BROKEN = {"truncated", "damaged", "not_an_image"}
HEADER = BROKEN | {"unreadable"}  # which of them is for the reader to say
CUTS = (1, 2, 5, 10, 18, 40, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, -9, -8, -4, -1)
FLIPS = (0, 1, 2, 3, 10, 0.02, 0.25, 0.5, 0.75, 0.98, -8, -4)
DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    **{f"{n} cut {k}": (cut(n, k), BROKEN) for n in (IMAGE, LABELS) for k in CUTS},
    **{f"{n} flipped {k}": (flip(n, k), BROKEN) for n in (IMAGE, LABELS) for k in FLIPS},
    # files and folders
    **{f"{n} empty": (cut(n, 0), {"empty_file"}) for n in (IMAGE, LABELS)},
    **{f"{n} a folder": (in_place(n, Path.mkdir), {"not_a_file"}) for n in (IMAGE, LABELS)},
    **{f"{n} a pipe": (in_place(n, os.mkfifo), {"not_a_file"}) for n in (IMAGE, LABELS)},
    "link to nothing": (in_place(IMAGE, lambda p: p.symlink_to("absent.nii.gz")), {"missing_file"}),
    "link to itself": (in_place(LABELS, lambda p: p.symlink_to(p.name)), {"not_a_file"}),
    "image absent": (lambda case: (case / IMAGE).unlink(), {"missing_image"}),
    "labels absent": (lambda case: (case / LABELS).unlink(), {"no_labels"}),
    "both absent": (lambda case: [path.unlink() for path in case.iterdir()], {"missing_image"}),
    "image named .img": (renamed(IMAGE, "imaging.img"), {"missing_image"}),
    "image named .part": (renamed(IMAGE, IMAGE + ".part"), {"missing_image"}),
    "labels named .png": (renamed(LABELS, "segmentation.png"), {"no_labels"}),
    "gzip named .nii": (renamed(IMAGE, "imaging.nii"), {"wrong_name"}),
    "gzip named .mha": (renamed(IMAGE, "imaging.mha"), {"wrong_name", "unreadable", "not_an_image"}),
    "not compressed": (content(IMAGE, gzip.decompress), {"wrong_name"}),
    "compressed twice": (content(LABELS, gzip.compress), {"not_an_image"}),
    "bzip2": (content(IMAGE, bz2.compress), {"not_an_image"}),
    "zip": (content(IMAGE, zipped), {"not_an_image"}),
    "a web page": (content(IMAGE, lambda _: b"<html>404 not found</html>" * 40), {"not_an_image"}),
    "zeros": (content(LABELS, lambda raw: bytes(len(raw))), {"not_an_image"}),
    "garbage behind": (content(IMAGE, lambda raw: raw + b"rest of another download"), {"damaged"}),
    "voxels short": (content(IMAGE, lambda raw: gzip.compress(gzip.decompress(raw)[:-2])), {"truncated"}),
    "header alone": (content(LABELS, lambda raw: gzip.compress(gzip.decompress(raw)[:352])), {"truncated"}),
    # headers
    "header length": (header(IMAGE, "i", 0, 1234), HEADER),
    "magic": (header(LABELS, "4s", 344, b"abc\0"), HEADER),
    "no dimensions": (header(IMAGE, "h", 40, 0), HEADER),
    "nine dimensions": (header(IMAGE, "h", 40, 9), HEADER),
    "negative size": (header(IMAGE, "h", 42, -64), HEADER),
    "more slices than voxels": (header(IMAGE, "h", 42, 40), {"truncated"}),
    "terabytes": (header(IMAGE, "3h", 42, 32767, 32767, 32767), {"truncated", "unreadable"}),
    "unknown type": (header(IMAGE, "h", 70, 999), HEADER),
    "offset infinite": (header(LABELS, "f", 108, np.inf), HEADER),
    "offset beyond": (header(LABELS, "f", 108, 1e8), HEADER),
    "spacing in meters": (
        header(IMAGE, "3f", 80, 0.005, 0.005, 0.005),
        {"spacing_differs", "grid_differs", "unreadable"},
    ),
    "spacing 0": (header(IMAGE, "3f", 80, 0, 0, 0), HEADER | {"spacing_differs"}),
    "spacing NaN": (header(IMAGE, "3f", 80, np.nan, 1, 1), HEADER | {"spacing_differs"}),
    "affine NaN": (header(IMAGE, "4f", 280, np.nan, 0, 0, 0), HEADER | {"grid_differs"}),
    "affine zero": (header(IMAGE, "12f", 280, *[0] * 12), HEADER | {"grid_differs"}),
    "no orientation": (header(IMAGE, "2h", 252, 0, 0), {"no_orientation"}),
    "slope 10": (header(IMAGE, "2f", 112, 10, 0), {"hu_range"}),
    "intercept 1024": (header(IMAGE, "2f", 112, 1, 1024), {"not_rescaled"}),
    # shapes and grids
    "labels short by a slice": (voxels(LABELS, lambda a: a[:-1]), {"shape_differs"}),
    "image short by a slice": (voxels(IMAGE, lambda a: a[1:]), {"shape_differs"}),
    "labels with other axes": (voxels(LABELS, lambda a: a.transpose(1, 2, 0)), {"shape_differs"}),
    "labels at half size": (voxels(LABELS, lambda a: a[:, ::2, ::2]), {"shape_differs"}),
    "two images in one": (voxels(IMAGE, lambda a: np.stack([a, a], axis=-1)), {"unreadable"}),
    "complex": (voxels(IMAGE, lambda a: a, np.complex64), {"unreadable"}),
    "labels 5 mm off": (affine(LABELS, shift(5)), {"grid_differs"}),
    "image 5 mm off": (affine(IMAGE, shift(-5)), {"grid_differs"}),
    "labels turned": (affine(LABELS, turn(3)), {"grid_differs"}),
    "labels mirrored by affine": (affine(LABELS, np.diag([-1, 1, 1, 1])), {"grid_differs", "label_mirrored"}),
    "labels larger": (affine(LABELS, np.diag([1.1, 1.1, 1.1, 1])), {"grid_differs"}),
    "both with other spacing": (
        lambda case: [affine(n, np.diag([1.1, 1.1, 1, 1]))(case) for n in (IMAGE, LABELS)],
        {"spacing_differs"},
    ),
    # values of images
    "one NaN": (voxels(IMAGE, put((3, 5, 7), np.nan), np.float32), {"not_finite"}),
    "infinity": (voxels(IMAGE, put((0, 0, 0), np.inf), np.float64), {"not_finite"}),
    "constant": (voxels(IMAGE, lambda a: a * 0 + 40), {"constant"}),
    "8-bit": (voxels(IMAGE, lambda a: np.clip((a + 160) / 400 * 255, 0, 255).astype(np.uint8)), {"gray_values"}),
    "as stored by the scanner": (voxels(IMAGE, lambda a: a + 1024), {"not_rescaled"}),
    "clipped to a window": (voxels(IMAGE, lambda a: np.clip(a, -160, 240)), {"no_air"}),
    "between 0 and 1": (voxels(IMAGE, lambda a: (a + 1024) / 4096, np.float32), {"constant"}),
    "inverted": (voxels(IMAGE, lambda a: -a), {"no_air"}),
    "wrapped to unsigned": (voxels(IMAGE, lambda a: a.view(np.uint16)), {"hu_range", "no_air"}),
    "air only": (voxels(IMAGE, lambda a: np.minimum(a, -900)), {"no_soft_tissue"}),
    "slices blank": (voxels(IMAGE, put((slice(8, 10),), -1024)), {"blank_slices"}),
    "last slices zero": (voxels(IMAGE, put((slice(-3, None),), 0)), {"blank_slices"}),
    "last columns zero": (voxels(IMAGE, put((slice(None), slice(None), slice(40, None)), 0)), {"blank_planes"}),
    "last rows zero": (voxels(IMAGE, put((slice(None), slice(50, None)), 0)), {"blank_planes"}),
    "a slice doubled": (voxels(IMAGE, lambda a: put((7,), a[6])(a)), {"doubled_slices"}),
    "image of the other": (from_the_other(IMAGE), {"same_image", "grid_differs"}),
    "second phase": (second_phase, {"second_phase"}),
    # values of labels
    **{f"label {v}": (voxels(LABELS, put((9, 9, 9), v), np.int16), {"label_values"}) for v in (-1, 4, 255)},
    "label 0.5": (voxels(LABELS, put((9, 9, 9), 0.5), np.float32), {"label_values"}),
    "label NaN": (voxels(LABELS, put((9, 9, 9), np.nan), np.float32), {"not_finite"}),
    "labels as floats": (voxels(LABELS, lambda a: a, np.float32), {"label_type"}),
    "labels are the image": (lambda case: shutil.copy(case / IMAGE, case / LABELS), {"label_values"}),
    "labels empty": (voxels(LABELS, lambda a: a * 0), {"empty_label"}),
    "labels nearly empty": (voxels(LABELS, lambda a: put((9, 9, 9), 1)(a * 0)), {"small_label"}),
    "labels beside the body": (voxels(LABELS, lambda a: np.roll(a, 26, axis=1)), {"label_misplaced"}),
    "a labelled slice lost": (voxels(LABELS, without_the_middle), {"label_gap"}),
    "labels in both phases": (labelled_twice, {"many_bodies"}),
    "labels of the other": (from_the_other(LABELS), {"same_labels", "grid_differs"}),
}


def test_there_are_enough_ways() -> None:
    assert len(DAMAGES) >= 60
    assert set.union(*(codes for _, codes in DAMAGES.values())) <= KINDS.keys()


@pytest.mark.parametrize("way", DAMAGES)
def test_every_damage_is_named(sound: Path, tmp_path: Path, way: str) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    damage, codes = DAMAGES[way]
    damage(root / HURT)
    report = check_folder(root)
    found = {one.code for one in report.findings if one.case == HURT and one.severity != "note"}
    assert found & codes, report
    assert report.exit_code == 1
    assert not {one.code for one in report.findings} & {"unexpected", "worker_died"}
    if not found & {"same_image", "same_labels"}:  # which name both
        assert {one.case for one in report.findings} == {HURT}
    json.dumps(report.as_json(), allow_nan=False)
    assert all(one.what and one.remedy and "\n" not in one.what + one.remedy for one in report.findings)
    assert "1 of 2 cases without problems" in str(report) or found & {"same_image", "same_labels"}


def test_what_may_not_be_read_is_named(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    closed = root / HURT / IMAGE
    closed.chmod(0)
    if os.geteuid() == 0:  # may read all: the system's answer is put in its place
        real_open = open

        def refusing(path: object, *args: object, **options: object) -> object:
            if str(path) == str(closed):
                raise PermissionError(13, "Permission denied", str(path))
            return real_open(path, *args, **options)

        monkeypatch.setattr("builtins.open", refusing)
    (one,) = check_folder(root).findings
    assert (one.case, one.code, one.severity) == (HURT, "no_permission", "error")


def test_a_folder_that_may_not_be_listed_is_named(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound, root)
    real_list = os.listdir

    def refusing(path: str | Path) -> list[str]:
        if str(path) == str(root / HURT):
            raise PermissionError(13, "Permission denied", str(path))
        return real_list(path)

    monkeypatch.setattr("os.listdir", refusing)
    (one,) = check_folder(root).findings
    assert (one.case, one.code) == (HURT, "no_permission")
