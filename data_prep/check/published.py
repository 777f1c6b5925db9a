"""Whether a folder is a whole KiTS data set, and of which revision: facts that its challenges published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.check.findings import Finding, finding
from data_prep.download.records import read_provenance
from data_prep.download.sources import SOURCES, spans

FEWEST = 20  # cases by which a folder is taken for a data set, unless a download says which it is
ODD_CASE, ODD_SIDES = "case_00160", [512, 796]  # KiTS19's README; all others have 512 x 512 pixels
# Voxels of label 0, 1 and 2 that the corrections of December 20, 2019 left (measured on today's files).
CORRECTED = {"case_00015": [19377949, 271289, 11562], "case_00125": [44651449, 172702, 2473]}
APPENDED = ("case_00022", "case_00061", "case_00117")  # had a second phase before April 15, 2019


def published_findings(
    root: Path,
    labels: Iterable[Path],
    names: Sequence[str],
    facts: Mapping[str, dict[str, Any]],
    second_phase: set[str],
) -> list[Finding]:
    """Return a note on which data set this is, whether it is complete and of which revision, and what contradicts it.

    The data set is known by `provenance.json` of a download, or by the names of KiTS' own files (`kits23.json`,
    `aggregated_MAJ_seg`, `kits.json`) and 20 cases or more. Any other folder gives nothing.

    Args:
        labels: label files of the cases.
        names: of all cases.
        facts: of the check, by case.
        second_phase: cases in which the check sees a second phase.
    """
    known = read_provenance(root)
    name = known["dataset"] if known else _by_files(root, labels)
    if name not in SOURCES:
        return []
    source = SOURCES[name]
    have = {int(case[5:]) for case in names if re.fullmatch(r"case_\d{5}", case)}
    labelled = {int(case[5:]) for case in facts if re.fullmatch(r"case_\d{5}", case) and "label_voxels" in facts[case]}
    wanted, drawn = set(source.cases), set(source.cases) - source.unlabeled
    if len(have & wanted) < (1 if known else FEWEST):
        return []
    told = f"{source.title}: "
    if wanted <= have and drawn <= labelled:
        told += f"complete, all {len(wanted)} cases"
    else:
        told += f"{len(have & wanted)} of {len(wanted)} cases, {len(labelled & drawn)} of {len(drawn)} with labels"
        if lacking := sorted(drawn - labelled):
            told += f"; missing {spans(lacking)}"
    revision = known.get("labels_revision") if known else None
    found = []
    if name == "kits19":
        seen = {case: facts[case]["label_voxels"] for case in CORRECTED if case in labelled_names(labelled)}
        older = [case for case, voxels in seen.items() if _counts(voxels) != CORRECTED[case]]
        if older:
            revision = None
            what = "its labels are not those of December 20, 2019; results with other labels do not compare"
            found += [finding(case, "old_labels", what) for case in older]
        elif seen:
            revision = source.revision
        what = "is of the first release, before April 15, 2019: a second phase is appended"
        found += [finding(case, "old_labels", what) for case in APPENDED if case in second_phase]
    sides = sorted(facts.get(ODD_CASE, {}).get("shape_zyx", [0, *ODD_SIDES])[1:])
    if sides != ODD_SIDES:
        what = f"has {sides[0]} x {sides[1]} pixels; published with {ODD_SIDES[0]} x {ODD_SIDES[1]}"
        found.append(finding(ODD_CASE, "not_published", what))
    note = finding("", "data_set", f"{told}; {revision or 'revision of the labels unknown'}")
    return [note, *found]


def labelled_names(numbers: Iterable[int]) -> set[str]:
    """Return the names of cases by their numbers.

    >>> labelled_names([15])
    {'case_00015'}
    """
    return {f"case_{number:05d}" for number in numbers}


def _by_files(root: Path, labels: Iterable[Path]) -> str:
    if any(path.name.startswith("aggregated_MAJ_seg") for path in labels):
        return "kits21"
    for folder in (root, root.resolve().parent):
        for name, dataset in (("kits23.json", "kits23"), ("kits.json", "kits19")):
            if (folder / name).is_file():
                return dataset
    return ""


def _counts(voxels: Mapping[str, int]) -> list[int]:
    return [voxels.get(str(label), 0) for label in range(3)]
