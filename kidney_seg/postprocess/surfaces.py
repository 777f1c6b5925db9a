"""Smooth closed surfaces of labels in mm, and STL files of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.files.atomic import write_file
from data_prep.files.outputs import has_text
from data_prep.geometry.components import bounding_box, connected
from data_prep.geometry.source_grid import SourceGrid
from kidney_seg.metrics.overlap import tissue_masks

FORMATS = ("stl",)  # of --surfaces
FEWEST = 150  # triangles per object
FINEST = 0.25  # of the smallest edge of a voxel: the finest grid of a mesh
MOST_OBJECTS = 30  # per structure; smaller ones are left out
SMOOTHING = 0.6  # standard deviation, in steps of the mesh's grid or in voxels, whichever is more
_FILE_TRIANGLES = {"kidney": 60_000, "tumor": 30_000}  # about, per structure of a file; 3 MB and less
_FILE_OBJECTS = 1000
_MADE_BY = "kidney_seg"
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Mesh:
    """A closed surface in right-handed axes (x to the patient's left, y to posterior, z to superior).

    vertices: (x, y, z) in mm, float32 [n, 3]; faces: int32 [m, 3], counterclockwise from outside; left_out: number of
    objects beyond the largest ones that were asked for.
    """

    vertices: np.ndarray
    faces: np.ndarray
    left_out: int = 0


def surface(
    mask: np.ndarray, spacing_mm: Sequence[float], triangles: int = 2500, most_objects: int = MOST_OBJECTS
) -> Mesh:
    """Return the surface of a boolean mask [z, y, x] with about so many triangles; an empty mask gives an empty mesh.

    Each 26-connected object gets a grid as fine as its share of the triangles allows, is smoothed, and is cut at the
    level that keeps its volume, so that specks neither vanish nor grow. Voxel (0, 0, 0) has its center at 0 mm.
    """
    import cc3d

    cut = bounding_box(mask)
    if cut is None:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    mask = np.ascontiguousarray(np.asarray(mask, bool)[cut])
    objects, total = connected(mask)
    objects, count = cc3d.largest_k(objects, k=most_objects, return_N=True, precomputed_ccl=True)
    boxes = cc3d.statistics(objects)["bounding_boxes"][1:]
    parts = [(box, objects[box] == number) for number, box in enumerate(boxes, 1)]
    areas = [_area_mm2(part, spacing_mm) for _, part in parts]
    vertices, faces, used = [], [], 0
    for (box, part), area in zip(parts, areas, strict=True):
        wanted = max(FEWEST, triangles * area / sum(areas))
        step_mm = max(math.sqrt(3 * area / wanted), FINEST * min(spacing_mm))  # marching cubes: 3 triangles a square
        found, corners = _object_surface(part, spacing_mm, step_mm)
        start = [(outer.start + inner.start) * mm for outer, inner, mm in zip(cut, box, spacing_mm, strict=True)]
        vertices.append((found + start)[:, ::-1])
        faces.append(corners + used)
        used += len(found)
    return Mesh(np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32), total - count)


def surfaces_of(labels_zyx: np.ndarray, grid: SourceGrid) -> dict[str, Mesh]:
    """Return the surfaces of kidney (with cysts) and tumor of labels [z, y, x] in axial order, on the grid of a file.

    Vertices are in the patient's coordinates, LPS, mm. A structure without a voxel has a mesh without triangles.
    """
    axial, found = grid.axial, {}
    direction = np.reshape(axial.direction, (3, 3))
    for name, mask in tissue_masks(np.asarray(labels_zyx)).items():
        mesh = surface(mask, grid.axial_spacing_mm, _FILE_TRIANGLES[name], _FILE_OBJECTS)
        vertices = (mesh.vertices @ direction.T + axial.origin).astype(np.float32)
        turned = np.linalg.det(direction) < 0  # mirrored, which would turn the surface inside out
        found[name] = replace(mesh, vertices=vertices, faces=mesh.faces[:, ::-1] if turned else mesh.faces)
    return found


def surface_paths(labels: Path, stem: str, kind: str) -> dict[str, Path]:
    """Return the files of a label file's surfaces by structure: `surfaces/STEM_kidney.stl` and so on in its folder."""
    return {name: labels.parent / "surfaces" / f"{stem}_{name}.{kind}" for name in _FILE_TRIANGLES}


def write_stl(mesh: Mesh, name: str, path: str | Path) -> None:
    """Write the mesh of a structure to a binary STL file, whole or not at all.

    STL has no unit: it is mm. The header holds `SPACE=LPS`, by which 3D Slicer knows the coordinates. A mesh without
    triangles is a valid file.
    """
    corners = mesh.vertices[mesh.faces]  # [m, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    made = np.zeros(len(corners), _TRIANGLE)
    made["corners"], made["normal"] = corners, normals / np.where(lengths > 0, lengths, 1)
    header = f"{_MADE_BY} {name}; UNIT=mm; SPACE=LPS".encode()
    write_file(path, header.ljust(80) + len(made).to_bytes(4, "little") + made.tobytes())


def is_stl(path: Path) -> bool:
    """Return whether a file is one that `write_stl` wrote."""
    return has_text(f"{_MADE_BY} ".encode(), b"; SPACE=LPS")(path)


def _object_surface(part: np.ndarray, spacing_mm: Sequence[float], step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (z, y, x) in mm and faces of one object that fills its array."""
    from scipy.ndimage import gaussian_filter, map_coordinates
    from skimage.measure import marching_cubes

    fewer = [max(1, int(step_mm / mm)) for mm in spacing_mm]  # voxels per step of the mesh's grid
    soft, spacing = _pooled(part, fewer), np.asarray(spacing_mm, float) * fewer
    sigma = SMOOTHING * np.maximum(step_mm / spacing, 1.0)  # voxels
    margin = np.ceil(3 * sigma).astype(int) + 1
    soft = gaussian_filter(np.pad(soft, [(m, m) for m in margin]), sigma, mode="constant")
    counts = np.ceil((np.array(soft.shape) - 1) * spacing / step_mm).astype(int) + 1
    axes = [np.arange(count) * step_mm / mm for count, mm in zip(counts, spacing, strict=True)]
    grid = map_coordinates(soft, np.meshgrid(*axes, indexing="ij"), order=1, mode="constant")
    volume = np.count_nonzero(part) * math.prod(spacing_mm)
    inside = min(max(round(volume / step_mm**3), 1), grid.size - 1)
    level = float(-np.partition(-grid.ravel(), inside - 1)[inside - 1])
    level = min(max(level, 1e-3 * float(grid.max())), 0.999 * float(grid.max()))
    vertices, faces, _, _ = marching_cubes(grid, level, spacing=(step_mm,) * 3, gradient_direction="descent")
    first = (spacing - spacing_mm) / 2  # where the center of the first block lies
    return vertices - margin * spacing + first, faces


def _pooled(part: np.ndarray, fewer: Sequence[int]) -> np.ndarray:
    """Return the means, float32, of blocks of `fewer` voxels, padded with background."""
    padded = np.pad(part, [(0, -length % count) for length, count in zip(part.shape, fewer, strict=True)])
    blocks = [size for length, count in zip(padded.shape, fewer, strict=True) for size in (length // count, count)]
    return padded.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)


def _area_mm2(part: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return two thirds of the area of the voxels' outer faces, which is exact for a ball."""
    area = 0.0
    for axis in range(3):
        lines = np.moveaxis(part, axis, 0)
        faces = np.count_nonzero(lines[1:] != lines[:-1]) + np.count_nonzero(lines[[0, -1]])
        area += faces * math.prod(spacing_mm) / spacing_mm[axis]
    return area * 2 / 3
