"""Training and inference of the network by each engine on the same slices: work for `benchmarks.support.arms`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kidney_seg.config.model import HEADS, STRIDES
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config


def config_of(preset: str, settings: list[str]) -> Config:
    """Return a preset with settings."""
    return PRESETS[preset].with_settings(settings)


def draw_batch(config: Config, slices: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a random image, HU float32 [slices, size, size, input_slices], and one-hot targets by head."""
    rng = np.random.default_rng(0)
    size, classes = config.model.size, config.model.classes
    image = rng.normal(50, 80, (slices, size, size, config.model.input_slices)).astype(np.float32)
    labels = rng.integers(0, classes, (slices, size, size))
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    return image, {head: one_hot[:, :: STRIDES[head], :: STRIDES[head]] for head in config.model.heads}


def keras_training(preset: str, settings: list[str], steps: int) -> Callable[[], object]:
    """Return a function that trains so many steps on one batch, by `fit` as a round does."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    import tensorflow as tf

    from kidney_seg.training.trainer import Trainer

    config = config_of(preset, settings)
    trainer = Trainer(config)
    trainer.initialize(0)
    image, targets = draw_batch(config, config.data.batch_size)
    data = tf.data.Dataset.from_tensors(({"image": image}, targets)).cache().repeat().prefetch(1)
    return lambda: trainer.trained.fit(data, steps_per_epoch=steps, verbose=0)


def torch_training(
    preset: str,
    settings: list[str],
    steps: int,
    channels_last: bool = True,
    compiled: bool = False,
    bfloat16: bool = False,
) -> Callable[[], object]:
    """Return the same in PyTorch, by default eager and in the layout that it recommends for processors.

    channels_last: the layout; compiled: network and loss by torch.compile; bfloat16: autocast of the network.
    """
    import torch

    from benchmarks.support.torch_twin import Twin, focal_tversky, optimizer_of

    config = config_of(preset, settings)
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    twin = Twin(config.model).to(memory_format=layout)
    optimizer = optimizer_of(twin, config)
    image, targets = draw_batch(config, config.data.batch_size)
    seen, *heads = (_to_torch(array).contiguous(memory_format=layout) for array in (image, *targets.values()))
    wanted = dict(zip(targets, heads, strict=True))

    def loss_of() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = twin(seen)
        return focal_tversky({head: values.float() for head, values in outputs.items()}, wanted, config.loss)

    compute = torch.compile(loss_of) if compiled else loss_of

    def work() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = compute()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(twin.parameters(), config.rounds.clipnorm)
            optimizer.step()
            float(loss.detach())

    return work


def _to_torch(array: np.ndarray):
    import torch

    return torch.from_numpy(array).permute(0, 3, 1, 2)  # already channels last in memory


def engine_inference(preset: str, settings: list[str], engine: str, slices: int) -> Callable[[], object]:
    """Return a function that computes the finest head's probabilities of so many slices by `keras` or `onnx`."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    config = config_of(preset, settings)
    quiet_tensorflow()
    from data_prep.geometry.network_grid import GridSettings
    from kidney_seg.model.attention_unet import build_model
    from kidney_seg.model.model_file import find_source, save_model
    from kidney_seg.predict.engines import open_predictor

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save_model(build_model(config.model), config, GridSettings(config.model.size), path)
        network = open_predictor([find_source(path)], config.prediction, engine).forward
        image, _ = draw_batch(config, slices)
        network(image)  # loads it before its file is removed
    return lambda: network(image)


def torch_inference(preset: str, settings: list[str], slices: int, at_once: int) -> Callable[[], object]:
    """Return the same in PyTorch, `at_once` slices per batch; only the finest head is computed."""
    import torch

    from benchmarks.support.torch_twin import Twin

    config = config_of(preset, settings)
    twin = Twin(config.model).to(memory_format=torch.channels_last).eval()
    seen = _to_torch(draw_batch(config, slices)[0])

    def work() -> None:
        with torch.inference_mode():
            for first in range(0, slices, at_once):
                torch.softmax(twin(seen[first : first + at_once], (HEADS[-1],))[HEADS[-1]], 1).numpy()

    return work
