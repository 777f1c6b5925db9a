"""Export a trained model as the whole pipeline: `python -m kidney_seg.export RUN --out models/kidney_seg`.

What is exported takes raw HU slices of any size and returns labels and probabilities on the same pixels. Written whole
or not at all, and only if it gives the answers of the `.keras` model. See docs/howto/serving.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.json_files import read_json, write_json
from kidney_seg.export import examples, verification, versions, warmup
from kidney_seg.export import tensorflow_graph as served_graph
from kidney_seg.export.contract import CLASSES, make_contract
from kidney_seg.export.model_card import write_card
from kidney_seg.run import layout

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

FORMATS = ("saved_model", "onnx")
EXTRA = "assets.extra"  # TF Serving's name for what it does not load itself


def export_saved_model(model: str | Path, root: str | Path, ensemble: Sequence[str] = ()) -> Path:
    """Export a run folder's best model or a `.keras` file as the next version of `root`; return the version's folder.

    ensemble: models that are averaged with it, or `accepted`, as `predict --ensemble` has them.

    InputError if the model cannot be served, if `root` is a file, or if the export would not give the same answers.
    """
    import tensorflow as tf

    loaded, promise, run = _open(model, ensemble)
    module, signatures = served_graph.build(loaded, promise)

    def write(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        extra = folder / EXTRA
        extra.mkdir()
        write_json(extra / "contract.json", promise)
        write_json(extra / layout.CONFIG, loaded.config.to_dict())
        write_json(extra / layout.MANIFEST, _manifest(run, promise))
        examples.save(loaded, extra / "examples.npz")
        warmup.write(extra / warmup.FILE, Path(root).name)
        (folder / "README.md").write_text(write_card(loaded.config, promise, run, "SavedModel"), encoding="utf-8")
        _refuse_wrong(verification.check_saved_model(folder), model)

    return versions.publish(root, write)


def export_onnx(model: str | Path, path: str | Path, force: bool = False, ensemble: Sequence[str] = ()) -> Path:
    """Export a run folder's best model or a `.keras` file as one `.onnx` file, whole or not at all; return its path.

    Contract, config and model card are kept in the file's metadata, under these names. InputError as for
    `export_saved_model`, and if the file is there already, unless `force`.
    """
    import json

    from kidney_seg.export.onnx_pipeline import build

    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError(f"--out {path}: expected a name that ends in .onnx")
    if path.exists() and not force:
        raise InputError(f"{path}: is there already; choose another --out, or replace it with --force")
    loaded, promise, run = _open(model, ensemble)
    loaded = loaded.in_single_precision()
    metadata = {
        "contract": json.dumps(promise),
        "config": json.dumps(loaded.config.to_dict()),
        "model_card": write_card(loaded.config, promise, run, "ONNX"),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(build(loaded, metadata))
        wanted = {name: {**one, **examples.answers(loaded, one)} for name, one in examples.inputs().items()}
        _refuse_wrong(verification.check_onnx(temporary, wanted), model)
    return path


def _open(model: str | Path, ensemble: Sequence[str]) -> tuple[ModelFile, dict[str, Any], Path | None]:
    from kidney_seg.model.model_file import load_ensemble

    loaded = load_ensemble(model, ensemble)
    if loaded.config.model.classes != len(CLASSES):
        raise InputError(f"{loaded.path}: has {loaded.config.model.classes} classes, served are {', '.join(CLASSES)}")
    folder = loaded.path.parent
    run = folder if loaded.path.name == layout.BEST_MODEL.name and (folder / layout.MANIFEST).is_file() else None
    return loaded, make_contract(loaded), run


def _manifest(run: Path | None, promise: dict[str, Any]) -> dict[str, Any]:
    from kidney_seg.run.environment import environment

    trained = read_json(run / layout.MANIFEST, "run's manifest") if run else {}
    for path in ("data", "split", "pretrained"):  # on the machine of the training
        trained.pop(path, None)
    return {**trained, "model_sha256": promise["model_sha256"], "exported_with": environment()}


def _refuse_wrong(problems: list[str], model: str | Path) -> None:
    if problems:
        raise InputError(f"{model}: the export was not written, it does not hold the contract: {'; '.join(problems)}")
