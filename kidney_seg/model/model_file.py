"""Trained models as files: a `.keras` file that also carries the settings it needs to be used rightly."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.run_config import Config

if TYPE_CHECKING:
    import keras

ACCEPTED = "accepted"  # of --ensemble
SETTINGS_MEMBER = "kidney_seg.json"  # beside Keras' own members of the zip file, which ignores it


@dataclass(frozen=True)
class ModelFile:
    """A loaded model: `model` is as `build_model` says, `config` the run's, `grid` that of its training slices.

    path: of its file; sha256: of the file that its weights come from; others: models that are averaged with it.
    """

    model: Any
    config: Config
    grid: GridSettings
    path: Path
    sha256: str = ""
    others: tuple[ModelFile, ...] = ()

    @property
    def members(self) -> tuple[ModelFile, ...]:
        """The models that predict together: this one, and the others."""
        return (self, *self.others)

    def in_single_precision(self) -> ModelFile:
        """Return it, and its others, with the networks that ONNX stands for (`in_single_precision`)."""
        others = tuple(other.in_single_precision() for other in self.others)
        return replace(self, model=in_single_precision(self.model, self.config), others=others)


def save_model(model: keras.Model, config: Config, grid: GridSettings, path: str | Path) -> None:
    """Write `model` with its settings to a `.keras` file, whole or not at all."""
    settings = {"config": config.to_dict(), "grid": asdict(grid)}
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(SETTINGS_MEMBER, json.dumps(settings, indent=2))


def find_model(path: str | Path) -> Path:
    """Return the `.keras` file that `path` names: the file itself, or `best.keras` of a run folder."""
    path = Path(path)
    if path.is_dir():
        if not (path / "best.keras").is_file():
            raise InputError(f"{path}: no best.keras in this folder; give a run folder with a finished round")
        return path / "best.keras"
    if not path.is_file():
        raise InputError(f"{path}: no such model; give a run folder or a .keras file")
    return path


def load_model(path: str | Path) -> ModelFile:
    """Load a run folder's best model or a `.keras` file, in Keras' safe mode.

    InputError if there is none, if it is damaged, or if it was not written by `save_model`.
    """
    return _load(find_source(path))


def load_ensemble(path: str | Path, ensemble: Sequence[str] = ()) -> ModelFile:
    """Load a model with those that it is averaged with (`find_ensemble`)."""
    first, *others = [_load(source) for source in find_ensemble(path, ensemble)]
    return replace(first, others=tuple(others))


def _load(source: ModelSource) -> ModelFile:
    return ModelFile(source.load(), source.config, source.grid, source.path, source.sha256)


def in_single_precision(model: keras.Model, config: Config) -> keras.Model:
    """Return the network that ONNX stands for: computed in float32 throughout, whatever `precision` it was trained in.

    Half precision is a matter of the device that trained it; the weights are float32.
    """
    if config.model.precision == "float32":
        return model
    from kidney_seg.model.attention_unet import build_model

    twin = build_model(replace(config.model, precision="float32"))
    twin.set_weights(model.get_weights())
    return twin


@dataclass(frozen=True)
class ModelSource:
    """A model that is not loaded yet; nothing of Keras is needed to make one.

    path: the `.keras` file. sha256: of the file that its weights come from: this one, or `weights`, those of another
    round of the same run.
    """

    path: Path
    sha256: str
    config: Config
    grid: GridSettings
    weights: Path | None = None

    def load(self) -> Any:
        """Return the Keras model, with its weights."""
        import keras

        from kidney_seg.model.logit_adjustment import set_class_odds

        model = keras.saving.load_model(self.path, compile=False, safe_mode=True)
        if self.weights is not None:
            model.load_weights(self.weights)  # as they were trained
            set_class_odds(model, self.config.prediction.odds)
        return model


def find_source(path: str | Path) -> ModelSource:
    """Return the model of a run folder (its best) or of a `.keras` file; errors as for `load_model`."""
    path = find_model(path)
    settings = _read_settings(path)
    return ModelSource(path, sha256_of(path), Config.from_dict(settings["config"]), GridSettings(**settings["grid"]))


def find_ensemble(path: str | Path, ensemble: Sequence[str]) -> list[ModelSource]:
    """Return the models that predict together: `path` and those of `ensemble`, or, if that is `accepted`, `path`'s own.

    InputError if they cannot be averaged (`check_alike`), and as `find_accepted` and `find_source` say.
    """
    if ACCEPTED in ensemble:
        if len(ensemble) > 1:
            raise InputError(f"--ensemble {' '.join(ensemble)}: expected `{ACCEPTED}` alone, or further models")
        return find_accepted(path)
    sources = [find_source(one) for one in (path, *ensemble)]
    check_alike(sources)
    return sources


def find_accepted(run: str | Path) -> list[ModelSource]:
    """Return the accepted rounds of a run folder, in order: the ensemble that a run leaves behind.

    Their weights are those that the run's journal names, with their checksums. InputError if `run` is no run folder or
    if weights are gone or damaged.
    """
    from kidney_seg.run.journal import read_events

    run = Path(run)
    if not run.is_dir():
        raise InputError(f"{run}: expected a run folder, whose accepted rounds are to be averaged")
    best = find_source(run)
    sources = []
    for event in read_events(run):
        if event["event"] == "round" and event["accepted"]:
            weights = run / event["weights"]
            if not weights.is_file() or sha256_of(weights) != event["sha256"]:
                raise InputError(f"{weights}: weights of an accepted round are missing or damaged; predict without")
            sources.append(replace(best, sha256=event["sha256"], weights=weights))
    if not sources:
        raise InputError(f"{run}: no accepted round in this run's journal; predict with its best model alone")
    return sources


def check_alike(sources: Sequence[ModelSource]) -> None:
    """Raise InputError unless the models can be averaged: same grid, window, slices seen, classes and activation."""
    first, *others = sources
    for other in others:
        for what, one, another in (
            ("size", first.grid.size, other.grid.size),
            ("pixel_mm", first.grid.pixel_mm, other.grid.pixel_mm),
            *(
                (name, getattr(first.config.model, name), getattr(other.config.model, name))
                for name in ("classes", "hu_window", "input_slices", "activation")
            ),
        ):
            if one != another:
                raise InputError(
                    f"{other.path}: has {what} {another}, but {first.path} has {one}; only models that see and say "
                    "the same can be averaged"
                )


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            if broken:
                raise zipfile.BadZipFile(f"checksum of {broken} is wrong")
            return json.loads(archive.read(SETTINGS_MEMBER))
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, ValueError) as error:
        raise InputError(f"{path}: not a whole .keras file ({error}); train again or restore it") from None
    except KeyError:
        raise InputError(f"{path}: a .keras file, but without the settings that this project writes into it") from None
