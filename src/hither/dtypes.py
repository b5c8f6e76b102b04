"""Data types: what an element is, how wide, and what two of them promote to.

Every room speaks in these objects, never in NumPy dtypes or strings, so that "what is a float16" has one answer.
They compare equal to themselves only; `dtype("float32")` turns anything reasonable into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)  # there is one object per dtype: identity is equality
class DType:
    """An element type. `kind` is 'b' bool, 'i' signed, 'u' unsigned, 'f' float or 'c' complex; `bits` its width in memory."""

    name: str
    kind: str
    bits: int

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype with the same memory layout."""
        return np.dtype(self.name)

    @property
    def itemsize(self) -> int:
        """Bytes per element in host memory."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: Any) -> DType:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype, (self.name,)

    def __repr__(self) -> str:
        return f"hither.{self.name}"

    def __str__(self) -> str:
        return self.name


bool_ = DType("bool", "b", 8)
int8, int16, int32, int64 = (DType(f"int{n}", "i", n) for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (DType(f"uint{n}", "u", n) for n in (8, 16, 32, 64))
float16, float32, float64 = (DType(f"float{n}", "f", n) for n in (16, 32, 64))
complex64, complex128 = (DType(f"complex{n}", "c", n) for n in (64, 128))

ALL = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, float32, float64, complex64, complex128,
)  # fmt: skip
_BY_NAME = {d.name: d for d in ALL}


def dtype(like: Any) -> DType:
    """The DType for a DType, a name ("float32"), a NumPy dtype, or a Python scalar type.

    Python's `float` is float32 and `int` is int32 here: the defaults of the library, not NumPy's.

    Raises:
        TypeError: for a dtype that hither does not have (strings, objects, datetimes…).
    """
    if isinstance(like, DType):
        return like
    if like is float:
        return float32
    if like is int:
        return int32
    if like is bool:
        return bool_
    try:
        found = _BY_NAME.get(np.dtype(like).name)
    except TypeError:
        found = None
    if found is None:
        raise TypeError(f"hither has no dtype {like!r}; it has {', '.join(_BY_NAME)}")
    return found


def promote(a: DType, b: DType) -> DType:
    """The dtype two arrays of these dtypes combine to, by the array API standard's tables.

    Mixed signed and unsigned take the next wider signed type (uint64 with signed has none and raises); mixing integers
    with floats, which the standard leaves open, gives the float.

    Raises:
        TypeError: for uint64 with a signed integer.
    """
    if a == b:
        return a
    order = "buifc"
    if order.index(a.kind) > order.index(b.kind):
        a, b = b, a
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    if a.kind == "b" or (a.is_integer and b.kind in "fc"):
        return b
    if a.kind == "f":  # with complex
        return complex128 if max(a.bits * 2, b.bits) > 64 else complex64
    bits = max(a.bits * 2, b.bits)  # a unsigned, b signed
    if bits > 64:
        raise TypeError(f"{a} and {b} have no common integer type; cast one of them first")
    return _BY_NAME[f"int{bits}"]
