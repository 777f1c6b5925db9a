"""The list of series on the screen: two phases can be told apart, and nothing but descriptions names a patient."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from support.dicom_files import IDENTIFIERS, random_hu, save_slices, slices_of, write_study, zipped

from data_prep.dicom.__main__ import main
from data_prep.dicom.listing import SHOWN, Listed, guess_phase
from data_prep.dicom.phases import ARTERIAL, DELAYED, PLAIN, VENOUS
from data_prep.dicom.series import list_series
from data_prep.volume import read_volume

STUDY = generate_uid(entropy_srcs=["study"])


def series(folder: Path, name: str, **values: object) -> None:
    """Add a series with these attributes; None removes one."""

    def change(data: Dataset, k: int) -> None:
        data.StudyInstanceUID = STUDY
        for keyword, value in values.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value[k] if isinstance(value, tuple) else value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about values that are malformed on purpose
        save_slices(folder / name, slices_of(random_hu(4), uid=generate_uid(entropy_srcs=[name]), change=change))


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main([str(folder)]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    return [line for line in printed.out.splitlines() if line.startswith("    ")]


def test_two_phases_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = {"SliceThickness": 3, "ConvolutionKernel": ["Br40d", "3"]}
    contrast = {**common, "ContrastBolusAgent": "IOMERON", "SeriesDescription": "Abdomen 3.0"}
    series(tmp_path, "a/nativ", SeriesDescription="Abdomen 3.0", AcquisitionTime="101500", **common)
    series(tmp_path, "b", AcquisitionTime=("101737.5", "101737", "101738", "101739"), **contrast)
    injected = {"ContrastBolusStartTime": "101700", "AcquisitionTime": "101810"}
    series(tmp_path, "c", **injected, **contrast)
    series(tmp_path, "d", **{**contrast, "SeriesDescription": "Sp\xe4tphase", "SpecificCharacterSet": "ISO_IR 100"})
    assert listed(tmp_path, capsys) == [
        '    folder a/nativ; "Abdomen 3.0"; 3 mm thick; 2.5 mm apart; kernel Br40d 3; +0 s; '
        "phase (a guess by no contrast agent in its header): without contrast",
        '    folder b; "Abdomen 3.0"; 3 mm thick; 2.5 mm apart; kernel Br40d 3; +158 s; '
        "phase (a guess by its contrast agent): with contrast",
        '    folder c; "Abdomen 3.0"; 3 mm thick; 2.5 mm apart; kernel Br40d 3; +190 s; '
        "phase (a guess by 70 s after the injection began): venous",
        '    folder d; "Sp\xe4tphase"; 3 mm thick; 2.5 mm apart; kernel Br40d 3; '
        "phase (a guess by its description): delayed",
    ]


def test_what_is_absent_or_malformed_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"SeriesDescription": None, "StudyInstanceUID": ""}
    series(tmp_path, "a", **nothing)
    series(tmp_path, "b", AcquisitionTime="2561", SliceThickness="", ContrastBolusAgent="IODINE", **nothing)
    series(tmp_path, "c", ImageOrientationPatient=None, AcquisitionTime="235959", ContrastBolusAgent="None")
    assert listed(tmp_path, capsys) == [
        "    folder a; 2.5 mm apart; phase: not known",  # without a UID, no other series is of its study
        "    folder b; 2.5 mm apart; phase (a guess by its contrast agent): with contrast",
        '    folder c; "abdomen of JANE"; phase (a guess by no contrast agent in its header): without contrast',
    ]


def test_times_across_midnight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path, "a", AcquisitionTime="000030")
    series(tmp_path, "b", AcquisitionTime="235940")
    assert ["+50 s" in line for line in listed(tmp_path, capsys)] == [True, False]
    assert "+0 s" in listed(tmp_path, capsys)[1]


def test_a_terminal_obeys_no_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series(tmp_path, "a", SeriesDescription="a\x1b[2J\u202eb\r\nphase: x" + "y" * 80, SpecificCharacterSet="ISO_IR 192")
    (line,) = listed(tmp_path, capsys)
    assert line.isprintable() and "\\x1b[2J\\u202eb" in line and len(line) < 150


def test_studies_are_listed_one_by_one_also_from_zip_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hu, tree = random_hu(), tmp_path / "tree"
    for number in (1, 2):
        write_study(tree / f"p{number}", hu, number)
    write_study(tree / "mr", hu, 3, modality="MR")
    path = zipped(write_study(tmp_path / "DOE_JANE", hu, 4), tree / "deep" / "a.zip")
    (tree / "cut.zip").write_bytes(path.read_bytes()[:-100])
    assert main([str(tree)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    studies = [line for line in lines if "study of" in line]
    assert studies == ["study of 11 images"] * 3 + ["deep/a.zip: study of 11 images"]
    assert lines.count("Read without --series: 3") == 3  # as predict reads each of them
    assert len([line for line in lines if line.startswith("Not read: ") and "found MR" in line]) == 1
    assert any(line.startswith("cut.zip: not read: cannot be unzipped") for line in lines)
    assert not [word for word in (*IDENTIFIERS, "MRN") if word in printed]
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("series 1 (") and "Read without --series: 3" in lines
    assert main([str(tree / "cut.zip")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tree / 'cut.zip'}: cannot be unzipped")


def test_a_zip_file_without_a_ct_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = zipped(write_study(tmp_path / "mr", random_hu(), modality="MR"), tmp_path / "mr.zip")
    assert main([str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ") and "found MR" in line


def test_descriptions_are_on_the_screen_and_nowhere_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        series(tmp_path, name)
    (line, _), said = listed(tmp_path, capsys), "abdomen of JANE"
    assert said in line
    assert not [word for word in IDENTIFIERS if word in line.replace(said, "")]
    assert said not in repr(list_series(tmp_path)) + repr(read_volume(tmp_path)) + repr(read_volume(tmp_path).notes)


def test_the_docs_list_every_tag_that_is_shown() -> None:
    text = (Path(__file__).parents[3] / "docs" / "explanation" / "geometry.md").read_text(encoding="utf-8")
    shown = text.split("also reads and shows")[1].split(". ")[0]
    assert {name.strip(" `\n") for name in shown.replace(" and ", ",").split(",")} == set(SHOWN)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"named": VENOUS, "delay_s": 30.0, "agent": False}, VENOUS),
        ({"delay_s": 0.0}, ARTERIAL),
        ({"delay_s": 45.0}, ARTERIAL),
        ({"delay_s": 46.0}, VENOUS),
        ({"delay_s": 300.0}, DELAYED),
        ({"delay_s": 80000.0, "agent": True}, "with contrast"),  # the injection came after the scan
        ({"agent": False}, PLAIN),
        ({}, ""),
    ],
)
def test_guesses(values: dict, expected: str) -> None:
    assert guess_phase(Listed(None, **values), [])[0] == expected
    with_agent = guess_phase(Listed(None, **values), [Listed(None, agent=True)])[0]
    assert with_agent == (expected or PLAIN)
