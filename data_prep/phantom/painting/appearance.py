"""Appearance of a simulated patient, which `--wild` draws at random; its defaults change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from data_prep.phantom.painting.canvas import TISSUES, Canvas

GRAIN_MM = 1.9  # of the noise: standard deviation of what smooths it
TEXTURED = ("liver", "spleen", "muscle", "kidney")  # tissues with a texture of their own


@dataclass(frozen=True)
class Appearance:
    """Appearance of one patient; the defaults change nothing, to the bit.

    noise_hu: standard deviation; tumor_contrast_hu: kidney as a whole minus tumor; None: the `Difficulty` draws it.
    rim_hu: added to the outermost `rim_mm` of the tumor. urine_hu: in pelvis, calyces and ureter; None: water. inner:
    amount (0..1) of fat, vessels and calyces inside the kidneys' labels. coat: factor on the fat around the kidneys;
    gap_mm: its least thickness; strands_hu: streaks in it. liver: factor on its width; rise_mm: how much higher the
    upper organs lie. bone: factor on HU above 150. texture_hu: deviation per tissue of `TEXTURED`, in grains of
    `texture_mm`. bias_hu: largest shading. blur_mm, grain_mm: standard deviations of the blur in plane and of the
    noise's grain.
    """

    noise_hu: float | None = None
    tumor_contrast_hu: float | None = None
    rim_hu: float = 0.0
    rim_mm: float = 3.0
    urine_hu: float | None = None
    inner: float = 0.0
    coat: float = 1.0
    gap_mm: float = 1.5
    strands_hu: float = 0.0
    liver: float = 1.0
    rise_mm: float = 0.0
    bone: float = 1.0
    texture_hu: dict[str, float] = field(default_factory=dict)
    texture_mm: float = 5.0
    bias_hu: float = 0.0
    blur_mm: float = 0.0
    grain_mm: float = GRAIN_MM


PLAIN_APPEARANCE = Appearance()


def add_texture(canvas: Canvas, look: Appearance) -> None:
    """Add texture to the painted tissues and scale bone; with `PLAIN_APPEARANCE` nothing changes or is drawn."""
    if look.bone != 1.0:
        canvas.hu += (look.bone - 1.0) * np.maximum(canvas.hu - 150.0, 0.0)
    if not look.texture_hu:
        return
    by_tissue = np.zeros(len(TISSUES), np.float32)
    for name, tissues in zip(TEXTURED, (("liver",), ("spleen",), ("muscle",), ("cortex", "medulla")), strict=True):
        for tissue in tissues:
            by_tissue[TISSUES.index(tissue)] = look.texture_hu[name]
    canvas.hu += by_tissue[canvas.tissue] * canvas.smooth_field(look.texture_mm)


def shading(canvas: Canvas, look: Appearance) -> np.ndarray | float:
    """Return a shading in HU that rises and falls once or twice across the body; 0 without."""
    if look.bias_hu == 0.0:
        return 0.0
    smooth = canvas.smooth_field(160.0)
    return smooth * np.float32(look.bias_hu / max(float(np.abs(smooth).max()), 1e-6))


def rim(depth_mm: np.ndarray, look: Appearance) -> np.ndarray:
    """Return the HU that the tumor's rim adds at each depth below its surface."""
    return look.rim_hu * np.clip((look.rim_mm - depth_mm) / 1.5, 0.0, 1.0)


def strands(canvas: Canvas, look: Appearance) -> np.ndarray | float:
    """Return the HU that streaks add to the fat around the kidneys; 0 without."""
    if look.strands_hu == 0.0:
        return 0.0
    return look.strands_hu * np.clip(1.0 - np.abs(canvas.smooth_field(9.0)) / 0.22, 0.0, 1.0)
