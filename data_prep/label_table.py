"""Command line of `python -m data_prep.label_table`: numbers, names and colors of the labels, for viewers."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.formats.label_names import itk_snap_table, slicer_color_table
from data_prep.labels import STRUCTURES

TABLES = {"itk-snap": itk_snap_table, "slicer": slicer_color_table}


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.label_table",
        description="Print numbers, names and colors of the labels, as a table to read or as the file of a viewer: a "
        "label description file of ITK-SNAP (Segmentation, Import Label Descriptions) or a color table of 3D Slicer.",
        epilog="example: python -m data_prep.label_table itk-snap > kidney_labels.txt",
    )
    words = f"{' or '.join(TABLES)} (default: a table to read)"
    parser.add_argument("viewer", metavar="VIEWER", nargs="?", choices=TABLES, help=words)
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Print the label table."""
    if arguments.viewer:
        print(TABLES[arguments.viewer](), end="")
        return 0
    for label, row in STRUCTURES.items():
        print(f"{label}  {row.name:8}{row.color}  SNOMED CT {row.kind[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
