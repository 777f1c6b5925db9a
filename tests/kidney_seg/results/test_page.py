"""The overview as its reader meets it: in a real Chromium, offline, on a desktop and a phone, light and dark."""

from __future__ import annotations

import re
import shutil
from urllib.parse import unquote

import pytest
from support.batches import add_failure, add_scan, labels_of
from support.browser import in_chromium

from kidney_seg.results.writer import write_results

EVIL = "a #1 %3Cb% \u00fc</title>"
LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}
NAMES = ["c fine", "b flagged", "a #1 \u00fc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    add_scan(folder, NAMES[0], labels_of(tumor=False))
    add_scan(folder, NAMES[1], labels_of(1), notes=["2 CT series found: <b>read</b> series 3"])
    add_scan(
        folder, NAMES[2], labels_of(), model={"name": EVIL, "data": "<script>window.hacked=1</script>", "license": ""}
    )
    add_failure(folder, "z broken", "cut <img src=x onerror=window.hacked=1> off")
    write_results(folder)
    return folder


@in_chromium
@pytest.mark.parametrize("look", LOOKS)
def test_it_opens_offline_flags_first_and_fits(browser, folder, look, tmp_path):
    complaints, requests = [], []
    context = browser.new_context(offline=True, **LOOKS[look])
    window = context.new_page()
    window.on("console", lambda message: complaints.append(message.text))
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("request", lambda request: requests.append(request.url))
    window.goto((folder / "overview.html").as_uri())
    assert window.locator("h1").inner_text() == "Kidneys and tumors: 4 scans"
    names = window.locator("h2").all_inner_texts()
    assert names[0] == "z broken" and names[1] == NAMES[1] and sorted(names[2:]) == sorted([NAMES[0], NAMES[2]])
    assert "1 failed, 1 with flags" in window.locator("header").inner_text()
    assert "One kidney was found" in window.locator(".flags").first.inner_text()
    pictures = window.locator("img")
    assert pictures.count() == 3
    width = LOOKS[look]["viewport"]["width"]
    for at in range(3):
        box = pictures.nth(at).bounding_box()
        assert 0 < box["width"] <= width and box["height"] > 40
        assert window.evaluate("(at) => document.images[at].naturalWidth", at) > 300
        assert pictures.nth(at).get_attribute("alt")
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert window.evaluate("window.hacked") is None
    background = window.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 29)" if look == "dark" else "rgb(255, 255, 255)")
    links = window.locator(".files a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    window.screenshot(path=tmp_path / f"{look}.png", full_page=True)
    context.close()
    assert {unquote(link) for link in links} == {f"{name}{end}" for name in NAMES for end in (".nii.gz", ".json")}
    assert all((folder / unquote(link)).exists() for link in links)
    assert complaints == [] and [url for url in requests if not url.startswith(("file://", "data:"))] == []


def test_names_are_text_and_nothing_is_loaded(folder):
    text = (folder / "overview.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<img src=x" not in text and "<b>read" not in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:|//)""", text)
    assert "DOE" not in text and str(folder) not in text


@pytest.fixture(scope="module")
def fifty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fifty")
    add_scan(folder, "case_00000", labels_of())
    for number in range(1, 50):
        for file in ("case_00000.json", "case_00000.nii.gz", "pictures/case_00000.jpg"):
            shutil.copy(folder / file, folder / file.replace("00000", f"{number:05d}"))
        record = folder / f"case_{number:05d}.json"
        record.write_text(record.read_text().replace("case_00000", f"case_{number:05d}"))
    write_results(folder)
    return folder / "overview.html"


def test_fifty_scans_are_under_5_mb(fifty):
    assert fifty.stat().st_size < 5_000_000
    assert fifty.read_text().count("data:image/jpeg") == 50


@in_chromium
@pytest.mark.parametrize("look", ["desktop", "phone"])
def test_fifty_scans_fit_and_all_their_pictures_are_drawn(browser, fifty, look):
    complaints, requests = [], []
    context = browser.new_context(offline=True, **LOOKS[look])
    window = context.new_page()
    window.set_default_timeout(300_000)
    window.on("console", lambda message: complaints.append(message.text))
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("request", lambda request: requests.append(request.url))
    window.goto(fifty.as_uri(), timeout=300_000)
    assert window.locator("h2").all_inner_texts() == [f"case_{number:05d}" for number in range(50)]
    widths = window.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(widths) == 50 and min(widths) > 300
    width = LOOKS[look]["viewport"]["width"]
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    right = "[...document.querySelectorAll('body *')].map((one) => one.getBoundingClientRect().right)"
    assert max(window.evaluate(right)) <= width + 0.5
    context.close()
    assert complaints == [] and [url for url in requests if not url.startswith(("file://", "data:"))] == []
