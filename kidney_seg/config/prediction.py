"""Settings of prediction."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.checks import Section, check, choice, setting

# Also the defaults of the functions and options of `kidney_seg.postprocess`.
DISTANCE_MM = 20.0  # in the true labels of 210 patients, .01 mL is farther than this from the kidneys
KIDNEY_ML = 20.0  # in 210 patients, the smallest second kidney has 42.7 mL, the largest third object .89 mL
FLIPS = ("none", "left_right", "both")  # mirrored copies of a slice that are also predicted


@dataclass(frozen=True)
class PredictionConfig(Section):
    """From network outputs to labels (paper, last paragraph of section 1)."""

    postprocess: bool = setting(True, "apply the paper's post-processing", "paper")
    distance_mm: float = setting(
        DISTANCE_MM, "objects farther from both kidneys are removed", 'J; paper: "a threshold"', 0
    )
    kidney_ml: float = setting(
        KIDNEY_ML, "smallest volume of a kidney", "J: of 210 second kidneys the smallest had 42.7 mL"
    )
    odds: tuple[float, ...] = setting((1.0,) * 3, "factors on the class odds in the saved model", "J; paper: none")
    slices_per_batch: int = setting(16, "slices per batch", "J", 1)
    flips: str = choice(FLIPS, "mirrored slices that are also predicted and averaged; both: also up-down", "J")
    zooms: tuple[float, ...] = setting((1.0,), "factors of resized slices, predicted and averaged; 1: unchanged", "J")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.kidney_ml > 0, "kidney_ml", self.kidney_ml, "a positive volume in mL")
        odds_fit = len(self.odds) == 3 and min(self.odds) > 0
        check(odds_fit, "odds", self.odds, "three positive factors: background, kidney, tumor")
        sizes = len(set(self.zooms)) == len(self.zooms) and all(0.5 <= zoom <= 2 for zoom in self.zooms)
        check(sizes and 1 in self.zooms, "zooms", self.zooms, "factors from 0.5 to 2, each once, 1 among them")
