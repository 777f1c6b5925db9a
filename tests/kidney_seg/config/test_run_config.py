"""Settings: the paper's values, checks, `--set`, JSON."""

from __future__ import annotations

import dataclasses

import pytest

from data_prep.errors import InputError
from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import HEADS, STRIDES, ModelConfig
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.rounds import RoundsConfig
from kidney_seg.config.run_config import Config, differences, explanations


def test_paper_preset_is_what_the_paper_and_the_authors_say():
    paper = PRESETS["paper"]
    assert paper.loss.head_weights == (0.2, 0.2, 0.2, 0.4)
    assert (paper.loss.alpha, paper.loss.exponent, paper.loss.smoothing) == (0.7, 0.75, 1.0)
    assert paper.model.widths == (32, 64, 128, 64, 512)
    assert paper.model.gates == (1, 2, 3, 4)  # "also added to the most upper layer"
    assert paper.model.multi_scale_input and paper.model.deep_supervision
    assert [STRIDES[head] for head in HEADS] == [8, 4, 2, 1]


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_json_round_trip(config):
    assert Config.from_dict(config.to_dict()) == config


def test_field_names_are_unique_over_sections():
    names = [name for values in Config().to_dict().values() for name in values]
    assert len(names) == len(set(names))


def test_set_reads_every_type():
    assignments = "steps=20 peak_rate=0.5 flip=0 deep_supervision=false hu_window=0,255 gates=2,3 decoder=inline"
    changed = Config().with_settings(assignments.split())
    assert (changed.rounds.steps, changed.rounds.peak_rate, changed.data.flip) == (20, 0.5, 0.0)
    assert (changed.model.deep_supervision, changed.model.hu_window) == (False, (0.0, 255.0))
    assert (changed.model.gates, changed.model.decoder) == ((2, 3), "inline")
    assert changed.model.heads == ("head4",)
    assert Config().with_settings([]) == Config()


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stpes=20", "did you mean 'steps'"),
        ("steps", "key=value"),
        ("steps=many", "an integer"),
        ("alpha=a", "a number"),
        ("decoder=inlien", "did you mean 'inline'"),
        ("size=100", "multiple of 16"),
        ("size=0", "multiple of 16"),
        ("widths=8,16", "five positive integers"),
        ("gates=0", "levels from 1"),
        ("gates=1,1", "each once"),
        ("hu_window=255,0", "the lower first"),
        ("deep_supervision=maybe", "true or false"),
        ("exponent=-1", "above 0"),
        ("alpha=1", "between 0 and 1"),
        ("head_weights=1,1", "four weights"),
        ("shares=0,0,0", "not all 0"),
        ("patient_share=0", "above 0"),
        ("stop_on=train", "one of validation, test"),
        ("classes=1", "at least 2 with softmax"),
        ("classes=2", "3 in a run"),
        ("input_slices=4", "an odd number"),
        ("input_slices=0", "an odd number"),
        ("precision=mixed_flot16", "did you mean 'mixed_float16'"),
        ("loss_function=focal_tverski", "did you mean 'focal_tversky'"),
        ("sums=patient", "one of batch, sample"),
        ("gamma=1.3333", "give exponent=0.75 for that, or exponent=1.333"),
        ("gamma=four thirds", "give exponent=1/gamma"),
        ("scale=1", "share between 0 and 1"),
    ],
)
def test_bad_settings_get_one_clear_line(assignment, words):
    with pytest.raises(InputError) as error:
        Config().with_settings([assignment])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ("target=regions activation=sigmoid", "regions add softmax classes up"),
        ("loss_function=cross_entropy cross_entropy=1", "which has its own"),
        ("loss_function=tversky last_head=tversky", "like the others"),
    ],
)
def test_settings_that_do_not_go_together_get_one_clear_line(assignments, words):
    with pytest.raises(InputError, match=words):
        Config().with_settings(assignments.split())


def test_every_field_says_what_it_is_and_where_its_default_comes_from():
    texts = explanations()
    assert list(texts) == [name for values in Config().to_dict().values() for name in values]
    for name, text in texts.items():
        source = text.rpartition("[")[2]
        assert text.endswith("]") and source.startswith(("paper", "C", "J")), name


def test_old_names_are_found_and_not_listed():
    assert PRESETS["few"] is PRESETS["few_patients"] and "few" in PRESETS and "few" not in list(PRESETS)
    with pytest.raises(KeyError):
        PRESETS["fewer"]
    for old in (Config().with_settings(["stop_on=selection"]), Config.from_dict({"rounds": {"stop_on": "selection"}})):
        assert old == Config() and old.rounds.stop_on == "validation"


def test_unknown_names_in_a_file_are_refused():
    with pytest.raises(InputError, match="one of model"):
        Config.from_dict({"modle": {}})
    with pytest.raises(InputError, match="did you mean 'width_factor'"):
        Config.from_dict({"model": {"widht_factor": 1.0}})
    with pytest.raises(InputError, match="expected exponent, the power of 1 - TI; "):
        Config.from_dict({"loss": {"gamma": 4 / 3}})


def test_differences_lists_what_differs():
    other = dataclasses.replace(Config(), loss=LossConfig(alpha=0.6), rounds=RoundsConfig(steps=7))
    assert differences(Config(), Config()) == []
    assert differences(Config(), other) == ["alpha: 0.7 -> 0.6", "steps: 1000 -> 7"]


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().size = 32
