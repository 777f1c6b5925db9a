"""The label table: 0 background, 1 kidney, 2 tumor, 3 cyst, with names, colors and codes, and their meaning.

Files, pictures and the page of `kidney_seg.app` take numbers, names and colors from here. Curves on white have darker
colors (`kidney_seg.figures.style`). Tests compare the report's style sheet and script with both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BACKGROUND, KIDNEY, TUMOR, CYST = range(4)  # cysts: in label files of KiTS21 and KiTS23; caches count them as kidney
LARGEST_LABEL = CYST
IDS = {"kidney": KIDNEY, "tumor": TUMOR, "cyst": CYST}
CLASS_NAMES = ("background", "kidney", "tumor")  # of the network; the index is the label


@dataclass(frozen=True)
class Structure:
    """A row of the label table.

    name: as viewers show it. rgb: color, 0 to 255. category, kind: SNOMED CT code and its meaning, of the segmented
    property's category and type as DICOM has them.
    """

    name: str
    rgb: tuple[int, int, int]
    category: tuple[str, str]
    kind: tuple[str, str]

    @property
    def color(self) -> str:
        """The color as HTML has it, such as `#56B4E9`."""
        return f"#{bytes(self.rgb).hex().upper()}"


_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
# Okabe and Ito's palette: distinct with every common form of color vision, and on gray
STRUCTURES = {
    KIDNEY: Structure("Kidney", (0x56, 0xB4, 0xE9), ("91723000", "Anatomical Structure"), ("64033007", "Kidney")),
    TUMOR: Structure("Tumor", (0xE6, 0x9F, 0x00), _ABNORMAL, ("108369006", "Neoplasm")),
    CYST: Structure("Cyst", (0x00, 0x9E, 0x73), _ABNORMAL, ("367643001", "Cyst")),
}
KIDNEY_REGION = STRUCTURES[KIDNEY].kind  # where tumors and cysts are


def structures_of(labels: np.ndarray) -> dict[int, Structure]:
    """Return the rows that a label map has in its files: kidney and tumor, and cyst only if a voxel is one."""
    return {label: row for label, row in STRUCTURES.items() if label < CYST or (labels == label).any()}


def cysts_to_kidney(labels: np.ndarray) -> np.ndarray:
    """Return the labels with cyst (3, in KiTS21 and KiTS23) changed to kidney (1); a copy only if there is a cyst.

    In KiTS19, in caches and so for the network cysts are part of the kidney.

    >>> cysts_to_kidney([0, 1, 2, 3]).tolist()
    [0, 1, 2, 1]
    """
    import numpy as np

    labels = np.asarray(labels)
    if labels.max(initial=0) < CYST:
        return labels
    return np.where(labels == CYST, labels.dtype.type(KIDNEY), labels)


_WORDS = {
    CYST: {"cyst", "cysts"},
    TUMOR: {"tumor", "tumors", "tumour", "tumours", "neoplasm", "neoplasms", "mass", "masses", "carcinoma", "rcc"},
    KIDNEY: {"kidney", "kidneys"},
}
_NEUTRAL = {  # words that may stand beside these without changing the structure
    *("left", "right", "l", "r", "both", "renal", "primary", "malignant", "benign", "clear", "cell", "simple", "of"),
    *("and", "the", "in", "with", "parenchyma", "cortex", "segment", "label", "mask", "seg", "ct", "structure"),
}  # fmt: skip
_OTHERS = {  # of other organs, and of what is no tissue of these: speak against a code
    *("liver", "hepatic", "spleen", "splenic", "lung", "pulmonary", "pancreas", "pancreatic", "bladder", "prostate"),
    *("adrenal", "suprarenal", "stone", "calculus", "artery", "vein", "vessel", "aorta", "pelvis", "ureter", "bone"),
    *("colon", "stomach", "gastric", "bowel", "node", "thrombus", "fat", "breast", "brain", "ovary", "ovarian"),
    *("uterus", "rectum", "background", "gland", "bile", "gallbladder", "hematoma", "abscess", "stent", "catheter"),
}  # fmt: skip
_CODES = {  # SNOMED CT, and the older SRT, of the segmented property type
    **dict.fromkeys(("64033007", "9846003", "18639004", "T-71000"), KIDNEY),  # kidney; right; left
    **dict.fromkeys(("108369006", "M-8FFFF", "86049000", "M-80003", "372087000"), TUMOR),  # neoplasm; primary
    **dict.fromkeys(("4147007", "M-03000"), TUMOR),  # mass
    **dict.fromkeys(("126880001", "363518003", "702391001"), TUMOR),  # neoplasm of kidney, malignant; carcinoma
    **dict.fromkeys(("367643001", "M-3340A"), CYST),
}
# a tumor's anatomic region: kidney, right, left, abdomen, retroperitoneum
_REGIONS = {"64033007", "9846003", "18639004", "T-71000", "113345001", "818983003", "T-D4000", "82849001"}


@dataclass(frozen=True)
class Segment:
    """What a file says of one of its segments.

    number: its value among the voxels, or its number. name: by its author. code, meaning: of the segmented property
    type (SNOMED CT or SRT). region: code of the anatomic region. Texts are empty where the file says nothing.
    """

    number: int
    name: str = ""
    code: str = ""
    meaning: str = ""
    region: str = ""


def label_of(segment: Segment) -> int | None:
    """Return the label of a segment by its code and name; None if they contradict each other or mean something else.

    A name counts if each of its words does: `kidney stone`, `liver tumor` and `suprarenal gland` are none of the three.

    >>> [label_of(Segment(1, name)) for name in ("Left kidney", "renal_mass 2", "Kidney stone", "Suprarenal gland")]
    [1, 2, None, None]
    >>> label_of(Segment(1, "Liver tumor", code="108369006")), label_of(Segment(1, "GTV", code="108369006"))
    (None, 2)
    """
    words, meaning = _words_of(segment.name), _words_of(segment.meaning)
    by_code, by_name = _CODES.get(segment.code), _by_words(words)
    contradicts = by_code is not None and by_name not in (None, by_code)
    if contradicts or (words | meaning) & _OTHERS or (segment.region and segment.region not in _REGIONS):
        return None
    return by_name if by_code is None else by_code


def is_named(segment: Segment) -> bool:
    """Return whether a file says anything of what a segment is; `Segment_1`, `L1` and `???` are none."""
    return (
        segment.code in _CODES or re.fullmatch(r"(segment|label|l)?[ _]*\d*|\?+", segment.name.strip().lower()) is None
    )


def _words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()))


def _by_words(words: set[str]) -> int | None:
    if words - _NEUTRAL - set().union(*_WORDS.values()):
        return None
    return next((label for label, own in _WORDS.items() if words & own), None)
