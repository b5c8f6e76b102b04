"""What the primitives share: checks that raise readable errors, and the few helpers gradient rules are written with.

Gradient rules apply primitives by name through `apply`, so that families can refer to each other without import cycles and
a rule works alike on concrete arrays and on traced values (which is what makes second derivatives work).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...array import Array
from ...dtypes import DType
from ..core import Abstract
from ..primitive import REGISTRY
from ..trace import Tracer, bind, record, weight

_KINDS = {"b": "bool", "i": "signed integer", "u": "unsigned integer", "f": "floating-point", "c": "complex"}


def require_kind(name: str, operand: Abstract, kinds: str, hint: str = "convert it first") -> None:
    """Raise TypeError unless the operand's dtype is of one of these kinds (letters of DType.kind)."""
    if operand.dtype.kind not in kinds:
        expected = " or ".join(_KINDS[k] for k in kinds)
        raise TypeError(f"{name} takes {expected} operands, got {operand}; {hint}")


def require_same(name: str, *operands: Abstract, dtypes: bool = True) -> None:
    """Raise unless all operands have one shape, and one dtype if `dtypes`."""
    first = operands[0]
    for other in operands[1:]:
        if other.shape != first.shape:
            raise ValueError(f"{name} takes operands of one shape, got {', '.join(map(str, operands))}; broadcast them first")
        if dtypes and other.dtype != first.dtype:
            raise TypeError(f"{name} takes operands of one dtype, got {', '.join(map(str, operands))}; convert them first")


def require_axis(name: str, operand: Abstract, axis: int) -> None:
    """Raise ValueError unless `axis` is a non-negative axis of the operand."""
    if not 0 <= axis < operand.rank:
        raise ValueError(f"{name}: axis {axis} is not an axis of {operand}; expected 0 <= axis < {operand.rank}")


def require_indices(name: str, indices: Abstract) -> None:
    """Raise TypeError unless the operand can be used as indices."""
    require_kind(f"{name} (indices)", indices, "iu", "indices are integers")


def computed(dtype: DType) -> DType:
    """The dtype a kernel computes in for arrays of this dtype: halves are float32 in registers."""
    return dt.float32 if dtype is dt.float16 else dtype


def wide(array: np.ndarray) -> np.ndarray:
    """float16 as float32, anything else unchanged: what evaluations accumulate in."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def lowest(dtype: DType) -> float | int:
    """The identity of max."""
    return -np.inf if dtype.is_float else int(np.iinfo(dtype.numpy).min)


def highest(dtype: DType) -> float | int:
    """The identity of min."""
    return np.inf if dtype.is_float else int(np.iinfo(dtype.numpy).max)


@lru_cache(maxsize=1024)
def _scalar(text: str, dtype: DType) -> np.ndarray:
    value: bool | int | float | complex
    if text in ("True", "False"):
        value = text == "True"
    else:
        value = int(text) if text.lstrip("-").isdigit() else complex(text) if "j" in text else float(text)
    made = np.asarray(value).astype(dtype.numpy)
    made.flags.writeable = False
    return made


def scalar(value: Any, dtype: DType) -> np.ndarray:
    """A 0-d array; equal ones are the same object, so that a Graph holds each literal once."""
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value)  # keeps -0.0 and NaN apart from their equals
    if text == "nan" and math.copysign(1.0, value) < 0:
        text = "-nan"
    return _scalar(text, dtype)


def apply(name: str, *operands: Any, **params: Any) -> Any:
    """Apply the primitive of this name."""
    return bind(REGISTRY[name], *operands, **params)


def full(value: Any, like: Any, shape: tuple[int, ...] | None = None, dtype: DType | None = None) -> Any:
    """One repeated value with the shape and dtype of `like` (or those given); traced if `like` is.

    While tracing this is a scalar constant and a broadcast, never an array constant of full size.
    """
    shape = tuple(like.shape) if shape is None else shape
    made: Any = scalar(value, dtype or dt.dtype(like.dtype))
    made = weight(made, "") if isinstance(like, Tracer) else Array(made)
    return apply("broadcast", made, shape=shape, axes=()) if shape else made


def counter(shape: tuple[int, ...], axis: int, dtype: DType, like: Any) -> Any:
    """The position of each element along an axis; recorded, not computed, if `like` is traced."""
    made = record if isinstance(like, Tracer) else bind
    return made(REGISTRY["iota"], shape=tuple(shape), axis=axis, dtype=dtype)
