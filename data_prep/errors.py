"""Errors in the user's input, shared by all modules."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(Exception):
    """The user's input cannot be used.

    The message is one line: what is wrong, where, what was found, what was expected, what to do.
    Commands print it and end with exit code 2; in Python it is raised like any exception.
    """


def require(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of this project installs, and return it.

    InputError with the pip command where its package is not installed. An error inside an installed package keeps its
    traceback.

    >>> require("math", "onnx").pi > 3
    True
    >>> require("no_such_package.part", "onnx")
    Traceback (most recent call last):
    data_prep.errors.InputError: the package no_such_package is not installed; run: pip install 'kidney_seg[onnx]'
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise InputError(f"the package {package} is not installed; run: pip install 'kidney_seg[{extra}]'") from None
