"""The report's patients: which cases are shown, and what the page shows of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kidney_seg.report.data import ReportData
from kidney_seg.report.slice_stack import draw_slice_stack
from kidney_seg.report.slices import draw_case, read_case

Row = Mapping[str, Any]
SLICES = 24  # of every case
MOST_SLICES = 1500  # of all cases: about 10 MB
MISSED_SHOWN = 6  # pictures of missed tumors, the largest ones


def patients(data: ReportData, log: Callable[[str], None], slices: int = SLICES) -> dict[str, Any]:
    """Return what the page shows of patients.

    `patients`: views of the best, the median and the worst case, or none and a `reason`; `missed`: rows of all cases
    with a missed tumor; `missed_views`: views of those not shown above. A view has `role`, `row`, and the `picture`,
    `scenes` and `reason` of `draw_case`. `pagers`: of every case its `row`, `number`, and `pages` of up to `slices`
    slices (fewer, if all would be more than a page can hold), or a `reason`.
    """
    chosen = choose(data.cases) if data.scored else []
    if not data.scored:
        return {"patients": [], "reason": "", "missed": [], "missed_views": [], "pagers": _pagers(data, log, slices)}
    if not chosen or not data.files:
        reason = "No case has a kidney or a tumor, so there is nothing to show."
        if chosen:
            reason = "No pictures: this evaluation has no paths of scans. Make the report with --truth DIR."
        return {"patients": [], "reason": reason, "missed": [], "missed_views": [], "pagers": []}

    def view(role: str, row: Row, solid: bool) -> dict[str, Any]:
        log(f"drawing {row['case']} ({role or 'missed'})")
        picture, scenes, reason = draw_case(data.files.get(row["case"]), solid)
        return {"role": role, "row": row, "picture": picture, "scenes": scenes, "reason": reason}

    views = [view(role, row, solid=True) for role, row in chosen]
    rows, shown = missed(data.cases), {row["case"] for _, row in chosen}
    others = [row for row in rows if row["case"] not in shown][:MISSED_SHOWN]
    small = [view("", row, solid=False) for row in others]
    return {"patients": views, "missed": rows, "missed_views": small, "pagers": _pagers(data, log, slices)}


def _pagers(data: ReportData, log: Callable[[str], None], slices: int) -> list[dict[str, Any]]:
    most = min(slices, MOST_SLICES // max(1, len(data.files)))
    found = []
    for number, row in enumerate(worst_first(data.cases), 1) if most > 0 and data.files else ():
        log(f"slices of {row['case']}")
        case = read_case(data.files.get(row["case"]))
        pages = None if isinstance(case, str) else draw_slice_stack(case.image_hu, case.labels, case.spacing_mm, most)
        found.append({"row": row, "number": number, "pages": pages, "reason": case if isinstance(case, str) else ""})
    return found


def worst_first(cases: Sequence[Row]) -> list[Row]:
    """Return the cases by the Dice of tumor, then of kidney, cases without a tumor last; without scores by name."""
    return sorted(cases, key=lambda row: (row["tumor"] is None, row["tumor"] or 0.0, row["kidney"] or 0.0))


def choose(cases: Sequence[Row]) -> list[tuple[str, Row]]:
    """Return (role, row) of the best, the median and the worst case by the Dice of the tumor.

    Only cases whose truth has a tumor count; without any, those with a kidney, by its Dice. Among equally bad cases the
    worst has the largest tumor. Fewer than three cases give fewer rows.
    """
    name = "tumor" if any(row["tumor_ml"] for row in cases) else "kidney"
    ranked = [row for row in cases if row[f"{name}_ml"] and row[name] is not None]
    ranked.sort(key=lambda row: (row[name], -row[f"{name}_ml"]), reverse=True)
    if len(ranked) < 3:
        return list(zip(("best", "worst"), ranked, strict=False))
    return [("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])]


def missed(cases: Sequence[Row]) -> list[Row]:
    """Return the cases whose tumor was missed (Dice 0), largest tumor first."""
    return sorted((row for row in cases if row["tumor_ml"] and row["tumor"] == 0), key=lambda row: -row["tumor_ml"])
