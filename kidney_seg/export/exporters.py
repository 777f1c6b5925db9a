"""Export a trained model as the whole pipeline: `python -m kidney_seg.export RUN --out models/kidney_seg`.

An export takes raw HU slices of any size and returns labels and probabilities on the same pixels. It is written whole
or not at all, and only if its outputs equal those of the `.keras` model. See docs/howto/serving.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing, write_file
from data_prep.files.json_files import write_json
from data_prep.files.outputs import check_folder, check_outputs, has_text
from data_prep.files.plain_paths import is_plain
from data_prep.labels import CLASS_NAMES
from kidney_seg.export import examples, verification, versions, warmup
from kidney_seg.export.contract import make_contract
from kidney_seg.export.model_card import write_card
from kidney_seg.run import layout
from kidney_seg.run.recipe import read_manifest

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

FORMATS = ("saved_model", "onnx")
EXTRA = "assets.extra"  # TF Serving's name for files that it does not load itself


def export_saved_model(
    model: str | Path, root: str | Path, ensemble: Sequence[str] = (), *, begin: Callable[[], None] = lambda: None
) -> Path:
    """Export a model as the next version of a served model.

    Args:
        model: Run folder (its best model) or `.keras` file.
        root: Folder of the versions.
        ensemble: Models to average with it, or `accepted`, as for `predict --ensemble`.
        begin: Called when the place is checked, before the model is loaded.

    Returns:
        The folder of the version.

    Raises:
        InputError: The model cannot be served, `root` is a file, or the outputs differ from the model's.
    """
    check_folder(root)
    if not is_plain(Path(root).resolve()):
        raise InputError("TensorFlow needs a path in UTF-8; choose another --out, or rename the folder", root)
    begin()
    import tensorflow as tf

    from kidney_seg.export import tensorflow_graph

    loaded, promise, run = _open(model, ensemble)
    module, signatures = tensorflow_graph.build_tensorflow_graph(loaded, promise)

    def write(folder: Path) -> None:
        try:
            write_files(folder)
        except (tf.errors.OpError, OSError) as error:  # also of a full disk, of which the text is TensorFlow's own
            if isinstance(error, OSError) and error.errno is not None:
                error.filename, error.filename2 = str(root), None
                raise
            why = (str(error).splitlines() or [""])[0].replace(str(folder), Path(root).name)[:300]
            raise InputError(
                f"TensorFlow cannot write here ({why}); free some space or choose another --out", root
            ) from None

    def write_files(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        extra = folder / EXTRA
        extra.mkdir()
        write_json(extra / "contract.json", promise)
        write_json(extra / layout.CONFIG, loaded.config.to_dict())
        write_json(extra / layout.MANIFEST, _manifest(run, promise))
        examples.save_examples(loaded, extra / "examples.npz")
        warmup.write(extra / warmup.FILE, Path(root).name)
        (folder / "README.md").write_text(write_card(loaded, promise, run, "SavedModel"), encoding="utf-8")
        _refuse_wrong(verification.check_saved_model(folder), model)

    return versions.publish(root, write)


def export_onnx(
    model: str | Path,
    path: str | Path,
    force: bool = False,
    ensemble: Sequence[str] = (),
    *,
    begin: Callable[[], None] = lambda: None,
) -> Path:
    """Export a model as one `.onnx` file, with contract, config and model card in its metadata.

    Args:
        model: Run folder (its best model) or `.keras` file.
        path: File to write, whole or not at all.
        force: Replace an existing file.
        ensemble, begin: As for `export_saved_model`.

    Returns:
        The path.

    Raises:
        InputError: As for `export_saved_model`, or the file exists.
    """
    import json

    from kidney_seg.export.onnx_pipeline import build_onnx

    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError(f"--out {path}: expected a name that ends in .onnx")
    check_outputs([path], ours=has_text(b"contract", b"model_card"))
    if path.exists() and not force:
        raise InputError("exists; choose another --out, or replace it with --force", path, "exists")
    begin()
    loaded, promise, run = _open(model, ensemble)
    loaded = loaded.in_single_precision()
    metadata = {
        "contract": json.dumps(promise),
        "config": json.dumps(loaded.config.to_dict()),
        "model_card": write_card(loaded, promise, run, "ONNX"),
    }
    with replacing(path) as temporary:
        write_file(temporary, build_onnx(loaded, metadata))
        _refuse_wrong(verification.check_onnx(temporary, examples.expected_examples(loaded)), model)
    return path


def _open(model: str | Path, ensemble: Sequence[str]) -> tuple[ModelFile, dict[str, Any], Path | None]:
    from kidney_seg.model.model_file import load_ensemble

    loaded = load_ensemble(model, ensemble)
    if loaded.config.model.classes != len(CLASS_NAMES):
        raise InputError(
            f"{loaded.path}: has {loaded.config.model.classes} classes, expected {', '.join(CLASS_NAMES)} for serving"
        )
    folder = loaded.path.parent
    run = folder if loaded.path.name == layout.BEST_MODEL.name and (folder / layout.MANIFEST).is_file() else None
    return loaded, make_contract(loaded), run


def _manifest(run: Path | None, promise: dict[str, Any]) -> dict[str, Any]:
    from kidney_seg.run.environment import environment

    trained = read_manifest(run / layout.MANIFEST) if run else {}
    for path in ("data", "split", "pretrained"):  # on the training machine
        trained.pop(path, None)
    return {**trained, "model_sha256": promise["model_sha256"], "exported_with": environment()}


def _refuse_wrong(problems: list[str], model: str | Path) -> None:
    if problems:
        raise InputError(f"{model}: the export violates its contract and was not written: {'; '.join(problems)}")
