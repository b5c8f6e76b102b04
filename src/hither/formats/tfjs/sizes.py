"""Sizes that are known only when the program runs, followed through a graph's shape arithmetic.

Detection models compute how many boxes they kept and go on with it: they slice by it, fill the rest with zeros, and end with a
fixed size again, because n + (k - n) is k. A Dim is such a size, linear in unknown counts of which bounds are known; Sizes is
a small integer array of Dims, what `Shape` gives and shape arithmetic computes with; a Bounded is an array with room for the
largest size along one axis. Where the arithmetic is not linear, a new count with bounds of its own stands for the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from ...array import Array

MOST = 1 << 31


@dataclass(frozen=True, eq=False)
class Count:
    """An integer known at run time only: its traced int32 scalar, and bounds. Equal to itself alone."""

    value: Any
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Dim:
    """constant + Σ factor · count."""

    constant: int
    terms: tuple[tuple[Count, int], ...] = ()

    @staticmethod
    def of(value: Any, low: int, high: int) -> Dim:
        """A new unknown: a traced integer scalar between bounds."""
        if low == high:
            return Dim(low)
        return Dim(0, ((Count(ops.reshape(ops.astype(value, dt.int32), ()), low, high), 1),))

    @property
    def known(self) -> int | None:
        """The size, where it is known after all."""
        return None if self.terms else self.constant

    @property
    def low(self) -> int:
        return self.constant + sum(f * (c.low if f > 0 else c.high) for c, f in self.terms)

    @property
    def high(self) -> int:
        return self.constant + sum(f * (c.high if f > 0 else c.low) for c, f in self.terms)

    @property
    def traced(self) -> Any:
        """The size as an int32 scalar."""
        total: Any = None
        for count, factor in self.terms:
            part = count.value if factor == 1 else count.value * factor
            total = part if total is None else total + part
        if total is None:
            return Array(np.array(self.constant, np.int32))
        return total + self.constant if self.constant else total

    def __add__(self, other: Dim) -> Dim:
        terms: dict[Count, int] = dict(self.terms)
        for count, factor in other.terms:
            terms[count] = terms.get(count, 0) + factor
        return Dim(self.constant + other.constant, tuple((c, f) for c, f in terms.items() if f))

    def times(self, factor: int) -> Dim:
        """A multiple."""
        return Dim(self.constant * factor, tuple((c, f * factor) for c, f in self.terms) if factor else ())

    def __sub__(self, other: Dim) -> Dim:
        return self + other.times(-1)

    def same(self, other: Dim) -> bool:
        """Whether both are the same size whatever the counts are."""
        return (self - other).known == 0


def as_dim(value: Dim | int) -> Dim:
    """A number as a Dim."""
    return value if isinstance(value, Dim) else Dim(int(value))


@dataclass(frozen=True, eq=False)
class Sizes:
    """A small int32 array whose elements are Dims."""

    dims: np.ndarray  # of objects

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dims.shape

    @property
    def dtype(self) -> Any:
        return dt.int32

    def plain(self) -> Any:
        """As an ordinary array: known where all elements are, else traced."""
        flat = list(self.dims.reshape(-1))
        known = [d.known for d in flat]
        if all(k is not None for k in known):
            return Array(np.array(known, np.int32).reshape(self.shape))
        return ops.reshape(ops.stack([d.traced for d in flat]), self.shape)


def sizes(dims: Any, shape: tuple[int, ...] | None = None) -> Any:
    """Dims as Sizes, or as an Array where all of them are known."""
    flat = np.empty(len(dims), object)
    flat[:] = [as_dim(d) for d in dims]
    made = Sizes(flat.reshape(shape if shape is not None else flat.shape))
    return made.plain() if all(d.known is not None for d in flat) else made


@dataclass(frozen=True, eq=False)
class Bounded:
    """Data with room for the largest possible extent along `axis`; only the first `length` entries are meant."""

    data: Any
    length: Dim
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def map(self, data: Any, axis: int | None = None) -> Bounded:
        """The same length over other data."""
        return Bounded(data, self.length, self.axis if axis is None else axis)

    def mask(self) -> Any:
        """Which entries along the axis are meant, shaped to broadcast against the data."""
        number = np.arange(self.shape[self.axis], dtype=np.int32)
        shape = [-1 if a == self.axis else 1 for a in range(len(self.shape))]
        return number.reshape(shape) < self.length.traced

    def filled(self, value: Any) -> Any:
        """The data with `value` where nothing is meant."""
        return ops.where(self.mask(), self.data, value)


def bounded(data: Any, length: Dim, axis: int) -> Any:
    """Data of a length; an ordinary array where the length is known."""
    room = max(min(length.high, data.shape[axis]), 0)
    data = ops.slice_axis(data, axis, 0, room)
    return Bounded(data, length, axis) if length.known is None else data


def extents(x: Any) -> list[Dim]:
    """The shape of an array, Bounded or not."""
    made = [Dim(int(n)) for n in x.shape]
    if isinstance(x, Bounded):
        made[x.axis] = x.length
    return made


def together(function: Callable[..., Any], *xs: Any) -> Any:
    """An elementwise function of arrays that broadcast; Bounded ones must have the same length along one axis of the result.

    Raises:
        ValueError: if lengths that are not known may differ.
    """
    found = [x for x in xs if isinstance(x, Bounded)]
    if not found:
        return function(*xs)
    rank = max(len(x.shape) for x in xs)
    first = found[0]
    axis = first.axis + rank - len(first.shape)
    room = min(x.shape[x.axis] for x in found)
    operands = []
    for x in xs:
        own = axis - (rank - len(x.shape))
        if isinstance(x, Bounded):
            if x.axis != own or not x.length.same(first.length):
                raise ValueError("arrays whose lengths are known only at run time, and may differ, do not combine")
            operands.append(ops.slice_axis(x.data, own, 0, room))
        elif own >= 0 and x.shape[own] != 1:
            raise ValueError(f"an array of shape {tuple(x.shape)} does not combine with one whose length is known at run time")
        else:
            operands.append(x)
    return Bounded(function(*operands), first.length, axis)


def arithmetic(op_type: str, xs: tuple[Any, ...], plain: Any) -> Any:
    """Sizes that integer arithmetic gives; None where it is not linear and no bounds are known.

    Args:
        op_type: the TensorFlow operator.
        xs: its operands, Sizes or known integer arrays.
        plain: the same operator on ordinary traced arrays, as a function; what is not linear is computed by it.
    """
    operands = [_dims(x) for x in xs]
    if any(o is None for o in operands):
        return None
    shape = np.broadcast_shapes(*[o.shape for o in operands])  # type: ignore[union-attr]
    rows = list(zip(*(np.broadcast_to(o, shape).reshape(-1) for o in operands)))  # type: ignore[arg-type]
    flat: list[Dim] = []
    traced: Any = None
    for i, (a, b) in enumerate(rows):
        m = _one(op_type, a, b)
        if m is None:
            return None
        if isinstance(m, Dim):
            flat.append(m)
            continue
        if traced is None:
            traced = ops.reshape(plain(), (-1,))
        low, high = m
        flat.append(Dim.of(traced[i], low, high))
    return sizes(flat, shape)


def _dims(x: Any) -> np.ndarray | None:
    if isinstance(x, Sizes):
        return x.dims
    if isinstance(x, Array) and x.dtype.is_integer and x.size <= 4096:
        made = np.empty(x.size, object)
        made[:] = [Dim(int(v)) for v in x.numpy().reshape(-1)]
        return made.reshape(x.shape)
    return None


def _one(op_type: str, a: Dim, b: Dim) -> Dim | tuple[int, int] | None:
    """A linear result, or the bounds of one that is not, or None."""
    match op_type:
        case "Add" | "AddV2":
            return a + b
        case "Sub":
            return a - b
        case "Mul" if b.known is not None:
            return a.times(b.known)
        case "Mul" if a.known is not None:
            return b.times(a.known)
        case "Mul":
            ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
            return min(ends), max(ends)
        case "Minimum":
            return a if (b - a).low >= 0 else b if (a - b).low >= 0 else (min(a.low, b.low), min(a.high, b.high))
        case "Maximum":
            return a if (a - b).low >= 0 else b if (b - a).low >= 0 else (max(a.low, b.low), max(a.high, b.high))
        case "FloorDiv" if b.known is not None and b.known > 0:
            if a.known is not None:
                return Dim(a.known // b.known)
            return a.low // b.known, a.high // b.known
    return None


def compare(op_type: str, xs: tuple[Any, ...]) -> Any:
    """The bools that comparing sizes gives, where bounds decide them; else None."""
    a, b = (_dims(x) for x in xs)
    if a is None or b is None:
        return None
    shape = np.broadcast_shapes(a.shape, b.shape)
    made = []
    for x, y in zip(np.broadcast_to(a, shape).reshape(-1), np.broadcast_to(b, shape).reshape(-1)):
        low, high = (x - y).low, (x - y).high
        answer = {
            "Less": (high < 0, low >= 0), "LessEqual": (high <= 0, low > 0), "Greater": (low > 0, high <= 0),
            "GreaterEqual": (low >= 0, high < 0), "Equal": (low == high == 0, low > 0 or high < 0),
            "NotEqual": (low > 0 or high < 0, low == high == 0),
        }[op_type]  # fmt: skip
        if not any(answer):
            return None
        made.append(answer[0])
    return Array(np.array(made, bool).reshape(shape))


def chosen(condition: Any, a: Any, b: Any, plain: Any) -> Any:
    """Sizes chosen between elementwise by a traced condition: counts between the bounds of both; None where there are none."""
    one, other = _dims(a), _dims(b)
    if one is None or other is None:
        return None
    shape = np.broadcast_shapes(tuple(condition.shape), one.shape, other.shape)
    traced = ops.reshape(plain(), (-1,))
    flat = [
        x if x.same(y) else Dim.of(traced[i], min(x.low, y.low), max(x.high, y.high))
        for i, (x, y) in enumerate(zip(np.broadcast_to(one, shape).reshape(-1), np.broadcast_to(other, shape).reshape(-1)))
    ]
    return sizes(flat, shape)
