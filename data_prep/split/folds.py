"""Folds of cross-validation: every labelled patient is in exactly one test set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.manifest import Manifest
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.files.outputs import check_outputs
from data_prep.split.sets import (
    FRACTIONS,
    check_options,
    deal,
    is_split_file,
    labelled_patients,
    split_content,
    upgraded,
)

FOLDS = "folds"


def make_folds(
    manifest: Manifest, folds: int, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> list[dict[str, Any]]:
    """Divide the labelled patients into `folds` test sets; return one split per fold, as `make_split` makes them.

    The test sets' sizes differ by one at most, and each gets small and large tumors: of the patients sorted by tumor
    volume, every block of `folds` gives one to each. The others are divided into train and validation, in the
    proportion of these two in `fractions` (the share of test is 1 / folds). Each split also holds `fold` (0 ..) and
    `folds`. InputError as for `make_split`, and for less than 2 folds or fewer patients than folds.
    """
    train, validation, _ = check_options(fractions, seed)
    patients = labelled_patients(manifest)
    if not 2 <= folds <= len(patients) or len(patients) - math.ceil(len(patients) / folds) < 2:
        raise InputError(
            f"{folds} folds of {len(patients)} patients with labels: expected 2 folds or more, no more than patients, "
            "and two patients outside of each for train and validation"
        )
    rng = np.random.default_rng(seed)
    homes = np.concatenate([rng.permutation(folds) for _ in range(0, len(patients), folds)])[: len(patients)]
    shares = (train / (train + validation), validation / (train + validation))
    of_all = [share * (1 - 1 / folds) for share in shares] + [1 / folds]
    splits = []
    for fold in range(folds):
        rest = [patient for patient, home in zip(patients, homes, strict=True) if home != fold]
        sets = [*deal(rest, shares, np.random.default_rng([seed, fold])), sorted(set(patients) - set(rest))]
        splits.append(split_content(manifest, sets, of_all, seed, folds=folds, fold=fold))
    return splits


def write_folds(manifest: Manifest, splits: list[dict[str, Any]], *, force: bool = False) -> list[Path]:
    """Write the splits that do not exist yet to `folds/fold0.json` and so on in the cache; return all paths.

    InputError, before anything is written, if other folds exist, unless `force`, which removes those first: folds of
    two divisions must never mix.
    """
    folder = manifest.root / FOLDS
    wanted = {folder / f"fold{number}.json": split for number, split in enumerate(splits)}
    others = [path for path in sorted(folder.glob("fold*.json")) if _differs(path, wanted.get(path))]
    if others and not force:
        raise InputError(
            "other folds exist (other data, number, fractions or seed); --force replaces them, "
            "and with them what 'test' means for models trained so far",
            path=others[0],
        )
    check_outputs([*wanted, *others], ours=is_split_file)
    for path in others:
        path.unlink()
    for path, split in wanted.items():
        if not path.exists():
            write_json(path, split)
    return list(wanted)


def _differs(path: Path, split: dict[str, Any] | None) -> bool:
    try:
        return upgraded(read_json(path, "split")) != split
    except InputError:
        return True
