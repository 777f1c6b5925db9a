"""What the doctor can find, THE table of it, and a report as text or JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from data_prep.files.names import printable

SCHEMA = 1  # of the JSON report
SEVERITIES = ("error", "warning", "note")
SHOWN = 5  # cases of one code in the table; the JSON has all


class Kind(NamedTuple):
    """severity: one of SEVERITIES; mend: what the user can do."""

    severity: str
    mend: str


_AGAIN = "copy or download the file anew"
_EXPORT = "export the scan anew as one 3-D volume in HU"
KINDS: dict[str, Kind] = {
    # which files are there
    "missing_image": Kind("error", "put the image there, or remove the folder"),
    "no_labels": Kind("warning", "add the labels, or keep the case for prediction only"),
    "unlabelled": Kind("note", "nothing, if these cases are for prediction"),
    "two_files": Kind("error", "change the pattern so that it fits one file of a case"),
    "spare_file": Kind("note", "remove the one that is not wanted"),
    "unsafe_name": Kind("error", "rename it with letters, digits, _ and - alone"),
    "bad_metadata": Kind("warning", "restore the file from its source, or remove it"),
    # can a file be read
    "missing_file": Kind("error", "mend the link, or put the file there"),
    "not_a_file": Kind("error", "put a file there, or remove the entry"),
    "no_permission": Kind("error", "give yourself the right to read it (chmod, chown)"),
    "empty_file": Kind("error", _AGAIN),
    "wrong_name": Kind("error", "rename it to what it is: .nii.gz if compressed, else .nii"),
    "truncated": Kind("error", _AGAIN),
    "damaged": Kind("error", _AGAIN),
    "not_an_image": Kind("error", _AGAIN + "; if it came so, export it as NIfTI-1"),
    "unreadable": Kind("error", "do what the message asks, or leave out the case"),
    "missing_slices": Kind("error", "export or download the series anew, with all its slices"),
    "not_finite": Kind("error", "replace these voxels (air is -1000 HU, no label is 0), or leave out the case"),
    "reader_note": Kind("note", "see that the reader decided as you would"),
    # is it CT in HU, whole, of a sensible size
    "constant": Kind("error", _EXPORT),
    "not_rescaled": Kind("error", "subtract 1024, or export anew with rescale slope and intercept applied"),
    "gray_values": Kind("warning", "use the original scan: windowed 8-bit values have lost what is outside the window"),
    "no_air": Kind("warning", "see that this is CT in HU, neither clipped to a window nor another modality"),
    "no_soft_tissue": Kind("error", _EXPORT),
    "hu_range": Kind("warning", "see that slope and intercept were applied once"),
    "blank_slices": Kind("warning", "export anew: these slices are lost, or cut padding away"),
    "blank_planes": Kind("warning", "export anew: part of the scan was filled up, as after a broken download"),
    "doubled_slices": Kind("warning", "export anew: a slice was stored twice, or over its neighbor"),
    "few_slices": Kind("warning", "use the whole scan; so few slices hold no kidney"),
    "single_slices": Kind("note", "nothing, if the data set is one of single slices; 3-D checks were left out"),
    "odd_matrix": Kind("note", "nothing: slices are padded to a square, never squashed"),
    "field_of_view": Kind("warning", "correct the voxel spacing, which is in millimeters"),
    "no_orientation": Kind("warning", "convert the scan anew, so that its header says where left and head are"),
    "spacing_differs": Kind("error", "take the file of the data set, or correct its spacing"),
    "second_phase": Kind("warning", "cut the scan to one phase, the one that is labelled"),
    "same_image": Kind("error", "remove one of them: one patient must not be in two sets"),
    # do the labels fit
    "label_values": Kind("error", "map the labels to 0 background, 1 kidney, 2 tumor, 3 cyst"),
    "label_type": Kind("warning", "store labels as 8-bit integers"),
    "shape_differs": Kind("error", "take labels that were drawn on this image"),
    "grid_differs": Kind("error", "correct the header if the voxels fit, else resample the labels to the image"),
    "empty_label": Kind("error", "label the kidneys, or remove the label file"),
    "no_tumor": Kind("note", "nothing, if the patient has none"),
    "small_label": Kind("warning", "see that both kidneys are labelled to the end, and the voxel spacing is right"),
    "one_body": Kind("note", "see that there is one kidney, or a horseshoe kidney"),
    "many_bodies": Kind("warning", "look for a second phase appended to the scan, or organs labelled as kidney"),
    "stray_object": Kind("note", "look at the objects: specks of the brush, or a lesion apart"),
    "label_gap": Kind("warning", "label the slices between"),
    "label_misplaced": Kind("warning", "see that the labels are not mirrored, shifted or of another case"),
    "same_labels": Kind("warning", "see which of the cases these labels are of"),
    "poor_label": Kind("note", "keep it out of tables on tumors, or use the labels of KiTS23"),
    # the cache
    "bad_manifest": Kind("error", "build the cache anew with python -m data_prep.build"),
    "cache_missing": Kind("error", "run python -m data_prep.build again, it makes what is missing"),
    "cache_changed": Kind("error", "remove the file and run python -m data_prep.build again"),
    "cache_content": Kind("error", "remove the file and run python -m data_prep.build again"),
    "cache_twice": Kind("error", "build the cache anew with python -m data_prep.build"),
    "unlisted_file": Kind("warning", "run python -m data_prep.build again, or remove the file"),
    "leftover": Kind("note", "remove it, if no build is running"),
    "bad_split": Kind("error", "make the split anew with python -m data_prep.split"),
    "no_split": Kind("note", "make it with python -m data_prep.split before training"),
    # the machine
    "disk_space": Kind("warning", "free some space, or choose another disk or a smaller --size"),
    "worker_died": Kind("error", "run again with fewer --jobs; mostly memory was short"),
    "unexpected": Kind("error", "leave out the case, and report this to the project"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is amiss. case: its name, empty for the whole folder. All texts are `printable`."""

    case: str
    severity: str
    code: str
    what: str
    mend: str


