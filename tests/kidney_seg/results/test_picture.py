"""The picture of a scan: which slices, where the outlines are, and whose it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.batches import SPACING_MM, labels_of

from kidney_seg.results.picture import HEIGHT_PX, draw, is_picture, read_picture, write_picture

SHA = "0123456789abcdef" * 4


def drawn(labels, hu=None, spacing_mm=SPACING_MM):
    hu = np.full(labels.shape, 100, np.int16) if hu is None else hu
    return np.asarray(Image.open(io.BytesIO(draw(hu, labels, spacing_mm, SHA)))).astype(int)


def blue(picture):
    return picture[..., 2] > picture[..., 0] + 60


def orange(picture):
    return picture[..., 0] > picture[..., 2] + 60


def test_views_and_outlines_lie_where_the_labels_are():
    picture = drawn(labels_of())
    height, width = picture.shape[:2]
    assert height == HEIGHT_PX and width > 2 * HEIGHT_PX
    axial = picture[:, : np.flatnonzero(picture.max(axis=(0, 2)) < 30)[0]]  # to the black line between the views
    # 190 x 90 mm with margins: a kidney reaches from 30 to 75 mm of 240, the tumor in it from 37.5 to 60
    for mask, first, last in ((blue(axial), 30, 210), (orange(axial), 37.5, 60)):
        columns = np.flatnonzero(mask.any(axis=0)) / axial.shape[1] * 240
        assert columns[0] == pytest.approx(first, abs=7) and columns[-1] == pytest.approx(
            last, abs=7
        )  # colors are coarse
    without = drawn(labels_of(tumor=False))
    assert not orange(without).any() and blue(without).any()


def test_the_slice_with_most_tumor_is_shown():
    labels, hu = labels_of(), np.full((24, 120, 160), -79, np.int16)
    labels[10, 45:75, 22:48] = 2
    hu[10] = 304
    bright = drawn(labels, hu)
    assert np.median(bright[:, : bright.shape[1] // 4]) > 240  # white where it is that slice
    assert np.median(bright[:, -bright.shape[1] // 4 :]) < 30  # the coronal one has one white line


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 1, 40), (2, 40, 1), (300, 4, 4)])
def test_any_shape_has_a_picture(shape):
    for labels in (np.zeros(shape, np.uint8), np.ones(shape, np.uint8), np.full(shape, 2, np.uint8)):
        assert drawn(labels, spacing_mm=(5.0, 0.7, 0.7)).shape[0] == HEIGHT_PX


def test_a_picture_is_that_of_its_labels_alone(tmp_path):
    path = tmp_path / "pictures" / "x.jpg"
    assert read_picture(path, SHA) is None and not is_picture(path)
    content = draw(np.zeros((2, 8, 8), np.int16), np.zeros((2, 8, 8), np.uint8), SPACING_MM, SHA)
    write_picture(path, content)
    assert read_picture(path, SHA) == content and is_picture(path)
    assert read_picture(path, "f" * 64) is None and read_picture(path, "") is None
    for other in (b"", b"text", content[:30]):
        path.write_bytes(other)
        assert read_picture(path, SHA) is None and not is_picture(path)
    Image.new("RGB", (9, 9)).save(path, comment=b"mine")
    assert not is_picture(path)
