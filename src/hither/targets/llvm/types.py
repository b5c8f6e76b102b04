"""LLVM spellings of dtypes and constants, and what of a target the printer must know beyond its Machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ... import dtypes as dt
from ...dtypes import DType

_FLOATS = {16: "half", 32: "float", 64: "double"}


@dataclass(frozen=True)
class Target:
    """The instruction set, as far as the text of the IR depends on it.

    `rounding`: floor, ceil, trunc and round-to-even are instructions (x86 has them since SSE4.1). Where they are not, LLVM
    would call libm, so they are spelled out.
    """

    arch: str = "x86_64"
    rounding: bool = True


def scalar(dtype: DType) -> str:
    """The LLVM type of one element."""
    if dtype is dt.bool_:
        return "i1"
    if dtype.kind == "c":
        raise TypeError(f"kernels cannot compute {dtype}; model.to('numpy') evaluates without kernels")
    return _FLOATS[dtype.bits] if dtype.is_float else f"i{dtype.bits}"


def typed(dtype: DType, width: int) -> str:
    """The LLVM type of a value of `width` lanes."""
    return scalar(dtype) if width == 1 else f"<{width} x {scalar(dtype)}>"


def suffix(dtype: DType, width: int) -> str:
    """The part of an overloaded intrinsic's name that stands for a type: f32, v16i8."""
    element = f"f{dtype.bits}" if dtype.is_float else scalar(dtype)
    return element if width == 1 else f"v{width}{element}"


def literal(value: Any, dtype: DType, width: int = 1) -> str:
    """A constant, splatted to `width` lanes."""
    if dtype is dt.bool_:
        text = "true" if value else "false"
    elif dtype is dt.float16:
        text = f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    elif dtype.is_float:  # LLVM writes float constants as the double of the same value
        text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    else:
        text = str(value)
    return text if width == 1 else vector_literal([text] * width, dtype)


def vector_literal(lanes: list[str], dtype: DType) -> str:
    """A constant vector of these scalar literals."""
    element = scalar(dtype)
    return "<" + ", ".join(f"{element} {lane}" for lane in lanes) + ">"
