"""What a simulated patient looks like beyond the plain generator: all that `--wild` draws, and its neutral values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from data_prep.phantom.painting.canvas import TISSUES, Canvas

GRAIN_MM = 1.9  # of the noise: standard deviation of what smooths it
TEXTURED = ("liver", "spleen", "muscle", "kidney")  # tissues with a texture of their own


@dataclass(frozen=True)
class Appearance:
    """Looks of one patient; the defaults change nothing, to the bit.

    noise_hu: standard deviation; tumor_contrast_hu: kidney as a whole less tumor; either is drawn by the `Difficulty`
    where it is None. rim_hu: added to the outermost `rim_mm` of the tumor. urine_hu: in pelvis, calyces and ureter;
    None: water. inner: 0..1, how much fat, vessel and calyx shows inside of the kidneys' labels. coat: factor on the
    fat around the kidneys; gap_mm: fat that is there in any case. strands_hu: streaks in that fat. liver: factor on
    its width; rise_mm: how much higher the upper organs lie. bone: factor on what is above 150 HU. texture_hu:
    deviation within the tissue, by `TEXTURED`, in grains of `texture_mm`. bias_hu: largest shading. blur_mm: of the
    image in plane, grain_mm: of its noise (standard deviations).
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

    def record(self) -> dict:
        """Return it as JSON has it."""
        return asdict(self)


PLAIN_APPEARANCE = Appearance()


def add_texture(canvas: Canvas, look: Appearance) -> None:
    """Make the painted tissues uneven and scale bone; a kidney that is painted is textured as one.

    With `PLAIN_APPEARANCE` nothing is done and nothing drawn.
    """
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
    """Return a field over the canvas, HU, that rises and falls once or twice across the body; 0 without."""
    if look.bias_hu == 0.0:
        return 0.0
    smooth = canvas.smooth_field(160.0)
    return smooth * np.float32(look.bias_hu / max(float(np.abs(smooth).max()), 1e-6))


def rim(depth_mm: np.ndarray, look: Appearance) -> np.ndarray:
    """Return what the tumor's rim adds, HU, at each depth below its surface."""
    return look.rim_hu * np.clip((look.rim_mm - depth_mm) / 1.5, 0.0, 1.0)


def strands(canvas: Canvas, look: Appearance) -> np.ndarray | float:
    """Return what streaks of tissue add to the fat around the kidneys, HU; 0 without."""
    if look.strands_hu == 0.0:
        return 0.0
    return look.strands_hu * np.clip(1.0 - np.abs(canvas.smooth_field(9.0)) / 0.22, 0.0, 1.0)
