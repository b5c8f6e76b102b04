"""Arithmetic, comparison and conversion of kernel IR, as WebAssembly instructions on one scalar or one v128.

See lower.py for how values are held. Every function that can leave a narrow integer outside its range normalises it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ... import dtypes as dt
from ...dtypes import DType
from ...kernels.ir import INDEX
from .encoder import F32, F64, I32, I64, TYPE_NAMES, V128
from .nodes import Node, NodeBuilder


def value_type(dtype: DType) -> int:
    """The WebAssembly type of a scalar of this dtype."""
    if dtype is INDEX or dtype is dt.bool_:
        return I32
    if dtype.kind in "iu":
        return I64 if dtype.bits == 64 else I32
    return F64 if dtype is dt.float64 else F32


def _scalar(n: NodeBuilder, dtype: DType, op: str, *args: Node, result: int | None = None) -> Node:
    kind = value_type(dtype)
    return n.pure(f"{TYPE_NAMES[kind]}.{op}", args, result or kind)


def _vector(n: NodeBuilder, dtype: DType, op: str, *args: Node) -> Node:
    return n.pure(f"{'f32x4' if dtype.is_float else 'i32x4'}.{op}", args, V128)


def _sign(dtype: DType) -> str:
    return "u" if dtype.kind in "ub" else "s"


def vector_constant(n: NodeBuilder, lanes: Sequence[float | int], dtype: DType) -> Node:
    """Four lanes known at compile time."""
    if dtype.is_float:
        return n.v128(struct.pack("<4f", *lanes))
    return n.v128(struct.pack("<4I", *(int(x) & 0xFFFFFFFF for x in lanes)))


def splat(n: NodeBuilder, a: Node, dtype: DType) -> Node:
    """A scalar in all four lanes; a predicate becomes a mask."""
    if a.is_constant:
        value = -int(a.value) if dtype is dt.bool_ else a.value  # type: ignore[arg-type]
        if dtype.is_float:
            return n.v128(a.immediate * 4)  # the very bits, whatever NaN they are
        return vector_constant(n, [value] * 4, dtype)  # type: ignore[list-item]
    if dtype is dt.bool_:
        a = n.pure("i32.sub", (n.i32(0), a), I32)
    return _vector(n, dtype, "splat", a)


def dot(n: NodeBuilder, a: Node, b: Node, c: Node, relaxed: bool, apart: bool = False) -> Node:
    """c + the products of a's unsigned and b's signed bytes, summed by lane of 32 bits. The relaxed operation is exact where
    a's are at most 127, as is each of those that it is made of (`apart`); else by way of 16 bits, two products at a time."""
    if relaxed and apart:
        pairs = n.pure("i16x8.relaxed_dot_i8x16_i7x16_s", (b, a), V128)
        sums = n.pure("i32x4.dot_i16x8_s", (pairs, n.v128(struct.pack("<8h", *(1,) * 8))), V128)
        return n.pure("i32x4.add", (c, sums), V128)
    if relaxed:
        return n.pure("i32x4.relaxed_dot_i8x16_i7x16_add_s", (b, a, c), V128)
    halves = []
    for half in ("low", "high"):
        wide = [n.pure(f"i16x8.extend_{half}_i8x16_{sign}", (v,), V128) for v, sign in ((a, "u"), (b, "s"))]
        halves.append(n.pure("i32x4.dot_i16x8_s", tuple(wide), V128))
    for first in (0, 1):
        lanes = bytes(4 * lane + byte for lane in (first, first + 2, first + 4, first + 6) for byte in range(4))
        c = n.pure("i32x4.add", (c, n.pure("i8x16.shuffle", tuple(halves), V128, lanes)), V128)
    return c


def dot_pairs(n: NodeBuilder, a: Node, b: Node, c: Node) -> Node:
    """c + the products of a's and b's 16-bit numbers, summed by lane of 32 bits."""
    return n.pure("i32x4.add", (c, n.pure("i32x4.dot_i16x8_s", (a, b), V128)), V128)


def lower_halves(n: NodeBuilder, a: Node, power: int) -> Node:
    """The lower 16 bits of each lane, with their sign, times 2^power (at most 14): one operation where shifts are two."""
    return n.pure("i32x4.dot_i16x8_s", (a, n.v128(struct.pack("<8h", *(1 << power, 0) * 4))), V128)


