"""Settings of the training data."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.validation import check


@dataclass(frozen=True)
class DataConfig:
    """What a training batch holds. `kidney_seg.pipeline.dataset` and `kidney_seg.pipeline.augmentation` make it."""

    batch_size: int = 8
    """Slices a step. [J: the authors used 16 of 128 x 128]"""
    shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    """Of slices with tumor, with kidney only, with neither. [J: two thirds of all slices hold nothing]"""
    shift: float = 0.1
    """Slices are moved by this share of the field at most, in x and in y. [J]"""
    scale: float = 0.15
    """Slices are resized to between 1 - scale and 1 + scale. [J]"""
    rotation_deg: float = 15.0
    """Slices are turned by this at most, either way. [J]"""
    flip: float = 0.5
    """Share of slices mirrored left to right. [J]"""
    tumor_paste: float = 0.0
    """Share of slices into whose kidneys the tumor of another training slice is pasted. [J: TumorCP, Yang 2021]"""
    elastic_px: float = 0.0
    """Half of the slices are bent by a smooth field of this standard deviation at most, in pixels. [J]"""
    contrast: float = 0.1
    """HU around the middle of the window times 1 - contrast to 1 + contrast. [J]"""
    brightness_hu: float = 20.0
    """HU added, at most, either way. [J]"""
    blur_px: float = 0.0
    """Half of the slices are blurred by a Gaussian of this standard deviation at most, in pixels. [J]"""
    gamma_change: float = 0.0
    """Gray values in the window are raised to a power from 1 / (1 + this) to 1 + this. [J]"""
    noise_hu: float = 0.0
    """Half of the slices get Gaussian noise of this standard deviation at most. [J]"""
    memory_gb: float = 4.0
    """Cases are kept decoded in memory up to this; the others are read slice by slice. [J]"""

    def __post_init__(self) -> None:
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        shares_fit = len(self.shares) == 3 and min(self.shares) >= 0 < sum(self.shares)
        check(shares_fit, "shares", self.shares, "three shares (tumor, kidney only, neither), not all 0")
        for name in ("shift", "scale", "flip", "tumor_paste", "contrast"):
            value = getattr(self, name)
            check(0 <= value <= 1 and (name != "scale" or value < 1), name, value, "a share between 0 and 1")
        check(0 <= self.rotation_deg <= 180, "rotation_deg", self.rotation_deg, "degrees between 0 and 180")
        check(self.brightness_hu >= 0, "brightness_hu", self.brightness_hu, "0 HU or more")
        limits = {"elastic_px": "0 pixels", "blur_px": "0 pixels", "gamma_change": "0", "noise_hu": "0 HU"}
        for name, least in limits.items():
            check(getattr(self, name) >= 0, name, getattr(self, name), f"{least} or more")
        check(self.memory_gb >= 0, "memory_gb", self.memory_gb, "0 GB or more")
