"""Several elements to a 32-bit word, which WGSL cannot address: from words to values, and from halves to words, as text."""

from __future__ import annotations

from collections.abc import Sequence

from ... import dtypes as dt
from ...dtypes import DType

LANES = "xyzw"


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
    """The unsigned words of the first `count` lanes of a vector of floats, an even number."""
    return [f"pack2x16float({value}.{LANES[i : i + 2]})" for i in range(0, count, 2)]
