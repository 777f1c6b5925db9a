"""The contrast phase of a series, guessed from its description."""

from __future__ import annotations

import re

# In the order of preference: late arterial is the phase of KiTS; the second is next best; a name may not be there.
ARTERIAL, VENOUS, UNKNOWN, DELAYED, PLAIN = "arterial", "venous", "", "delayed", "without contrast"
PREFERRED = (ARTERIAL, VENOUS, UNKNOWN, DELAYED, PLAIN)

_WORDS = (  # the first that fits decides; words of scanners in English, German, French, Italian, Spanish, Dutch
    (
        PLAIN,
        r"non?[ -]?(con(trast)?|enhanced)|unenhanced|without|w/?o|sans|senza|sin|zonder|ohne|nativ\w*|plain|blanco"
        r"|basale|nect|ncct|pre[ -]?contrast|c-|iv-",
    ),
    (DELAYED, r"delay\w*|excretor\w*|urograph\w*|pyelograph\w*|tardi\w*|spaet\w*|sp\u00e4t\w*|late|\d+ ?min"),
    (
        VENOUS,
        r"portal\w*|ven(ous|oes|\u00f6s|osa|eus|euze|eux)\w*|pv[pc]?|nephro\w*|parenchym\w*|([789]|1[012])\d ?s(ec)?",
    ),
    (ARTERIAL, r"art(erial|erie+l|eriosa)?\w{0,3}|cortic\w*|cmp|angio\w*|cta|[23]\d ?s(ec)?"),
)
_PATTERNS = [(phase, re.compile(rf"(?<![a-z0-9])({words})(?![a-z0-9])")) for phase, words in _WORDS]
_LATE_ARTERIAL = re.compile(r"late[ _-]*art\w*")  # is no late phase


def phase_of(*descriptions: str) -> str:
    """Return the contrast phase that the first telling description names, one of `PREFERRED`; empty if none does.

    >>> phase_of("Abdomen 1.5 portal venous"), phase_of("ABD W/O 2.0"), phase_of("late arterial"), phase_of("Abdomen")
    ('venous', 'without contrast', 'arterial', '')
    """
    for description in descriptions:
        text = _LATE_ARTERIAL.sub("arterial", description.lower()).replace("_", " ")
        for phase, pattern in _PATTERNS:
            if pattern.search(text):
                return phase
    return UNKNOWN
