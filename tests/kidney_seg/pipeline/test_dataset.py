"""Which slices a round sees, in which order, and what the network is asked to say of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from support.helpers import write_cache

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline import dataset as pipeline
from kidney_seg.pipeline.array_pool import ArrayPool
from kidney_seg.pipeline.augmentation import NO_GRAY_CHANGE, apply_changes, bend, change_gray, paste_tumor
from kidney_seg.pipeline.dataset import BatchMaker, ReadyTimes, training_dataset
from kidney_seg.pipeline.sampling import _deal, draw_patients, draw_samples
from kidney_seg.pipeline.slice_store import KIDNEY_ONLY, NEITHER, WITH_TUMOR, SliceStore
from kidney_seg.pipeline.targets import one_hot, targets

SIZE = 16
CONFIG = Config().with_settings([f"size={SIZE}", "batch_size=6"])
ROUGH = CONFIG.with_settings("blur_px=1 gamma_change=0.5 noise_hu=20".split())
STILL = CONFIG.with_settings("shift=0 scale=0 rotation_deg=0 flip=0 contrast=0 brightness_hu=0".split())
BENT = STILL.with_settings(["elastic_px=2", "tumor_paste=0.5"])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Three patients of four slices: nothing, kidney, kidney and tumor, nothing; and one patient without tumor."""
    cases = {}
    for number in range(4):
        image = np.full((4, SIZE, SIZE), 100 * number, np.int16) + np.arange(4, dtype=np.int16)[:, None, None]
        label = np.zeros((4, SIZE, SIZE), np.uint8)
        label[1:3, 4:12, 4:12] = 1
        if number < 3:
            label[2, 6:8, 6:8] = 2
        cases[f"case_{number:05d}"] = image, label
    return write_cache(tmp_path_factory.mktemp("cache"), cases)


@pytest.fixture(scope="module")
def store(manifest):
    return SliceStore(manifest, manifest.entries, memory_gb=1.0)


def patients(manifest) -> list[str]:
    return [entry.patient for entry in manifest.entries]


def test_deal_follows_the_shares():
    counts = _deal(np.array([1, 1, 1]) / 3, 30, 8)
    assert (counts.sum(axis=1) == 8).all() and (counts >= 0).all()
    np.testing.assert_array_equal(counts.sum(axis=0), [80, 80, 80])
    assert (counts[:, 0] >= 2).all()  # every batch has tumor
    tiny = _deal(np.array([0.33, 0.01, 0.66]), 1000, 1)
    assert (tiny.sum(axis=1) == 1).all() and (tiny >= 0).all()
    np.testing.assert_allclose(tiny.sum(axis=0), [330, 10, 660], atol=1)


def test_kinds_of_slices(store, manifest):
    kinds = store.places(patients(manifest))
    assert kinds[WITH_TUMOR] == {f"case_0000{n}": [(n, 2)] for n in range(3)}
    assert kinds[KIDNEY_ONLY]["case_00003"] == [(3, 1), (3, 2)]
    assert kinds[NEITHER]["case_00000"] == [(0, 0), (0, 3)]
    assert store.places(["case_00001"])[WITH_TUMOR] == {"case_00001": [(1, 2)]}


def test_samples_hold_every_kind_and_only_the_patients_drawn(store):
    chosen = ["case_00000", "case_00002"]
    samples = draw_samples(store, chosen, 50, CONFIG, 7, 1, 0, 0)
    assert set(samples.case.ravel()) == {0, 2}
    tumor = (samples.position == 2).sum(axis=1)
    assert (tumor == 2).all()  # a third of six
    assert np.mean(samples.case == 0) == pytest.approx(0.5, abs=0.01)  # patients take turns


def test_a_kind_that_nobody_has_leaves_its_share_to_the_others(store):
    samples = draw_samples(store, ["case_00003"], 10, CONFIG, 7, 1, 0, 0)
    assert np.isin(samples.position, [1, 2]).mean() == pytest.approx(0.5)


def test_samples_follow_from_seed_and_place_alone(store, manifest):
    def drawn(seed, *place):
        samples = draw_samples(store, patients(manifest), 5, CONFIG, seed, *place)
        return np.concatenate([samples.case.ravel(), samples.position.ravel(), samples.transforms.ravel()])

    np.testing.assert_array_equal(drawn(1, 2, 0, 3), drawn(1, 2, 0, 3))
    for other in [(2, 2, 0, 3), (1, 3, 0, 3), (1, 2, 1, 3), (1, 2, 0, 4)]:
        assert (drawn(*other) != drawn(1, 2, 0, 3)).any()


