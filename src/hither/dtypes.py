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

    @property
    def real(self) -> DType:
        """The dtype of the real part: itself unless complex."""
        return _BY_NAME[f"float{self.bits // 2}"] if self.kind == "c" else self

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
_BY_NUMPY = {np.dtype(d.name): d for d in ALL}  # NumPy makes a dtype's name anew each time it is asked


def dtype(like: Any) -> DType:
    """The DType for a DType, a name ("float32"), a NumPy dtype, or a Python scalar type.

    Python's `float` is float32 and `int` is int32 here: the defaults of the library, not NumPy's.

    Raises:
        TypeError: for a dtype that hither does not have (strings, objects, datetimes…).
    """
    if isinstance(like, DType):
        return like
    if isinstance(like, np.dtype) and like in _BY_NUMPY:
        return _BY_NUMPY[like]
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


as_dtype = dtype  # for functions with a parameter of that name


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


# -- what the standard asks of dtypes ------------------------------------------------------------------------------------------

# The standard's names for groups of dtypes, by the letters of DType.kind.
_KINDS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
    "complex floating": "c", "numeric": "iufc",
}  # fmt: skip


def of_kind(kind: Any) -> tuple[DType, ...]:
    """The dtypes of a kind by the standard's names ("integral"…), of several kinds (a tuple), or all of them (None).

    Raises:
        ValueError: for a kind that the standard does not have.
    """
    if kind is None:
        return ALL
    if isinstance(kind, tuple):
        return tuple(d for d in ALL if any(d in of_kind(k) for k in kind))
    if isinstance(kind, DType):
        return (kind,)
    if kind not in _KINDS:
        raise ValueError(f"no kind {kind!r} of dtypes; kinds are {', '.join(map(repr, _KINDS))}, and tuples of them")
    return tuple(d for d in ALL if d.kind in _KINDS[kind])


def isdtype(dtype: DType, kind: Any) -> bool:
    """Whether a dtype is of a kind: a dtype, one of the standard's names, or a tuple of such.

    Args:
        kind: "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric", a dtype,
            or a tuple of these.

    Raises:
        ValueError: for another name.

    Example:
        >>> import hither as ht
        >>> ht.isdtype(ht.float16, "real floating"), ht.isdtype(ht.int8, ("bool", "unsigned integer"))
        (True, False)
    """
    return as_dtype(dtype) in of_kind(kind)


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """Limits of a floating-point dtype; of a complex one, those of its parts. See `finfo`."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True, slots=True)
class IntegerInfo:
    """Limits of an integer dtype. See `iinfo`."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype, or of an array's.

    Example:
        >>> import hither as ht
        >>> ht.finfo(ht.float16).max
        65504.0
    """
    given = dtype(getattr(type, "dtype", type))
    if given.kind not in "fc":
        raise TypeError(f"finfo takes a floating-point dtype, got {given}; iinfo serves integers")
    info = np.finfo(given.real.numpy)
    return FloatInfo(
        given.real.bits, float(info.eps), float(info.max), float(info.min), float(info.smallest_normal), given.real
    )  # fmt: skip


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer dtype, or of an array's.

    Example:
        >>> import hither as ht
        >>> ht.iinfo(ht.uint8).max
        255
    """
    given = dtype(getattr(type, "dtype", type))
    if not given.is_integer:
        raise TypeError(f"iinfo takes an integer dtype, got {given}; finfo serves floats")
    info = np.iinfo(given.numpy)
    return IntegerInfo(given.bits, int(info.max), int(info.min), given)


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether type promotion alone takes one dtype (or an array's) to another: int32 to int64 or float32, never back.

    Example:
        >>> import hither as ht
        >>> ht.can_cast(ht.int32, ht.int64), ht.can_cast(ht.float32, ht.int32)
        (True, False)
    """
    target = dtype(to)
    try:
        return promote(dtype(getattr(from_, "dtype", from_)), target) is target
    except TypeError:  # no common type
        return False
