"""Cohorts of simulated patients: plan which cases they have, find the missing ones, and write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.datasets.kits import patient_of
from data_prep.errors import InputError
from data_prep.files.checksums import sha256_of
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.tasks import WorkerDied, check_jobs, run
from data_prep.phantom.files import claim, is_whole, write_patient
from data_prep.phantom.label_maps import LabelMap, choose_maps, find_label_maps
from data_prep.phantom.options import PLAIN, Variation
from data_prep.phantom.patient import Phantom, refuse_small, simulate_patient

# raise either whenever the same seed gives other voxels: cohorts of two generators must not mix
GENERATOR = 2
LABEL_GENERATOR = 1  # of patients around real label maps


@dataclass(frozen=True)
class Task:
    """One patient to simulate and write to `folder`."""

    folder: Path
    maker: Callable[[], Phantom]


@dataclass(frozen=True)
class Cohort:
    """A planned cohort: its folder, the settings that determine it, and a function per case name that simulates it."""

    out: Path
    settings: dict
    makers: Mapping[str, Callable[[], Phantom]]

    @property
    def folders(self) -> list[Path]:
        return [self.out / name for name in self.makers]

    def missing(self) -> list[str]:
        """Return the cases that are absent or incomplete; the folder belongs to the cohort from then on.

        InputError for a folder with other content or with a cohort of other settings, which is left as it is.
        """
        claim(self.out, self.settings, set(self.makers))
        return [name for name in self.makers if not is_whole(self.out / name)]

    def write_missing(self, jobs: int = 1) -> list[str]:
        """Write the missing cases in `jobs` processes, and return their names; the files are the same for any number.

        Raises:
            InputError: as `missing`; a patient cannot be simulated; or a process died.
        """
        check_jobs(jobs)
        missing = self.missing()
        tasks = [Task(self.out / name, self.makers[name]) for name in missing]
        with run(_write, tasks, jobs=jobs, what="simulating patients") as results:
            for index, error in results:
                if isinstance(error, WorkerDied):
                    raise InputError(f"{missing[index]}: {error}: finished cases are kept", path=self.out)
                if error is not None:
                    raise error
        return missing


def _write(task: Task) -> InputError | OSError | None:
    # returns what a user can fix; anything else is a defect, and its traceback names the patient
    try:
        write_patient(task.folder, task.maker())
    except (InputError, OSError) as error:
        return error
    except Exception as error:
        error.add_note(f"while simulating {task.folder.name}")
        raise
    return None


def plan_cohort(
    out: str | Path,
    cases: int = 40,
    size: int = 128,
    slices: int = 32,
    seed: int = 0,
    hard: bool = False,
    variation: Variation = PLAIN,
) -> Cohort:
    """Return the cohort of patients 0 .. cases - 1 with simulated anatomy, named case_00000 and so on."""
    _check(cases, seed)
    variation.difficulty(hard)  # InputError for options that exclude each other
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
    """Return a cohort around the real label maps in a folder, under their names.

    Args:
        out: folder of the cohort.
        labels: folder of the label maps.
        cases: number of label maps, chosen by the seed; None for all. With `variation.small`, that share of them has a
            small tumor.
        size: pixels per side of the images; None for the label maps' own grid.
        seed: of the choice and the simulation.
        hard: contrast, noise and distractors as varied as KiTS.
        variation: further options.
        looks: appearances per label map, each simulated on its own and named case_00001_look0 and so on; with 1 the
            label map's name is kept.
        without: patients whose label maps are excluded, such as those that a network is tested on.
    """
    if looks < 1:
        raise InputError(f"looks {looks}: expected 1 or more appearances per label map")
    maps = [one for one in find_label_maps(labels) if patient_of(one.name) not in without]
    if not maps:
        raise InputError(f"{labels}: all label maps are of excluded patients; expected some of other patients")
    _check(len(maps) if cases is None else cases, seed)
    variation.difficulty(hard)  # InputError for options that exclude each other
    if size is not None:
        refuse_small(size)
        GridSettings(size)  # InputError if not a multiple of 16
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
        for one in chosen:
            if patient_of(f"{one.name}_look0") != patient_of(one.name):
                raise InputError(
                    "the appearances of a label map must belong to one patient; expected a name that begins as "
                    "case_00000, rename the folder or leave out --looks",
                    path=one.path.parent,
                )
        table["looks"] = looks
    return Cohort(Path(out), {"label_generator": LABEL_GENERATOR, **table, **variation.record()}, makers)


def _simulate_around(
    label_map: LabelMap, look: int | None, seed: int, size: int | None, hard: bool, variation: Variation
) -> Phantom:
    from data_prep.phantom.around_labels import simulate_around
    from data_prep.volume import read_labels

    volume = read_labels(label_map.path)
    return simulate_around(
        volume.voxels, volume.spacing_mm, label_map.number, seed, size, hard, variation, str(label_map.path), look
    )


def _check(cases: int, seed: int) -> None:
    if cases < 1 or seed < 0:
        raise InputError(f"phantom: {cases} cases, seed {seed}; expected at least 1 case and a seed of 0 or more")


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
    `out`/phantom.json has the settings. Complete cases of the same cohort are kept. InputError for a folder with other
    content, or with a cohort of other settings. The files are the same for any number of `jobs` (processes).
    """
    cohort = plan_cohort(out, cases, size, slices, seed, hard, variation)
    cohort.write_missing(jobs)
    return cohort.folders


def write_label_cohort(out: str | Path, labels: str | Path, *, jobs: int = 1, **options: Any) -> list[Path]:
    """Write patients around the real label maps in the folder `labels`; options as of `plan_label_cohort`."""
    cohort = plan_label_cohort(out, labels, **options)
    cohort.write_missing(jobs)
    return cohort.folders
