"""The page in a real Chromium: drop, look, keys, save; no request elsewhere, no complaint, nothing serious for axe."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from support.app_process import running
from support.browser import in_chromium
from support.dicom_files import write_study, zipped
from support.helpers import save
from support.threshold_model import striped_hu, write_threshold_model

from kidney_seg.predict.__main__ import main as predict

pytest.importorskip("tornado", reason="no extra `app`")
pytestmark = [pytest.mark.network, pytest.mark.system, in_chromium]

SLOW_MS = 240_000
DRAWN = """() => new Promise((done) => {
  const look = () => (window.viewer.waiting ? requestAnimationFrame(look) : done());
  requestAnimationFrame(look);
})"""  # ends when the planes show what was last asked for
SIZES = {"phone": (390, 844), "laptop": (1280, 800), "large": (1920, 1080)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "best.keras")


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    with running(tmp_path_factory.mktemp("page") / "temporary", "--model", str(model)) as page:
        yield page


@pytest.fixture
def starter_page(tmp_path):
    """The page as users start it, with the model that ships."""
    with running(tmp_path / "temporary") as page:
        yield page


@pytest.fixture
def opened(browser, page):
    """Open the page in a new tab; at the end nothing must have been complained of, or asked of another address."""
    contexts, complaints, requests = [], [], []

    def open_page(address=None, width=1280, height=800, scheme="light"):
        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, accept_downloads=True)
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        context.on("request", lambda request: requests.append(request.url))
        tab.goto(address or page.address)
        tab.wait_for_selector("#model:not(:empty)")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    for entry in page.get("state").json()["entries"]:
        page.post(f"scans/{entry['number']}/remove")
    assert complaints == []
    assert bool(requests) == bool(contexts)  # none where a test is skipped
    assert [url for url in requests if not url.startswith(("http://127.0.0.1:", "data:"))] == []


def large_stripes() -> np.ndarray:
    return np.kron(striped_hu(), np.ones((2, 2, 2), np.int16))


@pytest.fixture
def scan(tmp_path):
    return save(tmp_path / "Jane Doe.nii.gz", large_stripes()[::-1])


def drop(tab, path) -> None:
    """Drop a file onto the page as a file manager does."""
    content = list(path.read_bytes())
    code = """([name, content]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(content)], name));
      for (const kind of ["dragover", "drop"])
        document.getElementById("drop").dispatchEvent(
          new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    tab.evaluate(code, [path.name, content])


def drop_and_wait(tab, path) -> None:
    drop(tab, path)
    tab.wait_for_selector("#surfaces .view[data-camera]")


def colors(tab, plane: str) -> np.ndarray:
    """The RGB of a plane's canvas, [y, x, 3]."""
    tab.evaluate(DRAWN)
    png = tab.evaluate("(id) => document.getElementById(id).toDataURL()", plane)
    picture = Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2])))
    return np.asarray(picture.convert("RGB")).astype(int)


def until(tab, code: str) -> None:
    """Wait until JavaScript gives true; the page's policy forbids Playwright's own way, which evaluates text inside."""
    end = time.monotonic() + SLOW_MS / 1000
    while not tab.evaluate(code):
        assert time.monotonic() < end, code
        tab.wait_for_timeout(50)


def near(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(picture - color).max(axis=-1) < 30).sum())


KIDNEY, TUMOR = (86, 180, 233), (230, 159, 0)


def at(tab) -> list[int]:
    return tab.evaluate("window.viewer.at")


def test_a_dropped_scan_is_segmented_shown_and_saved(opened, model, scan, tmp_path):
    tab = opened()
    drop_and_wait(tab, scan)
    assert tab.title() == "Kidneys and tumors"
    assert "Jane Doe.nii.gz" in tab.locator("#list").inner_text()
    assert near(colors(tab, "axial"), KIDNEY) > 50 and near(colors(tab, "axial"), TUMOR) > 20
    assert "Tumor 1" in tab.locator("#findings").inner_text()
    footer = tab.locator("footer").inner_text()
    assert "Research only: not a medical device." in footer and "Model: best" in footer
    for ending in (".nii.gz", ".seg.nrrd", ".csv", ".json"):
        with tab.expect_download() as found:
            tab.locator(f"a[data-ending='{ending}']").click()
        found.value.save_as(tmp_path / f"saved{ending}")
        assert "Doe" not in found.value.suggested_filename
    number = json.loads((tmp_path / "saved.json").read_text())["labels"].removesuffix(".nii.gz")
    for ending in (".nii.gz", ".seg.nrrd"):
        assert predict([str(model), str(scan), "--out", str(tmp_path / ending[1:] / f"{number}{ending}")]) == 0
        written = (tmp_path / ending[1:] / f"{number}{ending}").read_bytes()
        assert (tmp_path / f"saved{ending}").read_bytes() == written
    assert tab.locator("a[data-ending='.dcm']").count() == 0
    with tab.context.expect_page() as printed:
        tab.get_by_text("Page to print").click()
    assert printed.value.locator("article").count() == 1


