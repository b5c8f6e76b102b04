"""Loads and stores of kernel IR as WebAssembly instructions, and the arithmetic of their addresses.

An address is `buffer + Σ coefficient · value + constant`. What does not change in a loop is summed outside it, and the constant
goes into the instruction's own offset wherever the rest cannot be negative (the offset is added without wrapping).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import dtypes as dt
from ...dtypes import DType
from ...kernels.ir import INDEX, Buffer, Op, Val
from . import arith
from .encoder import TYPE_NAMES, V128, memarg
from .nodes import Node

if TYPE_CHECKING:
    from .lower import KernelLowering, Parts


# -- addresses -------------------------------------------------------------------------------------------------------


def is_non_negative(k: KernelLowering, v: Val) -> bool:
    """Whether an integer value is provably at least zero (index arithmetic inside a buffer does not wrap)."""
    op = v.op
    if v in k.non_negative:
        return True
    if op is None:
        return False
    match op.kind:
        case "const":
            known = op.attr >= 0
        case "thread" | "threads" | "lanes":
            known = True
        case "splat" | "extract" | "shr" | "div" | "rem":
            known = v.dtype.kind == "u" or is_non_negative(k, op.args[0])
            if op.kind == "div":
                known = known and is_non_negative(k, op.args[1])
        case "add" | "mul" | "min" | "or":
            known = v.dtype is INDEX and all(is_non_negative(k, a) for a in op.args)
        case "max" | "and":
            known = any(is_non_negative(k, a) for a in op.args)
        case "select":
            known = all(is_non_negative(k, a) for a in op.args[1:])
        case "shl":
            known = v.dtype is INDEX and is_non_negative(k, op.args[0])
        case "convert":
            source = op.args[0].dtype
            known = source is dt.bool_ or (source.kind == "u" and source.bits < 32) or is_non_negative(k, op.args[0])
            known = known and not source.is_float and source.bits <= 32
        case _:
            known = False
    if known:
        k.non_negative.add(v)
    return known


def _linear(k: KernelLowering, index: Val) -> tuple[dict[Val, int], int]:
    """A scalar INDEX as Σ coefficient · value + constant."""
    terms: dict[Val, int] = {}
    constant = 0

    def visit(v: Val, factor: int) -> None:
        nonlocal constant
        op = v.op
        if op is not None and v.dtype is INDEX:
            args = op.args
            left, right = (_literal(args[0]), _literal(args[1])) if len(args) == 2 else (None, None)
            if op.kind == "const":
                constant += factor * op.attr
                return
            if op.kind in ("add", "sub"):
                visit(args[0], factor)
                visit(args[1], factor if op.kind == "add" else -factor)
                return
            if op.kind == "mul" and right is not None:
                visit(args[0], factor * right)
                return
            if op.kind == "mul" and left is not None:
                visit(args[1], factor * left)
                return
            if op.kind == "shl" and right is not None:
                visit(args[0], factor << right)
                return
        terms[v] = terms.get(v, 0) + factor

    visit(index, 1)
    return {v: c for v, c in terms.items() if c}, constant


def _literal(v: Val) -> int | None:
    return int(v.op.attr) if v.op is not None and v.op.kind == "const" else None


def address(k: KernelLowering, buffer: Buffer, index: Val, size: int) -> tuple[Node, int]:
    """A node and a constant offset that together address element `index`, of `size` bytes, of a buffer."""
    terms, constant = _linear(k, index)
    base, offset = k.bases[buffer]
    total = offset + constant * size
    if total < 0 or not all(c > 0 and is_non_negative(k, v) for v, c in terms.items()):
        base, total = k.n.add(base, k.n.i32(total)), 0
    by_depth: dict[int, Node] = {}
    for v, c in terms.items():
        scaled = k.n.scale(k.env[v][0], c * size)
        depth = scaled.block.depth if scaled.block else 0
        by_depth[depth] = k.n.add(by_depth[depth], scaled) if depth in by_depth else scaled
    for depth in sorted(by_depth):
        base = k.n.add(base, by_depth[depth])
    return base, total


def _lane_addresses(k: KernelLowering, buffer: Buffer, indices: Val, size: int) -> list[tuple[Node, int]]:
    """The address of each lane of a gather or scatter."""
    n = k.n
    strided = _strided(indices)
    if strided is not None:
        scalar, stride = strided
        node, offset = address(k, buffer, scalar, size)
        if stride >= 0:
            return [(node, offset + lane * stride * size) for lane in range(indices.width)]
        return [(n.add(node, n.i32(lane * stride * size)), offset) for lane in range(indices.width)]
    base, offset = k.bases[buffer]
    base = n.add(base, n.i32(offset))
    found = []
    for part in k.env[indices]:
        if size > 1:
            part = n.pure("i32x4.shl", (part, n.i32(size.bit_length() - 1)), V128)
        found += [(n.add(base, arith.extract(n, part, lane, INDEX)), 0) for lane in range(4)]
    return found


def _strided(indices: Val) -> tuple[Val, int] | None:
    """(first index, stride) when the lanes are `splat(x) + stride · lanes`, as a strided or transposed view gives."""
    first: Val | None = None
    stride = 0

    def visit(v: Val, factor: int) -> bool:
        nonlocal first, stride
        op = v.op
        if op is None:
            return False
        if op.kind == "lanes":
            stride += factor
            return True
        if op.kind == "splat":
            if first is not None or factor != 1:
                return False
            first = op.args[0]
            return True
        if op.kind == "add":
            return visit(op.args[0], factor) and visit(op.args[1], factor)
        if op.kind == "mul":
            for a, b in (op.args, op.args[::-1]):
                if b.op is not None and b.op.kind == "splat" and b.op.args[0].op is not None:
                    literal = b.op.args[0].op
                    if literal.kind == "const":
                        return visit(a, factor * literal.attr)
        return False

    return (first, stride) if visit(indices, 1) and first is not None else None


# -- accesses --------------------------------------------------------------------------------------------------------


def _log2(size: int) -> int:
    return size.bit_length() - 1


def _suffix(dtype: DType) -> str:
    """Of a narrow scalar load: how many bits, extended how."""
    return f"{dtype.bits}_{'u' if dtype.kind == 'u' else 's'}"


def _load_scalar(k: KernelLowering, dtype: DType, where: tuple[Node, int]) -> Node:
    node, offset = where
    kind = arith.value_type(dtype)
    suffix = _suffix(dtype) if dtype.bits < 32 else ""
    return k.n.load(f"{TYPE_NAMES[kind]}.load{suffix}", (node,), kind, memarg(_log2(dtype.itemsize), offset))


def load(k: KernelLowering, op: Op, result: Val) -> Parts:
    """`width` contiguous elements."""
    n, dtype = k.n, result.dtype
    node, offset = where = address(k, op.attr, op.args[0], dtype.itemsize)
    if result.width == 1:
        if result in k.splat_only:
            return (n.load("v128.load32_splat", (node,), V128, memarg(2, offset)),)
        return (_load_scalar(k, dtype, where),)
    parts = []
    for p in range(0, result.width, 4):
        at = memarg(_log2(dtype.itemsize), offset + p * dtype.itemsize)
        match dtype.bits:
            case 32:
                part = n.load("v128.load", (node,), V128, at)
            case 16:
                part = n.load(f"v128.load16x4_{_suffix(dtype)[-1]}", (node,), V128, at)
            case _:
                sign = _suffix(dtype)[-1]
                part = n.load("v128.load32_zero", (node,), V128, at)
                part = n.pure(f"i16x8.extend_low_i8x16_{sign}", (part,), V128)
                part = n.pure(f"i32x4.extend_low_i16x8_{sign}", (part,), V128)
        parts.append(part)
    return tuple(parts)


def word(k: KernelLowering, op: Op, result: Val) -> Parts:
    """Narrow elements as int32s, from any of them on."""
    size = op.attr.dtype.itemsize
    node, offset = address(k, op.attr, op.args[0], size)
    if result.width > 1:
        parts = range(offset, offset + 4 * result.width, 16)
        return tuple(k.n.load("v128.load", (node,), V128, memarg(_log2(size), at)) for at in parts)
    if result in k.splat_only:
        return (k.n.load("v128.load32_splat", (node,), V128, memarg(_log2(size), offset)),)
    return (k.n.load("i32.load", (node,), arith.value_type(dt.int32), memarg(_log2(size), offset)),)


def gather(k: KernelLowering, op: Op, result: Val) -> Parts:
    """One element per lane."""
    n, dtype = k.n, result.dtype
    where = _lane_addresses(k, op.attr, op.args[0], dtype.itemsize)
    parts = []
    for p in range(0, result.width, 4):
        lanes = where[p : p + 4]
        if dtype.bits < 32:
            parts.append(arith.pack(n, [_load_scalar(k, dtype, lane) for lane in lanes], dtype))
            continue
        (node, offset), *rest = lanes
        part = n.load("v128.load32_zero", (node,), V128, memarg(2, offset))
        for i, (node, offset) in enumerate(rest, 1):
            part = n.load("v128.load32_lane", (node, part), V128, memarg(2, offset) + bytes([i]))
        parts.append(part)
    return tuple(parts)


def _narrowed(k: KernelLowering, part: Node, dtype: DType) -> Node:
    """The lanes of one part side by side in the low bytes of a vector, saturated; most values are in range anyway."""
    if dtype.bits == 32:
        return part
    if dtype.bits == 16:
        return k.n.pure(f"i16x8.narrow_i32x4_{_suffix(dtype)[-1]}", (part, part), V128)
    half = k.n.pure("i16x8.narrow_i32x4_s", (part, part), V128)
    return k.n.pure(f"i8x16.narrow_i16x8_{_suffix(dtype)[-1]}", (half, half), V128)


def _saturated(value: Val) -> Val:
    """What a vector of int16 is, but for its being limited to that first: narrowing it does so."""
    op = value.op
    if op is None or op.kind != "convert" or value.dtype is not dt.int16 or op.args[0].dtype is not dt.int32:
        return value
    inner = op.args[0]
    for kind, limit in (("max", -0x8000), ("min", 0x7FFF)):
        bound = inner.op.args[1].op if inner.op is not None and inner.op.kind == kind else None
        known = bound.args[0].op if bound is not None and bound.kind == "splat" else bound
        if inner.op is None or known is None or known.kind != "const" or known.attr != limit:
            return value
        inner = inner.op.args[0]
    return inner


def store(k: KernelLowering, op: Op) -> None:
    """The first `count` lanes, contiguously."""
    n = k.n
    index, value = op.args
    buffer, count = op.attr
    dtype = value.dtype
    size = dtype.itemsize
    node, offset = address(k, buffer, index, size)
    align = _log2(size)
    if value.width == 1:
        kind = arith.value_type(dtype)
        suffix = str(dtype.bits) if dtype.bits < 32 else ""
        n.store(f"{TYPE_NAMES[kind]}.store{suffix}", (node, k.env[value][0]), memarg(align, offset))
        return
    for p, part in zip(range(0, count, 4), k.env[_saturated(value)], strict=False):
        narrow = _narrowed(k, part, dtype)
        lane, left = 0, min(4, count - p)
        while left:
            # the largest power of two of lanes that is left, as one store of 8 to 128 bits
            group = 4 if left == 4 else 2 if left >= 2 else 1
            bits = group * dtype.bits
            at = memarg(align, offset + (p + lane) * size)
            if bits == 128:
                n.store("v128.store", (node, narrow), at)
            else:
                n.store(f"v128.store{bits}_lane", (node, narrow), at + bytes([lane // group]))
            lane, left = lane + group, left - group


def scatter(k: KernelLowering, op: Op) -> None:
    """Each lane at its own index, in order."""
    indices, value = op.args
    dtype = value.dtype
    where = _lane_addresses(k, op.attr, indices, dtype.itemsize)
    for i, (node, offset) in enumerate(where):
        narrow = _narrowed(k, k.env[value][i // 4], dtype)
        at = memarg(_log2(dtype.itemsize), offset)
        k.n.store(f"v128.store{dtype.bits}_lane", (node, narrow), at + bytes([i % 4]))
