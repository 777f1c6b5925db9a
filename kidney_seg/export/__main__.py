"""Command line of `python -m kidney_seg.export`."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from kidney_seg.export.exporters import FORMATS, export_onnx, export_saved_model
from kidney_seg.hardware import add_device_option, start_line, use_device
from kidney_seg.model.model_file import find_ensemble
from kidney_seg.model.trained_on import describe_model
from kidney_seg.tensorflow_log import quiet_tensorflow


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.export",
        description="Export a trained model as the whole pipeline: raw HU slices of any size in, labels and "
        "probabilities on the same pixels out.",
        epilog="example: python -m kidney_seg.export runs/demo --out models/kidney_seg",
    )
    parser.add_argument("model", metavar="MODEL", help="run folder (its best model) or .keras file")
    parser.add_argument(
        "--out",
        metavar="DIR|FILE",
        required=True,
        help="folder of versions, such as models/kidney_seg; with --format onnx, a .onnx file",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="a SavedModel for TF Serving, or one ONNX file (default: %(default)s)",
    )
    parser.add_argument(
        "--ensemble", metavar="MODEL", nargs="+", help="average with these models, as `predict --ensemble` does"
    )
    add_device_option(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing .onnx file")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """The command; see the module's first line."""
    use_device(arguments.device)
    quiet_tensorflow()

    def begin() -> None:
        sources = find_ensemble(arguments.model, arguments.ensemble or [])
        precision, model = sources[0].config.model.precision, describe_model(sources)
        print(start_line(engine="keras", precision=precision, model=model, device=arguments.device), file=sys.stderr)

    if arguments.format == "onnx":
        print(export_onnx(arguments.model, arguments.out, arguments.force, arguments.ensemble or [], begin=begin))
    else:
        print(export_saved_model(arguments.model, arguments.out, arguments.ensemble or [], begin=begin))
    return 0


if __name__ == "__main__":
    sys.exit(main())
