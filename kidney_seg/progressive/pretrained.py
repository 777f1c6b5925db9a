"""A training that begins with the weights of an earlier one: which model fits, and the run's own copy of it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.atomic import replacing
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json
from kidney_seg.config.model import ModelConfig
from kidney_seg.config.run_config import Config, differences
from kidney_seg.model.model_file import ModelSource, find_source, load_model
from kidney_seg.run.journal import read_events

if TYPE_CHECKING:
    import keras
from kidney_seg.run.first_weights import COPY, is_whole

MOST_NAMES = 5  # that a line holds
FREE = ("size", "hu_window", "foreground_prior", "batch_norm_momentum", "precision")  # the weights are the same in all


@dataclass(frozen=True)
class Pretrained:
    """A model that fits. given: what was asked for, in full; path: the `.keras` file; sha256: of its bytes."""

    given: Path
    path: Path
    sha256: str

    def identity(self) -> dict[str, str]:
        """Return what the manifest of a run that begins with it says."""
        return {"pretrained": str(self.given), "pretrained_sha256": self.sha256}

    def seen(self) -> set[str]:
        """Return the patients that it was trained on, as far as the run folder that it lies in tells."""
        return {name for event in read_events(self.path.parent) for name in event.get("patients", ())}

    def keep(self, run: Path) -> Path:
        """Copy it into the run folder, unless a whole copy is there; returns the copy's path."""
        copy = run / COPY
        if not is_whole(copy, self.sha256):
            with replacing(copy) as temporary:
                shutil.copyfile(self.path, temporary)
                if sha256_of(temporary) != self.sha256:
                    raise InputError(f"{self.path}: changed while it was copied; give a file that nothing writes to")
        return copy


def find_pretrained(model: str | Path, config: ModelConfig, run: str | Path) -> Pretrained:
    """Return the model (a run folder's best, or a `.keras` file) that the run in folder `run` is to begin with.

    Where it is gone or damaged and `run` was begun with it, `run`'s own copy stands in. InputError where there is no
    whole model, or where its settings make a network of other weights than `config`. Loads nothing of Keras.
    """
    given = Path(model).resolve()
    try:
        source = find_source(model)
    except InputError as error:
        source = _own_copy(given, Path(run), error)
    theirs = replace(source.config.model, **{name: getattr(config, name) for name in FREE})
    differing = differences(Config(model=theirs), Config(model=config))  # the other sections do not count
    if differing:
        values = source.config.to_dict()["model"]
        names = [text.partition(":")[0] for text in differing]
        raise InputError(
            f"{source.path}: its network is another one than that to be trained ({'; '.join(differing)}); "
            f"give --set {' '.join(_assignment(name, values[name]) for name in names)}, or another --pretrained"
        )
    return Pretrained(given, source.path, source.sha256)


def warning(pretrained: Pretrained, tested: Collection[str]) -> str | None:
    """Return a line where the model was trained on patients who have the names of some of those to be `tested`."""
    shared = sorted(pretrained.seen() & set(tested))
    if not shared:
        return None
    names = ", ".join(shared[:MOST_NAMES]) + (" ..." if len(shared) > MOST_NAMES else "")
    return (
        f"warning: {pretrained.given} was trained on patients called as {len(shared)} of {len(tested)} test patients "
        f"({names}); if these are the same people, the test scores will be too good"
    )


def load_pretrained(model: keras.Model, path: Path) -> None:
    """Give `model` all weights and moving averages of a `.keras` file; InputError where names or shapes differ."""
    trained = load_model(path).model
    for own, given in itertools.zip_longest(_arrays(model), _arrays(trained), fillvalue="nothing"):
        if own != given:
            raise InputError(f"{path}: holds {given}, expected {own} in its place; give a model of this very network")
    model.set_weights(trained.get_weights())


def _arrays(model: keras.Model) -> list[str]:
    return [f"{weight.path} of shape {tuple(weight.shape)}" for weight in model.weights]


def _own_copy(given: Path, run: Path, error: InputError) -> ModelSource:
    manifest, copy = run / "manifest.json", run / COPY
    noted = read_json(manifest, "run's manifest") if manifest.is_file() else {}
    if noted.get("pretrained") != str(given):
        raise error
    if not is_whole(copy, noted["pretrained_sha256"]):
        raise InputError(f"{error}; the run's own copy, {copy}, is missing or damaged, too") from None
    return find_source(copy)


def _assignment(name: str, value: Any) -> str:
    return f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
