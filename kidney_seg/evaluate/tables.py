"""Table 1 and the table of detected tumors as text, and aligned columns for other tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_prep.origin import Origin
from kidney_seg.evaluate.case_scores import POSTPROCESSED, STAGES
from kidney_seg.metrics.missing import format_score
from kidney_seg.metrics.overlap import SCORED

Row = Mapping[str, Any]


def align(rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Return rows of cells as lines of text with aligned columns, the first `left` of them to the left.

    >>> align([("case", "dice"), ("a", "0.5")])
    ['case  dice', 'a      0.5']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (
        [cell.ljust(width) if place < left else cell.rjust(width) for place, (cell, width) in enumerate(cells)]
        for cells in (zip(row, widths, strict=True) for row in rows)
    )
    return ["  ".join(row).rstrip() for row in padded]


def format_interval(row: Row, low: str = "low", high: str = "high", sign: str = "") -> str:
    """Return "[low, high]" with three decimals; nothing if there is no interval, as in files of older versions."""
    ends = [format_score(row.get(end)) for end in (low, high)]
    return "" if "-" in ends else f"[{row[low]:{sign}.3f}, {row[high]:{sign}.3f}]"


def format_run(result: Row) -> str:
    """Return the tables of a run's `scores.json` as lines of text (see `format_scores`)."""
    count = len({row["patient"] for row in result["cases"]})
    cohort = f" ({Origin(**result['cohort'])})" if "cohort" in result else ""
    title = f"Table 1: Dice of {count} test patients{cohort}, at the resolution of their CT"
    if result["stop_on"] == "test":
        title += "\n(the rounds were chosen on these patients, as in the paper: the scores are optimistic)"
    return "\n".join([format_scores(result, title), *format_ceiling(result.get("ceiling", {}))])


def format_ceiling(ceiling: Mapping[str, float | None]) -> list[str]:
    """Return a line with the Dice that a perfect network reaches on the network's grid; none if it is not known.

    >>> format_ceiling({"kidney": 0.996, "tumor": None})
    ['ceiling: a perfect network would reach kidney 0.996 on this grid']
    """
    known = ", ".join(f"{name} {value:.3f}" for name, value in ceiling.items() if value is not None)
    return [f"ceiling: a perfect network would reach {known} on this grid"] if known else []


table = format_run  # the documented name in version 0.1


def format_scores(scores: Row, title: str) -> str:
    """Return Table 1, also over the cases that hold the structure if some do not, and the tumors found by size."""
    summary, titles = scores["summary"], {"all": title}
    if any(summary["where_present"][name]["n"] < len(scores["cases"]) for name in SCORED):
        present = "Only the cases that hold the structure (a false alarm in another case counts 0 above, not here)"
        titles["where_present"] = present
    tables = [format_table1(summary[key], text, summary.get(POSTPROCESSED + key)) for key, text in titles.items()]
    if "detection" in scores:  # not in runs of older versions
        found = scores["detection"], scores.get(POSTPROCESSED + "detection")
        tables.append(format_detection(found[0], "Tumors found, by their largest diameter", found[1]))
    return "\n\n".join(tables)


def format_table1(summary: Mapping[str, Row], title: str, processed: Mapping[str, Row] | None = None) -> str:
    """Return a summary of `summary.table1` as lines of text; `processed` adds post-processed scores.

    Means have their 95 % intervals (none in files of older versions). A score over no case is "-"; cases that a mean
    leaves out are counted at the end of the line.
    """
    left_out = [row["left_out"] for row in summary.values()]
    cells = [
        [
            (*(format_score(row["mean"]), format_interval(row), format_score(row["median"])), str(row["n"]))
            for row in rows
        ]
        for rows in ([one.values() for one in (summary, processed) if one is not None])
    ]
    names = ["Dice", *(name.capitalize() for name in summary)]
    notes = ["", *(f" ({count} left out)" if count else "" for count in left_out)]
    return "\n".join([title, *_stages(names, ("mean", "[95 % interval]", "median", "n"), cells, notes)])


def format_detection(found: Row, title: str, processed: Row | None = None) -> str:
    """Return a `summary.detection` as lines of text; `processed` adds post-processed scores."""
    stages = [found] if processed is None else [found, processed]
    cells = [
        [
            (*map(str, (n, hits, n - hits)), format_score(row["sensitivity"]), format_interval(row))
            for row in stage["sizes"]
            for n, hits in [(row["n"], row["found"])]
        ]
        for stage in stages
    ]
    names = ["diameter", *(row["size_class"] for row in found["sizes"])]
    lines = _stages(names, ("tumors", "found", "missed", "share", "[95 % interval]"), cells)
    for stage, name in zip(stages, ("", ", post-processed"), strict=False):
        rate = f"{format_score(stage['false_per_patient'])} {format_interval(stage)}".strip()
        lines.append(f"false tumors{name}: {stage['false_tumors']}, {rate} per patient")
    return "\n".join([title, *lines])


def _stages(
    names: Sequence[str], head: tuple[str, ...], cells: Sequence[Sequence[tuple[str, ...]]], notes: Sequence[str] = ()
) -> list[str]:
    """Return lines with the scores as predicted, and post-processed if there are two stages, side by side."""
    blocks = [["", *names]]
    for stage, rows in zip(STAGES.values(), cells, strict=False):
        blocks += [[""] * len(blocks[0]), [stage, *align([head, *rows], left=0)]]
    lines = align(zip(*blocks, ["", *(notes or [""] * len(names))], strict=True), left=len(blocks) + 1)
    return lines if len(cells) > 1 else lines[1:]
