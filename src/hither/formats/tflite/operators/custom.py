"""Custom operators: those of MediaPipe's models and of TensorFlow's object detection."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator

_PADDINGS = {1: "same", 2: "valid"}  # TfLitePadding


def _struct(node: Node, count: int) -> tuple[int, ...]:
    """The first `count` int32 of options that are a C struct."""
    node.check(len(node.custom_options) >= 4 * count, f"its options have {len(node.custom_options)} bytes, not {4 * count}")
    return struct.unpack_from(f"<{count}i", node.custom_options)


def _padding(node: Node, value: int) -> str:
    node.check(value in _PADDINGS, f"padding is {value}, not 1 (same) or 2 (valid)")
    return _PADDINGS[value]


@operator("Convolution2DTransposeBias", custom=True)
def convolution_2d_transpose_bias(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    """Transposed convolution of [N, H, W, I] by [O, h, w, I]; options are TfLiteTransposeConvParams: padding, strides."""
    padding, across, down = _struct(node, 3)
    node.check(len(x.shape) == len(w.shape) == 4 and min(across, down) >= 1, f"x {tuple(x.shape)}, filters {tuple(w.shape)}")
    kind = _padding(node, padding)
    extents = [
        n * s if kind == "same" else (n - 1) * s + k for n, s, k in zip(x.shape[1:3], (down, across), w.shape[1:3])
    ]  # fmt: skip
    shape = (x.shape[0], *extents, w.shape[0])
    return tf.conv_transpose(x, ops.permute_dims(w, (1, 2, 0, 3)), shape, bias, strides=(down, across), padding=kind)


def _pool(node: Node) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """Padding, window and strides of TfLitePoolParams."""
    padding, across, down, width, height = _struct(node, 5)
    node.check(min(across, down, width, height) >= 1, f"window {(height, width)} and strides {(down, across)}")
    return _padding(node, padding), (height, width), (down, across)


@operator("MaxPoolingWithArgmax2D", custom=True)
def max_pooling_with_argmax_2d(node: Node, x: Any) -> tuple[Any, Any]:
    """The maxima, and (as floats) where in its image each is."""
    padding, window, strides = _pool(node)
    best, place = tf.max_pool_with_argmax(x, window, strides=strides, padding=padding)
    return best, ops.astype(place, node.outputs[1].element)


@operator("MaxUnpooling2D", custom=True)
def max_unpooling_2d(node: Node, x: Any, indices: Any) -> Any:
    """x put where its maxima came from, zeros elsewhere; the result is as large as what was pooled without padding."""
    padding, _, strides = _pool(node)
    node.check(padding == "same", "unpooling of anything but padding SAME")
    batch, height, width, channels = x.shape
    extents = (height * strides[0], width * strides[1])
    place = ops.reshape(ops.astype(indices, dt.int32), (batch, -1, 1))
    flat = ops.zeros((batch, extents[0] * extents[1] * channels), dtype=x.dtype)
    image = np.arange(batch, dtype=np.int32).reshape(-1, 1, 1)
    at = ops.concat([ops.broadcast_to(image, tuple(place.shape)), place], axis=-1)
    return ops.reshape(ops.scatter_nd(flat, at, ops.reshape(x, (batch, -1)), combine="add"), (batch, *extents, channels))


# -- detection ---------------------------------------------------------------------------------------------------------------


def _options(node: Node) -> dict[str, Any]:
    """Options that are a FlexBuffer of numbers by name."""
    try:
        from flatbuffers import flexbuffers

        found = flexbuffers.Loads(bytearray(node.custom_options))
    except (ValueError, IndexError, TypeError, struct.error, AssertionError, RecursionError, OverflowError) as error:
        node.check(False, f"its options are damaged: {error}")
    node.check(isinstance(found, dict), "its options are no table")
    return {str(k): v for k, v in found.items() if isinstance(v, int | float | bool)}


@operator("TFLite_Detection_PostProcess", custom=True)
def detection_postprocess(node: Node, codes: Any, scores: Any, anchors: Any) -> tuple[Any, Any, Any, Any]:
    """Boxes from their encodings, and the best of them that do not overlap.

    Args:
        codes: [1, N, 4+]: centre y, x and log height, width, relative to the anchors.
        scores: [1, N, classes + 1]: the first is the background's.
        anchors: [N, 4]: centre y, x, height, width.

    Returns:
        boxes [1, D, 4] (y1, x1, y2, x2), classes [1, D], scores [1, D] and how many count, [1]; all float32.
    """
    options = _options(node)
    count, labels = anchors.shape[0], int(options.get("num_classes", 0))
    room, each = int(options.get("max_detections", 0)), int(options.get("max_classes_per_detection", 1))
    node.check(
        tuple(codes.shape[:2]) == (1, count) and tuple(scores.shape[:2]) == (1, count) and 0 < labels <= scores.shape[2],
        f"codes {tuple(codes.shape)}, scores {tuple(scores.shape)} and anchors {tuple(anchors.shape)} of {labels} classes",
    )
    node.check(0 < room < 1 << 16 and 0 < each <= labels, f"{room} detections of up to {each} classes")
    boxes = _decoded(node, codes[0], anchors, options)
    named = scores[0, :, scores.shape[2] - labels :]
    least, overlap = float(options.get("nms_score_threshold", 0)), float(options.get("nms_iou_threshold", 0))
    node.check(0 < overlap <= 1, f"an overlap of {overlap}")
    if options.get("use_regular_nms", False):
        return _by_class(boxes, named, room, int(options.get("detections_per_class", 100)), least, overlap)
    return _by_box(boxes, named, room, each, least, overlap)


def _decoded(node: Node, codes: Any, anchors: Any, options: dict[str, Any]) -> Any:
    scales = [float(options.get(f"{name}_scale", 0)) for name in "yxhw"]
    node.check(all(scales), f"scales {scales}")
    y, x, h, w = (codes[:, i] / s for i, s in enumerate(scales))
    ya, xa, ha, wa = (anchors[:, i] for i in range(4))
    y, x = y * ha + ya, x * wa + xa
    h, w = ops.exp(h) * ha * 0.5, ops.exp(w) * wa * 0.5
    return ops.stack([y - h, x - w, y + h, x + w], axis=-1)


def _row(rank_one: Any) -> Any:
    return ops.expand_dims(ops.astype(rank_one, dt.float32), axis=0)


def _by_box(boxes: Any, scores: Any, room: int, each: int, least: float, overlap: float) -> tuple[Any, Any, Any, Any]:
    """One suppression over each box's best score; a box that stays is given with its `each` best classes."""
    best, label = ops.top_k(scores, each)
    bound = min(room, boxes.shape[0])
    chosen, _, count = _suppress(boxes, best[:, 0], bound, least, overlap)
    valid = ops.arange(bound) < count
    picked = ops.where(ops.expand_dims(valid, axis=1), ops.take(boxes, chosen, axis=0), 0)
    found = [ops.where(ops.expand_dims(valid, axis=1), ops.take(v, chosen, axis=0), 0) for v in (label, best)]
    spare = (room - bound) * each
    rows = ops.pad(ops.repeat(picked, each, axis=0), [(0, spare), (0, 0)])
    classes, values = (ops.pad(ops.reshape(v, (-1,)), [(0, spare)]) for v in found)
    return ops.expand_dims(rows, axis=0), _row(classes), _row(values), _row(ops.reshape(count * each, (1,)))[0]


