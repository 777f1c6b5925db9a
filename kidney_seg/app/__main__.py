"""Command line of `python -m kidney_seg.app`: a page on one's own computer."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.errors import InputError, require
from kidney_seg.app.entries import MOST_GB
from kidney_seg.config.set_option import add_set_option, prediction_settings
from kidney_seg.hardware import add_device_option
from kidney_seg.predict.engines import ENGINES
from kidney_seg.weights import STARTER


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.app",
        description="Open a page in the browser: drop a scan, see kidneys and tumors, save labels. Nothing leaves this "
        "computer, and all temporary files are removed at the end. Research only. Ctrl-C ends it.",
        epilog="example: python -m kidney_seg.app --demo",
    )
    add = parser.add_argument
    add(
        "--model",
        default=STARTER,
        help="starter (the model that ships), a run folder, or a .keras file (default: %(default)s)",
    )
    add("--engine", choices=ENGINES, default="auto", help="library that runs the network (default: %(default)s)")
    add(
        "--server",
        metavar="SERVER",
        help="segment with a TF Serving server: HOST:PORT (gRPC) or http://HOST:PORT; scans then go there",
    )
    add("--name", default="kidney_seg", help="the model's name on --server (default: %(default)s)")
    add_set_option(parser, "other settings of prediction than the model's, as for predict", "prediction")
    add_device_option(parser)
    add("--demo", action="store_true", help="begin with a simulated patient and its truth")
    add("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    add("--max-gb", type=float, default=MOST_GB, metavar="GB", help="largest file to drop (default: %(default)s)")
    add("--no-browser", action="store_true", help="print the address and open no browser")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Serve the page until it is stopped."""
    if not 0 <= arguments.port < 65536:
        raise InputError(f"--port {arguments.port}: expected 0 to 65535")
    if not 0 < arguments.max_gb <= 1000:
        raise InputError(f"--max-gb {arguments.max_gb:g}: expected more than 0, at most 1000")
    require("tornado", "app")
    from kidney_seg.app.server import serve
    from kidney_seg.app.worker import Engine

    engine = Engine(
        model=arguments.model,
        engine=arguments.engine,
        device=arguments.device,
        settings=prediction_settings(arguments.set),
        server=arguments.server,
        name=arguments.name,
    )
    serve(
        engine,
        port=arguments.port,
        browser=not arguments.no_browser,
        most_gb=arguments.max_gb,
        demo=arguments.demo,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