def pack(n: NodeBuilder, lanes: Sequence[Node], dtype: DType) -> Node:
    """Four scalars as one vector."""
    if all(x.is_constant for x in lanes) and not dtype.is_float:
        factor = -1 if dtype is dt.bool_ else 1
        return vector_constant(n, [factor * int(x.value) for x in lanes], dtype)  # type: ignore[arg-type]
    shape = "f32x4" if dtype.is_float else "i32x4"
    result = n.pure(f"{shape}.splat", (lanes[0],), V128)
    for i, lane in enumerate(lanes[1:], 1):
        if lane is not lanes[0]:
            result = n.pure(f"{shape}.replace_lane", (result, lane), V128, bytes([i]))
    return n.pure("i32x4.neg", (result,), V128) if dtype is dt.bool_ else result


def extract(n: NodeBuilder, a: Node, lane: int, dtype: DType) -> Node:
    """One lane as a scalar."""
    shape, kind = ("f32x4", F32) if dtype.is_float else ("i32x4", I32)
    result = n.pure(f"{shape}.extract_lane", (a,), kind, bytes([lane]))
    return n.pure("i32.and", (result, n.i32(1)), I32) if dtype is dt.bool_ else result


def normalise(n: NodeBuilder, a: Node, dtype: DType, vector: bool) -> Node:
    """Wrap an integer held in 32 bits into a narrow dtype's range."""
    if dtype is INDEX or dtype.kind not in "iu" or dtype.bits >= 32:
        return a
    if dtype.kind == "u":
        mask = (1 << dtype.bits) - 1
        if vector:
            return n.pure("v128.and", (a, vector_constant(n, [mask] * 4, dtype)), V128)
        return n.pure("i32.and", (a, n.i32(mask)), I32)
    if not vector:
        return n.pure(f"i32.extend{dtype.bits}_s", (a,), I32)
    count = n.i32(32 - dtype.bits)
    return n.pure("i32x4.shr_s", (n.pure("i32x4.shl", (a, count), V128), count), V128)


def unary(n: NodeBuilder, kind: str, a: Node, dtype: DType, vector: bool) -> Node:
    """neg, abs, not and the roundings."""
    if kind == "not":
        if dtype is dt.bool_ and not vector:
            return n.pure("i32.eqz", (a,), I32)
        if vector:
            return normalise(n, n.pure("v128.not", (a,), V128), dtype, True)
        return normalise(n, _scalar(n, dtype, "xor", a, n.constant(value_type(dtype), -1)), dtype, False)
    if dtype.is_float:
        op = {"round": "nearest"}.get(kind, kind)
        return _vector(n, dtype, op, a) if vector else _scalar(n, dtype, op, a)
    if kind == "neg":
        if vector:
            return normalise(n, n.pure("i32x4.neg", (a,), V128), dtype, True)
        return normalise(n, _scalar(n, dtype, "sub", n.constant(value_type(dtype), 0), a), dtype, False)
    if kind == "abs" and dtype.kind == "i":
        if vector:
            return normalise(n, n.pure("i32x4.abs", (a,), V128), dtype, True)
        kind_ = value_type(dtype)
        sign = _scalar(n, dtype, "shr_s", a, n.constant(kind_, 63 if kind_ == I64 else 31))
        return normalise(n, _scalar(n, dtype, "sub", _scalar(n, dtype, "xor", a, sign), sign), dtype, False)
    return a  # an integer is its own floor, ceil, trunc and round; an unsigned one its own abs


_PREDICATE = {"add": "or", "max": "or", "mul": "and", "min": "and"}