def test_a_late_answer_that_lacks_the_dropped_scan_does_not_close_it(opened, scan):
    tab = opened()
    tab.evaluate("""() => {
      const [ask, late] = [window.fetch, []];
      window.fetch = async (...given) => {
        const answer = await ask(...given);
        if (!String(given[0]).endsWith("state") || late.length) return answer;
        late.push(answer);
        await new Promise((done) => { window.answerNow = done; });
        return answer;
      };
    }""")
    until(tab, "window.answerNow !== undefined")  # an answer from before the scan is on its way
    drop_and_wait(tab, scan)
    tab.evaluate("window.answerNow()")
    tab.evaluate("fetch('state').then((answer) => answer.text())")
    assert tab.locator("#list button[aria-pressed='true']").count() == 1
    assert tab.evaluate("Boolean(window.viewer.scan)")


@pytest.mark.slow
def test_a_real_scan_has_the_labels_of_the_command(starter_page, opened, shared_data, tmp_path):
    whole = nib.load(shared_data / "real_ct" / "case_90000" / "imaging.nii.gz")
    scan, labels = tmp_path / "scan-1.nii.gz", tmp_path / "out" / "scan-1.nii.gz"
    nib.save(whole.slicer[:, :, 76:92], scan)  # both kidneys
    tab = opened(starter_page.address)
    drop_and_wait(tab, scan)
    with tab.expect_download() as found:
        tab.locator("a[data-ending='.nii.gz']").click()
    command = [sys.executable, "-m", "kidney_seg.predict", "starter", str(scan), "--out", str(labels)]
    subprocess.run(command, check=True, timeout=SLOW_MS / 1000)
    assert found.value.path().read_bytes() == labels.read_bytes()
    assert set(np.unique(nib.load(labels).dataobj)) >= {0, 1}


def test_planes_are_linked_and_work_by_keys_wheel_and_mouse(opened, scan):
    tab = opened()
    drop_and_wait(tab, scan)
    tab.evaluate("window.viewer.goTo([5, 32, 32])")
    tab.focus("#axial")
    for key, expected in (("ArrowUp", 6), ("PageDown", 0), ("End", 9), ("ArrowDown", 8), ("Home", 0)):
        tab.keyboard.press(key)
        assert at(tab)[0] == expected
    until(tab, "document.getElementById('axial').getAttribute('aria-valuenow') === '1'")
    tab.hover("#coronal")
    tab.mouse.wheel(0, 120)
    until(tab, "window.viewer.at[1] === 33")
    box = tab.locator("#axial").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 - 20)
    z, y, x = at(tab)
    assert z == 0 and y < 32 < x
    assert "HU" in tab.locator("#at").inner_text()
    tab.get_by_role("button", name="Tumor 1").click()
    labels = tab.evaluate(
        "(() => { const v = window.viewer, s = v.scan.shape; return v.labels[(v.at[0]*s[1]+v.at[1])*s[2]+v.at[2]]; })()"
    )
    assert labels == 2


def test_windows_and_ways_to_show_labels(opened, scan):
    tab = opened()
    drop_and_wait(tab, scan)
    tab.select_option("#mode", "none")
    plain = colors(tab, "axial")
    assert near(plain, KIDNEY) == near(plain, TUMOR) == 0
    tab.select_option("#window", "bone")
    assert tab.input_value("#low") == "-450" and not np.array_equal(colors(tab, "axial"), plain)
    tab.select_option("#window", "kidney")
    assert np.array_equal(colors(tab, "axial"), plain)
    tab.fill("#low", "250")
    assert tab.input_value("#window") == "own" and colors(tab, "axial").mean() < plain.mean()
    tab.select_option("#window", "kidney")
    tab.select_option("#mode", "filled")
    tab.evaluate("window.viewer.change({ opacity: 1 })")
    assert near(colors(tab, "axial"), TUMOR) > 200


def test_all_by_keyboard(opened, scan, tmp_path):
    folder = tmp_path / "case_00000"
    folder.mkdir()
    shutil.move(scan, folder / "imaging.nii.gz")
    save(folder / "segmentation.nii.gz", (large_stripes() > 50).astype(np.uint8)[::-1])
    tab = opened()
    seen = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        seen.add(tab.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"file", "SUMMARY", "window", "low", "high", "mode", "opacity", "axial", "coronal", "sagittal"} <= seen
    tab.focus("summary")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    tab.keyboard.type(str(folder))
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#surfaces .view[data-camera]")
    assert "Compared with the truth" in tab.locator("#findings").inner_text()
    assert tab.locator("#surfaces canvas").count() == 2
    tab.focus("#surfaces canvas")
    before = tab.locator(".view").get_attribute("data-camera")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".view").get_attribute("data-camera") != before
    tab.get_by_role("button", name="Remove Scan").focus()
    tab.keyboard.press("Enter")
    until(tab, "document.querySelectorAll('#list li').length === 0")
    assert sorted(path.name for path in folder.iterdir()) == ["imaging.nii.gz", "segmentation.nii.gz"]


