"""Convolution and pooling. Weights are [out, in/groups, *window] (transposed: [in, out/groups, *window]) in every layout.

Padding is "valid", "same" (the odd element after, as TensorFlow and ONNX's SAME_UPPER), "same_lower", one amount, one
amount per axis, or (before, after) per axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.primitives.conv import pool_identity
from . import elementwise as el
from . import reduce as rd
from .creation import zeros
from .indexing import scatter_nd
from .operands import Like, apply, asarray, converted, promoted, wide_float, with_axes
from .shape import pad, permute_dims, reshape, slice_axis

Amounts = int | Sequence[int]
Padding = str | int | Sequence[Any]


def each_axis(value: Amounts, count: int, what: str) -> tuple[int, ...]:
    """One number for each spatial axis, given so or once for all."""
    made = (int(value),) * count if isinstance(value, int | np.integer) else tuple(int(v) for v in value)
    if len(made) != count:
        raise ValueError(f"{what} takes one number, or one for each of the {count} spatial axes, got {value}")
    return made


def same_padding(
    extents: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int], *, lower: bool = False
) -> tuple[tuple[int, int], ...]:
    """(before, after) per axis so that the output has ceil(extent / stride) elements.

    Args:
        lower: put an odd element before (ONNX's SAME_LOWER) instead of after (SAME_UPPER, TensorFlow's "SAME").
    """
    made = []
    for n, k, s, d in zip(extents, window, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less, more = total // 2, total - total // 2
        made.append((more, less) if lower else (less, more))
    return tuple(made)


def resolve_padding(
    padding: Padding, extents: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Any of the ways to say padding, as (before, after) per spatial axis."""
    count = len(extents)
    if isinstance(padding, str):
        match padding:
            case "valid":
                return ((0, 0),) * count
            case "same" | "same_upper":
                return same_padding(extents, window, strides, dilation)
            case "same_lower":
                return same_padding(extents, window, strides, dilation, lower=True)
        raise ValueError(f"padding is 'valid', 'same', 'same_lower' or amounts, got {padding!r}")
    if isinstance(padding, int | np.integer):
        return ((int(padding), int(padding)),) * count
    if len(padding) != count or not all(np.shape(p) in ((), (2,)) for p in padding):
        raise ValueError(f"padding takes one amount or pair for each of the {count} spatial axes, got {padding}")
    return tuple((int(p), int(p)) if isinstance(p, int | np.integer) else (int(p[0]), int(p[1])) for p in padding)


def _spatial(x: Any, layout: str) -> tuple[int, ...]:
    if layout not in ("channels_first", "channels_last"):
        raise ValueError(f"layout is 'channels_first' or 'channels_last', got {layout!r}")
    return tuple(x.shape[2:] if layout == "channels_first" else x.shape[1:-1])


def with_bias(y: Any, bias: Like | None, layout: str) -> Any:
    """y plus one number per channel, where there is a bias."""
    if bias is None:
        return y
    b = asarray(bias)
    return el.add(y, reshape(b, (b.size, *(1,) * (y.ndim - 2))) if layout == "channels_first" else b)


def _without_negative(x: Any, pairs: Sequence[tuple[int, int]], layout: str) -> tuple[Any, tuple[tuple[int, int], ...]]:
    """Negative padding removes elements: slice them off, and keep what is left of it."""
    if min(min(p) for p in pairs) >= 0:
        return x, tuple(pairs)
    cut = [(min(lo, 0), min(hi, 0)) for lo, hi in pairs]
    whole = [(0, 0), (0, 0), *cut] if layout == "channels_first" else [(0, 0), *cut, (0, 0)]
    return pad(x, whole), tuple((max(lo, 0), max(hi, 0)) for lo, hi in pairs)


