"""Rank the CT series and choose the first: what can be stacked, axial, original, with contrast agent, thin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.dicom.headers import CAPTURE, CT, LOCALIZER, MULTI_FRAME, FolderScan
from data_prep.dicom.phases import PLAIN, PREFERRED
from data_prep.dicom.pixels import problem_of_values
from data_prep.dicom.series import Series, series_of
from data_prep.dicom.stacking import stack
from data_prep.dicom.studies import place_of, study_key
from data_prep.errors import InputError

_KEY_DIGITS = 4  # the fewest of a key that a user may type; shorter texts are numbers
_MOST_LISTED = 6
_DERIVED = ("", "derived", "reformatted or otherwise derived")
_COVERED = 0.5  # of the longest series' extent: less may leave out the kidneys


@dataclass(frozen=True)
class _Candidate:
    """A CT series, and what speaks for it. problem: why it cannot be read."""

    series: Series
    spacing_mm: float
    extent_mm: float
    problem: InputError | None

    def rank(self, longest_mm: float) -> tuple[Any, ...]:
        first = self.series.images[0]
        return (
            self.problem is None,
            self.series.plane == "axial",
            -first.derived,
            self.extent_mm >= _COVERED * longest_mm,
            not first.other_part,
            first.phase != PLAIN,
            -round(self.spacing_mm, 1),
            -PREFERRED.index(first.phase),
            len(self.series.images),
        )

    def __str__(self) -> str:
        return ", ".join(
            filter(
                None,
                (
                    str(self.series),
                    f"{self.spacing_mm:.3g} mm apart" if self.problem is None else "",
                    self.series.images[0].phase,
                    _DERIVED[self.series.images[0].derived],
                    "of another body part" if self.series.images[0].other_part else "",
                    "" if self.problem is None else f"not read: {self.problem.detail.partition(';')[0]}",
                ),
            )
        )


def choose_series(scan: FolderScan, wanted: str | int | None) -> tuple[Series, tuple[str, ...]]:
    """Return the series to read, and one note per decision.

    wanted: a number or (at least the first four digits of) a key. None: of the CT series that can be stacked an axial
    one before others, then original before DERIVED, PRIMARY before SECONDARY, one that is half as long as the longest,
    not of a body part without kidneys, not described as without contrast agent, with thin slices, of the phase that
    comes first in `PREFERRED`, with many slices. InputError unless one CT series fits, with what is wrong with the
    others.
    """
    series = series_of(scan)
    readable = [one for one in series if one.kind == CT]
    if not readable:
        raise InputError(_none_readable(series), scan.folder)
    if wanted is None and (loose := _one_slice_each(readable, scan.folder)):
        raise InputError(loose, scan.folder)
    found = [_candidate(one, scan.folder) for one in readable]
    longest_mm = max(one.extent_mm for one in found)
    notes = []
    if wanted is not None:
        key = _wanted(series, str(wanted), scan.folder).key
        chosen = next(one for one in found if one.series.key == key)
    else:
        chosen = max(found, key=lambda one: one.rank(longest_mm))
    others = [one for one in sorted(found, key=lambda one: one.rank(longest_mm), reverse=True) if one is not chosen]
    listed = "; ".join(map(str, others[:_MOST_LISTED])) + f"; and {len(others) - _MOST_LISTED} more" * bool(
        others[_MOST_LISTED:]
    )
    if chosen.problem is not None and others:
        detail = f"{_named(chosen.series)}: {chosen.problem.detail}; the other CT series: {listed}"
        detail += "; choose one with --series" * any(one.problem is None for one in others)
        raise InputError(detail, scan.folder, chosen.problem.code)
    if wanted is None and others:
        studies = len({study_key(image, place_of(image)) for image in (one.images[0] for one in readable)})
        by = "N" if studies == 1 else "KEY"  # each study counts from 1
        notes.append(f"{len(found)} CT series found: read {chosen}; predict --series {by} chooses another: {listed}")
        if studies > 1:
            notes[0] += f"; they are of {studies} studies, of which one is read; predict takes each by itself"
    skipped = Counter(image.kind for image in scan.images if image.kind in (LOCALIZER, CAPTURE, MULTI_FRAME))
    notes += [f"{count} {kind} skipped" for kind, count in sorted(skipped.items())]
    if scan.unread:
        notes.append(f"files that look like DICOM were skipped: {scan.reasons}")
    return chosen.series, tuple(notes)


def _named(series: Series) -> str:
    return f"series {series.number} ({series.key})"


def _candidate(series: Series, folder: Path) -> _Candidate:
    try:
        if problem := problem_of_values(series.images):
            raise InputError(problem)
        grid = stack(series.images, "", folder)[1]
    except InputError as error:
        return _Candidate(series, 0.0, 0.0, InputError(error.detail.removeprefix(": "), folder, error.code))
    spacing_mm = grid.spacing[2]
    return _Candidate(series, spacing_mm, spacing_mm * len(series.images), None)


def _one_slice_each(series: list[Series], folder: Path) -> str:
    """Return the error for slices that fill one grid and have a series each; empty if they are none."""
    if len(series) < 3 or any(len(one.images) > 1 for one in series):
        return ""
    try:
        stack([image for one in series for image in one.images], "", folder)
    except InputError:
        return ""
    found = f"{len(series)} CT series of one slice each, which fit together: every slice has its own SeriesInstanceUID"
    return f"{found} (anonymized?); expected one UID for all slices of a series; restore it, or convert to .nii.gz"


def _wanted(series: list[Series], wanted: str, folder: Path) -> Series:
    is_number = len(wanted) < _KEY_DIGITS
    found = [one for one in series if (str(one.number) == wanted if is_number else one.key.startswith(wanted.lower()))]
    if len(found) != 1:
        known = "; ".join(map(str, series))
        one = (
            "the key of one, because each study has its own numbers:"
            if is_number and found
            else "one number or key of:"
        )
        detail = f"series {wanted[:20]!a} fits {len(found)} series; expected {one} {known}"
    elif found[0].kind != CT:
        detail = f"{found[0]}; expected a series of CT images"
    else:
        return found[0]
    raise InputError(detail, folder)


def _none_readable(series: list[Series]) -> str:
    if any(one.kind == MULTI_FRAME for one in series):
        return "the CT is a multi-frame (enhanced) file, which is not read; convert it to .nii.gz or to single slices"
    kinds = Counter(one.kind + "s" if one.modality == "CT" else one.modality for one in series)
    found = ", ".join(f"{kind} ({count} series)" for kind, count in sorted(kinds.items()))
    return f"no CT series in this folder; found {found}; expected CT slices"
