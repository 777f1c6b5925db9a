"""Settings of prediction: distances and volumes of the rule, class odds, flips, zooms, smoothing along z."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kidney_seg.config.checks import Section, check, choice, setting

# Also the defaults of the functions and options of `kidney_seg.postprocess`.
DISTANCE_MM = 20.0  # in the true labels of 210 patients, .01 mL is farther than this from the kidneys
KIDNEY_ML = 20.0  # in 210 patients, the smallest second kidney has 42.7 mL, the largest third object .89 mL
TUMOR_MM = 5.0  # in 126 true label maps, six specks of tumor are apart from their kidney's object, by up to 3.9 mm
RULES = PAPER, ANCHORED = ("paper", "anchored")  # what counts as a kidney, see docs/howto/postprocessing.md
MOST_SMOOTHING_MM = 50.0  # wider than a kidney is high, and memory grows with it
FLIPS = ("none", "left_right", "both")  # mirrored copies of a slice that are also predicted


@dataclass(frozen=True)
class RuleSettings:
    """What the post-processing depends on; the fields are settings of `PredictionConfig`."""

    distance_mm: float = DISTANCE_MM
    kidney_ml: float = KIDNEY_ML
    rule: str = PAPER
    tumor_mm: float = TUMOR_MM

    @classmethod
    def of(cls, distance_mm: float | None = None, rule: str | None = None, **others: float) -> RuleSettings | None:
        """Return the settings if `distance_mm` or `rule` is given, else None: no post-processing is wanted."""
        if distance_mm is None and rule is None:
            return None
        return cls(DISTANCE_MM if distance_mm is None else distance_mm, rule=rule or PAPER, **others)

    def to_record(self) -> dict[str, Any]:
        """Return the settings that the rule uses, for JSON; those of the paper's rule as before there was another."""
        values = asdict(self)
        return values if self.rule == ANCHORED else {name: values[name] for name in ("distance_mm", "kidney_ml")}


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
    rule: str = choice(RULES, "kidneys: largest objects, tumor included, or those with most kidney", "paper")
    tumor_mm: float = setting(
        TUMOR_MM, "rule=anchored: objects with tumor farther than this from both kidneys are removed", "J", 0
    )
    odds: tuple[float, ...] = setting((1.0,) * 3, "factors on the class odds in the saved model", "J; paper: none")
    slices_per_batch: int = setting(16, "slices per batch", "J", 1)
    flips: str = choice(FLIPS, "mirrored slices that are also predicted and averaged; both: also up-down", "J")
    zooms: tuple[float, ...] = setting((1.0,), "factors of resized slices, predicted and averaged; 1: unchanged", "J")
    views_from: float = setting(
        0.0, "flips and zooms only of slices with this probability of foreground somewhere; 0: of all", "J", 0
    )
    smooth_z_mm: float = setting(
        0.0, "standard deviation in mm of the Gaussian that smooths probabilities along z; 0: none", "J; paper: none", 0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.kidney_ml > 0, "kidney_ml", self.kidney_ml, "a positive volume in mL")
        check(self.smooth_z_mm <= MOST_SMOOTHING_MM, "smooth_z_mm", self.smooth_z_mm, f"0 to {MOST_SMOOTHING_MM:g} mm")
        odds_fit = len(self.odds) == 3 and min(self.odds) > 0
        check(odds_fit, "odds", self.odds, "three positive factors: background, kidney, tumor")
        sizes = len(set(self.zooms)) == len(self.zooms) and all(0.5 <= zoom <= 2 for zoom in self.zooms)
        check(sizes and 1 in self.zooms, "zooms", self.zooms, "factors from 0.5 to 2, each once, 1 among them")
        check(self.views_from < 1, "views_from", self.views_from, "a probability below 1")

    @property
    def rule_settings(self) -> RuleSettings:
        """The settings of the post-processing."""
        return RuleSettings(self.distance_mm, self.kidney_ml, self.rule, self.tumor_mm)
