"""Command line of `python -m kidney_seg.evaluate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.cli import command
from data_prep.datasets.label_files import find_label_files
from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.origin import Origin
from data_prep.parallel.shards import parse
from data_prep.split.sets import SETS, patients_of, set_name
from kidney_seg.config.prediction import DISTANCE_MM, KIDNEY_ML, RULES, TUMOR_MM, RuleSettings
from kidney_seg.evaluate.case_scores import POSTPROCESSED
from kidney_seg.evaluate.folders import Evaluation, score_folders, score_parts
from kidney_seg.evaluate.paired import compare_rows, find_scores, format_comparison, read_rows
from kidney_seg.evaluate.score_files import check_scores, default_out, scores_of, write_comparison, write_scores
from kidney_seg.evaluate.tables import format_scores
from kidney_seg.postprocess.distant_objects import check_limits

MOST_NAMES = 20  # of cases with tumor Dice 0 on the screen; scores.json has all


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.evaluate",
        description="Score predicted label files against the true ones by the rules of KiTS19 and KiTS23. Print "
        "Table 1 with 95 % intervals and the tumors found by size, write cases.csv and scores.json. A missing "
        "prediction counts as empty.",
        epilog="example: python -m kidney_seg.evaluate predictions kits --split CACHE/split.json --postprocess",
    )
    parser.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        type=Path,
        help="folder of NAME.nii.gz, prediction_NAME.nii.gz, NAME.dcm (DICOM Segmentation) or "
        "NAME/segmentation.nii.gz; or one file",
    )
    option = parser.add_argument
    option("truth", metavar="TRUTH", type=Path, help="KiTS folder, or a folder of NAME.nii.gz; or one file")
    option("--out", metavar="DIR", type=Path, help="folder for the scores (default: PREDICTIONS/evaluation)")
    option("--split", metavar="FILE", type=Path, help="CACHE/split.json: score one set only (default: all cases)")
    option("--part", type=set_name, choices=SETS, default="test", help="set of --split to score (default: %(default)s)")
    option("--postprocess", action="store_true", help="also score after removing objects far from the kidneys")
    for name, value, text in (
        ("distance-mm", DISTANCE_MM, "remove objects farther than this from both kidneys"),
        ("kidney-ml", KIDNEY_ML, "the two largest objects of at least this volume are kidneys"),
        ("tumor-mm", TUMOR_MM, "with --rule anchored, remove objects with tumor farther than this from both kidneys"),
    ):
        text = f"with --postprocess: {text} (default: %(default)s)"
        option(f"--{name}", metavar=name[-2:].upper(), type=float, default=value, help=text)
    option("--rule", choices=RULES, default=RULES[0], help="with --postprocess: the rule (default: %(default)s)")
    option(
        "--against",
        metavar="OTHER",
        type=Path,
        help="compare by patient with other predictions (a folder like PREDICTIONS) or their scores.json",
    )
    option("--jobs", metavar="N", type=int, default=1, help="number of processes (default: %(default)s)")
    option(
        "--shard",
        metavar="I/N",
        help="score part I of N of the cases, I from 0; the other parts can run at the same time, on any machine with "
        "the same folders, and the last one writes the scores",
    )
    option("--scheduler", metavar="ADDRESS", help="run on the workers of this Dask scheduler, e.g. tcp://node1:8786")
    option("--force", action="store_true", help="replace other scores in --out")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 2 if a prediction is unreadable (the others are scored)."""
    rule = RuleSettings(arguments.distance_mm, arguments.kidney_ml, arguments.rule, arguments.tumor_mm)
    check_limits(rule)
    options: dict[str, Any] = {}
    if arguments.split:
        options["patients"] = patients_of(arguments.split, arguments.part)
    if arguments.postprocess:
        options |= rule.to_record()
    others = _read_others(arguments.against)  # report an error there before the minutes of scoring
    out = arguments.out or default_out(arguments.predictions)
    scores = find_scores(arguments.against) if arguments.against else None
    check_scores(out, [scores] if scores else [])
    if arguments.shard or arguments.scheduler:
        if arguments.against and others is None:
            raise InputError(
                f"--against {arguments.against}: --shard and --scheduler compare with scores only, found predictions; "
                "score these first and give their scores.json"
            )
        result = _score_parts(arguments, out, options)
        if isinstance(result, int):
            return result
    else:
        result = score_folders(arguments.predictions, arguments.truth, jobs=arguments.jobs, **options)
    print(_tables(result, options))
    for name, words in (("cohort", "patients"), ("origin", "predicted by a model")):
        origin = Origin(**result.origins[name])
        print(f"{words}: {printable(origin if name == 'cohort' else origin.trained)}")
    for line in _findings(result):
        print(line, file=sys.stderr)
    for path in write_scores(result.rows, out, result.details(options), arguments.force):
        print(f"wrote {path}")
    if arguments.against:
        if others is None:
            found = score_folders(arguments.against, arguments.truth, jobs=arguments.jobs, **options)
            for line in _findings(found):
                print(f"--against: {line}", file=sys.stderr)
            others = found.rows
        compared = compare_rows(result.rows, others)
        print(f"\n{format_comparison(compared, str(arguments.against))}")
        print(f"wrote {write_comparison(compared, str(arguments.against), out, arguments.force)}")
    return 2 if result.unreadable else 0


