"""Domain randomization (`--wild`), as in SynthSeg (Billot et al., Medical Image Analysis 86, 2023).

A network cannot rely on what varies at random in training. The ranges are wider than scanners', not fitted to any data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.phantom.painting.appearance import TEXTURED, Appearance
from data_prep.phantom.painting.body_size import ENHANCEMENT, HARD, Build, Difficulty

WILD = replace(
    HARD, noise_hu=(3.0, 35.0), bowel_loops=(60, 130), bright_cysts=0.3, low_contrast=0.0, brighter=0.0,
    texture_hu=(3.0, 20.0), halo=0.3, halo_mm=(0.5, 5.0),
)  # fmt: skip
WITHOUT_AGENT = 0.15  # share of the patients
MOST_AGENT = 1.2  # times the default cohort's
SHIFT_HU = {"fat": 7.0, "muscle": 12.0, "bone": 40.0}  # deviation of a tissue's mean
OTHER_SHIFT_HU = 18.0
FOLLOWERS = {"medulla": "cortex", "vein": "aorta"}  # nearly as bright as the other without contrast agent
GRAIN_MM, COARSE_MM = (0.8, 3.5), 1.6
DARKEST_HU = 18.0  # of soft tissue: more than water
DARKER_HU, BRIGHTER_HU = 110.0, 40.0  # tumor against the kidney as a whole
PLAIN_CONTRAST_HU = 15.0  # the same without contrast agent


def enhancement_at(place: float) -> float:
    """Return the amount of contrast agent at `place` (0..1) in the cohort's order: none, then evenly increasing.

    >>> enhancement_at(0.1), round(enhancement_at(0.575), 3)
    (0.0, 0.6)
    """
    return 0.0 if place < WITHOUT_AGENT else MOST_AGENT * (place - WITHOUT_AGENT) / (1.0 - WITHOUT_AGENT)


def randomize(build: Build, enhancement: float, difficulty: Difficulty, rng: np.random.Generator) -> Build:
    """Return the patient with this much contrast agent, shifted gray values, and a random appearance."""
    build = build.enhanced(enhancement)
    agent = min(1.0, 2.0 * enhancement)  # half of the default amount counts as enhanced
    build = replace(build, hu=_shifted(build.hu, agent, rng))
    darker = PLAIN_CONTRAST_HU + agent * (DARKER_HU - PLAIN_CONTRAST_HU)
    brighter = PLAIN_CONTRAST_HU + agent * (BRIGHTER_HU - PLAIN_CONTRAST_HU)
    excreted = rng.random() < 0.2
    urine_hu = float(rng.uniform(80.0, 600.0))
    low, high = difficulty.noise_hu
    grain_mm = float(rng.uniform(*GRAIN_MM))
    # coarse noise results from smoothing and is low; the deviation is drawn evenly on a logarithmic scale
    high = max(low, high * min(1.0, COARSE_MM / grain_mm)) if high > low else high
    place = rng.random()
    look = Appearance(
        noise_hu=float(high * (low / high) ** place) if high > 0 else 0.0,
        # no darker than soft tissue: drawn evenly from the rest
        tumor_contrast_hu=float(rng.uniform(-brighter, min(darker, build.kidney_hu - DARKEST_HU))),
        rim_hu=float(agent * rng.uniform(10.0, 60.0) * (rng.random() < 0.3)),
        rim_mm=float(rng.uniform(2.0, 5.0)),
        urine_hu=urine_hu if excreted and enhancement > 0.2 and build.phase > 0.5 else None,
        inner=float(rng.uniform(0.0, 1.0)),
        coat=float(rng.uniform(0.0, 0.3) if rng.random() < 0.35 else rng.uniform(0.5, 1.5)),
        gap_mm=float(rng.uniform(0.3, 1.5)),
        strands_hu=float(rng.uniform(15.0, 90.0) * (rng.random() < 0.35)),
        bone=float(rng.uniform(0.7, 1.3)),
        texture_hu={name: float(rng.uniform(0.0, 12.0)) for name in TEXTURED},
        texture_mm=float(np.exp(rng.uniform(np.log(3.0), np.log(14.0)))),
        bias_hu=float(rng.uniform(0.0, 15.0)),
        blur_mm=float(rng.uniform(0.0, 2.0)),
        grain_mm=grain_mm,
        liver=float(rng.uniform(0.65, 1.0)),
        rise_mm=float(rng.uniform(-10.0, 50.0)),
    )
    return replace(build, look=look)


def _shifted(hu: dict[str, float], agent: float, rng: np.random.Generator) -> dict[str, float]:
    drawn = {name: SHIFT_HU.get(name, OTHER_SHIFT_HU) * float(np.clip(rng.normal(), -2.2, 2.2)) for name in ENHANCEMENT}
    drawn["medulla"] = OTHER_SHIFT_HU * float(np.clip(rng.normal(), -2.2, 2.2))
    for name, leader in FOLLOWERS.items():
        drawn[name] = agent * drawn[name] + (1.0 - agent) * (drawn[leader] + 0.15 * drawn[name])
    moved = {name: value + drawn[name] for name, value in hu.items()}
    moved["medulla"] = min(moved["medulla"], moved["cortex"] + 10.0)  # brighter than cortex in no phase
    return {name: value if name == "fat" else max(value, DARKEST_HU) for name, value in moved.items()}
