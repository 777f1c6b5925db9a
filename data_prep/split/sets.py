"""Training, validation and test sets of patients; `split.json` holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files.json_files import read_json, write_json
from data_prep.files.outputs import check_outputs, has_keys

if TYPE_CHECKING:
    from data_prep.cache.manifest import CacheEntry, Manifest

SCHEMA = 2
SETS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)
SPLIT = "split.json"
_OLD_NAMES = {"selection": "validation", "manifest_sha256": "data_sha256"}  # of schema 1


def set_name(name: str) -> str:
    """Return the current name of a set, for options: `selection`, its name before version 0.2, is `validation`."""
    return _OLD_NAMES.get(name, name)


def upgraded(content: Any) -> Any:
    """Return the content of a split file of schema 1 as schema 2; anything else unchanged."""
    if not isinstance(content, dict) or content.get("schema") != 1:
        return content
    return {_OLD_NAMES.get(key, key): value for key, value in content.items()} | {"schema": SCHEMA}


def make_split(manifest: Manifest, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> dict[str, Any]:
    """Divide the patients that have labelled cases into train, validation and test; nothing is written.

    Each set gets small and large tumors: the patients, sorted by the largest tumor volume of their cases, are dealt out
    in shuffled blocks.

    Args:
        manifest: the cache.
        fractions: shares of the patients; each set gets at least one.
        seed: of the shuffling.

    Returns:
        The content of `split.json`; the lists hold patients, sorted.

    Raises:
        InputError: fractions are not three positive numbers with the sum 1, the seed is negative, fewer than three
            patients are labelled, or two patients share an image.
    """
    fractions = check_options(fractions, seed)
    sets = deal(labelled_patients(manifest), fractions, np.random.default_rng(seed))
    return split_content(manifest, sets, fractions, seed)


def split_content(
    manifest: Manifest, sets: Sequence[list[str]], fractions: Sequence[float], seed: int, **more: int
) -> dict[str, Any]:
    """Return the content of a split file, `sets` in the order of `SETS`; `more` is added to it."""
    return {
        "schema": SCHEMA,
        "seed": int(seed),
        "fractions": list(fractions),
        **more,
        "data_sha256": manifest.data_sha256,
        **dict(zip(SETS, sets, strict=True)),
    }


def check_options(fractions: Sequence[float], seed: int) -> tuple[float, ...]:
    """Return the fractions as floats. InputError unless they are three positive numbers of sum 1, and seed >= 0."""
    fractions = tuple(float(share) for share in fractions)
    if len(fractions) != 3 or not all(0 < share < 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6:
        given = " ".join(f"{share:g}" for share in fractions)
        raise InputError(f"fractions {given}: expected three positive numbers with the sum 1, such as 0.7 0.1 0.2")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    return fractions


def labelled_patients(manifest: Manifest) -> list[str]:
    """Return the patients that have labelled cases, by the largest tumor volume of their cases, then by name.

    InputError for fewer than three, and if two patients share an image: whichever sets they are in, a network could be
    tested on its training data.
    """
    volume_ml: dict[str, float] = {}
    for entry in manifest.entries:
        if entry.tumor_ml is not None:  # it is labelled
            volume_ml[entry.patient] = max(entry.tumor_ml, volume_ml.get(entry.patient, 0.0))
    if len(volume_ml) < len(SETS):
        raise InputError(
            f"{len(volume_ml)} patients with labels; expected at least 3, one for each of {', '.join(SETS)}",
            path=manifest.root,
        )
    _refuse_same_images(manifest, {patient: patient for patient in volume_ml}, "patient", manifest.root)
    return sorted(volume_ml, key=lambda patient: (volume_ml[patient], patient))


def deal(patients: Sequence[str], fractions: Sequence[float], rng: np.random.Generator) -> list[list[str]]:
    """Deal out sorted patients, in shuffled blocks, to sets of about these shares, at least one patient per set.

    A block is as long as it takes to give a patient to every set. Each returned set is sorted by name.
    """
    counts = _counts(len(patients), tuple(fractions))
    block = math.ceil(1 / min(fractions))
    # set numbers in an order in which every stretch holds each set in about its share
    places = sorted(((k + 0.5) / count, number) for number, count in enumerate(counts) for k in range(count))
    dealt = np.array([number for _, number in places])
    for start in range(0, len(dealt), block):
        rng.shuffle(dealt[start : start + block])  # a view: in place
    return [
        sorted(patient for patient, home in zip(patients, dealt, strict=True) if home == number)
        for number in range(len(counts))
    ]


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


def _refuse_same_images(manifest: Manifest, home_of: Mapping[str, str], what: str, where: Path) -> None:
    # the file's own hash finds copies; that of the slices also finds copies that were compressed or converted again
    seen: dict[str, CacheEntry] = {}
    for entry in manifest.entries:
        home = home_of.get(entry.patient)
        if not entry.labelled or home is None:
            continue
        for sha256 in filter(None, (entry.image_sha256, entry.slices_sha256)):
            other = seen.setdefault(sha256, entry)
            if home_of[other.patient] != home:
                raise InputError(
                    f"the cases {other.case} ({what} {home_of[other.patient]}) and {entry.case} ({what} {home}) "
                    "hold the same image; leave one of them out of the source and build again",
                    path=where,
                )


def write_split(manifest: Manifest, split: dict[str, Any], *, force: bool = False) -> bool:
    """Write `split.json` into the cache; return False if the same split exists.

    InputError if another one exists, unless `force`: scores of the old and the new test set must not be mixed.
    """
    path = manifest.root / SPLIT
    check_outputs([path], ours=is_split_file)
    if path.exists() and not force:
        if upgraded(read_json(path, "split")) == split:
            return False
        raise InputError(
            "another split exists (other data, fractions or seed); --force replaces it, "
            "and with it what 'test' means for models trained so far",
            path=path,
        )
    write_json(path, split)
    return True


is_split_file = has_keys("schema", "seed", *SETS[::2])  # of any schema; also one of other data


def read_split(path: str | Path, manifest: Manifest) -> dict[str, Any]:
    """Read a split of schema 1 or 2, as schema 2: `path` is a split file, or a cache folder with `split.json`.

    InputError unless it fits this manifest's data: known patients, disjoint sets, no image in two sets.
    """
    path = Path(path)
    if path.is_dir():
        path = path / SPLIT
    split = upgraded(read_json(path, "split (of python -m data_prep.split)"))
    found = split.get("schema") if isinstance(split, dict) else None
    if found != SCHEMA:
        raise InputError(f"split of schema {found}, this version reads up to {SCHEMA}; make it again", path=path)
    named = [names for name in SETS if isinstance(names := split.get(name), list) and names]
    if len(named) < len(SETS) or not all(isinstance(patient, str) for names in named for patient in names):
        raise InputError(f"expected a list of patients for each of {', '.join(SETS)}; make it again", path=path)
    home_of: dict[str, str] = {}
    twice = {patient for name in SETS for patient in split[name] if home_of.setdefault(patient, name) != name}
    twice |= {patient for name in SETS for patient in split[name] if split[name].count(patient) > 1}
    if twice:
        raise InputError(f"{min(twice)} occurs twice ({len(twice)} such patients); sets must be disjoint", path=path)
    unknown = sorted(set(home_of) - {entry.patient for entry in manifest.entries if entry.labelled})
    if unknown:
        raise InputError(
            f"{unknown[0]} is no labelled patient of the cache ({len(unknown)} such); split again", path=path
        )
    if split.get("data_sha256") != manifest.data_sha256:
        raise InputError("was made for other data than the cache holds now; split again with --force", path=path)
    _refuse_same_images(manifest, home_of, "set", path)
    return split


def patients_of(path: str | Path, part: str) -> list[str]:
    """Return the patients of one set of a split file, for commands that need no cache. InputError if it has none."""
    content, part = upgraded(read_json(path, "split")), set_name(part)
    patients = content.get(part) if isinstance(content, dict) else None
    if not isinstance(patients, list) or not patients or not all(isinstance(patient, str) for patient in patients):
        raise InputError(f"has no patients under {part!r}; expected the split.json of a cache", path=path)
    return patients


def format_split(manifest: Manifest, split: dict[str, Any]) -> str:
    """Return the size of each set, as lines of text; the median is over the cases that have a tumor."""
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
