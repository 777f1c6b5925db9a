"""What labels lose on a grid: values by hand, and real maps against code that shares nothing with it.

`python tests/data_prep/geometry/test_grid_loss.py FOLDER` compares every map of a folder on the default grids by hand,
which takes some seconds per map.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from data_prep import read_labels
from data_prep.geometry.grid_loss import GridLoss, grid_loss
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.presets import PRESETS


def test_what_lies_outside_the_field_is_counted_by_voxel() -> None:
    labels = np.zeros((2, 64, 64), np.uint8)
    labels[0, 30:34, 20:24] = 1  # 16 voxels in the middle
    labels[0, 30:34, 0:2] = 2  # 8 voxels of tumor beside the field of 32 mm
    found = grid_loss(labels, (3.0, 1.0, 1.0), GridSettings(32, 1.0))
    assert (found.kidney_outside, found.tumor_outside) == (8 / 24, 1.0)
    assert (found.kidney_vanished, found.tumor_vanished) == (0.0, 0.0)
    assert found.kidney_ceiling == pytest.approx(2 * 16 / (24 + 16)) and found.tumor_ceiling == 0.0
    assert [code for _, code, _ in found.lines()] == ["outside_field", "outside_field"]


def test_a_piece_without_a_pixel_has_vanished_whatever_else_is_there() -> None:
    labels = np.zeros((1, 64, 64), np.uint8)
    labels[0, 16:32, 16:32] = 2
    labels[0, 48, 48] = 2  # one of the 16 voxels of a pixel
    found = grid_loss(labels, (3.0, 1.0, 1.0), GridSettings(16))
    assert found.tumor_vanished == 1 / 257 and found.tumor_outside == 0
    assert 0.98 < found.tumor_ceiling <= 2 * 256 / (257 + 256)  # corners are rounded as well


def test_a_finer_grid_loses_nothing_and_an_empty_map_has_nothing() -> None:
    labels = np.zeros((1, 16, 16), np.uint8)
    assert grid_loss(labels, (1.0, 1.0, 1.0), GridSettings(16)) == GridLoss()
    labels[0, 3, 4] = 1
    found = grid_loss(labels, (1.0, 1.0, 1.0), GridSettings(16))
    assert (found.kidney_outside, found.kidney_vanished, found.kidney_ceiling) == (0.0, 0.0, 1.0)
    assert found.tumor_outside is None and list(found.lines()) == []


def test_shares_beyond_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tumor_outside: found 1\.5"):
        GridLoss(tumor_outside=1.5)


@pytest.mark.parametrize(("size", "pixel_mm"), [(256, None), (64, 4.5)])
def test_real_labels_against_independent_code(shared_data: Path, size: int, pixel_mm: float | None) -> None:
    path = min((shared_data / "kits19_labels").glob("*/segmentation.nii.gz"), key=lambda path: path.stat().st_size)
    compare(path, size, pixel_mm, lambda stored: np.flatnonzero((stored == 2).any(axis=(1, 2)))[::3][:8])


def compare(
    path: Path, size: int, pixel_mm: float | None, choose: Callable[[np.ndarray], np.ndarray | slice]
) -> GridLoss:
    """Compare both programs on the slices of a map that `choose` picks; return what was found."""
    image, volume = nibabel.load(path), read_labels(path)
    stored = np.asarray(image.dataobj).astype(np.uint8)  # slices from the head, rows, columns
    some = choose(stored)
    found = grid_loss(volume.voxels[::-1][some], volume.spacing_mm, GridSettings(size, pixel_mm))
    for name, value in lost(stored[some], image.header.get_zooms()[1:3], size, pixel_mm).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-9), (path, name)
    return found


def lost(
    stored: np.ndarray, edges_mm: tuple[float, float], size: int, pixel_mm: float | None
) -> dict[str, float | None]:
    """The shares outside and vanished: dense matrices of overlaps, scipy's pieces."""
    mm = pixel_mm or max(count * edge for count, edge in zip(stored.shape[1:], edges_mm, strict=True)) / size
    overlaps, pixels = [], []
    for count, edge in zip(stored.shape[1:], edges_mm, strict=True):
        own, net = (np.arange(count + 1) - count / 2) * edge, (np.arange(size + 1) - size / 2) * mm
        shared = np.minimum(net[1:, None], own[None, 1:]) - np.maximum(net[:-1, None], own[None, :-1])
        overlaps.append(np.clip(shared, 0, None) / mm)
        pixels.append(np.floor((np.arange(count) - (count - 1) / 2) * edge / mm + size / 2 + 1e-9).astype(int))
    counts = {"kidney": np.zeros(3), "tumor": np.zeros(3)}
    for plane in stored[stored.any(axis=(1, 2))]:
        kidney, tumor = (overlaps[0] @ (plane == value) @ overlaps[1].T for value in (1, 2))
        back, tie = 1 - kidney - tumor, 1e-5
        net = np.where((kidney > tie) & (kidney >= back - tie) & (kidney >= tumor - tie), 1, 0)
        net[(tumor > tie) & (tumor >= back - tie) & (tumor >= kidney - tie)] = 2
        for name, least in (("kidney", 1), ("tumor", 2)):
            y, x = np.nonzero(plane >= least)
            inside = (pixels[0][y] >= 0) & (pixels[0][y] < size) & (pixels[1][x] >= 0) & (pixels[1][x] < size)
            mask = np.zeros(plane.shape, bool)
            mask[y[inside], x[inside]] = True
            pieces, number = ndimage.label(mask, np.ones((3, 3)))
            gone = 0
            for piece in range(1, number + 1):
                y1, x1 = np.nonzero(pieces == piece)
                gone += 0 if (net[pixels[0][y1], pixels[1][x1]] >= least).any() else len(y1)
            counts[name] += (len(y), np.count_nonzero(~inside), gone)
    shares = {
        f"{name}_{what}": part / total if total else None
        for name, (total, *parts) in counts.items()
        for what, part in zip(("outside", "vanished"), parts, strict=True)
    }
    return shares


def main() -> None:
    """Compare all maps of a folder, on the default grids of the presets."""
    maps = sorted(Path(sys.argv[1]).glob("*/segmentation.nii.gz"))
    for size in sorted({config.model.size for config in PRESETS.values()}):
        worst = 0.0
        for path in maps:
            found = compare(path, size, None, lambda stored: slice(None))
            worst = max(worst, *(share for share, _, _ in found.lines()), 0.0)
            print(f"{size}: {path.parent.name}: equal; {[text for _, _, text in found.lines()]}", flush=True)
        print(f"{size}: {len(maps)} maps: both programs agree; at most {100 * worst:.3g} % is lost", flush=True)


if __name__ == "__main__":
    main()
