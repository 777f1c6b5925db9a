"""Contract of an exported model: signatures with types and shapes, limits, and settings of the post-processing.

One table for the exporter, the client, the check and the docs, saved with every exported model as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.typed import typed
from data_prep.geometry.network_grid import GridSettings
from data_prep.labels import CLASS_NAMES
from data_prep.origin import Origin
from kidney_seg.config.model import STRIDES
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.model.trained_on import origin_record
from kidney_seg.weights import About

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

SCHEMA = 1
DEFAULT, HEADS, PNG, ABOUT = "serving_default", "heads", "png", "about"  # signatures

MAX_VOXELS = 2**24  # of a request, 64 slices of 512 x 512: bounds the server's memory
MAX_EDGE = 4096  # rows or columns
SPACING_MM = (0.01, 100.0)  # smallest and largest pixel

PNG_ZERO = 32768  # gray value of 0 HU in 16-bit PNG: HU + 32768

Shape = tuple[int, ...]  # -1: any
Tensors = dict[str, tuple[str, Shape]]  # name: (NumPy's name of the type, or "string"; shape)


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs of one way to call the model."""

    inputs: Tensors
    outputs: Tensors


def signatures(grid: GridSettings, heads: Mapping[str, Any] | tuple[str, ...], classes: int) -> dict[str, Signature]:
    """Return the signatures of a model with these heads (`ModelConfig.heads`) on this grid."""
    spacing = {"spacing_mm": ("float64", (-1, 2))}
    slices = {"slices": ("float32", (-1, -1, -1)), **spacing}
    probability = ("float32", (-1, -1, -1))
    edges = {name: grid.size // STRIDES[name] for name in heads}
    return {
        DEFAULT: Signature(
            slices,
            {
                "labels": ("uint8", (-1, -1, -1)),
                "kidney_probability": probability,
                "tumor_probability": probability,
            },
        ),
        HEADS: Signature(slices, {name: ("float32", (-1, edge, edge, classes)) for name, edge in edges.items()}),
        PNG: Signature({"slices": ("string", (-1,)), **spacing}, {"labels_bytes": ("string", (-1,))}),
        ABOUT: Signature({"ask": ("string", (-1,))}, {"contract_bytes": ("string", (-1,))}),
    }


def make_contract(loaded: ModelFile) -> dict[str, Any]:
    """Return the contract of a loaded model as JSON values, for `read_contract`."""
    model = loaded.config.model
    made = signatures(loaded.grid, model.heads, model.classes)

    def listed(tensors: Tensors) -> dict[str, Any]:
        return {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in tensors.items()}

    return {
        "schema": SCHEMA,
        "classes": list(CLASS_NAMES),
        "model_sha256": loaded.sha256,
        "ensemble_sha256": [other.sha256 for other in loaded.others],
        "about": origin_record(loaded.members),
        "grid": asdict(loaded.grid),
        "input_slices": model.input_slices,
        "batching": model.input_slices == 1,
        "limits": {"voxels": MAX_VOXELS, "edge": MAX_EDGE, "spacing_mm": list(SPACING_MM)},
        "prediction": asdict(loaded.config.prediction),
        "signatures": {
            name: {"inputs": listed(one.inputs), "outputs": listed(one.outputs)} for name, one in made.items()
        },
    }


@dataclass(frozen=True)
class Contract:
    """The parts of a contract that a client needs.

    input_slices: how many neighboring slices the network sees; those of one request must be neighbors in order.
    ensemble_sha256: of the models that are averaged with the first. about: what the model says of itself.
    """

    model_sha256: str
    grid: GridSettings
    input_slices: int
    prediction: PredictionConfig
    signatures: dict[str, Signature]
    ensemble_sha256: tuple[str, ...] = ()
    about: About | None = None
    trained_on: tuple[str, ...] = ()  # by each model; empty in exports of version 0.1
    origin: tuple[Origin, ...] = ()


def read_contract(content: Any, where: str) -> Contract:
    """Read the output of `make_contract`; raise InputError for anything else. where: source, for the error message."""
    try:
        if content["schema"] != SCHEMA:
            raise InputError(
                f"{where}: contract of schema {content['schema']}, expected {SCHEMA}; use the release of "
                "kidney_seg that exported the model, or export it again"
            )

        def tensors(listed: dict[str, Any]) -> Tensors:
            return {name: (one["dtype"], tuple(one["shape"])) for name, one in listed.items()}

        if not (content["input_slices"] > 0 and content["input_slices"] % 2):
            raise ValueError(f"input_slices: found {content['input_slices']!r}, expected an odd number")
        return Contract(
            typed(str, content["model_sha256"]),
            typed(GridSettings, content["grid"]),
            typed(int, content["input_slices"]),
            typed(PredictionConfig, content["prediction"]),
            {
                name: Signature(tensors(one["inputs"]), tensors(one["outputs"]))
                for name, one in content["signatures"].items()
            },
            typed(tuple[str, ...], content.get("ensemble_sha256", ())),
            typed(About | None, content.get("about", {}).get("model"), "about"),
            tuple(typed(list[str], content.get("about", {}).get("trained_on", []))),
            tuple(typed(list[Origin], content.get("about", {}).get("origin", []))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not the contract of a model exported by kidney_seg ({error!r})") from None
