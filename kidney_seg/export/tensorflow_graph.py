"""The whole pipeline as a TensorFlow graph: raw HU slices in, labels and probabilities out.

The saved graph is plain TensorFlow: it loads without this package and without Keras. Requests are checked inside, so
that a server answers an invalid one with a sentence and keeps running.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from data_prep.geometry.resampling import whole_hu
from data_prep.geometry.slice_neighbors import neighbor_indices
from kidney_seg.config.model import HEADS
from kidney_seg.export import contract
from kidney_seg.export.served_steps import Check, network_slices, request_checks, segment, size_checks
from kidney_seg.export.tensorflow_ops import TENSORFLOW
from kidney_seg.predict.averaging import combined
from kidney_seg.predict.test_time_augmentation import tta_views

if TYPE_CHECKING:
    from kidney_seg.model.model_file import ModelFile

Outputs = dict[str, tf.Tensor]

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # then width, height, bits, color


def build_tensorflow_graph(loaded: ModelFile, promise: dict[str, Any]) -> tuple[tf.Module, dict[str, Any]]:
    """Return a module and its signatures, for `tf.saved_model.save`.

    promise: the model's contract (`make_contract`), which the signature `about` returns.
    """
    model, grid, config = loaded.model, loaded.grid, loaded.config
    prediction, finest = config.prediction, HEADS[-1]
    networks = [
        (keras.Model(member.model.inputs, member.model.output[finest]), member.config.prediction.odds)
        for member in loaded.members
    ]
    average = combined(networks, prediction, config.model.activation, grid.size, TENSORFLOW, _all_views)
    views = len(tta_views(prediction.flips, prediction.zooms, grid.size))
    about = json.dumps(promise)

    def probabilities(seen: tf.Tensor) -> tf.Tensor:
        at_once = max(1, prediction.slices_per_batch // views)
        outputs = {finest: model.output[finest]}
        return _in_chunks(lambda images: {finest: average(images)}, seen, at_once, model.inputs[0], outputs)[finest]

    def serving_default(slices: tf.Tensor, spacing_mm: tf.Tensor) -> Outputs:
        return segment(*_checked(slices, spacing_mm), probabilities, grid, TENSORFLOW)

    def heads(slices: tf.Tensor, spacing_mm: tf.Tensor) -> Outputs:
        seen = network_slices(*_checked(slices, spacing_mm), grid, TENSORFLOW)
        return _in_chunks(
            lambda images: model({"image": images}, training=False),
            seen,
            prediction.slices_per_batch,
            model.inputs[0],
            model.output,
        )

    def png(slices: tf.Tensor, spacing_mm: tf.Tensor) -> Outputs:
        labels = serving_default(_decoded(slices), spacing_mm)["labels"]
        encoded = tf.map_fn(
            lambda one: tf.io.encode_png(one, compression=1), labels[..., None], fn_output_signature=tf.string
        )
        return {"labels_bytes": encoded}

    module = tf.Module(name="kidney_seg")
    # not the Keras models: they would ask for Keras
    module.weights = [variable.value for member in loaded.members for variable in member.model.variables]
    bodies: dict[str, Callable[..., Outputs]] = {
        contract.DEFAULT: serving_default,
        contract.HEADS: heads,
        contract.PNG: png,
        contract.ABOUT: lambda ask: {"contract_bytes": tf.fill(tf.shape(ask), about)},
    }
    made = contract.signatures(grid, config.model.heads, config.model.classes)
    return module, {name: _signature(bodies[name], made[name]) for name in made}


def _all_views(network: keras.Model, views: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """All views of a batch go through a network at once."""
    return tf.split(network(tf.concat(views, 0), training=False), len(views))


def _signature(body: Callable[..., Outputs], promised: contract.Signature) -> Any:
    specs = {
        name: tf.TensorSpec([None if edge < 0 else edge for edge in shape], tf.as_dtype(dtype), name=name)
        for name, (dtype, shape) in promised.inputs.items()
    }

    def call(**inputs: tf.Tensor) -> Outputs:
        outputs = body(**{name: _of_rank(inputs[name], spec) for name, spec in specs.items()})
        return {name: tf.identity(outputs[name], name=name) for name in promised.outputs}

    return tf.function(call, autograph=False).get_concrete_function(**specs)


def _of_rank(tensor: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    # A server feeds requests of any rank: TensorFlow trusts the signature and does not check. The placeholder makes
    # the shape unknown, so that the check is not optimized away.
    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=tf.TensorShape(None)), spec.shape)


def _checked(slices: tf.Tensor, spacing_mm: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Refuse invalid requests; return whole HU as `read_volume` makes them, and the spacing."""
    with tf.control_dependencies(_asserted(request_checks(slices, spacing_mm, TENSORFLOW))):
        return whole_hu(tf.identity(slices), TENSORFLOW), tf.identity(spacing_mm)


