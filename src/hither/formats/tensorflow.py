"""TensorFlow's semantics on arrays, shared by the formats that carry TensorFlow operators (TF.js, TFLite).

Functions of arrays and plain numbers, no nodes: images are channels last, "SAME" pads the odd element after, filters have
their channels last. What TensorFlow shares with everybody is in hither.ops already and is not repeated here.

Definitions: TensorFlow's operator reference (tf.raw_ops) and its kernels' documented behaviour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import ops
from ..graph.trace import static_value
from ..ops.conv import each_axis

Pairs = tuple[tuple[int, int], ...]


# -- windows ---------------------------------------------------------------------------------------------------------------


def spatial_padding(name: str, rank: int, explicit: Sequence[int] = ()) -> str | Pairs:
    """TensorFlow's padding attribute as hither.ops takes it.

    Args:
        name: "SAME", "VALID" or "EXPLICIT".
        rank: how many spatial axes there are.
        explicit: for "EXPLICIT", (before, after) for each axis of [N, *spatial, C], flat.
    """
    if name in ("SAME", "VALID"):
        return name.lower()
    if name != "EXPLICIT":
        raise ValueError(f"padding is SAME, VALID or EXPLICIT, got {name!r}")
    if len(explicit) != 2 * (rank + 2) or any(explicit[:2]) or any(explicit[-2:]) or min(explicit) < 0:
        raise ValueError(f"explicit paddings {tuple(explicit)} do not fit {rank} spatial axes, channels last")
    return tuple((int(a), int(b)) for a, b in zip(explicit[2:-2:2], explicit[3:-2:2]))


def conv(
    x: Any, filters: Any, bias: Any = None, /, *, strides: Sequence[int] | int = 1, padding: str | Pairs = "valid",
    dilation: Sequence[int] | int = 1,
) -> Any:  # fmt: skip
    """Convolution of [N, *spatial, C] with filters [*window, C/groups, O]; the filters' depth tells the groups."""
    rank = len(x.shape) - 2
    if len(filters.shape) != rank + 2 or filters.shape[-2] < 1 or x.shape[-1] % filters.shape[-2]:
        raise ValueError(f"filters of shape {tuple(filters.shape)} do not fit x of shape {tuple(x.shape)}")
    weights = ops.permute_dims(filters, (rank + 1, rank, *range(rank)))
    groups = x.shape[-1] // filters.shape[-2]
    return ops.conv(
        x, weights, bias, strides=strides, padding=padding, dilation=dilation, groups=groups, layout="channels_last"
    )  # fmt: skip


def depthwise_conv(
    x: Any, filters: Any, bias: Any = None, /, *, strides: Sequence[int] | int = 1, padding: str | Pairs = "valid",
    dilation: Sequence[int] | int = 1,
) -> Any:  # fmt: skip
    """Each channel of [N, H, W, C] convolved with M filters of its own, [h, w, C, M]: [N, h', w', C · M]."""
    if len(filters.shape) != 4 or len(x.shape) != 4 or filters.shape[2] != x.shape[3]:
        raise ValueError(f"depthwise filters of shape {tuple(filters.shape)} do not fit x of shape {tuple(x.shape)}")
    height, width, channels, each = filters.shape
    weights = ops.permute_dims(ops.reshape(filters, (height, width, 1, channels * each)), (3, 2, 0, 1))
    return ops.conv(
        x, weights, bias, strides=strides, padding=padding, dilation=dilation, groups=channels, layout="channels_last"
    )  # fmt: skip


def conv_transpose(
    x: Any, filters: Any, shape: Sequence[int], bias: Any = None, /, *, strides: Sequence[int] | int = 1,
    padding: str | Pairs = "valid", dilation: Sequence[int] | int = 1,
) -> Any:  # fmt: skip
    """What a convolution with these filters maps to x, as TensorFlow's Conv2DBackpropInput has it.

    Args:
        x: [N, *spatial, O]: the convolution's result.
        filters: [*window, C, O]: the convolution's.
        shape: the whole shape of the convolution's input, [N, *extents, C]; its extents are those of the result.
    """
    rank = len(x.shape) - 2
    if len(filters.shape) != rank + 2 or len(shape) != rank + 2 or filters.shape[-1] != x.shape[-1]:
        raise ValueError(f"filters {tuple(filters.shape)}, x {tuple(x.shape)} and result {tuple(shape)} do not fit together")
    steps, holes = (each_axis(v, rank, what) for v, what in ((strides, "strides"), (dilation, "dilation")))
    window, wanted = tuple(filters.shape[:rank]), tuple(shape[1:-1])
    given = ops.resolve_padding(padding, wanted, window, steps, holes)
    pairs = []
    for n, k, s, d, extent, (low, high) in zip(x.shape[1:-1], window, steps, holes, wanted, given):
        reach = (n - 1) * s + (k - 1) * d + 1
        if n != (extent + low + high - (k - 1) * d - 1) // s + 1:
            raise ValueError(f"a convolution of extent {extent} by windows of {k}, stride {s} does not give extent {n}")
        pairs.append((low, reach - low - extent))  # what lies beyond the last window is negative: zeros
    weights = ops.permute_dims(filters, (rank + 1, rank, *range(rank)))
    made = ops.conv_transpose(x, weights, strides=steps, padding=pairs, dilation=holes, layout="channels_last")
    return made if bias is None else made + bias


