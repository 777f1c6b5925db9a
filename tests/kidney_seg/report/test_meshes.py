"""Surfaces: volume, place and orientation against numbers that are known without them."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from data_prep.volume import read_labels
from kidney_seg.report.meshes import MOST_OBJECTS, scene, surface


def ball(shape, spacing, center, radius):
    axes = np.meshgrid(*[np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)], indexing="ij")
    return sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True)) < radius**2


def volume_mm3(mesh):
    """By the divergence theorem; negative where the faces are turned inward."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.5, 2.0, 2.0)])
def test_a_ball_keeps_place_volume_and_radius(spacing):
    shape = tuple(round(60 / mm) for mm in spacing)
    mask = ball(shape, spacing, (30, 25, 35), 18)
    mesh = surface(mask, spacing, triangles=2500)
    assert volume_mm3(mesh) == pytest.approx(4 / 3 * math.pi * 18**3, rel=0.03)
    assert mesh.vertices.mean(axis=0) == pytest.approx((35, 25, 30), abs=0.6)  # x, y, z
    distances = np.linalg.norm(mesh.vertices - (35, 25, 30), axis=1)
    assert distances == pytest.approx(18, abs=0.8 * max(spacing))
    assert 1500 < len(mesh.faces) < 3500


def test_the_surface_is_closed():
    mesh = surface(ball((20, 20, 20), (1, 1, 1), (9, 9, 9), 6), (1, 1, 1), triangles=600)
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    there, back = {tuple(edge) for edge in edges.tolist()}, {tuple(edge[::-1]) for edge in edges.tolist()}
    assert there == back and len(there) == len(edges)


def test_no_speck_vanishes_and_none_grows():
    mask = ball((40, 60, 60), (3, 1, 1), (60, 30, 30), 20)
    mask[2, 3, 4] = True
    mesh = surface(mask, (3, 1, 1), triangles=1000)
    speck = mesh.vertices[np.linalg.norm(mesh.vertices - (4, 3, 6), axis=1) < 5]
    assert len(speck) > 10
    alone = surface(mask[:6, :8, :8], (3, 1, 1))
    assert volume_mm3(alone) == pytest.approx(3.0, rel=0.15)
    assert len(alone.faces) < 2000


def test_noise_is_bounded_and_counted():
    specks = np.zeros((30, 30, 30), bool)
    specks[::3, ::3, ::3] = True
    mesh = surface(specks, (1, 1, 1), triangles=1000)
    assert mesh.left_out == 1000 - MOST_OBJECTS
    assert len(mesh.faces) < 20_000


def test_nothing_is_an_empty_mesh():
    mesh = surface(np.zeros((4, 5, 6), bool), (1, 1, 1))
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)
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


def test_real_kidneys_keep_their_volume(shared_data):
    path = sorted((shared_data / "kits19_labels").glob("**/*.nii.gz"))[0]
    labels = read_labels(path)
    for value in (1, 2):
        mask = labels.voxels == value
        mesh = surface(mask, labels.spacing_mm, triangles=5000)
        assert volume_mm3(mesh) == pytest.approx(mask.sum() * math.prod(labels.spacing_mm), rel=0.05)
        assert len(mesh.faces) < 12_000
