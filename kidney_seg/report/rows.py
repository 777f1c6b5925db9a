"""Rows of the report's tables: diameters and size classes of cases, lines of Table 1."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kidney_seg.evaluate.case_scores import STAGES
from kidney_seg.evaluate.summary import detection_rate, table1
from kidney_seg.metrics.lesion_detection import size_class
from kidney_seg.metrics.overlap import AVERAGE, SCORED

TABLE1_ROWS = (*SCORED, AVERAGE)


@dataclass(frozen=True)
class Line:
    """One line of Table 1: `cells` by structure have mean, median, low, high, n and left_out; None for no score."""

    name: str
    cells: Mapping[str, Mapping[str, float | None]]


def in_cm(size_class: str) -> str:
    """Return the name of a size class in cm.

    >>> in_cm("20 to 40 mm")
    '2 to 4 cm'
    """
    return re.sub(r"\d+", lambda found: f"{int(found[0]) / 10:g}", size_class).replace(" mm", " cm")


def ball_diameter_mm(volume_ml: float | None) -> float | None:
    """Return the diameter of a ball of this volume; None for no volume.

    >>> round(ball_diameter_mm(4.18879), 3)
    20.0
    """
    return 2 * (3 * 1000 * volume_ml / (4 * math.pi)) ** (1 / 3) if volume_ml else None


def detection_of_cases(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `summary.detection_rate` of cases (found: Dice above 0), for scores of older versions without lesions.

    Rows have `tumor` (Dice) and `diameter_mm`.
    """
    sized = [row for row in cases if row["diameter_mm"] and row["tumor"] is not None]
    return detection_rate([(size_class(row["diameter_mm"]), row["tumor"] > 0) for row in sized])


def table1_lines(scores: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    summary, lines = scores["summary"], []
    for prefix, stage in STAGES.items():
        for key, which in (("all", ""), ("where_present", ", only cases that hold the structure")):
            present = key != "all"
            cells = summary.get(prefix + key)
            if cells is None or (present and _same_counts(cells, summary[prefix + "all"])):
                continue
            if "low" not in cells["kidney"]:  # of an older version, without intervals
                cells = table1(rows, prefix=prefix, where_present=present)
            lines.append(Line(stage + which, cells))
    return lines


def _same_counts(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(first[name]["n"] == second[name]["n"] for name in TABLE1_ROWS)