def _asserted(checks: Sequence[Check]) -> list[Any]:
    return [
        tf.debugging.Assert(valid, [f"kidney_seg: {expected}; given", found], summarize=8)
        for expected, valid, found in checks
    ]


def _decoded(files: tf.Tensor) -> tf.Tensor:
    """Return HU, float32 [batch, y, x], of 16-bit gray PNG files of one size. Sizes are checked before inflating."""
    count = tf.size(files)
    with tf.control_dependencies(_asserted([Check("slices: expected at least one slice", count > 0, count)])):
        files = tf.identity(files)
    padded = tf.strings.join([files, b"\0" * 26])  # shorter files also have a header, which is refused
    start = tf.strings.substr(padded, 0, 16)
    kind = tf.strings.substr(padded, 24, 2)
    edges = tf.io.decode_raw(tf.strings.substr(padded, 16, 8), tf.int32, little_endian=False)  # [batch, (x, y)]
    shape = tf.cast(tf.concat([tf.shape(files), edges[0, ::-1]], 0), tf.int64)
    gray_16 = tf.reduce_all(tf.equal(start, _PNG_START) & tf.equal(kind, b"\x10\x00"))
    checks = [
        Check("slices: expected gray PNG files of 16 bits, HU + 32768, by length", gray_16, tf.strings.length(files)),
        Check("slices: expected one size (x, y) in a request", tf.reduce_all(tf.equal(edges, edges[:1])), edges),
        *size_checks(shape, TENSORFLOW),
    ]
    with tf.control_dependencies(_asserted(checks)):
        files = tf.identity(files)
    gray = tf.map_fn(
        lambda file: tf.io.decode_png(file, channels=1, dtype=tf.uint16), files, fn_output_signature=tf.uint16
    )
    return tf.cast(tf.ensure_shape(gray, (None, None, None, 1))[..., 0], tf.float32) - contract.PNG_ZERO


def _in_chunks(
    network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]],
    slices: tf.Tensor,
    chunk: int,
    image: Any,
    outputs: Mapping[str, Any],
) -> Outputs:
    """Return a network's outputs for slices [batch, size, size], `chunk` at a time: that bounds the memory.

    image, outputs: the network's input and outputs, for their shapes. A network of several input slices sees those
    beside each slice in the batch, the last repeated at either end.
    """
    count = tf.shape(slices, tf.int64)[0]

    def run(first: tf.Tensor, *made: tf.TensorArray) -> tuple[Any, ...]:
        positions = tf.range(first, tf.minimum(first + chunk, count))
        seen = tf.gather(slices, neighbor_indices(positions, count, image.shape[-1], TENSORFLOW))
        heads = network(tf.ensure_shape(tf.transpose(seen, (0, 2, 3, 1)), image.shape))
        index = tf.cast(first // chunk, tf.int32)
        return first + chunk, *(array.write(index, heads[name]) for name, array in zip(outputs, made, strict=True))

    arrays = tuple(
        tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=output.shape)
        for output in outputs.values()
    )
    start = tf.constant(0, tf.int64)
    _, *made = tf.while_loop(lambda first, *_: first < count, run, (start, *arrays), parallel_iterations=1)
    return {
        name: tf.ensure_shape(array.concat(), outputs[name].shape) for name, array in zip(outputs, made, strict=True)
    }
