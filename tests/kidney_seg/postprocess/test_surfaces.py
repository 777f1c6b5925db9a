"""Surfaces: volume, place and orientation against numbers that are known without them; STL files."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from support.blocks import ball

from data_prep.geometry.source_grid import SourceGrid
from data_prep.volume import read_labels, write_labels
from kidney_seg.postprocess.__main__ import main as postprocess
from kidney_seg.postprocess.surfaces import MOST_OBJECTS, Mesh, is_stl, surface, surfaces_of, write_stl


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


def read_stl(path: Path) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return header, normals [n, 3] and corners [n, 3, 3] of a binary STL file, number by number."""
    content = path.read_bytes()
    (count,) = struct.unpack_from("<I", content, 80)
    assert len(content) == 84 + 50 * count
    numbers = np.array([struct.unpack_from("<12f", content, 84 + 50 * n) for n in range(count)]).reshape(-1, 4, 3)
    return content[:80], numbers[:, 0], numbers[:, 1:]


def oblique(mirrored: bool) -> SourceGrid:
    """Return a grid of 30 x 40 x 20 voxels, turned by 20 degrees, whose file may count one axis backward."""
    c, s = math.cos(0.35), math.sin(0.35)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * ([1, -1, 1] if mirrored else [1, 1, 1])
    return SourceGrid((30, 40, 20), (1.0, 0.8, 2.0), (-50.0, 20.0, 400.0), tuple(direction.ravel().tolist()))


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_stl_file_is_in_the_place_of_its_voxels(tmp_path: Path, mirrored: bool) -> None:
    grid = oblique(mirrored)
    stored = np.zeros(grid.size[::-1], np.uint8)
    stored[4:14, 8:26, 5:20] = 1
    stored[7:12, 12:22, 15:24] = 2
    meshes = surfaces_of(grid.to_axial(stored), grid)
    for label, name in ((1, "kidney"), (2, "tumor")):
        path = tmp_path / f"{name}.stl"
        write_stl(meshes[name], name, path)
        header, normals, corners = read_stl(path)
        assert b"SPACE=LPS" in header and not header.startswith(b"solid") and is_stl(path)
        index = np.argwhere(stored == label)[:, ::-1]  # x, y, z
        places = (index * grid.spacing) @ np.reshape(grid.direction, (3, 3)).T + grid.origin
        center = places.mean(axis=0)
        a, b, c = np.moveaxis(corners - center, 1, 0)
        volumes = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6  # positive: the faces look outward
        assert volumes.sum() == pytest.approx(len(index) * math.prod(grid.spacing), rel=0.03)
        centers = (a + b + c) / 4
        np.testing.assert_allclose((volumes[:, None] * centers).sum(axis=0) / volumes.sum(), 0, atol=0.4)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(corners.reshape(-1, 3).min(axis=0), places.min(axis=0), atol=1.5)


def test_an_stl_file_without_triangles_is_whole(tmp_path: Path) -> None:
    write_stl(surfaces_of(np.zeros((20, 40, 30), np.uint8), oblique(False))["tumor"], "tumor", tmp_path / "a.stl")
    assert read_stl(tmp_path / "a.stl")[1].shape == (0, 3)
    mesh = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))  # without an area
    write_stl(mesh, "tumor", tmp_path / "b.stl")
    assert read_stl(tmp_path / "b.stl")[1].tolist() == [[0, 0, 0]]


def test_postprocess_writes_surfaces_and_replaces_only_its_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    grid = oblique(False)
    stored = np.zeros(grid.size[::-1], np.uint8)
    stored[2:18, 5:35, 4:26] = 1
    write_labels(grid.to_axial(stored), grid, tmp_path / "in" / "a.nii.gz")
    words = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--surfaces", "stl", "--kidney-ml", "5"]
    assert postprocess(words) == 0
    made = tmp_path / "out" / "surfaces"
    assert sorted(path.name for path in made.iterdir()) == ["a_kidney.stl", "a_tumor.stl"]
    assert len(read_stl(made / "a_kidney.stl")[1]) > 1000 and len(read_stl(made / "a_tumor.stl")[1]) == 0
    assert postprocess(words) == 2 and postprocess([*words, "--force"]) == 0
    capsys.readouterr()
    (made / "a_tumor.stl").write_bytes(b"solid mine")
    assert postprocess([*words, "--force"]) == 2
    assert "a_tumor.stl: exists and is nothing that this command writes" in capsys.readouterr().err
    assert (made / "a_tumor.stl").read_bytes() == b"solid mine"


def test_real_kidneys_keep_their_volume(shared_data):
    path = sorted((shared_data / "kits19_labels").glob("**/*.nii.gz"))[0]
    labels = read_labels(path)
    for value in (1, 2):
        mask = labels.voxels == value
        mesh = surface(mask, labels.spacing_mm, triangles=5000)
        assert volume_mm3(mesh) == pytest.approx(mask.sum() * math.prod(labels.spacing_mm), rel=0.05)
        assert len(mesh.faces) < 12_000
