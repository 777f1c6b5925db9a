"""Names of modules in version 0.1: imports from its docs still work, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _OldNames:
    # finder and loader by their methods alone: importlib.abc takes longer to import than the rest of the package

    def __init__(self, now: Mapping[str, Sequence[str]]) -> None:
        self.now = now

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.now else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # a module as usual

    def exec_module(self, module: ModuleType) -> None:
        places = self.now[module.__name__]
        warnings.warn(f"{module.__name__} is now {' and '.join(places)}", DeprecationWarning, stacklevel=2)

        def find(name: str) -> object:
            for place in places:
                if hasattr(found := importlib.import_module(place), name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__dict__["__getattr__"] = find


def redirect(now: Mapping[str, Sequence[str]]) -> None:
    """Let modules be imported by their old names.

    Args:
        now: per old name, the modules that hold its contents now, in the order of the search for a name.
    """
    sys.meta_path.append(_OldNames(now))  # last, so that it costs nothing for a module that exists
