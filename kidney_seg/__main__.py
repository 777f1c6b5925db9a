"""The list of commands: `python -m kidney_seg`."""

from __future__ import annotations

import sys

COMMANDS = {
    "data_prep.phantom": "simulate patients, or CT around real label maps",
    "data_prep.check": "name what is amiss in a folder of cases or in a cache",
    "data_prep.dicom": "list the series in a folder of DICOM files",
    "data_prep.build": "make the HDF5 cache of a folder of cases",
    "data_prep.split": "divide the patients into train, selection and test set",
    "kidney_seg.model": "show the network level by level, or draw it",
    "kidney_seg.progressive": "train in rounds and score the test patients; without data, the demo",
    "kidney_seg.watch": "show where a training is",
    "kidney_seg.report": "write the page about a run or an evaluation",
    "kidney_seg.compare": "put finished runs side by side, by patient",
    "kidney_seg.threshold": "find the distance of the post-processing on the selection patients",
    "kidney_seg.predict": "segment scans",
    "kidney_seg.postprocess": "remove objects far from both kidneys from label files",
    "kidney_seg.evaluate": "score label files against the truth: Table 1",
    "kidney_seg.export": "make the model that TF Serving takes, or an ONNX file",
    "kidney_seg.serving": "segment a scan with a served model, or check an export",
}


def main(argv: list[str] | None = None) -> int:
    """Print every command with a line on it; exit code 0, or 2 where a command's name was given in the wrong way."""
    names = sys.argv[1:] if argv is None else argv
    if names and names[0] not in ("-h", "--help"):
        print(f"error: {names[0]}: commands are modules, such as python -m kidney_seg.predict --help", file=sys.stderr)
        return 2
    wide = max(map(len, COMMANDS))
    print("Commands, in the order in which they are used; each has --help:\n")
    for name, what in COMMANDS.items():
        print(f"  python -m {name:{wide}}  {what}")
    print("\nThe first one to try, with no data of yours: python -m kidney_seg.progressive")
    return 0


if __name__ == "__main__":
    sys.exit(main())