def max_pool_with_argmax(
    x: Any, window: Sequence[int], /, *, strides: Sequence[int], padding: str | Pairs = "valid", include_batch: bool = False
) -> tuple[Any, Any]:
    """The maxima of [N, H, W, C], and where they are: (h · W + w) · C + c, plus the image's offset with `include_batch`."""
    images, height, width, channels = x.shape
    best, place = ops.max_pool_with_indices(ops.to_channels_first(x), window, strides=strides, padding=padding)
    best, place = ops.to_channels_last(best), ops.to_channels_last(place)  # place counts in [N, C, H, W]
    area = height * width
    inside = ops.remainder(place, max(area, 1)) * channels + np.arange(channels, dtype=np.int64)
    if include_batch:
        inside = inside + np.arange(images, dtype=np.int64).reshape(-1, 1, 1, 1) * (area * channels)
    return best, inside


# -- normalisation -----------------------------------------------------------------------------------------------------------


def local_response_norm(x: Any, radius: int, /, *, bias: float, alpha: float, beta: float) -> Any:
    """x / (bias + alpha · Σ squares of channels within `radius`)^beta, channels last."""
    size = 2 * radius + 1
    return ops.local_response_norm(x, size, alpha=alpha * size, beta=beta, bias=bias, axis=-1)


# -- images ------------------------------------------------------------------------------------------------------------------


def resize_bilinear(x: Any, size: Sequence[int], /, *, align_corners: bool = False, half_pixel_centers: bool = False) -> Any:
    """[N, H, W, C] resampled to `size`, float32 for integers."""
    transform = "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"
    x = x if x.dtype.kind == "f" else ops.astype(x, dt.float32)
    return ops.resize(x, size, axes=(1, 2), mode="linear", transform=transform)


def resize_nearest(x: Any, size: Sequence[int], /, *, align_corners: bool = False, half_pixel_centers: bool = False) -> Any:
    """[N, H, W, C] resampled to `size` without interpolation."""
    if align_corners:
        transform, rounding = "align_corners", "round_prefer_ceil"
    else:
        transform, rounding = "tf_half_pixel_for_nn" if half_pixel_centers else "asymmetric", "floor"
    return ops.resize(x, size, axes=(1, 2), mode="nearest", transform=transform, nearest=rounding)


# -- slices and blocks -------------------------------------------------------------------------------------------------------


def strided_slice(
    x: Any, begin: Sequence[int], end: Sequence[int], strides: Sequence[int], /, *, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0,
) -> Any:  # fmt: skip
    """x[begin:end:strides]; bit i of a mask says that entry i has no begin, no end, is "…", a new axis or one index."""
    key: list[Any] = []
    if not len(begin) == len(end) == len(strides):
        raise ValueError(f"begin, end and strides have {len(begin)}, {len(end)} and {len(strides)} entries")
    for i, (first, last, step) in enumerate(zip(begin, end, strides)):
        bit = 1 << i
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(int(first))
        else:
            if step == 0:
                raise ValueError(f"stride {i} is 0")
            key.append(slice(None if begin_mask & bit else int(first), None if end_mask & bit else int(last), int(step)))
    return ops.getitem(x, tuple(key))


def strided_slice_axes(count: int, rank: int, *, ellipsis_mask: int = 0, new_axis_mask: int = 0) -> list[int | None]:
    """The axis of x that each of `count` entries of a strided slice is about; None for new axes and "…"."""
    axes: list[int | None] = []
    at = 0
    dense = sum(1 for i in range(count) if not (ellipsis_mask | new_axis_mask) & (1 << i))
    for i in range(count):
        if ellipsis_mask & (1 << i):
            axes.append(None)
            at += rank - dense
        elif new_axis_mask & (1 << i):
            axes.append(None)
        else:
            axes.append(at)
            at += 1
    return axes


# -- gathering and choosing --------------------------------------------------------------------------------------------------


