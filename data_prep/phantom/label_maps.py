"""Label maps without imaging: which a folder holds, and which of them a simulated cohort takes."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cli import progress
from data_prep.errors import InputError
from data_prep.phantom.options import SMALL_ML


@dataclass(frozen=True)
class LabelMap:
    """One label map of a folder in the KiTS layout. name: its case folder's; number: its patients' index."""

    name: str
    path: Path

    @property
    def number(self) -> int:
        """The NNNNN of case_NNNNN, or a number made of the name where it is called otherwise."""
        match = re.fullmatch(r"case_(\d{5})", self.name)
        return int(match.group(1)) if match else 100_000 + zlib.crc32(self.name.encode())


def find_label_maps(root: str | Path) -> list[LabelMap]:
    """Find `root/<case>/segmentation.nii.gz` (or `.nii`), by name; InputError where there is none."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; expected folders such as case_00000 with segmentation.nii.gz in each")
    maps = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        path = next((path for end in (".nii.gz", ".nii") if (path := folder / f"segmentation{end}").is_file()), None)
        if path is not None:
            maps.append(LabelMap(folder.name, path))
    if not maps:
        raise InputError(
            f"{root}: found no label map; expected folders such as case_00000 with segmentation.nii.gz in each"
        )
    return maps


def choose_maps(maps: list[LabelMap], cases: int | None, seed: int, small: float | None) -> list[LabelMap]:
    """Return `cases` of the label maps (None: all), drawn by `seed`, in the order given.

    small: the share of them whose tumors have `SMALL_ML` or less together; label maps are read until enough are
    found. InputError where there are not enough.
    """
    if cases is None:
        if small is not None:
            raise InputError("small: with all label maps there is nothing to choose; give a number of cases, too")
        return maps
    if cases > len(maps):
        raise InputError(f"{cases} cases: there are {len(maps)} label maps; ask for that many or fewer")
    order = np.random.default_rng([seed, 4]).permutation(len(maps))
    if small is None:
        return [maps[k] for k in sorted(order[:cases])]
    wanted = {True: round(small * cases), False: cases - round(small * cases)}
    taken: dict[bool, list[int]] = {True: [], False: []}
    for k in progress(order, "reading label maps"):
        if all(len(taken[kind]) == wanted[kind] for kind in wanted):
            break
        kind = _tumor_ml(maps[k]) <= SMALL_ML
        if len(taken[kind]) < wanted[kind]:
            taken[kind].append(k)
    for kind, name in ((True, "small"), (False, "larger")):
        if len(taken[kind]) < wanted[kind]:
            raise InputError(
                f"small {small:g}: {wanted[kind]} of {cases} cases should have a {name} tumor, {len(taken[kind])} label"
                f" maps have one (the limit is {SMALL_ML:.1f} mL); ask for fewer cases or another share"
            )
    return [maps[k] for k in sorted(taken[True] + taken[False])]


def _tumor_ml(label_map: LabelMap) -> float:
    from data_prep.volume import read_labels

    volume = read_labels(label_map.path)
    return float(np.count_nonzero(volume.voxels == 2) * np.prod(volume.spacing_mm) / 1000.0)
