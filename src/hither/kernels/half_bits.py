"""float16 by its bits, for machines that cannot convert it: WebAssembly, and processors without such instructions.

Rounding lets the processor's own addition round: next to a power of two 2^13 times the number's own, a float32 has as many
digits as a half, and subnormal halves all have the digits of the smallest normal ones. With 65536 instead of all that is
larger, infinities need no case of their own. (The idea is known from M. Dukhan's FP16 library.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import dtypes as dt
from .ir import Val

if TYPE_CHECKING:
    from .builder import Builder

REBIASED = 2.0**112  # between the exponents of halves and of float32
KEPT = -0x70002000  # 0x8fffe000: of a half moved to where float32 has its digits: the sign, and what is below it
INFINITY = 0x7F800000  # of float32: the bits of its exponent, too
OVERFLOW = 0x477FF000  # 65520, and all above round to infinity
LEAST = 113 << 23  # the exponent of 2^-14, the smallest normal half
# How much larger than a half's bits those of the sum below are, but for what its exponent makes: its mantissa begins so much
# below a power of two. An even number, so that ties go to even.
SURPLUS = (112 << 10) + 1024


def finite_to_float(k: Builder, bits: Val) -> Val:
    """The bits of a finite float16, as int16, to float32: sign and fraction where float32 has them, the exponent corrected
    by a product, which is exact, of denormals too. Three operations of 32-bit lanes."""
    return k.bitcast(_moved(k, bits), dt.float32) * REBIASED


def to_float(k: Builder, bits: Val) -> Val:
    """The bits of a float16, as int16, to float32, exact for every half. The largest exponent becomes float32's by overflow:
    what is infinite then still lacks the digits by which a NaN differs, payload and all; others have the same bits twice."""
    value = k.bitcast(_moved(k, bits), dt.float32) * REBIASED
    infinite = value * REBIASED * (1 / REBIASED)
    return k.bitcast(k.bitcast(infinite, dt.int32) | k.bitcast(value, dt.int32), dt.float32)


def _moved(k: Builder, bits: Val) -> Val:
    return (k.convert(bits, dt.int32) << 13) & KEPT


def from_float(k: Builder, value: Val) -> Val:
    """float32 to float16 bits, as int16, rounding to nearest even; overflow gives inf, NaN stays NaN.

    A NaN's sum is a NaN of the sign that it has here, none, as every processor hands it on; so its bits are the largest."""
    magnitude = k.min(k.abs(value), 65536.0)  # NaN passes
    exponent = k.max(k.bitcast(magnitude, dt.int32) & INFINITY, LEAST)
    unit = k.bitcast(exponent, dt.float32)
    begin = 2.0**14 - SURPLUS * 2.0**-10  # times the unit: so much below a power of two, whose last digit is a half's
    rounded = k.fma(unit, k.const(begin, dt.float32, unit.width), magnitude)
    half = k.bitcast(rounded, dt.int32) - k.bitcast(unit * 2.0**14, dt.int32) + (exponent >> 13)
    sign = (k.bitcast(value, dt.int32) >> 16) & -0x8000
    return k.convert(k.max(k.min(half + sign, 0x7FFF), -0x8000), dt.int16)


def without_bits(k: Builder, value: Val) -> Val:
    """A float32 rounded to what float16 holds, to nearest even, on machines without numbers of 16 bits. Cases are told apart by
    bits: GPU compilers may take it for granted that a number is one."""
    bits = k.bitcast(value, dt.int32)
    magnitude = bits & 0x7FFFFFFF
    normal = k.bitcast((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF, dt.float32)  # a half lacks the last 13 digits
    subnormal = k.round(value * 2.0**24) * 2.0**-24
    infinite = k.bitcast((bits - magnitude) | INFINITY, dt.float32)
    found = k.select(magnitude < LEAST, subnormal, normal)
    found = k.select(magnitude < OVERFLOW, found, infinite)
    return k.select(magnitude <= INFINITY, found, value)


class Halves:
    """The float32 values of a kernel that are halves, widened, and their bits: what was one need not be rounded again."""

    def __init__(self, k: Builder) -> None:
        self.k = k
        self._bits: dict[Val, Val] = {}

    def widened(self, bits: Val, finite: bool = False) -> Val:
        """int16 bits as a float32."""
        value = finite_to_float(self.k, bits) if finite else to_float(self.k, bits)
        self._bits[value] = bits
        return value

    def narrowed(self, value: Val) -> Val:
        """A number as the int16 bits of a float16."""
        known = self._known(value)
        return from_float(self.k, self.k.convert(value, dt.float32)) if known is None else known

    def rounded(self, value: Val) -> Val:
        """A number rounded to float16, as a float32."""
        k, wide = self.k, self.k.convert(value, dt.float32)
        if value.dtype.bits <= 8 or wide in self._bits:  # it is one
            return wide
        if k.machine.float16:
            return k.convert(k.convert(wide, dt.float16), dt.float32)
        return without_bits(k, wide) if k.machine.gpu else self.widened(from_float(k, wide))

    def _known(self, value: Val) -> Val | None:
        """The bits of a value that is a half: one that was widened, known, or chosen among such."""
        if value in self._bits:
            return self._bits[value]
        k, op = self.k, value.op
        if op is not None and op.kind == "const":
            return k.const(of_number(op.attr), dt.int16)
        if op is not None and op.kind == "splat":
            scalar = self._known(op.args[0])
            return None if scalar is None else k.broadcast(scalar, value.width)
        if op is not None and op.kind == "select":
            a, b = (self._known(v) for v in op.args[1:])
            return None if a is None or b is None else k.select(op.args[0], a, b)
        return None


def of_number(value: float) -> int:
    """The bits, as int16, of a number rounded to float16."""
    with np.errstate(over="ignore"):
        return int(np.float16(value).view(np.int16))
