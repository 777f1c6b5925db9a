"""Several folders of cases as one, by links: the slices of all sources, with one patient per KiTS number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.datasets.kits import find_cases
from data_prep.errors import InputError

_CURVAS = re.compile(r"curvas_(\d{5})_(\d+)")


def gather(folders: Sequence[str], out: Path) -> str:
    """Return one folder with the cases of all `folders`: the folder itself if there is one, else `out` with links.

    A case is called `<case>_<folder>`, so that the same slice from two sources stays two cases of one patient; a slice
    of CURVAS becomes `case_NNNNN_sNNNN_<folder>`. InputError for a folder without cases, or two of the same name.
    """
    if len(folders) == 1:
        return folders[0]
    names = [Path(folder).resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"folders {', '.join(names)}: expected different names, which become part of the cases' names")
    for folder, source in zip(folders, names, strict=True):
        for case in find_cases(folder)[0]:
            name = _CURVAS.sub(lambda found: f"case_{found[1]}_s{int(found[2]):04}", case.name)
            link = out / f"{name}_{source}"
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(case.image.resolve().parent, target_is_directory=True)
    return str(out)
