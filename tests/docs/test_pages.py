"""The docs build without a warning, their links work, and every page has an example."""

from __future__ import annotations

import configparser
import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from markdown.extensions.toc import slugify

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*PAGES, *sorted(ROOT.glob("*.md"))]


def prose(path: Path) -> str:
    """Return a Markdown file, or the Markdown cells of a notebook, without its blocks of code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def dead_links(path: Path) -> list[str]:
    """Return the links of a text to files or headings that do not exist."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        parts = urlsplit(target)
        goal = path.parent / unquote(parts.path) if parts.path else path
        if parts.scheme:
            continue
        if not goal.exists():
            dead.append(target)
        elif parts.fragment and goal.suffix in (".md", ".ipynb"):
            headings = re.findall(r"^#+ +(.+?) *$", prose(goal), re.MULTILINE)
            if unquote(parts.fragment) not in [slugify(heading, "-") for heading in headings]:
                dead.append(target)
    return dead


@pytest.mark.parametrize("path", [*TEXTS, *sorted(ROOT.glob("notebooks/*.ipynb"))], ids=lambda path: path.name)
def test_links_of_texts_work(path):
    assert dead_links(path) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# Two words, here\n\n```\n# no heading\n```\n")
    (tmp_path / "page.md").write_text(
        "# Top\n[a](other.md) [b](other.md#two-words-here) [c](#top) [d](https://example.org/#x)\n"
        "[e](gone.md) [f](other.md#no-heading) [g](#two-words-here)\n"
    )
    assert dead_links(tmp_path / "page.md") == ["gone.md", "other.md#no-heading", "#two-words-here"]


def test_pages_that_the_code_names_exist():
    sources = [*ROOT.glob("kidney_seg/**/*.py"), *ROOT.glob("data_prep/**/*.py")]
    named = {name for path in sources for name in re.findall(r"\bdocs/[\w/]+\.md", path.read_text(encoding="utf-8"))}
    assert len(named) > 5 and [name for name in named if not (ROOT / name).is_file()] == []


def has_example(text: str) -> bool:
    """Whether a page shows a command or Python code that can be run, or docstrings, which have their own examples."""
    blocks_of_code = "".join(re.findall(r"^ *```.*?^ *```|^    [^\n]+\n", text, re.MULTILINE | re.DOTALL))
    to_be_run = r"^ *(python -m |make |kidney-seg |import |from [\w.]+ import )"
    return bool(re.search(to_be_run, blocks_of_code, re.MULTILINE)) or "\n::: " in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_without_an_example(page):
    assert has_example(page.read_text(encoding="utf-8"))


def sentences(text: str) -> list[list[str]]:
    """Return the sentences of Markdown text as words, without code, tables and addresses; an item of a list is one."""
    text = re.sub(r"^ *```.*?^ *```|^\|.*?$|^#.*?$|^ {4}\w.*?$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", text)
    found = [part.split() for block in blocks for part in re.split(r"(?<=[.?!])[*)]*\s", block)]
    return [kept for words in found if (kept := [word for word in words if re.search(r"\w", word)])]


def test_sentences_are_counted():
    text = "# Title\n\nOne [two three](a.md) .5. *Four.* Five `a b`\nsix:\n\n- seven;\n- eight\n\n| a | b |\n"
    assert [len(words) for words in sentences(text)] == [4, 1, 4, 1, 1]


@pytest.mark.parametrize(
    ("name", "most"),
    [("README.md", 25), *((page.relative_to(ROOT).as_posix(), 35) for page in PAGES)],
)
def test_sentences_are_short(name, most):
    found = sentences((ROOT / name).read_text(encoding="utf-8"))
    assert [" ".join(words) for words in found if len(words) > most] == []


def test_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1500 and sum(map(len, sentences(text))) <= 900


def test_readme_cites_what_citation_file_does():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = cited["preferred-citation"]
    people = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert f"title = {{{paper['title']}}}, author = {{{people}}}, booktitle = {{{paper['collection-title']}}}" in readme
    assert f"title = {{{cited['title']}}}, author = {{{{{cited['authors'][0]['name']}}}}}" in readme
    assert f"version = {{{cited['version']}}}" in readme


def test_the_version_is_that_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+) - (\S+)$", changes, re.MULTILINE)
    assert newest.groups() == (version, str(cited["date-released"])) and cited["version"] == version


def test_a_diagram_is_not_an_example():
    assert not has_example("# Page\n\n```\nbox --> box\n```\n\nimport is a word, python -m also.\n")


class _Page(html.parser.HTMLParser):
    """The names and links of a built page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # a warning is an error
    return out


@pytest.mark.slow
def test_site_has_no_dead_link_and_loads_nothing_from_other_hosts(site):
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) >= len(PAGES)
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            goal = goal / "index.html" if goal.is_dir() else goal
            assert goal.is_file(), f"{path.name}: {link}"
            if parts.fragment and goal in pages and parts.fragment != "__skip":
                assert unquote(parts.fragment) in pages[goal].ids, f"{path.name}: {link}"
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+href=\"?https?:[^>]+stylesheet", text
        )


@pytest.mark.slow
def test_reference_contains_the_docstrings(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("focal_tversky", "read_volume", "predict_volume", "remove_distant_objects", "evaluate_folders"):
        assert name in text
    assert "so that the gradient is finite at a perfect prediction" in text
