"""Modules and functions that docstrings, comments, messages and pages name in backticks exist."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data_prep", "kidney_seg", "benchmarks")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
TEXTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FILES = ("bin", "csv", "dcm", "gz", "html", "js", "json", "md", "nii", "png", "py")  # last part of a file's name


@cache
def names_of(module: str) -> frozenset[str]:
    """Return the names at the top level of a module, those that it loads when first used included."""
    path = MODULES[module]
    found = set(re.findall(r"\w+", stub.read_text())) if (stub := path.with_suffix(".pyi")).exists() else set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                found.add(inner.name)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                found.add(inner.id)
            elif isinstance(inner, ast.alias):
                found.add(inner.asname or inner.name.partition(".")[0])
    return frozenset({*found, "__version__"} if path.name == "__init__.py" else found)


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or a name at the top level of one."""
    if name in MODULES:
        return True
    parts = name.split(".")
    module = next(found for end in range(len(parts), 0, -1) if (found := ".".join(parts[:end])) in MODULES)
    return parts[module.count(".") + 1] in names_of(module)


def quoted(text: str) -> Iterator[str]:
    """Yield the dotted names in backticks, without arguments."""
    for inside in re.findall(r"`([^`\n]+)`", text):
        name = re.sub(r"\(.*\)$", "", inside)
        if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", name) and name.rpartition(".")[2] not in FILES:
            yield name


def prose(source: str) -> Iterator[str]:
    """Yield the docstrings, other texts and comments of a module that hold a backtick."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) and "`" in token.string:
            yield token.string


def dead_names(module: str, source: str) -> list[str]:
    """Return the names in docstrings and comments that do not exist: of a package, or of a module beside this one."""
    names = [name for text in prose(source) for name in quoted(text)]
    if not names:
        return []
    folder = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    nodes = list(ast.walk(ast.parse(source)))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    dead = []
    for name in names:
        first = name.partition(".")[0]
        full = name if first in PACKAGES else f"{folder}.{name}"
        beside = f"{folder}.{first}" in MODULES and first not in used  # else an attribute of what is called so
        if (first in PACKAGES or beside) and not exists(full):
            dead.append(name)
    return dead


@pytest.mark.parametrize("module", MODULES)
def test_names_in_docstrings_and_comments_exist(module: str) -> None:
    assert dead_names(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_and_files_in_pages_exist(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [name for name in quoted(text) if name.partition(".")[0] in PACKAGES and not exists(name)] == []
    named = re.findall(rf"`((?:{'|'.join((*PACKAGES, 'tests'))})/[\w/.-]*)`", text)
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_dead_names_are_found() -> None:
    source = (
        '"""See `heads.FocalTversky`, `functional.focal_tversky` and `keras_losses.Gone()`."""\n'
        "# `kidney_seg.losses.heads`, `kidney_seg.losses.curves.POINTS`, `functional.py`, `data_prep.datasets.find`\n"
        "def f(curves):\n"
        '    """Take `curves.any`."""\n'
    )
    expected = ["keras_losses.Gone", "kidney_seg.losses.heads", "data_prep.datasets.find"]
    assert dead_names("kidney_seg.losses.device_sums", source) == expected
