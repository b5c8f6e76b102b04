"""Dtypes, shapes and values of every function of the standard, against array-api-strict, on drawn arrays.

Shapes are small and may be empty or 0-d; floats are often infinities, NaN or signed zeros. A failure means that code written
for the standard computes something else on hither.
"""

from __future__ import annotations

import operator
import os
import warnings
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.extra import numpy as hnp

import hither as ht

from .strict import (
    ALL,
    BOOL,
    COMPLEX,
    FLOATS,
    INTEGERS,
    NUMERIC,
    REAL,
    arrays,
    assert_same,
    broadcastable,
    elements,
    name_of,
    pair,
    xp,
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore")
# ARRAY_API_EXAMPLES=500 searches at length, and from another start every time; the usual run is short and always the same.
MORE = int(os.environ.get("ARRAY_API_EXAMPLES", 0))
drawn = settings(
    max_examples=MORE or 10, derandomize=not MORE, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip
F = FLOATS + COMPLEX

UNARY = {
    "abs": NUMERIC, "acos": F, "acosh": F, "asin": F, "asinh": F, "atan": F, "atanh": F, "bitwise_invert": BOOL + INTEGERS,
    "ceil": REAL, "conj": NUMERIC, "cos": F, "cosh": F, "exp": F, "expm1": F, "floor": REAL, "imag": COMPLEX,
    "isfinite": NUMERIC, "isinf": NUMERIC, "isnan": NUMERIC, "log": F, "log1p": F, "log2": F, "log10": F, "logical_not": BOOL,
    "negative": NUMERIC, "positive": NUMERIC, "real": NUMERIC, "reciprocal": F, "round": NUMERIC, "sign": NUMERIC,
    "signbit": FLOATS, "sin": F, "sinh": F, "sqrt": F, "square": NUMERIC, "tan": F, "tanh": F, "trunc": REAL,
}  # fmt: skip

BINARY = {
    "add": NUMERIC, "atan2": FLOATS, "bitwise_and": BOOL + INTEGERS, "bitwise_left_shift": INTEGERS,
    "bitwise_or": BOOL + INTEGERS, "bitwise_right_shift": INTEGERS, "bitwise_xor": BOOL + INTEGERS, "copysign": FLOATS,
    "divide": F, "equal": ALL, "floor_divide": REAL, "greater": REAL, "greater_equal": REAL, "hypot": FLOATS, "less": REAL,
    "less_equal": REAL, "logaddexp": FLOATS, "logical_and": BOOL, "logical_or": BOOL, "logical_xor": BOOL, "maximum": REAL,
    "minimum": REAL, "multiply": NUMERIC, "nextafter": FLOATS, "not_equal": ALL, "pow": NUMERIC, "remainder": REAL,
    "subtract": NUMERIC,
}  # fmt: skip

SYMBOLS = {
    "add": operator.add, "bitwise_and": operator.and_, "bitwise_left_shift": operator.lshift, "bitwise_or": operator.or_,
    "bitwise_right_shift": operator.rshift, "bitwise_xor": operator.xor, "divide": operator.truediv, "equal": operator.eq,
    "floor_divide": operator.floordiv, "greater": operator.gt, "greater_equal": operator.ge, "less": operator.lt,
    "less_equal": operator.le, "multiply": operator.mul, "not_equal": operator.ne, "pow": operator.pow,
    "remainder": operator.mod, "subtract": operator.sub,
}  # fmt: skip
IN_PLACE = {
    "add": operator.iadd, "multiply": operator.imul, "subtract": operator.isub, "divide": operator.itruediv,
    "bitwise_or": operator.ior, "pow": operator.ipow,
}  # fmt: skip


def reference(function: Any, *args: Any, **kwargs: Any) -> Any:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def defined(name: str, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the standard says what comes out for these operands."""
    if name in ("floor_divide", "remainder") and a.dtype.kind in "iu":
        return bool((b != 0).all()) and not (b == -1).any()
    if "shift" in name:
        return bool(((b >= 0) & (b < 8 * min(a.dtype.itemsize, b.dtype.itemsize))).all())
    if name == "pow" and a.dtype.kind in "iu":
        return bool((b >= 0).all())
    if name == "pow" and a.dtype.kind == "c":
        return bool((a != 0).all() and (np.abs(a) < 10).all() and (np.abs(b) < 5).all())
    return True


def settle(name: str, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operands without what NumPy, under the reference, does not do as the standard says: // with infinities."""
    if name == "floor_divide" and np.result_type(a, b).kind == "f":
        a, b = (np.where(np.isinf(v), v.dtype.type(1), v) for v in (a, b))
    if name == "pow" and np.result_type(a, b).kind == "f":  # numpy/numpy#21213: x ** 0.5 is sqrt(x) there for 0-d arrays
        b = np.where(b == 0.5, b.dtype.type(0.25), b)
    return a, b


@pytest.mark.parametrize("name", UNARY)
@drawn
@given(st.data())
def test_unary(name: str, data: Any) -> None:
    x = data.draw(arrays(UNARY[name]))
    if name == "abs" and x.dtype.kind == "i":
        assume((x > np.iinfo(x.dtype).min).all())
    mine, theirs = pair(x)
    rough = {"rtol": 2e-4} if x.dtype == np.complex64 else {}
    assert_same(getattr(ht, name)(mine), reference(getattr(xp, name), theirs), **rough)


@pytest.mark.parametrize("name", BINARY)
@drawn
@given(st.data())
def test_binary(name: str, data: Any) -> None:
    """Function, operator and in-place operator, arrays on both sides."""
    a, b = settle(name, *data.draw(broadcastable(BINARY[name])))
    assume(defined(name, a, b))
    (x1, y1), (x2, y2) = pair(a), pair(b)
    rough = {"rtol": 1e-3 if np.result_type(a, b).itemsize <= 8 else 1e-9} if name in ("pow", "logaddexp") else {}
    expected = reference(getattr(xp, name), y1, y2)
    assert_same(getattr(ht, name)(x1, x2), expected, **rough)
    if name in SYMBOLS:
        assert_same(SYMBOLS[name](x1, x2), expected, **rough)
    if name in IN_PLACE and name_of(expected.dtype) == a.dtype.name and expected.shape == a.shape:
        kept = x1.numpy().copy()
        made = IN_PLACE[name](x1, x2)
        assert_same(made, expected, **rough)
        np.testing.assert_array_equal(x1.numpy(), kept)


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("atan2", "copysign", "hypot", "logaddexp", "nextafter")])
@drawn
@given(st.data())
def test_binary_with_a_python_scalar(name: str, data: Any) -> None:
    """2024.12: one operand may be a Python scalar, on either side; it takes the array's dtype."""
    x = data.draw(arrays(BINARY[name]))
    scalar = data.draw(elements(x.dtype.name)) if x.dtype.kind != "b" else data.draw(st.booleans())
    scalar = scalar.item() if hasattr(scalar, "item") else scalar
    other = np.asarray(scalar, x.dtype)
    left, other = settle(name, x, other)
    assume(defined(name, left, other) and defined(name, other, left))
    right = settle(name, other, left)[0].item()
    mine, theirs = pair(settle(name, left, left)[1])
    rough = {"rtol": 1e-3 if x.dtype.itemsize <= 8 else 1e-9} if name == "pow" else {}
    assert_same(getattr(ht, name)(mine, right), reference(getattr(xp, name), theirs, right), **rough)
    assert_same(getattr(ht, name)(right, mine), reference(getattr(xp, name), right, theirs), **rough)
    if name in SYMBOLS:
        assert_same(SYMBOLS[name](mine, right), reference(SYMBOLS[name], theirs, right), **rough)
        assert_same(SYMBOLS[name](right, mine), reference(SYMBOLS[name], right, theirs), **rough)


@drawn
@given(st.data())
def test_clip_and_where(data: Any) -> None:
    x = data.draw(arrays(REAL))
    low, high = (data.draw(st.none() | st.sampled_from([0, 1, 3])) for _ in range(2))
    assume(low is None or high is None or low <= high)  # else the standard leaves it open
    mine, theirs = pair(x)
    assert_same(ht.clip(mine, low, high), xp.clip(theirs, low, high), signs=False)
    a, b = data.draw(broadcastable(ALL))
    c = data.draw(hnp.arrays(bool, np.broadcast_shapes(a.shape, b.shape)))
    (x1, y1), (x2, y2), (x3, y3) = pair(a), pair(b), pair(c)
    assert_same(ht.where(x3, x1, x2), xp.where(y3, y1, y2))
    if a.dtype.kind == "f":
        assert_same(ht.where(x3, x1, 2.0), xp.where(y3, y1, 2.0))


# -- reductions, statistics, searching, sorting, sets ----------------------------------------------------------------------


def axes(data: Any, rank: int, several: bool = True) -> Any:
    choices = [st.none()]
    if rank:
        choices.append(st.integers(-rank, rank - 1))
        if several:
            choices.append(hnp.valid_tuple_axes(rank))
    return data.draw(st.one_of(choices))


def moderate(x: np.ndarray) -> np.ndarray:
    """Without values whose sums and products depend on order, or overflow."""
    if x.dtype.kind in "fc":
        return np.where(np.isfinite(x) & (np.abs(x) < 50), x, x.dtype.type(1))
    return np.where(np.abs(x.astype(np.float64)) > 5, x.dtype.type(1), x) if x.dtype.kind in "iu" else x


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [("sum", NUMERIC), ("prod", NUMERIC), ("mean", F), ("max", REAL), ("min", REAL), ("all", ALL), ("any", ALL),
     ("count_nonzero", ALL), ("var", FLOATS), ("std", FLOATS)],
)  # fmt: skip
@drawn
@given(st.data())
def test_reductions(name: str, dtypes: tuple[str, ...], data: Any) -> None:
    x = moderate(data.draw(arrays(dtypes)))
    axis, keepdims = axes(data, x.ndim), data.draw(st.booleans())
    assume(name not in ("max", "min", "var", "std", "mean") or x.size)
    if name == "count_nonzero":
        assume(axis != ())
    kwargs: dict[str, Any] = {"axis": axis, "keepdims": keepdims}
    if name in ("var", "std"):
        kwargs["correction"] = 0.0 if axis == () else data.draw(st.sampled_from([0, 0.5, 0.0]))
    mine, theirs = pair(x)
    if name in ("sum", "prod") and data.draw(st.booleans()):
        dtype = x.dtype.name
        assert_same(
            getattr(ht, name)(mine, dtype=getattr(ht, dtype), **kwargs),
            reference(getattr(xp, name), theirs, dtype=getattr(xp, dtype), **kwargs), rtol=1e-4, signs=False,
        )  # fmt: skip
        return
    narrow = x.dtype.kind in "iu" and x.dtype.itemsize < 8 and name in ("sum", "prod")  # 64-bit sums stay 64 bits wide
    assert_same(
        getattr(ht, name)(mine, **kwargs), reference(getattr(xp, name), theirs, **kwargs), rtol=1e-4, defaults=narrow,
        signs=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@drawn
@given(st.data())
def test_cumulative(name: str, data: Any) -> None:
    x = moderate(data.draw(arrays(NUMERIC, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))))
    axis = None if x.ndim == 1 and data.draw(st.booleans()) else data.draw(st.integers(-x.ndim, x.ndim - 1))
    initial = data.draw(st.booleans())
    mine, theirs = pair(x)
    narrow = x.dtype.kind in "iu" and x.dtype.itemsize < 8
    assert_same(
        getattr(ht, name)(mine, axis=axis, include_initial=initial),
        reference(getattr(xp, name), theirs, axis=axis, include_initial=initial), rtol=1e-4, defaults=narrow, signs=False,
    )  # fmt: skip


