"""The rate's course, and one network trained again and again."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support.helpers import SMALLEST, write_cache

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.sampling import draw_samples
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.training.schedule import rate_at
from kidney_seg.training.trainer import Trainer, keep_trainer, take_trainer

pytestmark = pytest.mark.network

CONFIG = Config().with_settings(["size=16", "width_factor=0.1", "batch_size=3", *SMALLEST])


def test_rate_rises_then_falls_to_one_percent():
    rates = [rate_at(step, 101, 2.0, 0.2) for step in range(101)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) for step in range(20)])
    assert rates[20] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(2.0 * (0.01 + 0.99 / 2))  # half way down
    assert rates[-1] == pytest.approx(0.02)
    assert (np.diff(rates[20:]) < 0).all()


def test_rate_of_the_shortest_rounds():
    assert rate_at(0, 1, 1.0, 0.0) == 1.0
    assert rate_at(1, 2, 1.0, 0.5) == 1.0


@pytest.fixture(scope="module")
def trainer_and_store(tmp_path_factory):
    label = np.zeros((4, 16, 16), np.uint8)
    label[1:3, 4:12, 4:12], label[2, 6:9, 6:9] = 1, 2
    image = (100 * label).astype(np.int16)
    manifest = write_cache(tmp_path_factory.mktemp("cache"), {"case_00000": (image, label)})
    return Trainer(CONFIG), SliceStore(manifest, manifest.entries, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_and_neighboring_slices_train_in_rounds(precision, trainer_and_store):
    config = CONFIG.with_settings([f"precision={precision}", "input_slices=3", "loss_function=dice_cross_entropy"])
    store = SliceStore(trainer_and_store[1].manifest, trainer_and_store[1].entries, 1.0, config.model.input_slices)
    trainer = Trainer(config)
    epochs = [draw_samples(store, ["case_00000"], 3, config, 1, 0, 0, epoch) for epoch in range(2)]
    results = []
    for _ in range(2):  # the scale of the loss in float16, too, begins anew
        trainer.initialize(4)
        results.append([row["loss"] for row in trainer.fit_round(store, epochs, 1e-3)])
    assert np.isfinite(results).all() and results[0] == results[1]
    probabilities = trainer.predict(store.read(np.array([0]), np.array([1]))[0][..., 1])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.slow
def test_rounds_start_fresh_and_a_loss_that_is_no_number_ends_one(trainer_and_store):
    trainer, store = trainer_and_store
    epochs = [draw_samples(store, ["case_00000"], 3, trainer.config, 1, 0, 0, epoch) for epoch in range(2)]
    results, traced = [], None
    for _ in range(2):  # the optimizer's moments of the first must not reach the second
        trainer.initialize(4)
        rows = trainer.fit_round(store, epochs, 1e-2)
        results.append(([row["loss"] for row in rows], trainer.model.get_weights()))
        traced = traced or trainer.model.train_function
    assert [row["steps"] for row in rows] == [3, 6]
    assert results[0][0] == results[1][0]
    for first, second in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(first, second)
    trainer.initialize(5)
    assert any((a != b).any() for a, b in zip(results[0][1], trainer.model.get_weights(), strict=True))

    told = []
    rows = trainer.fit_round(store, epochs, 1e38, told.append)
    assert rows[-1]["loss"] is None and len(rows) == 1 and told == rows
    assert trainer.model.train_function is traced  # traced once for all rounds


@pytest.mark.slow
def test_a_round_that_was_stopped_after_its_last_step_has_its_whole_state_again(trainer_and_store):
    trainer, store = trainer_and_store
    epochs = [draw_samples(store, ["case_00000"], 2, trainer.config, 1, 0, 0, 0)]
    saved = []
    trainer.initialize(4)
    trainer.fit_round(
        store, epochs, 1e-2, save=lambda progress: saved.append((trainer.state(), copy.deepcopy(progress)))
    )
    state, progress = saved[-1]
    trainer.initialize(5)
    trainer.fit_round(store, epochs, 1e-3)
    trainer.set_state(state)
    assert trainer.fit_round(store, epochs, 1e-2, start=progress) == progress.rows
    for name, value in trainer.state().items():  # the optimizer's, too: it is saved with the weights
        np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.slow
def test_the_next_training_takes_the_traced_step_and_nothing_else(trainer_and_store):
    trainer, store = trainer_and_store
    other = CONFIG.with_settings(["max_rounds=3", "peak_rate=0.02", "rotation_deg=0"])
    samples = [draw_samples(store, ["case_00000"], 3, other, 1, 0, 0, 0)]

    def trained(one: Trainer) -> list[np.ndarray]:
        one.initialize(6)
        one.fit_round(store, samples, 1e-2)
        return one.model.get_weights()

    traced = trainer.model.train_function
    keep_trainer(trainer)
    taken = take_trainer(other)
    assert taken is trainer and taken.config == other
    assert take_trainer(other) is not trainer  # it is in use
    for used, new in zip(trained(taken), trained(Trainer(other)), strict=True):
        np.testing.assert_array_equal(used, new)
    assert taken.model.train_function is traced
    for change in ("alpha=0.6", "width_factor=0.2", "batch_size=2", "clipnorm=2", "slices_per_batch=3"):
        keep_trainer(taken)
        assert take_trainer(other.with_settings([change])) is not taken
    assert take_trainer(other) is not taken  # one of other settings drops it
