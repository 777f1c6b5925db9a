"""Wild patients: gray values in any order, and every range that is promised."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from support.helpers import one_line
from support.label_maps import SPACING_MM, two_kidneys

from data_prep.errors import InputError
from data_prep.phantom.__main__ import main
from data_prep.phantom.around_labels import simulate_around
from data_prep.phantom.options import Variation
from data_prep.phantom.painting.appearance import (
    PLAIN_APPEARANCE,
    TEXTURED,
    Appearance,
    add_texture,
    rim,
    shading,
    strands,
)
from data_prep.phantom.painting.body_size import draw_build
from data_prep.phantom.painting.canvas import TISSUES, Canvas
from data_prep.phantom.painting.domain_randomization import WILD, enhancement_at, randomize
from data_prep.phantom.patient import simulate_patient

WILD_ONES = Variation(wild=True)


@pytest.fixture(scope="module")
def builds():
    found = []
    for index in range(400):
        rng = np.random.default_rng([9, index])
        found.append(WILD_ONES.randomized(draw_build(rng, WILD), WILD, index, 9, rng))
    return found


def test_contrast_agent_by_hand():
    assert [enhancement_at(place) for place in (0.0, 0.149, 1.0)] == [0.0, 0.0, 1.2]
    assert enhancement_at(0.15 + 0.85 / 4) == pytest.approx(0.3)


def test_some_have_no_contrast_agent_in_any_small_cohort(builds):
    amounts = np.array([build.enhancement for build in builds])
    for start in range(0, 400, 40):
        assert abs((amounts[start : start + 40] == 0).sum() - 6) <= 1  # 15 % of 40
    assert (amounts > 1.0).sum() == pytest.approx(400 * 0.85 / 6, abs=4)  # 1.0 to 1.2 of 0 to 1.2


def test_no_order_of_brightness_is_sure(builds):
    for one, other in (("cortex", "liver"), ("liver", "spleen"), ("aorta", "vein"), ("muscle", "liver")):
        brighter = np.mean([build.hu[one] > build.hu[other] for build in builds])
        assert 0.02 < brighter < 0.98, (one, other)
    assert all(build.hu["medulla"] <= build.hu["cortex"] + 10 for build in builds)
    assert min(value for build in builds for name, value in build.hu.items() if name != "fat") >= 18


def test_without_agent_kidney_and_blood_are_even(builds):
    for build in (build for build in builds if build.enhancement == 0):
        # what is left of the shifts' independence is 15 % of 2.2 deviations of 18 HU
        assert abs(build.hu["vein"] - build.hu["aorta"]) <= 6 and abs(build.hu["cortex"] - build.hu["medulla"]) <= 8
        assert abs(build.look.tumor_contrast_hu) <= 15 and build.look.rim_hu == 0 and build.look.urine_hu is None


def test_tumors_are_anything_from_far_darker_to_brighter(builds):
    contrast = np.array([build.look.tumor_contrast_hu for build in builds if build.kidney_hu > 140])
    assert -40 <= contrast.min() < -30 and 100 < contrast.max() <= 110
    assert np.histogram(contrast, bins=[-40, 10, 60, 110])[0] == pytest.approx(len(contrast) / 3, rel=0.35)
    assert all(build.tumor_hu(75.0, 25.0) >= 18 for build in builds)


def test_every_range_is_filled_and_kept(builds):
    looks = [build.look for build in builds]
    for name, low, high in (
        ("noise_hu", 3, 35), ("grain_mm", 0.8, 3.5), ("blur_mm", 0, 2), ("bias_hu", 0, 15), ("inner", 0, 1),
        ("coat", 0, 1.5),
    ):  # fmt: skip
        values = np.array([getattr(look, name) for look in looks])
        margin = 0.1 * (high - low)
        assert low <= values.min() < low + margin and high - margin < values.max() <= high, name
    textures = np.array([[look.texture_hu[name] for name in TEXTURED] for look in looks])
    assert (textures.min(axis=0) >= 0).all() and (textures.max(axis=0) > 11).all() and textures.max() <= 12
    # coarse noise is low
    assert max(look.noise_hu for look in looks if look.grain_mm > 3.2) <= 35 / 2
    for name in ("urine_hu", "rim_hu", "strands_hu"):
        assert 0.02 < np.mean([bool(getattr(look, name)) for look in looks]) < 0.5, name


def test_noise_of_one_number_is_kept():
    rng = np.random.default_rng(0)
    for noise in (0.0, 12.0):
        difficulty = Variation(wild=True, noise_hu=noise).difficulty(hard=False)
        assert randomize(draw_build(rng, difficulty), 1.0, difficulty, rng).look.noise_hu == noise


def test_noise_in_the_image_is_what_was_drawn():
    clean = simulate_around(two_kidneys(), SPACING_MM, 3, size=64, variation=Variation(wild=True, noise_hu=0.0))
    wild = simulate_around(two_kidneys(), SPACING_MM, 3, size=64, variation=WILD_ONES)
    inside = clean.image > -300  # air cannot become darker
    noise = (wild.image.astype(float) - clean.image)[inside].std()
    assert noise == pytest.approx(wild.facts["noise_hu"], rel=0.04) and 3 <= noise <= 36


def test_gray_values_of_the_image_are_those_drawn():
    seen = []
    for index in range(8):
        one = simulate_around(two_kidneys(), SPACING_MM, index, size=64, variation=Variation(wild=True, noise_hu=0.0))
        hu, look = one.facts["painted_hu"], one.facts["appearance"]
        cortex = (one.labels == 1) & ~binary_erosion(one.labels == 1, iterations=2)
        assert np.median(one.image[cortex]) == pytest.approx(hu["cortex"], abs=40)
        whole = 0.65 * hu["cortex"] + 0.35 * hu["medulla"]
        assert one.facts["tumor_hu"] == pytest.approx(whole - look["tumor_contrast_hu"])
        seen.append((one.facts["enhancement"], np.median(one.image[one.labels == 1])))
        json.dumps(one.facts, allow_nan=False)
    seen.sort()
    assert seen[0][0] < 0.05 and seen[0][1] < 75 and seen[-1][0] > 0.9 and seen[-1][1] > 110


def test_simulated_anatomy_can_be_wild():
    clean, wild = (
        simulate_patient(1, size=64, slices=16, variation=Variation(wild=True, noise_hu=noise)) for noise in (0.0, None)
    )
    np.testing.assert_array_equal(clean.labels, wild.labels)
    assert set(np.unique(wild.labels)) == {0, 1, 2} and wild.facts["appearance"]["noise_hu"] == wild.facts["noise_hu"]
    difference = (wild.image.astype(float) - clean.image)[clean.image > -300]
    assert difference.std() == pytest.approx(wild.facts["noise_hu"], rel=0.05)
    again = simulate_patient(1, size=64, slices=16, variation=WILD_ONES)
    np.testing.assert_array_equal(again.image, wild.image)
    liver = clean.tissues == TISSUES.index("liver")
    assert np.median(clean.image[liver]) == pytest.approx(wild.facts["painted_hu"]["liver"], abs=25)


def test_a_plain_appearance_draws_nothing():
    canvas = Canvas(np.random.default_rng(0), (8, 32, 32), (5.0, 5.0, 5.0), warp_mm=0.0)
    state = canvas.rng.bit_generator.state
    add_texture(canvas, PLAIN_APPEARANCE)
    assert shading(canvas, PLAIN_APPEARANCE) == 0.0 and strands(canvas, PLAIN_APPEARANCE) == 0.0
    assert canvas.rng.bit_generator.state == state and (canvas.hu == -1000).all()


def test_texture_shading_and_bone_by_hand():
    canvas = Canvas(np.random.default_rng(0), (20, 64, 64), (4.0, 4.0, 4.0), warp_mm=0.0)
    canvas.hu[...] = 100.0
    canvas.tissue[:, :32] = TISSUES.index("liver")
    canvas.hu[:, :, :4] = 350.0
    texture = {"liver": 10.0, "spleen": 3.0, "muscle": 3.0, "kidney": 3.0}
    add_texture(canvas, Appearance(bone=0.5, texture_hu=texture))
    assert canvas.hu[:, :32, 4:].std() == pytest.approx(10.0, rel=0.1) and (canvas.hu[:, 32:, 4:] == 100.0).all()
    assert (canvas.hu[:, 32:, :4] == 250.0).all()  # of 200 above 150, half
    field = shading(canvas, Appearance(bias_hu=12.0))
    assert np.abs(field).max() == pytest.approx(12.0, rel=1e-5) and np.abs(np.diff(field, axis=2)).max() < 1.5
    streaks = strands(canvas, Appearance(strands_hu=50.0))
    assert streaks.min() == 0 and streaks.max() > 45 and 0.05 < (streaks > 0).mean() < 0.3


def test_rim_by_hand():
    look = Appearance(rim_hu=30.0, rim_mm=3.0)
    np.testing.assert_allclose(rim(np.array([0.0, 1.5, 2.25, 3.0, 9.0]), look), [30.0, 30.0, 15.0, 0.0, 0.0])


def test_what_does_not_go_together(tmp_path, capsys):
    with pytest.raises(InputError, match="leave out --hard") as caught:
        WILD_ONES.difficulty(hard=True)
    one_line(caught)
    with pytest.raises(InputError, match="leave out one") as caught:
        Variation(wild=True, contrast_hu=(40.0, 60.0))
    one_line(caught)
    for more in (["--hard"], ["--contrast", "60"]):
        assert main(["--out", str(tmp_path / "out"), "--cases", "1", "--size", "32", "--wild", *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_the_record_says_wild(tmp_path):
    assert main(["--out", str(tmp_path / "out"), "--cases", "1", "--size", "32", "--slices", "8", "--wild"]) == 0
    assert json.loads((tmp_path / "out" / "phantom.json").read_text())["wild"] is True
    facts = json.loads((tmp_path / "out" / "case_00000" / "facts.json").read_text())
    assert set(facts["appearance"]["texture_hu"]) == set(TEXTURED) and 0 <= facts["enhancement"] <= 1.2
