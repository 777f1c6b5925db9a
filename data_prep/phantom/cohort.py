"""Cohorts of simulated patients: which there are, which are missing, and how they come to be written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.cli import progress
from data_prep.datasets.kits import patient_of
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from data_prep.phantom.files import claim, is_whole, write_patient
from data_prep.phantom.label_maps import LabelMap, choose_maps, find_label_maps
from data_prep.phantom.options import PLAIN, Variation
from data_prep.phantom.patient import Phantom, refuse_small, simulate_patient

# raise either whenever the same seed gives other voxels: cohorts of two generators must not mix
GENERATOR = 2
LABEL_GENERATOR = 1  # of patients around real label maps


@dataclass(frozen=True)
class Cohort:
    """A cohort that is to be: its folder, what it follows from, and how each case (by name) is made."""

    out: Path
    settings: dict
    makers: Mapping[str, Callable[[], Phantom]]

    @property
    def folders(self) -> list[Path]:
        return [self.out / name for name in self.makers]

    def missing(self) -> list[str]:
        """Return the cases that the folder lacks or has in part; the folder is the cohort's from then on.

        A folder with anything else in it, or with a cohort of other settings, raises InputError and is left as it is.
        """
        claim(self.out, self.settings, set(self.makers))
        return [name for name in self.makers if not is_whole(self.out / name)]

    def write(self, names: list[str], jobs: int = 1) -> None:
        """Write these cases; `jobs` processes share the work, the files are the same."""
        if jobs < 1:
            raise InputError(f"jobs {jobs}: expected 1 or more")
        tasks = [(self.out / name, self.makers[name]) for name in names]
        what = "simulating patients"
        if jobs == 1 or len(tasks) < 2:
            for task in progress(tasks, what):
                _make(task)
            return
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            try:
                list(progress(pool.map(_make, tasks), what, total=len(tasks)))
            except BrokenProcessPool:
                raise InputError(
                    f"{self.out}: a worker ended without a word, mostly for lack of memory; run again with fewer"
                    " --jobs: finished cases are kept"
                ) from None


def _make(task: tuple[Path, Callable[[], Phantom]]) -> None:
    folder, maker = task
    try:
        write_patient(folder, maker())
    except Exception as error:
        error.add_note(f"while simulating {folder.name}")
        raise


def plan_cohort(
    out: str | Path,
    cases: int = 40,
    size: int = 128,
    slices: int = 32,
    seed: int = 0,
    hard: bool = False,
    variation: Variation = PLAIN,
) -> Cohort:
    """Return the cohort of patients 0 .. cases - 1 whose anatomy is simulated, case_00000 and so on."""
    _refuse(cases, seed)
    variation.difficulty(hard)  # refuses what does not go together
    refuse_small(size, slices)
    table = {"cases": cases, "size": size, "slices": slices, "seed": seed, "hard": hard}
    makers = {
        f"case_{index:05d}": partial(simulate_patient, index, seed, size, slices, hard, variation)
        for index in range(cases)
    }
    return Cohort(Path(out), {"generator": GENERATOR, **table, **variation.record()}, makers)


def plan_label_cohort(
    out: str | Path,
    labels: str | Path,
    cases: int | None = None,
    size: int | None = None,
    seed: int = 0,
    hard: bool = False,
    variation: Variation = PLAIN,
    looks: int = 1,
    without: Collection[str] = (),
) -> Cohort:
    """Return the cohort around `cases` of the label maps in the folder `labels` (None: all), under their names.

    Which ones follows from the seed; with `variation.small`, that share of them has a small tumor. `size`: pixels of
    the images, None for the label maps' own. looks: patients around each label map, each drawn on its own and named
    case_00001_look0 and so on; with 1 the label map's name is kept. without: patients whose label maps are left out,
    such as those that a network is to be tested on.
    """
    if looks < 1:
        raise InputError(f"looks {looks}: expected 1 or more patients around each label map")
    maps = [one for one in find_label_maps(labels) if patient_of(one.name) not in without]
    if not maps:
        raise InputError(f"{labels}: all label maps are of patients to leave out; expected some of other patients")
    _refuse(len(maps) if cases is None else cases, seed)
    variation.difficulty(hard)  # refuses what does not go together
    if size is not None:
        refuse_small(size)
        GridSettings(size)  # refuses what is not a multiple of 16
    digest = hashlib.sha256("".join(f"{one.name} {sha256_of(one.path)}\n" for one in maps).encode()).hexdigest()
    table = {"label_maps_sha256": digest, "cases": cases, "size": size, "seed": seed, "hard": hard}
    chosen = choose_maps(maps, cases, seed, variation.small)
    makers = {
        one.name if look is None else f"{one.name}_look{look}": partial(
            _simulate_around, one, look, seed, size, hard, variation
        )
        for one in chosen
        for look in ([None] if looks == 1 else range(looks))
    }
    if looks > 1:
        _refuse_parted(chosen)
        table["looks"] = looks
    return Cohort(Path(out), {"label_generator": LABEL_GENERATOR, **table, **variation.record()}, makers)


def _refuse_parted(maps: list[LabelMap]) -> None:
    for one in maps:
        if patient_of(f"{one.name}_look0") != patient_of(one.name):
            raise InputError(
                f"{one.path.parent}: looks of a label map go by one patient's number; expected a name that begins as"
                " case_00000, rename the folder or leave out --looks"
            )


def _simulate_around(
    label_map: LabelMap, look: int | None, seed: int, size: int | None, hard: bool, variation: Variation
) -> Phantom:
    from data_prep.phantom.around_labels import simulate_around
    from data_prep.volume import read_labels

    volume = read_labels(label_map.path)
    return simulate_around(
        volume.voxels, volume.spacing_mm, label_map.number, seed, size, hard, variation, str(label_map.path), look
    )


def _refuse(cases: int, seed: int) -> None:
    if cases < 1 or seed < 0:
        raise InputError(f"phantom: {cases} cases, seed {seed}; give at least 1 case and a seed of 0 or more")


def write_cohort(
    out: str | Path,
    cases: int = 40,
    size: int = 128,
    slices: int = 32,
    seed: int = 0,
    hard: bool = False,
    jobs: int = 1,
    variation: Variation = PLAIN,
) -> list[Path]:
    """Write patients 0 .. cases - 1 to `out`/case_00000 and so on, and return their folders.

    Each holds imaging.nii.gz (int16 HU), segmentation.nii.gz (uint8) and facts.json (what was drawn);
    `out`/phantom.json has the settings. Where the same cohort was begun, whole cases are kept and the missing ones
    are made. A folder with anything else in it, or with a cohort of other settings, raises InputError and is left
    as it is. `jobs` processes share the work; the files are the same.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    cohort = plan_cohort(out, cases, size, slices, seed, hard, variation)
    cohort.write(cohort.missing(), jobs)
    return cohort.folders


def write_label_cohort(
    out: str | Path,
    labels: str | Path,
    cases: int | None = None,
    size: int | None = None,
    seed: int = 0,
    hard: bool = False,
    jobs: int = 1,
    variation: Variation = PLAIN,
    looks: int = 1,
    without: Collection[str] = (),
) -> list[Path]:
    """Write patients around the real label maps in the folder `labels`; see `plan_label_cohort` and `write_cohort`."""
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    cohort = plan_label_cohort(out, labels, cases, size, seed, hard, variation, looks, without)
    cohort.write(cohort.missing(), jobs)
    return cohort.folders
