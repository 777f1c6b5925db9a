"""Matplotlib figures as SVG elements for a page: text that stays text, marks that say what they are."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kidney_seg.figures.score_plots import Telling

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_MARKS = (f"{{{SVG}}}use", f"{{{SVG}}}path")  # many equal marks are uses of one path, few are paths of their own


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return the figure as an `<svg>` element whose ids begin with `name`; `description` is read to who cannot see it.

    The marks of a collection with `hover` texts (see `score_figures`) get `data-told` and a `<title>` of it. The same
    figure gives the same text.
    """
    import matplotlib

    told: dict[str | None, list[str]] = {}
    for number, drawn in enumerate(figure.findobj(lambda artist: hasattr(artist, "hover"))):
        drawn.set_gid(f"marks{number}")
        told[f"marks{number}"] = cast("Telling", drawn).hover
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for group in root.iter(f"{{{SVG}}}g"):
        texts = told.get(group.get("id"), ())
        shapes = {id(shape) for defs in group.iter(f"{{{SVG}}}defs") for shape in defs.iter()}
        marks = [mark for mark in group.iter() if mark.tag in _MARKS and id(mark) not in shapes]
        for mark, text in zip(marks, texts, strict=True) if texts else ():
            mark.set("data-told", text)
            ElementTree.SubElement(mark, f"{{{SVG}}}title").text = text
    _prefix_ids(root, name)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def _prefix_ids(root: ElementTree.Element, name: str) -> None:
    """Make ids, and what points to them, this figure's own: several figures share a page."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))


def json_for_script(content: object) -> str:
    """Return JSON for a `<script type="application/json">`: nothing in it can end the element or begin a comment."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
