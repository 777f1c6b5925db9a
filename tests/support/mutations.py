"""Seeded mutations of files: JSON with values of other types, sizes and depths, and bytes that are cut or changed."""

from __future__ import annotations

import copy
import json
import random
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 10**30, 1e308, -0.5, float("nan"), "", "x" * 300, "\0", "\ud800", "../../x", "7"),
    *([], {}, [[]], [None], ["x", 1], {"x": {}}, [1, 2, 3], {"": []}),
)


def mutated_json(text: str, count: int, seed: int = 0) -> Iterator[str]:
    """Yield mutations of JSON text: a value replaced or removed, a key renamed, text cut or too deep."""
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        kind = draw.randrange(10)
        if kind == 0:
            yield text[: draw.randrange(len(text))]
        elif kind == 1:
            yield json.dumps(draw.choice(VALUES))
        elif kind == 2:
            yield "[" * 100_000
        else:
            yield json.dumps(_mutated(json.loads(text), draw))


def _mutated(content: Any, draw: random.Random) -> Any:
    content = copy.deepcopy(content)
    parent, key = draw.choice(list(_places(content)))
    kind = draw.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent["other"] = parent.pop(key)
    elif kind == 2 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = draw.choice(VALUES)
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])


def mutated_bytes(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of a file that are cut, or of which one to eight bytes are others."""
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        if draw.randrange(3) == 0:
            yield content[: draw.randrange(len(content))]
            continue
        made = bytearray(content)
        for _ in range(draw.randrange(1, 9)):
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
        yield bytes(made)


def mutated_zip(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of a zip file with right checksums, in which one member is mutated or missing."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for number in range(count):
        name = random.Random(f"{seed} {number}").choice([None, *members])
        made = BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for member, data in members.items():
                if member == name:
                    text = member.endswith(".json")
                    new = mutated_json(data.decode(), 1, number + 1) if text else mutated_bytes(data, 1, number + 1)
                    data = next(iter(new))  # type: ignore[assignment]
                if name is not None or member.endswith(".json"):
                    archive.writestr(member, data)
        yield made.getvalue()
