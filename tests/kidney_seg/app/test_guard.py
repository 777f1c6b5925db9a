"""Who may ask the page: this computer's browser with the token, and nobody through another site."""

from __future__ import annotations

import pytest

from kidney_seg.app.guard import HEADERS, refusal

PORT = 4711
GOOD = {"Host": f"127.0.0.1:{PORT}", "Origin": f"http://127.0.0.1:{PORT}"}


def refused(method: str = "POST", token: str = "secret", **changes: str | None) -> int | None:
    headers = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    found = refusal(method, headers, token, "secret", PORT)
    return None if found is None else found[0]


def test_the_page_itself_is_let_in():
    assert refused() is None
    assert refused("GET", Origin=None) is None
    assert refused(Host=f"localhost:{PORT}", Origin=f"http://localhost:{PORT}") is None
    assert refused(**{"Sec-Fetch-Site": "same-origin"}) is None
    assert refused("GET", Origin=None, **{"Sec-Fetch-Site": "none"}) is None  # typed into the address bar


@pytest.mark.parametrize(
    "changes",
    [
        {"Host": "evil.example"},  # a name that was pointed at 127.0.0.1
        {"Host": f"evil.example:{PORT}"},
        {"Host": "127.0.0.1"},
        {"Host": f"127.0.0.1:{PORT + 1}"},
        {"Host": None},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Origin": None},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"token": "Secret"},
        {"token": ""},
        {"token": "sécret"},
    ],
    ids=str,
)
def test_all_others_are_refused(changes):
    assert refused(**changes) == 403


def test_the_policy_lets_nothing_in_from_elsewhere():
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy and "unsafe" not in policy and "*" not in policy
