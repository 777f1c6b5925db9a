"""The layout of the sources: small folders and modules, and modules that keep their private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_MODULES, MOST_LINES = 15, 250
PACKAGES = ("data_prep", "kidney_seg")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every `from module import name` of a file, late ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_no_folder_of_more_than_fifteen_modules() -> None:
    folders = {path.parent for path in MODULES}
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MOST_MODULES} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_is_short_and_takes_no_private_name_of_another(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    taken = [
        f"{module}.{name}"
        for module, name in imports(path)
        if module.split(".")[0] in PACKAGES and (name.startswith("_") and not name.startswith("__"))
    ]
    assert taken == []


def test_no_test_imports_another_test() -> None:
    found = [
        f"{path.name}: {module}"
        for path in (ROOT / "tests").rglob("*.py")
        for module, _ in imports(path)
        if any(part.startswith("test_") for part in module.split("."))
    ]
    assert [line for line in found if "kidney_seg.predict.test_time_augmentation" not in line] == []
