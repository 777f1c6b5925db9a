"""Arms of the cross-validation: one JSON file each, in the folder `settings` beside this file.

An arm is trained on every fold, from random weights or from those of its `teacher`, another arm. A teacher is an arm
with a `cohort`: it is trained once, on simulated patients, and scored on the real slices of the folds. Seeds repeat the
arms; their teacher stays the same. An arm with `networks` trains none: it averages those of other arms, and predicts by
its own settings. An arm that is `like` another one has its content, except what its own file states; its settings
follow the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from data_prep.geometry.network_grid import GridSettings
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config

FOLDER = Path(__file__).parent / "settings"
APPEARANCES = ("plain", "hard", "wild")
QUICK_SHARE = 4  # a quick run has this part of the steps


@dataclass(frozen=True)
class CohortSettings:
    """Simulated patients around real label maps: `looks` of each, `size` pixels a side, slices `thickness_mm` thick.

    appearance: `wild`, `hard` or `plain` (docs/howto/simulated_patients.md). cases: so many patients with simulated
    anatomy instead, which need no label maps; `looks` is then 1.
    """

    looks: int
    size: int
    thickness_mm: float
    appearance: str
    cases: int = 0

    def __post_init__(self) -> None:
        if self.appearance not in APPEARANCES:
            raise InputError(f"cohort: appearance {self.appearance!r}; expected one of {', '.join(APPEARANCES)}")


@dataclass(frozen=True)
class Arm:
    """One arm: its file's `name`, a sentence `why`, the `grid` of its cache, and `settings` (`--set`) over `preset`.

    cohort: simulated training patients, instead of the real slices; teacher: the arm with its initial weights;
    networks: arms whose networks are averaged; members: seeds whose networks are. The last two train nothing.
    """

    name: str
    why: str
    grid: GridSettings
    preset: str
    settings: tuple[str, ...]
    cohort: CohortSettings | None = None
    teacher: Arm | None = None
    networks: tuple[Arm, ...] = ()
    members: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """Its name in tables."""
        return f"{self.name} x{len(self.members)}" if self.members else self.name

    def together(self, seeds: Sequence[int]) -> Arm:
        """Return the arm whose predictions are the average of this one's networks of these seeds."""
        return replace(self, members=tuple(seeds))

    @property
    def trained(self) -> tuple[Arm, ...]:
        """The arms whose networks it predicts with: itself, unless it has `networks`."""
        return self.networks or (replace(self, members=()),)

    def config(self, short: bool = False) -> Config:
        """Return the settings of its runs; `short`: with fewer steps."""
        config = PRESETS[self.preset].with_settings([f"size={self.grid.size}", *self.settings])
        if not short:
            return config
        rounds = config.rounds
        steps = (f"{name}={max(1, getattr(rounds, name) // QUICK_SHARE)}" for name in ("start_steps", "steps"))
        return config.with_settings(list(steps))


def read_arm(path: Path, more: Sequence[str] = ()) -> Arm:
    """Read an arm's file: `why`, `preset`, `size`, `pixel_mm` (null: the whole field), `settings`; InputError else.

    Optional are `like`, `cohort`, `teacher` and `networks`; all but the cohort name the files of arms beside this one,
    without `.json`; null counts as absent. more: settings over those of the file and of the files it names.
    """
    content = _read_content(path)
    try:
        grid = GridSettings(content["size"], content["pixel_mm"])
        cohort = CohortSettings(**content["cohort"]) if "cohort" in content else None
        teacher = read_arm(path.with_name(f"{content['teacher']}.json"), more) if content.get("teacher") else None
        networks = tuple(read_arm(path.with_name(f"{name}.json"), more) for name in content.get("networks", ()))
        settings = (*content["settings"], *more)
        arm = Arm(path.stem, content["why"], grid, content["preset"], settings, cohort, teacher, networks)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not an arm ({error!r}); expected why, preset, size, pixel_mm and settings, with a cohort of "
            "appearance, looks, size and thickness_mm, or the name of a teacher, or names of networks"
        ) from None
    if arm.preset not in PRESETS:
        raise InputError(f"{path}: preset {arm.preset!r}; expected one of {', '.join(PRESETS)}")
    if teacher is not None and (teacher.cohort is None or cohort is not None):
        raise InputError(f"{path}: teacher {teacher.name!r}; expected an arm with a cohort, of an arm without one")
    if networks and (cohort or teacher or any(one.networks or one.cohort or one.grid != grid for one in networks)):
        raise InputError(f"{path}: networks: expected arms trained on real slices, on the same grid, and no teacher")
    arm.config()
    return arm


def _read_content(path: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    content = read_json(path, "arm")
    if "like" not in content:
        return content
    if path.stem in above:
        raise InputError(f"{path}: is like itself, through {', '.join(above)}; name another arm")
    whole = _read_content(path.with_name(f"{content['like']}.json"), (*above, path.stem))
    return {**whole, **content, "settings": [*whole.get("settings", ()), *content.get("settings", ())]}


def find_arms(names: Sequence[str] | None, first: str, more: Sequence[str] = ()) -> list[Arm]:
    """Return the arms of these names or files (default: all), after the one called `first`.

    more: settings over those of each.
    """
    known = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    chosen = dict.fromkeys([first, *(names if names is not None else known)])
    paths = []
    for name in chosen:
        path = known.get(name, Path(name))
        if path.suffix != ".json" or not path.is_file():
            raise InputError(f"{name}: no such arm; expected a .json file or one of {', '.join(known)}")
        paths.append(path)
    return [read_arm(path, more) for path in paths]
