"""What a run was made of, read from its manifest: to repeat it, and to describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.files.json_files import read_json
from data_prep.files.typed import typed
from data_prep.origin import Origin
from kidney_seg.config.run_config import Config
from kidney_seg.run import layout


@dataclass(frozen=True)
class Recipe:
    """Content of the file `manifest`: cache folder, split file and versions of that time.

    `pretrained_sha256`: of the model with the initial weights; None if they were random.
    """

    config: Config
    seed: int
    data: Path
    split: Path
    data_sha256: str
    split_sha256: str
    versions: dict[str, str]
    manifest: Path
    pretrained_sha256: str | None = None

    def pretrained(self) -> Path | None:
        """Return the model with the initial weights, beside the manifest; InputError if it is missing or another."""
        if self.pretrained_sha256 is None:
            return None
        copy = self.manifest.with_name(layout.PRETRAINED.name)
        if not is_whole(copy, self.pretrained_sha256):
            found = "has another checksum" if copy.is_file() else "is missing"
            raise InputError(
                f"{found}; the run to be repeated was initialized from this model "
                f"({self.pretrained_sha256[:12]}); copy it beside the {layout.MANIFEST}",
                path=copy,
            )
        return copy

    def split_file(self, data: Path) -> Path:
        """Return the run's split file, by its place in the cache, which is now the folder `data`."""
        return data / self.split.relative_to(self.data) if self.split.is_relative_to(self.data) else self.split


def read_recipe(path: str | Path) -> Recipe:
    """Read a run's `manifest.json`, or that of a run folder. InputError if it lacks what repeating a run needs."""
    path = Path(path)
    if path.is_dir():
        path = path / layout.MANIFEST
    content = read_manifest(path)
    try:
        return Recipe(
            config=Config.from_dict(content["config"]),
            seed=content["seed"],
            data=Path(content["data"]),
            split=Path(content["split"]),
            data_sha256=content["data_sha256"],
            split_sha256=content["split_sha256"],
            versions={**content["versions"], "python": content["python"], "devices": ", ".join(content["devices"])},
            manifest=path,
            pretrained_sha256=content.get("pretrained_sha256"),
        )
    except KeyError as error:
        raise InputError(f"not the manifest of a run that can be repeated (it lacks {error})", path=path) from None
    except InputError as error:
        raise InputError(error.detail, path) from None


_TEXT = str | None
_KINDS: dict[str, Any] = {  # of the entries of a manifest; each may be missing
    "config": dict[str, dict[str, Any]],
    "seed": int,
    "python": str,
    "versions": dict[str, str],
    "devices": list[str],
    "origin": Origin,
    **dict.fromkeys(("data", "split", "data_sha256", "split_sha256"), str),
    **dict.fromkeys(("pretrained", "pretrained_sha256"), _TEXT),
}


def read_manifest(path: str | Path, *needed: str) -> dict[str, Any]:
    """Return the entries of a run's `manifest.json`. InputError if one is `needed` and missing, or of a wrong type."""
    content = read_json(path, "run's manifest")
    try:
        for name, value in typed(dict[str, Any], content, "manifest").items():
            typed(_KINDS.get(name, Any), value, name)
        if missing := [name for name in needed if name not in content]:
            raise ValueError(f"{missing[0]} is missing")
        if content.get("pretrained_sha256") is not None and content.get("pretrained") is None:
            raise ValueError("pretrained is missing")
    except ValueError as error:
        raise InputError(f"not a run's manifest ({error}); restore it", path) from None
    return content


def check_recipe(recipe: Recipe, data_sha256: str, split_sha256: str, versions: dict[str, str]) -> list[str]:
    """Return one line per version that differs now. InputError if data or split differ: no result could be equal."""
    for name, wanted, found in (
        ("data", recipe.data_sha256, data_sha256),
        ("split", recipe.split_sha256, split_sha256),
    ):
        if wanted != found:
            raise InputError(
                f"{recipe.data}: its {name} has the checksum {found[:12]}, the run to be repeated had {wanted[:12]}; "
                "give the same cache with --data, or the split with --split"
            )
    return [
        f"{name}: {recipe.versions.get(name, 'none')} then, {versions.get(name, 'none')} now"
        for name in sorted({*recipe.versions, *versions})
        if recipe.versions.get(name) != versions.get(name)
    ]


def describe_first_weights(manifest: Mapping[str, Any]) -> str:
    """Return a short description of a run's initial weights, from its manifest.

    >>> describe_first_weights({"pretrained": "/somewhere/runs/sim", "pretrained_sha256": "0123456789abcdef"})
    'sim (SHA-256 0123456789ab)'
    >>> describe_first_weights({})
    'none'
    """
    if manifest.get("pretrained_sha256") is None:
        return "none"
    return f"{Path(manifest['pretrained']).name} (SHA-256 {manifest['pretrained_sha256'][:12]})"


def is_whole(path: Path, sha256: str) -> bool:
    """Return whether the file exists and has this checksum."""
    return path.is_file() and sha256_of(path) == sha256