def binary(n: NodeBuilder, kind: str, a: Node, b: Node, dtype: DType, vector: bool) -> Node:
    """Arithmetic and logic. Vector integer division and shifts by differing counts have no instruction: see lower.py."""
    if dtype is dt.bool_:
        kind = _PREDICATE.get(kind, kind)
    if kind in ("and", "or", "xor"):
        return n.pure(f"v128.{kind}", (a, b), V128) if vector else _scalar(n, dtype, kind, a, b)
    if kind in ("min", "max"):
        return _extremum(n, kind, a, b, dtype, vector)
    if dtype.is_float:
        return _vector(n, dtype, kind, a, b) if vector else _scalar(n, dtype, kind, a, b)
    if not vector and kind in ("div", "rem"):
        return _divide(n, kind, a, b, dtype)
    if not vector and value_type(dtype) == I32:
        if kind == "add":
            return normalise(n, n.add(a, b), dtype, False)
        if kind == "mul" and (a.is_constant or b.is_constant):
            a, b = (b, a) if a.is_constant else (a, b)
            return normalise(n, n.scale(a, int(b.value)), dtype, False)  # type: ignore[arg-type]
    op = {"shr": f"shr_{_sign(dtype)}"}.get(kind, kind)
    result = _vector(n, dtype, op, a, b) if vector else _scalar(n, dtype, op, a, b)
    return normalise(n, result, dtype, vector)


def shift_vector(n: NodeBuilder, kind: str, a: Node, count: Node, dtype: DType) -> Node:
    """All lanes shifted by one scalar count."""
    op = "shl" if kind == "shl" else f"shr_{_sign(dtype)}"
    return normalise(n, n.pure(f"i32x4.{op}", (a, count), V128), dtype, True)


def _extremum(n: NodeBuilder, kind: str, a: Node, b: Node, dtype: DType, vector: bool) -> Node:
    """min is `b < a ? b : a`, max is `b > a ? b : a`; pmin and pmax are defined just so."""
    if vector:
        return _vector(n, dtype, f"p{kind}" if dtype.is_float else f"{kind}_{_sign(dtype)}", a, b)
    op = "lt" if kind == "min" else "gt"
    less = _scalar(n, dtype, op if dtype.is_float else f"{op}_{_sign(dtype)}", b, a, result=I32)
    return n.pure("select", (b, a, less), value_type(dtype))


def _divide(n: NodeBuilder, kind: str, a: Node, b: Node, dtype: DType) -> Node:
    """Integer division that cannot trap: by zero it gives the dividend (remainder 0), and INT_MIN / -1 wraps."""
    kind_ = value_type(dtype)
    sign = _sign(dtype)
    wide = dtype is INDEX or dtype.bits >= 32
    prefix = TYPE_NAMES[kind_]
    one = n.constant(kind_, 1)

    def only(op: str, *args: Node) -> Node:
        return n.pure(f"{prefix}.{op}", args, kind_)

    if b.is_constant:
        if b.value == 0:
            return a if kind == "div" else n.constant(kind_, 0)
        if b.value == -1 and sign == "s":
            negated = only("sub", n.constant(kind_, 0), a)
            return normalise(n, negated, dtype, False) if kind == "div" else n.constant(kind_, 0)
        return normalise(n, only(f"{kind}_{sign}", a, b), dtype, False)
    if kind == "div" and sign == "s" and wide:  # both 0 and -1 would trap: b + 1 is 1 or 0, unsigned
        trapping = n.pure(f"{prefix}.le_u", (only("add", b, one), one), I32)
        quotient = only("div_s", a, n.pure("select", (one, b, trapping), kind_))
        minus_one = n.pure(f"{prefix}.eq", (b, n.constant(kind_, -1)), I32)
        return n.pure("select", (only("sub", n.constant(kind_, 0), a), quotient, minus_one), kind_)
    zero = n.pure(f"{prefix}.eqz", (b,), I32)
    divisor = only("or", b, n.pure("i64.extend_i32_u", (zero,), I64) if kind_ == I64 else zero)
    return normalise(n, only(f"{kind}_{sign}", a, divisor), dtype, False)


def divide_by_power(n: NodeBuilder, kind: str, a: Node, power: int, dtype: DType) -> Node:
    """Quotient or remainder of a non-negative integer by a power of two."""
    kind_ = value_type(dtype)
    if kind == "rem":
        return _scalar(n, dtype, "and", a, n.constant(kind_, power - 1))
    return _scalar(n, dtype, "shr_u", a, n.constant(kind_, power.bit_length() - 1))


def compare(n: NodeBuilder, kind: str, a: Node, b: Node, dtype: DType, vector: bool) -> Node:
    """eq, ne, lt, le. Masks compare as unsigned numbers: 0 before all ones."""
    op = kind if dtype.is_float or kind in ("eq", "ne") else f"{kind}_{_sign(dtype)}"
    return _vector(n, dtype, op, a, b) if vector else _scalar(n, dtype, op, a, b, result=I32)