def conv(
    x: Like, w: Like, bias: Like | None = None, /, *, strides: Amounts = 1, padding: Padding = "valid",
    dilation: Amounts = 1, groups: int = 1, layout: str = "channels_first", dtype: Any = None,
) -> Any:  # fmt: skip
    """Convolution (cross-correlation) over one to three spatial axes.

    Args:
        x: [N, C, *spatial], or [N, *spatial, C] for layout="channels_last".
        w: [O, C/groups, *window].
        bias: [O].
        dtype: sum in this dtype (8-bit integers in int32, say).

    Example:
        >>> import hither as ht
        >>> ht.conv(ht.ones((1, 3, 8, 8)), ht.ones((4, 3, 3, 3)), padding="same", strides=2).shape
        (1, 4, 4, 4)
    """
    x, w = asarray(x), asarray(w)
    if dtype is None:
        x, w = promoted(x, w)
    spatial, window = _spatial(x, layout), tuple(w.shape[2:])
    count = len(spatial)
    if len(window) != count:
        raise ValueError(f"conv of shape {x.shape} takes weights [out, in/groups, {count} window axes], got {w.shape}")
    s, d = each_axis(strides, count, "strides"), each_axis(dilation, count, "dilation")
    pairs = resolve_padding(padding, spatial, window, s, d)
    x, pairs = _without_negative(x, pairs, layout)
    wanted = None if dtype is None else dt.dtype(dtype)
    y = apply("conv", x, w, strides=s, padding=pairs, dilation=d, groups=groups, layout=layout, dtype=wanted)
    return with_bias(y, bias, layout)


def separable_conv(
    x: Like, depthwise: Like, pointwise: Like, bias: Like | None = None, /, *, strides: Amounts = 1, padding: Padding = "valid",
    dilation: Amounts = 1, layout: str = "channels_first",
) -> Any:  # fmt: skip
    """A convolution of each channel by itself, then one of all channels at each place.

    Args:
        x: [N, C, *spatial], or [N, *spatial, C] for layout="channels_last".
        depthwise: [C · m, 1, *window].
        pointwise: [O, C · m], or with window axes of extent 1.
        bias: [O].

    Example:
        >>> import hither as ht
        >>> ht.separable_conv(ht.ones((1, 3, 8, 8)), ht.ones((6, 1, 3, 3)), ht.ones((4, 6)), padding="same").shape
        (1, 4, 8, 8)
    """
    x = with_axes("separable_conv", x, "[N, C, *spatial]")
    w = with_axes("separable_conv(pointwise)", pointwise, "[O, C, *ones]")
    channels = x.shape[1] if layout == "channels_first" else x.shape[-1]
    made = conv(x, depthwise, strides=strides, padding=padding, dilation=dilation, groups=channels, layout=layout)
    return conv(made, reshape(w, (*w.shape[:2], *(1,) * (x.ndim - 2))), bias, layout=layout)


