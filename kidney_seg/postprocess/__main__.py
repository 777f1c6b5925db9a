"""Command line of `python -m kidney_seg.postprocess`: remove distant objects from label files."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data_prep.cli import command
from data_prep.errors import InputError, of_memory_error, require
from kidney_seg.config.prediction import ANCHORED, DISTANCE_MM, KIDNEY_ML, RULES, TUMOR_MM, RuleSettings
from kidney_seg.postprocess.distant_objects import Component, apply_rule, check_limits
from kidney_seg.postprocess.surfaces import FORMATS, is_stl, surface_paths, surfaces_of, write_stl


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.postprocess",
        description="Remove the objects of a label file (0 background, 1 kidney, 2 tumor) that are far from both "
        "kidneys, and print the objects that were found. The result is on the grid of the input.",
        epilog="example: python -m kidney_seg.postprocess predicted --out cleaned --json cleaned.json",
    )
    add = parser.add_argument
    add(
        "input",
        metavar="IN",
        type=Path,
        help="label file (.nii.gz, .nii, .nrrd, .mha, or .dcm of a DICOM SEG), or folder of label files",
    )
    add(
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="label file to write (.nii.gz, .nii, .nrrd, .mha), or folder if IN is a folder",
    )
    add(
        "--distance-mm",
        metavar="MM",
        type=float,
        default=DISTANCE_MM,
        help="remove objects farther than this from the kidneys (default: %(default)s)",
    )
    add(
        "--kidney-ml",
        metavar="ML",
        type=float,
        default=KIDNEY_ML,
        help="the two largest objects of at least this volume are kidneys (default: %(default)s)",
    )
    add(
        "--rule",
        choices=RULES,
        default=RULES[0],
        help="paper: the largest objects are kidneys, tumor included; anchored: those with most kidney, and tumor "
        "counts only near them (default: %(default)s)",
    )
    add(
        "--tumor-mm",
        metavar="MM",
        type=float,
        default=TUMOR_MM,
        help="with --rule anchored: remove objects with tumor farther than this from kidneys (default: %(default)s)",
    )
    words = "also write the surfaces of kidney and tumor to surfaces/ beside OUT, in mm, LPS (extra `report`)"
    add("--surfaces", choices=FORMATS, help=words)
    add("--json", metavar="FILE", type=Path, help="also write volumes, objects and flags per case to FILE")
    add("--force", action="store_true", help="replace files that exist")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Remove distant objects from label files; 2 if a file of a folder could not be read."""
    from data_prep.datasets.label_files import find_label_files
    from data_prep.files.json_files import write_json
    from data_prep.files.outputs import check_outputs, has_keys
    from data_prep.formats.image_source import stem_of
    from data_prep.volume import is_label_file
    from kidney_seg.postprocess.review import summary_line

    settings = RuleSettings(arguments.distance_mm, arguments.kidney_ml, arguments.rule, arguments.tumor_mm)
    check_limits(settings)
    files = find_label_files(arguments.input)
    many = arguments.input.is_dir()
    outs = {case: arguments.out / f"{case}.nii.gz" if many else arguments.out for case in files}
    check_outputs(outs.values(), files.values(), is_label_file)
    surfaces: dict[str, dict[str, Path]] = {}
    if kind := arguments.surfaces:
        require("skimage", "report")
        surfaces = {case: surface_paths(out, stem_of(out), kind) for case, out in outs.items()}
    meshes = [path for paths in surfaces.values() for path in paths.values()]
    check_outputs(meshes, files.values(), is_stl)
    if arguments.json:
        check_outputs([arguments.json], files.values(), has_keys("cases", "failed"))
    existing = [path for path in (*outs.values(), *meshes, arguments.json) if path and path.exists()]
    if existing and not arguments.force:
        raise InputError("exists; choose another name, or replace it with --force", path=existing[0], code="exists")

    described, failed = {}, {}
    for case, path in files.items():
        try:
            described[case], objects = _clean(path, outs[case], settings, surfaces.get(case, {}))
        except (InputError, MemoryError) as error:
            if not many:
                raise
            failed[case] = str(of_memory_error(error, path) if isinstance(error, MemoryError) else error)
            continue
        if many:
            print(f"{case}: {summary_line(described[case])}")
        else:
            print(format_objects(objects, arguments.kidney_ml, rule=arguments.rule))
            print(summary_line(described[case]))
            print(f"wrote {arguments.out}")
    if arguments.json:
        write_json(arguments.json, {"cases": described, "failed": failed})
    if many:
        print(f"{len(described)} label files in {arguments.out}")
    for line in failed.values():
        print(f"error: {line}", file=sys.stderr)
    return 2 if failed else 0


def _clean(path: Path, out: Path, settings: RuleSettings, surfaces: Mapping[str, Path]) -> tuple[dict, list[Component]]:
    from data_prep.volume import read_labels, write_labels
    from kidney_seg.postprocess.review import describe

    volume = read_labels(path)
    before, spacing_mm = volume.voxels, volume.spacing_mm
    labels, objects = apply_rule(before, spacing_mm, **asdict(settings))
    write_labels(labels, volume.source, out)
    meshes = surfaces_of(labels, volume.source) if surfaces else {}
    for name, file in surfaces.items():
        write_stl(meshes[name], name, file)
    return describe(before, labels, objects, spacing_mm, **asdict(settings)), objects


def format_objects(objects: Sequence[Component], kidney_ml: float, most: int = 12, rule: str = RULES[0]) -> str:
    """Return the largest `most` objects as a table, with notes on unusual findings."""
    lines = ["object       mL  tumor mL  distance mm  role"]
    for item in objects[:most]:
        far = "-" if item.role == "kidney" or math.isnan(item.distance_mm) else f"{item.distance_mm:.1f}"
        lines.append(f"{item.id:6d} {item.volume_ml:8.2f}  {item.tumor_ml:8.2f}  {far:>11}  {item.role}")
    rest = objects[most:]
    removed = [item for item in objects if item.role == "removed"]
    if rest:
        lines.append(f"... and {len(rest)} smaller, {sum(item.role == 'removed' for item in rest)} of them removed")
    lines.append(f"{len(removed)} of {len(objects)} objects removed, {sum(item.volume_ml for item in removed):.2f} mL")
    if not any(item.role == "kidney" for item in objects):
        what = f"{kidney_ml:g} mL" + " of kidney" * (rule == ANCHORED)
        lines.append(f"note: no object has {what}, so there is no kidney to measure from: nothing removed")
    if any(item.role != "kidney" and item.volume_ml >= kidney_ml for item in objects):
        lines.append(f"note: more than two objects have {kidney_ml:g} mL; another organ may be labeled kidney")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
