from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.files.names import LONGEST_NAME, printable, safe_name


@pytest.mark.parametrize("name", ["case_00001", "Müller 7", "a", "肾", "x" * LONGEST_NAME, "a.b", "case-1(2)"])
def test_plain_names_pass(name: str) -> None:
    assert safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "-rf",
        ".hidden",
        "a\nb",
        "\x1b[31m",
        "a\x00b",
        "<b>",
        "a&b",
        'a"b',
        "it's",
        "x" * (LONGEST_NAME + 1),
        " a",
        "a ",
        "a\u202eb",
        "a\u00a0b",
        "\udcff",
        "a`b",
        "a\u2028b",
    ],
)
def test_names_that_could_do_harm_are_refused(name: str) -> None:
    assert not safe_name(name)


@given(st.text(max_size=300))
def test_a_safe_name_stays_one_part_of_a_path(name: str) -> None:
    if safe_name(name):
        assert not set(name) & set("/\\<>&\"'`\x00\n\r") and name not in (".", "..")
        name.encode()  # can be written anywhere


@given(st.text(st.characters(), max_size=500))
def test_what_is_shown_is_one_plain_line(text: str) -> None:
    shown = printable(text)
    assert shown.isascii() and (shown.isprintable() or not shown)
    assert not set("<>&") & set(shown) and len(shown) <= 400


def test_plain_ascii_is_shown_as_it_is_and_the_rest_escaped() -> None:
    assert printable("values from -1024 to 1500, 'x': \"y\"") == "values from -1024 to 1500, 'x': \"y\""
    assert printable("\x1b[31m ü \udcff\n") == r"\x1b[31m \xfc \udcff\n"
    assert printable("a" * 500, 10) == "aaaaaaa..."
