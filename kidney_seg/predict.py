"""Labels for whole volumes, on the input's own grid: `python -m kidney_seg.predict MODEL INPUT --out OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep import grid
from data_prep.command import InputError, progress, run_command
from data_prep.kits import Case, find_cases
from data_prep.split import SETS, patients_of
from data_prep.volume import FILE_ENDINGS
from kidney_seg.config import HEADS, PredictionConfig
from kidney_seg.modelfile import ModelFile, load_model
from kidney_seg.neighbors import neighbor_indices
from kidney_seg.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from data_prep.volume import Volume

Predictor = Callable[[np.ndarray], np.ndarray]


def make_predictor(model, slices_per_batch: int = 16) -> Predictor:
    """Return a function from a scan's HU slices [n, size, size], in order, to probabilities [n, size, size, classes].

    They are the finest head's. Where the network sees neighboring slices (`input_slices`), it gets them from the
    same scan. Slices go through in batches of one fixed shape (the last is filled up), so that the network is traced
    once.
    """
    import keras

    finest = keras.Model(model.inputs, model.output[HEADS[-1]])
    channels = finest.inputs[0].shape[-1]

    def predict(slices: np.ndarray) -> np.ndarray:
        size, classes = finest.output_shape[-2:]
        made = np.empty((len(slices), size, size, classes), np.float32)
        for first in range(0, len(slices), slices_per_batch):
            positions = np.arange(first, min(first + slices_per_batch, len(slices)))
            batch = np.zeros((slices_per_batch, size, size, channels), np.float32)
            seen = neighbor_indices(positions, len(slices), channels)
            batch[: len(positions)] = np.moveaxis(slices[seen], 1, -1)
            made[positions] = finest.predict_on_batch(batch)[: len(positions)]
        return made

    return predict


def predict_volume(predictor: Predictor, volume: Volume, settings: grid.GridSettings) -> np.ndarray:
    """Return labels uint8 [z, y, x] on the volume's grid.

    The slices are brought to the network's grid, the probabilities (never labels) back to the volume's, then the most
    probable class is taken. The paper's post-processing is not part of this; see `finish_labels`.
    """
    probabilities = predictor(grid.to_network(volume.voxels, volume.spacing_mm, settings))
    return grid.probabilities_to_labels(probabilities, volume.voxels.shape, volume.spacing_mm, settings)


def finish_labels(labels: np.ndarray, spacing_mm: Sequence[float], settings: PredictionConfig) -> np.ndarray:
    """Apply the paper's post-processing where the settings ask for it; labels uint8 [z, y, x]."""
    if not settings.postprocess:
        return labels
    from kidney_seg.postprocess import remove_distant_objects

    return remove_distant_objects(labels, spacing_mm, settings.distance_mm, settings.kidney_ml)


def predict_file(
    loaded: ModelFile,
    predictor: Predictor,
    image: Path,
    out: Path,
    settings: PredictionConfig,
    series: str | None = None,
) -> None:
    """Read one CT volume, predict, post-process, and write labels on exactly the grid of its file.

    `image` and `series` as for `read_volume`: a file, or a folder of DICOM files. What reading had to decide is said on
    standard error.
    """
    from data_prep.volume import read_volume, write_labels

    volume = read_volume(image, series)
    for note in volume.notes:
        print(f"note: {note}", file=sys.stderr)
    labels = predict_volume(predictor, volume, loaded.grid)
    write_labels(finish_labels(labels, volume.spacing_mm, settings), volume.source, out)


def predict_cases(
    loaded: ModelFile, cases: Sequence[Case], out: str | Path, settings: PredictionConfig | None = None
) -> list[Path]:
    """Predict each case into `out/<case name>.nii.gz`; returns the files, in the order of the cases.

    A file that is there already is replaced, when its new labels are whole.
    """
    settings = settings or loaded.config.prediction
    predictor = make_predictor(loaded.model, settings.slices_per_batch)
    written = []
    for case in progress(cases, "predicting"):
        written.append(Path(out) / f"{case.name}.nii.gz")
        predict_file(loaded, predictor, case.image, written[-1], settings)
    return written


def main(argv: list[str] | None = None) -> int:
    """The command; see the module's first line."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.predict",
        description="Segment kidneys and tumors: labels 0 background, 1 kidney, 2 tumor on the input's own grid.",
    )
    parser.add_argument("model", metavar="MODEL", help="run folder (its best model) or .keras file")
    parser.add_argument(
        "input", metavar="INPUT", help="file (.nii.gz, .nii, .nrrd, .mha), folder of DICOM files, or folder of cases"
    )
    parser.add_argument("--out", required=True, help="label file (.nii.gz, ...), or folder for a folder of cases")
    parser.add_argument("--series", help="of a folder of DICOM files: number or key, as data_prep.dicom lists them")
    parser.add_argument(
        "--images", metavar="P", help="pattern of a folder of cases, such as imagesTr/{case}_0000.nii.gz"
    )
    parser.add_argument("--split", metavar="FILE", help="CACHE/split.json: only the patients of one set")
    parser.add_argument("--part", choices=SETS, default="test", help="which set of --split (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace label files that are there already")
    parser.add_argument("--no-postprocess", action="store_true", help="leave distant objects in")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    import dataclasses

    source, out = Path(arguments.input), Path(arguments.out)
    cases = _find_cases(source, arguments)
    if cases is None and not out.name.endswith(FILE_ENDINGS):
        raise InputError(f"--out {out}: expected a name that ends in .nii.gz for the labels of one scan")
    made = [out] if cases is None else [out / f"{case.name}.nii.gz" for case in cases]
    there = [path for path in made if path.exists()]
    if there and not arguments.force:
        raise InputError(f"{there[0]}: is there already; choose another --out, or replace it with --force")

    quiet_tensorflow()
    loaded = load_model(arguments.model)
    settings = loaded.config.prediction
    if arguments.no_postprocess:
        settings = dataclasses.replace(settings, postprocess=False)
    if cases is None:
        predictor = make_predictor(loaded.model, settings.slices_per_batch)
        predict_file(loaded, predictor, source, out, settings, arguments.series)
        print(out)
    else:
        written = predict_cases(loaded, cases, out, settings)
        print(f"{len(written)} label volumes in {out}")
    return 0


def _find_cases(source: Path, arguments: argparse.Namespace) -> list[Case] | None:
    """Return the cases of a folder of cases, None for one scan: a file, or a folder of DICOM files."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if not source.is_dir() or arguments.series:
        return None
    try:
        cases, problems = find_cases(source, arguments.images)
    except InputError:
        if arguments.images or arguments.split or not _holds_dicom(source):
            raise
        return None
    for problem in problems:
        if "no labels" not in problem:  # they are not needed here
            print(f"note: {problem}", file=sys.stderr)
    if arguments.split:
        patients = patients_of(arguments.split, arguments.part)
        cases = [case for case in cases if case.patient in patients]
        if not cases:
            raise InputError(f"{source}: no case of the {arguments.part} patients of {arguments.split} is here")
    return cases


def _holds_dicom(folder: Path) -> bool:
    from data_prep.dicom_series import list_series

    try:
        return bool(list_series(folder))
    except InputError:
        return False


if __name__ == "__main__":
    sys.exit(main())
