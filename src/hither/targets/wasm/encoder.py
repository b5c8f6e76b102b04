"""The WebAssembly binary format: LEB128, the instructions hither uses, and sections put together into a module.

Nothing here knows kernels. Source: WebAssembly Core Specification 3.0, chapter 5 (binary format), with the threads proposal's
atomic instructions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

I32, I64, F32, F64, V128 = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B
TYPE_NAMES = {I32: "i32", I64: "i64", F32: "f32", F64: "f64", V128: "v128"}
MAX_PAGES = 65536  # 4 GiB, all that 32-bit addresses reach


def unsigned(value: int) -> bytes:
    """LEB128 of a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """LEB128 of a signed integer."""
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def signed_bits(value: int, bits: int) -> int:
    """The signed integer with the low `bits` bits of `value`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def name(text: str) -> bytes:
    """A string: length and UTF-8 bytes."""
    raw = text.encode()
    return unsigned(len(raw)) + raw


def vector(items: Sequence[bytes]) -> bytes:
    """The format's vector: a count, then the items."""
    return unsigned(len(items)) + b"".join(items)


def _table() -> dict[str, bytes]:
    """Instruction name to opcode bytes."""
    table: dict[str, bytes] = {}

    def plain(first: int, text: str) -> None:
        for i, op in enumerate(text.split()):
            table[op] = bytes([first + i])

    def prefixed(prefix: int, first: int, text: str) -> None:
        for i, op in enumerate(text.split()):
            table[op] = bytes([prefix]) + unsigned(first + i)

    def each(prefix: str, text: str) -> str:
        return " ".join(f"{prefix}.{op}" for op in text.split())

    plain(0x00, "unreachable nop block loop if else")
    plain(0x0B, "end br br_if br_table")
    plain(0x0F, "return call")
    plain(0x1A, "drop select")
    plain(0x20, "local.get local.set local.tee")
    plain(0x28, "i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u")
    plain(0x36, "i32.store i64.store f32.store f64.store i32.store8 i32.store16")
    plain(0x41, "i32.const i64.const f32.const f64.const")
    for first, t in ((0x45, "i32"), (0x50, "i64")):
        plain(first, each(t, "eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"))
    for first, t in ((0x5B, "f32"), (0x61, "f64")):
        plain(first, each(t, "eq ne lt gt le ge"))
    integer = "clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"
    for first, t in ((0x67, "i32"), (0x79, "i64")):
        plain(first, each(t, integer))
    real = "abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign"
    for first, t in ((0x8B, "f32"), (0x99, "f64")):
        plain(first, each(t, real))
    plain(0xA7, "i32.wrap_i64")
    plain(0xAC, "i64.extend_i32_s i64.extend_i32_u")
    plain(0xB2, "f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64")
    plain(0xB7, "f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32")
    plain(0xBC, "i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64")
    plain(0xC0, "i32.extend8_s i32.extend16_s")
    for i, t in enumerate(("i32", "i64")):
        prefixed(0xFC, 4 * i, each(t, "trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u"))
    prefixed(0xFC, 10, "memory.copy")

    def simd(first: int, text: str) -> None:
        prefixed(0xFD, first, text)

    simd(0, "v128.load v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u")
    simd(9, "v128.load32_splat")
    simd(11, "v128.store v128.const i8x16.shuffle")
    simd(17, "i32x4.splat")
    simd(19, "f32x4.splat")
    simd(27, "i32x4.extract_lane i32x4.replace_lane")
    simd(31, "f32x4.extract_lane f32x4.replace_lane")
    simd(55, each("i32x4", "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"))
    simd(65, each("f32x4", "eq ne lt gt le ge"))
    simd(77, "v128.not v128.and v128.andnot v128.or v128.xor v128.bitselect v128.any_true")
    simd(84, "v128.load8_lane v128.load16_lane v128.load32_lane v128.load64_lane")
    simd(88, "v128.store8_lane v128.store16_lane v128.store32_lane v128.store64_lane v128.load32_zero v128.load64_zero")
    simd(101, "i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest")
    simd(126, "i32x4.extadd_pairwise_i16x8_s")
    simd(133, "i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u")
    simd(135, " ".join(f"i16x8.extend_{half}_i8x16_{sign}" for sign in "su" for half in ("low", "high")))
    simd(160, "i32x4.abs i32x4.neg")
    simd(163, "i32x4.all_true")
    simd(167, "i32x4.extend_low_i16x8_s")
    simd(169, "i32x4.extend_low_i16x8_u")
    simd(171, "i32x4.shl i32x4.shr_s i32x4.shr_u i32x4.add")
    simd(177, "i32x4.sub")
    simd(181, "i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u")
    simd(186, "i32x4.dot_i16x8_s")
    simd(224, "f32x4.abs f32x4.neg")
    simd(227, each("f32x4", "sqrt add sub mul div min max pmin pmax"))
    simd(248, "i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u")
    simd(0x105, "f32x4.relaxed_madd")
    simd(0x112, "i16x8.relaxed_dot_i8x16_i7x16_s i32x4.relaxed_dot_i8x16_i7x16_add_s")
    simd(0x10B, "i32x4.relaxed_laneselect")

    prefixed(0xFE, 0x00, "memory.atomic.notify memory.atomic.wait32")
    prefixed(0xFE, 0x10, "i32.atomic.load")
    prefixed(0xFE, 0x17, "i32.atomic.store")
    prefixed(0xFE, 0x1E, "i32.atomic.rmw.add")
    return table