@drawn
@given(st.data())
def test_searching_and_sorting(data: Any) -> None:
    x = data.draw(arrays(REAL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    x = np.where(np.isnan(x), x.dtype.type(0), x) if x.dtype.kind == "f" else x
    axis, keepdims = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    mine, theirs = pair(x)
    for name in ("argmax", "argmin"):
        assert_same(
            getattr(ht, name)(mine, axis=axis, keepdims=keepdims), getattr(xp, name)(theirs, axis=axis, keepdims=keepdims)
        )
        assert_same(getattr(ht, name)(mine), getattr(xp, name)(theirs))
    for descending in (False, True):
        assert_same(
            ht.sort(mine, axis=axis, descending=descending), xp.sort(theirs, axis=axis, descending=descending), signs=False
        )
        assert_same(ht.argsort(mine, axis=axis, descending=descending), xp.argsort(theirs, axis=axis, descending=descending))
    assert_same(ht.diff(mine, axis=axis), reference(xp.diff, theirs, axis=axis), signs=False)


@drawn
@given(arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
def test_nonzero(x: np.ndarray) -> None:
    mine, theirs = pair(x)
    assert_same(ht.nonzero(mine), xp.nonzero(theirs))


@drawn
@given(st.data())
def test_diff_and_searchsorted(data: Any) -> None:
    x = moderate(data.draw(arrays(NUMERIC, hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=4))))
    edge = x[..., :1]
    (m, t), (me, te) = pair(x), pair(edge)
    n = data.draw(st.integers(0, 3))
    assert_same(ht.diff(m, n=n, prepend=me, append=me), xp.diff(t, n=n, prepend=te, append=te), signs=False, rtol=1e-4)
    table = data.draw(hnp.arrays(np.float32, 5, elements=elements("float32")))
    values = data.draw(hnp.arrays(np.float32, (2, 3), elements=elements("float32")))
    (m, t), (mv, tv) = pair(table), pair(values)
    for side in ("left", "right"):
        assert_same(
            ht.searchsorted(m, mv, side=side, sorter=ht.argsort(m)), xp.searchsorted(t, tv, side=side, sorter=xp.argsort(t))
        )
        assert_same(ht.searchsorted(ht.sort(m), mv, side=side), xp.searchsorted(xp.sort(t), tv, side=side))


@drawn
@given(arrays(ALL))
def test_sets(x: np.ndarray) -> None:
    assume(x.dtype.kind != "f" or np.isnan(x).sum() < 2)  # which NaN comes first is not defined
    mine, theirs = pair(x)
    for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
        got, expected = getattr(ht, name)(mine), getattr(xp, name)(theirs)
        if name != "unique_values":
            assert got._fields == expected._fields
        assert_same(got, expected, signs=False)


# -- shapes ----------------------------------------------------------------------------------------------------------------


@drawn
@given(st.data())
def test_manipulation(data: Any) -> None:
    x = data.draw(arrays(ALL))
    mine, theirs = pair(x)
    rank = x.ndim

    def both(name: str, *args: Any, **kwargs: Any) -> None:
        assert_same(getattr(ht, name)(mine, *args, **kwargs), getattr(xp, name)(theirs, *args, **kwargs))

    order = data.draw(st.permutations(range(rank)))
    both("permute_dims", tuple(order))
    both("expand_dims", axis=data.draw(st.integers(-rank - 1, rank)))
    both("flip", axis=axes(data, rank))
    both("reshape", (x.size,))
    both("reshape", (-1, 1), copy=True) if x.size else None
    both("tile", tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))))
    both("repeat", data.draw(st.integers(0, 3)))
    if x.size:
        shapes = hnp.broadcastable_shapes(x.shape)
        both("broadcast_to", data.draw(shapes.filter(lambda s: np.broadcast_shapes(s, x.shape) == tuple(s))))
    for other in ALL:
        if np.dtype(other).kind in {"f": "bfc", "c": "c"}.get(x.dtype.kind, "biufc"):  # what is left is refused, or undefined
            with np.errstate(all="ignore"):
                assert_same(ht.astype(mine, getattr(ht, other)), xp.astype(theirs, getattr(xp, other)))
    if rank:
        axis = data.draw(st.integers(-rank, rank - 1))
        both("unstack", axis=axis)
        both("moveaxis", axis, data.draw(st.integers(-rank, rank - 1)))
        both("roll", data.draw(st.integers(-9, 9)), axis=axes(data, rank, several=False))
        several = data.draw(hnp.valid_tuple_axes(rank, min_size=1))
        both("roll", tuple(range(1, len(several) + 1)), axis=several)
        assert_same(ht.concat([mine, mine], axis=axis), xp.concat([theirs, theirs], axis=axis))
        counts = np.arange(x.shape[axis])
        both_counts = pair(counts)
        assert_same(ht.repeat(mine, both_counts[0], axis=axis), xp.repeat(theirs, both_counts[1], axis=axis))
        ones = tuple(a for a, n in enumerate(x.shape) if n == 1)
        both("squeeze", axis=ones)
    if rank >= 2:
        for name in ("tril", "triu"):
            both(name, k=data.draw(st.integers(-3, 3)))
        both("matrix_transpose")
    assert_same(ht.stack([mine, mine]), xp.stack([theirs, theirs]))
    assert_same(ht.concat([mine, mine], axis=None), xp.concat([theirs, theirs], axis=None))
    a, b = data.draw(broadcastable(ALL))
    (x1, y1), (x2, y2) = pair(a), pair(b)
    assert_same(ht.broadcast_arrays(x1, x2), xp.broadcast_arrays(y1, y2))
    if a.dtype == b.dtype:
        for indexing in ("xy", "ij"):
            flat = [pair(v.reshape(-1)) for v in (a, b, a)]
            assert_same(
                ht.meshgrid(*(f[0] for f in flat), indexing=indexing), xp.meshgrid(*(f[1] for f in flat), indexing=indexing)
            )


