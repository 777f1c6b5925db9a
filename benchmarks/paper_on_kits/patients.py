"""Training patients of an arm: those of its fold, fewer of them, or simulated ones beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.paper_on_kits.arms import SIMULATED
from benchmarks.real_slices.training import build_cache, write_patients
from data_prep.cache.manifest import read_manifest
from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.geometry.network_grid import GridSettings
from data_prep.split.sets import read_split

FIRST_SIMULATED = 90000  # number of the first simulated patient beside real ones: KiTS has none above 588


def fold_file(cache: Path, fold: int) -> Path:
    """Return the split file of a fold of a cache."""
    return cache / "folds" / f"fold{fold}.json"


def fewer(split: Path, cache: Path, fold: int, patients: int | None, out: Path) -> Path:
    """Return the split file of a fold with so many of its training patients; `split` itself for None.

    Those of a smaller number are among those of a larger one; validation and test patients stay. InputError if the fold
    has fewer. The file is written to `out`.
    """
    if patients is None:
        return split
    content = read_split(split, read_manifest(cache))
    train = content["train"]
    if patients > len(train):
        raise InputError(f"has {len(train)} training patients; expected {patients} or more for this arm", path=split)
    chosen = sorted(np.random.default_rng([fold]).permutation(train)[:patients].tolist())
    return _written(out / f"{patients}-patients-fold{fold}.json", {**content, "train": chosen})


def beside(data: str, cache: Path, split: Path, out: Path, grid: GridSettings, jobs: int) -> tuple[Path, Path]:
    """Return a cache of the cases of `data` and of simulated patients, and a split file of it.

    `cache` and `split` are of the real patients alone: the new split has their sets, and the simulated patients as
    further training patients. All is made in `out`, from what exists already.
    """
    simulated = write_patients(SIMULATED, "simulated patients", None, set(), out, jobs)
    names = {case.name: case.image.resolve().parent for case in find_cases(data)[0]}
    added = {}
    for number, case in enumerate(find_cases(simulated)[0], FIRST_SIMULATED):
        added[f"case_{number:05d}"] = case.image.resolve().parent
    cases = out / "cases-with-simulated"
    cases.mkdir(parents=True, exist_ok=True)
    for name, folder in (names | added).items():
        if not (cases / name).is_symlink():
            (cases / name).symlink_to(folder, target_is_directory=True)
    mixed = build_cache(str(cases), out / "with-simulated", grid)
    manifest, content = read_manifest(mixed), read_split(split, read_manifest(cache))
    content = {**content, "data_sha256": manifest.data_sha256, "train": sorted([*content["train"], *added])}
    return mixed, _written(out / "splits" / f"with-simulated-{grid.size}-{split.stem}.json", content)


def _written(path: Path, content: dict) -> Path:
    """Write a split file, unless it exists; a run refuses one that has changed."""
    if not path.exists() or read_json(path, "split") != content:
        write_json(path, content)
    return path
