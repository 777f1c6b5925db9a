"""Segment whole volumes with a model that is served: `python -m kidney_seg.serving HOST:PORT INPUT --out OUT`.

Speaks to TF Serving over gRPC or REST; reads and writes what `kidney_seg.predict` does, and gives the same labels,
but at near ties of two classes (docs/reproducibility.md).
`--check DIR` tells whether an exported model holds its contract. See docs/serving.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.command import InputError, run_command
from data_prep.files import read_json
from data_prep.volume import FILE_ENDINGS
from kidney_seg.config import Config, PredictionConfig
from kidney_seg.serving_client import Patience, Transport, segment

NAME = "kidney_seg"


def connect(server: str, model: str = NAME) -> Transport:
    """Return the transport to a server: `HOST:PORT` or `grpc://`, `grpcs://` (TLS), `http://`, `https://HOST:PORT`.

    Nothing is sent yet. InputError for anything else, or if gRPC is asked for without the extra `serving`.
    """
    scheme, found, address = server.rpartition("://")
    scheme, address = scheme if found else "grpc", address.rstrip("/")
    host, colon, port = address.rpartition(":")
    if scheme not in ("grpc", "grpcs", "http", "https") or not (host and colon and port.isdecimal()):
        raise InputError(f"server {server}: expected HOST:PORT (gRPC) or http://HOST:PORT (REST)")
    if scheme in ("http", "https"):
        from kidney_seg.serving_rest import RestTransport

        return RestTransport(address, model, secure=scheme == "https")
    from kidney_seg.serving_grpc import GrpcTransport

    return GrpcTransport(address, model, secure=scheme == "grpcs")


def segment_file(
    transport: Transport,
    image: str | Path,
    out: str | Path,
    settings: PredictionConfig | None = None,
    patience: Patience | None = None,
    in_flight: int = 4,
    series: str | None = None,
) -> None:
    """Read one CT volume, have it segmented, post-process, and write labels on exactly the grid of its file.

    `image` and `series` as for `read_volume`. settings: of the post-processing; the served model's own without them.
    The file appears when the labels of all slices are there, or not at all.
    """
    from data_prep.volume import read_volume, write_labels

    volume = read_volume(image, series)
    for note in volume.notes:
        print(f"note: {note}", file=sys.stderr)
    labels, promise = segment(transport, volume.voxels, volume.spacing_mm, patience, in_flight)
    settings = settings or promise.prediction
    if settings.postprocess:
        from kidney_seg.postprocess import remove_distant_objects

        labels = remove_distant_objects(labels, volume.spacing_mm, settings.distance_mm, settings.kidney_ml)
    write_labels(labels, volume.source, out)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.serving",
        description="Segment a CT volume with a served model: labels 0 background, 1 kidney, 2 tumor on the input's "
        "own grid. Or check an exported model.",
    )
    parser.add_argument("server", metavar="SERVER", nargs="?", help="HOST:PORT (gRPC) or http://HOST:PORT (REST)")
    parser.add_argument("input", metavar="INPUT", nargs="?", help="volume file, or folder of DICOM files")
    parser.add_argument("--out", help="label file (.nii.gz, ...)")
    parser.add_argument("--series", help="of a folder of DICOM files: number or key, as data_prep.dicom lists them")
    parser.add_argument("--force", action="store_true", help="replace a label file that is there already")
    parser.add_argument("--name", default=NAME, help="the model's name on the server (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="config.json with other settings of the post-processing")
    parser.add_argument("--no-postprocess", action="store_true", help="leave distant objects in")
    default = Patience()
    parser.add_argument(
        "--timeout", type=float, default=default.timeout_s, metavar="S", help="seconds a request (default: %(default)s)"
    )
    parser.add_argument(
        "--retries", type=int, default=default.retries, metavar="N", help="of a failed request (default: %(default)s)"
    )
    parser.add_argument("--in-flight", type=int, default=4, metavar="N", help="requests at a time (default: 4)")
    check = parser.add_argument_group("instead of a volume")
    check.add_argument("--check", metavar="DIR", help="an exported model: version folder, folder of them, .onnx file")
    check.add_argument("--model", metavar="RUN", help="with --check: compare with this run or .keras file")
    check.add_argument("--ensemble", metavar="WHAT", nargs="+", help="with --model: averaged, as it was exported")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; see the module's first lines."""
    arguments = make_parser().parse_args(argv)
    return run_command(lambda: _check(arguments) if arguments.check else _segment(arguments))


def _segment(arguments: argparse.Namespace) -> int:
    if not (arguments.server and arguments.input and arguments.out) or arguments.model:
        raise InputError("give SERVER INPUT --out OUT, or --check DIR [--model RUN]; see --help")
    out = Path(arguments.out)
    if not out.name.endswith(FILE_ENDINGS):
        raise InputError(f"--out {out}: expected a name that ends in {', '.join(FILE_ENDINGS)}")
    if out.exists() and not arguments.force:
        raise InputError(f"{out}: is there already; choose another --out, or replace it with --force")
    patience = Patience(arguments.timeout, arguments.retries)
    settings = None
    if arguments.no_postprocess:
        settings = PredictionConfig(postprocess=False)
    elif arguments.config:
        settings = Config.from_dict(read_json(arguments.config, "settings")).prediction
    from kidney_seg.quiet import quiet_tensorflow

    if not arguments.server.startswith("http"):
        quiet_tensorflow()  # TF Serving's protos bring it along
    transport = connect(arguments.server, arguments.name)
    try:
        segment_file(transport, arguments.input, out, settings, patience, arguments.in_flight, arguments.series)
    finally:
        transport.close()
    print(out)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if arguments.server or arguments.out:
        raise InputError("--check looks at one exported model; give it without SERVER, INPUT and --out")
    from kidney_seg.quiet import quiet_tensorflow
    from kidney_seg.serving_check import check_export

    quiet_tensorflow()
    problems = check_export(arguments.check, arguments.model, arguments.ensemble or [])
    for problem in problems:
        print(f"wrong: {problem}")
    if not problems:
        print(f"{arguments.check}: holds the contract")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
