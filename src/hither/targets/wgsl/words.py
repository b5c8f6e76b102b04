"""Several elements to a 32-bit word, which WGSL cannot address: from words to values, and from halves to words, as text."""

from __future__ import annotations

from collections.abc import Sequence

from ... import dtypes as dt
from ...dtypes import DType

LANES = "xyzw"

# What pack2x16float makes of numbers beyond the finite halves is open: those become infinities and NaNs bit by bit. Halves
# round to the nearest, so that infinity begins half a step above the largest, 65504; what lies between is clamped.
PACK_HALVES = """fn pack_halves(v: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(v);
  let magnitude = bits & vec2<u32>(0x7fffffffu);
  let packed = pack2x16float(clamp(v, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
  let beyond = select(vec2<u32>(0x7c00u), vec2<u32>(0x7e00u), magnitude > vec2<u32>(0x7f800000u));
  let other = ((bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u)) | beyond;
  let halves = select(vec2<u32>(packed & 0xffffu, packed >> 16u), other, magnitude >= vec2<u32>(0x477ff000u));
  return halves.x | (halves.y << 16u);
}"""


def element_of(dtype: DType, word: str, index: str) -> str:
    """The element number `index`, counted from any word's first, of an unsigned word."""
    if dtype is dt.float16:
        return f"unpack2x16float({word})[{index} & 1]"
    if dtype.kind == "i":
        word = f"bitcast<i32>({word})"
    return f"extractBits({word}, u32({index} & {32 // dtype.bits - 1}) * {dtype.bits}u, {dtype.bits}u)"


def elements_of(dtype: DType, words: Sequence[str], width: int) -> str:
    """A vector of all the elements of unsigned words."""
    bits = dtype.bits
    if dtype is dt.float16:
        halves = [f"unpack2x16float({word})" for word in words]
        return halves[0] if len(halves) == 1 else f"vec4<f32>({', '.join(halves)})"
    lanes = f"vec{width}<u32>({', '.join(word for word in words for _ in range(32 // bits))})"
    shifts = [bits * (lane % (32 // bits)) for lane in range(width)]
    if dtype.kind == "u":
        low = f"vec{width}<u32>({', '.join(f'{s}u' for s in shifts)})"
        return f"({lanes} >> {low}) & vec{width}<u32>({(1 << bits) - 1}u)"
    left = f"vec{width}<u32>({', '.join(f'{32 - bits - s}u' for s in shifts)})"
    return f"bitcast<vec{width}<i32>>({lanes} << {left}) >> vec{width}<u32>({32 - bits}u)"


def words_of_halves(value: str, count: int) -> list[str]:
    """The unsigned words of the first `count` lanes of a vector of floats, an even number, by PACK_HALVES."""
    return [f"pack_halves({value}.{LANES[i : i + 2]})" for i in range(0, count, 2)]
