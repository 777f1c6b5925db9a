"""The report's style sheet and script repeat colors of `figures.style`, because a page needs no other file."""

from __future__ import annotations

import re
from importlib.resources import files

from kidney_seg.figures.style import COLORS, CURVE_COLORS

ASSETS = files("kidney_seg.report") / "assets"


def test_colors_of_the_style_sheet() -> None:
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", (ASSETS / "report.css").read_text()))
    for name in ("kidney", "tumor"):
        assert found[name] == CURVE_COLORS[name].lower()
        assert found[f"{name}-on-ct"] == COLORS[name].lower()


def test_colors_of_the_3d_view() -> None:
    script = (ASSETS / "view.js").read_text()
    found = {name: re.search(rf"{name}: \[([\d, ]+)\]", script) for name in ("kidney", "tumor")}
    colors = {name: "#" + bytes(map(int, one[1].split(", "))).hex().upper() for name, one in found.items() if one}
    assert colors == {"kidney": COLORS["kidney"], "tumor": CURVE_COLORS["tumor"]}  # on white
