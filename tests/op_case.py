"""What a row of the op table is: a function, its independent reference, operands, dtypes and tolerance.

The reference is NumPy (or plain Python) that shares no code with hither; float operands reach it as float64, and its result
is compared after rounding to the dtype hither gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tolerances import TOLERANCE

FLOATS = ("float32", "float64", "float16")
FLOAT = ("float32",)
INTS = ("int32", "int64", "uint8")
NUMBERS = (*FLOATS, *INTS)


@dataclass(frozen=True)
class Operand:
    """How to draw one operand: shape, range (floats -2 … 2, integers -9 … 8 unless given), a dtype if not the row's."""

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    dtype: str | None = None
    values: Any = None  # these values instead of drawn ones

    def draw(self, dtype: str, seed: int) -> np.ndarray:
        """The operand as a NumPy array; the same for the same seed."""
        wanted = np.dtype(self.dtype or dtype)
        if self.values is not None:
            return np.asarray(self.values).astype(wanted)
        rng = np.random.default_rng(seed)
        if wanted.kind == "b":
            return rng.random(self.shape) < 0.5
        if wanted.kind in "iu":
            low = max(-9 if self.low is None else int(self.low), 0 if wanted.kind == "u" else -(2**31))
            high = 9 if self.high is None else int(self.high)
            return rng.integers(low, max(high, low + 1), self.shape).astype(wanted)
        if wanted.kind == "c":
            return (rng.uniform(-2, 2, self.shape) + 1j * rng.uniform(-2, 2, self.shape)).astype(wanted)
        low, high = (-2.0 if self.low is None else self.low), (2.0 if self.high is None else self.high)
        return rng.uniform(low, high, self.shape).astype(wanted)


@dataclass(frozen=True)
class Op:
    """A row of the table."""

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    operands: tuple[Operand, ...]
    dtypes: tuple[str, ...] = FLOATS
    gradient: bool = False
    tolerance: str = "arithmetic"

    def arrays(self, dtype: str, seed: int = 0) -> list[np.ndarray]:
        """Operands for this dtype, reproducible from the row's name."""
        base = zlib.crc32(self.name.encode()) + 97 * seed
        return [o.draw(dtype, base + i) for i, o in enumerate(self.operands)]

    def expected(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """What the reference gives, computed in float64 where operands are floats."""
        with np.errstate(all="ignore"):
            made = self.reference(*[a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays])
        return tuple(np.asarray(m) for m in (made if isinstance(made, tuple) else (made,)))


def flat_results(made: Any) -> tuple[Any, ...]:
    """The arrays of a function's result."""
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def check(got: np.ndarray, expected: np.ndarray, family: str, factor: float = 1.0) -> None:
    """Assert that a result agrees with its reference within the family's tolerance for its dtype."""
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected.astype(got.dtype))
        return
    rtol, atol = TOLERANCE[family][got.dtype.name]
    np.testing.assert_allclose(
        got.astype(np.float64), expected.astype(got.dtype).astype(np.float64), rtol=rtol * factor, atol=atol * factor
    )


class Table(list[Op]):
    """Rows of one theme."""

    def op(
        self, name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand,
        dtypes: tuple[str, ...] = FLOATS, gradient: bool = False, tolerance: str = "arithmetic",
    ) -> None:  # fmt: skip
        """Add a row; without operands it takes one of shape (3, 4)."""
        self.append(Op(name, function, reference, operands or (Operand((3, 4)),), dtypes, gradient, tolerance))