def _score_parts(arguments: argparse.Namespace, out: Path, options: Mapping[str, Any]) -> Evaluation | int:
    """Return the scores of all cases, or the exit code if they are not complete."""
    parts = score_parts(
        arguments.predictions,
        arguments.truth,
        out,
        shard=parse(arguments.shard) if arguments.shard else None,
        scheduler=arguments.scheduler,
        jobs=arguments.jobs,
        **options,
    )
    for line in parts.failures:
        print(f"error: {line}", file=sys.stderr)
    if parts.evaluation is not None:
        return parts.evaluation
    for line in parts.unreadable:
        print(f"error: {line} (counted as empty)", file=sys.stderr)
    what = f"shard {arguments.shard} is done" if arguments.shard else "the scores are not complete"
    print(
        f"{out}: {what} ({parts.made} scored, {parts.kept} kept, {len(parts.failures)} failed); "
        "cases.csv and scores.json are written when all cases are scored"
    )
    return 2 if parts.failures or parts.unreadable else 0


def _read_others(against: Path | None) -> list[dict[str, Any]] | None:
    if against is None:
        return None
    if not against.exists():
        raise InputError(f"--against {against}: no such file or folder", code="no_such_file")
    if (scores := find_scores(against)) is None:
        find_label_files(against)  # it holds some
        return None
    return read_rows(scores)


def _tables(result: Evaluation, options: Mapping[str, Any]) -> str:
    scores, count = scores_of(result.rows), len(result.rows)
    title = f"Table 1, {count} case{'s' * (count != 1)}; structures absent in truth and prediction are left out"
    tables = [format_scores(scores, title)]
    for prefix, when in (("", ""), (POSTPROCESSED, ", post-processed,")):
        names = scores.get(f"{prefix}zero_tumor_dice")
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            shown = ", ".join(names[:MOST_NAMES])
            tables.append(f"Tumor Dice 0{when} in {len(names)} of {count} cases: {shown}{more}")
    if "distance_mm" in options:
        rule = f"farther than {options['distance_mm']:g} mm, kidneys from {options['kidney_ml']:g} mL"
        if "rule" in options:
            rule += f" of kidney, and objects with tumor farther than {options['tumor_mm']:g} mm"
        tables.append(f"Post-processing removes objects {rule}.")
    return "\n\n".join(tables)


def _findings(result: Evaluation) -> list[str]:
    """Return one line per unreadable file and note, one for all missing predictions, and one for all extra ones."""
    lines = [f"note: {note}" for note in result.notes]
    lines += [f"error: {line} (counted as empty)" for line in result.unreadable]
    if result.missing:
        lines.append(f"missing, counted as empty: {', '.join(result.missing)}")
    if result.extra:
        lines.append(f"left out, without a case to score: {', '.join(result.extra)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
