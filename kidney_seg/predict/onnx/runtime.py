"""Run the network in ONNX Runtime on all cores, from an ONNX file that is made once beside its model and checked."""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.errors import InputError, raise_if_out_of_memory
from data_prep.files.atomic import write_file
from kidney_seg.hardware import threads
from kidney_seg.model.model_archive import WEIGHTS_MEMBER
from kidney_seg.model.model_file import ModelSource
from kidney_seg.predict.onnx.converter import IMAGE, PROBABILITIES, to_onnx
from kidney_seg.predict.predictor import Forward, keras_forward
from kidney_seg.weights import STARTER_FILE

if TYPE_CHECKING:
    import onnxruntime

LARGEST_DIFFERENCE = 1e-4  # between the engines' probabilities on the slices of `_trial`
MOST_WORKERS = 8  # each takes up to .2 GB at 256 x 256 pixels
_PIXELS_AT_ONCE = 1 << 16  # per worker: larger pieces exceed the processor's cache and are slower
_LARGE = 64  # numbers; constants of a network beside its weights are smaller
_DIGITS = 16  # of the checksums in names


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
        piece = max(1, min(_PIXELS_AT_ONCE // batch[0, ..., 0].size, -(-len(batch) // workers)))
        return np.concatenate(list(pool.map(run, (batch[at : at + piece] for at in range(0, len(batch), piece)))))

    return forward


def onnx_file(source: ModelSource) -> bytes:
    """Return the model's ONNX file, from beside the `.keras` file; make it there if it is missing or damaged.

    Its name holds the checksums of the model's weights and of its own bytes, so that no damaged file is used, and its
    weights are compared with the model's, whoever named it. A new file is compared with Keras; InputError if
    probabilities differ by more than 1e-4. In a read-only folder, and for the model that ships, it is made again each
    time.
    """
    start = f"{source.path.stem}-{source.sha256[:_DIGITS]}-"
    for path in sorted(source.path.parent.glob(f"{glob.escape(start)}*.onnx")):
        content = path.read_bytes()
        if path.stem == start + _digest(content) and _has_weights_of(content, source):
            return content
        path.unlink()  # damaged, or of another network
    content = _make(source)
    if source.path == STARTER_FILE:
        return content  # the package's folder stays as it was installed
    try:
        write_file(source.path.with_name(f"{start}{_digest(content)}.onnx"), content)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
    return content


def _has_weights_of(content: bytes, source: ModelSource) -> bool:
    import onnx

    try:
        constants = [onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(content).graph.initializer]
        weights = _stored_weights(source)
    except Exception as error:  # h5py's and protobuf's have no common base; loading the model says what is wrong
        raise_if_out_of_memory(error, source.path)
        return False
    held = {values.tobytes() for values in constants}
    large = {values.tobytes() for values in constants if values.size >= _LARGE}
    stored: set[bytes] = set()
    free: set[bytes] = set()  # moved by class odds
    for values in weights:
        with_odds = source.weights is not None and values.shape == (source.config.model.classes,)
        (free if with_odds else stored).add(values.tobytes())
    return stored <= held and large <= stored | free


def _stored_weights(source: ModelSource) -> list[np.ndarray]:
    """Return the weights of the layers as float32, kernels in the order of ONNX, without loading Keras."""
    import h5py

    if source.weights is None:
        with zipfile.ZipFile(source.path) as archive:
            content = archive.read(WEIGHTS_MEMBER)
    else:
        content = source.weights.read_bytes()
    found: list[np.ndarray] = []

    def add(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external or item.nbytes > len(content):
                raise ValueError("weights that are not in the file")
            values = np.asarray(item[...], np.float32)
            found.append(np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values))

    with h5py.File(io.BytesIO(content), "r") as file:
        file["layers"].visititems(add)
    return found


def _make(source: ModelSource) -> bytes:
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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
