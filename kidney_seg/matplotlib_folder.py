"""Give Matplotlib a temporary folder for its list of fonts, which it would write to the home folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VARIABLE = "MPLCONFIGDIR"


class _BeforeMatplotlib:
    # finds nothing: what matters is when it is asked, before the first import of Matplotlib, which few commands need

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "matplotlib":
            sys.meta_path.remove(self)
            if not (_VARIABLE in os.environ or _is_used()):
                import atexit
                import logging
                import shutil
                import tempfile

                os.environ[_VARIABLE] = folder = tempfile.mkdtemp(prefix="matplotlib-")
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
                logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it says that it lists fonts


def keep_matplotlib_out_of_home() -> None:
    """Let Matplotlib write to a temporary folder, unless MPLCONFIGDIR names one or it has its own two at home.

    The temporary folder is made when Matplotlib is first imported, and removed when the process ends.
    """
    if "matplotlib" not in sys.modules:
        sys.meta_path.insert(0, _BeforeMatplotlib())


def _is_used() -> bool:
    bases = (os.environ.get(f"XDG_{what}_HOME") or f"~/.{what.lower()}" for what in ("CONFIG", "CACHE"))
    return all(Path(os.path.expanduser(base), "matplotlib").is_dir() for base in bases)