def test_two_series_and_what_cannot_be_read(opened, scan, tmp_path):
    tab = opened()
    drop(tab, zipped(write_study(tmp_path / "study", np.repeat(striped_hu(6), 2, axis=0)), tmp_path / "study.zip"))
    tab.wait_for_selector("button.choice")
    assert tab.locator("button.choice").count() == 2
    tab.locator("button.choice").nth(1).click()
    tab.wait_for_selector("#surfaces .view[data-camera]")
    assert tab.evaluate("window.viewer.scan.shape[0]") == 6
    assert tab.locator("a[data-ending='.dcm']").count() == 1
    drop(tab, zipped(write_study(tmp_path / "mr", striped_hu(6), modality="MR"), tmp_path / "mr.zip"))
    tab.wait_for_selector("li[data-state='failed'] .error")
    assert "MR" in tab.locator("li[data-state='failed'] .error").inner_text()
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(scan.read_bytes()[:-200])
    drop(tab, damaged)
    until(tab, "document.querySelectorAll(\"li[data-state='failed']\").length === 2")


def test_two_tabs_see_one_list(opened, scan):
    first, second = opened(), opened()
    drop_and_wait(first, scan)
    second.wait_for_selector("li[data-state='done'] button.link")
    assert "Jane Doe" not in second.locator("body").inner_text()  # the name stays in the tab that sent the file
    second.locator("li button.link").click()
    second.wait_for_selector("#surfaces .view[data-camera]")
    second.get_by_role("button", name="Remove Scan").click()
    until(first, "document.querySelectorAll('#list li').length === 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(opened, scan, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    width, height = SIZES[size]
    tab = opened(width=width, height=height, scheme=scheme)
    drop_and_wait(tab, scan)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    serious = [
        (found["id"], [node["html"][:120] for node in found["nodes"]])
        for found in axe.Axe().run(tab).response["violations"]
        if found["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert tab.locator("footer").bounding_box()["y"] < height


def test_a_server_that_is_gone_is_said(browser, model, tmp_path):
    with running(tmp_path / "temporary", "--model", str(model)) as page:
        tab = browser.new_page()
        tab.set_default_timeout(SLOW_MS)
        tab.goto(page.address)
        tab.wait_for_selector("#model:not(:empty)")
        page.process.kill()
        page.process.wait()
        tab.wait_for_selector("body.ended")
        assert "The program has ended" in tab.locator("#message").inner_text()
        tab.close()


def test_scrolling_is_fluent(opened):
    """Thirty pictures a second are promised for 512 x 512 x 216: so much processor time may each take here.

    How many a second a loaded machine shows is not asked: a picture per step is.
    """
    tab = opened()
    tab.evaluate("""async () => {
      const shape = [216, 512, 512];
      const voxels = new Int16Array(216 * 512 * 512).map((_, i) => (i * 7919) % 400 - 100);
      const labels = new Uint8Array(voxels.length);
      for (let z = 50; z < 150; z++) for (let y = 200; y < 300; y++) {
        const row = (z * 512 + y) * 512;
        labels.fill(y % 9 ? 1 : 2, row + 100, row + 250);
      }
      window.viewer.show({ voxels, shape, spacing: [2, 0.8, 0.8] });
      window.viewer.change({ labels });
    }""")
    tab.evaluate(DRAWN)
    chromium = tab.context.new_cdp_session(tab)
    chromium.send("Performance.enable")
    begun = processor_s(chromium)
    rate, frames = tab.evaluate("""async () => {
      const next = () => new Promise(requestAnimationFrame);
      const [begun, before] = [performance.now(), window.viewer.frames];
      for (let z = 0; z < 216; z++) { window.viewer.goTo([z, 250, 150]); await next(); }
      const frames = window.viewer.frames - before;
      return [frames / (performance.now() - begun) * 1000, frames];
    }""")
    each_ms = 1000 * (processor_s(chromium) - begun) / frames
    print(f"{rate:.0f} pictures a second, {frames} of 216, {each_ms:.1f} ms of processor time each")
    assert frames >= 210 and each_ms < 1000 / 30


def processor_s(chromium) -> float:
    """Seconds that the page's process has computed so far."""
    metrics = chromium.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "ProcessTime")
