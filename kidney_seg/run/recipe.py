"""A run again, from its `manifest.json` alone: what must be the same is checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files.json_files import read_json
from kidney_seg.config.run_config import Config


@dataclass(frozen=True)
class Recipe:
    """What a run was made of.

    data, split: its cache folder and split file, where they lay then; versions: of packages, Python and devices;
    manifest: the file that tells; pretrained_sha256: of the model that it began with, None where there was none.
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
        """Return the model that the run began with, beside its manifest; InputError if it is gone or another one."""
        from kidney_seg.run.first_weights import checked_copy

        return None if self.pretrained_sha256 is None else checked_copy(self.manifest, self.pretrained_sha256)

    def split_file(self, data: Path) -> Path:
        """Return the run's split file, looked for at its place in the cache `data`, wherever the cache lies now."""
        return data / self.split.relative_to(self.data) if self.split.is_relative_to(self.data) else self.split


def read_recipe(path: str | Path) -> Recipe:
    """Read a run's `manifest.json`. InputError where it is none, or is of a version that kept no settings in it."""
    path = Path(path)
    if path.is_dir():
        path = path / "manifest.json"
    content = read_json(path, "run's manifest")
    try:
        return Recipe(
            config=Config.from_dict(content["config"]),
            seed=int(content["seed"]),
            data=Path(content["data"]),
            split=Path(content["split"]),
            data_sha256=content["data_sha256"],
            split_sha256=content["split_sha256"],
            versions={**content["versions"], "python": content["python"], "devices": ", ".join(content["devices"])},
            manifest=path,
            pretrained_sha256=content.get("pretrained_sha256"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no manifest of a run that can be repeated (it lacks {error})") from None


def check_recipe(recipe: Recipe, data_sha256: str, split_sha256: str, versions: dict[str, str]) -> list[str]:
    """Compare a recipe with what is here; returns a line for each version that differs.

    InputError where the data or the split are others: then nothing could come out equal.
    """
    for name, wanted, found in (
        ("data", recipe.data_sha256, data_sha256),
        ("split", recipe.split_sha256, split_sha256),
    ):
        if wanted != found:
            raise InputError(
                f"{recipe.data}: its {name} has the checksum {found[:12]}, the run to be repeated had {wanted[:12]}; "
                "give the very same cache with --data, or the split with --split"
            )
    return [
        f"{name}: {recipe.versions.get(name, 'none')} then, {versions.get(name, 'none')} now"
        for name in sorted({*recipe.versions, *versions})
        if recipe.versions.get(name) != versions.get(name)
    ]
