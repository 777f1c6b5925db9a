"""The content of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data_prep.origin import UNSTATED, Origin
from kidney_seg.report.files import Files
from kidney_seg.report.rows import Line


@dataclass(frozen=True)
class ReportData:
    """The content of a report.

    cases: rows of `scores.json` whose plain names hold the scores of the report, post-processed ones if the predictions
    are; also `kidney` and `tumor` (Dice) and `diameter_mm` of the largest tumor. further: heading and cell of scores
    beside Table 1. detection: rows for `score_plots.detection_by_size`, of single tumors if `detection_by_tumor`, else
    of cases; false_tumors: `false_per_patient`, `low`, `high`, and the definition of found. diameter_is_measured: False
    if it is that of a ball with the tumor's volume. ceiling: Dice of a perfect network, by structure, if it is known.
    scored: False for predictions without truth, which have `cases` and `files` alone.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    table1: tuple[Line, ...]
    cases: tuple[dict[str, Any], ...]
    further: tuple[tuple[str, Mapping[str, Any]], ...]
    detection: tuple[dict[str, Any], ...]
    detection_by_tumor: bool
    false_tumors: Mapping[str, Any]
    diameter_is_measured: bool
    warnings: tuple[str, ...] = ()
    history: tuple[dict, ...] = ()
    rounds: tuple[dict, ...] = ()
    files: Mapping[str, Files] = field(default_factory=dict)
    cohort: Origin = UNSTATED
    origin: Origin = UNSTATED
    ceiling: Mapping[str, float | None] = field(default_factory=dict)
    scored: bool = True