OPCODES = _table()
EMPTY_BLOCK = b"\x40"  # the type of a block that leaves nothing on the stack


def memarg(align: int, offset: int) -> bytes:
    """The immediate of a memory access: log2 of the alignment and a byte offset that is added to the address."""
    return unsigned(align) + unsigned(offset)


def constant(value_type: int, value: float | int) -> bytes:
    """The immediate of `<type>.const`."""
    match TYPE_NAMES[value_type]:
        case "i32":
            return signed(signed_bits(int(value), 32))
        case "i64":
            return signed(signed_bits(int(value), 64))
        case "f32":
            return struct.pack("<f", value)
        case "f64":
            return struct.pack("<d", value)
    raise ValueError(f"v128 constants are written as 16 bytes, not as {value!r}")


def assemble(text: str) -> bytes:
    """Bytes of hand-written instructions, one per line: `name [operand…]`, `;` begins a comment.

    Blocks take no type (they leave nothing on the stack); memory accesses take `align offset`.
    """
    out = []
    for line in text.splitlines():
        op, *operands = line.split(";")[0].split() or [""]
        if not op:
            continue
        out.append(OPCODES[op])
        if op in ("block", "loop", "if"):
            out.append(EMPTY_BLOCK)
        elif op.endswith(".const"):
            kind = {"i32": I32, "i64": I64, "f32": F32, "f64": F64}[op[:3]]
            out.append(constant(kind, float(operands[0]) if op[0] == "f" else int(operands[0], 0)))
        else:
            out += [unsigned(int(x)) for x in operands]
    return b"".join(out)


@dataclass(frozen=True)
class Function:
    """One function: its type, its further locals as (count, type) runs, and its instructions without the final end."""

    name: str
    params: tuple[int, ...]
    results: tuple[int, ...]
    locals: tuple[tuple[int, int], ...]
    code: bytes


@dataclass
class ModuleWriter:
    """Collects functions over one imported memory; `finish` gives the module's bytes."""

    memory: tuple[str, str]  # module and field it is imported from
    functions: list[Function] = field(default_factory=list)
    exports: list[tuple[str, int]] = field(default_factory=list)

    def add(self, function: Function, export: str | None = None) -> int:
        """Append a function; returns its index, which is what `call` names."""
        self.functions.append(function)
        index = len(self.functions) - 1
        if export is not None:
            self.exports.append((export, index))
        return index

    def finish(self, names: bool = False) -> tuple[bytes, int]:
        """The module, and the offset in it of the memory's limits flag: 0x01 as written; 0x03 makes the memory shared."""
        types: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        for f in self.functions:
            types.setdefault((f.params, f.results), len(types))
        type_items = [b"\x60" + vector([bytes([p]) for p in ps]) + vector([bytes([r]) for r in rs]) for ps, rs in types]
        module, field_name = self.memory
        limits = b"\x01" + unsigned(1) + unsigned(MAX_PAGES)
        memory = name(module) + name(field_name) + b"\x02" + limits
        out = bytearray(b"\0asm\1\0\0\0")
        out += _section(1, type_items)
        imports = _section(2, [memory])
        flag = len(out) + len(imports) - len(limits)
        out += imports
        out += _section(3, [unsigned(types[f.params, f.results]) for f in self.functions])
        out += _section(7, [name(text) + b"\0" + unsigned(index) for text, index in self.exports])
        out += _section(10, [_body(f) for f in self.functions])
        if names:
            entries = vector([unsigned(i) + name(f.name) for i, f in enumerate(self.functions)])
            out += _sized(0, name("name") + b"\1" + unsigned(len(entries)) + entries)
        return bytes(out), flag


def _body(function: Function) -> bytes:
    runs = vector([unsigned(count) + bytes([kind]) for count, kind in function.locals if count])
    code = runs + function.code + OPCODES["end"]
    return unsigned(len(code)) + code


def _section(number: int, items: Iterable[bytes]) -> bytes:
    return _sized(number, vector(list(items)))


def _sized(number: int, content: bytes) -> bytes:
    return bytes([number]) + unsigned(len(content)) + content
