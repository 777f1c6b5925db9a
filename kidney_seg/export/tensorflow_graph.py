"""The whole pipeline as a TensorFlow graph: raw HU slices in, labels and probabilities out.

The saved graph is plain TensorFlow: it loads without this package and without Keras. What a request may get wrong is
checked inside, so that a server answers with a sentence and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data_prep.geometry.network_grid import AIR_HU
from kidney_seg.config.model import HEADS
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.export import contract
from kidney_seg.export import tensorflow_resampling as served_grid
from kidney_seg.predict.test_time_augmentation import View, shares, views_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from kidney_seg.model.model_file import ModelFile

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # then width, height, bits, color


def build(loaded: ModelFile, promise: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a `tf.Module` and its signatures, for `tf.saved_model.save`.

    `promise`: the model's contract (`make_contract`), which `about` answers with.
    """
    import keras
    import tensorflow as tf

    model, grid, config = loaded.model, loaded.grid, loaded.config
    networks = [
        (keras.Model(member.model.inputs, member.model.output[HEADS[-1]]), member.config.prediction.odds)
        for member in loaded.members
    ]
    chunk = config.prediction.slices_per_batch
    about = json.dumps(promise)

    def all_heads(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return model({"image": images}, training=False)

    def together(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {HEADS[-1]: _combined(networks, images, config.prediction, config.model.activation)}

    def labels_of(slices: tf.Tensor, spacing_mm: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seen = served_grid.to_network(slices, spacing_mm, grid)
        at_once = max(1, chunk // len(views_of(config.prediction.flips, config.prediction.zooms, grid.size)))
        prob = _in_chunks(together, seen, at_once, model.inputs[0], {HEADS[-1]: model.output[HEADS[-1]]})[HEADS[-1]]
        prob = served_grid.to_source(prob, tf.shape(slices)[1:], spacing_mm, grid)
        return served_grid.most_probable(prob), prob

    def serving_default(slices: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        labels, prob = labels_of(*_checked(slices, spacing_mm))
        return {"labels": labels, "kidney_probability": prob[..., 1], "tumor_probability": prob[..., 2]}

    def heads(slices: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = served_grid.to_network(*_checked(slices, spacing_mm), grid)
        return _in_chunks(all_heads, seen, chunk, model.inputs[0], model.output)

    def png(slices: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        labels, _ = labels_of(*_checked(_decoded(slices), spacing_mm))
        encoded = tf.map_fn(
            lambda one: tf.io.encode_png(one, compression=1), labels[..., None], fn_output_signature=tf.string
        )
        return {"labels_bytes": encoded}

    def answer(ask: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"contract_bytes": tf.fill(tf.shape(ask), about)}

    module = tf.Module(name="kidney_seg")
    variables = [variable.value for member in loaded.members for variable in member.model.variables]
    module.weights = variables  # not the Keras models: they would ask for Keras
    bodies: dict[str, Callable[..., dict[str, tf.Tensor]]] = {
        contract.DEFAULT: serving_default,
        contract.HEADS: heads,
        contract.PNG: png,
        contract.ABOUT: answer,
    }
    made = contract.signatures(grid, config.model.heads, config.model.classes)
    return module, {name: _signature(bodies[name], made[name]) for name in made}


def _signature(body: Callable[..., dict[str, tf.Tensor]], promised: contract.Signature) -> Any:
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec([None if edge < 0 else edge for edge in shape], tf.as_dtype(dtype), name=name)
        for name, (dtype, shape) in promised.inputs.items()
    }

    def call(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = body(**{name: _of_rank(inputs[name], spec) for name, spec in specs.items()})
        return {name: tf.identity(outputs[name], name=name) for name in promised.outputs}

    return tf.function(call, autograph=False).get_concrete_function(**specs)


def _of_rank(tensor: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    # A server feeds what a request holds, whatever the rank: TensorFlow believes the signature and does not look. The
    # placeholder makes the shape unknown, so that the check is not taken for needless and left out.
    import tensorflow as tf

    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=tf.TensorShape(None)), spec.shape)


def _checked(slices: tf.Tensor, spacing_mm: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Refuse what the pipeline cannot answer; return whole HU as `read_volume` makes them, and the spacing."""
    import tensorflow as tf

    shape = tf.shape(slices)
    low, high = contract.SPACING_MM
    checks = [
        _require(tf.reduce_all(shape > 0), "slices: expected at least one slice of at least one pixel; found", shape),
        _require(_small(shape), f"slices: expected {_LIMITS}; found", shape),
        _require(
            tf.equal(tf.shape(spacing_mm), [shape[0], 2]),
            "spacing_mm: expected (row, column) for every slice, shape [batch, 2]; found",
            tf.shape(spacing_mm),
        ),
        _require(
            (spacing_mm >= low) & (spacing_mm <= high),  # false for NaN, too
            f"spacing_mm: expected {low} to {high} mm; found",
            spacing_mm,
        ),
    ]
    with tf.control_dependencies(checks):
        slices, spacing_mm = tf.identity(slices), tf.identity(spacing_mm)
    finite = _require(tf.math.is_finite(slices), "slices: NaN or infinity found; expected HU, slices", shape)
    with tf.control_dependencies([finite]):
        return tf.round(tf.clip_by_value(slices, -32768.0, 32767.0)), spacing_mm


_LIMITS = f"at most {contract.MAX_EDGE} rows and columns and {contract.MAX_VOXELS} pixels in all: send fewer at a time"


def _small(shape: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    voxels = tf.reduce_prod(tf.cast(shape, tf.int64))
    return tf.reduce_all(shape[1:] <= contract.MAX_EDGE) & (voxels <= contract.MAX_VOXELS)


def _require(valid: tf.Tensor, message: str, found: tf.Tensor) -> Any:
    import tensorflow as tf

    return tf.debugging.Assert(tf.reduce_all(valid), [f"kidney_seg: {message}", found], summarize=8)


def _decoded(files: tf.Tensor) -> tf.Tensor:
    """Return HU, float32 [batch, y, x], of 16-bit gray PNG files of one size. Sizes are checked before inflating."""
    import tensorflow as tf

    some = _require(tf.size(files) > 0, "slices: expected at least one slice; found", tf.size(files))
    with tf.control_dependencies([some]):
        files = tf.identity(files)
    padded = tf.strings.join([files, b"\0" * 26])  # shorter files have a header, too, which is refused
    start = tf.strings.substr(padded, 0, 16)
    kind = tf.strings.substr(padded, 24, 2)
    edges = tf.io.decode_raw(tf.strings.substr(padded, 16, 8), tf.int32, little_endian=False)  # [batch, (x, y)]
    shape = tf.concat([tf.shape(files), edges[0, ::-1]], 0)
    checks = [
        _require(
            tf.equal(start, _PNG_START) & tf.equal(kind, b"\x10\x00"),
            "slices: expected gray PNG files of 16 bits, HU + 32768; found others of bytes",
            tf.strings.length(files),
        ),
        _require(tf.equal(edges, edges[:1]), "slices: expected one size in a request; found (x, y)", edges),
        _require(_small(shape) & tf.reduce_all(shape > 0), f"slices: expected {_LIMITS}; found", shape),
    ]
    with tf.control_dependencies(checks):
        files = tf.identity(files)
    gray = tf.map_fn(
        lambda file: tf.io.decode_png(file, channels=1, dtype=tf.uint16), files, fn_output_signature=tf.uint16
    )
    return tf.cast(tf.ensure_shape(gray, (None, None, None, 1))[..., 0], tf.float32) - contract.PNG_ZERO


def _combined(
    networks: Sequence[tuple[Any, Sequence[float]]], images: tf.Tensor, settings: PredictionConfig, activation: str
) -> tf.Tensor:
    """`kidney_seg.predict.ensemble.combined`; all views of a slice go through a network at once."""
    import tensorflow as tf

    views = views_of(settings.flips, settings.zooms, images.shape[1])
    seen = tf.concat([_there(images, view) for view in views], 0)
    if len(networks) == len(views) == 1:
        return networks[0][0](seen, training=False)  # its odds are in the model
    made = []
    for network, odds in networks:
        prob = _weighed(network(seen, training=False), [1 / factor for factor in odds], activation)
        parts = tf.split(prob, len(views))
        made += [_back(part, view) for part, view in zip(parts, views, strict=True)]
    return _weighed(tf.add_n(made) / (shares(views) * len(networks)), settings.odds, activation)


def _there(images: tf.Tensor, view: View) -> tf.Tensor:
    """`View.there` in the graph."""
    seen = _mirrored(images, view)
    return seen if view.to is None else _product(view.to, seen - AIR_HU) + AIR_HU


def _back(prob: tf.Tensor, view: View) -> tf.Tensor:
    """`View.back` in the graph."""
    return _mirrored(prob if view.fro is None else _product(view.fro, prob), view)


def _mirrored(planes: tf.Tensor, view: View) -> tf.Tensor:
    import tensorflow as tf

    return tf.reverse(planes, tf.constant(view.axes, tf.int32))


def _product(matrix: np.ndarray, planes: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.einsum("iy,nyxc,jx->nijc", matrix, planes, matrix)


def _weighed(prob: tf.Tensor, factors: Sequence[float], activation: str) -> tf.Tensor:
    import tensorflow as tf

    made = prob * tf.constant(factors, tf.float32)
    return made / (tf.reduce_sum(made, -1, keepdims=True) if activation == "softmax" else made + 1 - prob)


def _in_chunks(
    network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]],
    slices: tf.Tensor,
    chunk: int,
    image: Any,
    outputs: Mapping[str, Any],
) -> dict[str, tf.Tensor]:
    """Return what a network says of slices [batch, size, size], `chunk` at a time: that bounds the memory.

    image, outputs: the network's input and what it returns, for their shapes. Where it sees neighbors, they are the
    slices beside it in the batch, the last repeated at either end.
    """
    import tensorflow as tf

    channels = image.shape[-1]
    count = tf.shape(slices)[0]
    offsets = tf.range(channels) - channels // 2

    def answer(first: tf.Tensor, *made: tf.TensorArray) -> tuple[Any, ...]:
        positions = tf.range(first, tf.minimum(first + chunk, count))
        seen = tf.gather(slices, tf.clip_by_value(positions[:, None] + offsets, 0, count - 1))
        heads = network(tf.transpose(seen, (0, 2, 3, 1)))
        return first + chunk, *(
            array.write(first // chunk, heads[name]) for name, array in zip(outputs, made, strict=True)
        )

    arrays = tuple(
        tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=output.shape)
        for output in outputs.values()
    )
    _, *made = tf.while_loop(lambda first, *_: first < count, answer, (tf.constant(0), *arrays), parallel_iterations=1)
    return {
        name: tf.ensure_shape(array.concat(), outputs[name].shape) for name, array in zip(outputs, made, strict=True)
    }
