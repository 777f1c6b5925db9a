from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data_prep.datasets.kits import find_cases, find_layout, patient_of
from data_prep.datasets.metadata import expected_spacing_mm, read_metadata
from data_prep.errors import InputError
from data_prep.labels import CLASS_NAMES


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_index_of_a_class_is_its_label() -> None:
    assert CLASS_NAMES == ("background", "kidney", "tumor")


def test_the_patient_is_the_case_number() -> None:
    assert patient_of("case_00135_s0103") == "case_00135"
    assert patient_of("case_00135") == "case_00135"
    assert patient_of("volunteer_7") == "volunteer_7"


def test_cases_are_found_sorted_and_problems_are_named(tmp_path: Path) -> None:
    touch(
        tmp_path / "case_00002" / "imaging.nii.gz",
        tmp_path / "case_00002" / "segmentation.nii.gz",
        tmp_path / "case_00001_s0010" / "imaging.nii",
        tmp_path / "case_00001_s0010" / "segmentation.nii",
        tmp_path / "case_00003" / "segmentation.nii.gz",
        tmp_path / "case_00004" / "imaging.nii.gz",
        tmp_path / "case_00005" / "notes.txt",
        tmp_path / "clinic-1" / "imaging.nii.gz",
        tmp_path / "docs" / "readme.txt",
    )
    cases, problems = find_cases(tmp_path)
    assert [(case.name, case.patient) for case in cases] == [
        ("case_00001_s0010", "case_00001"),
        ("case_00002", "case_00002"),
        ("case_00004", "case_00004"),
        ("clinic-1", "clinic-1"),
    ]
    assert cases[0].image == tmp_path / "case_00001_s0010" / "imaging.nii"
    assert cases[1].labels == tmp_path / "case_00002" / "segmentation.nii.gz"
    assert cases[2].labels is None
    assert [str(problem) for problem in problems] == [
        "case_00003: has no imaging.nii.gz: left out",
        "case_00004: has no labels: usable for prediction only",
        "case_00005: has no imaging.nii.gz: left out",
        "clinic-1: has no labels: usable for prediction only",
    ]


def test_one_case_folder_is_a_cohort_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "case_00007_s0001"
    touch(folder / "imaging.nii.gz", folder / "segmentation.nii.gz")
    for root in (folder, str(folder)):
        (case,), problems = find_cases(root)
        assert (case.name, case.patient, problems) == ("case_00007_s0001", "case_00007", [])
    monkeypatch.chdir(folder)
    assert find_cases(".")[0][0].name == "case_00007_s0001"