def test_draw_patients():
    names = [f"case_{number:05d}" for number in range(10)]
    drawn = draw_patients(names, 0.5, 0, 1, 0)
    assert len(set(drawn)) == 5 and drawn == sorted(drawn) and set(drawn) <= set(names)
    assert drawn == draw_patients(names, 0.5, 0, 1, 0)
    draws = {tuple(draw_patients(names, 0.5, 0, number, 0)) for number in range(20)}
    assert len(draws) > 15  # fresh in every round
    assert draw_patients(names, 1.0, 0, 1, 0) == names
    assert len(draw_patients(names, 0.01, 0, 1, 0)) == 1


def test_reading_without_memory_is_the_same(manifest, store):
    case, position = np.array([3, 0, 1]), np.array([0, 2, 3])
    two_cases_gb = 2 * 4 * SIZE * SIZE * 3 / 1e9
    for memory_gb in (0.0, two_cases_gb):  # nothing is kept; the first two of four cases
        from_disk = SliceStore(manifest, manifest.entries, memory_gb)
        for made, expected in zip(from_disk.read(case, position), store.read(case, position), strict=True):
            np.testing.assert_array_equal(made, expected)
    images, labels = store.read(case, position)
    assert images[:, 0, 0, 0].tolist() == [300, 2, 103]
    assert labels[1, 6, 6, 0] == 2


def test_neighboring_slices_are_channels(manifest):
    for memory_gb in (1.0, 0.0):
        store = SliceStore(manifest, manifest.entries, memory_gb, input_slices=3)
        images, labels = store.read(np.array([1, 1, 3]), np.array([0, 2, 3]))
        assert images.shape == (3, SIZE, SIZE, 3) and labels.shape == (3, SIZE, SIZE, 1)
        # the value is 100 times the case and the slice; the ends are repeated
        assert images[:, 0, 0].tolist() == [[100, 100, 101], [101, 102, 103], [302, 303, 303]]
        assert labels[:, 6, 6, 0].tolist() == [0, 2, 0]  # of the slice in the middle
    config = STILL.with_settings(["input_slices=3"])
    epochs = [draw_samples(store, patients(manifest), 2, config, 1, 0, 0, 0)]
    inputs, _ = next(iter(training_dataset(store, epochs, config)))
    expected, _ = store.read(epochs[0].case[0], epochs[0].position[0])
    np.testing.assert_allclose(np.asarray(inputs["image"]), expected.astype(np.float32), atol=1e-3)


def test_tumors_to_paste_come_from_slices_with_tumor_of_the_patients_drawn(store, manifest):
    config = CONFIG.with_settings(["tumor_paste=0.5"])
    drawn = draw_samples(store, patients(manifest), 200, config, 1, 0, 0, 0)
    donors = set(zip(drawn.donor_case.ravel().tolist(), drawn.donor_position.ravel().tolist(), strict=True))
    tumors = {place for places in store.places(patients(manifest))[0].values() for place in places}
    assert donors == tumors | {(-1, -1)} and tumors
    assert 0.45 < np.mean(drawn.donor_case >= 0) < 0.55
    plain = draw_samples(store, patients(manifest), 200, CONFIG, 1, 0, 0, 0)
    np.testing.assert_array_equal(drawn.case, plain.case)
    np.testing.assert_array_equal(drawn.transforms, plain.transforms)
    assert (plain.donor_case == -1).all()
    healthy = [name for name in patients(manifest) if name not in store.places(patients(manifest))[0]]
    assert (draw_samples(store, healthy, 20, config, 1, 0, 0, 0).donor_case == -1).all()  # nobody has one to give


def expected_batch(store, config, samples, step):
    """Return a batch made by TensorFlow's own operations, alone."""
    image, label = store.read(samples.case[step], samples.position[step])
    donors = zip(samples.donor_case[step], samples.donor_position[step], strict=True)
    for row, donor in enumerate(donors):
        if donor != (-1, -1):
            donated = store.read(*(np.array([index]) for index in donor))
            paste_tumor(image[row], label[row], donated[0][0], donated[1][0], samples.seed[step, row])
    bend(image, label, samples.bend_px[step], samples.seed[step])
    image, label = apply_changes(image, label, samples.transforms[step], samples.hu_linear[step])
    image = np.array(image)
    change_gray(image, samples.gray[step], samples.seed[step], config.model.hu_window)
    hot = tf.one_hot(label[..., 0], config.model.classes)
    heads = zip(config.model.heads, (8, 4, 2, 1), strict=True)
    return image, {head: np.asarray(hot[:, ::stride, ::stride]) for head, stride in heads}


