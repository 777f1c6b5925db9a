"""Matplotlib figures as SVG elements for a page, with text as text and hover texts for the marks."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kidney_seg.figures.score_plots import HoverPoints

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_MARKS = (f"{{{SVG}}}use", f"{{{SVG}}}path")  # many equal marks are uses of one path, few are paths of their own


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return the figure as an `<svg>` element whose ids begin with `name`; `description` is for screen readers.

    The marks of a collection with `hover` texts (see `score_plots`) get them as `data-hover` and `<title>`. The same
    figure gives the same text.
    """
    import matplotlib

    hover: dict[str | None, list[str]] = {}
    for number, drawn in enumerate(figure.findobj(lambda artist: hasattr(artist, "hover"))):
        drawn.set_gid(f"marks{number}")
        hover[f"marks{number}"] = cast("HoverPoints", drawn).hover
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for group in root.iter(f"{{{SVG}}}g"):
        texts = hover.get(group.get("id"), ())
        shapes = {id(shape) for defs in group.iter(f"{{{SVG}}}defs") for shape in defs.iter()}
        marks = [mark for mark in group.iter() if mark.tag in _MARKS and id(mark) not in shapes]
        for mark, text in zip(marks, texts, strict=True) if texts else ():
            mark.set("data-hover", text)
            ElementTree.SubElement(mark, f"{{{SVG}}}title").text = text
    _prefix_ids(root, name)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def _prefix_ids(root: ElementTree.Element, name: str) -> None:
    """Add the figure's name to its ids and to the links to them: several figures share a page."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
