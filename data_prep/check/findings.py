"""Table of everything that the data check can find, and its report as text or JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from data_prep.files.names import printable
from data_prep.geometry.grid_loss import NOTABLE, GridLoss

SCHEMA = 2  # of the JSON report
SEVERITIES = ("error", "warning", "note")
SHOWN = 5  # cases of one code in the table; the JSON has all


class Kind(NamedTuple):
    """severity: one of SEVERITIES; remedy: what the user can do."""

    severity: str
    remedy: str


_AGAIN = "copy or download the file again"
_EXPORT = "export the scan again as one 3-D volume in HU"
KINDS: dict[str, Kind] = {
    # files
    "missing_image": Kind("error", "add the image, or remove the folder"),
    "no_labels": Kind("warning", "add the labels, or keep the case for prediction only"),
    "unlabelled": Kind("note", "nothing, if these cases are for prediction"),
    "two_files": Kind(
        "error", "change the pattern so that it fits one file per case; merge masks of single structures"
    ),
    "spare_file": Kind("note", "remove the file that you do not need"),
    "unsafe_name": Kind("error", "rename it with letters, digits, _ and - only"),
    "bad_metadata": Kind("warning", "restore the file from its source, or remove it"),
    # the data set
    "data_set": Kind("note", "nothing"),
    "old_labels": Kind("warning", "download the labels again: python -m data_prep.download kits19"),
    "not_published": Kind("warning", "download the case again: python -m data_prep.download"),
    # reading
    "missing_file": Kind("error", "correct the link, or add the file"),
    "not_a_file": Kind("error", "replace it by a file, or remove it"),
    "no_permission": Kind("error", "change its permissions (chmod, chown)"),
    "empty_file": Kind("error", _AGAIN),
    "wrong_name": Kind("error", "rename it: .nii.gz if compressed, else .nii"),
    "truncated": Kind("error", _AGAIN),
    "damaged": Kind("error", _AGAIN),
    "not_an_image": Kind("error", _AGAIN + "; if it was received so, export it as NIfTI-1"),
    "unreadable": Kind("error", "follow the message, or remove the case"),
    "missing_slices": Kind("error", "export or download the series again, with all slices"),
    "not_finite": Kind("error", "replace these voxels (air is -1000 HU, background 0), or remove the case"),
    "reader_note": Kind("note", "check that the reader decided as you would"),
    # the image: CT in HU, complete, of a plausible size
    "constant": Kind("error", _EXPORT),
    "not_rescaled": Kind("error", "subtract 1024, or export again with rescale slope and intercept"),
    "gray_values": Kind("warning", "use the original scan: 8-bit values lack what is outside the window"),
    "no_air": Kind("warning", "check that this is CT in HU, not clipped to a window, not another modality"),
    "no_soft_tissue": Kind("error", _EXPORT),
    "hu_range": Kind("warning", "check that slope and intercept were applied once"),
    "blank_slices": Kind("warning", "export again: these slices are lost; or remove padding"),
    "blank_planes": Kind("warning", "export again: part of the scan was filled, as after a broken download"),
    "doubled_slices": Kind("warning", "export again: a slice was stored twice, or over its neighbor"),
    "few_slices": Kind("warning", "use the whole scan; so few slices hold no kidney"),
    "single_slices": Kind("note", "nothing, if the data set has single slices; 3-D checks were skipped"),
    "odd_matrix": Kind("note", "nothing: slices are padded to a square"),
    "field_of_view": Kind("warning", "correct the voxel spacing, which is in millimeters"),
    "no_orientation": Kind("warning", "convert the scan again, with an orientation in its header"),
    "spacing_differs": Kind("error", "use the data set's own file, or correct its spacing"),
    "second_phase": Kind("warning", "crop the scan to one phase, the one that is labelled"),
    "same_image": Kind("error", "remove one of them: one patient must not be in two sets"),
    # the labels
    "label_values": Kind("error", "map the labels to 0 background, 1 kidney, 2 tumor, 3 cyst"),
    "label_type": Kind("warning", "store labels as 8-bit integers"),
    "shape_differs": Kind("error", "use labels that were drawn on this image"),
    "grid_differs": Kind("error", "resample the labels to the image, or use labels that were drawn on it"),
    "empty_label": Kind("error", "label the kidneys, or remove the label file"),
    "no_tumor": Kind("note", "nothing, if the patient has none"),
    "small_label": Kind("warning", "check that both kidneys are labelled completely, and the voxel spacing"),
    "large_label": Kind("warning", "correct the voxel spacing, which is in millimeters"),
    "one_body": Kind("note", "check that there is one kidney, or a horseshoe kidney"),
    "many_bodies": Kind("warning", "look for a second phase in the scan, or organs labelled as kidney"),
    "stray_object": Kind("note", "look at the objects: brush strokes, or a separate lesion"),
    "label_gap": Kind("warning", "label the slices between"),
    "label_misplaced": Kind("warning", "check that the labels are not mirrored, shifted or of another case"),
    "label_mirrored": Kind("error", "correct the header of the labels, or of the image; then look at both in a viewer"),
    "label_numbers": Kind("warning", "map the labels to 1 kidney (left and right alike), 2 tumor, 3 cyst"),
    "same_labels": Kind("warning", "check which of the cases these labels belong to"),
    "poor_label": Kind("note", "keep it out of tables on tumors, or use the labels of KiTS23"),
    # the grid
    "outside_field": Kind(
        "warning", "use larger pixels or a larger --size, or no --pixel-mm: then the whole image fits"
    ),
    "lost_on_grid": Kind("warning", "use a finer grid: a larger --size, or a smaller --pixel-mm"),
    "small_loss": Kind("note", "nothing: it is 1 % at most"),
    # the cache
    "bad_manifest": Kind("error", "build the cache again with python -m data_prep.build"),
    "cache_missing": Kind("error", "run python -m data_prep.build again for the missing cases"),
    "cache_changed": Kind("error", "remove the file and run python -m data_prep.build again"),
    "cache_content": Kind("error", "remove the file and run python -m data_prep.build again"),
    "cache_twice": Kind("error", "build the cache again with python -m data_prep.build"),
    "unlisted_file": Kind("warning", "run python -m data_prep.build again, or remove the file"),
    "leftover": Kind("note", "remove it, if no build is running"),
    "bad_split": Kind("error", "split again with python -m data_prep.split"),
    "no_split": Kind("note", "run python -m data_prep.split before training"),
    # the machine
    "disk_space": Kind("warning", "free some space, or choose another disk or a smaller --size"),
    "no_memory": Kind("error", "close other programs, run again with fewer --jobs, or use another machine"),
    "worker_died": Kind("error", "run again with fewer --jobs; most likely memory was short"),
    "unexpected": Kind("error", "remove the case, and report this to the project"),
}


@dataclass(frozen=True)
class Finding:
    """One problem. case: its name, empty for the whole folder. All texts are `printable`."""

    case: str
    severity: str
    code: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """Report on one folder.

    kind: `cases` or `cache`. names: of the checked cases. facts: JSON values per case that could be read. findings:
    errors first, then by code and case. summary: JSON values of the whole folder.
    """

    root: str
    kind: str
    names: tuple[str, ...]
    facts: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]
    summary: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """1 if there is a warning or an error, else 0."""
        return int(any(finding.severity != "note" for finding in self.findings))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "schema": SCHEMA,
            "root": self.root,
            "kind": self.kind,
            "summary": {"cases": len(self.names), **self.counts(), **self.summary},
            "findings": [asdict(finding) for finding in self.findings],
            "cases": self.facts,
        }

    def counts(self) -> dict[str, int]:
        """Return the number of findings per severity."""
        found = [finding.severity for finding in self.findings]
        return {f"{severity}s": found.count(severity) for severity in SEVERITIES}

    def __str__(self) -> str:
        return format_report(self)


def finding(case: str, code: str, what: str) -> Finding:
    """Return a finding of the table KINDS, with its name and text escaped."""
    kind = KINDS[code]
    return Finding(printable(case), kind.severity, code, printable(what), kind.remedy)


def loss_findings(case: str, loss: GridLoss | None, *, strict: bool = False) -> list[Finding]:
    """Return what a case's labels lose on the way to the grid: above 1 % a warning, or an error if `strict`."""
    lines = loss.lines() if loss is not None else ()
    found = []
    for share, code, what in lines:
        one = finding(case, code if share > NOTABLE else "small_loss", what)
        found.append(replace(one, severity="error") if strict and share > NOTABLE else one)
    return found


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings without duplicates, errors first, then by code and case."""
    return tuple(sorted(set(findings), key=lambda f: (SEVERITIES.index(f.severity), f.code, f.case, f.what)))


def format_report(report: Report) -> str:
    """Return the report as lines of text: per code its remedy and the first five cases, then a summary."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for one in report.findings:
        by_code[one.code].append(one)
    width = max((len(one.case) for shown in by_code.values() for one in shown[:SHOWN]), default=0)
    lines: list[str] = []
    for code, several in by_code.items():
        lines.append(f"{several[0].severity:<8} {code} ({len(several)}): {several[0].remedy}")
        lines += [f"  {one.case or '(all)':<{max(width, 5)}}  {one.what}" for one in several[:SHOWN]]
        if len(several) > SHOWN:
            lines.append(f"  and {len(several) - SHOWN} more; --json FILE lists all")
    without = len(set(report.names) - {one.case for one in report.findings if one.severity != "note"})
    total = f"{len(report.names)} case{'s' * (len(report.names) != 1)}"
    counts = ", ".join(f"{n} {what if n != 1 else what[:-1]}" for what, n in report.counts().items())
    if report.findings:
        lines.append(f"{report.root}: {without} of {total} without problems; {counts}")
    else:
        lines.append(f"{report.root}: {total} without problems")
    return "\n".join(lines)