@dataclass(frozen=True)
class Report:
    """The doctor's report of one folder.

    kind: `cases` or `cache`. names: of the cases that were looked at. facts: plain values by case, of those that
    could be read. findings: errors first, then by code and case. summary: plain values of the whole folder.
    """

    root: str
    kind: str
    names: tuple[str, ...]
    facts: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]
    summary: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0 where there is nothing or only notes, 1 where there is a warning or an error."""
        return int(any(finding.severity != "note" for finding in self.findings))

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values for a JSON file."""
        return {
            "schema": SCHEMA,
            "root": self.root,
            "kind": self.kind,
            "summary": {"cases": len(self.names), **self.counts(), **self.summary},
            "findings": [asdict(finding) for finding in self.findings],
            "cases": self.facts,
        }

    def counts(self) -> dict[str, int]:
        """Return how many findings of each severity there are."""
        found = [finding.severity for finding in self.findings]
        return {f"{severity}s": found.count(severity) for severity in SEVERITIES}

    def __str__(self) -> str:
        return table(self)


def finding(case: str, code: str, what: str) -> Finding:
    """Make a finding of the table KINDS; names and texts are escaped here, whoever wrote them."""
    kind = KINDS[code]
    return Finding(printable(case), kind.severity, code, printable(what), kind.mend)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings without doubles, errors first, then by code and case."""
    return tuple(sorted(set(findings), key=lambda f: (SEVERITIES.index(f.severity), f.code, f.case, f.what)))


def table(report: Report) -> str:
    """Return the report as lines of text: the findings by code with the mend of each, and a last line that sums up.

    Of a code that more than five cases have, the first five are shown and the others counted.
    """
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for one in report.findings:
        by_code[one.code].append(one)
    width = max((len(one.case) for shown in by_code.values() for one in shown[:SHOWN]), default=0)
    lines: list[str] = []
    for code, several in by_code.items():
        lines.append(f"{several[0].severity:<8} {code} ({len(several)}): {several[0].mend}")
        lines += [f"  {one.case or '(all)':<{max(width, 5)}}  {one.what}" for one in several[:SHOWN]]
        if len(several) > SHOWN:
            lines.append(f"  and {len(several) - SHOWN} more; --json FILE lists all")
    return "\n".join([*lines, _last_line(report)])


def _last_line(report: Report) -> str:
    unsound = {one.case for one in report.findings if one.severity != "note"}
    cases, sound = len(report.names), len(set(report.names) - unsound)
    if not report.findings:
        return f"{report.root}: {_cases(cases)} {'is' if cases == 1 else 'are'} sound"
    said = ", ".join(f"{number} {what if number != 1 else what[:-1]}" for what, number in report.counts().items())
    return f"{report.root}: {sound} of {_cases(cases)} {'is' if sound == 1 else 'are'} sound; {said}"


def _cases(number: int) -> str:
    return f"{number} case" if number == 1 else f"{number} cases"
