"""Convolution, transposed convolution and pooling over one to three spatial axes.

Weights are [O, C/groups, *K] for conv and [C, O/groups, *K] for conv_transpose whatever the layout of x, so that the
gradient of one is the other with the same weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...dtypes import DType
from ..core import Abstract
from ..primitive import Template, primitive
from .batch_rules import batch_window
from .linalg import narrow, product_dtype, require_products
from .rules import apply, full, highest, lowest, require_kind, wide
from .shape import inverse_permutation

Amounts = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]
LAYOUTS = ("channels_first", "channels_last")
_COLUMNS_LIMIT = 1 << 24  # elements of an unfolded input above which the taps are looped over instead


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from channels first to channels last."""
    return (0, *range(2, rank), 1)


def spatial_of(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    return shape[2:] if layout == "channels_first" else shape[1:-1]


def require_window(
    name: str, x: Abstract, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts, layout: str
) -> tuple[int, int, tuple[int, ...]]:
    """Checks shared by the family; returns batch, channels and spatial extents."""
    if layout not in LAYOUTS:
        raise ValueError(f"{name}: layout is one of {', '.join(LAYOUTS)}, got {layout!r}")
    if not 3 <= x.rank <= 5:
        raise ValueError(f"{name} takes [batch, channels, 1 to 3 spatial axes] (or channels last), got {x}")
    count = x.rank - 2
    for what, given in (("window", window), ("strides", strides), ("dilation", dilation), ("padding", padding)):
        if len(given) != count:
            raise ValueError(f"{name} of {x} takes {count} {what}, got {given}")
    if min((*window, *strides, *dilation)) < 1:
        raise ValueError(f"{name}: window {window}, strides {strides} and dilation {dilation} are at least 1")
    if min(min(pair) for pair in padding) < 0:
        raise ValueError(f"{name}: padding is not negative, got {padding}; slice the input instead")
    channels = x.shape[1] if layout == "channels_first" else x.shape[-1]
    return x.shape[0], channels, spatial_of(x.shape, layout)


def assemble(batch: int, channels: int, spatial: tuple[int, ...], layout: str) -> tuple[int, ...]:
    return (batch, channels, *spatial) if layout == "channels_first" else (batch, *spatial, channels)


def window_extents(
    name: str, spatial: Amounts, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts
) -> tuple[int, ...]:
    made = []
    for n, k, s, (low, high), d in zip(spatial, window, strides, padding, dilation, strict=True):
        room = n + low + high - ((k - 1) * d + 1)
        if room < 0:
            raise ValueError(
                f"{name}: a window of {k} with dilation {d} does not fit into an extent of {n} padded by {low} and {high}"
            )
        made.append(room // s + 1)
    return tuple(made)


def taps_of(
    window: Amounts, strides: Amounts, dilation: Amounts, extents: Amounts
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each position in the window, with the slices of the padded input it reads for all outputs."""
    for tap in itertools.product(*map(range, window)):
        yield (
            tap,
            tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in zip(tap, dilation, strides, extents, strict=True)),
        )


def _tap(weights: np.ndarray, tap: tuple[int, ...]) -> np.ndarray:
    """The matrix of weights at one position in the window."""
    key: tuple[Any, ...] = (slice(None), slice(None), *tap)
    return weights[key]


# -- conv --------------------------------------------------------------------------------------------------------------------


def _conv_abstract(
    x: Abstract, w: Abstract, strides: Amounts, padding: Padding, dilation: Amounts, groups: int = 1,
    layout: str = "channels_first", dtype: DType | None = None,
) -> Abstract:  # fmt: skip
    made = require_products("conv", x, w, dtype)
    if w.rank != x.rank:
        raise ValueError(f"conv takes weights [out, in/groups, *window] with as many axes as x, got {x} and {w}")
    batch, channels, spatial = require_window("conv", x, w.shape[2:], strides, padding, dilation, layout)
    out = w.shape[0]
    if groups < 1 or channels % groups or out % groups or w.shape[1] * groups != channels:
        raise ValueError(
            f"conv: {channels} channels in {groups} groups need weights [multiple of {groups}, {channels // max(groups, 1)}, "
            f"*window], got {w}"
        )
    extents = window_extents("conv", spatial, w.shape[2:], strides, padding, dilation)
    return Abstract(assemble(batch, out, extents, layout), made)


def _conv(
    x: np.ndarray, w: np.ndarray, strides: Amounts, padding: Padding, dilation: Amounts, groups: int = 1,
    layout: str = "channels_first", dtype: DType | None = None,
) -> np.ndarray:  # fmt: skip
    """Channels last inside. Depthwise: a sum over taps; otherwise a matrix product over unfolded windows, or over taps
    where unfolding would take too much memory."""
    result = dtype or dt.dtype(x.dtype)
    accumulate = product_dtype(dt.dtype(x.dtype), result)
    window, out = w.shape[2:], w.shape[0]
    source = x.transpose(to_last(x.ndim)) if layout == "channels_first" else x
    source = np.pad(source.astype(accumulate, copy=False), ((0, 0), *padding, (0, 0)))
    weights = w.astype(accumulate, copy=False)
    extents = window_extents("conv", spatial_of(x.shape, layout), window, strides, padding, dilation)
    batch, channels = source.shape[0], source.shape[-1]
    made = np.zeros((batch, *extents, out), accumulate)
    if groups == channels and groups > 1:
        repeat = out // groups
        for tap, where in taps_of(window, strides, dilation, extents):
            piece = source[(slice(None), *where)]
            made += (np.repeat(piece, repeat, axis=-1) if repeat > 1 else piece) * _tap(weights, tap)[:, 0]
    else:
        depth, width = channels // groups, out // groups
        unfold = made.size // max(out, 1) * channels * math.prod(window) <= _COLUMNS_LIMIT
        for group in range(groups):
            part = source[..., group * depth : (group + 1) * depth]
            mine = weights[group * width : (group + 1) * width]
            target = made[..., group * width : (group + 1) * width]
            if unfold:
                columns = [part[(slice(None), *where)] for _, where in taps_of(window, strides, dilation, extents)]
                reads = depth * math.prod(window)  # of each result
                matrix = np.concatenate(columns, axis=-1).reshape(batch * math.prod(extents), reads)
                rows = np.moveaxis(mine, 1, -1).reshape(width, reads)  # [out, *window, in]: the order of the columns
                target[...] = (matrix @ rows.T).reshape(target.shape)
            else:
                for tap, where in taps_of(window, strides, dilation, extents):
                    target += part[(slice(None), *where)] @ _tap(mine, tap).T
    made = narrow(made, result)
    return made.transpose(to_first(x.ndim)) if layout == "channels_first" else made


def _first(x: Any, layout: str) -> Any:
    return x if layout == "channels_first" else apply("transpose", x, permutation=to_first(len(x.shape)))


def _from_first(x: Any, layout: str) -> Any:
    return x if layout == "channels_first" else apply("transpose", x, permutation=to_last(len(x.shape)))


def _filter_gradient(x: Any, g: Any, **params: Any) -> Any:
    """The cotangent of weights [O, C/groups, *K], from a convolution's input and the cotangent of its result."""
    made = apply("conv_filter_gradient", x, g, **params)
    rank = len(made.shape)
    return apply("transpose", made, permutation=(rank - 1, rank - 2, *range(rank - 2)))


def _conv_vjp(
    cotangents: Any, operands: Any, results: Any, strides: Amounts, padding: Padding, dilation: Amounts, groups: int = 1,
    layout: str = "channels_first", dtype: DType | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    x, w = operands
    if x.dtype.kind != "f":
        return None, None
    g = cotangents[0] if cotangents[0].dtype == x.dtype else apply("convert", cotangents[0], dtype=x.dtype)
    window, spatial = tuple(w.shape[2:]), spatial_of(tuple(x.shape), layout)
    left_over = tuple(
        (n + low + high - ((k - 1) * d + 1)) % s
        for n, k, s, (low, high), d in zip(spatial, window, strides, padding, dilation, strict=True)
    )
    dx = apply(
        "conv_transpose", g, w, strides=strides, padding=padding, output_padding=left_over, dilation=dilation,
        groups=groups, layout=layout,
    )  # fmt: skip
    dw = _filter_gradient(
        x, g, window=window, strides=strides, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    return dx, dw


primitive(
    "conv",
    abstract=_conv_abstract,
    evaluate=_conv,
    batch=batch_window("conv"),
    lowering=Template("conv"),
    vjp=_conv_vjp,
    flops=lambda operands, results, params: 2 * results[0].size * math.prod(operands[1].shape[1:]),
)


# -- conv_transpose ----------------------------------------------------------------------------------------------------------


def _transpose_extents(
    spatial: Amounts, window: Amounts, strides: Amounts, padding: Padding, output_padding: Amounts, dilation: Amounts
) -> tuple[int, ...]:
    return tuple(
        (n - 1) * s + (k - 1) * d + 1 - low - high + extra
        for n, k, s, (low, high), extra, d in zip(spatial, window, strides, padding, output_padding, dilation, strict=True)
    )


def _conv_transpose_abstract(
    x: Abstract, w: Abstract, strides: Amounts, padding: Padding, output_padding: Amounts, dilation: Amounts,
    groups: int = 1, layout: str = "channels_first", dtype: DType | None = None,
) -> Abstract:  # fmt: skip
    made = require_products("conv_transpose", x, w, dtype)
    if w.rank != x.rank:
        raise ValueError(f"conv_transpose takes weights [in, out/groups, *window] with as many axes as x, got {x} and {w}")
    batch, channels, spatial = require_window("conv_transpose", x, w.shape[2:], strides, padding, dilation, layout)
    if len(output_padding) != len(spatial) or min(output_padding) < 0:
        raise ValueError(f"conv_transpose takes {len(spatial)} non-negative output_padding, got {output_padding}")
    if groups < 1 or channels % groups or w.shape[0] != channels:
        raise ValueError(f"conv_transpose: {channels} channels in {groups} groups need weights [{channels}, …], got {w}")
    extents = _transpose_extents(spatial, w.shape[2:], strides, padding, output_padding, dilation)
    if min(extents) < 0:
        raise ValueError(f"conv_transpose: padding {padding} removes more than there is of {x}; the result would be {extents}")
    return Abstract(assemble(batch, w.shape[1] * groups, extents, layout), made)


def _conv_transpose(
    x: np.ndarray, w: np.ndarray, strides: Amounts, padding: Padding, output_padding: Amounts, dilation: Amounts,
    groups: int = 1, layout: str = "channels_first", dtype: DType | None = None,
) -> np.ndarray:  # fmt: skip
    """Channels last inside: every tap adds its products at its place in the uncropped result, then padding is cut off."""
    result = dtype or dt.dtype(x.dtype)
    accumulate = product_dtype(dt.dtype(x.dtype), result)
    source = (x.transpose(to_last(x.ndim)) if layout == "channels_first" else x).astype(accumulate, copy=False)
    weights = w.astype(accumulate, copy=False)
    spatial, window, width = source.shape[1:-1], w.shape[2:], w.shape[1]
    depth = source.shape[-1] // groups
    extents = _transpose_extents(spatial, window, strides, padding, output_padding, dilation)
    whole = tuple(low + max(n, 0) + high for n, (low, high) in zip(extents, padding))
    made = np.zeros((source.shape[0], *whole, width * groups), accumulate)
    for tap, where in taps_of(window, strides, dilation, spatial):
        view = made[(slice(None), *where)]
        for group in range(groups):
            mine = _tap(weights, tap)[group * depth : (group + 1) * depth]
            view[..., group * width : (group + 1) * width] += source[..., group * depth : (group + 1) * depth] @ mine
    cut = tuple(slice(low, low + n) for n, (low, _) in zip(extents, padding))
    made = narrow(made[(slice(None), *cut)], result)
    return made.transpose(to_first(x.ndim)) if layout == "channels_first" else made


def _conv_transpose_vjp(
    cotangents: Any, operands: Any, results: Any, strides: Amounts, padding: Padding, output_padding: Amounts,
    dilation: Amounts, groups: int = 1, layout: str = "channels_first", dtype: DType | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    x, w = operands
    if x.dtype.kind != "f":
        return None, None
    g = cotangents[0] if cotangents[0].dtype == x.dtype else apply("convert", cotangents[0], dtype=x.dtype)
    dx = apply("conv", g, w, strides=strides, padding=padding, dilation=dilation, groups=groups, layout=layout)
    if tuple(dx.shape) != tuple(x.shape):  # output padding of a whole stride or more
        dx = apply("slice", dx, starts=(0,) * len(x.shape), sizes=tuple(x.shape), steps=(1,) * len(x.shape))
    dw = _filter_gradient(
        g, x, window=tuple(w.shape[2:]), strides=strides, padding=padding, dilation=dilation, groups=groups, layout=layout
    )
    return dx, dw


primitive(
    "conv_transpose",
    abstract=_conv_transpose_abstract,
    evaluate=_conv_transpose,
    batch=batch_window("conv_transpose"),
    lowering=Template("conv_transpose"),
    vjp=_conv_transpose_vjp,
    flops=lambda operands, results, params: 2 * operands[0].size * math.prod(operands[1].shape[1:]),
)


# -- pool --------------------------------------------------------------------------------------------------------------------


def _pool_abstract(
    x: Abstract, combine: str, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts,
    layout: str = "channels_first",
) -> Abstract:  # fmt: skip
    require_kind("pool", x, "iuf")
    if combine not in ("max", "min", "add"):
        raise ValueError(f"pool: combine is max, min or add, got {combine!r}")
    batch, channels, spatial = require_window("pool", x, window, strides, padding, dilation, layout)
    extents = window_extents("pool", spatial, window, strides, padding, dilation)
    return Abstract(assemble(batch, channels, extents, layout), x.dtype)


def pool_identity(combine: str, dtype: DType) -> float | int:
    """What padding holds."""
    return {"max": lowest, "min": highest}[combine](dtype) if combine != "add" else 0


def _pool(
    x: np.ndarray, combine: str, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts,
    layout: str = "channels_first",
) -> np.ndarray:  # fmt: skip
    fold = {"max": np.maximum, "min": np.minimum, "add": np.add}[combine]
    source = wide(x.transpose(to_last(x.ndim)) if layout == "channels_first" else x)
    identity = np.asarray(pool_identity(combine, dt.dtype(source.dtype))).astype(source.dtype)
    extents = window_extents("pool", source.shape[1:-1], window, strides, padding, dilation)
    source = np.pad(source, ((0, 0), *padding, (0, 0)), constant_values=identity)
    made = np.full((source.shape[0], *extents, source.shape[-1]), identity, source.dtype)
    for _, where in taps_of(window, strides, dilation, extents):
        fold(made, source[(slice(None), *where)], out=made)
    made = made.astype(x.dtype, copy=False)
    return made.transpose(to_first(x.ndim)) if layout == "channels_first" else made


def _pool_add_vjp(g: Any, x: Any, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts) -> Any:
    """Every element gets the sum of the cotangents of the windows it is in: a depthwise transposed convolution with ones."""
    channels, spatial = x.shape[1], tuple(x.shape[2:])
    left_over = tuple(
        (n + low + high - ((k - 1) * d + 1)) % s
        for n, k, s, (low, high), d in zip(spatial, window, strides, padding, dilation, strict=True)
    )
    ones = full(1, g, shape=(channels, 1, *window))
    return apply(
        "conv_transpose", g, ones, strides=strides, padding=padding, output_padding=left_over, dilation=dilation,
        groups=channels,
    )  # fmt: skip


def _pool_vjp(
    cotangents: Any, operands: Any, results: Any, combine: str, window: Amounts, strides: Amounts, padding: Padding,
    dilation: Amounts, layout: str = "channels_first",
) -> tuple[Any]:  # fmt: skip
    g, (x,), (y,) = cotangents[0], operands, results
    same: dict[str, Any] = {"window": window, "strides": strides, "padding": padding, "dilation": dilation}
    if combine != "add":
        return (apply("pool_gradient", g, x, y, combine=combine, layout=layout, **same),)
    return (_from_first(_pool_add_vjp(_first(g, layout), _first(x, layout), **same), layout),)


primitive(
    "pool",
    abstract=_pool_abstract,
    evaluate=_pool,
    batch=batch_window("pool"),
    lowering=Template("pool"),
    vjp=_pool_vjp,
    flops=lambda operands, results, params: results[0].size * math.prod(params["window"]),
)

__all__ = [
    "Amounts", "Padding", "assemble", "inverse_permutation", "pool_identity", "require_window", "spatial_of", "taps_of",
    "to_first", "to_last", "window_extents",
]  # fmt: skip
