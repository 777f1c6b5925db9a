"""Train 20 steps of a tiny network and save its weights: on one device, on several, in several processes.

`test_devices.py` runs it by `python training_steps.py OUT KEY=VALUE ... -- OUT KEY=VALUE ...`, one training after the
other, in processes of their own: devices are counted once per process.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.tensorflow_log import quiet_tensorflow
from support.helpers import write_cache

STEPS = 20
PLACE = {"COORDINATOR_ADDRESS": str, "NUM_PROCESSES": int, "PROCESS_ID": int}
# Adam would divide the gradients of biases before a batch normalization, which are rounding errors, by their own size.
SETTINGS = (
    "size=16 width_factor=0.1 batch_size=4 batch_norm_momentum=0.9 gates= multi_scale_input=false "
    "deep_supervision=false optimizer=sgd peak_rate=0.05"
).split()


def slices() -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels that tell no two slices of a batch alike."""
    rng = np.random.default_rng(2)
    label = np.zeros((8, 16, 16), np.uint8)
    for number in range(1, 7):
        label[number, 3 : 6 + number, 4:12] = 1
        label[number, 5 : 5 + number // 2, 6:9] = 2
    return (100 * label + rng.normal(0, 20, label.shape)).astype(np.int16), label


def prepare() -> None:
    """Load TensorFlow, with as many CPU devices as the environment says."""
    quiet_tensorflow()
    import tensorflow as tf

    if os.environ.get("CPU_DEVICES"):
        parts = [tf.config.LogicalDeviceConfiguration()] * int(os.environ["CPU_DEVICES"])
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def main(out: Path, settings: list[str]) -> None:
    from kidney_seg.pipeline.sampling import draw_samples
    from kidney_seg.pipeline.slice_store import SliceStore
    from kidney_seg.training.launch import follow
    from kidney_seg.training.process_group import join
    from kidney_seg.training.trainer import Trainer

    config = Config().with_settings([*SETTINGS, *settings])
    group = None
    if os.environ.get("JAX_NUM_PROCESSES", "1") != "1":
        group = join(*(kind(os.environ[f"JAX_{name}"]) for name, kind in PLACE.items()))
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_cache(Path(folder), {"case_00000": slices()})
        store = SliceStore(manifest, manifest.entries, 1.0)
        if group and group.index:
            sys.exit(follow(group, manifest, config))
        if group:
            group.share(patients=["case_00000"])
        trainer = Trainer(config, group)
        trainer.initialize(7)
        epochs = [draw_samples(store, ["case_00000"], STEPS // 2, config, 1, 0, 0, epoch) for epoch in range(2)]
        rows = trainer.fit_round(store, epochs, config.rounds.peak_rate)
    if group:
        group.end(0)
    weights = {variable.path: variable.numpy() for variable in trainer.model.variables}
    history = {name: [row[name] for row in rows] for name in rows[0] if "loss" in name}
    np.savez(out, devices=trainer.devices.count, **weights, **history)


if __name__ == "__main__":
    prepare()
    given = sys.argv[1:]
    while given:
        end = given.index("--") if "--" in given else len(given)
        main(Path(given[0]), given[1:end])
        given = given[end + 1 :]
