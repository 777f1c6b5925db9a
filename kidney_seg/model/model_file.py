"""Model files: a `.keras` file that also holds the settings of the network, the grid and prediction."""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import NO_ROOM, InputError, raise_if_out_of_memory
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.typed import typed
from data_prep.geometry.network_grid import GridSettings
from data_prep.origin import UNSTATED, Origin
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_archive import SETTINGS_MEMBER, check_network, settings_in_archive
from kidney_seg.run import layout
from kidney_seg.weights import STARTER, STARTER_FILE, About

if TYPE_CHECKING:
    import keras

ACCEPTED = "accepted"  # of --ensemble


@dataclass(frozen=True)
class ModelFile:
    """A loaded model: `model` as from `build_model`, `config` of its run, `grid` of its training slices.

    path: of its file; sha256: of the file that its weights come from; others: models that are averaged with it.
    """

    model: Any
    config: Config
    grid: GridSettings
    path: Path
    sha256: str = ""
    others: tuple[ModelFile, ...] = ()
    about: About | None = None  # this and the next two as of its `ModelSource`
    origin: Origin = UNSTATED
    trouble: str | None = None

    @property
    def members(self) -> tuple[ModelFile, ...]:
        """All models that predict together."""
        return (self, *self.others)

    def in_single_precision(self) -> ModelFile:
        """Return a copy whose networks, also those of `others`, compute in float32, as ONNX does."""
        from kidney_seg.model.attention_unet import in_single_precision

        others = tuple(other.in_single_precision() for other in self.others)
        return replace(self, model=in_single_precision(self.model, self.config.model), others=others)


def save_model(
    model: keras.Model, config: Config, grid: GridSettings, path: str | Path, origin: Origin = UNSTATED, **mark: str
) -> None:
    """Write `model` with its settings and origin to a `.keras` file, whole or not at all; `mark`: its `trouble`."""
    settings = {"config": config.to_dict(), "grid": asdict(grid), "origin": asdict(origin), **mark}
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(SETTINGS_MEMBER, json.dumps(settings, indent=2))
        settings_in_archive(temporary)  # compares the checksum of every member


def find_model(path: str | Path) -> Path:
    """Return the `.keras` file that `path` names: itself, `best.keras` of a run folder, or the shipped `starter`."""
    path = Path(path)
    if str(path) == STARTER and not path.exists():
        return STARTER_FILE
    if path.is_dir():
        if not (path / layout.BEST_MODEL).is_file():
            raise InputError(
                f"no {layout.BEST_MODEL} in this folder; give a run folder with a finished round", path=path
            )
        return path / layout.BEST_MODEL
    if not path.is_file():
        raise InputError(
            f"no such model; give a run folder, a .keras file, or {STARTER}", path=path, code="no_such_file"
        )
    return path


def load_model(path: str | Path) -> ModelFile:
    """Load a run folder's best model, a `.keras` file, or the shipped `starter`, in Keras' safe mode.

    Returns:
        The Keras model as `.model`, with `.config` (all settings) and `.grid` (size and spacing of its slices).

    Raises:
        InputError: the model does not exist, is damaged, or was not written by `save_model`.
    """
    return find_source(path).open()


def load_ensemble(path: str | Path, ensemble: Sequence[str] = ()) -> ModelFile:
    """Load a model with those that it is averaged with (`find_ensemble`)."""
    first, *others = [source.open() for source in find_ensemble(path, ensemble)]
    return replace(first, others=tuple(others))


