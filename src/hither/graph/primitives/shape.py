"""Primitives that move elements without changing them: views, padding, concatenation, iota, slices at run-time positions.

Each `emit` maps a result index to an operand index; composed by fusion, most of them cost nothing.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ...dtypes import DType
from ..core import Abstract
from ..primitive import Indexed, primitive
from .batch_rules import all_batched, batch_dynamic_slice, batch_dynamic_update_slice
from .rules import apply, computed, full, require_axis, require_kind

Shape = tuple[int, ...]


def strides_of(shape: Shape) -> Shape:
    """Row-major strides in elements."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


# -- reshape ---------------------------------------------------------------------------------------------------------------


def _reshape_abstract(x: Abstract, shape: Shape) -> Abstract:
    if math.prod(shape) != x.size or any(n < 0 for n in shape):
        raise ValueError(f"cannot reshape {x} ({x.size} elements) to {list(shape)} ({math.prod(shape)} elements)")
    return Abstract(tuple(shape), x.dtype)


def _emit_reshape(k: Any, index: tuple[Any, ...], read: Any, operands: Any, result: Any, shape: Shape) -> Any:
    source = operands[0].shape
    if not index:
        zero = k.constant_index(0)
        return read(0, (zero,) * len(source))
    flat = sum(i * s for i, s in zip(index, strides_of(result.shape), strict=True))
    return read(0, tuple((flat // s) % n if axis else flat // s for axis, (n, s) in enumerate(zip(source, strides_of(source)))))


primitive(
    "reshape",
    abstract=_reshape_abstract,
    evaluate=lambda x, shape: x.reshape(shape),
    batch=all_batched("reshape", shape="size"),
    lowering=Indexed(_emit_reshape, view=True),
    vjp=lambda cotangents, operands, results, shape: (apply("reshape", cotangents[0], shape=tuple(operands[0].shape)),),
)


# -- transpose -------------------------------------------------------------------------------------------------------------


def _transpose_abstract(x: Abstract, permutation: Shape) -> Abstract:
    if sorted(permutation) != list(range(x.rank)):
        raise ValueError(f"transpose: {list(permutation)} is not a permutation of the {x.rank} axes of {x}")
    return Abstract(tuple(x.shape[p] for p in permutation), x.dtype)


def inverse_permutation(permutation: Shape) -> Shape:
    """The permutation that undoes this one."""
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


primitive(
    "transpose",
    abstract=_transpose_abstract,
    evaluate=lambda x, permutation: x.transpose(permutation),
    batch=all_batched("transpose", permutation="axes"),
    lowering=Indexed(
        lambda k, index, read, operands, result, permutation: read(
            0, tuple(index[i] for i in inverse_permutation(permutation))
        ),
        view=True,
    ),
    vjp=lambda cotangents, operands, results, permutation: (
        apply("transpose", cotangents[0], permutation=inverse_permutation(permutation)),
    ),
)


# -- broadcast -------------------------------------------------------------------------------------------------------------


def _broadcast_abstract(x: Abstract, shape: Shape, axes: Shape) -> Abstract:
    fits = len(axes) == x.rank and all(a < b for a, b in itertools.pairwise(axes))
    fits = fits and all(0 <= a < len(shape) and n in (1, shape[a]) for a, n in zip(axes, x.shape))
    if not fits:
        raise ValueError(
            f"cannot broadcast {x} to {list(shape)} along axes {list(axes)}: axes ascend, one per operand axis, "
            "and extents are equal or 1"
        )
    return Abstract(tuple(shape), x.dtype)


def _broadcast(x: np.ndarray, shape: Shape, axes: Shape) -> np.ndarray:
    spread = [1] * len(shape)
    for axis, n in zip(axes, x.shape):
        spread[axis] = n
    return np.broadcast_to(x.reshape(spread), shape)


def _emit_broadcast(k: Any, index: Any, read: Any, operands: Any, result: Any, shape: Shape, axes: Shape) -> Any:
    return read(0, tuple(index[a] if n != 1 else index[a] * 0 for a, n in zip(axes, operands[0].shape)))


def _broadcast_vjp(cotangents: Any, operands: Any, results: Any, shape: Shape, axes: Shape) -> tuple[Any]:
    source = tuple(operands[0].shape)
    kept = {a for a, n in zip(axes, source) if n == shape[a]}
    summed = tuple(a for a in range(len(shape)) if a not in kept)
    g = apply("reduce_sum", cotangents[0], axes=summed) if summed else cotangents[0]
    return (g if tuple(g.shape) == source else apply("reshape", g, shape=source),)


REPEAT = primitive(
    "broadcast",
    abstract=_broadcast_abstract,
    evaluate=_broadcast,
    batch=all_batched("broadcast", shape="size", axes="axes"),
    lowering=Indexed(_emit_broadcast, view=True),
    vjp=_broadcast_vjp,
)


# -- slice -----------------------------------------------------------------------------------------------------------------


def _slice_abstract(x: Abstract, starts: Shape, sizes: Shape, steps: Shape) -> Abstract:
    if not len(starts) == len(sizes) == len(steps) == x.rank:
        raise ValueError(f"slice of {x} takes one start, size and step per axis, got {starts}, {sizes}, {steps}")
    for axis, (start, size, step, n) in enumerate(zip(starts, sizes, steps, x.shape)):
        last = start + (size - 1) * step
        if step == 0 or size < 0 or (size and not (0 <= start < n and 0 <= last < n)):
            raise ValueError(f"slice start={start} size={size} step={step} leaves axis {axis} of {x}")
    return Abstract(tuple(sizes), x.dtype)


def _slice(x: np.ndarray, starts: Shape, sizes: Shape, steps: Shape) -> np.ndarray:
    key = []
    for start, size, step in zip(starts, sizes, steps):
        stop = start + size * step
        key.append(slice(0, 0) if size == 0 else slice(start, stop if stop >= 0 else None, step))
    return x[tuple(key)]


def _slice_vjp(cotangents: Any, operands: Any, results: Any, starts: Shape, sizes: Shape, steps: Shape) -> tuple[Any]:
    """Undo the steps (flip, then dilate with zeros), then pad back to the operand's extent."""
    g, source = cotangents[0], tuple(operands[0].shape)
    if 0 in sizes:
        return (full(0, g, shape=source),)
    backwards = [a for a, step in enumerate(steps) if step < 0 and sizes[a] > 1]
    if backwards:
        flip = tuple(n - 1 if a in backwards else 0 for a, n in enumerate(sizes))
        g = apply("slice", g, starts=flip, sizes=sizes, steps=tuple(-1 if a in backwards else 1 for a in range(len(sizes))))
    g = dilate(g, tuple(abs(step) for step in steps))
    first = tuple(min(start, start + (n - 1) * step) for start, n, step in zip(starts, sizes, steps))
    high = tuple(n - f - m for n, f, m in zip(source, first, g.shape))
    return (apply("pad", g, low=first, high=high, value=0),) if any(first) or any(high) else (g,)


def dilate(x: Any, steps: Shape) -> Any:
    """Put `step - 1` zeros between neighbours along each axis: reshape, pad, reshape, cut the tail."""
    for axis, step in enumerate(steps):
        shape = tuple(x.shape)
        n = shape[axis]
        if step == 1 or n <= 1:
            continue
        before, after = shape[:axis], shape[axis + 1 :]
        spread = apply("reshape", x, shape=(*before, n, 1, *after))
        rank = len(shape) + 1
        spread = apply(
            "pad", spread, low=(0,) * rank, high=tuple(step - 1 if a == axis + 1 else 0 for a in range(rank)), value=0
        )
        spread = apply("reshape", spread, shape=(*before, n * step, *after))
        sizes = (*before, (n - 1) * step + 1, *after)
        x = apply("slice", spread, starts=(0,) * len(shape), sizes=sizes, steps=(1,) * len(shape))
    return x


primitive(
    "slice",
    abstract=_slice_abstract,
    evaluate=_slice,
    batch=all_batched("slice", starts="zero", sizes="size", steps="one"),
    lowering=Indexed(
        lambda k, index, read, operands, result, starts, sizes, steps: read(
            0, tuple(i * step + start for i, start, step in zip(index, starts, steps, strict=True))
        ),
        view=True,
    ),
    vjp=_slice_vjp,
)


# -- pad -------------------------------------------------------------------------------------------------------------------


def _pad_abstract(x: Abstract, low: Shape, high: Shape, value: Any) -> Abstract:
    if not len(low) == len(high) == x.rank or min((*low, *high), default=0) < 0:
        raise ValueError(f"pad of {x} takes one non-negative amount per axis and side, got low={low}, high={high}")
    return Abstract(tuple(a + n + b for a, n, b in zip(low, x.shape, high)), x.dtype)


def _pad(x: np.ndarray, low: Shape, high: Shape, value: Any) -> np.ndarray:
    return np.pad(x, tuple(zip(low, high)), constant_values=np.asarray(value).astype(x.dtype)) if x.ndim else x.copy()


def _emit_pad(k: Any, index: Any, read: Any, operands: Any, result: Any, low: Shape, high: Shape, value: Any) -> Any:
    source = operands[0]
    fill = k.const(value, computed(source.dtype))
    if source.size == 0:
        return fill
    inner = tuple(i - a for i, a in zip(index, low, strict=True))
    condition = None
    for i, n, a, b in zip(inner, source.shape, low, high):
        if a or b:
            here = k.inside(i, 0, n)
            condition = here if condition is None else condition & here
    element = read(0, tuple(k.clamp(i, n) for i, n in zip(inner, source.shape)))
    return element if condition is None else k.select(condition, element, fill)


def _pad_vjp(cotangents: Any, operands: Any, results: Any, low: Shape, high: Shape, value: Any) -> tuple[Any]:
    source = tuple(operands[0].shape)
    if 0 in source:
        return (full(0, cotangents[0], shape=source),)
    return (apply("slice", cotangents[0], starts=low, sizes=source, steps=(1,) * len(low)),)


primitive(
    "pad",
    abstract=_pad_abstract,
    evaluate=_pad,
    batch=all_batched("pad", low="zero", high="zero"),
    lowering=Indexed(_emit_pad),
    vjp=_pad_vjp,
)


# -- concat ----------------------------------------------------------------------------------------------------------------


def _concat_abstract(*operands: Abstract, axis: int) -> Abstract:
    if not operands:
        raise ValueError("concat needs at least one operand")
    first = operands[0]
    require_axis("concat", first, axis)
    for other in operands[1:]:
        if other.dtype != first.dtype:
            raise TypeError(f"concat takes operands of one dtype, got {', '.join(map(str, operands))}; convert them first")
        if other.rank != first.rank or any(
            a != b for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if i != axis
        ):
            raise ValueError(f"concat along axis {axis}: other extents differ in {', '.join(map(str, operands))}")
    return Abstract((*first.shape[:axis], sum(o.shape[axis] for o in operands), *first.shape[axis + 1 :]), first.dtype)


def _emit_concat(k: Any, index: Any, read: Any, operands: Any, result: Any, axis: int) -> Any:
    """Nested selects over clamped reads. The compiler prefers one store per operand; this is for where it cannot."""
    ends: list[tuple[int, int, int]] = []
    start = 0
    for j, operand in enumerate(operands):
        if operand.shape[axis]:
            ends.append((j, start, operand.shape[axis]))
        start += operand.shape[axis]
    value = None
    for j, start, n in reversed(ends):
        element = read(j, (*index[:axis], k.clamp(index[axis] - start, n), *index[axis + 1 :]))
        value = element if value is None else k.select(k.inside(index[axis], 0, start + n), element, value)
    return value


def _concat_vjp(cotangents: Any, operands: Any, results: Any, axis: int) -> tuple[Any, ...]:
    pieces, start = [], 0
    for operand in operands:
        sizes = tuple(operand.shape)
        starts = tuple(start if a == axis else 0 for a in range(len(sizes)))
        start += sizes[axis]
        empty = 0 in sizes
        pieces.append(
            full(0, cotangents[0], shape=sizes)
            if empty
            else apply("slice", cotangents[0], starts=starts, sizes=sizes, steps=(1,) * len(sizes))
        )
    return tuple(pieces)


primitive(
    "concat",
    abstract=_concat_abstract,
    evaluate=lambda *operands, axis: np.concatenate(operands, axis=axis),
    batch=all_batched("concat", axis="axis"),
    lowering=Indexed(_emit_concat),
    vjp=_concat_vjp,
)


# -- iota ------------------------------------------------------------------------------------------------------------------


def _iota_abstract(shape: Shape, axis: int, dtype: DType) -> Abstract:
    made = Abstract(tuple(shape), dtype)
    require_axis("iota", made, axis)
    require_kind("iota", made, "iuf")
    return made


def _iota(shape: Shape, axis: int, dtype: DType) -> np.ndarray:
    count = np.arange(shape[axis]).astype(dtype.numpy)
    return np.broadcast_to(count.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape)


primitive(
    "iota",
    abstract=_iota_abstract,
    evaluate=_iota,
    lowering=Indexed(lambda k, index, read, operands, result, shape, axis, dtype: k.index_value(index[axis], computed(dtype))),
    vjp=lambda cotangents, operands, results, **params: (),
)


# -- slices at run-time positions ------------------------------------------------------------------------------------------


def _require_starts(name: str, x: Abstract, starts: Abstract, sizes: Shape) -> None:
    require_kind(f"{name} (starts)", starts, "iu", "starts are integers")
    if starts.shape != (x.rank,) or x.rank == 0:
        raise ValueError(f"{name} of {x} takes starts of shape [{x.rank}], one per axis (at least one), got {starts}")
    if len(sizes) != x.rank or any(not 0 <= s <= n for s, n in zip(sizes, x.shape)):
        raise ValueError(f"{name}: sizes {list(sizes)} do not fit into {x}")


def _clamped(starts: np.ndarray, extents: Shape, sizes: Shape) -> tuple[slice, ...]:
    low = [int(min(max(int(s), 0), n - size)) for s, n, size in zip(starts, extents, sizes)]
    return tuple(slice(s, s + size) for s, size in zip(low, sizes))


def run_time_starts(k: Any, index: Any, read: Any, j: int, extents: Shape, sizes: Shape) -> list[Any]:
    """The starts operand as Indexes, clamped so that the slice lies inside; 0 where there is no freedom."""
    zero = index[0] * 0
    return [
        k.run_time_index(read(j, (zero + axis,)), n - size + 1, f"start_{axis}") if n > size else zero
        for axis, (n, size) in enumerate(zip(extents, sizes))
    ]


def _dynamic_slice_abstract(x: Abstract, starts: Abstract, sizes: Shape) -> Abstract:
    _require_starts("dynamic_slice", x, starts, sizes)
    return Abstract(tuple(sizes), x.dtype)


def _emit_dynamic_slice(k: Any, index: Any, read: Any, operands: Any, result: Any, sizes: Shape) -> Any:
    starts = run_time_starts(k, index, read, 1, operands[0].shape, sizes)
    return read(0, tuple(i + s for i, s in zip(index, starts, strict=True)))


primitive(
    "dynamic_slice",
    abstract=_dynamic_slice_abstract,
    evaluate=lambda x, starts, sizes: x[_clamped(starts, x.shape, sizes)],
    batch=batch_dynamic_slice,
    lowering=Indexed(_emit_dynamic_slice),
    vjp=lambda cotangents, operands, results, sizes: (
        apply("dynamic_update_slice", full(0, cotangents[0], shape=tuple(operands[0].shape)), cotangents[0], operands[1]),
        None,
    ),
)


def _dynamic_update_abstract(x: Abstract, update: Abstract, starts: Abstract) -> Abstract:
    if update.dtype != x.dtype:
        raise TypeError(f"dynamic_update_slice takes one dtype, got {x} and {update}")
    _require_starts("dynamic_update_slice", x, starts, update.shape)
    return x


def _dynamic_update(x: np.ndarray, update: np.ndarray, starts: np.ndarray) -> np.ndarray:
    made = x.copy()
    made[_clamped(starts, x.shape, update.shape)] = update
    return made


def _emit_dynamic_update(k: Any, index: Any, read: Any, operands: Any, result: Any) -> Any:
    x, update = operands[0], operands[1]
    if update.size == 0:
        return read(0, index)
    starts = run_time_starts(k, index, read, 2, x.shape, update.shape)
    inner = [i - s for i, s in zip(index, starts, strict=True)]
    condition = None
    for i, n, m in zip(inner, update.shape, x.shape):
        if n < m:
            here = k.inside(i, 0, n)
            condition = here if condition is None else condition & here
    new = read(1, tuple(k.clamp(i, n) for i, n in zip(inner, update.shape)))
    return new if condition is None else k.select(condition, new, read(0, index))


def _dynamic_update_vjp(cotangents: Any, operands: Any, results: Any) -> tuple[Any, ...]:
    g, (_, update, starts) = cotangents[0], operands
    sizes = tuple(update.shape)
    return (
        apply("dynamic_update_slice", g, full(0, g, shape=sizes), starts),
        apply("dynamic_slice", g, starts, sizes=sizes),
        None,
    )


primitive(
    "dynamic_update_slice",
    abstract=_dynamic_update_abstract,
    evaluate=_dynamic_update,
    batch=batch_dynamic_update_slice,
    lowering=Indexed(_emit_dynamic_update),
    vjp=_dynamic_update_vjp,
)
