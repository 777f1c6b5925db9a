"""Which patients are shown, and what their slices show."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.report_runs import SPACING_MM, make_run, patient

from kidney_seg.report.files import Files
from kidney_seg.report.patients import choose, missed
from kidney_seg.report.slices import draw_case, draw_slice, outline
from kidney_seg.report.sources import gather


def row(case, tumor, tumor_ml=10.0):
    return {"case": case, "tumor": tumor, "kidney": 0.9, "tumor_ml": tumor_ml, "kidney_ml": 300.0}


def test_best_median_and_worst():
    rows = [row("a", 0.2), row("b", 0.9), row("c", 0.0, 5.0), row("d", 0.0, 50.0), row("e", 0.0, 0.0), row("f", 0.5)]
    chosen = choose(rows)
    assert [(role, found["case"]) for role, found in chosen] == [("best", "b"), ("median", "a"), ("worst", "d")]
    assert [found["case"] for found in missed(rows)] == ["d", "c"]  # e has no tumor to be missed
    assert [role for role, _ in choose(rows[:2])] == ["best", "worst"]
    assert [role for role, _ in choose(rows[:1])] == ["best"]
    assert choose([]) == []
    healthy = [row("a", None, 0.0) | {"kidney": dice} for dice in (0.7, 0.9, 0.8)]
    assert [found["kidney"] for _, found in choose(healthy)] == [0.9, 0.8, 0.7]


def area_mm2(path):
    total = 0.0
    for ring in path.split("M")[1:]:
        points = np.array([[float(part) for part in point.split()] for point in ring.rstrip("Z").split("L")])
        x, y = points.T
        total += float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2
    return abs(total)


def test_an_outline_has_the_area_and_the_place_of_its_mask():
    y, x = np.mgrid[:40, :60]
    mask = (y - 20) ** 2 + (x - 30) ** 2 < 15**2
    path = outline(mask, (2.0, 0.5))
    assert area_mm2(path) == pytest.approx(mask.sum() * 1.0, rel=0.03)
    xs = [float(point.split()[0]) for point in path.strip("MZ").split("L")]
    assert (min(xs), max(xs)) == (pytest.approx(15.5 * 0.5, abs=0.3), pytest.approx(45.5 * 0.5, abs=0.3))


def test_the_picture_is_the_slice_with_most_tumor():
    image, truth, prediction = patient(15, 9)
    picture = draw_slice(image, truth, prediction, SPACING_MM)
    assert picture.slice_number == 1 + int((truth == 2).sum(axis=(1, 2)).argmax()) and picture.slices == len(image)
    gray = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))
    width, height = picture.size_mm
    assert gray.shape == (round(height / 0.8), round(width / 0.8))
    assert set(picture.outlines) == {(s, t) for s in ("truth", "prediction") for t in ("kidney", "tumor")}
    assert area_mm2(picture.outlines["truth", "tumor"]) == pytest.approx(math.pi * 15**2, rel=0.05)
    assert picture.hu == {"kidney": 150.0, "tumor": 60.0}
    # the tumor of 60 HU in the window of -79 to 304
    x, y = np.array([float(v) for v in picture.outlines["truth", "tumor"].strip("MZ").split("L")[0].split()])
    inside = gray[round(y / 0.8) + 0, round(x / 0.8) - 2 : round(x / 0.8) + 3]
    assert round(255 * (60 + 79) / (304 + 79)) in inside


def test_files_that_are_gone_or_do_not_fit_are_a_reason(tmp_path):
    run = make_run(tmp_path, names=("case_00001", "case_00002"), sizes=((12, 9), (9, 0)))
    files = gather(run).files["case_00001"]
    picture, scenes, reason = draw_case(files, solid=True)
    assert picture is not None and len(scenes) == 2 and reason == ""
    assert draw_case(files, solid=False)[1] is None
    assert "does not exist any more" in draw_case(None, solid=True)[2]
    files.image.write_bytes(b"no image")
    assert "is unreadable" in draw_case(files, solid=True)[2]
    picture, scenes, reason = draw_case(replace(files, image=files.image.with_name("gone.nii.gz")), solid=True)
    assert (picture, scenes) == (None, None) and "image does not exist any more" in reason
    assert "does not exist any more" in draw_case(Files(None, None, None), solid=True)[2]