def convert(n: NodeBuilder, a: Node, source: DType, target: DType, vector: bool) -> Node:
    """To another dtype, by the rules in kernels/ir.py."""
    if target is dt.bool_:
        zero = vector_constant(n, [0] * 4, source) if vector else n.constant(value_type(source), 0)
        return a if source is dt.bool_ else compare(n, "ne", a, zero, source, vector)
    if vector:
        return _convert_vector(n, a, source, target)
    to, of = value_type(target), value_type(source)
    sign = _sign(source)
    if target.is_float:
        if source.is_float:
            if to == of:
                return a
            return n.pure("f64.promote_f32" if to == F64 else "f32.demote_f64", (a,), to)
        return n.pure(f"{TYPE_NAMES[to]}.convert_{TYPE_NAMES[of]}_{sign}", (a,), to)
    if source.is_float:
        result = n.pure(f"{TYPE_NAMES[to]}.trunc_sat_{TYPE_NAMES[of]}_{_sign(target)}", (a,), to)
        if target is not INDEX and target.bits < 32:
            low, high = _range(target)
            result = binary(n, "min", result, n.i32(high), dt.int32 if target.kind == "i" else dt.uint32, False)
            if target.kind == "i":
                result = binary(n, "max", result, n.i32(low), dt.int32, False)
        return result
    if to == I64:
        return a if of == I64 else n.pure(f"i64.extend_i32_{sign}", (a,), I64)
    if of == I64:
        return normalise(n, n.pure("i32.wrap_i64", (a,), I32), target, False)
    return a if _fits(source, target) else normalise(n, a, target, False)


def _convert_vector(n: NodeBuilder, a: Node, source: DType, target: DType) -> Node:
    if target.is_float:
        if source.is_float:
            return a
        if source is dt.bool_:
            return n.pure("v128.and", (a, vector_constant(n, [1.0] * 4, target)), V128)
        # narrow integers are held as int32, and converting that is one instruction where uint32 takes several
        sign = "u" if source is dt.uint32 else "s"
        return n.pure(f"f32x4.convert_i32x4_{sign}", (a,), V128)
    if source is dt.bool_:
        return n.pure("i32x4.neg", (a,), V128)
    if source.is_float:
        sign = "u" if target is dt.uint32 else "s"
        result = n.pure(f"i32x4.trunc_sat_f32x4_{sign}", (a,), V128)
        if target is not INDEX and target.bits < 32:
            low, high = _range(target)
            result = n.pure("i32x4.min_s", (result, vector_constant(n, [high] * 4, dt.int32)), V128)
            result = n.pure("i32x4.max_s", (result, vector_constant(n, [low] * 4, dt.int32)), V128)
        return result
    return a if _fits(source, target) else normalise(n, a, target, True)


def _range(dtype: DType) -> tuple[int, int]:
    if dtype.kind == "u":
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1


def _fits(source: DType, target: DType) -> bool:
    """Whether an i32 that holds a `source` is already a proper `target`."""
    if source is dt.bool_ or target is INDEX or target.bits >= 32:
        return True
    if source is INDEX or source.bits >= 32:
        return False
    (a, b), (low, high) = _range(source), _range(target)
    return low <= a and b <= high


_SWAP_HALVES = bytes([*range(8, 16), *range(8)])
_SWAP_PAIRS = bytes([4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11])


def reduce(n: NodeBuilder, how: str, parts: Sequence[Node], dtype: DType) -> Node:
    """All lanes of all parts combined, as a balanced tree."""
    level = list(parts)
    while len(level) > 1:
        rest = level[len(level) // 2 * 2 :]
        level = [binary(n, how, a, b, dtype, True) for a, b in zip(level[::2], level[1::2])] + rest
    if dtype is dt.bool_:
        return n.pure("i32x4.all_true" if _PREDICATE[how] == "and" else "v128.any_true", (level[0],), I32)
    total = level[0]
    for lanes in (_SWAP_HALVES, _SWAP_PAIRS):
        total = binary(n, how, total, n.pure("i8x16.shuffle", (total, total), V128, lanes), dtype, True)
    return extract(n, total, 0, dtype)
