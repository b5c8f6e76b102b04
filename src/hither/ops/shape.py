"""Functions that rearrange elements: reshape, transpose, stack, split, flip, tile, pad and their kin."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype, int64
from ..graph.trace import static_value
from .operands import (
    Axis,
    Like,
    apply,
    asarray,
    axes_of,
    broadcasted,
    common_shape,
    converted,
    duplicate,
    is_traced,
    lifted,
    number,
    one_axis,
    promoted,
    spread,
    unaliased,
    with_axes,
)  # fmt: skip

_MOST_RUNS = 4  # of evenly spaced places that are cheaper as slices than as a lookup


def astype(x: Like, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """The same values in another dtype. Floats become integers by truncation, saturating; NaN gives 0.

    Args:
        copy: with False, x itself where it has the dtype already.
        device: "cpu" or "webgpu"; None for where x is.

    Raises:
        TypeError: for complex numbers to real ones; take their `real` or `abs`.
    """
    made, wanted = asarray(x, device=device), as_dtype(dtype)
    if made.dtype.kind == "c" and wanted.kind in "biuf":
        raise TypeError(f"astype: {made.dtype} to {wanted} would drop imaginary parts; take real(x), imag(x) or abs(x) first")
    made = converted(made, wanted)
    return unaliased(made, x) if copy else made


def reshape(x: Like, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Any:
    """The same elements, row-major, in another shape; one extent may be -1.

    Args:
        copy: True for a buffer of its own. Never needed: changing one Array leaves others alone.

    Example:
        >>> import hither as ht
        >>> ht.reshape(ht.arange(6), (2, -1)).shape
        (2, 3)
    """
    made = asarray(x)
    wanted = [operator.index(n) for n in ([shape] if isinstance(shape, int | np.integer) else shape)]
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted):
        raise ValueError(f"reshape takes extents of at least 0 and at most one -1, got {wanted}")
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        if rest == 0 or made.size % rest:
            raise ValueError(f"cannot reshape {made.size} elements (shape {made.shape}) to {wanted}")
        wanted[wanted.index(-1)] = made.size // rest
    if tuple(wanted) != tuple(made.shape):
        made = apply("reshape", made, shape=tuple(wanted))
    return duplicate(made) if copy else unaliased(made, x)


def permute_dims(x: Like, /, axes: Sequence[int]) -> Any:
    """Axis i of the result is axis axes[i] of x."""
    made = asarray(x)
    order = tuple(one_axis(a, made.ndim) for a in axes)
    return unaliased(made, x) if order == tuple(range(made.ndim)) else apply("transpose", made, permutation=order)


def matrix_transpose(x: Like, /) -> Any:
    """The last two axes exchanged."""
    x = asarray(x)
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose needs two axes or more, got shape {x.shape}")
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def moveaxis(x: Like, source: int | Sequence[int], destination: int | Sequence[int], /) -> Any:
    """Axes moved to new places; the others keep their order."""
    x = asarray(x)
    froms = [one_axis(a, x.ndim) for a in ([source] if isinstance(source, int) else source)]
    tos = [one_axis(a, x.ndim) for a in ([destination] if isinstance(destination, int) else destination)]
    if len(froms) != len(tos):
        raise ValueError(f"moveaxis takes as many sources as destinations, got {source} and {destination}")
    order = [a for a in range(x.ndim) if a not in froms]
    for to, at in sorted(zip(tos, froms, strict=True)):
        order.insert(to, at)
    return permute_dims(x, order)


def expand_dims(x: Like, /, axis: int | Sequence[int] = 0) -> Any:
    """Axes of extent 1 inserted; `axis` counts in the result."""
    x = asarray(x)
    given = [axis] if isinstance(axis, int | np.integer) else list(axis)
    new = axes_of(given, x.ndim + len(given))
    rest = iter(x.shape)
    return reshape(x, [1 if a in new else next(rest) for a in range(x.ndim + len(given))])


def squeeze(x: Like, /, axis: Axis = None) -> Any:
    """Axes of extent 1 removed: those given, or all of them."""
    x = asarray(x)
    gone = axes_of(axis, x.ndim) if axis is not None else tuple(a for a, n in enumerate(x.shape) if n == 1)
    for a in gone:
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of shape {x.shape} has extent {x.shape[a]}, not 1")
    return reshape(x, [n for a, n in enumerate(x.shape) if a not in gone])


def flatten(x: Like, /, axis: int = 0) -> Any:
    """One axis for axis=0; else two, split before `axis` (ONNX's Flatten with axis ≥ 1)."""
    x = asarray(x)
    if axis == 0:
        return reshape(x, (x.size,))
    axis = one_axis(axis, x.ndim + (axis > 0))  # the end, too
    return reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def broadcast_to(x: Like, /, shape: Sequence[int]) -> Any:
    """x repeated along axes of extent 1 and new leading axes."""
    return unaliased(spread(asarray(x), tuple(shape)), x)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to.

    Raises:
        ValueError: where they do not.

    Example:
        >>> import hither as ht
        >>> ht.broadcast_shapes((2, 1), (3,))
        (2, 3)
    """
    return common_shape(*shapes)


def broadcast_arrays(*arrays: Like) -> list[Any]:
    """All arguments in their common shape."""
    made = [asarray(a) for a in arrays]
    shape = common_shape(*[m.shape for m in made])
    return [unaliased(spread(m, shape), a) for m, a in zip(made, arrays)]


def concat(arrays: Sequence[Like], /, *, axis: int | None = 0) -> Any:
    """Arrays one after another along an axis; flattened first for axis=None."""
    made = promoted(*arrays)
    if not made:
        raise ValueError("concat takes at least one array, got none")
    if axis is None:
        made, axis = [reshape(m, (m.size,)) for m in made], 0
    axis = one_axis(axis, made[0].ndim)
    return unaliased(made[0], arrays[0]) if len(made) == 1 else apply("concat", *made, axis=axis)


def stack(arrays: Sequence[Like], /, *, axis: int = 0) -> Any:
    """Arrays of one shape along a new axis."""
    made = promoted(*arrays)
    if len({tuple(m.shape) for m in made}) != 1:
        raise ValueError(f"stack takes one or more arrays of one shape, got shapes {[tuple(m.shape) for m in made]}")
    axis = one_axis(axis, made[0].ndim + 1)
    return concat([expand_dims(m, axis=axis) for m in made], axis=axis)


def slice_axis(x: Like, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """x[..., start:stop:step, ...] along one axis, by the rules of Python slices."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    picked = range(x.shape[axis])[start:stop:step]
    return _slice(x, {axis: picked})


def _slice(x: Any, picked: dict[int, range]) -> Any:
    """Keep, along each of these axes, the positions in the range."""
    full = [picked.get(a, range(n)) for a, n in enumerate(x.shape)]
    if all(r == range(n) for r, n in zip(full, x.shape)):
        return x
    starts = tuple(r.start if len(r) else 0 for r in full)
    return apply("slice", x, starts=starts, sizes=tuple(map(len, full)), steps=tuple(r.step if len(r) else 1 for r in full))


def split(x: Like, sections: int | Sequence[int], /, *, axis: int = 0) -> list[Any]:
    """Pieces along an axis: a number of equal ones (the last smaller if it must be), or of the given extents."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(sections, int | np.integer):
        if sections < 1:
            raise ValueError(f"split takes at least one section, got {sections}")
        size = -(-n // int(sections))
        sizes = [max(0, min(size, n - i * size)) for i in range(int(sections))]
    else:
        sizes = [int(s) for s in sections]
        if sum(sizes) != n:
            raise ValueError(f"split: pieces {sizes} along axis {axis} do not add up to {n}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [_slice(x, {axis: range(start, start + size)}) for start, size in zip(starts, sizes)]


def unstack(x: Like, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The arrays that `stack` along this axis would make x from."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    return tuple(squeeze(piece, axis) for piece in split(x, [1] * x.shape[axis], axis=axis))


def flip(x: Like, /, *, axis: Axis = None) -> Any:
    """The order of elements reversed along axes (all by default)."""
    made = asarray(x)
    return unaliased(_slice(made, {a: range(made.shape[a] - 1, -1, -1) for a in axes_of(axis, made.ndim)}), x)


def roll(x: Like, /, shift: int | Sequence[int], *, axis: Axis = None) -> Any:
    """Elements moved along axes; those that fall off return at the other end."""
    made = asarray(x)
    if axis is None:
        if not isinstance(shift, int | np.integer):
            raise TypeError(f"roll: without an axis the shift is one integer, got {shift}")
        return reshape(roll(reshape(made, (made.size,)), shift, axis=0), made.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if isinstance(shift, int | np.integer) else list(shift)
    if len(shifts) == 1:
        shifts *= len(axes)
    for a, s in zip(axes, shifts, strict=True):
        a = one_axis(a, made.ndim)
        n = made.shape[a]
        if n and s % n:
            cut = n - s % n
            made = concat([_slice(made, {a: range(cut, n)}), _slice(made, {a: range(cut)})], axis=a)
    return unaliased(made, x)


def tile(x: Like, repetitions: Sequence[int], /) -> Any:
    """x repeated as a whole along each axis."""
    made = asarray(x)
    times = (1,) * (made.ndim - len(repetitions)) + tuple(int(r) for r in repetitions)
    made = reshape(made, (1,) * (len(times) - made.ndim) + tuple(made.shape))
    if all(t == 1 for t in times):
        return made
    rank = len(times)
    source = lifted(made) if is_traced(made) else made
    spread_shape = tuple(v for t, n in zip(times, made.shape) for v in (t, n))
    spread_out = apply("broadcast", source, shape=spread_shape, axes=tuple(2 * a + 1 for a in range(rank)))
    return apply("reshape", spread_out, shape=tuple(t * n for t, n in zip(times, made.shape)))


def repeat(x: Like, repeats: int | Sequence[int], /, *, axis: int | None = None) -> Any:
    """Each element repeated along an axis (of the flattened array for None)."""
    x = asarray(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = one_axis(axis, x.ndim)
    n = x.shape[axis]
    if not isinstance(repeats, int | np.integer):
        counts = static_value(asarray(repeats, dtype=int64))
        if counts is None:
            raise TypeError("repeat: counts that are only being traced would leave the size of the result unknown")
        counts = np.broadcast_to(counts, (n,)) if counts.size == 1 else counts
        if counts.shape != (n,):
            raise ValueError(f"repeat takes one count for each of the {n} elements along axis {axis}, got shape {counts.shape}")
        return apply("take", x, np.repeat(np.arange(n, dtype=np.int32), counts), axis=axis)
    shape = (*x.shape[: axis + 1], int(repeats), *x.shape[axis + 1 :])
    axes = tuple(a for a in range(x.ndim + 1) if a != axis + 1)
    made = apply("broadcast", x, shape=shape, axes=axes)
    return apply("reshape", made, shape=(*x.shape[:axis], n * int(repeats), *x.shape[axis + 1 :]))


def take_known(x: Any, index: np.ndarray, axis: int) -> Any:
    """Elements of x at known places along an axis.

    Places that are evenly spaced, repeat or come in a few such runs become slices and broadcasts, which cost no memory access
    of their own; only what is left becomes a gather.
    """
    index = np.ascontiguousarray(index, np.int32)
    repeated = _repeats(index, x.shape[axis])
    if repeated > 1:
        return repeat(x, repeated, axis=axis)
    runs = _runs(index)
    if runs is None:
        return apply("take", x, index, axis=axis)
    parts = [_run(x, axis, *run) for run in runs]
    return parts[0] if len(parts) == 1 else concat(parts, axis=axis)


def _repeats(index: np.ndarray, extent: int) -> int:
    """How often each element repeats, if that is all that the places do; else 0."""
    times = len(index) // extent if extent else 0
    return times if times and np.array_equal(index, np.arange(extent).repeat(times)) else 0


def _runs(index: np.ndarray) -> list[tuple[int, int, int]] | None:
    """The places as (first, step, count) of at most _MOST_RUNS evenly spaced runs; None if they are more."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(index) or not runs:
        if len(runs) == _MOST_RUNS:
            return None
        rest = index[start:]
        step = int(rest[1] - rest[0]) if len(rest) > 1 else 1
        breaks = np.flatnonzero(np.diff(rest) != step)
        count = int(breaks[0]) + 1 if len(breaks) else len(rest)
        runs.append((int(rest[0]) if len(rest) else 0, step if count > 1 else 1, count))
        start += count
    return runs


def _run(x: Any, axis: int, first: int, step: int, count: int) -> Any:
    """Evenly spaced elements along an axis; step 0 repeats one."""
    shape = list(x.shape)
    if step == 1 and count == shape[axis]:
        return x
    starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], sizes[axis], steps[axis] = first, count if step else 1, step or 1
    part = apply("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    shape[axis] = count
    return part if step else spread(part, shape)


def pad(x: Like, padding: Sequence[Sequence[int]] | int, /, *, mode: str = "constant", value: Any = 0) -> Any:
    """Elements added, or removed for negative amounts, at both ends of each axis.

    Args:
        padding: (before, after) per axis, or one amount for all.
        mode: "constant", "reflect" (without the border), "symmetric" (with it), "edge" or "wrap".
        value: what "constant" fills with: a number, or a 0-d array.

    Example:
        >>> import hither as ht
        >>> ht.pad(ht.asarray([1, 2, 3]), [(1, 2)], mode="reflect")
        Array([2, 1, 2, 3, 2, 1], dtype=int32)
    """
    x = asarray(x)
    given = [(padding, padding)] * x.ndim if isinstance(padding, int) else list(padding)
    if len(given) != x.ndim or not all(np.shape(p) == (2,) for p in given):
        raise ValueError(f"pad takes one (before, after) pair for each of the {x.ndim} axes, got {padding}")
    pairs = [(int(a), int(b)) for a, b in given]
    if mode not in ("constant", "reflect", "symmetric", "edge", "wrap"):
        raise ValueError(f"pad: mode is constant, reflect, symmetric, edge or wrap, got {mode!r}")
    x = _slice(x, {a: range(max(0, -lo), x.shape[a] - max(0, -hi)) for a, (lo, hi) in enumerate(pairs) if min(lo, hi) < 0})
    pairs = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    if not any(lo or hi for lo, hi in pairs):
        return x
    if mode == "constant":
        return _pad_constant(x, pairs, value)
    for axis, (lo, hi) in enumerate(pairs):
        n = x.shape[axis]
        if not (lo or hi):
            continue
        if n == 0:
            raise ValueError(f"pad: axis {axis} is empty, there is nothing to {mode}")
        x = take_known(x, _pad_indices(n, lo, hi, mode), axis)
    return x


def _pad_constant(x: Any, pairs: list[tuple[int, int]], value: Any) -> Any:
    low, high = tuple(lo for lo, _ in pairs), tuple(hi for _, hi in pairs)
    if hasattr(value, "dtype"):
        known = static_value(value)
        if known is None:  # a value that is only known at run time: pad a mask and choose
            shape = tuple(lo + n + hi for n, (lo, hi) in zip(x.shape, pairs))
            inside = np.pad(np.ones(x.shape, bool), pairs)
            padded = apply("pad", x, low=low, high=high, value=0)
            return apply("select", asarray(inside), padded, spread(converted(reshape(value, ()), x.dtype), shape))
        value = known.item()
    return apply("pad", x, low=low, high=high, value=number(value, x.dtype).item())


def _pad_indices(n: int, lo: int, hi: int, mode: str) -> np.ndarray:
    at = np.arange(-lo, n + hi)
    if mode == "edge":
        made = np.clip(at, 0, n - 1)
    elif mode == "wrap":
        made = at % n
    elif mode == "symmetric":
        made = at % (2 * n)
        made = np.where(made >= n, 2 * n - 1 - made, made)
    else:
        period = max(2 * (n - 1), 1)
        made = at % period
        made = np.where(made >= n, period - made, made)
    return made.astype(np.int32)


def depth_to_space(x: Like, block: int, /, *, mode: str = "DCR", layout: str = "channels_first") -> Any:
    """Blocks of channels laid out as block × block pixels.

    Args:
        x: [N, C·block², H, W], or channels last.
        mode: "DCR" (depth, column, row) or "CRD", as in ONNX's DepthToSpace.
    """
    x = with_axes("depth_to_space", x, "[N, C, H, W]")
    if layout == "channels_last":
        made = depth_to_space(permute_dims(x, (0, 3, 1, 2)), block, mode=mode)
        return permute_dims(made, (0, 2, 3, 1))
    n, c, h, w = x.shape
    if c % (block * block):
        raise ValueError(f"depth_to_space: {c} channels are not a multiple of {block}²")
    deep = c // (block * block)
    if mode == "DCR":
        made = permute_dims(reshape(x, (n, block, block, deep, h, w)), (0, 3, 4, 1, 5, 2))
    elif mode == "CRD":
        made = permute_dims(reshape(x, (n, deep, block, block, h, w)), (0, 1, 4, 2, 5, 3))
    else:
        raise ValueError(f"depth_to_space: mode is DCR or CRD, got {mode!r}")
    return reshape(made, (n, deep, h * block, w * block))


def space_to_depth(x: Like, block: int, /, *, mode: str = "DCR", layout: str = "channels_first") -> Any:
    """block × block pixels laid out as channels: the inverse of depth_to_space."""
    x = with_axes("space_to_depth", x, "[N, C, H, W]")
    if mode not in ("DCR", "CRD"):
        raise ValueError(f"space_to_depth: mode is DCR or CRD, got {mode!r}")
    if layout == "channels_last":
        return permute_dims(space_to_depth(permute_dims(x, (0, 3, 1, 2)), block, mode=mode), (0, 2, 3, 1))
    n, c, h, w = x.shape
    if h % block or w % block:
        raise ValueError(f"space_to_depth: extents {h} × {w} are not multiples of {block}")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    made = permute_dims(reshape(x, (n, c, h // block, block, w // block, block)), order)
    return reshape(made, (n, c * block * block, h // block, w // block))


def space_to_batch(x: Like, block: Sequence[int], padding: Sequence[Sequence[int]], /) -> Any:
    """Blocks of the axes after the first moved into the batch, after padding with zeros (TensorFlow's SpaceToBatchND).

    Args:
        x: [N, …]; axis i + 1 is cut into blocks of `block[i]`.
        block: extents of a block.
        padding: (before, after) for each of these axes.

    Returns:
        [N · product of block, extents / block…, …].

    Raises:
        ValueError: if blocks and paddings do not fit the shape.
    """
    x = asarray(x)
    rank, m = x.ndim, len(block)
    if m != len(padding) or m >= rank or min(block, default=1) < 1:
        raise ValueError(f"blocks {tuple(block)} and paddings {padding} do not fit shape {tuple(x.shape)}")
    x = pad(x, [(0, 0), *((int(a), int(b)) for a, b in padding), *((0, 0),) * (rank - m - 1)])
    batch, extents, rest = x.shape[0], x.shape[1 : m + 1], x.shape[m + 1 :]
    if any(n % b for n, b in zip(extents, block)):
        raise ValueError(f"padded extents {tuple(extents)} are no multiples of blocks {tuple(block)}")
    cut = [v for n, b in zip(extents, block) for v in (n // b, b)]
    order = [*(2 * i + 2 for i in range(m)), 0, *(2 * i + 1 for i in range(m)), *range(2 * m + 1, 2 * m + 1 + len(rest))]
    made = permute_dims(reshape(x, (batch, *cut, *rest)), order)
    return reshape(made, (batch * math.prod(block), *(n // b for n, b in zip(extents, block)), *rest))


def batch_to_space(x: Like, block: Sequence[int], crops: Sequence[Sequence[int]], /) -> Any:
    """The inverse of `space_to_batch`: blocks moved out of the batch, then cropped (TensorFlow's BatchToSpaceND).

    Args:
        x: [N · product of block, …].
        block: extents of a block.
        crops: (before, after) for each of the axes that grow.

    Raises:
        ValueError: if blocks and crops do not fit the shape.
    """
    x = asarray(x)
    rank, m = x.ndim, len(block)
    size = math.prod(block)
    if m != len(crops) or m >= rank or min(block, default=1) < 1 or x.shape[0] % size:
        raise ValueError(f"blocks {tuple(block)} and crops {crops} do not fit shape {tuple(x.shape)}")
    if any(int(c) < 0 for pair in crops for c in pair):
        raise ValueError(f"crops {crops} must not be negative")
    batch, extents, rest = x.shape[0] // size, x.shape[1 : m + 1], x.shape[m + 1 :]
    parts = reshape(x, (*block, batch, *extents, *rest))
    order = [m, *(v for i in range(m) for v in (m + 1 + i, i)), *range(2 * m + 1, 2 * m + 1 + len(rest))]
    made = reshape(permute_dims(parts, order), (batch, *(n * b for n, b in zip(extents, block)), *rest))
    return pad(made, [(0, 0), *((-int(a), -int(b)) for a, b in crops), *((0, 0),) * len(rest)])


def meshgrid(*arrays: Like, indexing: str = "xy") -> list[Any]:
    """Coordinate arrays of a grid from one array per axis."""
    made = [asarray(a) for a in arrays]
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is 'xy' or 'ij', got {indexing!r}")
    rank = len(made)
    grids = [reshape(a, [a.size if j == i else 1 for j in range(rank)]) for i, a in enumerate(made)]
    grids = broadcasted(*grids) if rank > 1 else grids
    if indexing == "xy" and rank > 1:
        grids = [permute_dims(g, (1, 0, *range(2, rank))) for g in grids]
    return grids


__all__ = [
    "astype", "batch_to_space", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "concat", "depth_to_space",
    "expand_dims", "flatten", "flip", "matrix_transpose", "meshgrid", "moveaxis", "pad", "permute_dims", "repeat", "reshape",
    "roll", "slice_axis", "space_to_batch", "space_to_depth", "split", "squeeze", "stack", "tile", "unstack",
]  # fmt: skip
