"""A report of predictions without truth, and of images in other layouts than KiTS's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.helpers import KITS_AFFINE, one_line, save
from support.report_runs import SPACING_MM, make_run, patient, stored

from data_prep.errors import InputError
from kidney_seg.postprocess.review import describe
from kidney_seg.report.files import find_images
from kidney_seg.report.page import page
from kidney_seg.report.slice_stack import draw_slice_stack, short_outline
from kidney_seg.report.sources import gather

SIMULATED = "trained on simulated patients: not for real scans"


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three predicted scans, as predict leaves them, and their images as nnU-Net names them."""
    root = tmp_path_factory.mktemp("predicted")
    (root / "scans").mkdir()
    (root / "out").mkdir()
    for name, seen_mm in (("scan_a", 14), ("scan_b", 0), ("<b>scan", 9)):
        image, _, labels = patient(15, seen_mm)
        save(root / "scans" / f"{name}_0000.nii.gz", stored(image), KITS_AFFINE)
        save(root / "out" / f"{name}.nii.gz", stored(labels), KITS_AFFINE)
        described = describe(labels, labels, None, SPACING_MM, image)
        record = {"program": "kidney_seg 0.2", "labels": f"{name}.nii.gz", "trained_on": [SIMULATED], **described}
        (root / "out" / f"{name}.json").write_text(json.dumps(record))
    (root / "out" / "notes.json").write_text("[1, 2]")
    return root


def test_all_scans_are_listed_with_their_origin_and_nothing_is_scored(predicted: Path) -> None:
    data = gather(predicted / "out")
    facts = dict(data.facts)
    assert (facts["Scans"], facts["With tumor"], facts["Model"]) == ("3", "2 of 3", SIMULATED)
    assert not data.scored and data.files == {}
    html = page(data)
    assert SIMULATED in html and "All scans" in html and "Table 1" not in html and "0.572" not in html
    assert "&lt;b&gt;scan" in html and "<b>scan" not in html.replace("<b>scan_", "")
    assert "Make the report with --images DIR" in html


def test_with_images_every_scan_has_its_slices(predicted: Path) -> None:
    data = gather(predicted / "out", images=predicted / "scans")
    assert set(data.files) == {"scan_a", "scan_b", "<b>scan"}
    html = page(data)
    assert html.count('class="pager"') == 3 and html.count('"jpeg"') > 3 * 10
    assert "prediction tumor" in html and "truth tumor" not in html
    assert 'class="pager"' not in page(data, slices=0)


def test_a_record_that_lacks_something_is_named_in_one_line(predicted: Path, tmp_path: Path) -> None:
    shutil.copytree(predicted / "out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "scan_a.json").read_text())
    (tmp_path / "out" / "scan_a.json").write_text(json.dumps({**record, "kidneys": [{"side": "left"}]}))
    with pytest.raises(InputError) as caught:
        gather(tmp_path / "out")
    assert "volume_ml" in one_line(caught)


def test_images_are_found_in_any_layout(predicted: Path, tmp_path: Path) -> None:
    assert set(find_images(predicted / "scans")) == {"scan_a", "scan_b", "<b>scan"}
    assert set(find_images(predicted / "scans" / "scan_a_0000.nii.gz")) == {"scan_a"}
    run = make_run(tmp_path, ["case_00000"], [(15, 14)])
    assert set(find_images(tmp_path / "kits")) == {"case_00000"}
    flat = tmp_path / "labels"  # true labels as files, images elsewhere
    flat.mkdir()
    shutil.copy(tmp_path / "kits" / "case_00000" / "segmentation.nii.gz", flat / "case_00000.nii.gz")
    test = run / "evaluation" / "test"
    data = gather(test, truth=flat, predictions=test, images=tmp_path / "kits")
    assert all(path.is_file() for path in (data.files["case_00000"].image, data.files["case_00000"].truth))
    with pytest.raises(InputError, match="no such file"):
        find_images(tmp_path / "absent")


@pytest.mark.parametrize(
    ("kind", "shown"), [("kits19", True), ("kits23", True), ("simulated", False), ("other", False)]
)
def test_published_figures_stand_only_beside_kits(tmp_path: Path, kind: str, shown: bool) -> None:
    run = make_run(tmp_path, ["case_00000"], [(15, 14)])
    path = run / "evaluation" / "test" / "scores.json"
    scores = json.loads(path.read_text())
    more = {"cohort": {"kind": kind}, "ceiling": {"kidney": 0.996, "tumor": 0.981}, "failed": "the loss is NaN"}
    path.write_text(json.dumps({**scores, **more}))
    html = page(gather(run), slices=0)
    assert ("0.572" in html) == shown and ("Published scores are not shown here" in html) != shown
    assert (
        "0.996" in html and "a perfect network on this grid" in html and "The training failed: the loss is NaN." in html
    )
    assert ("The patients are simulated" in html) == (kind == "simulated")


def test_pages_are_of_labelled_slices_and_of_all_without_labels() -> None:
    image, truth, prediction = patient(15, 14)
    pages = draw_slice_stack(image, {"truth": truth, "prediction": prediction}, SPACING_MM, 5)
    labelled = np.flatnonzero((truth > 0).any(axis=(1, 2)) | (prediction > 0).any(axis=(1, 2)))
    shown = [one["z"] for one in pages["slices"]]
    assert (shown[0], shown[-1], len(shown)) == (labelled[0] + 1, labelled[-1] + 1, 5)
    assert pages["of"] == len(image) and 0 < pages["ratio"] < 3
    empty = draw_slice_stack(image, {"prediction": np.zeros_like(truth)}, SPACING_MM, 100)
    assert len(empty["slices"]) == len(image) and all(one["paths"] == {} for one in empty["slices"])


def test_outlines_are_short_and_closed() -> None:
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    assert short_outline(mask) == "M2 3l1 -1 4 0 1 1 0 4 -1 1 -4 0 -1 -1z"
