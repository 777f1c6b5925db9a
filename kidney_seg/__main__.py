# PYTHON_ARGCOMPLETE_OK
"""The list of commands (`python -m kidney_seg`), and each by its short name (`kidney-seg predict ...`)."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
import sys
from types import ModuleType

from data_prep.cli import run_command
from data_prep.version import code_version

COMMANDS = {
    "data_prep.download": "download KiTS19, KiTS21 or KiTS23, whole and verified",
    "data_prep.phantom": "simulate patients, or CT around real label maps",
    "data_prep.check": "list problems in a folder of cases or in a cache, and their fixes",
    "data_prep.dicom": "list the series in a folder of DICOM files",
    "data_prep.build": "build the HDF5 cache of a folder of cases",
    "data_prep.label_table": "print names and colors of the labels, also for ITK-SNAP and 3D Slicer",
    "data_prep.split": "divide the patients into train, validation and test set",
    "kidney_seg.model": "print the network level by level, or draw it",
    "kidney_seg.progressive": "train in rounds and score the test patients; without data, the demo",
    "kidney_seg.watch": "show the progress of a training",
    "kidney_seg.report": "write an HTML page about a run or an evaluation",
    "kidney_seg.compare": "compare finished runs by patient",
    "kidney_seg.threshold": "compare distances of the post-processing on the validation patients",
    "kidney_seg.app": "a page on this computer: drop a scan, see kidneys and tumors",
    "kidney_seg.predict": "segment scans",
    "kidney_seg.postprocess": "remove objects far from both kidneys from label files",
    "kidney_seg.evaluate": "score label files against the truth: Table 1",
    "kidney_seg.export": "export a model for TF Serving, or as an ONNX file",
    "kidney_seg.serving": "segment a scan with a served model, or check an export",
}
SYNONYMS = {  # names that others use
    **dict.fromkeys(("train", "fit", "demo"), "progressive"),
    **dict.fromkeys(("segment", "infer", "inference", "run"), "predict"),
    **dict.fromkeys(("eval", "score", "test"), "evaluate"),
    **dict.fromkeys(("simulate", "generate"), "phantom"),
    **dict.fromkeys(("preprocess", "cache", "prepare"), "build"),
    **dict.fromkeys(("view", "viewer", "gui", "page"), "app"),
    "serve": "serving",
    "doctor": "check",
}
SHORT = {module.partition(".")[2]: module for module in COMMANDS}


def load_command(name: str) -> ModuleType:
    """Return the module with the `main` and `make_parser` of a command such as `kidney_seg.predict`."""
    spec = importlib.util.find_spec(name)
    is_folder = spec is not None and spec.submodule_search_locations is not None
    return importlib.import_module(f"{name}.__main__" if is_folder else name)


def complete(line: str) -> None:
    """Print completions of the command line `line` to the shell and exit (extra `completion`)."""
    from argcomplete import FilesCompleter, autocomplete

    class FilesUnlessNumbers(FilesCompleter):
        def __call__(self, prefix: str, **about: object) -> list[str]:
            number = getattr(about["action"], "type", None) in (int, float)
            return [] if number else super().__call__(prefix, **about)

    parser = argparse.ArgumentParser(prog="kidney-seg")
    choices = parser.add_subparsers()
    for name, module in SHORT.items():
        own = [load_command(module).make_parser()] if name in line.split() else []
        choices.add_parser(name, help=COMMANDS[module], parents=own, add_help=not own)
    autocomplete(parser, always_complete_options=False, default_completer=FilesUnlessNumbers())


def main(argv: list[str] | None = None) -> int:
    """Run a command by its short name and return its exit code, 2 for an unknown name; without one, list all.

    If a shell asks for completions, print them and exit.
    """
    if "_ARGCOMPLETE" in os.environ:
        complete(os.environ["COMP_LINE"])
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in ("-V", "--version"):
        print(f"kidney_seg {code_version()}")
        return 0
    if words and words[0] not in ("-h", "--help"):
        if words[0] in SHORT:
            return load_command(SHORT[words[0]]).main(words[1:])
        near = [SYNONYMS[words[0]]] if words[0] in SYNONYMS else difflib.get_close_matches(words[0], SHORT, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "python -m kidney_seg lists all"
        print(f"error: {words[0]}: no such command; {hint}", file=sys.stderr)
        return 2
    return run_command(_list_commands)


def _list_commands() -> int:
    wide = max(map(len, COMMANDS))
    print("Commands, in the order of their use; each has --help:\n")
    for name, what in COMMANDS.items():
        print(f"  python -m {name:{wide}}  {what}")
    print("\nTo try it without data: python -m kidney_seg.progressive")
    print("Shorter: kidney-seg COMMAND, such as kidney-seg predict (completion by Tab: docs/reference/commands.md)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
