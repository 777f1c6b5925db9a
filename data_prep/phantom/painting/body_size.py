"""Size and enhancement of a simulated patient, drawn before painting, at one of two difficulties."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.phantom.painting.appearance import PLAIN_APPEARANCE, Appearance


@dataclass(frozen=True)
class Difficulty:
    """Ranges (low, high) from which patients are drawn evenly, and shares (0..1) of the patients."""

    phase: tuple[float, float]
    noise_hu: tuple[float, float]
    bowel_loops: tuple[int, int]
    cysts: tuple[float, ...]  # share with 0, 1, 2, ... cysts
    cyst_radius_mm: tuple[float, float]
    bright_cysts: float  # share of cysts that are as bright as some tumors
    smallest_tumor_ml: float
    contrast_hu: tuple[float, float]  # tumor darker than the kidney as a whole, except for
    low_contrast_hu: tuple[float, float]  # this range in
    low_contrast: float  # this share, and
    brighter: float  # this share with a tumor brighter than the kidney by half as much
    outside: tuple[float, float]  # distance of the tumor's center from the kidney's surface, in radii
    tumor_at_poles: bool  # where a slice shows the tumor without the kidney
    texture_hu: tuple[float, float]
    halo: float  # share whose tumor is separated from liver and bowel by fat
    halo_mm: tuple[float, float]  # of this thickness

    def draw_contrast(self, rng: np.random.Generator, place: float) -> tuple[float, bool]:
        """Draw kidney minus tumor in HU, and whether it is low; `place` (0..1) orders the cohort by contrast."""
        low = place < self.low_contrast
        contrast = rng.uniform(*(self.low_contrast_hu if low else self.contrast_hu))
        if rng.random() < self.brighter:
            contrast *= -0.5
        return float(contrast), bool(low)


# a small network learns these from two dozen patients within minutes
EASY = Difficulty(
    phase=(0.4, 0.9), noise_hu=(6.0, 12.0), bowel_loops=(45, 70),
    cysts=(0.55, 0.3, 0.15), cyst_radius_mm=(5.0, 13.0), bright_cysts=0.0,
    # under 2.5 mL a tumor is three pixels across on a grid of 64
    smallest_tumor_ml=2.5, contrast_hu=(75.0, 105.0), low_contrast_hu=(20.0, 40.0), low_contrast=0.15,
    brighter=0.0, outside=(0.25, 0.6), tumor_at_poles=False, texture_hu=(4.0, 11.0), halo=1.0, halo_mm=(5.0, 9.0),
)  # fmt: skip
# as varied as KiTS: its smallest tumor, any phase, tumors inside the kidney and next to liver and bowel
HARD = Difficulty(
    phase=(0.0, 1.0), noise_hu=(8.0, 22.0), bowel_loops=(60, 80),
    cysts=(0.3, 0.25, 0.2, 0.15, 0.1), cyst_radius_mm=(6.0, 24.0), bright_cysts=0.125,
    smallest_tumor_ml=0.8, contrast_hu=(50.0, 105.0), low_contrast_hu=(12.0, 35.0), low_contrast=0.40,
    brighter=0.1, outside=(-0.7, 0.5), tumor_at_poles=True, texture_hu=(5.0, 16.0), halo=0.4, halo_mm=(2.0, 5.0),
)  # fmt: skip


@dataclass(frozen=True)
class Build:
    """Sizes (mm) and enhancement (HU) of one patient, drawn before anything is painted."""

    half_width_mm: float  # midline to skin
    half_depth_mm: float  # middle to skin
    fat_mm: float  # under the skin at the side
    phase: float  # 0: late arterial (cortex far brighter than medulla), 1: nephrographic (both alike)
    hu: dict[str, float]
    pyramids_hu: float  # medulla darker than cortex by this in phase 0
    enhancement: float = 1.0  # amount of contrast agent
    look: Appearance = PLAIN_APPEARANCE

    @property
    def spine_y_mm(self) -> float:
        """Center of the vertebral bodies."""
        return 0.88 * self.half_depth_mm - 0.35 * self.fat_mm - 57.0

    @property
    def kidney_hu(self) -> float:
        """Mean of the kidney as a whole."""
        return 0.65 * self.hu["cortex"] + 0.35 * self.hu["medulla"]

    def tumor_hu(self, contrast_hu: float, darkest_hu: float) -> float:
        """Return the HU of a tumor that is darker than the kidney by `contrast_hu`, at least `darkest_hu`."""
        if self.look.tumor_contrast_hu is None:
            return max(self.kidney_hu - contrast_hu, darkest_hu)
        return self.kidney_hu - self.look.tumor_contrast_hu

    def noise_hu(self, drawn_hu: float) -> float:
        """Return the deviation of the noise: of the appearance, or else as drawn."""
        return drawn_hu if self.look.noise_hu is None else self.look.noise_hu

    def urine_hu(self, plain_hu: float) -> float:
        """Return the HU of urine: of the appearance, or else `plain_hu`."""
        return plain_hu if self.look.urine_hu is None else self.look.urine_hu

    def enhanced(self, factor: float) -> Build:
        """Return the same patient with `factor` times the contrast agent."""
        hu = {name: UNENHANCED.get(name, value) for name, value in self.hu.items()}
        hu = {name: float(start + factor * (self.hu[name] - start)) for name, start in hu.items()}
        return replace(self, hu=hu, pyramids_hu=factor * self.pyramids_hu, enhancement=factor * self.enhancement)

    def in_phase(self, phase: float) -> Build:
        """Return the same patient in another contrast phase."""
        later = phase - self.phase
        part = {name: self.enhancement if name in UNENHANCED else 1.0 for name in ENHANCEMENT}
        hu = {name: self.hu[name] + later * part[name] * (end - start) for name, (start, end, _) in ENHANCEMENT.items()}
        hu["medulla"] = _medulla_hu(hu["cortex"], phase, self.pyramids_hu)
        return replace(self, phase=phase, hu=hu)


# HU in the late arterial phase, in the nephrographic phase, and their spread; drawn in this order
ENHANCEMENT = {
    "fat": (-104, -104, 4),
    "muscle": (58, 64, 4),
    "liver": (82, 112, 9),
    "spleen": (120, 122, 9),
    "pancreas": (100, 92, 8),
    "aorta": (300, 165, 22),
    "vein": (120, 150, 15),
    "cortex": (205, 178, 15),
    "bone": (170, 170, 25),
    "bowel": (95, 90, 8),
}
DARKEST_CORTEX_HU = 150.0
# HU without contrast agent, of the tissues that take it up
UNENHANCED = {
    "liver": 56, "spleen": 48, "pancreas": 42, "aorta": 40, "vein": 40, "cortex": 34, "medulla": 32, "bowel": 40,
}  # fmt: skip


def draw_build(rng: np.random.Generator, difficulty: Difficulty) -> Build:
    """Draw a patient's size and enhancement."""
    half_width = rng.uniform(162.0, 208.0)
    # wide patients have more fat
    fat = np.clip(0.42 * (half_width - 150.0) + rng.normal(0.0, 4.0), 5.0, 34.0)
    phase = rng.uniform(*difficulty.phase)

    hu = {
        name: float(arterial + phase * (nephrographic - arterial) + rng.normal(0.0, spread))
        for name, (arterial, nephrographic, spread) in ENHANCEMENT.items()
    }
    hu["cortex"] = max(hu["cortex"], DARKEST_CORTEX_HU)
    pyramids = rng.uniform(60.0, 105.0)
    hu["medulla"] = _medulla_hu(hu["cortex"], phase, pyramids)
    return Build(half_width, half_width * rng.uniform(0.64, 0.76), float(fat), float(phase), hu, float(pyramids))


def _medulla_hu(cortex_hu: float, phase: float, pyramids_hu: float) -> float:
    return cortex_hu - float(np.clip((1.0 - phase) * pyramids_hu, 4.0, 100.0))
