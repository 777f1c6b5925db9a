"""The report as its reader meets it: in a real Chromium, offline, with hostile names; mouse, touch, keys, print."""

from __future__ import annotations

import base64
import http.server
import io
import re
import sys
import threading
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from support.browser import in_chromium
from support.report_runs import NAMES, SCRIPT, make_run

from kidney_seg.progressive import driver as progressive
from kidney_seg.report import __main__ as report_command
from kidney_seg.report import writer as report
from kidney_seg.report.page import page as page_text
from kidney_seg.report.sources import gather

pytestmark = pytest.mark.system

CLOSING = "</script></title><script>window.hacked=1</script>"
DESKTOP = {"viewport": {"width": 1000, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(run):
    return report.write_report(run)


@pytest.fixture
def opened(browser):
    """Open a file offline in a new window; at the end nothing must have been complained of or asked for."""
    contexts, complaints, requests = [], [], []

    def open_file(path, provoked=False, **look):
        context = browser.new_context(offline=True, **(look or DESKTOP))
        context.set_default_timeout(300_000)
        contexts.append(context)
        window = context.new_page()
        if not provoked:
            window.on("console", lambda message: complaints.append(message.text))
            window.on("pageerror", lambda error: complaints.append(str(error)))
            window.on("request", lambda request: requests.append(request.url))
        window.goto(path.as_uri())
        window.wait_for_function("document.querySelectorAll('.view[data-camera]').length > 0")
        return window

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []


def pixels(window, which=0):
    """The RGB of a canvas of the 3-D views, [y, x, 3]."""
    code = "(which) => document.querySelectorAll('.view canvas')[which].toDataURL()"
    before, drawn = "", window.evaluate(code, which)
    while drawn != before:  # a turned view is drawn again, finely, when it rests, and that takes what it takes
        window.wait_for_timeout(400)
        before, drawn = drawn, window.evaluate(code, which)
    png = base64.b64decode(drawn.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def orange(picture):
    return (picture[:, :, 0] > picture[:, :, 2] + 60) & (picture[:, :, 0] > 90)


def blue(picture):
    return picture[:, :, 2] > picture[:, :, 0] + 40


@in_chromium
def test_it_opens_offline_with_all_it_should_have(opened, html):
    window = opened(html)
    assert window.locator("html").get_attribute("lang") == "en"
    assert window.locator("h2").all_inner_texts() == ["Table 1", "Charts", "Patients", "All cases"]
    assert window.locator("h1").count() == 1
    table = window.locator("#table1 table").first
    assert "He, Leung and Wang" in table.inner_text() and "0.572" in table.inner_text()
    assert re.fullmatch(r"\d\.\d{3} to \d\.\d{3}", table.locator("tr.own .interval").first.inner_text())
    assert window.locator("td, th").count() == window.locator("td, th[scope]").count()
    charts = window.locator(".chart svg[role=img][aria-label]")
    assert charts.count() == 5
    assert all(charts.nth(i).bounding_box()["height"] > 150 for i in range(5))
    slices = window.locator(".case svg.slice")
    assert slices.count() == 3 * 2  # the missed tumor is the worst case as well
    assert window.evaluate("[...document.images].length") == 0
    assert window.locator(".view").count() == 3


@in_chromium
def test_names_are_text_whatever_they_hold(opened, html):
    window = opened(html)
    assert window.evaluate("window.hacked") is None
    assert window.locator("img").count() == 0
    assert set(window.locator("#cases tbody th").all_inner_texts()) == set(NAMES)
    assert SCRIPT in window.locator("#patients").inner_text()
    told = window.evaluate("[...document.querySelectorAll('[data-hover]')].map((mark) => mark.dataset.hover)")
    assert {text.rsplit(": ", 1)[0] for text in told} == set(NAMES)


@in_chromium
def test_a_name_that_closes_a_script_stays_a_name(opened, run, tmp_path):
    data = gather(run)
    cases = [{**row, "case": f"{row['case']}{CLOSING}"} for row in data.cases]
    files = {f"{name}{CLOSING}": found for name, found in data.files.items()}
    path = tmp_path / "evil.html"
    evil = replace(data, title=CLOSING, cases=tuple(cases), files=files, warnings=(CLOSING,), facts=((CLOSING,) * 2,))
    path.write_text(page_text(evil), encoding="utf-8")
    window = opened(path)
    assert window.evaluate("window.hacked") is None
    assert window.locator("h1").inner_text() == CLOSING
    assert set(window.locator("#cases tbody th").all_inner_texts()) == {row["case"] for row in cases}
    assert window.locator(".view").count() == 3


@in_chromium
def test_its_policy_forbids_scripts_and_requests_that_are_not_its_own(opened, html):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        window = opened(html, provoked=True)
        window.context.set_offline(False)
        address = f"http://127.0.0.1:{server.server_port}/"
        assert window.evaluate("(url) => fetch(url).then(() => 'went', () => 'refused')", address) == "refused"
        picture = """(url) => new Promise((end) => { const image = new Image();
            image.onload = () => end('went'); image.onerror = () => end('refused'); image.src = url; })"""
        assert window.evaluate(picture, address) == "refused"
        window.evaluate("""() => { const script = document.createElement('script');
            script.textContent = 'window.hacked = 1'; document.body.append(script); }""")
        assert window.evaluate("window.hacked") is None
        server.shutdown()
    assert asked == []


@in_chromium
def test_3d_shows_the_patient_from_the_front(opened, html):
    """The tumor sits on top of the patient's right kidney: on the left of the picture, above the middle."""
    window = opened(html)
    truth, prediction = pixels(window, 0), pixels(window, 1)
    for picture in (truth, prediction):
        height, width = picture.shape[:2]
        y, x = np.nonzero(orange(picture))
        assert len(y) > 0.005 * width * height
        assert x.max() < width / 2 and y.mean() < height / 2
        left, right = blue(picture)[:, : width // 2].sum(), blue(picture)[:, width // 2 :].sum()
        assert left > 0.01 * width * height and right > left
    assert orange(truth).sum() > orange(prediction).sum()  # 15 and 14 mm
    assert orange(pixels(window, 5)).sum() == 0  # the worst: missed


@in_chromium
def test_3d_turns_by_mouse(opened, html):
    window = opened(html)
    before = [pixels(window, which) for which in (0, 1)]
    canvas = window.locator(".view canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    window.mouse.move(*middle)
    window.mouse.down()
    for step in range(1, 11):
        window.mouse.move(middle[0] + 12 * step, middle[1])
    window.mouse.up()
    for which in (0, 1):  # both turn together
        assert np.mean(np.any(pixels(window, which) != before[which], axis=2)) > 0.05
    still = pixels(window, 0)
    window.mouse.move(*middle)  # no button is held
    assert np.array_equal(pixels(window, 0), still)
    # half a turn, 377 px: seen from the back, the patient's right is on the right
    window.locator(".view").first.get_by_role("button", name="Back to the view").click()
    window.mouse.move(*middle)
    window.mouse.down()
    window.mouse.move(middle[0] + 377, middle[1], steps=10)
    window.mouse.up()
    assert np.nonzero(orange(pixels(window, 0)))[1].min() > still.shape[1] / 2


@in_chromium
def test_3d_turns_by_keys_and_buttons(opened, html):
    window = opened(html)
    before = pixels(window)
    canvas, view = window.locator(".view canvas").first, window.locator(".view").first
    canvas.focus()
    outline = window.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    cameras = [view.get_attribute("data-camera")]
    for key in ("ArrowRight", "ArrowUp", "+"):
        window.keyboard.press(key)
        cameras.append(view.get_attribute("data-camera"))
        assert np.any(pixels(window) != before)
    assert len(set(cameras)) == 4
    window.keyboard.press("Home")
    assert view.get_attribute("data-camera") == cameras[0]
    assert np.array_equal(pixels(window), before)
    view.get_by_role("button", name="Turn to the left").click()
    assert np.any(pixels(window) != before)
    window.keyboard.press("Tab")
    assert window.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", outline


@in_chromium
def test_marks_name_their_case_to_mouse_and_keys(opened, html):
    window = opened(html)
    tip = window.locator("#tip")
    assert tip.is_hidden()
    mark = window.locator(".chart:nth-child(2) [data-hover]").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    assert tip.inner_text() == mark.get_attribute("data-hover")
    window.mouse.move(1, 1)
    chart = window.locator(".chart svg").nth(1)
    chart.focus()
    said = []
    for _ in range(3):
        window.keyboard.press("ArrowRight")
        said.append(tip.inner_text())
    assert len(set(said)) == 3 and all(any(name in text for name in NAMES) for text in said)
    window.keyboard.press("Escape")
    assert tip.is_hidden()


@in_chromium
def test_the_table_sorts_and_outlines_hide(opened, html):
    window = opened(html)
    heading = window.locator("#cases thead th").filter(has_text="Dice kidney")
    column = 1 + window.evaluate("(th) => [...th.parentNode.children].indexOf(th)", heading.element_handle())
    for order in ("descending", "ascending"):
        heading.get_by_role("button").press("Enter")
        assert heading.get_attribute("aria-sort") == order
        values = [float(text) for text in window.locator(f"#cases tbody td:nth-child({column})").all_inner_texts()]
        assert values == sorted(values, reverse=order == "descending")
    dashed = window.locator("svg.slice path.prediction").first
    assert dashed.is_visible()
    window.get_by_label("outline of the prediction").uncheck()
    assert dashed.is_hidden() and window.locator("svg.slice path.truth").first.is_visible()


@in_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_forty_cases_fit_their_column_and_their_names_stay_whole(opened, run, tmp_path, width):
    data = gather(run)
    cases = tuple({**data.cases[number % 4], "case": f"case_{number:05d}"} for number in range(40))
    files = {row["case"]: data.files[data.cases[number % 4]["case"]] for number, row in enumerate(cases)}
    text = page_text(replace(data, cases=cases, files=files), slices=2)
    (tmp_path / "forty.html").write_text(text, encoding="utf-8")
    window = opened(tmp_path / "forty.html", viewport={"width": width, "height": 900})
    wide = "[...document.querySelectorAll('.wide')].filter((box) => box.scrollWidth > box.clientWidth).length"
    assert window.evaluate(wide) == 0
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    heights = window.evaluate("[...document.querySelectorAll('#cases .name')].map((name) => name.offsetHeight)")
    assert len(heights) == 40 and max(heights) < 30  # one line each
    window.locator("#cases thead button", has_text="Case").click()
    assert window.locator("#cases tbody th").first.inner_text() == "case_00039"


@in_chromium
def test_every_case_is_paged_through_by_slice(opened, html):
    window = opened(html)
    assert window.locator(".pager").count() == len(NAMES)
    box = window.locator(".pager").first
    box.locator("summary").click()
    box.locator("svg image").wait_for()
    before = box.get_attribute("data-slice")
    box.locator("button[data-turn='1']").click()
    assert int(box.get_attribute("data-slice")) > int(before)
    assert box.locator("svg path").count() >= 2


@in_chromium
def test_on_a_phone_nothing_lies_beside_the_screen_and_touch_turns(opened, html):
    window = opened(html, **PHONE)
    assert window.evaluate("document.documentElement.scrollWidth") <= 360
    assert all(figure.bounding_box()["width"] <= 360 for figure in window.locator("figure").all())
    words = window.locator(".chart svg text").first
    assert words.bounding_box()["height"] >= 9
    before, at_rest = pixels(window), window.evaluate("scrollY")
    canvas = window.locator(".view canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    start = (box["x"] + 100, box["y"] + 100)
    devtools = window.context.new_cdp_session(window)

    def touch(kind, *points):
        spots = [{"x": x, "y": y} for x, y in points]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    touch("touchStart", start)
    for step in range(1, 9):
        touch("touchMove", (start[0] + 10 * step, start[1]))
    touch("touchEnd")
    assert np.mean(np.any(pixels(window) != before, axis=2)) > 0.02, at_rest


@in_chromium
def test_it_prints(opened, html, tmp_path):
    window = opened(html)
    window.emulate_media(media="print")
    assert window.locator(".turn").first.is_hidden() and window.locator("nav").is_hidden()
    assert window.locator(".chart svg").first.is_visible() and window.locator("svg.slice").first.is_visible()
    printed = window.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", printed)) >= 3
    assert len(re.findall(rb"/Subtype /Image", printed)) >= 2 * 3  # canvases of the 3-D views, slices


def test_the_file_is_small_whole_and_alone(run, html):
    text = html.read_text(encoding="utf-8")
    assert len(text) < 1_500_000
    assert text.count("<script") == 3 + 3 + len(NAMES) and "</html>" in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", re.sub(r"&[a-z]+;.*?&[a-z]+;", "", text))
    assert not list(run.glob(".tmp-*"))


def test_names_are_text_without_a_browser_too(run):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.texts = [], []

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.texts.append(data)

    data = gather(run)
    cases = [{**row, "case": f"{row['case']}{CLOSING}"} for row in data.cases]
    files = {f"{name}{CLOSING}": found for name, found in data.files.items()}
    line = replace(data.table1[0], name=f"a{CLOSING}")
    evil = {"title": CLOSING, "warnings": (CLOSING,), "facts": ((CLOSING,) * 2,), "table1": (line,)}
    reader = Reader()
    reader.feed(page_text(replace(data, cases=tuple(cases), files=files, **evil)))
    assert "img" not in reader.tags and reader.tags.count("script") == 3 + 3 + len(NAMES)
    assert {row["case"] for row in cases} <= set(reader.texts) and CLOSING in reader.texts


def test_forty_cases_of_many_tumors_stay_below_15_mb(run):
    data = gather(run)
    cases = [{**row, "case": f"{row['case']} {number}"} for number in range(10) for row in data.cases]
    files = {f"{name} {number}": found for number in range(10) for name, found in data.files.items()}
    text = page_text(replace(data, cases=tuple(cases), files=files))
    assert text.count('<article class="case">') == 3 + 6
    assert len(text) < 15_000_000 / 5


def test_scans_that_are_gone_leave_a_sentence(run, tmp_path):
    data = gather(run)
    text = page_text(replace(data, files={}))
    assert "this evaluation has no paths of scans" in text
    gone = {name: replace(found, image=tmp_path / "gone.nii.gz") for name, found in data.files.items()}
    text = page_text(replace(data, files=gone))
    assert text.count("the file of its image does not exist any more") == 3 + len(NAMES) and 'class="view"' not in text


def test_the_command(run, tmp_path, capsys):
    out = tmp_path / "elsewhere" / "my.html"
    assert report_command.main([str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for arguments, words in (([str(tmp_path)], "neither a run folder"), ([str(run), "--out", "x.pdf"], "HTML file")):
        assert report_command.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


def test_without_jinja2_the_package_is_named(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert report_command.main([str(run)]) == 2
    assert "pip install 'kidney_seg[report]'" in capsys.readouterr().err


def test_a_report_that_fails_does_not_fail_the_run(run, monkeypatch):
    def broken(*_):
        raise ValueError("no\nink")

    said = []
    monkeypatch.setattr(report, "write_report", broken)
    progressive._report(run, said.append)
    assert said == [f"no report (no ink); try python -m kidney_seg.report {run}"]
