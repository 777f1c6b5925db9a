"""Wheel and source distribution: whole, and enough by themselves to run the demo outside the repository."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support.dicom_files import random_hu, save_slices, slices_of
from support.helpers import SMALLEST

from data_prep.errors import InputError, require
from data_prep.phantom.cohort import write_cohort
from kidney_seg.predict import __main__ as predict
from kidney_seg.report import slices as report_pictures
from kidney_seg.report.files import Files

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("data_prep", "kidney_seg", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
SHORT = ["starts=1", "start_steps=4", "max_rounds=0", "retries=0", *SMALLEST]
# the command, with a sixth of the demo's patients
FEWER = """
import runpy
from kidney_seg.progressive import demo_data
demo_data.DEMO_PATIENTS = {"train": 5, "validation": 1, "test": 2}
runpy.run_module("kidney_seg.progressive", run_name="__main__", alter_sys=True)
"""
EXTRAS = {
    *("gpu", "all", "app", "completion", "onnx", "serving", "scale", "dicom", "report", "notebooks", "jax", "yaml"),
    *("mlflow", "wandb", "docs", "bench", "test"),
}
FILES = sorted(ROOT.glob("requirements*.txt"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the wheel and the source distribution, built from a copy."""
    root = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(root / "dist"), str(root)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Python of an environment with the wheel, and with the packages (not this project) of the one that tests."""
    root = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    python = root / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True, env=_alone())
    (packages,) = root.glob("lib/python*/site-packages")
    others = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "others.pth").write_text("\n".join(others) + "\n")  # their own .pth files do not count
    return python


def _alone() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class _Without:
    """Finds no module of one package, as if it were not installed."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])


@pytest.mark.slow
def test_distributions_hold_all_files(built):
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("data_prep", "kidney_seg")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"kidney_seg/py.typed", "data_prep/py.typed", "kidney_seg/report/assets/view.js"} <= wanted
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == wanted
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml"} <= held


@pytest.mark.slow
def test_wheel_runs_the_demo_outside_the_repository(installed, tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([installed, *words], cwd=tmp_path, env=_alone(), capture_output=True, text=True)

    where = run("-c", "import data_prep, kidney_seg; print(data_prep.__file__, kidney_seg.__file__)").stdout.split()
    assert len(where) == 2 and all(Path(path).is_relative_to(installed.parents[1]) for path in where)
    assert "python -m kidney_seg.predict" in run("-m", "kidney_seg").stdout
    usage = subprocess.run([installed.parent / "kidney-seg", "split", "--help"], capture_output=True, text=True)
    assert usage.stdout.startswith("usage: python -m data_prep.split"), usage.stderr
    demo = run("-c", FEWER, "--set", *SHORT)
    assert "Table 1: Dice of 2 test patients" in demo.stdout, demo.stdout[-1000:] + demo.stderr[-2000:]
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()


@pytest.mark.slow
def test_types():
    words = [sys.executable, "-m", "mypy"]  # what `setup.cfg` lists; what did not change since is in .mypy_cache
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def setup():
    """The settings of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def ranges(text: str) -> list[Requirement]:
    """Return the requirements of a list in setup.cfg, without extras of this project."""
    return [Requirement(line) for line in text.split("\n") if line.strip() and not line.startswith("kidney_seg[")]


def test_every_extra_is_there(setup):
    extras = setup["options.extras_require"]
    assert set(extras) == EXTRAS
    assert "highdicom" not in setup["options"]["install_requires"]
    named = {
        name for text in extras.values() for part in re.findall(r"kidney_seg\[(.+)]", text) for name in part.split(",")
    }
    assert named <= EXTRAS


def pinned(path: Path) -> dict[str, list[Requirement]]:
    """Return the requirements of a file by name, with all of its lines joined."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        if line and not line.startswith(("#", "-r ")):
            one = Requirement(line.partition("--hash")[0])
            found.setdefault(canonicalize_name(one.name), []).append(one)
    return found


@pytest.mark.parametrize("path", [path for path in FILES if "bench" not in path.name], ids=lambda path: path.stem)
def test_requirements_are_exact_and_have_hashes(path):
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert lines[0] == "-r requirements.txt" or path.name == "requirements.txt"
    for line in lines[path.name != "requirements.txt" :]:
        assert re.match(r"[a-z0-9-]+==[^ ]+ (; [^#]+ )?( *--hash=sha256:[0-9a-f]{64})+$", line), line[:100]


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("requirements.txt", ["options install_requires"]),
        ("requirements-test.txt", [f"options.extras_require {extra}" for extra in ("test", "onnx", "dicom", "jax")]),
        ("requirements-docs.txt", ["options.extras_require docs"]),
        ("requirements-notebooks.txt", ["options.extras_require notebooks"]),
        ("requirements-serving.txt", ["options.extras_require serving"]),
        ("requirements-bench.txt", ["options.extras_require bench"]),
    ],
)
def test_exact_versions_are_within_the_ranges(name, lists, setup):
    exact = {**pinned(ROOT / "requirements.txt"), **pinned(ROOT / name)}
    for section, option in map(str.split, lists):
        for wanted in ranges(setup[section][option]):
            for one in exact[canonicalize_name(wanted.name)]:
                (version,) = (specifier.version for specifier in one.specifier)
                assert wanted.specifier.contains(version), f"{wanted} {version}"
    if name == "requirements.txt":  # without CUDA, the same version
        (cuda,), (cpu,) = exact["tensorflow"], exact["tensorflow-cpu"]
        assert cuda.specifier == cpu.specifier
        assert [one.marker.evaluate() for one in (cuda, cpu)] in ([True, False], [False, True])


def test_python_versions_agree(setup):
    supported = SpecifierSet(setup["options"]["python_requires"])
    minors = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    assert minors == [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in supported] == ["3.11", "3.12", "3.13"]
    for name in ("Makefile", "README.md", "docs/howto/install.md", ".github/workflows/test.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert minors[0] in text and minors[-1] in text, name


@pytest.mark.parametrize(
    ("module", "extra"), [("highdicom", "dicom"), ("skimage.measure", "report"), ("ipywidgets", "notebooks")]
)
def test_a_missing_extra_is_one_line_with_the_pip_command(module, extra, monkeypatch):
    hide(module.partition(".")[0], monkeypatch)
    with pytest.raises(InputError) as caught:
        require(module, extra)
    assert f"run: pip install 'kidney_seg[{extra}]'" in str(caught.value) and "\n" not in str(caught.value)


def test_commands_tell_of_a_missing_extra(tmp_path, monkeypatch, capsys):
    save_slices(tmp_path / "ct", slices_of(random_hu()))
    (tmp_path / "best.keras").write_bytes(b"not looked at")
    hide("highdicom", monkeypatch)
    hide("skimage", monkeypatch)
    assert predict.main([str(tmp_path / "best.keras"), str(tmp_path / "ct"), "--out", str(tmp_path / "x.dcm")]) == 2
    assert "pip install 'kidney_seg[dicom]'" in capsys.readouterr().err

    (case,) = write_cohort(tmp_path / "patients", cases=1, size=32, slices=8)
    labels = case / "segmentation.nii.gz"
    picture, meshes, why = report_pictures.draw_case(Files(case / "imaging.nii.gz", labels, labels), True)
    assert picture is not None and meshes is None and "pip install 'kidney_seg[report]'" in why
