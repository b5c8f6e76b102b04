"""Kernel IR → WGSL text.

Every kernel variant of a Plan (see bindings.py) becomes a module of its own with the one entry point ENTRY: browsers translate
a whole module for each pipeline made from it (60 pipelines: 0.6–0.9 s apart, 2.2–2.5 s together). `print_module` joins the
modules into one file with separator lines, at which a loader splits them again.

What the machine makes different from the other targets:

* Values narrower than 32 bits are computed in 32 and normalised after each operation that can leave their range; 64-bit
  integers are carried in 32 (constants saturate: they are sentinels such as the least int64).
* WGSL lets an implementation assume that no NaN or infinity occurs, and makes errors of constants that overflow: such
  constants are read from a private variable, tests for NaN are made on bits, and an operation whose operands are all
  constants reads one of them from a `let`, which is not a constant expression.
* A parallel loop becomes the global invocation id, guarded. Stores outside of parallel loops are left to invocation 0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ... import dtypes as dt
from ...dtypes import DType
from ...kernels.ir import BINARY, COMPARE, INDEX, UNARY, Block, Buffer, Machine, Op, Val
from .plan import Plan, Variant, element, packed, workgroups

ENTRY = "main"
SEPARATOR = "//---- kernel "
_EFFECTS = {"store", "scatter", "atomic", "barrier"}
_AXES = "xyz"
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


def print_module(plan: Plan, machine: Machine) -> str:
    """The module of every variant of a Plan, each after a line of SEPARATOR and its number."""
    return "".join(f"{SEPARATOR}{i}\n{text}" for i, text in enumerate(print_variants(plan, machine)))


def print_variants(plan: Plan, machine: Machine) -> list[str]:
    """One WGSL module per variant of a Plan.

    Raises:
        TypeError: a kernel computes in a dtype that WebGPU does not have; names both.
        ValueError: a kernel is not one for a GPU.
    """
    return [_Printer(plan, v, machine).print() for v in plan.variants]


def _scalar(dtype: DType, kernel: str, float16: bool) -> str:
    """The WGSL type values of this dtype are computed in."""
    if dtype is INDEX:
        return "i32"
    match dtype.kind:
        case "b":
            return "bool"
        case "i":
            return "i32"
        case "u":
            return "u32"
        case "f" if dtype.bits == 32 or (dtype.bits == 16 and float16):
            return f"f{dtype.bits}"
    raise TypeError(
        f"kernel {kernel} computes in {dtype}, which this WebGPU device does not have; cast to float32, or use the CPU"
    )


def _narrow(dtype: DType) -> bool:
    return dtype.is_integer and dtype.bits < 32 and dtype is not INDEX


def _splat(scalar: str, text: str, width: int) -> str:
    return text if width == 1 else f"vec{width}<{scalar}>({text})"


class _Printer:
    """Prints one variant; `names` maps values to the identifier or literal that stands for them."""

    def __init__(self, plan: Plan, variant: Variant, machine: Machine) -> None:
        self.kernel, self.variant, self.machine, self.limits = plan.kernels[variant.kernel], variant, machine, plan.limits
        self.names: dict[Val, str] = {}
        self.lines: list[str] = []
        self.globals: dict[str, str] = {}
        self.builtins: dict[str, str] = {}
        self.depth = 1
        self.count = 0
        kernel = self.kernel
        self.binding = [sum(g.pieces for g in variant.groups[:i]) for i in range(len(variant.groups))]
        self.scratch = {b: f"s{i}" for i, b in enumerate(kernel.scratch)}
        self.global_index = {b: i for i, b in enumerate(kernel.buffers)}
        self.atomic_scratch = {op.attr[0] for op in kernel.walk() if op.kind == "atomic"} & set(kernel.scratch)
        self.used = {a for op in kernel.walk() for a in (*op.args, *(y for b in op.blocks for y in b.yields))}

    # -- the module --------------------------------------------------------------------------------------------------

    def print(self) -> str:
        kernel = self.kernel
        for number, group in zip(self.binding, self.variant.groups):
            kind = f"atomic<{group.element}>" if group.atomic else group.element
            for piece in range(group.pieces):
                declared = f"b{number + piece}"
                where = f"@group(0) @binding({number + piece}) var<storage, {group.access}>"
                self.globals[declared] = f"{where} {declared}: array<{kind}>;"
        for b in kernel.scratch:
            if b.space == "workgroup":
                self.globals[self.scratch[b]] = f"var<workgroup> {self.scratch[b]}: {self.array_type(b)};"
            else:
                self.line(f"var {self.scratch[b]}: {self.array_type(b)};")
        if kernel.grid is None:
            self.parallel_body()
        else:
            if any(op.kind == "loop" and op.attr.kind == "parallel" for op in kernel.walk()):
                raise ValueError(f"kernel {kernel.name} has both a grid and a parallel loop")
            self.block(kernel.body)
        size = kernel.workgroup if kernel.grid is not None or self.is_parallel() else (1, 1, 1)
        params = ", ".join(f"@builtin({name}) {name}: {kind}" for name, kind in self.builtins.items())
        head = ["enable f16;"] if self.uses_half() else []
        entry = [f"@compute @workgroup_size({', '.join(map(str, size))})", f"fn {ENTRY}({params}) {{", *self.lines, "}", ""]
        return "\n".join([*head, *self.globals.values(), *entry])

    def uses_half(self) -> bool:
        halves = (b.dtype is dt.float16 for b in (*self.kernel.buffers, *self.kernel.scratch))
        return self.machine.float16 and (
            any(halves) or any(r.dtype is dt.float16 for op in self.kernel.walk() for r in op.results)
        )

    def array_type(self, b: Buffer) -> str:
        kind = self.scalar(self.held(b))
        return f"array<{f'atomic<{kind}>' if b in self.atomic_scratch else kind}, {max(b.size, 1)}>"

    def held(self, b: Buffer) -> DType:
        """The dtype a load gives: halves that the machine lacks are loaded as their bits."""
        return dt.uint16 if b.dtype is dt.float16 and not self.machine.float16 else b.dtype

    def scalar(self, dtype: DType) -> str:
        return _scalar(dtype, self.kernel.name, self.machine.float16)

    def type(self, dtype: DType, width: int) -> str:
        if width > 4:
            raise ValueError(f"kernel {self.kernel.name} has a vector of {width} lanes; WGSL has at most 4")
        return self.scalar(dtype) if width == 1 else f"vec{width}<{self.scalar(dtype)}>"

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def fresh(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def declare(self, name: str, text: str) -> str:
        self.globals.setdefault(name, text)
        return name

    # -- control -----------------------------------------------------------------------------------------------------

    def is_parallel(self) -> bool:
        return any(op.kind == "loop" and op.attr.kind == "parallel" for op in self.kernel.body.ops)

    def parallel_body(self) -> None:
        """The body of a kernel without a grid: parallel loops over the invocations, the rest as its effects allow."""
        parallel = self.is_parallel()
        if parallel:
            columns = workgroups(self.kernel, self.limits)[0] * math.prod(self.kernel.workgroup)
            self.builtins["global_invocation_id"] = "vec3<u32>"
            if math.prod(self.kernel.workgroup) != self.kernel.workgroup[0]:
                raise ValueError(f"kernel {self.kernel.name}: parallel loops take a one-dimensional workgroup")
            self.line(f"let invocation = i32(global_invocation_id.x + global_invocation_id.y * {columns}u);")
        for op in self.kernel.body.ops:
            if op.kind == "loop" and op.attr.kind == "parallel":
                self.parallel_loop(op)
            elif parallel and _has_effects(op):
                if op.results:
                    raise ValueError(
                        f"kernel {self.kernel.name}: {op.kind} beside parallel loops both stores and gives a value"
                    )
                self.line("if (invocation == 0) {")
                self.nested(Block((), [op]))
                self.line("}")
            else:
                self.op(op)

    def parallel_loop(self, op: Op) -> None:
        if op.results:
            raise ValueError(f"kernel {self.kernel.name}: a parallel loop cannot carry values")
        start, stop = (a.op.attr if a.op is not None and a.op.kind == "const" else None for a in op.args)
        if start is None or stop is None:
            raise ValueError(f"kernel {self.kernel.name}: the bounds of a parallel loop are constants")
        extent = max(0, -(-(stop - start) // op.attr.step))
        body = op.blocks[0]
        scaled = "invocation" if op.attr.step == 1 else f"invocation * {op.attr.step}"
        index = self.fresh("i")
        self.line(f"if (invocation < {extent}) {{")
        self.depth += 1
        self.line(f"let {index} = {scaled if start == 0 else f'{start} + {scaled}'};")
        self.depth -= 1
        self.names[body.params[0]] = index
        self.nested(body)
        self.line("}")

    def nested(self, block: Block, targets: Sequence[str] = ()) -> None:
        self.depth += 1
        self.block(block)
        for target, value in zip(targets, block.yields, strict=True):
            self.line(f"{target} = {self.name(value)};")
        self.depth -= 1

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.op(op)

    def loop(self, op: Op) -> None:
        if op.attr.kind == "parallel":
            raise ValueError(f"kernel {self.kernel.name}: a parallel loop stands inside another operation")
        body, step = op.blocks[0], op.attr.step
        carried = []
        for value, result in zip(op.args[2:], op.results):
            carried.append(self.fresh("c"))
            self.line(f"var {carried[-1]}: {self.type(result.dtype, result.width)} = {self.name(value)};")
            self.names[result] = carried[-1]
        index = self.fresh("i")
        start, stop = self.name(op.args[0]), self.name(op.args[1])
        test, advance = ("<", f"+= {step}") if step > 0 else (">", f"-= {-step}")
        self.line(f"for (var {index}: i32 = {start}; {index} {test} {stop}; {index} {advance}) {{")
        self.names[body.params[0]] = index
        self.depth += 1
        for param, variable in zip(body.params[1:], carried):
            if param in self.used:  # copied, so that the assignments at the end cannot see each other
                self.names[param] = self.fresh("v")
                self.line(f"let {self.names[param]} = {variable};")
        self.depth -= 1
        self.nested(body, carried)
        self.line("}")

    def if_(self, op: Op) -> None:
        results = [self.fresh("r") for _ in op.results]
        for name, value in zip(results, op.results):
            self.line(f"var {name}: {self.type(value.dtype, value.width)};")
            self.names[value] = name
        then, otherwise = op.blocks
        self.line(f"if ({self.name(op.args[0])}) {{")
        self.nested(then, results)
        if otherwise.ops or otherwise.yields:
            self.line("} else {")
            self.nested(otherwise, results)
        self.line("}")

    # -- operations --------------------------------------------------------------------------------------------------

    def name(self, value: Val) -> str:
        if value.op is not None and value.op.kind == "const":
            return self.literal(value.op.attr, value.dtype)
        return self.names[value]

    def op(self, op: Op) -> None:
        match op.kind:
            case "const":
                return
            case "loop":
                self.loop(op)
            case "if":
                self.if_(op)
            case "store":
                self.store(op)
            case "scatter":
                buffer, (indices, value) = op.attr, op.args
                for lane in range(value.width):
                    self.write(buffer, f"{self.name(indices)}.{'xyzw'[lane]}", f"{self.name(value)}.{'xyzw'[lane]}", value)
            case "atomic":
                buffer, how = op.attr
                call = {"add": "atomicAdd", "max": "atomicMax", "min": "atomicMin"}[how]
                self.line(f"{call}(&{self.element(buffer, self.name(op.args[0]))}, {self.name(op.args[1])});")
            case "barrier":
                self.line("workgroupBarrier();")
            case _:
                result = op.results[0]
                if result in self.used:
                    text = self.expression(op, result)
                    self.names[result] = self.fresh("v")
                    self.line(f"let {self.names[result]} = {text};")

    def expression(self, op: Op, result: Val) -> str:
        kind, dtype, width = op.kind, result.dtype, result.width
        args = [self.name(a) for a in op.args]
        if args and all(a.op is not None and a.op.kind == "const" for a in op.args) and kind not in ("splat", "pack", "load"):
            runtime = self.fresh("k")
            self.line(f"let {runtime} = {args[0]};")
            args[0] = runtime
        if kind in UNARY:
            return self.unary(kind, args[0], dtype, width)
        if kind in BINARY:
            return self.binary(kind, args[0], args[1], dtype, width)
        if kind in COMPARE:
            return self.compare(kind, args[0], args[1], op.args[0], same=op.args[0] is op.args[1])
        match kind:
            case "splat":
                return f"{self.type(dtype, width)}({args[0]})"
            case "lanes":
                return f"{self.type(dtype, width)}({', '.join(self.literal(i, dtype) for i in range(width))})"
            case "pack":
                return f"{self.type(dtype, width)}({', '.join(args)})"
            case "extract":
                return f"{args[0]}.{'xyzw'[op.attr]}"
            case "fma":
                return f"fma({', '.join(args)})"
            case "select":
                return f"select({args[2]}, {args[1]}, {args[0]})"
            case "convert":
                return self.convert(args[0], op.args[0].dtype, dtype, width)
            case "bitcast":
                return self.bitcast(args[0], op.args[0].dtype, dtype, width)
            case "reduce":
                return self.reduce(op.attr, args[0], op.args[0])
            case "load":
                return self.lanes_of(op.attr, [args[0]] + [f"{args[0]} + {i}" for i in range(1, width)], dtype)
            case "gather":
                return self.lanes_of(op.attr, [f"{args[0]}.{'xyzw'[i]}" for i in range(width)], dtype)
            case "workgroup_id" | "local_id":
                name = "workgroup_id" if kind == "workgroup_id" else "local_invocation_id"
                self.builtins[name] = "vec3<u32>"
                return f"i32({name}.{_AXES[op.attr]})"
        raise ValueError(f"kernel {self.kernel.name}: {kind} is not an operation of a GPU")

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
        wide = a if dtype.bits == 32 else f"{_splat_type('f32', width)}({a})"
        bits = f"bitcast<{_splat_type('u32', width)}>({wide})"
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
            wide = a if source.bits == 32 else f"{_splat_type('f32', width)}({a})"
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
        floats = _splat_type("f32", width)
        text = f"{kind}(clamp(x, {floats}({low}.0), {floats}({below}.0)))"
        if bits == 32:
            most = f"{high}u" if target.kind == "u" else f"{high}i"
            text = f"select({text}, {kind}({most}), x >= {floats}({float(high + 1)}))"
        nan = self.is_nan("x", dt.float32, width)
        return self.declare(name, f"fn {name}(x: {floats}) -> {kind} {{ return select({text}, {kind}(), {nan}); }}")

    def bitcast(self, a: str, source: DType, target: DType, width: int) -> str:
        if dt.float16 in (source, target):
            if width != 1:
                raise ValueError(f"kernel {self.kernel.name}: bitcast of float16 vectors")
            if target is dt.float16:
                return f"f16(unpack2x16float({self.as_unsigned(a, 1)} & 0xffffu).x)"
            bits = f"(pack2x16float(vec2<f32>(f32({a}), 0.0)) & 0xffffu)"
            return bits if target.kind == "u" else f"extractBits(i32({bits}), 0u, 16u)"
        text = f"bitcast<{self.type(target, width)}>({a})"
        return self.normalise(text, target, width)

    def reduce(self, how: str, a: str, operand: Val) -> str:
        total = f"{a}.x"
        for lane in "yzw"[: operand.width - 1]:
            if how in ("min", "max"):  # each partial result is used three times
                name = self.fresh("v")
                self.line(f"let {name} = {total};")
                total = name
            total = self.binary(how, total, f"{a}.{lane}", operand.dtype, 1)
        return total

    # -- memory ------------------------------------------------------------------------------------------------------

    def bound(self, number: int, piece: int = 0) -> str:
        """The variable of a group, or of one of its pieces."""
        return f"b{self.binding[number] + piece}"

    def element(self, buffer: Buffer, index: str) -> str:
        """A reference to an element of a buffer that is bound in one piece."""
        if buffer in self.scratch:
            return f"{self.scratch[buffer]}[{index}]"
        group, base = self.variant.slots[self.global_index[buffer]]
        return f"{self.bound(group)}[{index}{f' + {base}' if base else ''}]"

    def lanes_of(self, buffer: Buffer, indices: list[str], dtype: DType) -> str:
        lanes = [self.read(buffer, i) for i in indices]
        return lanes[0] if len(lanes) == 1 else f"{self.type(dtype, len(lanes))}({', '.join(lanes)})"

    def read(self, buffer: Buffer, index: str) -> str:
        if buffer in self.scratch:
            text = self.element(buffer, index)
            return f"atomicLoad(&{text})" if buffer in self.atomic_scratch else text
        number, base = self.variant.slots[self.global_index[buffer]]
        group, shifted = self.variant.groups[number], f"{index} + {base}" if base else index
        if packed(buffer.dtype, self.machine.float16):
            return self.read_packed(buffer, number, shifted)
        text = self.word(number, shifted)
        kind = element(buffer.dtype, self.machine.float16)
        return text if kind == group.element else f"bitcast<{kind}>({text})"

    def word(self, number: int, index: str) -> str:
        """Element `index` of a group."""
        group = self.variant.groups[number]
        if group.pieces > 1:
            return f"{self.piece_function(number, 'read')}({index})"
        text = f"{self.bound(number)}[{index}]"
        return f"atomicLoad(&{text})" if group.atomic else text

    def read_packed(self, buffer: Buffer, number: int, index: str) -> str:
        """An element narrower than a 32-bit word, which WGSL cannot address."""
        bits = buffer.dtype.bits
        per_word = 32 // bits
        name = self.fresh("w")
        self.line(f"let {name} = {index};")
        word = self.word(number, f"({name} >> {per_word.bit_length() - 1}u)")
        if self.variant.groups[number].element != "u32":
            word = f"bitcast<u32>({word})"
        if buffer.dtype.kind == "i":
            word = f"bitcast<i32>({word})"
        return f"extractBits({word}, u32({name} & {per_word - 1}) * {bits}u, {bits}u)"

    def piece_function(self, number: int, how: str) -> str:
        """A function that reads ("read") or writes ("write") element i of a group bound in pieces."""
        group = self.variant.groups[number]
        cases = []
        for piece in range(group.pieces):
            place = f"{self.bound(number, piece)}[i - {piece * group.piece}]"
            action = f"return {place};" if how == "read" else f"{place} = v; return;"
            last = piece == group.pieces - 1
            cases.append(action if last else f"if (i < {(piece + 1) * group.piece}) {{ {action} }}")
        name = f"{how}_{self.bound(number)}"
        signature = f"(i: i32) -> {group.element}" if how == "read" else f"(i: i32, v: {group.element})"
        return self.declare(name, f"fn {name}{signature} {{ {' '.join(cases)} }}")

    def store(self, op: Op) -> None:
        buffer, count = op.attr
        index, value = self.name(op.args[0]), self.name(op.args[1])
        if op.args[1].width == 1:
            self.write(buffer, index, value, op.args[1])
            return
        for lane in range(count):
            self.write(buffer, f"{index} + {lane}" if lane else index, f"{value}.{'xyzw'[lane]}", op.args[1])

    def write(self, buffer: Buffer, index: str, value: str, like: Val) -> None:
        if buffer in self.scratch:
            target = self.element(buffer, index)
            self.line(f"atomicStore(&{target}, {value});" if buffer in self.atomic_scratch else f"{target} = {value};")
            return
        if packed(buffer.dtype, self.machine.float16):
            raise TypeError(
                f"kernel {self.kernel.name} stores {buffer.dtype} into {buffer.name}: WebGPU cannot store less than 32 bits; "
                "declare the buffer through Builder.buffer, which widens it"
            )
        number, base = self.variant.slots[self.global_index[buffer]]
        group, shifted = self.variant.groups[number], f"{index} + {base}" if base else index
        if element(buffer.dtype, self.machine.float16) != group.element:
            value = f"bitcast<{group.element}>({value})"
        if group.pieces > 1:
            self.line(f"{self.piece_function(number, 'write')}({shifted}, {value});")
            return
        target = f"{self.bound(number)}[{shifted}]"
        self.line(f"atomicStore(&{target}, {value});" if group.atomic else f"{target} = {value};")

    # -- literals ----------------------------------------------------------------------------------------------------

    def splat(self, value: float, dtype: DType, width: int) -> str:
        return _splat(self.scalar(dtype), self.literal(value, dtype), width)

    def literal(self, value: float, dtype: DType) -> str:
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


def _splat_type(scalar: str, width: int) -> str:
    return scalar if width == 1 else f"vec{width}<{scalar}>"


def _has_effects(op: Op) -> bool:
    return op.kind in _EFFECTS or any(_has_effects(inner) for block in op.blocks for inner in block.ops)
