"""Find label maps without imaging, and choose those of a simulated cohort."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cli import progress
from data_prep.datasets.label_files import find_label_files
from data_prep.errors import InputError
from data_prep.labels import TUMOR
from data_prep.phantom.options import SMALL_ML


@dataclass(frozen=True)
class LabelMap:
    """One label map. name: of its case folder."""

    name: str
    path: Path

    @property
    def number(self) -> int:
        """The NNNNN of case_NNNNN, else a number computed from the name: index of its simulated patients."""
        match = re.fullmatch(r"case_(\d{5})", self.name)
        return int(match.group(1)) if match else 100_000 + zlib.crc32(self.name.encode())


def find_label_maps(root: str | Path) -> list[LabelMap]:
    """Find the label maps in a folder, by name, as `find_label_files` does; InputError if there is none."""
    if not Path(root).is_dir():
        detail = "is not a folder; expected folders such as case_00000 with segmentation.nii.gz in each"
        raise InputError(detail, path=root)
    return [LabelMap(name, path) for name, path in find_label_files(root).items()]


def choose_maps(maps: list[LabelMap], cases: int | None, seed: int, small: float | None) -> list[LabelMap]:
    """Return `cases` of the label maps (None: all), chosen by `seed`, in the given order.

    small: share of them whose tumors have `SMALL_ML` or less together; label maps are read until enough are found.
    InputError if there are not enough.
    """
    if cases is None:
        if small is not None:
            raise InputError("small: with all label maps there is nothing to choose; also give a number of cases")
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
    return float(np.count_nonzero(volume.voxels == TUMOR) * np.prod(volume.spacing_mm) / 1000.0)
