"""A folder that several processes of a test run share is made once, and whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from support.once import made_once


def test_made_by_the_first_and_again_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    calls: list[str] = []

    def make(folder: Path) -> None:
        calls.append(folder.name)
        assert list(folder.iterdir()) == []
        (folder / "half").touch()
        if len(calls) == 1:
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        made_once(SimpleNamespace(getbasetemp=lambda: tmp_path), "a", make)
    alone = [made_once(SimpleNamespace(getbasetemp=lambda: tmp_path), "a", make) for _ in range(2)]
    assert calls == ["a"] * 2 and alone == [tmp_path / "made_once" / "a"] * 2

    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    workers = [tmp_path / "popen-gw0", tmp_path / "popen-gw1"]
    shared = [made_once(SimpleNamespace(getbasetemp=lambda own=own: own), "a", make) for own in workers]
    assert calls == ["a"] * 2 and shared == alone