@pytest.mark.parametrize("config", [CONFIG, STILL, ROUGH, BENT], ids=["changed", "still", "rough", "bent"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_batches_hold_the_slices_of_the_plan(store, manifest, config, at_once, monkeypatch):
    monkeypatch.setattr(pipeline, "PIXELS_AT_ONCE", at_once * 6 * SIZE**2)
    epochs = [draw_samples(store, patients(manifest), 5, config, 1, 0, 0, epoch) for epoch in range(2)]
    ready, first = ReadyTimes(), 3
    dataset = training_dataset(store, epochs, config, first, ready)
    inputs, goals = dataset.element_spec
    assert inputs["image"].shape == (6, SIZE, SIZE, 1) and goals["head1"].shape == (6, SIZE // 8, SIZE // 8, 3)
    batches = list(dataset)
    assert len(batches) == 7
    for step, (inputs, goals) in enumerate(batches, start=first):
        image, hot = expected_batch(store, config, epochs[step // 5], step % 5)
        np.testing.assert_array_equal(inputs["image"], image)
        assert list(goals) == list(hot)
        for head, goal in goals.items():
            np.testing.assert_array_equal(goal, hot[head])
        assert ready.waited(step, asked=0.0) > 0.0 and ready.waited(step, asked=1.0) == 0.0  # noted, and forgotten


def test_the_numpy_steps_of_a_batch(store, manifest):
    config = CONFIG.with_settings(["tumor_paste=1", "noise_hu=20"])
    drawn = draw_samples(store, patients(manifest), 1, config, 1, 0, 0, 0)
    sample = {name: column[0] for name, column in vars(drawn).items()}
    maker = BatchMaker(store, config)
    image, label = maker.read(sample)
    stored, truth = store.read(sample["case"], sample["position"])
    pasted = (label != truth).any(axis=(1, 2, 3))
    assert pasted.any() and (label[label != truth] == 2).all()
    np.testing.assert_array_equal(image[~pasted], stored[~pasted])
    kept = image.copy()
    changed, *goals = maker.finish({**sample, "image": image, "label": label, "step": np.array(7)})
    np.testing.assert_array_equal(image, kept)  # what the graph gave is not changed
    noise = sample["gray"][:, 2]
    np.testing.assert_array_equal(np.abs(changed - image).max(axis=(1, 2, 3)) > 0, noise > 0)
    assert [goal.shape for goal in goals] == [(6, edge, edge, 3) for edge in (2, 4, 8, 16)]
    assert maker.ready.waited(7, asked=0.0) > 0
    unchanged = {**sample, "gray": np.tile(NO_GRAY_CHANGE, (6, 1)), "image": image, "label": label, "step": np.array(8)}
    assert maker.finish(unchanged)[0] is image  # without a copy


def test_memory_is_used_again_once_nobody_looks_at_it():
    pool = ArrayPool()
    first = pool.empty((3, 5), np.float32)
    assert first.shape == (3, 5) and first.dtype == np.float32 and first.ctypes.data % 64 == 0
    place, part = first.ctypes.data, first[1:]
    del first
    assert pool.empty((3, 5), np.float32).ctypes.data != place  # a part of it is still in use
    del part
    assert pool.empty((15,), np.float32).ctypes.data == place
    assert pool.empty((16,), np.float32).ctypes.data != place


def test_what_a_batch_holds_stays_while_others_are_made(store, manifest):
    epochs = [draw_samples(store, patients(manifest), 40, STILL, 1, 0, 0, 0)]
    batches = iter(training_dataset(store, epochs, STILL))
    kept = next(batches)
    before = kept[0]["image"].numpy().copy()
    for _ in batches:
        pass
    np.testing.assert_array_equal(kept[0]["image"], before)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_is_tensorflows(classes):
    label = np.random.default_rng(0).integers(0, 4, (3, 8, 8)).astype(np.uint8)
    np.testing.assert_array_equal(one_hot(label, classes), tf.one_hot(label, classes))
    np.testing.assert_array_equal(one_hot(label[:, ::2, ::2], classes), tf.one_hot(label[:, ::2, ::2], classes))


def test_targets_by_hand():
    label = np.zeros((1, SIZE, SIZE, 1), np.uint8)
    label[0, 0, 0], label[0, 0:2, 2:4] = 2, 1
    strided = targets(label, CONFIG)
    assert {head: tuple(made.shape[1:3]) for head, made in strided.items()} == {
        "head1": (2, 2),
        "head2": (4, 4),
        "head3": (8, 8),
        "head4": (16, 16),
    }
    assert np.asarray(strided["head3"])[0, 0, :2].tolist() == [[0, 0, 1], [0, 1, 0]]
    average = targets(label, CONFIG.with_settings(["coarse_targets=average"]))
    assert np.asarray(average["head3"])[0, 0, :2].tolist() == [[0.75, 0, 0.25], [0, 1, 0]]
    assert np.asarray(average["head1"])[0, 0, 0].tolist() == [59 / 64, 4 / 64, 1 / 64]
    np.testing.assert_array_equal(average["head4"], strided["head4"])
