"""The version of the installed distribution."""

from __future__ import annotations


def code_version() -> str:
    """Return the installed version of this project, `unknown` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kidney_seg")
    except PackageNotFoundError:
        return "unknown"
