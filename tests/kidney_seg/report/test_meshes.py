"""The report's 3-D view: surfaces of several label maps in one scale, packed as text."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support.blocks import ball

from kidney_seg.report.meshes import scene


def test_nothing_is_an_empty_scene():
    empty = scene([np.zeros((4, 5, 6), np.uint8)] * 2, (1, 1, 1))
    assert [part["tumor"]["vertices"] for part in empty] == ["", ""]


def unpacked(packed):
    vertices = np.frombuffer(base64.b64decode(packed["vertices"]), "<i2").reshape(-1, 3) * packed["mm"]
    return vertices, np.frombuffer(base64.b64decode(packed["faces"]), "<u2").reshape(-1, 3)


def test_a_scene_has_one_scale_and_one_middle():
    truth = np.zeros((40, 50, 60), np.uint8)
    truth[ball(truth.shape, (1, 1, 1), (20, 20, 15), 8)] = 1
    truth[ball(truth.shape, (1, 1, 1), (20, 20, 15), 4)] = 3  # a cyst is kidney
    truth[ball(truth.shape, (1, 1, 1), (20, 20, 45), 6)] = 2
    wrong = np.where(truth == 2, 0, truth)
    true, predicted = scene([truth, wrong], (1, 1, 1))
    kidney, faces = unpacked(true["kidney"])
    tumor, _ = unpacked(true["tumor"])
    assert (kidney.mean(axis=0) - tumor.mean(axis=0)) == pytest.approx((-30, 0, 0), abs=0.5)
    assert faces.max() == len(kidney) - 1
    assert np.concatenate([kidney, tumor]).min(axis=0) + np.concatenate([kidney, tumor]).max(axis=0) == pytest.approx(
        0, abs=0.1
    )
    assert unpacked(predicted["kidney"])[0] == pytest.approx(kidney)
    assert predicted["tumor"]["vertices"] == ""
