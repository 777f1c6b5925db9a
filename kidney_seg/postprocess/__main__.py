"""Command line of `python -m kidney_seg.postprocess`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.cli import command
from data_prep.errors import InputError
from kidney_seg.postprocess.distant_objects import (
    DISTANCE_MM,
    KIDNEY_ML,
    Component,
    apply_rule,
    check_limits,
    format_objects,
)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.postprocess",
        description="Remove the objects of a label file (0 background, 1 kidney, 2 tumor) that lie far from "
        "both kidneys, and say what was found. The result is on the grid of the input.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "input",
        metavar="IN",
        type=Path,
        help="label file (.nii.gz, .nii, .nrrd, .mha, or .dcm of a DICOM Segmentation), or folder of them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="label file to write (.nii.gz, .nii, .nrrd, .mha), or folder for a folder",
        default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--distance-mm", type=float, default=DISTANCE_MM, help="objects farther than this from the kidneys go"
    )
    parser.add_argument(
        "--kidney-ml",
        type=float,
        default=KIDNEY_ML,
        help="the two largest objects of at least this are kidneys",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write volumes, objects and flags of each case, too",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--force", action="store_true", help="replace files where they exist")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command: label files in, the same without distant objects out."""
    from data_prep.datasets.label_files import find_label_files
    from data_prep.files.json_files import write_json
    from kidney_seg.postprocess.review import summary_line

    check_limits(arguments.distance_mm, arguments.kidney_ml)
    files = find_label_files(arguments.input)
    many = arguments.input.is_dir()
    outs = {case: arguments.out / f"{case}.nii.gz" if many else arguments.out for case in files}
    report = getattr(arguments, "json", None)
    there = [path for path in (*outs.values(), *([report] if report else [])) if path.exists()]
    if there and not arguments.force:
        raise InputError(f"{there[0]}: is there already; choose another name, or replace it with --force")

    described, failed = {}, {}
    for case, path in files.items():
        try:
            described[case], objects = _clean(path, outs[case], arguments.distance_mm, arguments.kidney_ml)
        except InputError as error:
            if not many:
                raise
            failed[case] = str(error)
            continue
        if many:
            print(f"{case}: {summary_line(described[case])}")
        else:
            print(format_objects(objects, arguments.distance_mm, arguments.kidney_ml))
            print(summary_line(described[case]))
            print(f"wrote {arguments.out}")
    if report:
        write_json(report, {"cases": described, "failed": failed})
    if many:
        print(f"{len(described)} label files in {arguments.out}")
    for line in failed.values():
        print(f"error: {line}", file=sys.stderr)
    return 2 if failed else 0


def _clean(path: Path, out: Path, distance_mm: float, kidney_ml: float) -> tuple[dict, list[Component]]:
    from data_prep.volume import read_labels, write_labels
    from kidney_seg.postprocess.review import describe

    volume = read_labels(path)
    result, objects = apply_rule(volume.voxels, volume.spacing_mm, distance_mm, kidney_ml)
    write_labels(result, volume.source, out)
    described = describe(
        volume.voxels, result, objects, volume.spacing_mm, distance_mm=distance_mm, kidney_ml=kidney_ml
    )
    return described, objects


if __name__ == "__main__":
    sys.exit(main())