@drawn
@given(st.data())
def test_take(data: Any) -> None:
    x = data.draw(arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    at = data.draw(
        hnp.arrays(st.sampled_from([np.int64, np.int8, np.uint8]), st.integers(0, 5), elements=st.integers(0, n - 1))
    )
    (mine, theirs), (i, j) = pair(x), pair(at)
    assert_same(ht.take(mine, i, axis=axis), xp.take(theirs, j, axis=axis))
    shape = tuple(3 if a == axis % x.ndim else data.draw(st.sampled_from([1, e])) for a, e in enumerate(x.shape))
    along = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1)))
    (i, j) = pair(along)
    assert_same(ht.take_along_axis(mine, i, axis=axis), xp.take_along_axis(theirs, j, axis=axis))


@drawn
@given(st.data())
def test_indexing(data: Any) -> None:
    """Basic keys, integer arrays and masks, to read and to write."""
    x = data.draw(arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    key = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    full = key if isinstance(key, tuple) else (key,)
    if Ellipsis not in full:  # the standard has no shorter keys
        key = (*full, ...)
    mine, theirs = pair(x)
    assert_same(mine[key], theirs[key])
    mask = data.draw(hnp.arrays(bool, x.shape))
    (m, t) = pair(mask)
    assert_same(mine[m], theirs[t])
    value = data.draw(hnp.arrays(x.dtype, (), elements=elements(x.dtype.name)))
    changed, again = ht.asarray(mine, copy=True), xp.asarray(theirs, copy=True)
    before = mine.numpy().copy()
    for here, there in ((key, key), (m, t)):
        if not any(k is None for k in (here if isinstance(here, tuple) else (here,))):
            changed[here], again[there] = ht.asarray(value), xp.asarray(value)
            assert_same(changed, again)
    np.testing.assert_array_equal(mine.numpy(), before)
    places = [data.draw(hnp.arrays(np.int64, 3, elements=st.integers(-n, n - 1))) for n in x.shape]
    assert_same(mine[tuple(ht.asarray(p) for p in places)], theirs[tuple(xp.asarray(p) for p in places)])


# -- creation and linear algebra -------------------------------------------------------------------------------------------


@drawn
@given(st.data())
def test_creation(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3))
    dtype = data.draw(st.sampled_from(ALL))
    mine, theirs = getattr(ht, dtype), getattr(xp, dtype)
    for name in ("zeros", "ones"):
        assert_same(getattr(ht, name)(shape, dtype=mine), getattr(xp, name)(shape, dtype=theirs))
        assert_same(getattr(ht, name)(shape), getattr(xp, name)(shape), defaults=True)
        like = ht.zeros(shape, dtype=mine), xp.zeros(shape, dtype=theirs)
        assert_same(getattr(ht, f"{name}_like")(like[0]), getattr(xp, f"{name}_like")(like[1]))
    value = data.draw(elements(dtype) if dtype != "bool" else st.booleans())
    value = value.item() if hasattr(value, "item") else value
    assert_same(ht.full(shape, value, dtype=mine), reference(xp.full, shape, value, dtype=theirs))
    assert_same(ht.full_like(like[0], value), reference(xp.full_like, like[1], value))
    assert ht.empty(shape, dtype=mine).shape == shape and ht.empty_like(like[0]).dtype is mine
    assert ht.empty(3, device="cpu").shape == (3,)
    if dtype != "bool":
        rows, columns, k = (data.draw(s) for s in (st.integers(0, 4), st.none() | st.integers(0, 4), st.integers(-6, 6)))
        assert_same(ht.eye(rows, columns, k=k, dtype=mine), xp.eye(rows, columns, k=k, dtype=theirs))
        assert ht.eye(2, k=2**70).shape == (2, 2)
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, 60)] * 2)))
        step = data.draw(st.integers(1, 7))
        assert_same(ht.arange(start, stop, step, dtype=mine), xp.arange(start, stop, step, dtype=theirs))
    if dtype in F:
        num, endpoint = data.draw(st.integers(0, 6)), data.draw(st.booleans())
        assert_same(
            ht.linspace(-1.5, 3.0, num, dtype=mine, endpoint=endpoint),
            reference(xp.linspace, -1.5, 3.0, num, dtype=theirs, endpoint=endpoint), signs=False,
        )  # fmt: skip


