"""Run the network in ONNX Runtime on all cores, from an ONNX file that is made once beside its model and checked."""

from __future__ import annotations

import errno
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.atomic import write_file
from kidney_seg.hardware import threads
from kidney_seg.model.model_file import ModelSource
from kidney_seg.predict.onnx.converter import IMAGE, PROBABILITIES, to_onnx
from kidney_seg.predict.onnx.files import onnx_files, onnx_name
from kidney_seg.predict.onnx.stored_weights import has_weights_of
from kidney_seg.predict.predictor import Forward, keras_forward
from kidney_seg.weights import STARTER_FILE

if TYPE_CHECKING:
    import onnxruntime

LARGEST_DIFFERENCE = 1e-4  # between the engines' probabilities on the slices of `_trial`
MOST_WORKERS = 8  # each takes up to .2 GB at 256 x 256 pixels
_PIXELS_AT_ONCE = 1 << 16  # per worker: larger pieces exceed the processor's cache and are slower


def onnx_forward(source: ModelSource) -> Forward:
    """Return a model's finest head as a function, computed by ONNX Runtime on the processor's cores.

    Each worker computes some slices of a batch in one thread, so that no core waits for another; with more cores than
    workers, in several threads.
    """
    content = onnx_file(source)
    cores = threads()
    workers = min(cores, MOST_WORKERS)
    session = _session(content, source.path, max(1, cores // workers))
    pool = ThreadPoolExecutor(workers)

    def run(batch: np.ndarray) -> np.ndarray:
        return session.run([PROBABILITIES], {IMAGE: batch})[0]

    def forward(batch: np.ndarray) -> np.ndarray:
        piece = max(1, min(_PIXELS_AT_ONCE // math.prod(batch.shape[1:3]), -(-len(batch) // workers)))
        starts = range(0, max(1, len(batch)), piece)  # also a batch without slices has an answer
        return np.concatenate(list(pool.map(run, (batch[at : at + piece] for at in starts))))

    return forward


def onnx_file(source: ModelSource) -> bytes:
    """Return the model's ONNX file, from beside the `.keras` file; make it there if it is missing or damaged.

    Its name holds the checksums of the model's weights and of its own bytes, so that no damaged file is used, and its
    weights are compared with the model's, whoever named it. A new file is compared with Keras; InputError if
    probabilities differ by more than 1e-4. In a read-only folder it is made again each time. The model that ships has
    its own; if that is damaged, it is made again each time.
    """
    for path in onnx_files(source):
        content = path.read_bytes()
        if path.name == onnx_name(source, content) and has_weights_of(content, source):
            return content
        if source.path != STARTER_FILE:  # the package's folder stays as it was installed
            with suppress(OSError):  # in a read-only folder
                path.unlink()  # damaged, or of another network
    content = make_onnx(source)
    if source.path == STARTER_FILE:
        return content
    try:
        write_file(source.path.with_name(onnx_name(source, content)), content)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
    return content


def make_onnx(source: ModelSource) -> bytes:
    """Return the model as an ONNX file, compared with Keras: InputError if probabilities differ by more than 1e-4."""
    from kidney_seg.tensorflow_log import quiet_tensorflow

    quiet_tensorflow()
    from kidney_seg.model.attention_unet import in_single_precision

    model = in_single_precision(source.load(), source.config.model)
    content, trial = to_onnx(model, {"weights_sha256": source.sha256}), _trial(source)
    expected = keras_forward(model, len(trial))(trial)
    made = _session(content, source.path, 1).run([PROBABILITIES], {IMAGE: trial})[0]
    difference = float(np.abs(made - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise InputError(
            f"{source.path}: ONNX Runtime and Keras give probabilities that differ by {difference:.2g}, expected "
            f"at most {LARGEST_DIFFERENCE:g}; use --engine keras"
        )
    return content


def _trial(source: ModelSource) -> np.ndarray:
    """Return HU slices to compare engines on: noise of all tissues, a ramp over the window and beyond, and air."""
    size, channels = source.config.model.size, source.config.model.input_slices
    low, high = source.config.model.hu_window
    noise = np.random.default_rng(0).normal((low + high) / 2, high - low, (size, size, channels))
    ramp = np.broadcast_to(np.linspace(2 * low - high, 2 * high - low, size)[:, None], (size, size, channels))
    return np.stack([noise, ramp, np.full_like(noise, -1000.0)]).astype(np.float32)


def _session(content: bytes, path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise_if_out_of_memory(error, path)
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: ONNX Runtime refuses its network ({first}); use --engine keras") from None
