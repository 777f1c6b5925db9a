"""Which KiTS data set a folder is, whether it is complete and of which revision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.check.folder import check_folder
from data_prep.check.published import APPENDED, CORRECTED, published_findings
from data_prep.download.records import PROVENANCE, Known, provenance
from data_prep.download.sources import SOURCES
from data_prep.phantom.cohort import write_cohort

NAMES = [f"case_{n:05d}" for n in range(20)]


def told(root: Path, labels=(), names=(), facts=None, second_phase=()) -> list[tuple[str, str, str]]:
    found = published_findings(root, labels, names, facts or {}, set(second_phase))
    return [(one.code, one.case, one.what) for one in found]


def kits19(labelled=range(210), **changed) -> tuple[list[str], dict]:
    facts = {f"case_{n:05d}": {"shape_zyx": [50, 512, 512], "label_voxels": {"0": 9, "1": 5, "2": 1}} for n in labelled}
    facts |= {case: facts[case] | {"label_voxels": dict(zip("012", n, strict=True))} for case, n in CORRECTED.items()}
    facts["case_00160"] = {"shape_zyx": [50, 512, 796], "label_voxels": {"1": 5}}
    return [f"case_{n:05d}" for n in range(300)], facts | changed


def test_a_whole_kits19(tmp_path):
    (tmp_path / "kits.json").write_text("[]")
    names, facts = kits19()
    ((code, case, what),) = told(tmp_path, names=names, facts=facts)
    assert (code, case) == ("data_set", "")
    assert what == f"KiTS19: complete, all 300 cases; {SOURCES['kits19'].revision}"


def test_what_is_missing_and_what_is_old(tmp_path):
    (tmp_path / "kits.json").write_text("[]")
    names, facts = kits19(range(200), case_00125={"label_voxels": {"0": 1, "1": 2, "2": 3}})
    facts["case_00160"]["shape_zyx"] = [50, 512, 512]
    found = told(tmp_path, names=names[:200], facts=facts, second_phase=APPENDED[:1])
    assert found[0] == (
        "data_set", "",
        "KiTS19: 200 of 300 cases, 200 of 210 with labels; missing 200-209; revision of the labels unknown",
    )  # fmt: skip
    assert [(code, case) for code, case, _ in found[1:]] == [
        ("old_labels", "case_00125"), ("old_labels", "case_00022"), ("not_published", "case_00160")
    ]  # fmt: skip
    assert found[-1][2] == "has 512 x 512 pixels; published with 512 x 796"


def test_a_download_knows_itself(tmp_path):
    source = SOURCES["kits23"]
    names = [f"case_{n:05d}" for n in (0, 1, 588)]
    files = {f"{name}/segmentation.nii.gz": Known(1, "", (1, 1, 1), "", source.commit) for name in names}
    (tmp_path / PROVENANCE).write_text(json.dumps({"kidney_seg_provenance": 1} | provenance(source, files)))
    facts = {name: {"label_voxels": {}} for name in names}
    ((_, _, what),) = told(tmp_path, names=names, facts=facts)
    assert what.startswith("KiTS23: 3 of 489 cases, 3 of 489 with labels; missing 2-299,400-587; version 0.1.3")
    files["case_00000/segmentation.nii.gz"] = Known(1, "", (1, 1, 1), "")  # of a mirror that has no records
    (tmp_path / PROVENANCE).write_text(json.dumps({"kidney_seg_provenance": 1} | provenance(source, files)))
    ((_, _, what),) = told(tmp_path, names=names, facts=facts)
    assert what.endswith("missing 2-299,400-587; revision of the labels unknown")


@pytest.mark.parametrize(("file", "dataset"), [("kits23.json", "KiTS23"), ("kits.json", "KiTS19")])
def test_known_by_their_own_files(tmp_path, file, dataset):
    (tmp_path / file).write_text("[]")
    assert told(tmp_path, names=NAMES)[0][2].startswith(f"{dataset}: 20 of ")
    assert told(tmp_path, names=NAMES[1:]) == []
    labels = [tmp_path / "case_00000" / "aggregated_MAJ_seg.nii.gz"]
    assert told(tmp_path, labels, NAMES)[0][2].startswith("KiTS21: ")


def test_other_folders_are_no_data_set(tmp_path):
    write_cohort(tmp_path, cases=1, size=32, slices=8)
    assert not {"data_set", "old_labels", "not_published"} & {one.code for one in check_folder(tmp_path).findings}
    (tmp_path / "kits.json").write_text("[]")
    assert told(tmp_path, names=["liver-7"]) == []


def test_real_label_maps(shared_data):
    from data_prep.volume import read_labels

    for case, voxels in CORRECTED.items():
        labels = read_labels(shared_data / "kits19_labels" / case / "segmentation.nii.gz")
        assert [int((labels.voxels == label).sum()) for label in range(3)] == voxels
