"""What the network's grid can keep of real labels: `python -m benchmarks.label_round_trip DIR`.

Every label map goes to the network's grid as shares of area (what a perfect network would answer) and back to
its own grid the way predictions do; Dice says what is left. Slices without labels are passed over: nothing
comes to be there.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from data_prep.cli import command, progress
from data_prep.errors import InputError
from data_prep.geometry.network_grid import DEFAULT_SETTINGS, GridSettings, probabilities_to_labels, shares_to_network
from data_prep.phantom.label_maps import find_label_maps

SLAB = 32  # slices at a time: bounds the memory


def round_trip_dice(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], settings: GridSettings = DEFAULT_SETTINGS
) -> tuple[float, float]:
    """Return Dice of kidney (label > 0) and of tumor after the way there and back.

    labels: uint8 [z, y, x], 0 background, 1 kidney, 2 tumor; spacing (z, y, x). NaN for what is in neither.
    """
    slices = np.flatnonzero(labels.any(axis=(1, 2)))
    counts = np.zeros((2, 3), np.int64)  # kidney, tumor; both, before, after
    for start in range(0, len(slices), SLAB):
        before = labels[slices[start : start + SLAB]]
        shares = shares_to_network(before, spacing_mm, settings)
        after = probabilities_to_labels(shares, before.shape, spacing_mm, settings)
        for row, smallest in zip(counts, (1, 2), strict=True):
            a, b = before >= smallest, after >= smallest
            row += [np.count_nonzero(a & b), np.count_nonzero(a), np.count_nonzero(b)]
    kidney, tumor = (2 * both / (a + b) if a + b else float("nan") for both, a, b in counts.tolist())
    return kidney, tumor


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.label_round_trip",
        description="Bring label maps to the network's grid as soft labels and back, and print what is kept as Dice.",
    )
    parser.add_argument("labels", metavar="DIR", help="folder of case folders with segmentation.nii.gz")
    parser.add_argument("--size", type=int, default=256, help="pixels of the network a side (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N label maps (default: all)")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print Dice by label map, and mean and minimum; see `--help`."""
    from data_prep.volume import read_labels

    settings = GridSettings(options.size)
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit {options.limit}: expected 1 or more label maps, or none for all")
    maps = find_label_maps(options.labels)[: options.limit]
    rows = []
    for label_map in progress(maps, "round trip"):
        volume = read_labels(label_map.path)
        labels = np.where(volume.voxels == 3, np.uint8(1), volume.voxels)  # cysts are kidney
        rows.append(round_trip_dice(labels, volume.spacing_mm, settings))
    for label_map, (kidney, tumor) in zip(maps, rows, strict=True):
        print(f"{label_map.name}  kidney {kidney:.4f}  tumor {tumor:.4f}")
    table = np.array(rows)
    for name, column in zip(("kidney", "tumor"), table.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            worst = maps[int(np.nanargmin(column))].name
            print(f"{name}: mean {known.mean():.4f}, lowest {known.min():.4f} ({worst}), {len(known)} label maps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
