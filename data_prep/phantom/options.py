"""What makes a simulated cohort hard or odd: contrast, sizes, noise, thickness, kidneys that are missing or joined."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from data_prep.errors import InputError
from data_prep.phantom.painting.habitus import EASY, HARD, Build, Difficulty

SMALL_ML = 4 / 3 * math.pi * 2.0**3  # a ball of 4 cm, the limit of stage T1a: 33.5 mL
LARGEST_CONTRAST_HU, LARGEST_NOISE_HU = 150.0, 100.0
THICKNESS_MM = (0.5, 15.0)


@dataclass(frozen=True)
class Variation:
    """Departures from the generator's own cohort; None and 0 leave everything as it is. InputError for nonsense.

    contrast_hu: tumor darker than the kidney as a whole, drawn evenly from (low, high), in every patient.
    small: share of the patients whose tumor has no more than `SMALL_ML`. noise_hu: standard deviation.
    thickness_mm: of the slices. single_kidney, horseshoe: shares of the patients with one kidney, or with
    two that are joined in front of the aorta. second_phase: share whose image goes on with a second scan in
    another contrast phase, without labels there. wild: contrast agent, gray values, sharpness and noise are drawn
    from ranges far wider than scanners have.
    """

    contrast_hu: tuple[float, float] | None = None
    small: float | None = None
    noise_hu: float | None = None
    thickness_mm: float | None = None
    single_kidney: float = 0.0
    horseshoe: float = 0.0
    second_phase: float = 0.0
    wild: bool = False

    def __post_init__(self) -> None:
        if self.contrast_hu is not None:
            low, high = self.contrast_hu
            if not 0 <= low <= high <= LARGEST_CONTRAST_HU:
                raise InputError(f"contrast {low:g}:{high:g} HU: expected 0 <= low <= high <= {LARGEST_CONTRAST_HU:g}")
        for name, low, high, unit in (
            ("noise_hu", 0.0, LARGEST_NOISE_HU, "HU"),
            ("thickness_mm", *THICKNESS_MM, "mm"),
            ("small", 0.0, 1.0, "of the patients"),
            ("single_kidney", 0.0, 1.0, "of the patients"),
            ("horseshoe", 0.0, 1.0, "of the patients"),
            ("second_phase", 0.0, 1.0, "of the patients"),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # NaN, too
                raise InputError(
                    f"{name.removesuffix('_hu').removesuffix('_mm').replace('_', '-')} {value:g}:"
                    f" expected {low:g} to {high:g} {unit}"
                )
        if self.single_kidney + self.horseshoe > 1:
            raise InputError(
                f"single-kidney {self.single_kidney:g} and horseshoe {self.horseshoe:g}:"
                " no patient can be both; expected shares that add up to 1 at most"
            )

        if self.wild and self.contrast_hu is not None:
            raise InputError("wild and contrast: --wild draws the tumor's contrast as well; leave out one")

    def record(self) -> dict:
        """Return what departs from the plain cohort, as JSON has it: empty for the plain one."""
        given = {key: value for key, value in asdict(self).items() if value != _PLAIN[key]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}

    def difficulty(self, hard: bool) -> Difficulty:
        """Return the ranges to draw patients from; InputError for hard and wild at once."""
        from data_prep.phantom.painting.domain_randomization import WILD

        if hard and self.wild:
            raise InputError("hard and wild: --wild is harder in every respect; leave out --hard")
        found = WILD if self.wild else HARD if hard else EASY
        if self.contrast_hu is not None:
            found = replace(found, contrast_hu=self.contrast_hu, low_contrast=0.0, brighter=0.0)
        if self.noise_hu is not None:
            found = replace(found, noise_hu=(self.noise_hu, self.noise_hu))
        return found

    def size_place(self, place: float) -> float:
        """Move a patient's place (0..1) in the order of tumor sizes so that the share `small` is under `SMALL_ML`.

        >>> Variation(small=0.9).size_place(0.45) < Variation(small=0.1).size_place(0.45)
        True
        """
        from data_prep.phantom.painting.kidneys import tumor_size_place

        if self.small is None:
            return place
        limit = tumor_size_place(SMALL_ML)
        if place < self.small:
            moved = place / self.small * limit
        else:
            moved = limit + (place - self.small) / (1 - self.small) * (1 - limit)
        return float(np.clip(moved, 1e-6, 1 - 1e-6))

    def kidneys(self, index: int, seed: int) -> str:
        """Return `single`, `horseshoe` or `two`: which kidneys patient `index` has."""
        place = _place(index, seed, 1, 3**0.5)
        if place < self.single_kidney:
            return "single"
        return "horseshoe" if place < self.single_kidney + self.horseshoe else "two"

    def scanned_twice(self, index: int, seed: int) -> bool:
        """Whether the image of patient `index` holds a second phase."""
        return _place(index, seed, 2, 7**0.5) < self.second_phase

    def dressed(self, build: Build, difficulty: Difficulty, index: int, seed: int, rng: np.random.Generator) -> Build:
        """Return patient `index` as it is to look: as it was but for `wild`, then drawn by `rng`."""
        from data_prep.phantom.painting.domain_randomization import dress, enhancement_at

        if not self.wild:
            return build
        return dress(build, enhancement_at(_place(index, seed, 5, 13**0.5)), difficulty, rng)


def order_of(index: int, look: int | None) -> int:
    """Return the number that stands for one look of a patient in the cohort's orders; the index without looks."""
    return index if look is None else index + 100_003 * (look + 1)


PLAIN = Variation()
_PLAIN = {field.name: field.default for field in fields(Variation)}


def places(index: int, seed: int) -> tuple[float, float]:
    """Return the patient's places (0..1, exclusive) in the cohort's orders of tumor size and of contrast.

    A sequence of low discrepancy (multiples of two irrational numbers) from a random start by seed: every run
    of patients has the spread of the whole distribution, small cohorts too, and still no patient depends on
    another.
    """
    start = np.random.default_rng([seed]).random(2)
    place = (start + (index + 1) * np.array([(5**0.5 - 1) / 2, 2**0.5 - 1])) % 1.0
    size, contrast = np.clip(place, 1e-6, 1 - 1e-6)
    return float(size), float(contrast)


def only_side(index: int, seed: int) -> float:
    """Return the side of a single kidney: -1 the patient's right, 1 the left; of any few patients, half are left."""
    return -1.0 if _place(index, seed, 3, 11**0.5) < 0.5 else 1.0


def _place(index: int, seed: int, which: int, step: float) -> float:
    # as in `places`; an own start and step each, so that the traits are independent
    return float((np.random.default_rng([seed, 0, which]).random() + (index + 1) * step) % 1.0)
