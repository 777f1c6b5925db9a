"""Command line of `python -m kidney_seg.serving`: segment a scan with a served model, or check an export."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.outputs import check_outputs
from data_prep.scans import find_scans
from data_prep.volume import is_label_file
from kidney_seg.config.run_config import Config
from kidney_seg.config.set_option import add_set_option, prediction_settings
from kidney_seg.predict.command import add_choice_options, choice_of, predict_and_report
from kidney_seg.predict.outputs import Outputs, outputs_by_options
from kidney_seg.serving.client import RetryPolicy
from kidney_seg.serving.volumes import NAME, connect, served_job


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.serving",
        description="Segment scans with a served model: labels 0 background, 1 kidney, 2 tumor on the input's own "
        "grid, with the records, the table and the page that predict writes. Or check an exported model.",
        epilog="example: python -m kidney_seg.serving HOST:8500 scan.nii.gz --out labels.nii.gz",
    )
    add, policy = parser.add_argument, RetryPolicy()
    add("server", metavar="SERVER", nargs="?", help="HOST:PORT (gRPC) or http://HOST:PORT (REST)")
    add("input", metavar="INPUT", nargs="*", help="one or more of: file, folder, zip file or @FILE, as for predict")
    add("--out", metavar="OUT", help="label file (.nii.gz, ...) for one scan, or folder for several, as for predict")
    add_choice_options(parser)
    add("--force", action="store_true", help="segment again what is done, and replace label files that exist")
    add("--name", default=NAME, help="the model's name on the server (default: %(default)s)")
    add("--config", metavar="FILE", help="config.json with other settings of the post-processing")
    add_set_option(parser, "other settings of prediction, such as distance_mm=10", "prediction")
    add("--no-postprocess", action="store_true", help="keep objects far from the kidneys")
    add(
        "--timeout",
        metavar="S",
        type=float,
        default=policy.timeout_s,
        help="seconds per whole request (default: %(default)s)",
    )
    add("--retries", metavar="N", type=int, default=policy.retries, help="of a failed request (default: %(default)s)")
    add("--in-flight", metavar="N", type=int, default=4, help="concurrent requests (default: %(default)s)")
    add = parser.add_argument_group("instead of a volume").add_argument
    add("--check", metavar="DIR", help="exported model: version folder, folder of versions, or .onnx file")
    add("--model", metavar="MODEL", help="with --check: compare with this run folder or .keras file")
    add("--ensemble", metavar="MODEL", nargs="+", help="with --model: the models that were averaged in the export")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Segment a volume, or check an export; 1 if the export does not satisfy its contract."""
    return _check(arguments) if arguments.check else _segment(arguments)


def _segment(arguments: argparse.Namespace) -> int:
    if not (arguments.server and arguments.input and arguments.out) or arguments.model:
        raise InputError("give SERVER INPUT --out OUT, or --check DIR [--model MODEL]; see --help")
    scans, single = find_scans(arguments.input, choice_of(arguments))
    outputs, folder = outputs_by_options(scans, single, arguments)
    if folder is None:
        _check_file(outputs[0], arguments)
    policy = RetryPolicy(arguments.timeout, arguments.retries)
    settings = Config.read(arguments.config, "settings").prediction if arguments.config else None
    changes = prediction_settings([*["postprocess=false"] * arguments.no_postprocess, *arguments.set])
    if not arguments.server.startswith("http"):
        from kidney_seg.tensorflow_log import quiet_tensorflow

        quiet_tensorflow()  # TF Serving's protos import it
    transport = connect(arguments.server, arguments.name)
    try:
        job = served_job(transport, settings, policy, arguments.in_flight, changes)
        return predict_and_report(job, scans, outputs, folder, force=arguments.force)
    finally:
        transport.close()


def _check_file(outputs: Outputs, arguments: argparse.Namespace) -> None:
    """Refuse what needs no server to be refused."""
    check_outputs([outputs.labels], [*arguments.input, *filter(None, [arguments.config])], is_label_file)
    if outputs.labels.exists() and not (arguments.force or outputs.record.exists()):
        raise InputError("exists; choose another --out, or replace it with --force", outputs.labels, "exists")


def _check(arguments: argparse.Namespace) -> int:
    if arguments.server or arguments.out:
        raise InputError("--check takes one exported model; give it without SERVER, INPUT and --out")
    from kidney_seg.export.verification import check_export
    from kidney_seg.model.model_file import find_ensemble
    from kidney_seg.model.trained_on import origin_line
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    if arguments.model:
        print(origin_line(find_ensemble(arguments.model, arguments.ensemble or [])))
    problems = check_export(arguments.check, arguments.model, arguments.ensemble or [])
    for problem in problems:
        print(f"wrong: {problem}")
    if not problems:
        print(f"{arguments.check}: satisfies the contract")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
