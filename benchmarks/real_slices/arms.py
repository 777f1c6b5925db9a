"""Arms of the cross-validation: one JSON file each, in the folder `settings` beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.command import InputError
from data_prep.files import read_json
from data_prep.grid import GridSettings
from kidney_seg.config import PRESETS, Config

FOLDER = Path(__file__).parent / "settings"
QUICK_SHARE = 4  # a quick run has this part of the steps


@dataclass(frozen=True)
class Arm:
    """What is tried. name: of its file; why: a sentence; grid: of its cache; settings: as of `--set`, over `preset`."""

    name: str
    why: str
    grid: GridSettings
    preset: str
    settings: tuple[str, ...]

    def config(self, short: bool = False) -> Config:
        """Return the settings of its runs; `short`: with fewer steps."""
        config = PRESETS[self.preset].with_settings([f"size={self.grid.size}", *self.settings])
        if not short:
            return config
        rounds = config.rounds
        steps = (f"{name}={max(1, getattr(rounds, name) // QUICK_SHARE)}" for name in ("start_steps", "steps"))
        return config.with_settings(list(steps))


def read_arm(path: Path) -> Arm:
    """Read an arm's file: `why`, `preset`, `size`, `pixel_mm` (null: the whole field), `settings`. InputError else."""
    content = read_json(path, "arm")
    try:
        grid = GridSettings(content["size"], content["pixel_mm"])
        arm = Arm(path.stem, content["why"], grid, content["preset"], tuple(content["settings"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: is no arm ({error!r}); expected why, preset, size, pixel_mm and settings") from None
    if arm.preset not in PRESETS:
        raise InputError(f"{path}: preset {arm.preset!r}; expected one of {', '.join(PRESETS)}")
    arm.config()
    return arm


def find_arms(names: Sequence[str] | None, first: str) -> list[Arm]:
    """Return the arms of these names or files (all, without any), the one called `first` at the head of them."""
    known = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    chosen = dict.fromkeys([first, *(names if names is not None else known)])
    paths = []
    for name in chosen:
        path = known.get(name, Path(name))
        if path.suffix != ".json" or not path.is_file():
            raise InputError(f"{name}: there is no such arm; expected a .json file or one of {', '.join(known)}")
        paths.append(path)
    return [read_arm(path) for path in paths]
