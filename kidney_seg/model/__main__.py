"""Command line of `python -m kidney_seg.model`: print or draw the network."""

from __future__ import annotations

import argparse
import sys

from data_prep.cli import command
from data_prep.errors import InputError
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.set_option import add_set_option
from kidney_seg.model.attention_unet import build_model


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.model",
        description="Print the network level by level, from the built model: resolution, channels, attention gate, "
        "supervised output and parameters.",
        epilog="example: python -m kidney_seg.model --set gates=2,3,4 --figure network.svg",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="run folder or .keras file, instead of settings")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper", help="settings (default: %(default)s)")
    add_set_option(parser, "settings that differ from the preset, such as size=128 gates=2,3,4")
    parser.add_argument("--figure", metavar="FILE", help="also draw it as the paper's Figure 1 (.png, .svg, .pdf)")
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Print the network of a model or of settings."""
    if arguments.model and arguments.set:
        raise InputError(f"--set {arguments.set[0]}: MODEL has its own settings; give MODEL or --set, not both")
    config = PRESETS[arguments.preset].with_settings(arguments.set)
    from kidney_seg.figures.style import check_picture, save
    from kidney_seg.model.model_file import load_model
    from kidney_seg.model.overview import draw, table
    from kidney_seg.model.trained_on import origin_line
    from kidney_seg.tensorflow_log import quiet_tensorflow

    if arguments.figure:
        check_picture(arguments.figure)
    quiet_tensorflow()
    if arguments.model:
        loaded = load_model(arguments.model)
        model = loaded.model
        print(origin_line([loaded]))
    else:
        model = build_model(config.model)
    print(table(model))
    if arguments.figure:
        save(draw(model), arguments.figure)
        print(arguments.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
