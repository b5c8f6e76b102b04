"""The reference for the array API standard: array-api-strict, held to the version that hither follows, and how results compare.

array-api-strict implements exactly the standard on NumPy: its signatures, dtypes and values are the standard's. Its
defaults are 64 bits wide where hither's are 32, so operands have explicit dtypes here, and results of default dtype are mapped.
"""

from __future__ import annotations

from typing import Any

import array_api_strict as xp
import hypothesis.strategies as st
import numpy as np
from hypothesis.extra import numpy as hnp

import hither as ht

xp.set_array_api_strict_flags(api_version="2024.12")

BOOL = ("bool",)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
REAL = INTEGERS + FLOATS
NUMERIC = REAL + COMPLEX
ALL = BOOL + NUMERIC

# Where strict's default dtypes (64 bits) stand for hither's (32 bits).
DEFAULTS = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def name_of(dtype: Any) -> str:
    """The standard's name of a dtype of either library."""
    return dtype.name if isinstance(dtype, ht.DType) else str(dtype).split(".")[-1]


def pair(array: np.ndarray) -> tuple[Any, Any]:
    """The same array for hither and for the reference."""
    return ht.asarray(np.array(array)), xp.asarray(array)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    """Values of a dtype: small and large, and of floats all special ones too."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return st.booleans()
    if kind.kind == "f":
        special = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -2.0, 3.0])
        return special | st.floats(-100, 100, width=32)
    if kind.kind == "c":
        return st.complex_numbers(max_magnitude=100, allow_nan=False, allow_subnormal=False, width=64)
    return st.integers(-5, 5).map(lambda n: abs(n) if kind.kind == "u" else n) | hnp.from_dtype(kind)


def arrays(dtypes: tuple[str, ...], shapes: Any = None) -> st.SearchStrategy[np.ndarray]:
    """Arrays of up to three axes, empty ones and 0-d ones among them."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3) if shapes is None else shapes
    return st.sampled_from(dtypes).flatmap(lambda d: hnp.arrays(d, shapes, elements=elements(d)))


def promotable(dtypes: tuple[str, ...], count: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    """Dtypes that the standard defines a common one for."""

    def defined(names: tuple[str, ...]) -> bool:
        try:
            xp.result_type(*(getattr(xp, n) for n in names))
        except TypeError:
            return False
        return True

    return st.tuples(*[st.sampled_from(dtypes)] * count).filter(defined)


@st.composite
def broadcastable(draw: Any, dtypes: tuple[str, ...], count: int = 2) -> tuple[np.ndarray, ...]:
    """Arrays of promotable dtypes and of shapes that broadcast."""
    names = draw(promotable(dtypes, count))
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3)).input_shapes
    return tuple(draw(hnp.arrays(n, s, elements=elements(n))) for n, s in zip(names, shapes, strict=True))


def assert_same(got: Any, expected: Any, *, rtol: float | None = None, defaults: bool = False, signs: bool = True) -> None:
    """Results of both libraries agree: dtype, shape and values, zeros by sign too.

    Args:
        defaults: the result's dtype is a default one, which hither has narrower.
    """
    if isinstance(expected, tuple | list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, rtol=rtol, defaults=defaults, signs=signs)
        return
    wanted = name_of(expected.dtype)
    assert name_of(got.dtype) == (DEFAULTS.get(wanted, wanted) if defaults else wanted)
    assert got.shape == expected.shape
    mine, theirs = got.numpy(), np.asarray(expected)
    if mine.dtype.kind not in "fc":
        np.testing.assert_array_equal(mine, theirs.astype(mine.dtype))
        return
    tolerance = (2e-5 if mine.dtype.itemsize // (2 if mine.dtype.kind == "c" else 1) == 4 else 1e-11) if rtol is None else rtol
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(mine, theirs.astype(mine.dtype), rtol=tolerance, atol=tolerance * 0.1)
    if signs and mine.dtype.kind == "f":
        zeros = (mine == 0) & (theirs == 0)
        np.testing.assert_array_equal(np.signbit(mine[zeros]), np.signbit(theirs[zeros]))
