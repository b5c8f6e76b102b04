"""Values as WGSL text: types, literals and the arithmetic of the kernel IR, each as one expression.

Kept apart from the printer because this is where WGSL's own rules about numbers are dealt with.
"""

from __future__ import annotations

import math
import struct

from ... import dtypes as dt
from ...dtypes import DType
from ...errors import UnsupportedFeature
from ...kernels.ir import INDEX, Val
from .words import PACK_HALVES

_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "rem": "%", "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
}  # fmt: skip
_ON_BOOL = {"and": "&", "or": "|", "xor": "!="}
_CLOSED = {"div", "rem", "and", "or", "xor", "min", "max", "shr"}  # leave no narrow range (but int8 -128 / -1, handled)


# |a| mod |b| on the integers that are their mantissas: 8 more bits of |a| at a time stay within 32 bits.
_REMAINDER = """fn remainder(a: f32, b: f32) -> f32 {
  let ua = bitcast<u32>(a) & 0x7fffffffu;
  let ub = bitcast<u32>(b) & 0x7fffffffu;
  if (ub == 0u || ua >= 0x7f800000u || ub > 0x7f800000u) { return bitcast<f32>(nan_bits); }
  if (ua < ub) { return a; }
  let ea = max(i32(ua >> 23u), 1);
  let eb = max(i32(ub >> 23u), 1);
  let mb = (ub & 0x7fffffu) | select(0u, 0x800000u, ub >= 0x800000u);
  var r = ((ua & 0x7fffffu) | select(0u, 0x800000u, ua >= 0x800000u)) % mb;
  for (var left = ea - eb; left > 0; left -= 8) { r = (r << u32(min(left, 8))) % mb; }
  let sign = bitcast<u32>(a) & 0x80000000u;
  if (r == 0u) { return bitcast<f32>(sign); }
  let shift = countLeadingZeros(r) - 8u;
  let exponent = eb - i32(shift);
  let normal = (u32(max(exponent, 1)) << 23u) | ((r << shift) & 0x7fffffu);
  return bitcast<f32>(select(r << (u32(eb - 1) & 31u), normal, exponent > 0) | sign);
}"""


def _narrow(dtype: DType) -> bool:
    return dtype.is_integer and dtype.bits < 32 and dtype is not INDEX


def _splat(scalar: str, text: str, width: int) -> str:
    return text if width == 1 else f"vec{width}<{scalar}>({text})"


def vector(scalar: str, width: int) -> str:
    return scalar if width == 1 else f"vec{width}<{scalar}>"


