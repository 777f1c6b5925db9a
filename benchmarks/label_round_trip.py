"""What the network's grid keeps of real labels: `python -m benchmarks.label_round_trip DIR`.

Label maps are resampled to the network's grid as soft labels (the output of a perfect network) and back, as predictions
are, and compared with the original by Dice. Slices without labels are skipped: they stay empty.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from data_prep.cli import command, progress
from data_prep.errors import InputError
from data_prep.geometry.network_grid import DEFAULT_SETTINGS, GridSettings, probabilities_to_labels, shares_to_network
from data_prep.labels import cysts_to_kidney
from data_prep.phantom.label_maps import find_label_maps
from kidney_seg.metrics.overlap import SCORED, kits19_dice

SLAB = 32  # slices at a time, to limit the memory


def round_trip_dice(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], settings: GridSettings = DEFAULT_SETTINGS
) -> tuple[float, float]:
    """Return the Dice of kidney (label > 0) and of tumor after the round trip; NaN for an absent structure.

    labels: uint8 [z, y, x], 0 background, 1 kidney, 2 tumor; spacing (z, y, x).
    """
    before = labels[labels.any(axis=(1, 2))]
    after = np.zeros_like(before)
    for start in range(0, len(before), SLAB):
        slab = before[start : start + SLAB]
        shares = shares_to_network(slab, spacing_mm, settings)
        after[start : start + SLAB] = probabilities_to_labels(shares, slab.shape, spacing_mm, settings)
    dice = kits19_dice(before, after)
    return dice["kidney"], dice["tumor"]


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.label_round_trip",
        description="Resample label maps to the network's grid as soft labels and back, and print the Dice.",
        epilog="example: python -m benchmarks.label_round_trip kits --limit 20",
    )
    parser.add_argument("labels", metavar="DIR", help="folder of case folders with segmentation.nii.gz")
    parser.add_argument(
        "--size", type=int, default=256, metavar="N", help="pixels per side of the network (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N label maps (default: all)")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Print the Dice per label map, its mean and its minimum."""
    from data_prep.volume import read_labels

    settings = GridSettings(options.size)
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit {options.limit}: expected 1 or more label maps, or none for all")
    maps = find_label_maps(options.labels)[: options.limit]
    rows = []
    for label_map in progress(maps, "round trip"):
        volume = read_labels(label_map.path)
        rows.append(round_trip_dice(cysts_to_kidney(volume.voxels), volume.spacing_mm, settings))
    for label_map, (kidney, tumor) in zip(maps, rows, strict=True):
        print(f"{label_map.name}  kidney {kidney:.4f}  tumor {tumor:.4f}")
    table = np.array(rows)
    for name, column in zip(SCORED, table.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            worst = maps[int(np.nanargmin(column))].name
            print(f"{name}: mean {known.mean():.4f}, lowest {known.min():.4f} ({worst}), {len(known)} label maps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
