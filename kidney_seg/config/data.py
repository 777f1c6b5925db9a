"""Settings of the training data: batch, shares of slices with and without tumor, augmentation, memory."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.checks import Section, check, setting


@dataclass(frozen=True)
class DataConfig(Section):
    """Content of a training batch, drawn by `kidney_seg.pipeline.sampling`, changed by `.augmentation`."""

    batch_size: int = setting(8, "slices per step", "J: the authors used 16 of 128 x 128", 1)
    shares: tuple[float, ...] = setting((1 / 3,) * 3, "share of slices with tumor, with kidney only, with neither", "J")
    shift: float = setting(0.1, "largest shift in x and in y, as a share of the field", "J")
    scale: float = setting(0.15, "slices are resized by 1 - scale to 1 + scale", "J")
    rotation_deg: float = setting(15.0, "largest rotation in either direction", "J")
    flip: float = setting(0.5, "share of slices mirrored left to right", "J")
    tumor_paste: float = setting(0.0, "share of slices with a pasted tumor of another slice", "J: TumorCP, Yang 2021")
    elastic_px: float = setting(0.0, "largest SD of the elastic deformation of half of the slices, in pixels", "J", 0)
    narrow_field: float = setting(0.0, "share of slices cut to the middle 60 to 95 % of their field", "J: KiTS runs")
    contrast: float = setting(0.1, "HU about the window's middle, times 1 - contrast to 1 + contrast", "J")
    brightness_hu: float = setting(20.0, "largest offset in HU in either direction", "J", 0)
    blur_px: float = setting(0.0, "largest SD of the Gaussian blur of half of the slices, in pixels", "J", 0)
    gamma_change: float = setting(0.0, "gray values in the window, to a power from 1 / (1 + this) to 1 + this", "J", 0)
    noise_hu: float = setting(0.0, "largest SD of the Gaussian noise of half of the slices, in HU", "J", 0)
    memory_gb: float = setting(4.0, "decoded slices kept in memory; the others are read from disk", "J", 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        shares_fit = len(self.shares) == 3 and min(self.shares) >= 0 < sum(self.shares)
        check(shares_fit, "shares", self.shares, "three shares (tumor, kidney only, neither), not all 0")
        for name in ("shift", "scale", "flip", "tumor_paste", "narrow_field", "contrast"):
            value = getattr(self, name)
            check(0 <= value <= 1 and (name != "scale" or value < 1), name, value, "a share between 0 and 1")
        check(0 <= self.rotation_deg <= 180, "rotation_deg", self.rotation_deg, "degrees between 0 and 180")
