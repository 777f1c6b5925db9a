"""The KiTS data sets: where their files are published, their cases, license and citation.

Facts from the challenges' own repositories (github.com/neheller/kits19, kits21, kits23) and their download scripts. The
addresses could not be reached from where this was written; `--mirror` takes another place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.errors import InputError

# The images of all three challenges: the newest official script names the first place, all older ones the second.
IMAGES = (
    "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/main/images/case_{number:05d}.nii.gz",
    "https://kits19.sfo2.digitaloceanspaces.com/master_{number:05d}.nii.gz",
)
REPOSITORY = "https://raw.githubusercontent.com/neheller"
MEGABYTES_PER_CASE = 100  # of image and labels: KiTS19's 210 cases have about 20 GB

LICENSE = """{title} is licensed CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/): give credit, no
commercial use, share alike. What is made from it, such as a trained network, has the same terms.
Please cite:
{citation}
"""
_KITS19_PAPER = (
    "Heller et al.: The state of the art in kidney and kidney tumor segmentation in contrast-enhanced CT imaging: "
    "results of the KiTS19 challenge. Medical Image Analysis 67, 101821 (2021)."
)
_KITS21_PAPER = (
    "Heller et al.: The KiTS21 Challenge: automatic segmentation of kidneys, renal tumors, and renal cysts in "
    "corticomedullary-phase CT. arXiv:2307.01984 (2023)."
)


@dataclass(frozen=True)
class Source:
    """One data set.

    labels: address of a case's labels below the pinned `commit` of the challenge's repository. cases: all published
    numbers; unlabeled: those without labels. extras: addresses of the table of patients and of the labels' changelog,
    and their names here.
    """

    name: str
    title: str
    commit: str
    revision: str
    labels: str
    label_file: str
    cases: tuple[int, ...]
    unlabeled: frozenset[int]
    extras: tuple[tuple[str, str], ...]
    citation: str

    @property
    def license(self) -> str:
        """The text that a user must accept."""
        return LICENSE.format(title=self.title, citation=self.citation)

    def files(self, number: int, mirror: str | None = None) -> dict[str, tuple[str, ...]]:
        """Return the addresses of a case's files, the first choice first, by the files' names here.

        mirror: address of a folder that this command made, or one like it: `case_NNNNN/imaging.nii.gz` and labels.
        """
        case = f"case_{number:05d}"
        names = ["imaging.nii.gz"] + ([] if number in self.unlabeled else [self.label_file])
        if mirror:
            return {name: (f"{mirror.rstrip('/')}/{case}/{name}",) for name in names}
        images = tuple(place.format(number=number) for place in IMAGES)
        labels = self.labels.format(repository=REPOSITORY, commit=self.commit, case=case)
        return {name: images if name == "imaging.nii.gz" else (labels,) for name in names}

    def extra_files(self, mirror: str | None = None) -> dict[str, str]:
        """Return the addresses of the other files that a download brings if they can be had, by their names here."""
        if mirror:
            return {name: f"{mirror.rstrip('/')}/{name}" for _, name in self.extras}
        return {name: place.format(repository=REPOSITORY, commit=self.commit) for place, name in self.extras}


def _changelog(name: str) -> tuple[str, str]:
    return f"{{repository}}/{name}/{{commit}}/changelog.md", "changelog.md"


SOURCES = {
    "kits19": Source(
        "kits19",
        "KiTS19",
        "456b293435b25303bbc7995f094f83a0afdff0eb",
        "labels as corrected on December 20, 2019 (cases 15, 23, 37, 125)",
        "{repository}/kits19/{commit}/data/{case}/segmentation.nii.gz",
        "segmentation.nii.gz",
        tuple(range(300)),
        frozenset(range(210, 300)),
        (("{repository}/kits19/{commit}/data/kits.json", "kits.json"), _changelog("kits19")),
        _KITS19_PAPER,
    ),
    "kits21": Source(
        "kits21",
        "KiTS21",
        "f64fd922390fb4cdcfcd2de7b60f64b41b34ef7b",
        "majority of three annotators, as after the challenge's training phase (August 2021)",
        "{repository}/kits21/{commit}/kits21/data/{case}/aggregated_MAJ_seg.nii.gz",
        "aggregated_MAJ_seg.nii.gz",
        tuple(range(300)),
        frozenset(),
        (_changelog("kits21"),),
        _KITS21_PAPER,
    ),
    "kits23": Source(
        "kits23",
        "KiTS23",
        "e2822085ffddefb73652ebf78802e6134ebe0566",
        "version 0.1.3",
        "{repository}/kits23/{commit}/dataset/{case}/segmentation.nii.gz",
        "segmentation.nii.gz",
        (*range(300), *range(400, 589)),
        frozenset(),
        (("{repository}/kits23/{commit}/dataset/kits23.json", "kits23.json"), _changelog("kits23")),
        _KITS21_PAPER,
    ),
}


def choose_cases(source: Source, text: str | None) -> list[int]:
    """Return the numbers that a text such as `0-9,160` names, ascending, each once; None: all cases of the data set.

    InputError for other texts and for numbers that are no case of the data set.

    >>> choose_cases(SOURCES["kits23"], "0-2,400,1")
    [0, 1, 2, 400]
    """
    if text is None:
        return list(source.cases)
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash) and len(first + last) <= 10):
            raise InputError(f"--cases {text!r}: found {part!r}; expected numbers and ranges, such as 0-9,160")
        wanted |= set(range(int(first), min(int(last or first), max(source.cases) + 1) + 1))
    if not wanted or (unknown := sorted(wanted - set(source.cases))):
        what = f"{unknown[0]} is no case" if wanted else "names no case"
        raise InputError(f"--cases {text!r}: {what} of {source.title}; expected {spans(source.cases)}")
    return sorted(wanted)


def spans(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ranges.

    >>> spans([0, 1, 2, 7, 9, 10])
    '0-2,7,9-10'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ",".join("-".join(map(str, one)) for one in found)
