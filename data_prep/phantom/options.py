"""Options of a simulated cohort: contrast, tumor sizes, noise, slice thickness, single kidneys, randomization."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from data_prep.errors import InputError
from data_prep.phantom.painting.body_size import EASY, HARD, Build, Difficulty

SMALL_ML = 4 / 3 * math.pi * 2.0**3  # a ball of 4 cm, the limit of stage T1a: 33.5 mL
LARGEST_CONTRAST_HU, LARGEST_NOISE_HU = 150.0, 100.0
THICKNESS_MM = (0.5, 15.0)


@dataclass(frozen=True)
class Variation:
    """Departures from the default cohort; None and 0 change nothing. InputError for values out of range.

    contrast_hu: tumor darker than the kidney as a whole, drawn evenly from (low, high), in every patient.
    small: share of the patients whose tumor has at most `SMALL_ML`. noise_hu: standard deviation. thickness_mm: of the
    slices. single_kidney: share of the patients with one kidney. second_phase: share whose image also holds a second
    scan in another contrast phase, without labels. wild: domain randomization: contrast agent, gray values, sharpness
    and noise are drawn from ranges far wider than scanners have.
    """

    contrast_hu: tuple[float, float] | None = None
    small: float | None = None
    noise_hu: float | None = None
    thickness_mm: float | None = None
    single_kidney: float = 0.0
    second_phase: float = 0.0
    wild: bool = False

    def __post_init__(self) -> None:
        if self.contrast_hu is not None:
            low, high = self.contrast_hu
            if not 0 <= low <= high <= LARGEST_CONTRAST_HU:
                raise InputError(f"contrast {low:g}:{high:g} HU: expected 0 <= low <= high <= {LARGEST_CONTRAST_HU:g}")
        shares = [(name, 0.0, 1.0, "of the patients") for name in ("small", "single_kidney", "second_phase")]
        for name, low, high, unit in (
            ("noise_hu", 0.0, LARGEST_NOISE_HU, "HU"),
            ("thickness_mm", *THICKNESS_MM, "mm"),
            *shares,
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # also NaN
                option = name.removesuffix("_hu").removesuffix("_mm").replace("_", "-")
                raise InputError(f"{option} {value:g}: expected {low:g} to {high:g} {unit}")
        if self.wild and self.contrast_hu is not None:
            raise InputError("wild and contrast: --wild also draws the tumor's contrast; leave out one")

    def record(self) -> dict:
        """Return the departures from the default cohort as JSON values: empty for the default one."""
        given = {key: value for key, value in asdict(self).items() if value != _PLAIN[key]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}

    def difficulty(self, hard: bool) -> Difficulty:
        """Return the ranges to draw patients from; InputError for hard and wild at once."""
        from data_prep.phantom.painting.domain_randomization import WILD

        if hard and self.wild:
            raise InputError("hard and wild: --wild varies more in every respect; leave out --hard")
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
        """Return `single` or `two`: which kidneys patient `index` has."""
        return "single" if _place(index, seed, 1, 3**0.5) < self.single_kidney else "two"

    def scanned_twice(self, index: int, seed: int) -> bool:
        """Return whether the image of patient `index` holds a second phase."""
        return _place(index, seed, 2, 7**0.5) < self.second_phase

    def randomized(
        self, build: Build, difficulty: Difficulty, index: int, seed: int, rng: np.random.Generator
    ) -> Build:
        """Return patient `index` with the appearance that `rng` draws, if `wild`; else unchanged."""
        from data_prep.phantom.painting.domain_randomization import enhancement_at, randomize

        if not self.wild:
            return build
        return randomize(build, enhancement_at(_place(index, seed, 5, 13**0.5)), difficulty, rng)


def order_of(index: int, look: int | None) -> int:
    """Return the number of one appearance of a patient in the cohort's orders; `index` if `look` is None."""
    return index if look is None else index + 100_003 * (look + 1)


PLAIN = Variation()
_PLAIN = {field.name: field.default for field in fields(Variation)}


def places(index: int, seed: int) -> tuple[float, float]:
    """Return the patient's places (0..1, exclusive) in the cohort's orders of tumor size and of contrast.

    A sequence of low discrepancy (multiples of two irrational numbers) from a random start by seed: every run of
    patients, also of a small cohort, spreads over the whole distribution, and no patient depends on another.
    """
    start = np.random.default_rng([seed]).random(2)
    place = (start + (index + 1) * np.array([(5**0.5 - 1) / 2, 2**0.5 - 1])) % 1.0
    size, contrast = np.clip(place, 1e-6, 1 - 1e-6)
    return float(size), float(contrast)


def only_side(index: int, seed: int) -> float:
    """Return the side of a single kidney: -1 the patient's right, 1 the left; of any few patients, half are left."""
    return -1.0 if _place(index, seed, 3, 11**0.5) < 0.5 else 1.0


def _place(index: int, seed: int, which: int, step: float) -> float:
    # as in `places`; own start and step per trait, so that the traits are independent
    return float((np.random.default_rng([seed, 0, which]).random() + (index + 1) * step) % 1.0)