def gather(x: Any, indices: Any, /, *, axis: int = 0, batch_dims: int = 0) -> Any:
    """Slices of x at indices along an axis; the first `batch_dims` axes of both are matched."""
    rank = len(x.shape)
    axis = axis + rank if axis < 0 else axis
    batch_dims = batch_dims + len(indices.shape) if batch_dims < 0 else batch_dims
    if not 0 <= batch_dims <= axis < rank or tuple(indices.shape[:batch_dims]) != tuple(x.shape[:batch_dims]):
        raise ValueError(f"axis {axis} and {batch_dims} batch axes do not fit {tuple(x.shape)} and {tuple(indices.shape)}")
    if batch_dims == 0:
        return ops.take(x, indices, axis=axis)
    # The gathered axis right after the batch axes; what lies between follows the indices' axes and is moved back.
    moved = ops.moveaxis(x, axis, batch_dims)
    made = ops.gather_nd(moved, ops.expand_dims(indices, axis=-1), batch_dims=batch_dims)
    between, own = axis - batch_dims, len(indices.shape) - batch_dims
    sources = range(batch_dims + own, batch_dims + own + between)
    return ops.moveaxis(made, list(sources), list(range(batch_dims, batch_dims + between)))


def scatter_new(indices: Any, updates: Any, shape: Sequence[int], /) -> Any:
    """Zeros of a shape with updates added at index tuples (ScatterNd): equal indices add up."""
    return ops.scatter_nd(ops.zeros(tuple(shape), dtype=updates.dtype), indices, updates, combine="add")


def one_hot(indices: Any, depth: int, on: Any, off: Any, /, *, axis: int = -1) -> Any:
    """`on` where the new axis counts the index, `off` elsewhere; indices outside 0 … depth-1 give `off` alone."""
    rank = len(indices.shape) + 1
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis < rank or depth < 0:
        raise ValueError(f"axis {axis} or depth {depth} does not fit indices of shape {tuple(indices.shape)}")
    number = np.arange(depth, dtype=indices.dtype.numpy).reshape([-1 if a == axis else 1 for a in range(rank)])
    return ops.where(ops.expand_dims(indices, axis=axis) == number, on, off)


def select(condition: Any, x: Any, y: Any, /) -> Any:
    """Select of TensorFlow 1: a vector of conditions chooses whole rows; otherwise elementwise."""
    if len(condition.shape) == 1 and len(x.shape) > 1:
        condition = ops.reshape(condition, (condition.shape[0], *(1,) * (len(x.shape) - 1)))
    return ops.where(condition, x, y)


# -- arithmetic --------------------------------------------------------------------------------------------------------------


def x_log_y(x: Any, y: Any, /) -> Any:
    """x · log(y), 0 where x is 0."""
    return ops.where(x == 0, 0, x * ops.log(y))


# -- sizes that depend on values ---------------------------------------------------------------------------------------------


def non_max_suppression(
    boxes: Any, scores: Any, most: Any, /, *, iou_threshold: Any = 0.5, score_threshold: Any = -math.inf, sigma: Any = 0.0,
    bound: int | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Greedy selection of boxes by falling score (NonMaxSuppressionV2 … V5).

    Args:
        boxes: [N, 4]: y1, x1, y2, x2.
        scores: [N].
        most: at most so many boxes.
        sigma: above 0, overlapping boxes lose score by exp(-iou² / 2·sigma) instead of being dropped.
        bound: room in the result; by default N, or `most` where that is known and smaller.

    Returns:
        int32 indices [bound], their scores [bound] and how many of both count; the rest is 0.
    """
    if len(boxes.shape) != 2 or boxes.shape[1] != 4 or tuple(scores.shape) != (boxes.shape[0],):
        raise ValueError(f"boxes and scores are [N, 4] and [N], got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    known, soft = static_value(most), static_value(ops.asarray(sigma))
    if bound is None:
        bound = boxes.shape[0] if known is None else int(min(max(int(known.reshape(-1)[0]), 0), boxes.shape[0]))
    most = ops.minimum(ops.reshape(ops.astype(most, dt.int64), ()), bound)
    if bound == 0:
        return ops.zeros((0,), dtype=dt.int32), ops.zeros((0,), dtype=scores.dtype), ops.asarray(0)
    if soft is not None and soft.reshape(-1)[0] == 0:
        rows, count = ops.nms_bounded(
            ops.expand_dims(boxes), ops.reshape(scores, (1, 1, -1)), most, iou_threshold, score_threshold, bound=bound
        )
        counts = ops.arange(bound) < ops.astype(count, dt.int32)
        chosen = ops.where(counts, ops.astype(rows[:, 2], dt.int32), 0)
        return chosen, ops.where(counts, ops.take(scores, chosen, axis=0), 0), ops.astype(count, dt.int32)
    return ops.soft_nms_bounded(boxes, scores, most, iou_threshold, score_threshold, sigma, bound=bound)
