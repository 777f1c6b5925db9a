"""Names from outside: which of them are safe as names of cases, and any text made safe to print."""

from __future__ import annotations

LONGEST_NAME = 128
_MARKUP = "<>&"
_REFUSED = "/\\\"'`" + _MARKUP


def safe_name(name: str) -> bool:
    """Return whether `name` is safe as the name of a case, of files and of table rows.

    True for 1 to 128 printable characters of any script that can be encoded, without path separators (`/`, `\\`),
    quotes (also the backtick), `<`, `>`, `&`, white space other than a space inside, and not starting with `.` or `-`.

    >>> safe_name("case_00135_s0103"), safe_name("../etc"), safe_name("-rf"), safe_name("a<b"), safe_name("")
    (True, False, False, False, False)
    """
    return (
        0 < len(name) <= LONGEST_NAME
        and name[0] not in ".-"
        and name == name.strip()
        and name.isprintable()
        and not any(letter in _REFUSED for letter in name)
    )


def table_cell(value: object) -> object:
    """Return a value for a CSV file; text that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> table_cell("=1+1"), table_cell("case_00000"), table_cell(-1.5)
    ("'=1+1", 'case_00000', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def printable(text: object, longest: int = 400) -> str:
    """Return a text in printable ASCII on one line, safe in a terminal and as text of an HTML page.

    Everything else (control characters, other scripts, broken encodings, `<`, `>`, `&`) is escaped like `\\x1b` or
    `\\u202e`, as by Python's `ascii`. A text of more than `longest` characters is cut and ends in `...`.

    >>> printable("case_00001_<b>"), printable("a\\nb")
    ('case_00001_\\\\x3cb\\\\x3e', 'a\\\\nb')
    """
    shown = "".join(_escaped(letter) for letter in str(text)[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def _escaped(letter: str) -> str:
    if letter in _MARKUP:
        return f"\\x{ord(letter):02x}"
    if letter.isascii() and letter.isprintable():
        return letter
    return ascii(letter)[1:-1]
