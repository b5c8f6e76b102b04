"""What the standard asks of array objects: Hypothesis's own strategies, item assignment, DLPack, conversions, special numbers.

The standard's public suite draws its arrays with `hypothesis.extra.array_api` and the namespace under test, so that has to work
first of all.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from hypothesis.extra.array_api import make_strategies_namespace

import hither as ht
from hither.graph.core import Abstract
from hither.graph.trace import trace_function

from .strict import ALL, COMPLEX, FLOATS, INTEGERS, xp

pytestmark = pytest.mark.filterwarnings("ignore")
xps = make_strategies_namespace(ht)
some = settings(max_examples=40, deadline=None, derandomize=True, database=None)


# -- what the public suite does ------------------------------------------------------------------------------------------------


@some
@given(st.data())
def test_hypothesis_draws_arrays_of_hither(data: Any) -> None:
    dtype = data.draw(xps.scalar_dtypes())
    shape = data.draw(xps.array_shapes(min_dims=0, min_side=0, max_side=3))
    x = data.draw(xps.arrays(dtype, shape))
    assert isinstance(x, ht.Array) and x.dtype is dtype and x.shape == shape and x.device == "cpu"


@some
@given(st.data())
def test_items_are_set_and_read(data: Any) -> None:
    dtype = data.draw(xps.scalar_dtypes())
    shape = data.draw(xps.array_shapes(min_side=1, max_side=3))
    x = data.draw(xps.arrays(dtype, shape))
    key = data.draw(xps.indices(shape=shape, max_dims=0, allow_newaxis=False))
    value = data.draw(xps.from_dtype(dtype) | xps.arrays(dtype=dtype, shape=()))
    before = x.numpy().copy()
    changed = ht.asarray(x, copy=True)
    changed[key] = value
    expected = before.copy()
    expected[key] = np.asarray(value)
    np.testing.assert_array_equal(changed.numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), before)


@some
@given(st.data())
def test_masks_of_every_size_the_standard_allows(data: Any) -> None:
    x = data.draw(xps.arrays(xps.scalar_dtypes(), xps.array_shapes(min_dims=0, min_side=0, max_side=3)))
    flag = data.draw(st.booleans())
    picked = x[ht.asarray(flag)]
    np.testing.assert_array_equal(picked.numpy(), x.numpy()[np.asarray(flag)])
    if x.ndim:
        leading = data.draw(hnp.arrays(bool, x.shape[: data.draw(st.integers(1, x.ndim))]))
        np.testing.assert_array_equal(x[ht.asarray(leading)].numpy(), x.numpy()[leading])


@some
@given(xps.arrays(st.sampled_from([getattr(ht, n) for n in ALL]), xps.array_shapes(max_side=2)), st.data())
def test_dlpack_capsules_in_every_version(x: Any, data: Any) -> None:
    assert x.__dlpack_device__() == (1, 0)
    copy = data.draw(st.sampled_from([None, True, False]))
    for version in (None, (0, 8), (1, 0), (2, 0)):
        for device in (None, (1, 0)):
            assert x.__dlpack__(copy=copy, max_version=version, dl_device=device) is not None
    same = ht.from_dlpack(x, copy=copy, device="cpu")
    assert same.dtype is x.dtype and same.device == x.device
    np.testing.assert_array_equal(same.numpy(), x.numpy())


# -- DLPack and NumPy ------------------------------------------------------------------------------------------------------


class Old:
    """A consumer from before DLPack 1.0."""

    def __init__(self, x: Any, copy: bool | None = None) -> None:
        self.x, self.copy = x, copy

    def __dlpack__(self, **_: Any) -> Any:
        return self.x.__dlpack__(copy=self.copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()


def address(x: np.ndarray) -> int:
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [*ALL, "float16"])
def test_dlpack_shares_memory_both_ways(dtype: str) -> None:
    source = np.arange(6).reshape(2, 3).astype(dtype)
    mine = ht.from_dlpack(source)
    assert address(mine.numpy()) == address(source) and mine.dtype.name == dtype
    back = np.from_dlpack(mine)
    assert address(back) == address(source) and not back.flags.writeable
    np.testing.assert_array_equal(back, source)
    assert address(ht.from_dlpack(source, copy=True).numpy()) != address(source)


def test_old_consumers_never_get_shared_literals_to_write_to() -> None:
    """DLPack before 1.0 has no read-only mark; a consumer that wrote to a shared literal would change it everywhere."""
    for shared in (ht.asarray(1.0), ht.zeros((2, 3))):  # a literal is one array everywhere, and zeros are one zero repeated
        assert address(np.from_dlpack(Old(shared))) != address(shared.numpy())
        assert address(np.from_dlpack(Old(shared, copy=False))) == address(shared.numpy())
    own = ht.asarray(np.arange(3.0))
    assert address(np.from_dlpack(Old(own))) == address(own.numpy())


def test_dlpack_refuses_other_devices_and_streams() -> None:
    x = ht.ones((2,))
    with pytest.raises(BufferError, match="CPU"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(ValueError, match="stream"):
        x.__dlpack__(stream=1)
    with pytest.raises(TypeError, match="__dlpack__"):
        ht.from_dlpack([1, 2])
    with pytest.raises(ValueError, match="'cpu' or 'webgpu'"):
        ht.from_dlpack(np.ones(2), device="gpu")


def test_torch_shares_memory() -> None:
    torch = pytest.importorskip("torch")
    x = ht.asarray(np.arange(4.0))
    assert torch.from_dlpack(x).tolist() == [0, 1, 2, 3]
    assert ht.from_dlpack(torch.arange(3)).tolist() == [0, 1, 2]


def test_numpy_views_cannot_be_written_to_and_copies_can() -> None:
    x = ht.asarray([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 9
    copied = np.asarray(x)
    copied[0] = 9
    assert x.tolist() == [1, 2] and np.array(x, copy=True).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x, copy=False)[0] = 9
    assert x.numpy() is x.numpy()


# -- values, not references ------------------------------------------------------------------------------------------------

SAME = {
    "positive": ht.positive, "reshape": lambda x: x.reshape(2, 3), "astype": lambda x: x.astype("float32"),
    "getitem": lambda x: x[...],
    "permute_dims": lambda x: ht.permute_dims(x, (0, 1)), "broadcast_to": lambda x: ht.broadcast_to(x, (2, 3)),
    "broadcast_arrays": lambda x: ht.broadcast_arrays(x, x)[0], "concat": lambda x: ht.concat([x]), "clip": ht.clip,
    "squeeze": ht.squeeze, "roll": lambda x: ht.roll(x, 0), "tile": lambda x: ht.tile(x, (1, 1)), "real": ht.real,
    "conj": ht.conj,
    "flip": lambda x: ht.flip(x, axis=()), "diff": lambda x: ht.diff(x, n=0), "pow": lambda x: x**1.0,
    "copy": lambda x: ht.asarray(x, copy=True),
    "repeat": lambda x: ht.repeat(x, 1, axis=0), "take": lambda x: ht.take(x, ht.arange(2), axis=0),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_a_function_gives_is_another_array(name: str) -> None:
    """If it were the argument itself, x[i] = v would change both."""
    x = ht.reshape(ht.arange(6.0), (2, 3))
    made = SAME[name](x)
    np.testing.assert_array_equal(made.numpy(), x.numpy())
    made[0, 0] = 99
    x[1, 1] = -1
    assert x.tolist() == [[0, 1, 2], [3, -1, 5]] and made.tolist() == [[99, 1, 2], [3, 4, 5]]


def test_item_assignment_takes_every_key_and_converts() -> None:
    x = ht.zeros((3, 4), dtype="int32")
    alias = x
    x[0] = [1, 2, 3, 4]
    x[1:, ::2] = ht.asarray([[5.7], [6.2]])
    x[ht.asarray([2, 2]), ht.asarray([1, 3])] = 8
    x[x == 8] = -8
    x[..., -1] += 1
    assert x.tolist() == [[1, 2, 3, 5], [5, 0, 5, 1], [6, -8, 6, -7]] and alias is x
    seen = x.numpy()
    x[0, 0] = 100
    assert seen[0, 0] == 1
    with pytest.raises(IndexError):
        x[3, 0] = 1
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = ht.ones((3,))


def test_traced_values_refuse_item_assignment() -> None:
    def function(x: Any) -> list[Any]:
        x[0] = 1
        return [x]

    with pytest.raises(TypeError, match=r"hither\.where"):
        trace_function(function, [Abstract((3,), ht.float32)])


def test_in_place_operators_bind_a_new_value() -> None:
    x = ht.asarray([1.0, 2.0])
    y = x
    x += 1
    x *= ht.asarray([2.0, 3.0])
    assert x.tolist() == [4, 9] and y.tolist() == [1, 2]


# -- conversions -----------------------------------------------------------------------------------------------------------


def test_python_numbers_of_zero_dimensional_arrays() -> None:
    for dtype in INTEGERS:
        x = ht.asarray(3, dtype=getattr(ht, dtype))
        assert type(int(x)) is int and operator.index(x) == 3 and [0, 1, 2, 3][x] == 3
    for dtype in FLOATS:
        assert type(float(ht.asarray(1.5, dtype=getattr(ht, dtype)))) is float
    for dtype in COMPLEX:
        assert complex(ht.asarray(1 + 2j, dtype=getattr(ht, dtype))) == 1 + 2j
    assert bool(ht.asarray(True)) is True
    with pytest.raises(TypeError):
        operator.index(ht.asarray(1.0))
    assert (ht.asarray([1]) == None) is False  # noqa: E711  (Python's answer, not an error)


def test_asarray_keeps_all_digits_and_obeys_copy() -> None:
    assert float(ht.asarray([0.1], dtype=ht.float64)[0]) == 0.1 and float(ht.asarray(0.1, dtype=ht.float64)) == 0.1
    assert ht.asarray([2**63], dtype=ht.uint64).tolist() == [2**63]
    for values in ([0, 2**63 + 1], [[2**64 - 1], [5]]):  # NumPy makes floats of these
        assert ht.asarray(values, dtype=ht.uint64).tolist() == ht.asarray(values).tolist() == values
    assert ht.asarray([-1, 2**63 + 1], dtype="float64").tolist() == [-1.0, 2.0**63]
    for beyond in ([-1, 2**63], [2**64]):
        with pytest.raises(OverflowError, match="no integer dtype"):
            ht.asarray(beyond)
    source = np.arange(3)
    shared, own = ht.asarray(source), ht.asarray(source, copy=True)
    source[0] = 7
    assert shared.tolist() == [7, 1, 2] and own.tolist() == [0, 1, 2]
    for wrong in (lambda: ht.asarray([1], copy=False), lambda: ht.asarray(source, dtype="float32", copy=False)):
        with pytest.raises(ValueError, match="copy"):
            wrong()
    assert ht.asarray(shared, copy=False) is shared and ht.asarray(shared, copy=True) is not shared
    assert ht.e == math.e and ht.pi == math.pi and ht.newaxis is None and math.isnan(ht.nan) and ht.inf == math.inf


@pytest.mark.parametrize("dtype", FLOATS)
def test_nans_keep_their_signs(dtype: str) -> None:
    """Also Python's, which has a sign that it does not show: signbit and copysign read it."""
    for x in (ht.asarray(-math.nan, dtype=dtype), ht.asarray([-math.nan], dtype=dtype), ht.full((1,), -math.nan, dtype=dtype)):
        assert np.signbit(x.numpy()).all() and ht.all(ht.signbit(x))
        assert not ht.any(ht.signbit(-x))


