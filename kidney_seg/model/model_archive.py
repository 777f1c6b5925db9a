"""The inside of a `.keras` file, which may come from anywhere: sizes and settings, and the network that it makes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.json_files import parse_json
from data_prep.files.regular_files import check_regular
from kidney_seg.config.model import ModelConfig

SETTINGS_MEMBER = "kidney_seg.json"  # in the zip file; Keras ignores it
WEIGHTS_MEMBER = "model.weights.h5"  # as Keras calls it
CONFIG_MEMBER = "config.json"  # the network, as Keras describes it
# bytes of a member, inflated: a zip file of megabytes may hold gigabytes; the settings have some 5,000
LARGEST_SETTINGS, LARGEST_TEXT, LARGEST_WEIGHTS = 1 << 20, 1 << 24, 1 << 32


def settings_in_archive(path: Path) -> dict[str, Any]:
    """Return what this project writes into a `.keras` file; InputError unless it is whole and of sizes to read."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            most = {SETTINGS_MEMBER: LARGEST_SETTINGS, WEIGHTS_MEMBER: LARGEST_WEIGHTS}
            for member in archive.infolist():
                if member.file_size > (limit := most.get(member.filename, LARGEST_TEXT)):
                    raise zipfile.BadZipFile(f"{member.filename!a:.80} has more than {limit} bytes")
            broken = archive.testzip()
            if broken:
                raise zipfile.BadZipFile(f"checksum of {broken} is wrong")
            return parse_json(archive.read(SETTINGS_MEMBER))
    except KeyError:
        raise InputError("a .keras file without the settings that this project writes into it", path=path) from None
    except OSError as error:
        raise_if_out_of_memory(error, path)
        raise InputError(f"cannot be read ({error.strerror}); expected a .keras file", path=path) from None
    except Exception as error:  # zipfile and its decompressors have no common base
        raise_if_out_of_memory(error, path)
        raise InputError(f"incomplete .keras file ({error}); train again or restore it", path=path) from None


def check_network(model: Any, config: ModelConfig, failed: bool = False) -> None:
    """Raise ValueError unless a loaded model takes slices, and answers in its finest head, as its settings say.

    Its weights must be finite, because a network with others finds nothing. failed: its file says that its training
    failed, and every command prints that.
    """
    found = [tuple(one.shape) for one in (*model.inputs, model.outputs[-1])]
    expected = [(None, config.size, config.size, channels) for channels in (config.input_slices, config.classes)]
    if found != expected:
        raise ValueError(f"its input and finest head are {found}, by its settings {expected}")
    for weight in () if failed else model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise ValueError(f"weights of {weight.path} are NaN or infinite")