def _by_class(boxes: Any, scores: Any, room: int, per_class: int, least: float, overlap: float) -> tuple[Any, Any, Any, Any]:
    """A suppression for every class, then the best of all that stayed."""
    bound = min(per_class, boxes.shape[0])
    indices, values, classes = [], [], []
    for c in range(scores.shape[1]):
        chosen, score, count = _suppress(boxes, scores[:, c], bound, least, overlap)
        indices.append(chosen)
        values.append(ops.where(ops.arange(bound) < count, score, -1.0))
        classes.append(np.full(bound, c, np.float32))
    value, where = ops.concat(values), ops.concat(indices)
    take = min(room, value.shape[0])
    top, order = ops.top_k(value, take)
    valid = top >= 0
    rows = ops.where(ops.expand_dims(valid, axis=1), ops.take(boxes, ops.take(where, order, axis=0), axis=0), 0)
    label = ops.where(valid, ops.take(np.concatenate(classes), order, axis=0), 0)
    spare = room - take
    return (
        ops.expand_dims(ops.pad(rows, [(0, spare), (0, 0)]), axis=0),
        _row(ops.pad(label, [(0, spare)])),
        _row(ops.pad(ops.where(valid, top, 0), [(0, spare)])),
        ops.astype(ops.reshape(ops.sum(ops.astype(valid, dt.int32)), (1,)), dt.float32),
    )


def _suppress(boxes: Any, scores: Any, bound: int, least: float, overlap: float) -> tuple[Any, Any, Any]:
    # The reference keeps scores that equal the threshold; non_max_suppression those above it.
    below = float(np.nextafter(np.float32(least), np.float32(-np.inf)))
    return tf.non_max_suppression(
        boxes, scores, ops.asarray(bound), iou_threshold=overlap, score_threshold=below, bound=bound
    )  # fmt: skip