def test_every_nan_is_another_element_of_a_set() -> None:
    values, counts = ht.unique_counts(ht.asarray([math.nan, 1.0, math.nan, 1.0]))
    assert values.tolist()[0] == 1 and counts.tolist() == [2, 1, 1]


def test_mistakes_raise_what_the_standard_says() -> None:
    x = ht.ones((2, 3))
    for wrong, error in (
        (lambda: ht.expand_dims(x, axis=5), IndexError), (lambda: ht.squeeze(x, 0), ValueError), (lambda:
        ht.nonzero(ht.asarray(1)), ValueError),
        (lambda: ht.astype(ht.asarray([1j]), ht.float32), TypeError), (lambda: ht.zeros(2, device="gpu"), ValueError),
        (lambda: ht.isdtype(ht.int8, "real"), ValueError), (lambda: ht.iinfo(ht.float32), TypeError),
        (lambda: ht.finfo(ht.int8), TypeError),
        (lambda: ht.result_type(ht.uint64, ht.int8), TypeError), (lambda: ht.stack([x, x[0]]), ValueError),
        (lambda: ht.vecdot(x, ht.ones((2, 4))), ValueError), (lambda: ht.roll(x, (1, 2)), TypeError), (lambda:
        ht.floor(ht.asarray([1j])), TypeError),
        (lambda: ht.negative(ht.asarray([True])), TypeError), (lambda: ht.make_complex(ht.asarray([1j]), 0.0), TypeError),
    ):  # fmt: skip
        with pytest.raises(error):
            wrong()


