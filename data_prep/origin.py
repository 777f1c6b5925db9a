"""Where patients come from: simulated by this project, of a KiTS challenge, or others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SIMULATED, MIXED, OTHER, UNKNOWN = "simulated", "mixed", "other", "unknown"
KITS = {"kits19": "KiTS19", "kits21": "KiTS21", "kits23": "KiTS23"}  # oldest first
KINDS = (SIMULATED, *KITS, MIXED, OTHER, UNKNOWN)
SIMULATED_MARK = "simulated by data_prep.phantom"  # in the header of every simulated image and label file

_NAMES = {
    SIMULATED: "simulated patients",
    **{kind: f"{name} patients" for kind, name in KITS.items()},
    MIXED: "simulated patients and others",
    OTHER: "other patients",
    UNKNOWN: "patients of unknown origin",
}


@dataclass(frozen=True)
class Origin:
    """Where the patients of a cache, or those that a model was trained on, come from.

    kind: one of KINDS. text: a name or remark for the reader. first_weights: what the weights were trained on before,
    empty for random ones.

    >>> Origin("simulated").trained
    'trained on simulated patients: not for real scans'
    >>> str(Origin("other", "hospital A"))
    'hospital A'
    """

    kind: str = UNKNOWN
    text: str = ""
    first_weights: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"origin: found {self.kind[:40]!a}, expected one of {', '.join(KINDS)}")

    def __str__(self) -> str:
        if self.text and self.kind == OTHER:
            return self.text
        return _NAMES[self.kind] + (f" ({self.text})" if self.text else "")

    @property
    def is_kits(self) -> bool:
        """Whether all patients are of one of the KiTS challenges, whose scores are published."""
        return self.kind in KITS

    @property
    def trained(self) -> str:
        """What a model that was trained on these patients says about itself, in one line."""
        line = f"trained on {self}"
        if self.kind == SIMULATED:
            line += ": not for real scans"
        return line + (f"; began with weights {self.first_weights}" if self.first_weights else "")


UNSTATED = Origin()


def joined(kinds: Iterable[str], given: str | None = None) -> Origin:
    """Return the origin of patients of these kinds; `given`: what the user calls them.

    A user may name any patients, but simulated ones stay simulated.

    >>> joined(["kits19", "kits23"]), joined(["other"], "hospital A")
    (Origin(kind='kits23', text='', first_weights=''), Origin(kind='other', text='hospital A', first_weights=''))
    >>> joined(["simulated"], "hospital A").kind
    'simulated'
    """
    found, text = set(kinds) - {UNKNOWN}, given or ""
    if SIMULATED in found or MIXED in found:
        return Origin(SIMULATED if found == {SIMULATED} else MIXED, text)
    if text:
        return Origin(text.lower()) if text.lower() in KITS else Origin(OTHER, text)
    if found and found <= set(KITS):
        return Origin(max(found))
    return Origin(OTHER if found else UNKNOWN)
