"""What `predict` and the client of a server share: options that choose scans, the prediction, and the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from data_prep.scans import Choice, Scan
from data_prep.scans.names import BY_FOLDER, NAME_BY
from kidney_seg.predict.batch import predict_scans
from kidney_seg.predict.outputs import SEG, Outputs
from kidney_seg.predict.scans import Segmenter


def add_choice_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose DICOM series and name scans."""
    add = parser.add_argument
    add("--series", metavar="N", help="number or key of a DICOM series, as python -m data_prep.dicom lists them")
    add("--all-series", action="store_true", help="predict every CT series of a study, not the one that fits best")
    add(
        "--name-by",
        choices=NAME_BY,
        default=BY_FOLDER,
        help="names of DICOM studies: their folders without the patient's name and ID, the PatientID, or a key "
        "(default: %(default)s)",
    )


def choice_of(arguments: argparse.Namespace) -> Choice:
    """Return what the options of a command choose."""
    if arguments.series is not None and arguments.all_series:
        raise InputError(f"--series {arguments.series}: chooses one series, --all-series all of them; give one of both")
    out = Path(arguments.out)
    given = vars(arguments)
    return Choice(
        images=given.get("images"),
        split=given.get("split"),
        part=given.get("part", "test"),
        series=arguments.series,
        all_series=arguments.all_series,
        name_by=arguments.name_by,
        out=out if out.is_dir() else None,
        for_seg=given.get("dicom_seg", False) or out.suffix == SEG,
    )


def predict_and_report(
    job: Segmenter,
    scans: Sequence[Scan],
    outputs: Sequence[Outputs],
    folder: Path | None,
    *,
    force: bool = False,
    jobs: int = 1,
    scheduler: str | None = None,
) -> int:
    """Predict, print the results and return the exit code: 2 if a scan failed. folder: of all outputs, None for one."""
    if folder is None:
        scans = [scan.alone() for scan in scans]
        if scans[0].problem is not None:
            raise scans[0].problem

    def begin() -> None:
        if scheduler is None:  # its workers have devices of their own
            print(job, file=sys.stderr)
        for scan in scans if folder else ():
            if scan.study and scan.image.stem not in scan.name:
                print(f"note: {scan.name} is {scan.image}", file=sys.stderr)

    failed = predict_scans(
        job,
        list(zip(scans, outputs, strict=True)),
        force=force,
        jobs=jobs,
        scheduler=scheduler,
        results=folder,
        begin=begin,
        log=_above_progress_bar,
    )
    if folder is None and failed:
        raise failed[0][1]
    if folder is not None:
        shown = "; overview.html shows them" * bool(scans)
        print(
            f"{len(scans) - len(failed)} label volumes in {folder}" + f", {len(failed)} failed" * bool(failed) + shown
        )
    for scan, error in failed:
        print(f"error: {scan.name}: {error}", file=sys.stderr)
    return 2 if failed else 0


def _above_progress_bar(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)
