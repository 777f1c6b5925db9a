"""Settings of prediction."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.validation import check, check_choice

FLIPS = ("none", "left_right", "both")  # which mirrored copies of a slice are predicted, too


@dataclass(frozen=True)
class PredictionConfig:
    """From network outputs to labels (paper, last paragraph of section 1)."""

    postprocess: bool = True
    """Apply the paper's rule. [paper]"""
    distance_mm: float = 20.0
    """Objects farther than this from both kidneys are removed. [J; paper: "a threshold"]"""
    kidney_ml: float = 20.0
    """A body smaller than this is no kidney. [J: the smallest second kidney of 210 patients had 42.7 mL]"""
    odds: tuple[float, ...] = (1.0, 1.0, 1.0)
    """The odds of background, kidney and tumor are multiplied by these in the saved model. [J; paper: nothing]"""
    slices_per_batch: int = 16
    """Slices that go through the network at once. [J]"""
    flips: str = "none"
    """Mirrored slices are predicted, too, and averaged: `none`, `left_right`, or `both`: up-down as well. [J]"""
    zooms: tuple[float, ...] = (1.0,)
    """Slices are predicted resized by these, too, and averaged; 1 is as they are. [J]"""

    def __post_init__(self) -> None:
        check(self.distance_mm >= 0, "distance_mm", self.distance_mm, "0 mm or more")
        check(self.kidney_ml > 0, "kidney_ml", self.kidney_ml, "a positive volume in mL")
        odds_fit = len(self.odds) == 3 and min(self.odds) > 0
        check(odds_fit, "odds", self.odds, "three positive factors: background, kidney, tumor")
        check(self.slices_per_batch >= 1, "slices_per_batch", self.slices_per_batch, "at least 1")
        check_choice("flips", self.flips, FLIPS)
        sizes = len(set(self.zooms)) == len(self.zooms) and all(0.5 <= zoom <= 2 for zoom in self.zooms)
        check(sizes and 1 in self.zooms, "zooms", self.zooms, "factors from 0.5 to 2, each once, 1 among them")