# -- special numbers -------------------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1e30, -1e30, 1e-40]


def same_number(a: float, b: float) -> bool:
    return (
        (math.isnan(a) and math.isnan(b))
        or (a == b and math.copysign(1, a) == math.copysign(1, b))
        or math.isclose(a, b, rel_tol=1e-5)
    )


@pytest.mark.parametrize(
    "name",
    ["add", "subtract", "multiply", "divide", "floor_divide", "remainder", "pow", "atan2", "hypot", "logaddexp", "maximum",
    "minimum",
     "copysign", "nextafter"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", FLOATS)
def test_binary_special_cases(name: str, dtype: str) -> None:
    """Every pair of special numbers, by NumPy's answer, which is the standard's but where one alone is infinite in //."""
    a, b = (np.array(v, dtype) for v in zip(*itertools.product(SPECIAL, SPECIAL)))
    with np.errstate(all="ignore"):
        expected = np.asarray(getattr(xp, name)(xp.asarray(a), xp.asarray(b)))
        if name == "floor_divide":
            infinite = np.isinf(a) != np.isinf(b)  # and neither NaN
            infinite &= ~np.isnan(a) & ~np.isnan(b)
            expected = np.where(infinite, a / b, expected)
    got = getattr(ht, name)(ht.asarray(a), ht.asarray(b)).numpy()
    wrong = [(x, y, g, e) for x, y, g, e in zip(a, b, got, expected) if not same_number(float(g), float(e))]
    assert not wrong, wrong


@pytest.mark.parametrize("value", [-math.inf, -0.0, 4.0, -1.0])
def test_half_powers_are_cs(value: float) -> None:
    """pow(-inf, 0.5) is inf and pow(-0, 0.5) is 0 in the standard, unlike the square root."""
    expected = math.pow(value, 0.5) if value != -1 else math.nan
    for exponent in (0.5, ht.asarray(0.5), ht.asarray([0.5])):
        assert same_number(float(ht.pow(ht.asarray([value]), exponent)[0]), expected)


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("expm1", (math.inf, 0.0), (math.inf, 0.0)), ("expm1", (-math.inf, math.nan), (-1.0, 0.0)),
        ("expm1", (math.inf, math.nan), (math.inf, math.nan)), ("expm1", (math.nan, 0.0), (math.nan, 0.0)),
        ("sign", (0.0, -0.0), (0.0, 0.0)), ("sign", (-0.0, 0.0), (0.0, 0.0)), ("sign", (3.0, -4.0), (0.6, -0.8)),
    ],
)  # fmt: skip
def test_complex_special_cases(name: str, value: Any, expected: Any, dtype: str) -> None:
    """As the standard has them; NumPy has other answers, and array-api-strict NumPy's."""
    got = complex(getattr(ht, name)(ht.asarray(complex(*value), dtype=dtype)))
    assert same_number(got.real, expected[0]) and same_number(got.imag, expected[1]), got