@drawn
@given(st.data())
def test_linear_algebra(data: Any) -> None:
    names = data.draw(
        st.sampled_from([("float32", "float64"), ("int8", "int16"), ("complex64",) * 2, ("uint8", "int8"), ("int64",) * 2])
    )
    n, m, k, batch = (data.draw(st.integers(1, 3)) for _ in range(4))
    small = st.integers(0, 4)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        drawn_values = data.draw(hnp.arrays(np.int64, shape, elements=small)).astype(name)
        return drawn_values * name_factor(name)

    def name_factor(name: str) -> Any:
        return np.complex64(1 + 2j) if name.startswith("complex") else np.dtype(name).type(1)

    a, b = draw(names[0], (batch, n, k)), draw(names[1], (k, m))
    (x1, y1), (x2, y2) = pair(a), pair(b)
    assert_same(ht.matmul(x1, x2), xp.matmul(y1, y2), rtol=1e-4)
    assert_same(x1 @ x2, y1 @ y2, rtol=1e-4)
    assert_same(ht.tensordot(x1, x2, axes=1), xp.tensordot(y1, y2, axes=1), rtol=1e-4)
    assert_same(ht.tensordot(x1, x2, axes=((2,), (0,))), xp.tensordot(y1, y2, axes=((2,), (0,))), rtol=1e-4)
    assert_same(x1.mT, y1.mT)
    v, w = draw(names[0], (batch, n, k)), draw(names[1], (n, k))
    (x1, y1), (x2, y2) = pair(v), pair(w)
    for axis in (-1, -2):
        assert_same(ht.vecdot(x1, x2, axis=axis), xp.vecdot(y1, y2, axis=axis), rtol=1e-4)