def _round_to_half(value: float) -> float:
    """WGSL refuses a float16 literal that overflows."""
    try:
        return struct.unpack("<e", struct.pack("<e", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


class Expressions:
    """Expressions of one kernel. What they need outside of functions is collected in `globals`, by name."""

    def __init__(self, kernel: str, float16: bool) -> None:
        self.kernel, self.float16 = kernel, float16
        self.globals: dict[str, str] = {}

    def scalar(self, dtype: DType) -> str:
        """The WGSL type that values of this dtype are computed in.

        Raises:
            UnsupportedFeature: WebGPU has none.
        """
        if dtype is INDEX:
            return "i32"
        match dtype.kind:
            case "b":
                return "bool"
            case "i":
                return "i32"
            case "u":
                return "u32"
            case "f" if dtype.bits == 32 or (dtype.bits == 16 and self.float16):
                return f"f{dtype.bits}"
        raise UnsupportedFeature(
            f"kernel {self.kernel} computes in {dtype}, which this WebGPU device does not have; "
            "cast to float32, or compile for the CPU"
        )

    def type(self, dtype: DType, width: int) -> str:
        """The same for `width` lanes."""
        if width > 4:
            raise ValueError(f"kernel {self.kernel} has a vector of {width} lanes; WGSL has at most 4")
        return self.scalar(dtype) if width == 1 else f"vec{width}<{self.scalar(dtype)}>"

    def declare(self, name: str, text: str) -> str:
        """Have a function or variable outside of the entry point; returns its name."""
        self.globals.setdefault(name, text)
        return name

    # Operands are texts: identifiers, literals, or expressions in parentheses or calls.

    def unary(self, kind: str, a: str, dtype: DType, width: int) -> str:
        if kind == "not":
            return f"!{a}" if dtype.kind == "b" else self.normalise(f"(~{a})", dtype, width)
        if kind in ("neg", "abs") and dtype.kind == "u":
            return a if kind == "abs" else self.normalise(f"({self.splat(0, dtype, width)} - {a})", dtype, width)
        text = f"(-{a})" if kind == "neg" else f"{kind}({a})"
        return self.normalise(text, dtype, width)

    def binary(self, kind: str, a: str, b: str, dtype: DType, width: int) -> str:
        if dtype.kind == "b":
            return f"({a} {_ON_BOOL[kind]} {b})"
        if kind in ("min", "max"):
            return f"select({a}, {b}, {b} < {a})" if kind == "min" else f"select({a}, {b}, {b} > {a})"
        if kind in ("shl", "shr"):
            count = f"({_splat('u32', '31u', width)} & {self.as_unsigned(b, width)})"
            text = f"({a} {_OPERATORS[kind]} {count})"
            return text if kind == "shr" else self.normalise(text, dtype, width)
        if kind in ("div", "rem") and b in ("0i", "0u"):  # an error in WGSL where the divisor is a constant
            return a if kind == "div" else self.splat(0, dtype, width)
        if kind == "rem" and dtype.is_float:
            return self.remainder(a, b, dtype, width)
        text = f"({a} {_OPERATORS[kind]} {b})"
        signed_division = kind == "div" and dtype.kind == "i"
        return text if kind in _CLOSED and not signed_division else self.normalise(text, dtype, width)

    def combine(self, how: str, a: str, b: str, dtype: DType) -> str:
        """One step of a reduction of scalars; max and min keep a NaN from either side. `b` is an identifier."""
        text = self.binary(how, a, b, dtype, 1)
        return f"select({text}, {b}, {self.is_nan(b, dtype, 1)})" if how in ("max", "min") and dtype.is_float else text

    def remainder(self, a: str, b: str, dtype: DType, width: int) -> str:
        """Exact, unlike WGSL's `%`, which multiplies a rounded quotient back."""
        self.declare("nan_bits", "var<private> nan_bits: u32 = 0x7fc00000u;")
        name = self.declare("remainder", _REMAINDER)
        lanes = [(a, b)] if width == 1 else [(f"{a}.{lane}", f"{b}.{lane}") for lane in "xyzw"[:width]]
        calls = [f"{name}(f32({x}), f32({y}))" for x, y in lanes]
        return calls[0] if width == 1 and dtype.bits == 32 else f"{self.type(dtype, width)}({', '.join(calls)})"

    def as_unsigned(self, text: str, width: int) -> str:
        return f"vec{width}<u32>({text})" if width > 1 else f"u32({text})"

    def compare(self, kind: str, a: str, b: str, operand: Val, same: bool) -> str:
        dtype, width = operand.dtype, operand.width
        if same and dtype.is_float:
            nan = self.is_nan(a, dtype, width)
            return f"({nan})" if kind == "ne" else _splat("bool", "false", width) if kind == "lt" else f"(!({nan}))"
        if dtype.kind == "b" and kind in ("lt", "le"):
            return f"(!{a} & {b})" if kind == "lt" else f"(!{a} | {b})"
        if kind == "ne" and dtype.is_float:  # naga makes `!=` the ordered comparison, which is false for NaN
            return f"(!({a} == {b}))"
        return f"({a} {_OPERATORS[kind]} {b})"

    def is_nan(self, a: str, dtype: DType, width: int) -> str:
        wide = a if dtype.bits == 32 else f"{vector('f32', width)}({a})"
        bits = f"bitcast<{vector('u32', width)}>({wide})"
        return f"({bits} & {_splat('u32', '0x7fffffffu', width)}) > {_splat('u32', '0x7f800000u', width)}"

    def normalise(self, text: str, dtype: DType, width: int) -> str:
        """Wrap a narrow integer, computed in 32 bits, at its own width."""
        if not _narrow(dtype):
            return text
        if dtype.kind == "u":
            return f"({text} & {_splat('u32', f'{(1 << dtype.bits) - 1}u', width)})"
        return f"extractBits({text}, 0u, {dtype.bits}u)"

    def convert(self, a: str, source: DType, target: DType, width: int) -> str:
        kind = self.type(target, width)
        if target.kind == "b":
            return f"(!({a} == {self.splat(0, source, width)}))"
        if source.kind == "b" or target.is_float:
            return f"{kind}({a})"
        if source.is_float:
            wide = a if source.bits == 32 else f"{vector('f32', width)}({a})"
            return f"{self.saturate(target, width)}({wide})"
        text = a if self.scalar(source) == self.scalar(target) else f"{kind}({a})"
        fits = _narrow(source) and (source.bits < target.bits and (source.kind == "u" or target.kind == "i"))
        return text if fits else self.normalise(text, target, width)

    def saturate(self, target: DType, width: int) -> str:
        """A function from f32 to an integer dtype that truncates, saturates, and gives 0 for NaN."""
        bits = 32 if target is INDEX else min(target.bits, 32)
        low, high = (0, (1 << bits) - 1) if target.kind == "u" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        kind, name = self.type(target, width), f"to_{target.kind}{bits}x{width}"
        below = high if bits < 32 else high & ~(0xFF if target.kind == "u" else 0x7F)  # the largest float32 in range
        floats = vector("f32", width)
        text = f"{kind}(clamp(x, {floats}({low}.0), {floats}({below}.0)))"
        if bits == 32:
            most = f"{high}u" if target.kind == "u" else f"{high}i"
            text = f"select({text}, {kind}({most}), x >= {floats}({float(high + 1)}))"
        nan = self.is_nan("x", dt.float32, width)
        return self.declare(name, f"fn {name}(x: {floats}) -> {kind} {{ return select({text}, {kind}(), {nan}); }}")

    def bitcast(self, a: str, source: DType, target: DType, width: int) -> str:
        if dt.float16 in (source, target):
            if width != 1:
                raise ValueError(f"kernel {self.kernel}: bitcast of float16 vectors")
            if target is dt.float16:
                return f"f16(unpack2x16float({self.as_unsigned(a, 1)} & 0xffffu).x)"
            bits = f"({self.declare('pack_halves', PACK_HALVES)}(vec2<f32>(f32({a}), 0.0)) & 0xffffu)"
            return bits if target.kind == "u" else f"extractBits(i32({bits}), 0u, 16u)"
        text = f"bitcast<{self.type(target, width)}>({a})"
        return self.normalise(text, target, width)

    def pack_bytes(self, a: str, dtype: DType) -> str:
        """Four bytes, each in a lane of its own, as one i32, the first in its lowest bits."""
        of = self.type(dtype, 4)
        low = f"(v & {of}({self.literal(255, dtype)})) << vec4<u32>(0u, 8u, 16u, 24u)"
        text = f"let w = bitcast<vec4<i32>>({low}); return w.x | w.y | w.z | w.w;"
        name = self.declare(f"pack_bytes_{dtype.kind}", f"fn pack_bytes_{dtype.kind}(v: {of}) -> i32 {{ {text} }}")
        return f"{name}({a})"

    def dot_bytes(self, a: str, b: str, width: int) -> str:
        """The products of the signed bytes in each lane of two i32, summed."""
        of = vector("i32", width)
        products = " + ".join(f"extractBits(a, {at}u, 8u) * extractBits(b, {at}u, 8u)" for at in (0, 8, 16, 24))
        text = f"fn dot_bytes_{width}(a: {of}, b: {of}) -> {of} {{ return {products}; }}"
        return f"{self.declare(f'dot_bytes_{width}', text)}({a}, {b})"

    def splat(self, value: float, dtype: DType, width: int) -> str:
        return _splat(self.scalar(dtype), self.literal(value, dtype), width)

    def literal(self, value: float, dtype: DType) -> str:
        """A constant; one outside of the 32 bits that 64-bit integers are carried in saturates."""
        kind = self.scalar(dtype)
        if kind == "bool":
            return "true" if value else "false"
        if kind in ("i32", "u32"):
            low, high = (0, 2**32 - 1) if kind == "u32" else (-(2**31), 2**31 - 1)
            value = min(max(int(value), low), high)
            if value == -(2**31):
                return "i32(-2147483648)"
            text = f"{value}{kind[0]}"
            return f"({text})" if value < 0 else text
        if kind == "f16":
            value = _round_to_half(value)
        if not math.isfinite(value):
            return self.not_finite(value, dtype)
        text = f"{float(value)!r}{'f' if kind == 'f32' else 'h'}"
        return f"({text})" if text.startswith("-") else text

    def not_finite(self, value: float, dtype: DType) -> str:
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        name = f"bits_{bits:x}"
        self.declare(name, f"var<private> {name}: u32 = 0x{bits:x}u;")
        text = f"bitcast<f32>({name})"
        return text if dtype.bits == 32 else f"f16({text})"
