"""Example slices and a model's outputs for them, saved with each export so that any copy can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.geometry.network_grid import probabilities_to_labels, to_network
from data_prep.geometry.resampling import NUMPY
from data_prep.geometry.slice_neighbors import neighbor_indices
from data_prep.geometry.types import triple
from kidney_seg.config.model import HEADS
from kidney_seg.export.served_steps import source_classes
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.predictor import Forward

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

TOLERANCE = 1e-5  # of probabilities
ONNX_TOLERANCE = 1e-4  # ONNX Runtime adds in another order inside the network; around it the sums are the same

Example = dict[str, np.ndarray]
_NEEDED = {"slices", "spacing_mm", "labels", "kidney_probability", "tumor_probability"}  # of each in a file


def example_inputs() -> dict[str, Example]:
    """Return examples by name: `slices` int16 [4, y, x] HU and `spacing_mm` float64 [4, 2].

    `patient`: neighboring slices of a simulated patient, with kidneys and tumor; `uneven`: the same, cropped and with
    pixels that are not square.
    """
    from data_prep.phantom.patient import simulate_patient

    patient = simulate_patient(0, size=128, slices=16)
    middle = int((patient.labels == 2).sum(axis=(1, 2)).argmax())
    first = min(max(middle - 2, 0), 12)
    slices = patient.image[first : first + 4]
    pixel = patient.spacing_mm[1]
    return {
        "patient": {"slices": slices, "spacing_mm": np.full((4, 2), pixel)},
        "uneven": {"slices": slices[:, 9:108].copy(), "spacing_mm": np.full((4, 2), (1.1 * pixel, 0.9 * pixel))},
    }


def example_outputs(loaded: ModelFile, example: Example) -> Example:
    """Return the outputs of the `.keras` model for slices, computed as `kidney_seg.predict` does.

    `labels` uint8 [n, y, x], `kidney_probability`, `tumor_probability` float32 [n, y, x], and all heads of the first
    network for the slices without test-time augmentation.
    """
    slices, spacing_mm = example["slices"], example["spacing_mm"]
    where = triple((1.0, *map(float, spacing_mm[0])))
    seen = to_network(slices, where, loaded.grid)
    seen = seen[neighbor_indices(np.arange(len(seen)), len(seen), loaded.config.model.input_slices)]
    images = np.moveaxis(seen, 1, -1).astype(np.float32)
    networks = [(_finest(member.model), member.config.prediction.odds) for member in loaded.members]
    prob = combined(networks, loaded.config.prediction, loaded.config.model.activation, loaded.grid.size)(images)
    _, kidney, tumor = source_classes(prob, slices, spacing_mm[:1], loaded.grid, NUMPY)
    return {
        "labels": probabilities_to_labels(prob, triple(slices.shape), where, loaded.grid),
        "kidney_probability": kidney,
        "tumor_probability": tumor,
        **loaded.model.predict_on_batch({"image": images}),
    }


def _finest(model: Any) -> Forward:
    return lambda images: model.predict_on_batch({"image": images})[HEADS[-1]]


def expected_examples(loaded: ModelFile) -> dict[str, Example]:
    """Return the inputs and outputs of all examples by name."""
    return {name: {**one, **example_outputs(loaded, one)} for name, one in example_inputs().items()}


def save_examples(loaded: ModelFile, path: str | Path) -> None:
    """Write the slices and the model's outputs to an `.npz` file."""
    examples = expected_examples(loaded)
    arrays = {f"{name}/{key}": values for name, example in examples.items() for key, values in example.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_examples(path: str | Path) -> dict[str, Example]:
    """Read the file of `save_examples`. InputError if it is missing or damaged."""
    examples: dict[str, Example] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                name, _, what = key.partition("/")
                examples.setdefault(name, {})[what] = arrays[key]
        if not all(set(one) >= _NEEDED for one in examples.values()):
            raise ValueError("an example lacks some of its arrays")
    except Exception as error:  # zipfile and its decompressors have no common base
        raise_if_out_of_memory(error, path)
        raise InputError(f"{path}: examples missing or damaged ({error}); export the model again") from None
    return examples


def differences(
    expected: Mapping[str, np.ndarray], made: Mapping[str, np.ndarray], tolerance: float = TOLERANCE
) -> list[str]:
    """Compare outputs with the example's; return one line per output that differs.

    Probabilities must be equal within the tolerance; labels may differ only where the two largest probabilities differ
    by less than it, because rounding decides there.
    """
    found = []
    for name, values in made.items():
        wanted = expected.get(name, np.empty(0))
        if values.shape != wanted.shape:
            found.append(f"{name}: shape {values.shape}, expected {wanted.shape}")
        elif name == "labels":
            kidney, tumor = expected["kidney_probability"], expected["tumor_probability"]
            prob = np.sort(np.stack([1 - kidney - tumor, kidney, tumor], axis=-1), axis=-1)
            wrong = int(((values != wanted) & (prob[..., 2] - prob[..., 1] >= tolerance)).sum())
            if wrong:
                found.append(f"labels: {wrong} of {wanted.size} pixels differ")
        else:
            largest = float(np.abs(values - wanted).max())
            if not largest <= tolerance:
                found.append(f"{name}: differs by up to {largest:.2g}, expected at most {tolerance:g}")
    return found