def dilation2d(
    x: Like, filters: Like, /, *, strides: Amounts = 1, padding: Padding = "valid", dilation: Amounts = 1,
) -> Any:  # fmt: skip
    """Greyscale dilation: the largest of x + filter over each window.

    Args:
        x: [N, H, W, C].
        filters: [h, w, C].

    Returns:
        [N, H', W', C].

    Raises:
        ValueError: where channels differ.

    Source: Serra, Image Analysis and Mathematical Morphology, 1982; TensorFlow's Dilation2D.

    Example:
        >>> import hither as ht
        >>> ht.dilation2d(ht.reshape(ht.arange(4.0), (1, 2, 2, 1)), ht.zeros((2, 2, 1))).tolist()
        [[[[3.0]]]]
    """
    x, filters = promoted(x, filters)
    if x.ndim != 4 or filters.ndim != 3 or filters.shape[2] != x.shape[3]:
        raise ValueError(f"filters {tuple(filters.shape)} do not fit x of shape {tuple(x.shape)}")
    window = tuple(filters.shape[:2])
    s, d = each_axis(strides, 2, "strides"), each_axis(dilation, 2, "dilation")
    pairs = resolve_padding(padding, x.shape[1:3], window, s, d)
    wide = pad(x, [(0, 0), *pairs, (0, 0)], value=pool_identity("max", x.dtype))
    counts = [(n + lo + hi - (k - 1) * e - 1) // by + 1 for n, k, by, e, (lo, hi) in zip(x.shape[1:3], window, s, d, pairs)]
    made: Any = None
    for i, j in np.ndindex(*window):
        seen = wide
        for axis, at, by, count in zip((1, 2), (i * d[0], j * d[1]), s, counts):
            seen = slice_axis(seen, axis, at, at + (count - 1) * by + 1, by)
        one = el.add(seen, filters[i, j])
        made = one if made is None else el.maximum(made, one)
    return made


def conv_transpose(
    x: Like, w: Like, bias: Like | None = None, /, *, strides: Amounts = 1, padding: Padding = "valid",
    output_padding: Amounts = 0, dilation: Amounts = 1, groups: int = 1, output_shape: Sequence[int] | None = None,
    layout: str = "channels_first",
) -> Any:  # fmt: skip
    """Transposed convolution: the gradient of `conv` with respect to its input, as a function of its own.

    Output extents are (n - 1)·stride + (window - 1)·dilation + 1 - padding + output_padding.

    Args:
        x: [N, C, *spatial], or [N, *spatial, C] for layout="channels_last".
        w: [C, O/groups, *window].
        padding: amounts are taken off the result; "same" gives extents n·stride.
        output_shape: the spatial extents wanted; `padding` "same"/"same_lower" or amounts are then worked out from them.
    """
    x, w = promoted(x, w)
    spatial, window = _spatial(x, layout), tuple(w.shape[2:])
    count = len(spatial)
    s, d = each_axis(strides, count, "strides"), each_axis(dilation, count, "dilation")
    extra = each_axis(output_padding, count, "output_padding")
    natural = [(n - 1) * a + (k - 1) * b + 1 + e for n, a, k, b, e in zip(spatial, s, window, d, extra)]
    if output_shape is None and isinstance(padding, str) and padding != "valid":
        output_shape = [n * a for n, a in zip(spatial, s)]
    if output_shape is not None:
        wanted = each_axis(output_shape, count, "output_shape")
        pairs = []
        for whole, n in zip(natural, wanted):
            total = whole - n
            half = max(total, 0) // 2  # what there is too little of is added at the end, as a convolution leaves it there
            pairs.append((total - half, half) if padding == "same_lower" and total > 0 else (half, total - half))
    else:
        pairs = list(resolve_padding(padding, spatial, window, s, d))
    grow = tuple((max(-lo, 0), max(-hi, 0)) for lo, hi in pairs)  # negative: the result is larger than its products
    crop = tuple((max(lo, 0), max(hi, 0)) for lo, hi in pairs)
    y = apply("conv_transpose", x, w, strides=s, padding=crop, output_padding=extra, dilation=d, groups=groups, layout=layout)
    if any(map(any, grow)):
        y = pad(y, [(0, 0), (0, 0), *grow] if layout == "channels_first" else [(0, 0), *grow, (0, 0)])
    return with_bias(y, bias, layout)


def col2im(
    x: Like, image: Sequence[int], block: Sequence[int], /, *, strides: Amounts = 1, padding: Padding = "valid",
    dilation: Amounts = 1,
) -> Any:  # fmt: skip
    """Blocks added back into the images they were cut from: the inverse of unfolding, up to what overlaps.

    One scatter-add into the padded image; then the padding is cut off.

    Args:
        x: [N, C · block, blocks], blocks in row-major order.
        image: the spatial extents of the result.
        block: the extents of a block.

    Returns:
        [N, C, *image].
    """
    x, rank = asarray(x), len(image)
    s, d = each_axis(strides, rank, "strides"), each_axis(dilation, rank, "dilation")
    extents = each_axis(block, rank, "block")
    pairs = resolve_padding(padding, image, extents, s, d)
    if x.ndim != 3 or min((*extents, *s, *d)) < 1 or min((*image, *(n for p in pairs for n in p))) < 0:
        raise ValueError(f"col2im takes x [N, C · block, blocks], got {x.shape} for {image}, {block}, {s}, {pairs}, {d}")
    wide = tuple(n + lo + hi for n, (lo, hi) in zip(image, pairs))
    count = tuple((n - by * (k - 1) - 1) // step + 1 for n, k, step, by in zip(wide, extents, s, d))
    taps, places = math.prod(extents), math.prod(count)
    n, rows, columns = x.shape
    if min(count) < 1 or places != columns or rows % taps:
        raise ValueError(f"col2im: {count} blocks of {extents} do not fit x of shape {x.shape}")
    target = np.zeros((taps, places), np.int64)
    tap, place = np.indices(extents).reshape(rank, -1), np.indices(count).reshape(rank, -1)
    for axis in range(rank):
        target = target * wide[axis] + tap[axis][:, None] * d[axis] + place[axis][None] * s[axis]
    values = reshape(x, (n * rows // taps, taps * places))
    canvas = zeros((math.prod(wide), n * rows // taps), dtype=x.dtype)
    summed = scatter_nd(canvas, target.reshape(-1, 1), permute_dims(values, (1, 0)), combine="add")
    made = reshape(permute_dims(summed, (1, 0)), (n, rows // taps, *wide))
    return pad(made, [(0, 0), (0, 0), *((-lo, -hi) for lo, hi in pairs)])


# -- pooling -------------------------------------------------------------------------------------------------------------------


def _pool_geometry(
    x: Any, window: Amounts, strides: Amounts | None, padding: Padding, dilation: Amounts, layout: str, ceil_mode: bool
) -> tuple[Any, ...]:
    """x (cropped where padding is negative), window, strides, dilation, padding, and padding extended for ceil_mode."""
    spatial = _spatial(x, layout)
    count = len(spatial)
    k = each_axis(window, count, "window")
    s = k if strides is None else each_axis(strides, count, "strides")
    d = each_axis(dilation, count, "dilation")
    x, pairs = _without_negative(x, resolve_padding(padding, spatial, k, s, d), layout)
    spatial, grown = _spatial(x, layout), pairs
    if ceil_mode:
        made = []
        for n, size, step, (lo, hi), by in zip(spatial, k, s, pairs, d):
            reach = (size - 1) * by + 1
            outputs = -(-(n + lo + hi - reach) // step) + 1
            begun = -(-(n + lo) // step)  # windows must start inside the input or the padding before it
            if outputs > begun:
                outputs, hi = begun, 0
            made.append((lo, max(hi, (outputs - 1) * step + reach - n - lo)))
        grown = tuple(made)
    return x, k, s, d, pairs, grown


def max_pool(
    x: Like, window: Amounts, /, *, strides: Amounts | None = None, padding: Padding = "valid", dilation: Amounts = 1,
    ceil_mode: bool = False, layout: str = "channels_first",
) -> Any:  # fmt: skip
    """The largest element of each window. Strides default to the window.

    Args:
        ceil_mode: keep a last window that reaches over the end.

    Example:
        >>> import hither as ht
        >>> ht.max_pool(ht.ones((1, 3, 8, 8)), 2).shape
        (1, 3, 4, 4)
    """
    x = asarray(x)
    x, k, s, d, _, grown = _pool_geometry(x, window, strides, padding, dilation, layout, ceil_mode)
    return apply("pool", x, combine="max", window=k, strides=s, padding=grown, dilation=d, layout=layout)


def max_pool_with_indices(
    x: Like, window: Amounts, /, *, strides: Amounts | None = None, padding: Padding = "valid", dilation: Amounts = 1,
    ceil_mode: bool = False, column_major: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """max_pool of [N, C, *spatial], and where each maximum is in the whole flattened x (ONNX's second output).

    Args:
        column_major: count the spatial axes with the first one fastest (ONNX's storage_order=1).
    """
    x = asarray(x)
    x, k, s, d, _, grown = _pool_geometry(x, window, strides, padding, dilation, "channels_first", ceil_mode)
    params = {"strides": s, "padding": grown, "dilation": d}
    best = apply("pool", x, combine="max", window=k, layout="channels_first", **params)
    low, high = (0, 0, *(lo for lo, _ in grown)), (0, 0, *(hi for _, hi in grown))
    source = apply("pad", x, low=low, high=high, value=pool_identity("max", x.dtype)) if any(low + high) else x
    spatial = x.shape[2:]
    place = [math.prod(spatial[:i]) if column_major else math.prod(spatial[i + 1 :]) for i in range(len(k))]
    offsets, positions = np.indices(k).reshape(len(k), -1), np.indices(best.shape[2:])
    found: Any = None
    for tap in reversed(range(offsets.shape[1])):  # the first tap that holds the maximum is chosen last, so it stays
        shift = offsets[:, tap] * np.asarray(d)
        starts = (0, 0, *map(int, shift))
        seen = apply("slice", source, starts=starts, sizes=tuple(best.shape), steps=(1, 1, *s))
        own = np.asarray([positions[a] * s[a] + int(shift[a]) - grown[a][0] for a in range(len(k))])
        where_tap = np.tensordot(np.asarray(place, np.int64), own, 1)  # position in one channel, at each output
        inside = ((own >= 0) & (own < np.reshape(spatial, (-1, *(1,) * len(k))))).all(0)
        here = el.equal(seen, best)
        here = here if inside.all() else el.logical_and(here, inside)  # padding is never where a maximum is
        found = el.where(here, where_tap, where_tap if found is None else found)
    channel = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(*x.shape[:2], *(1,) * len(k)) * math.prod(spatial)
    return best, el.add(found, channel)


def window_sums(x: Any, k: Any, s: Any, d: Any, padding: Any, layout: str) -> Any:
    """The sum over each window; what is padding counts as 0."""
    return apply("pool", x, combine="add", window=k, strides=s, padding=padding, dilation=d, layout=layout)


def avg_pool(
    x: Like, window: Amounts, /, *, strides: Amounts | None = None, padding: Padding = "valid", dilation: Amounts = 1,
    ceil_mode: bool = False, count_include_pad: bool = False, layout: str = "channels_first",
) -> Any:  # fmt: skip
    """The mean of each window.

    Args:
        count_include_pad: divide by the whole window even where part of it is padding. What ceil_mode adds beyond the
            padding is never counted.
    """
    x, back = wide_float(x)
    x, k, s, d, pairs, grown = _pool_geometry(x, window, strides, padding, dilation, layout, ceil_mode)
    total = window_sums(x, k, s, d, grown, layout)
    ones = np.ones((1, 1, *_spatial(x, layout)), x.dtype.numpy)
    rest = grown
    if count_include_pad:
        kept = [(lo, min(hi, more)) for (lo, hi), (_, more) in zip(grown, pairs)]  # ceil_mode may drop windows, too
        ones = np.pad(ones, [(0, 0), (0, 0), *kept], constant_values=1)
        rest = tuple((0, hi - more) for (_, hi), (_, more) in zip(grown, kept))
    counts = window_sums(asarray(ones), k, s, d, rest, "channels_first").numpy()
    if layout == "channels_last":
        counts = np.moveaxis(counts, 1, -1)
    scale: Any = 1 / np.maximum(counts, 1)
    scale = float(scale.flat[0]) if scale.size and (scale == scale.flat[0]).all() else scale.astype(x.dtype.numpy)
    return converted(el.multiply(total, scale), back)


def lp_pool(
    x: Like, window: Amounts, /, *, p: float = 2, strides: Amounts | None = None, padding: Padding = "valid",
    dilation: Amounts = 1, ceil_mode: bool = False, layout: str = "channels_first",
) -> Any:  # fmt: skip
    """The p-norm of each window, (Σ |x|^p)^(1/p)."""
    x, back = wide_float(x)
    x, k, s, d, _, grown = _pool_geometry(x, window, strides, padding, dilation, layout, ceil_mode)
    powers = el.square(x) if p == 2 else el.abs(x) if p == 1 else el.pow(el.abs(x), float(p))
    total = window_sums(powers, k, s, d, grown, layout)
    return converted(el.sqrt(total) if p == 2 else total if p == 1 else el.pow(total, 1.0 / p), back)


def _global_axes(x: Any, layout: str) -> tuple[int, ...]:
    first = 2 if layout == "channels_first" else 1
    return tuple(range(first, first + x.ndim - 2))


def global_avg_pool(x: Like, /, *, keepdims: bool = True, layout: str = "channels_first") -> Any:
    """The mean over all spatial axes."""
    x = asarray(x)
    return rd.mean(x, axis=_global_axes(x, layout), keepdims=keepdims)


def global_max_pool(x: Like, /, *, keepdims: bool = True, layout: str = "channels_first") -> Any:
    """The maximum over all spatial axes."""
    x = asarray(x)
    return rd.max(x, axis=_global_axes(x, layout), keepdims=keepdims)


def global_lp_pool(x: Like, /, *, p: float = 2, keepdims: bool = True, layout: str = "channels_first") -> Any:
    """The p-norm over all spatial axes."""
    x = asarray(x)
    return rd.vector_norm(x, axis=_global_axes(x, layout), ord=p, keepdims=keepdims)


def max_unpool(x: Like, indices: Like, output_shape: Sequence[int], /) -> Any:
    """Elements put back to where max_pool_with_indices found them, zeros elsewhere.

    Args:
        indices: int64 positions in the flattened result, as max_pool_with_indices gives them.
        output_shape: the whole shape of the result.
    """
    x, indices = asarray(x), asarray(indices)
    flat = zeros((math.prod(output_shape),), dtype=x.dtype)
    made = scatter_nd(flat, reshape(indices, (indices.size, 1)), reshape(x, (x.size,)))
    return reshape(made, tuple(output_shape))


def to_channels_last(x: Like, /) -> Any:
    """[N, C, *spatial] as [N, *spatial, C]."""
    x = asarray(x)
    return permute_dims(x, (0, *range(2, x.ndim), 1))


def to_channels_first(x: Like, /) -> Any:
    """[N, *spatial, C] as [N, C, *spatial]."""
    x = asarray(x)
    return permute_dims(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


__all__ = [
    "avg_pool", "col2im", "conv", "conv_transpose", "dilation2d", "global_avg_pool", "global_lp_pool", "global_max_pool",
    "lp_pool", "max_pool", "max_pool_with_indices", "max_unpool", "resolve_padding", "same_padding", "separable_conv",
    "to_channels_first", "to_channels_last",
]  # fmt: skip
