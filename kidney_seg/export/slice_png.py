"""CT slices as 16-bit gray PNG (HU + 32768), inputs of the `png` signature, and the label images that it returns.

Lossless, a third to a half of the raw size, readable by any image library.
"""

from __future__ import annotations

import io
import warnings

import numpy as np

from data_prep.errors import raise_if_out_of_memory
from kidney_seg.export.contract import PNG_ZERO


def encode_slice(hu: np.ndarray) -> bytes:
    """Return a PNG file of one slice, int16 HU [y, x].

    >>> encode_slice(np.zeros((2, 3), np.int16))[:4]
    b'\\x89PNG'
    """
    from PIL import Image

    gray = (hu.astype(np.int32) + PNG_ZERO).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "png", compress_level=1)
    return file.getvalue()


def decode_labels(file: bytes, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return labels, uint8 [y, x], of an 8-bit gray PNG. ValueError for other files or another shape."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(file), formats=("PNG",)) as image:
            if image.mode != "L" or image.size != shape_yx[::-1]:
                raise ValueError(f"label image of mode {image.mode} and size {image.size}, expected {shape_yx[::-1]}")
            return np.array(image, np.uint8)
    except Exception as error:  # Pillow's have no common base; those of claims of gigapixels are none of its errors
        raise_if_out_of_memory(error)
        raise ValueError(f"label image cannot be read ({error})") from None


def largest_bytes(shape_yx: tuple[int, int], bits: int) -> int:
    """Return the largest size of a PNG of that shape in bytes: noise does not compress and has some overhead."""
    rows, columns = shape_yx
    raw = rows * (1 + columns * bits // 8)
    return raw + raw // 1000 + 1024
