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
from data_prep.split.sets import FRACTIONS, SCHEMA, SETS, check_options, deal, labelled_patients

FOLDS = "folds"


def make_folds(
    manifest: Manifest, folds: int, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> list[dict[str, Any]]:
    """Divide the labelled patients into `folds` test sets; return one split for each, as `make_split` makes them.

    The test sets' sizes differ by one at most, and each gets small and large tumors alike: of the patients sorted by
    tumor volume every block of `folds` gives one to each. The others are divided into train and selection, in the
    proportion of these two in `fractions` (the share of test is 1 / folds). The seed decides who goes where. Each
    split holds `fold` (0 ..) and `folds`, too. InputError as for `make_split`, and for less than 2 folds or fewer
    patients than folds.
    """
    train, selection, _ = check_options(fractions, seed)
    patients = labelled_patients(manifest)
    if not 2 <= folds <= len(patients) or len(patients) - math.ceil(len(patients) / folds) < 2:
        raise InputError(
            f"{folds} folds of {len(patients)} patients with labels: expected 2 folds or more, no more than patients, "
            "and two patients outside of each for train and selection"
        )
    rng = np.random.default_rng(seed)
    homes = np.concatenate([rng.permutation(folds) for _ in range(0, len(patients), folds)])[: len(patients)]
    splits = []
    for fold in range(folds):
        rest = [patient for patient, home in zip(patients, homes, strict=True) if home != fold]
        shares = (train / (train + selection), selection / (train + selection))
        parts = deal(rest, shares, np.random.default_rng([seed, fold]))
        test = sorted(set(patients) - set(rest))
        splits.append(
            {
                "schema": SCHEMA,
                "seed": int(seed),
                "fractions": [share * (1 - 1 / folds) for share in shares] + [1 / folds],
                "folds": folds,
                "fold": fold,
                "manifest_sha256": manifest.data_sha256,
                **dict(zip(SETS, (*parts, test), strict=True)),
            }
        )
    return splits


def write_folds(manifest: Manifest, splits: list[dict[str, Any]], *, force: bool = False) -> list[Path]:
    """Write the splits to `folds/fold0.json` and so on in the cache, those that are not there yet; return all paths.

    InputError, before anything is written, where other folds are there, unless `force`, which removes those first:
    folds of two divisions must never mix.
    """
    folder = manifest.root / FOLDS
    wanted = {folder / f"fold{number}.json": split for number, split in enumerate(splits)}
    others = [path for path in sorted(folder.glob("fold*.json")) if _differs(path, wanted.get(path))]
    if others and not force:
        raise InputError(
            f"{others[0]}: other folds are there (other data, number, fractions or seed); --force replaces them, "
            "and with them what 'test' means for models trained so far"
        )
    for path in others:
        path.unlink()
    for path, split in wanted.items():
        if not path.exists():
            write_json(path, split)
    return list(wanted)


def _differs(path: Path, split: dict[str, Any] | None) -> bool:
    try:
        return read_json(path, "split") != split
    except InputError:
        return True
