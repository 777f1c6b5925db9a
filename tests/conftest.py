"""Fixtures that several test modules share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import kidney_seg  # noqa: F401 - before TensorFlow, whose kernels it chooses

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Files that take minutes: in several processes (`make test`) they come first, so that none is left for the end.
LONGEST = (
    "docs/test_docs.py",
    "kidney_seg/model/test_conformance.py",
    "kidney_seg/progressive/test_survival.py",
    "notebooks/test_notebooks.py",
    "kidney_seg/training/test_devices.py",
    "kidney_seg/serving/test_volumes.py",
    "benchmarks/test_benchmarks.py",
    "kidney_seg/training/test_process_group.py",
    "kidney_seg/progressive/test_driver.py",
    "kidney_seg/progressive/test_verdict.py",
    "packaging/test_packaging.py",
    "kidney_seg/export/test_exporters.py",
    "kidney_seg/model/test_jax.py",
    "kidney_seg/report/test_page.py",
    "benchmarks/test_paper_on_kits.py",
    "benchmarks/test_real_slices.py",
    "docs/test_kits.py",
    "kidney_seg/progressive/test_origin.py",
    "kidney_seg/progressive/test_pretrained.py",
)

# What skipped tests leave untried, by a word of the reason that they give.
UNTRIED = {
    str(SHARED): "real scans and label maps are read, cached, cleaned up, scored and shown as simulated ones are",
    "PyTorch": "the benchmarks' copy in PyTorch is the same network",
    "JAX": "training and answers under JAX are those under TensorFlow",
    "Dask": "a cluster does the work of one process",
    "Chromium": "the report and the page work in a browser",
    "axe": "an accessibility checker finds nothing serious in the page",
    "bash": "the shell completes commands",
}


def what_is_untried(reasons: Iterable[str]) -> str:
    """Return one line on skipped tests: how many there are, and what they leave untried, by their reasons."""
    told = Counter(next((UNTRIED[word] for word in UNTRIED if word in reason), reason) for reason in reasons)
    return f"{told.total()} skipped, so untried: " + "; ".join(f"{what} ({n})" for what, n in told.most_common())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", type=int, default=20, help="of each kind of file, for tests/test_mutated_files.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end of a run, in several processes too, what skipped tests leave untried."""
    if skipped := terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(what_is_untried(report.longrepr[2] for report in skipped))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    items.sort(key=lambda item: LONGEST.index(_place(item)) if _place(item) in LONGEST else len(LONGEST))


def _place(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).as_posix() if Path(__file__).parent in item.path.parents else ""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real patients' data beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data: {SHARED / 'data'} is absent")
    return SHARED / "data"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; tests that ask for it are marked `support.browser.in_chromium`."""
    from support.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def golden() -> dict:
    """Masks with figures that reference metric code gave for them, by key; `values` is the decoded JSON."""
    path = Path(__file__).parent / "golden" / "metrics.npz"
    with np.load(path) as arrays:
        content = {key: arrays[key] for key in arrays.files}
    content["values"] = json.loads(str(content["values"]))
    return content


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache of eight simulated patients, who are in `patients` beside it; see `support.helpers.simulated_cache`."""
    from support.helpers import simulated_cache
    from support.once import made_once

    return made_once(tmp_path_factory, "simulated", simulated_cache) / "cache"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny untrained model that finds all three classes: its `.keras` file, and the version folder of its export."""
    from support.once import made_once

    root = made_once(tmp_path_factory, "exported", _export)
    return root / "model.keras", root / "kidney_seg" / "1"


def _export(root: Path) -> None:
    import keras

    from data_prep.geometry.network_grid import GridSettings
    from kidney_seg.config.run_config import Config
    from kidney_seg.export.exporters import export_saved_model
    from kidney_seg.model.attention_unet import build_model
    from kidney_seg.model.model_file import save_model

    settings = (
        "size=32 width_factor=0.1 gates= multi_scale_input=false foreground_prior=0 hu_window=-500,500 kidney_ml=5"
    )
    config = Config().with_settings(settings.split())
    keras.utils.set_random_seed(5)
    model = build_model(config.model)
    decided = model.get_layer("head4_logits")  # an untrained network is of no opinion
    decided.set_weights([60 * decided.get_weights()[0], decided.get_weights()[1]])
    save_model(model, config, GridSettings(32), root / "model.keras")
    assert export_saved_model(root / "model.keras", root / "kidney_seg") == root / "kidney_seg" / "1"
