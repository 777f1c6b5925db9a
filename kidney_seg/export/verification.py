"""Check an exported model against its contract: names, types and shapes of its signatures, and its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory, require
from data_prep.files.json_files import parse_json, read_json
from data_prep.files.regular_files import check_regular
from kidney_seg.export import contract as contracts
from kidney_seg.export import examples

if TYPE_CHECKING:
    from kidney_seg.export.examples import Example

Call = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]  # signature, inputs -> outputs


def check_export(path: str | Path, model: str | Path | None = None, ensemble: Sequence[str] = ()) -> list[str]:
    """Check an exported model and return what is wrong with it, one line each; none where it holds the contract.

    path: a version folder, a folder of versions (the newest is taken), or an `.onnx` file. Its answers are compared
    with those that its `.keras` model gave when it was exported, or, where `model` is given, with that one's now
    (averaged with `ensemble`, as it was exported); an `.onnx` file needs it. InputError where there is nothing to
    check.
    """
    from kidney_seg.model.model_file import load_ensemble

    path = Path(path)
    if ensemble and model is None:
        raise InputError(f"--ensemble {' '.join(ensemble)}: requires --model, which it is averaged with")
    loaded = None if model is None else load_ensemble(model, ensemble)
    if loaded is not None and path.suffix == ".onnx":
        loaded = loaded.in_single_precision()
    wanted = None
    if loaded is not None:
        wanted = examples.expected_examples(loaded)
    if path.suffix == ".onnx":
        if wanted is None:
            raise InputError(f"{path}: give the run or .keras file that it was exported from with --model")
        problems, content = check_onnx(path, wanted), _onnx_contract(path)
    else:
        from kidney_seg.export.versions import latest

        folder = latest(path)
        problems = check_saved_model(folder, wanted)
        content = read_json(folder / "assets.extra" / "contract.json", "contract")
    made_of = [content.get("model_sha256"), *content.get("ensemble_sha256", ())]
    if loaded is not None and made_of != [member.sha256 for member in loaded.members]:
        paths = ", ".join(str(member.path) for member in loaded.members)
        problems.insert(0, f"was exported from another model than {paths} (SHA-256 {', '.join(map(str, made_of))})")
    return problems


def check_saved_model(folder: Path, wanted: Mapping[str, Example] | None = None) -> list[str]:
    """Check a version folder; `wanted`: examples with the answers to compare with, instead of those it carries."""
    import tensorflow as tf

    extra = folder / "assets.extra"
    content = read_json(extra / "contract.json", "contract")
    promised = contracts.read_contract(content, str(extra / "contract.json"))
    wanted = wanted or examples.load_examples(extra / "examples.npz")
    try:
        signatures = tf.saved_model.load(str(folder)).signatures
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise_if_out_of_memory(error, folder)
        raise InputError(f"{folder}: TensorFlow cannot load this ({_first_line(error)})") from None
    problems = _compare_names("signatures", promised.signatures, signatures)
    for name in promised.signatures.keys() & signatures.keys():
        found = signatures[name]
        one = promised.signatures[name]
        problems += _compare_tensors(f"{name}, input", one.inputs, found.structured_input_signature[1])
        problems += _compare_tensors(f"{name}, output", one.outputs, found.structured_outputs)
    if problems:
        return problems

    def call(signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        dtypes = promised.signatures[signature].inputs
        try:
            given = {name: tf.constant(values, tf.as_dtype(dtypes[name][0])) for name, values in inputs.items()}
            return {name: values.numpy() for name, values in signatures[signature](**given).items()}
        except Exception as error:  # of a graph that another program made
            raise_if_out_of_memory(error, folder)
            raise InputError(f"{folder}: TensorFlow cannot compute {signature} ({_first_line(error)})") from None

    with tf.device("CPU"):
        problems = _compare_answers(call, wanted, (contracts.DEFAULT, contracts.HEADS))
        problems += _compare_png(call, wanted)
        about = call(contracts.ABOUT, {"ask": [b""]})["contract_bytes"][0]
    return problems + (
        []
        if about == json.dumps(content).encode()
        else [f"{contracts.ABOUT}: returns another contract than contract.json"]
    )


def check_onnx(path: Path, wanted: Mapping[str, Example]) -> list[str]:
    """Check an `.onnx` file with ONNX's checker and in ONNX Runtime; `wanted`: examples with the right answers."""
    onnx, onnxruntime = require("onnx", "onnx"), require("onnxruntime", "onnx")

    check_regular(path)
    try:
        onnx.checker.check_model(content := path.read_bytes(), full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of ONNX Runtime's errors have no common base but this
        raise_if_out_of_memory(error, path)
        raise InputError(f"{path}: not a valid ONNX file ({_first_line(error)})") from None
    promised = contracts.read_contract(_onnx_contract(path), str(path)).signatures[contracts.DEFAULT]
    problems = []
    for side, tensors, found in (
        ("input", promised.inputs, session.get_inputs()),
        ("output", promised.outputs, session.get_outputs()),
    ):
        described = {
            one.name: (one.type, tuple(-1 if not isinstance(edge, int) else edge for edge in one.shape))
            for one in found
        }
        names = {"float32": "tensor(float)", "float64": "tensor(double)", "uint8": "tensor(uint8)"}
        expected = {name: (names[dtype], shape) for name, (dtype, shape) in tensors.items()}
        if described != expected:
            problems.append(f"{side}s: found {described}, expected {expected}")
    if problems:
        return problems

    def call(_: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        given = {name: np.asarray(values, promised.inputs[name][0]) for name, values in inputs.items()}
        try:
            return dict(zip(promised.outputs, session.run(list(promised.outputs), given), strict=True))
        except Exception as error:
            raise_if_out_of_memory(error, path)
            raise InputError(f"{path}: ONNX Runtime cannot compute this ({_first_line(error)})") from None

    return _compare_answers(call, wanted, (contracts.DEFAULT,), examples.ONNX_TOLERANCE)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _onnx_contract(path: Path) -> dict[str, Any]:
    onnx = require("onnx", "onnx")
    check_regular(path)
    try:
        properties = {one.key: one.value for one in onnx.load_from_string(path.read_bytes()).metadata_props}
        return parse_json(properties["contract"])
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not an .onnx file exported by kidney_seg ({error!r})") from None


def _compare_names(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    if set(expected) == set(found):
        return []
    return [f"{what}: found {', '.join(sorted(found)) or 'none'}, expected {', '.join(sorted(expected))}"]


def _compare_tensors(what: str, expected: contracts.Tensors, found: Mapping[str, Any]) -> list[str]:
    problems = _compare_names(f"{what}s", expected, found)
    for name in expected.keys() & found.keys():
        shape = tuple(-1 if edge is None else edge for edge in found[name].shape)
        if (found[name].dtype.name, shape) != expected[name]:
            problems.append(f"{what} {name}: found {found[name].dtype.name} {shape}, expected {expected[name]}")
    return problems


def _compare_answers(
    call: Call, wanted: Mapping[str, Example], signatures: tuple[str, ...], tolerance: float = examples.TOLERANCE
) -> list[str]:
    problems = []
    for name, example in wanted.items():
        given = {key: example[key] for key in ("slices", "spacing_mm")}
        for signature in signatures:
            made = call(signature, given)
            problems += [
                f"{signature}, example {name}: {line}" for line in examples.differences(example, made, tolerance)
            ]
    return problems


def _compare_png(call: Call, wanted: Mapping[str, Example]) -> list[str]:
    from kidney_seg.export.slice_png import decode_labels, encode_slice

    problems = []
    for name, example in wanted.items():
        files = [encode_slice(plane) for plane in example["slices"]]
        made = call(contracts.PNG, {"slices": files, "spacing_mm": example["spacing_mm"]})["labels_bytes"]
        try:
            labels = np.stack([decode_labels(file, example["slices"].shape[1:]) for file in made])
        except ValueError as error:
            problems.append(f"{contracts.PNG}, example {name}: {error}")
            continue
        problems += [
            f"{contracts.PNG}, example {name}: {line}" for line in examples.differences(example, {"labels": labels})
        ]
    return problems