def test_folders_without_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_cases(tmp_path / "absent")
    with pytest.raises(InputError, match="no case folder"):
        find_cases(tmp_path)
    touch(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        find_cases(tmp_path / "file")
    touch(tmp_path / "case_00000" / "segmentation.nii.gz")
    with pytest.raises(InputError, match="1 case folders without imaging"):
        find_cases(tmp_path)


def found(root: Path, *patterns: str) -> dict[str, tuple[str, str | None]]:
    """Image and labels by case, as paths below the root."""
    cases, _ = find_cases(root, *patterns)
    return {
        case.name: (
            case.image.relative_to(root).as_posix(),
            case.labels and case.labels.relative_to(root).as_posix(),
        )
        for case in cases
    }


def test_kits21_and_kits23_folders_give_one_label_map(tmp_path: Path) -> None:
    touch(
        tmp_path / "case_00000" / "imaging.nii.gz",  # KiTS21
        tmp_path / "case_00000" / "aggregated_AND_seg.nii.gz",
        tmp_path / "case_00000" / "aggregated_MAJ_seg.nii.gz",
        tmp_path / "case_00000" / "aggregated_OR_seg.nii.gz",
        tmp_path / "case_00000" / "segmentations" / "kidney_instance-1_annotation-1.nii.gz",
        tmp_path / "case_00001" / "imaging.nii.gz",
        tmp_path / "case_00001" / "aggregated_MAJ_seg.nii.gz",
        tmp_path / "case_00001" / "segmentation.nii.gz",
        tmp_path / "case_00400" / "imaging.nii.gz",  # KiTS23
        tmp_path / "case_00400" / "segmentation.nii.gz",
        tmp_path / "case_00400" / "instances" / "kidney_instance-1_annotation-1.nii.gz",
    )
    assert found(tmp_path) == {
        "case_00000": ("case_00000/imaging.nii.gz", "case_00000/aggregated_MAJ_seg.nii.gz"),
        "case_00001": ("case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz"),
        "case_00400": ("case_00400/imaging.nii.gz", "case_00400/segmentation.nii.gz"),
    }


def test_other_formats_and_dicom_folders_are_found(tmp_path: Path) -> None:
    touch(
        tmp_path / "a" / "imaging.nrrd",
        tmp_path / "a" / "segmentation.mha",
        tmp_path / "b" / "dicom" / "readme.txt",
        tmp_path / "c" / "imaging" / "notes.txt",
        tmp_path / "c" / "segmentation.nii",
        tmp_path / "d" / "imaging.nii",
        tmp_path / "d" / "imaging.nii.gz",
    )
    (tmp_path / "b" / "dicom" / "series").mkdir()
    (tmp_path / "b" / "dicom" / "series" / "IM0001").write_bytes(bytes(128) + b"DICM")
    os.mkfifo(tmp_path / "b" / "dicom" / "pipe")
    assert found(tmp_path) == {
        "a": ("a/imaging.nrrd", "a/segmentation.mha"),
        "b": ("b/dicom", None),
        "d": ("d/imaging.nii.gz", None),
    }
    assert [str(problem) for problem in find_cases(tmp_path)[1]] == [
        "b: has no labels: usable for prediction only",
        "c: has no imaging.nii.gz: left out (found imaging)",
        "d: has imaging.nii.gz and imaging.nii: imaging.nii.gz is used",
        "d: has no labels: usable for prediction only",
    ]


def test_links_and_folders_in_place_of_files_are_kept_for_the_reader_to_name(tmp_path: Path) -> None:
    (tmp_path / "case_00000" / "imaging.nii.gz").mkdir(parents=True)
    (tmp_path / "case_00001").mkdir()
    (tmp_path / "case_00001" / "imaging.nii.gz").symlink_to("absent")
    assert [case.name for case in find_cases(tmp_path)[0]] == ["case_00000", "case_00001"]


def test_patterns_pair_two_folders(tmp_path: Path) -> None:
    touch(
        tmp_path / "imagesTr" / "kidney_01_0000.nii.gz",
        tmp_path / "imagesTr" / "kidney_02_0000.nii.gz",
        tmp_path / "imagesTr" / "._kidney_01_0000.nii.gz",
        tmp_path / "labelsTr" / "kidney_01.nii.gz",
        tmp_path / "labelsTr" / "kidney_03.nii.gz",
        tmp_path / "labelsTr" / "dataset.json",
    )
    patterns = ("imagesTr/{case}_0000.nii.gz", "labelsTr/{case}.nii.gz")
    assert found(tmp_path, *patterns) == {
        "kidney_01": ("imagesTr/kidney_01_0000.nii.gz", "labelsTr/kidney_01.nii.gz"),
        "kidney_02": ("imagesTr/kidney_02_0000.nii.gz", None),
    }
    assert [str(problem) for problem in find_cases(tmp_path, *patterns)[1]] == [
        "kidney_02: has no labels: usable for prediction only",
        "kidney_03: has labels, but no image that fits --images: left out",
    ]
    layout = find_layout(tmp_path, *patterns)
    assert layout.labels_alone == [("kidney_03", tmp_path / "labelsTr" / "kidney_03.nii.gz", None)]


def test_patterns_may_name_folders_twice_the_case_and_wildcards(tmp_path: Path) -> None:
    touch(
        tmp_path / "ct" / "anna" / "series" / "IM1",
        tmp_path / "ct" / "bert" / "other" / "IM1",
        tmp_path / "s" / "x" / "x.nii.gz",
        tmp_path / "s" / "x" / "y.nii.gz",
        tmp_path / "s" / "a.b" / "a.b.nii.gz",
    )
    assert found(tmp_path, "ct/{case}/series") == {"anna": ("ct/anna/series", None)}
    assert found(tmp_path, "s/{case}/{case}.nii.gz") == {
        "a.b": ("s/a.b/a.b.nii.gz", None),
        "x": ("s/x/x.nii.gz", None),
    }
    assert found(tmp_path, "./s/*/{case}.nii.?z").keys() == {"a.b", "x", "y"}


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (("/data/{case}.nii.gz",), "expected a path below"),
        (("images/*.nii.gz",), "{case}"),
        (("images/{case}.nii.gz",), "that fit --images"),
        ((None, "labels/{case}.nii.gz"), "without --images"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(tmp_path: Path, patterns: tuple, words: str) -> None:
    with pytest.raises(InputError) as caught:
        find_cases(tmp_path, *patterns)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_two_images_of_one_case_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.nii.gz", tmp_path / "b" / "x.nii.gz")
    with pytest.raises(InputError, match=r"x: --images fits 2 files: a/x.nii.gz and b/x.nii.gz"):
        find_cases(tmp_path, "*/{case}.nii.gz")


def test_labels_beside_their_images_are_no_cases_of_their_own(tmp_path: Path) -> None:
    for images, labels in (("{case}.nii.gz", "{case}_seg.nii.gz"), ("{case}.nrrd", "{case}.seg.nrrd")):
        files = {f"p{n}": tuple(pattern.format(case=f"p{n}") for pattern in (images, labels)) for n in range(3)}
        touch(*(tmp_path / name for pair in files.values() for name in pair))
        assert found(tmp_path, images, labels) == files and find_cases(tmp_path, images, labels)[1] == []


def test_a_mask_for_each_structure_is_an_error_that_says_to_merge_them(tmp_path: Path) -> None:
    masks = [tmp_path / "s0001" / "segmentations" / f"kidney_{side}.nii.gz" for side in ("left", "right")]
    touch(tmp_path / "s0001" / "ct.nii.gz", *masks)
    both = "s0001/segmentations/kidney_left.nii.gz and s0001/segmentations/kidney_right.nii.gz"
    words = rf"^s0001: --labels fits 2 files: {both}; .* merge them \(docs/howto/recipes\.md\)$"
    with pytest.raises(InputError, match=words):
        find_cases(tmp_path, "{case}/ct.nii.gz", "{case}/segmentations/kidney_*.nii.gz")


def test_dicom_series_with_a_segmentation_in_another_folder_of_the_study(tmp_path: Path) -> None:
    for name in ("KiTS-00000", "KiTS-00001"):  # as TCIA has C4KC-KiTS
        study = tmp_path / name / "06-29-2003-threephaseabdomen"
        touch(study / "2.000000-arterial-39274" / "1-1.dcm", study / "300.000000-Segmentation-99942" / "1-1.dcm")
    assert found(tmp_path, "{case}/*/*arterial*", "{case}/*/*Segmentation*/1-1.dcm") == {
        name: (
            f"{name}/06-29-2003-threephaseabdomen/2.000000-arterial-39274",
            f"{name}/06-29-2003-threephaseabdomen/300.000000-Segmentation-99942/1-1.dcm",
        )
        for name in ("KiTS-00000", "KiTS-00001")
    }


EVIL = (
    "case_00001_<script>",
    "case_00002_\nb",
    "case_00003_\x1b[31m",
    "case_00004" + "a" * 130,
    "-rf",
    "a&b",
    "it's",
    "q`",
)


def test_names_that_could_do_harm_are_refused_and_shown_escaped(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "imaging.nii.gz" for name in (*EVIL, ".hidden", "good")))
    touch(tmp_path / os.fsdecode(b"case_00009_\xff") / "imaging.nii.gz")
    assert list(found(tmp_path)) == ["good"]
    problems = [str(one) for one in find_cases(tmp_path)[1] if one.code == "unsafe_name"]
    assert len(problems) == len(EVIL) + 2
    assert all(line.isascii() and line.isprintable() and not set("<>&") & set(line) for line in problems)
    touch(*(tmp_path / "flat" / f"{name}.nii.gz" for name in EVIL))
    with pytest.raises(InputError, match="8 refused for their names"):
        find_cases(tmp_path, "flat/{case}.nii.gz")


def test_what_kits_json_says_is_kept_by_a_list(tmp_path: Path) -> None:
    touch(
        tmp_path / "data" / "case_00001" / "imaging.nii.gz", tmp_path / "data" / "case_00001_s0007" / "imaging.nii.gz"
    )
    touch(tmp_path / "data" / "case_00002" / "imaging.nii.gz")
    record = {
        "case_id": "case_00001",
        "age_at_nephrectomy": 93,
        "gender": "male",
        "malignant": True,
        "body_mass_index": float("nan"),
        "tumor_histologic_subtype": "clear_cell_rcc",
        "surgical_procedure": "as Dr. Doe wrote: see the letter",
        "comorbidities": {"copd": True},
        "vital_days_after_surgery": 1420,
        "voxel_spacing": {"x_spacing": 0.8, "y_spacing": 0.9, "z_spacing": 3.0},
    }
    kits = tmp_path / "kits.json"  # in the parent, as in the published repository
    kits.write_text(json.dumps([record, {"no": "id"}, 7]))
    cases, _ = find_cases(tmp_path / "data")
    assert cases[0].metadata == {
        "age_at_nephrectomy": 89,
        "gender": "male",
        "malignant": True,
        "tumor_histologic_subtype": "clear_cell_rcc",
        "z_spacing": 3.0,
        "y_spacing": 0.9,
        "x_spacing": 0.8,
    }
    assert cases[1].metadata == cases[0].metadata  # a slice of the patient
    assert cases[2].metadata is None
    assert expected_spacing_mm(cases[0].metadata) == (3.0, 0.9, 0.8)
    newer = {"case_id": "case_00002", "captured_pixel_width": 0.7, "captured_slice_thickness": 5.0}
    (tmp_path / "kits23.json").write_text(json.dumps([newer]))
    metadata = find_cases(tmp_path / "data")[0][2].metadata
    assert metadata == {"captured_pixel_width": 0.7, "captured_slice_thickness": 5.0}
    assert expected_spacing_mm(metadata) == (None, 0.7, 0.7)
    assert expected_spacing_mm(None) == (None, None, None)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"7", b'[{"id": 1}]', b"[" * 100_000, b'{"a": 1}', b"null", b'"text"']
)
def test_a_broken_kits_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    touch(tmp_path / "case_00001" / "imaging.nii.gz", tmp_path / "case_00001" / "segmentation.nii.gz")
    (tmp_path / "kits.json").write_bytes(content)
    cases, problems = find_cases(tmp_path)
    assert [case.metadata for case in cases] == [None]
    (problem,) = problems
    assert problem.code == "bad_metadata" and str(problem).startswith("kits.json: ") and str(problem).isprintable()


def test_the_published_kits_json_is_read(shared_data: Path) -> None:
    layout = find_layout(shared_data / "kits19_labels")
    assert (len(layout.cases), len(layout.labels_alone)) == (0, 126)
    metadata, problems = read_metadata(shared_data / "kits19_labels")
    assert (len(metadata), problems) == (210, [])
    assert expected_spacing_mm(metadata["case_00000"]) == (0.5, 0.919921875, 0.919921875)
    assert metadata["case_00000"]["tumor_isup_grade"] == 3


def test_the_real_folders_are_read_as_they_are(shared_data: Path) -> None:
    cases, problems = find_cases(shared_data / "kits_real_slices")
    assert (len(cases), len({case.patient for case in cases}), problems) == (211, 170, [])
    with pytest.raises(InputError, match="126 case folders without imaging"):
        find_cases(shared_data / "kits19_labels")
    assert len(find_cases(shared_data / "real_ct")[0]) == 1
