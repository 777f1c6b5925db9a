"""Initial weights from an earlier training: checks that the model fits, and keeps a copy in the run."""

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
from kidney_seg.config.model import ModelConfig
from kidney_seg.config.run_config import Config, differences
from kidney_seg.model.model_file import ModelSource, find_source, load_model
from kidney_seg.model.trained_on import trained_on
from kidney_seg.run import layout
from kidney_seg.run.journal import AttemptTrained, Journal
from kidney_seg.run.recipe import is_whole, read_manifest

if TYPE_CHECKING:
    import keras

MOST_NAMES = 5  # per line
# settings that may differ, since the weights have the same shapes
FREE = ("size", "hu_window", "foreground_prior", "batch_norm_momentum", "precision")


@dataclass(frozen=True)
class Pretrained:
    """A model that fits: the absolute path as `given`, its `.keras` file, its checksum, what it was trained on."""

    given: Path
    path: Path
    sha256: str
    trained_on: str = ""

    def identity(self) -> dict[str, str]:
        """Return the entries of the run's manifest."""
        return {"pretrained": str(self.given), "pretrained_sha256": self.sha256}

    def seen(self) -> set[str]:
        """Return the patients it was trained on, if it lies in its run folder."""
        return {name for event in Journal(self.path.parent).all_of(AttemptTrained) for name in event.patients}

    def keep(self, run: Path) -> Path:
        """Copy it into the run folder, unless a whole copy exists; returns the copy's path."""
        copy = run / layout.PRETRAINED
        if not is_whole(copy, self.sha256):
            with replacing(copy) as temporary:
                shutil.copyfile(self.path, temporary)
                if sha256_of(temporary) != self.sha256:
                    raise InputError("changed while it was copied; give a file that nothing writes to", path=self.path)
        return copy


def find_pretrained(model: str | Path, config: ModelConfig, run: str | Path) -> Pretrained:
    """Return the model that initializes the run in folder `run`: a run folder's best, or a `.keras` file.

    If it is missing or damaged, the copy in `run` replaces it. InputError without an undamaged model, or if its network
    has other weights than that of `config`. Does not load Keras.
    """
    given = Path(model).resolve()
    try:
        source = find_source(model)
    except InputError as error:
        source = _own_copy(given, Path(run), error)
    theirs = replace(source.config.model, **{name: getattr(config, name) for name in FREE})
    differing = differences(Config(model=theirs), Config(model=config))
    if differing:
        values = source.config.to_dict()["model"]
        names = [text.partition(":")[0] for text in differing]
        raise InputError(
            f"its network differs from the one to be trained ({'; '.join(differing)}); "
            f"give --set {' '.join(_assignment(name, values[name]) for name in names)}, or another --pretrained",
            path=source.path,
        )
    return Pretrained(given, source.path, source.sha256, trained_on(source))


def warning(pretrained: Pretrained, tested: Collection[str]) -> str | None:
    """Return a line if the model was trained on patients with the names of some `tested` ones, else None."""
    shared = sorted(pretrained.seen() & set(tested))
    if not shared:
        return None
    names = ", ".join(shared[:MOST_NAMES]) + (" ..." if len(shared) > MOST_NAMES else "")
    return (
        f"warning: {pretrained.given} was trained on patients named like {len(shared)} of {len(tested)} test patients "
        f"({names}); if they are the same people, the test scores are too optimistic"
    )


def load_pretrained(model: keras.Model, path: Path) -> None:
    """Copy all weights and moving averages of a `.keras` file to `model`; InputError if names or shapes differ."""
    trained = load_model(path).model
    for own, given in itertools.zip_longest(_arrays(model), _arrays(trained), fillvalue="nothing"):
        if own != given:
            raise InputError(f"holds {given}, expected {own} in its place; give a model of the same network", path=path)
    model.set_weights(trained.get_weights())


def _arrays(model: keras.Model) -> list[str]:
    return [f"{weight.path} of shape {tuple(weight.shape)}" for weight in model.weights]


def _own_copy(given: Path, run: Path, error: InputError) -> ModelSource:
    manifest, copy = run / layout.MANIFEST, run / layout.PRETRAINED
    noted = read_manifest(manifest) if manifest.is_file() else {}
    if noted.get("pretrained") != str(given):
        raise error
    if not is_whole(copy, noted["pretrained_sha256"]):
        raise InputError(f"{error}; the run's own copy, {copy}, is also missing or damaged") from None
    return find_source(copy)


def _assignment(name: str, value: Any) -> str:
    return f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
