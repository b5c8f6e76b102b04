"""What kernels along one axis share: the lines of an array, and what goes before what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from ... import dtypes as dt
from ..builder import Builder
from ..emitter import GRAIN, Emitter
from ..fusion import unflatten
from ..index import Index, constant
from ..ir import Val


@contextmanager
def lines(e: Emitter, shape: tuple[int, ...], axis: int, work: int = 1) -> Iterator[tuple[Index, ...]]:
    """A parallel loop over the lines along `axis`; gives the index of a line with 0 along it."""
    others = tuple(n for a, n in enumerate(shape) if a != axis)
    count = math.prod(others)
    with e.k.loop(0, count, kind="parallel", grain=max(1, GRAIN // max(1, shape[axis] * work))) as loop, e.point():
        yield line_index(shape, axis, e.k.var(loop, "line", 0, count - 1) if count > 1 else constant(0))


def line_index(shape: tuple[int, ...], axis: int, number: Index) -> tuple[Index, ...]:
    """The index at the beginning of a line."""
    at = list(unflatten(number, tuple(n for a, n in enumerate(shape) if a != axis)))
    at.insert(axis, constant(0))
    return tuple(at)


def along(at: tuple[Index, ...], axis: int, position: Index) -> tuple[Index, ...]:
    """The index of a line, at a position along it."""
    return tuple(position if a == axis else i for a, i in enumerate(at))


def is_nan(k: Builder, x: Val) -> Val:
    """x is NaN; constant false for integers."""
    return x.ne(x) if x.dtype.is_float else k.const(False, dt.bool_)


def comes_before(k: Builder, b: Val, a: Val, descending: bool) -> Val:
    """b goes strictly before a when sorted."""
    if descending:
        return (a < b) | (is_nan(k, b) & ~is_nan(k, a))
    return (b < a) | (is_nan(k, a) & ~is_nan(k, b))