@dataclass(frozen=True)
class ModelSource:
    """A model that is not loaded; making one does not import Keras.

    path: the `.keras` file. sha256: of the file that its weights come from: this one, or `weights` of another round.
    about: what the file says of the model; None where it says nothing. origin: of the patients it was trained on.
    trouble: how its training failed, or None.
    """

    path: Path
    sha256: str
    config: Config
    grid: GridSettings
    weights: Path | None = None
    about: About | None = None
    origin: Origin = UNSTATED
    trouble: str | None = None

    def load(self) -> Any:
        """Return the Keras model with its weights."""
        import keras

        from kidney_seg.model.logit_adjustment import set_class_odds

        try:
            with warnings.catch_warnings(action="ignore"):  # Keras' of names in its file; what counts is checked
                model = keras.saving.load_model(self.path, compile=False, safe_mode=True)
            check_network(model, self.config.model, failed=self.trouble is not None)
            if self.weights is not None:
                model.load_weights(self.weights)  # as trained, without class odds
        except Exception as error:  # whatever Keras makes of a damaged or hostile file
            raise_if_out_of_memory(error, self.path)
            if isinstance(error, OSError) and error.errno in NO_ROOM:  # Keras unpacks the weights to a temporary file
                raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
            why = (str(error).splitlines() or [""])[0][:200]
            detail = f"Keras cannot load this model ({type(error).__name__}: {why}); train again or restore it"
            raise InputError(detail, self.weights or self.path, "damaged") from None
        if self.weights is not None:
            set_class_odds(model, self.config.prediction.odds)
        return model

    def open(self) -> ModelFile:
        """Return the loaded model with its settings."""
        own = self.load(), self.config, self.grid, self.path, self.sha256
        return ModelFile(*own, (), self.about, self.origin, self.trouble)


def find_source(path: str | Path) -> ModelSource:
    """Return the best model of a run folder, or a `.keras` file; errors as for `load_model`."""
    path = find_model(path)
    settings = settings_in_archive(path)
    try:
        grid = typed(GridSettings, settings["grid"], "grid")
        about = typed(About | None, settings.get("about"), "about")
        origin = typed(Origin, settings.get("origin", {}), "origin")
        trouble = typed(str | None, settings.get("trouble"), "trouble")
        config = Config.from_dict(settings["config"])
        if grid.size != config.model.size:
            raise ValueError(f"grid.size: found {grid.size}, expected {config.model.size}")
        if path.suffix != ".keras":
            raise InputError("is a model file under another name; rename it to end in .keras", path, "wrong_name")
    except InputError as error:
        raise InputError(error.detail, error.path or path, error.code) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"its settings ({SETTINGS_MEMBER}) cannot be used ({error}); restore it", path) from None
    return ModelSource(path, sha256_of(path), config, grid, about=about, origin=origin, trouble=trouble)


def find_ensemble(path: str | Path, ensemble: Sequence[str]) -> list[ModelSource]:
    """Return the models that predict together: `path` and `ensemble`, or the accepted rounds of `path` for `accepted`.

    InputError as for `find_accepted` and `find_source`, or if they cannot be averaged (`check_alike`).
    """
    if ACCEPTED in ensemble:
        if len(ensemble) > 1:
            raise InputError(f"--ensemble {' '.join(ensemble)}: expected `{ACCEPTED}` alone, or further models")
        return find_accepted(path)
    sources = [find_source(one) for one in (path, *ensemble)]
    check_alike(sources)
    return sources


def find_accepted(run: str | Path) -> list[ModelSource]:
    """Return the accepted rounds of a run folder, in order.

    InputError if `run` is no run folder, or if weights are missing or differ from the checksum in the run's journal.
    """
    from kidney_seg.run.journal import Journal, RoundPlayed
    from kidney_seg.run.recipe import is_whole

    run = Path(run)
    if not run.is_dir():
        raise InputError("expected a run folder, whose accepted rounds are averaged", path=run)
    best = find_source(run)
    sources = []
    for event in Journal(run).all_of(RoundPlayed, accepted=True):
        weights = run / event.weights
        if not is_whole(weights, event.sha256):
            raise InputError("weights of an accepted round are missing or damaged; predict without", path=weights)
        sources.append(replace(best, sha256=event.sha256, weights=weights))
    if not sources:
        raise InputError("no accepted round in this run's journal; predict with its best model alone", path=run)
    return sources


def check_alike(sources: Sequence[ModelSource]) -> None:
    """Raise InputError unless the models can be averaged: same grid, window, input slices, classes and activation."""

    def seen(source: ModelSource) -> dict[str, Any]:
        names = ("classes", "hu_window", "input_slices", "activation")
        return asdict(source.grid) | {name: getattr(source.config.model, name) for name in names}

    first, *others = sources
    for other in others:
        for name, expected in seen(first).items():
            if (found := seen(other)[name]) != expected:
                raise InputError(
                    f"has {name} {found}, but {first.path} has {expected}; only models with the same input and output "
                    "can be averaged",
                    path=other.path,
                )
