"""Figures inside a page: ids of their own, texts that stay texts, JSON that cannot leave its element."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

from kidney_seg.figures.score_plots import dice_by_patient
from kidney_seg.report.svg import inline_svg
from kidney_seg.results.page import templates

EVIL = "</title></svg><script>window.hacked=1</script>"


def rows(count, name="case"):
    return [{"case": f"{name}{i}", "kidney": 0.9 - i / 1000, "tumor": i / count} for i in range(count)]


def test_every_mark_says_its_case_few_or_many():
    for count in (1, 3, 200):
        root = ElementTree.fromstring(inline_svg(dice_by_patient(rows(count)), "chart", "words"))
        told = [element.get("data-hover") for element in root.iter() if element.get("data-hover")]
        assert len(told) == 2 * count
        assert {text.split(":")[0] for text in told} == {f"case{i}" for i in range(count)}
        titled = [e for e in root.iter() if e.get("data-hover") and e[0].text == e.get("data-hover")]
        assert len(titled) == 2 * count


def test_marks_stand_where_their_case_is():
    text = inline_svg(dice_by_patient(rows(50)), "chart", "words")
    uses = [e for e in ElementTree.fromstring(text).iter() if "tumor" in (e.get("data-hover") or "")]
    heights = {e.get("data-hover").split(":")[0]: float(e.get("y")) for e in uses}
    assert heights["case49"] < heights["case25"] < heights["case1"]  # SVG's y goes down


def test_two_figures_share_no_id_and_names_are_text():
    first = inline_svg(dice_by_patient(rows(3, EVIL)), "one", f"said: {EVIL}")
    second = inline_svg(dice_by_patient(rows(3)), "two", "words")
    assert EVIL not in first and "<script" not in first
    roots = [ElementTree.fromstring(text) for text in (first, second)]
    ids = [{e.get("id") for e in root.iter() if e.get("id")} for root in roots]
    assert not ids[0] & ids[1]
    for root, own in zip(roots, ids, strict=True):
        links = [v[1:] for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert links and set(links) <= own
    assert roots[0].get("aria-label") == f"said: {EVIL}"
    assert any(e.text == "Dice" for e in roots[0].iter())  # text, no outlines of letters
    assert inline_svg(dice_by_patient(rows(3)), "two", "words") == second


def test_json_in_a_script_stays_there():
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.texts = [], []

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.texts.append(data)

    content = {"name": f"<!--{EVIL} & ]]>"}
    reader = Reader()
    template = templates().from_string('<script type="application/json">{{ content|tojson }}</script>')
    reader.feed(template.render(content=content))
    assert reader.tags == ["script"]
    assert json.loads("".join(reader.texts)) == content
