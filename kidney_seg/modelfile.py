"""Trained models as files: a `.keras` file that also carries the settings it needs to be used rightly."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.command import InputError
from data_prep.files import replacing
from data_prep.grid import GridSettings
from kidney_seg.config import Config

SETTINGS_MEMBER = "kidney_seg.json"  # beside Keras' own members of the zip file, which ignores it


@dataclass(frozen=True)
class ModelFile:
    """A loaded model: `model` is as `build_model` says, `config` the run's, `grid` that of its training slices."""

    model: Any
    config: Config
    grid: GridSettings
    path: Path


def save_model(model, config: Config, grid: GridSettings, path: str | Path) -> None:
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
    path = find_model(path)
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            if broken:
                raise zipfile.BadZipFile(f"checksum of {broken} is wrong")
            settings = json.loads(archive.read(SETTINGS_MEMBER))
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, ValueError) as error:
        raise InputError(f"{path}: not a whole .keras file ({error}); train again or restore it") from None
    except KeyError:
        raise InputError(f"{path}: a .keras file, but without the settings that this project writes into it") from None

    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return ModelFile(model, Config.from_dict(settings["config"]), GridSettings(**settings["grid"]), path)
