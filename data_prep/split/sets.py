"""Training, selection and test sets, by patient: `python -m data_prep.split CACHE`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cache.manifest import CacheEntry, Manifest
from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json

SCHEMA = 1
SETS = ("train", "selection", "test")
FRACTIONS = (0.7, 0.1, 0.2)
SPLIT = "split.json"


def make_split(manifest: Manifest, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> dict[str, Any]:
    """Divide the patients that have labelled cases into train, selection and test; nothing is written.

    Every set gets small and large tumors alike: the patients are sorted by tumor volume (the largest of their
    cases') and dealt out, in shuffled blocks. The seed decides who goes where, the fractions how many (at
    least one a set). Returns the content of `split.json`; the lists hold patients, sorted. InputError for
    fractions that are not three positive numbers with the sum 1, a negative seed, fewer than three labelled
    patients, or one image under two patients.
    """
    fractions = check_options(fractions, seed)
    patients = labelled_patients(manifest)
    sets = deal(patients, fractions, np.random.default_rng(seed))
    return {
        "schema": SCHEMA,
        "seed": int(seed),
        "fractions": list(fractions),
        "manifest_sha256": manifest.data_sha256,
        **dict(zip(SETS, sets, strict=True)),
    }


def check_options(fractions: Sequence[float], seed: int) -> tuple[float, ...]:
    """Return the fractions as floats. InputError unless they are three positive numbers of sum 1, and seed >= 0."""
    fractions = tuple(float(share) for share in fractions)
    if len(fractions) != 3 or not all(0 < share < 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        said = " ".join(f"{share:g}" for share in fractions)
        raise InputError(f"fractions {said}: expected three positive numbers with the sum 1, such as 0.7 0.1 0.2")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    return fractions


def labelled_patients(manifest: Manifest) -> list[str]:
    """Return the patients that have labelled cases, by tumor volume (the largest of their cases'), then by name.

    InputError for fewer than three, and for one image under two patients: whichever sets they come to, a network
    could be tested on what it was trained on.
    """
    volume_ml: dict[str, float] = {}
    for entry in manifest.entries:
        if entry.tumor_ml is not None:  # it is labelled
            volume_ml[entry.patient] = max(entry.tumor_ml, volume_ml.get(entry.patient, 0.0))
    if len(volume_ml) < len(SETS):
        raise InputError(
            f"{manifest.root}: {len(volume_ml)} patients with labels; expected at least 3, "
            f"one for each of {', '.join(SETS)}"
        )
    _refuse_same_images(manifest, {patient: patient for patient in volume_ml}, "patient", str(manifest.root))
    return sorted(volume_ml, key=lambda patient: (volume_ml[patient], patient))


def deal(patients: Sequence[str], fractions: Sequence[float], rng: np.random.Generator) -> list[list[str]]:
    """Deal patients, sorted by what every set shall have alike, into sets of about these shares, at least one each.

    In shuffled blocks, each as long as it takes to give to every set. Each set is sorted by name.
    """
    counts = _counts(len(patients), tuple(fractions))
    block = math.ceil(1 / min(fractions))
    dealt = _evenly(counts)
    for start in range(0, len(dealt), block):
        rng.shuffle(dealt[start : start + block])  # a view: in place
    return [
        sorted(patient for patient, home in zip(patients, dealt, strict=True) if home == number)
        for number in range(len(counts))
    ]


def _refuse_same_images(manifest: Manifest, home_of: Mapping[str, str], what: str, where: str) -> None:
    # the file's own hash finds copies; that of the slices also finds copies that were packed or converted anew
    seen: dict[str, CacheEntry] = {}
    for entry in manifest.entries:
        home = home_of.get(entry.patient)
        if not entry.labelled or home is None:
            continue
        for sha256 in (entry.image_sha256, entry.slices_sha256):
            if sha256 is None:
                continue
            other = seen.setdefault(sha256, entry)
            if home_of[other.patient] != home:
                raise InputError(
                    f"{where}: the cases {other.case} ({what} {home_of[other.patient]}) and {entry.case} "
                    f"({what} {home}) hold the same image; leave one of them out of the source and build again"
                )


def _counts(n: int, fractions: tuple[float, ...]) -> list[int]:
    # largest remainders, then at least one each, taken from the largest set
    counts = [math.floor(n * share + 1e-9) for share in fractions]
    by_remainder = sorted(range(len(fractions)), key=lambda i: counts[i] - n * fractions[i])
    for i in by_remainder[: n - sum(counts)]:
        counts[i] += 1
    while min(counts) == 0:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts


def _evenly(counts: list[int]) -> np.ndarray:
    # set numbers in an order in which every stretch holds each set in about its share
    places = [((k + 0.5) / count, number) for number, count in enumerate(counts) for k in range(count)]
    return np.array([number for _, number in sorted(places)])


def write_split(manifest: Manifest, split: dict[str, Any], *, force: bool = False) -> bool:
    """Write `split.json` into the cache; return False where the same split is there already.

    InputError where another one is there, unless `force`: scores of the old and the new test set must not be
    mixed.
    """
    path = manifest.root / SPLIT
    if path.exists() and not force:
        if read_json(path, "split") == split:
            return False
        raise InputError(
            f"{path}: another split is there (other data, fractions or seed); --force replaces it, "
            "and with it what 'test' means for models trained so far"
        )
    write_json(path, split)
    return True


def read_split(path: str | Path, manifest: Manifest) -> dict[str, Any]:
    """Read a split: `path` is a split file, or a cache folder, whose `split.json` is then meant.

    InputError unless it fits this manifest's data: known patients, disjoint sets, no image in two sets.
    """
    path = Path(path)
    if path.is_dir():
        path = path / SPLIT
    split = read_json(path, "split (of python -m data_prep.split)")
    found = split.get("schema") if isinstance(split, dict) else None
    if found != SCHEMA:
        raise InputError(f"{path}: split of schema {found}, this version reads {SCHEMA}; make it anew")
    if not all(_are_names(split.get(name)) for name in SETS):
        raise InputError(f"{path}: expected a list of patients for each of {', '.join(SETS)}; make it anew")
    home_of: dict[str, str] = {}
    twice = {patient for name in SETS for patient in split[name] if home_of.setdefault(patient, name) != name}
    twice |= {patient for name in SETS for patient in split[name] if split[name].count(patient) > 1}
    if twice:
        raise InputError(f"{path}: {min(twice)} is there twice ({len(twice)} such patients); sets must be disjoint")
    unknown = sorted(set(home_of) - {entry.patient for entry in manifest.entries if entry.labelled})
    if unknown:
        raise InputError(f"{path}: {unknown[0]} is no labelled patient of the cache ({len(unknown)} such); split anew")
    if split.get("manifest_sha256") != manifest.data_sha256:
        raise InputError(f"{path}: was made for other data than the cache holds now; split anew with --force")
    _refuse_same_images(manifest, home_of, "set", str(path))
    return split


def _are_names(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def patients_of(path: str | Path, part: str) -> list[str]:
    """Return the patients of one set of a split file, for commands that need no cache. InputError if it has none."""
    content = read_json(path, "split")
    patients = content.get(part) if isinstance(content, dict) else None
    if not isinstance(patients, list) or not patients:
        raise InputError(f"{path}: has no patients under {part!r}; expected the split.json of a cache")
    return patients


def table(manifest: Manifest, split: dict[str, Any]) -> str:
    """Return what is in each set, as lines of text; the median is over the cases that have a tumor."""
    lines = [f"{'set':<10}{'patients':>10}{'cases':>8}{'slices':>9}{'with tumor':>12}{'tumor mL, median':>18}"]
    for name in SETS:
        members = set(split[name])
        entries = [e for e in manifest.entries if e.labelled and e.patient in members]
        with_tumor = sum(row[2] > 0 for entry in entries for row in entry.pixels or ())
        tumors_ml = [entry.tumor_ml for entry in entries if entry.tumor_ml]  # not None, not 0
        median = f"{np.median(tumors_ml):.1f}" if tumors_ml else "-"
        lines.append(
            f"{name:<10}{len(members):>10}{len(entries):>8}{sum(e.slices for e in entries):>9}"
            f"{with_tumor:>12}{median:>18}"
        )
    return "\n".join(lines)
