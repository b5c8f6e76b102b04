"""What convolutions' filters and the inputs of max and min pools get as gradients, as primitives of their own.

Both could be written with convolutions, slices and pads. But a filter's gradient is a product over pixels that reads picture
and cotangent where they lie, and an extremum's is one walk over the windows: neither wants transposed copies or a pass per tap.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ... import dtypes as dt
from ..batching import spread
from ..core import Abstract
from ..primitive import Template, primitive
from .batch_rules import merged, moved, parted
from .conv import (
    Amounts,
    Padding,
    assemble,
    pool_identity,
    require_window,
    spatial_of,
    taps_of,
    to_first,
    to_last,
    window_extents,
)  # fmt: skip
from .linalg import product_dtype
from .rules import apply, full, require_kind, require_same, wide

# -- conv_filter_gradient ------------------------------------------------------------------------------------------------------


def _filter_abstract(
    x: Abstract, g: Abstract, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts, groups: int = 1,
    layout: str = "channels_first",
) -> Abstract:  # fmt: skip
    name = "conv_filter_gradient"
    require_kind(name, x, "f")
    if g.rank != x.rank or g.dtype != x.dtype:
        raise ValueError(f"{name} takes a picture and a cotangent of equal rank and dtype, got {x} and {g}")
    batch, channels, spatial = require_window(name, x, window, strides, padding, dilation, layout)
    made = window_extents(name, spatial, window, strides, padding, dilation)
    given, outputs = spatial_of(g.shape, layout), g.shape[1] if layout == "channels_first" else g.shape[-1]
    if g.shape[0] != batch or any(n > most for n, most in zip(given, made, strict=True)):
        raise ValueError(f"{name}: windows of {list(window)} in {x} have cotangents of at most {list(made)}, got {g}")
    if groups < 1 or channels % groups or outputs % groups:
        raise ValueError(f"{name}: {channels} and {outputs} channels are no {groups} groups")
    return Abstract((*window, channels // groups, outputs), x.dtype)


def _filter(
    x: np.ndarray, g: np.ndarray, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts, groups: int = 1,
    layout: str = "channels_first",
) -> np.ndarray:  # fmt: skip
    """Tap by tap: what the tap saw of the picture, transposed, times the cotangents."""
    accumulate = product_dtype(dt.dtype(x.dtype), dt.dtype(x.dtype))
    picture, cotangent = (v.transpose(to_last(v.ndim)) if layout == "channels_first" else v for v in (x, g))
    picture = np.pad(picture.astype(accumulate, copy=False), ((0, 0), *padding, (0, 0)))
    depth, outputs = picture.shape[-1] // groups, cotangent.shape[-1]
    right = cotangent.astype(accumulate, copy=False).reshape(-1, groups, outputs // groups).swapaxes(0, 1)
    made = np.zeros((*window, depth, outputs), accumulate)
    for tap, where in taps_of(window, strides, dilation, cotangent.shape[1:-1]):
        seen = picture[(slice(None), *where)].reshape(-1, groups, depth)
        made[tap] = (seen.transpose(1, 2, 0) @ right).swapaxes(0, 1).reshape(depth, outputs)
    return made.astype(x.dtype, copy=False)


def _filter_vjp(
    cotangents: Any, operands: Any, results: Any, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts,
    groups: int = 1, layout: str = "channels_first",
) -> tuple[Any, Any]:  # fmt: skip
    """It is linear in both: the picture gets a transposed convolution, the cotangent a convolution with what arrives."""
    x, g = operands
    rank = len(x.shape)
    w = apply("transpose", cotangents[0], permutation=(rank - 1, rank - 2, *range(rank - 2)))
    given, spatial = spatial_of(tuple(g.shape), layout), spatial_of(tuple(x.shape), layout)
    same = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups, "layout": layout}
    missed = tuple(
        n + low + high - ((k - 1) * d + 1) - (m - 1) * s
        for n, (low, high), k, d, m, s in zip(spatial, padding, window, dilation, given, strides, strict=True)
    )
    dx = apply("conv_transpose", g, w, output_padding=missed, **same)
    dg = apply("conv", x, w, **same)
    if tuple(dg.shape) != tuple(g.shape):  # windows that met no cotangent
        dg = apply("slice", dg, starts=(0,) * rank, sizes=tuple(g.shape), steps=(1,) * rank)
    return dx, dg


def _filter_batch(
    size: int, flags: Any, x: Any, g: Any, groups: int = 1, layout: str = "channels_first", **params: Any
) -> Any:  # fmt: skip
    """Instances are more groups of channels."""

    def together(v: Any, flag: bool) -> Any:
        v = spread(v, flag, size)
        v = moved(v, len(v.shape) - 1, 2) if layout == "channels_last" else v  # [size, n, channels, …]
        batch, _, channels, *spatial = moved(v, 0, 1).shape
        return apply("reshape", moved(v, 0, 1), shape=(batch, size * channels, *spatial))

    made = apply(
        "conv_filter_gradient", together(x, flags[0]), together(g, flags[1]), groups=groups * size, layout="channels_first",
        **params,
    )  # fmt: skip
    *first, outputs = made.shape
    return moved(apply("reshape", made, shape=(*first, size, outputs // size)), len(first), 0)


primitive(
    "conv_filter_gradient",
    abstract=_filter_abstract,
    evaluate=_filter,
    batch=_filter_batch,
    lowering=Template("conv_filter_gradient"),
    vjp=_filter_vjp,
    flops=lambda operands, results, params: 2 * results[0].size * operands[1].size // max(1, results[0].shape[-1]),
)


# -- pool_gradient -------------------------------------------------------------------------------------------------------------


def _pool_abstract(
    g: Abstract, x: Abstract, y: Abstract, combine: str, window: Amounts, strides: Amounts, padding: Padding, dilation: Amounts,
    layout: str = "channels_first",
) -> Abstract:  # fmt: skip
    name = "pool_gradient"
    require_kind(name, x, "f")
    require_same(name, g, y)
    if combine not in ("max", "min"):
        raise ValueError(f"{name}: combine is max or min, got {combine!r}")
    batch, channels, spatial = require_window(name, x, window, strides, padding, dilation, layout)
    extents = window_extents(name, spatial, window, strides, padding, dilation)
    expected = Abstract(assemble(batch, channels, extents, layout), x.dtype)
    if y != expected:
        raise ValueError(f"{name}: the pool of {x} is {expected}, got {y}")
    return x


def _pool(
    g: np.ndarray, x: np.ndarray, y: np.ndarray, combine: str, window: Amounts, strides: Amounts, padding: Padding,
    dilation: Amounts, layout: str = "channels_first",
) -> np.ndarray:  # fmt: skip
    """Tap by tap: the windows whose extremum is there, and that no earlier tap took, give their cotangent to it."""
    cotangent, source, extremum = (wide(v.transpose(to_last(v.ndim)) if layout == "channels_first" else v) for v in (g, x, y))
    identity = np.asarray(pool_identity(combine, dt.dtype(source.dtype))).astype(source.dtype)
    padded = np.pad(source, ((0, 0), *padding, (0, 0)), constant_values=identity)
    made, free = np.zeros_like(padded), np.ones(extremum.shape, bool)
    for _, where in taps_of(window, strides, dilation, extremum.shape[1:-1]):
        at = (slice(None), *where)
        mine = free & (padded[at] == extremum)
        free &= ~mine
        made[at] += np.where(mine, cotangent, 0)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(padding, source.shape[1:-1], strict=True))
    made = made[(slice(None), *inside)].astype(x.dtype, copy=False)
    return made.transpose(to_first(x.ndim)) if layout == "channels_first" else made


def _pool_vjp(
    cotangents: Any, operands: Any, results: Any, combine: str, window: Amounts, strides: Amounts, padding: Padding,
    dilation: Amounts, layout: str = "channels_first",
) -> tuple[Any, None, None]:  # fmt: skip
    """It is linear in the windows' cotangents; each window reads what arrives where its extremum lies."""
    _, x, y = operands
    given = cotangents[0]
    rank, first = len(x.shape), 2 if layout == "channels_first" else 1
    low, high, steps = [0] * rank, [0] * rank, [1] * rank
    for i, ((a, b), s) in enumerate(zip(padding, strides, strict=True), first):
        low[i], high[i], steps[i] = a, b, s
    if any(low + high):
        x = apply("pad", x, low=tuple(low), high=tuple(high), value=pool_identity(combine, x.dtype))
        given = apply("pad", given, low=tuple(low), high=tuple(high), value=0)
    made, free = full(0, y), full(True, y, dtype=dt.bool_)
    for tap in itertools.product(*map(range, window)):
        starts = [0] * rank
        starts[first : first + len(window)] = [t * d for t, d in zip(tap, dilation)]
        seen, arrived = (apply("slice", v, starts=tuple(starts), sizes=tuple(y.shape), steps=tuple(steps)) for v in (x, given))
        mine = apply("bit_and", apply("eq", seen, y), free)
        free = apply("bit_and", free, apply("bitwise_not", mine))
        made = apply("select", mine, arrived, made)
    return made, None, None


def _pool_batch(size: int, flags: Any, *operands: Any, **params: Any) -> Any:
    """Instances are more pictures."""
    together = [merged(spread(v, flag, size)) for v, flag in zip(operands, flags, strict=True)]
    return parted(apply("pool_gradient", *together, **params), size)


primitive(
    "pool_gradient",
    abstract=_pool_abstract,
    evaluate=_pool,
    batch=_pool_batch,
    lowering=Template("pool_gradient"),
    vjp=_pool_vjp,
    flops=lambda operands, results, params: operands[0].size * math.prod(params["window"]),
)