# -- dtypes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("second", ALL)
def test_promotion(first: str, second: str) -> None:
    """Wherever the standard defines a common dtype it is ours; can_cast and isdtype follow from it."""
    mine = [getattr(ht, n) for n in (first, second)]
    theirs = [getattr(xp, n) for n in (first, second)]
    try:
        expected = xp.result_type(*theirs)
    except TypeError:
        return
    assert ht.result_type(*mine).name == name_of(expected)
    assert ht.result_type(ht.ones((1,), dtype=mine[0]), mine[1]).name == name_of(expected)
    assert ht.can_cast(*mine) == xp.can_cast(*theirs)


@pytest.mark.parametrize("dtype", ALL)
def test_scalars_kinds_and_limits(dtype: str) -> None:
    mine, theirs = getattr(ht, dtype), getattr(xp, dtype)
    for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"):
        assert ht.isdtype(mine, kind) is xp.isdtype(theirs, kind)
    assert ht.isdtype(mine, (mine, "bool")) and ht.isdtype(mine, mine)
    for scalar in (True, 1, 1.0, 1j):
        try:
            expected = xp.result_type(theirs, scalar)
        except TypeError:
            continue
        assert ht.result_type(mine, scalar).name == name_of(expected)
    if dtype in INTEGERS:
        info, other = ht.iinfo(mine), xp.iinfo(theirs)
        assert (info.bits, info.max, info.min, info.dtype) == (other.bits, other.max, other.min, mine)
        assert all(type(v) is int for v in (info.bits, info.max, info.min))
    elif dtype != "bool":
        info, other = ht.finfo(mine), xp.finfo(theirs)
        for field in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(info, field) == pytest.approx(getattr(other, field), rel=1e-7)
        assert type(info.eps) is float and info.dtype.name == name_of(other.dtype)
