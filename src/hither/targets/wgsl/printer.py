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
from collections.abc import Sequence
from dataclasses import replace

from ... import dtypes as dt
from ...dtypes import DType
from ...errors import UnsupportedFeature
from ...kernels.ir import BINARY, COMPARE, UNARY, Block, Buffer, Kernel, Machine, Op, Val
from .alignment import Multiples
from .expressions import Expressions, vector
from .plan import Plan, Variant, element, packed, workgroups
from .words import element_of, elements_of, words_of_halves

ENTRY = "main"
ENABLE_SUBGROUPS = "enable subgroups;"
SEPARATOR = "//---- kernel "
_EFFECTS = {"store", "scatter", "atomic", "barrier", "workgroup_reduce"}
_ACROSS_SUBGROUP = {"add": "subgroupAdd", "mul": "subgroupMul", "max": "subgroupMax", "min": "subgroupMin"}
_AXES = "xyz"


def print_module(texts: Sequence[str]) -> str:
    """Modules in one file, each after a line of SEPARATOR and its number."""
    return "".join(f"{SEPARATOR}{i}\n{text}" for i, text in enumerate(texts))


def print_variants(plan: Plan, machine: Machine) -> list[str]:
    """One WGSL module per variant of a Plan.

    Raises:
        UnsupportedFeature: a kernel computes in a dtype that WebGPU does not have; names both.
        ValueError: a kernel is not one for a GPU.
    """
    return [_Printer(plan, v, machine).print() for v in plan.variants]


def print_subgroup_variants(plan: Plan, machine: Machine) -> dict[int, str]:
    """Another module for those variants of a Plan that gain from subgroups, by variant: same bindings, same result."""
    better = replace(machine, subgroups=True)
    gaining = [i for i, v in enumerate(plan.variants) if has_subgroup_variant(plan.kernels[v.kernel])]
    return {i: _Printer(plan, plan.variants[i], better).print() for i in gaining}


def has_subgroup_variant(kernel: Kernel) -> bool:
    """Whether a kernel is printed in another way for machines with subgroups."""
    return any(op.kind == "workgroup_reduce" for op in kernel.walk())


class _Printer:
    """Prints one variant; `names` maps values to the identifier or literal that stands for them."""

    def __init__(self, plan: Plan, variant: Variant, machine: Machine) -> None:
        self.kernel, self.variant, self.machine, self.limits = plan.kernels[variant.kernel], variant, machine, plan.limits
        self.names: dict[Val, str] = {}
        self.lines: list[str] = []
        self.values = Expressions(self.kernel.name, machine.float16)
        self.builtins: dict[str, str] = {}
        self.depth = 1
        self.count = 0
        kernel = self.kernel
        self.multiples = Multiples(kernel)
        self.binding = [sum(g.pieces for g in variant.groups[:i]) for i in range(len(variant.groups))]
        self.scratch = {b: f"s{i}" for i, b in enumerate(kernel.scratch)}
        self.global_index = {b: i for i, b in enumerate(kernel.buffers)}
        self.atomic_scratch = {op.attr[0] for op in kernel.walk() if op.kind == "atomic"} & set(kernel.scratch)
        self.used = {a for op in kernel.walk() for a in (*op.args, *(y for b in op.blocks for y in b.yields))}

    # -- the module --------------------------------------------------------------------------------------------------

    def print(self) -> str:
        kernel = self.kernel
        for number, group in zip(self.binding, self.variant.groups):
            kind = f"atomic<{group.element}>" if group.atomic else vector(group.element, group.width)
            for piece in range(group.pieces):
                declared = f"b{number + piece}"
                where = f"@group(0) @binding({number + piece}) var<storage, {group.access}>"
                self.values.globals[declared] = f"{where} {declared}: array<{kind}>;"
        for b in kernel.scratch:
            if b.space == "workgroup":
                self.values.globals[self.scratch[b]] = f"var<workgroup> {self.scratch[b]}: {self.array_type(b)};"
            else:
                self.line(f"var {self.scratch[b]}: {self.array_type(b)};")
        if self.uses_subgroups():
            # Counted, not read: neither the number of invocations in a subgroup nor which of them it holds is then assumed.
            self.line("let subgroup_lanes = subgroupAdd(1u);")
            self.line("let subgroup_lane = subgroupExclusiveAdd(1u);")
        if kernel.grid is None:
            self.parallel_body()
        else:
            if any(op.kind == "loop" and op.attr.kind == "parallel" for op in kernel.walk()):
                raise ValueError(f"kernel {kernel.name} has both a grid and a parallel loop")
            self.block(kernel.body)
        size = kernel.workgroup if kernel.grid is not None or self.is_parallel() else (1, 1, 1)
        params = ", ".join(f"@builtin({name}) {name}: {kind}" for name, kind in self.builtins.items())
        head = ["enable f16;"] * self.uses_half() + [ENABLE_SUBGROUPS] * self.uses_subgroups()
        entry = [f"@compute @workgroup_size({', '.join(map(str, size))})", f"fn {ENTRY}({params}) {{", *self.lines, "}", ""]
        return "\n".join([*head, *self.values.globals.values(), *entry])

    def uses_half(self) -> bool:
        halves = (b.dtype is dt.float16 for b in (*self.kernel.buffers, *self.kernel.scratch))
        return self.machine.float16 and (
            any(halves) or any(r.dtype is dt.float16 for op in self.kernel.walk() for r in op.results)
        )

    def uses_subgroups(self) -> bool:
        return self.machine.subgroups and has_subgroup_variant(self.kernel)

    def array_type(self, b: Buffer) -> str:
        kind = self.values.scalar(self.held(b))
        return f"array<{f'atomic<{kind}>' if b in self.atomic_scratch else kind}, {max(b.size, 1)}>"

    def held(self, b: Buffer) -> DType:
        """The dtype a load gives: halves that the machine lacks are widened by it."""
        return dt.float32 if b.dtype is dt.float16 and not self.machine.float16 else b.dtype

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def fresh(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

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
        index = self.fresh("n")
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
            self.line(f"var {carried[-1]}: {self.values.type(result.dtype, result.width)} = {self.name(value)};")
            self.names[result] = carried[-1]
        index = self.fresh("n")
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
            self.line(f"var {name}: {self.values.type(value.dtype, value.width)};")
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
            return self.values.literal(value.op.attr, value.dtype)
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
                    self.write(buffer, f"{self.name(indices)}.{'xyzw'[lane]}", f"{self.name(value)}.{'xyzw'[lane]}")
            case "atomic":
                buffer, how = op.attr
                call = {"add": "atomicAdd", "max": "atomicMax", "min": "atomicMin"}[how]
                self.line(f"{call}(&{self.element(buffer, self.name(op.args[0]))}, {self.name(op.args[1])});")
            case "barrier":
                self.line("workgroupBarrier();")
            case "workgroup_reduce":
                self.names[op.results[0]] = self.workgroup_reduce(op)
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
            return self.values.unary(kind, args[0], dtype, width)
        if kind in BINARY:
            return self.values.binary(kind, args[0], args[1], dtype, width)
        if kind in COMPARE:
            return self.values.compare(kind, args[0], args[1], op.args[0], same=op.args[0] is op.args[1])
        match kind:
            case "splat":
                return f"{self.values.type(dtype, width)}({args[0]})"
            case "lanes":
                return f"{self.values.type(dtype, width)}({', '.join(self.values.literal(i, dtype) for i in range(width))})"
            case "pack":
                return f"{self.values.type(dtype, width)}({', '.join(args)})"
            case "extract":
                return f"{args[0]}.{'xyzw'[op.attr]}"
            case "fma":
                if dtype.is_float:
                    return f"fma({', '.join(args)})"
                product = self.values.binary("mul", args[0], args[1], dtype, width)
                return self.values.binary("add", f"({product})", args[2], dtype, width)
            case "select":
                return f"select({args[2]}, {args[1]}, {args[0]})"
            case "convert":
                return self.values.convert(args[0], op.args[0].dtype, dtype, width)
            case "bitcast":
                return self.values.bitcast(args[0], op.args[0].dtype, dtype, width)
            case "reduce":
                return self.reduce(op.attr, args[0], op.args[0])
            case "load" if self.in_words(op, width):
                return self.read_words(op.attr, args[0], width)
            case "load":
                return self.lanes_of(op.attr, [args[0]] + [f"{args[0]} + {i}" for i in range(1, width)], dtype)
            case "gather":
                return self.lanes_of(op.attr, [f"{args[0]}.{'xyzw'[i]}" for i in range(width)], dtype)
            case "workgroup_id" | "local_id":
                name = "workgroup_id" if kind == "workgroup_id" else "local_invocation_id"
                self.builtins[name] = "vec3<u32>"
                return f"i32({name}.{_AXES[op.attr]})"
        raise ValueError(f"kernel {self.kernel.name}: {kind} is not an operation of a GPU")

    def reduce(self, how: str, a: str, operand: Val) -> str:
        total = f"{a}.x"
        for lane in "yzw"[: operand.width - 1]:
            if how in ("min", "max"):  # each partial result is used three times
                name = self.fresh("v")
                self.line(f"let {name} = {total};")
                total = name
            total = self.values.binary(how, total, f"{a}.{lane}", operand.dtype, 1)
        return total

    def workgroup_reduce(self, op: Op) -> str:
        """By way of workgroup memory. Without subgroups the upper half of those left hands over to the lower one, turn by
        turn. With them there are no turns: each subgroup adds up all there is, its lanes with stride, then across them.
        """
        (how, shared), (value,) = op.attr, op.args
        dtype, memory, total = value.dtype, self.scratch[shared], self.fresh("v")
        self.builtins["local_invocation_index"] = "u32"
        self.line(f"{memory}[local_invocation_index] = {self.name(value)};")
        self.line("workgroupBarrier();")
        x, j = self.fresh("v"), self.fresh("n")
        if self.uses_subgroups():
            mine = self.fresh("c")
            self.line(f"var {mine} = {memory}[subgroup_lane];")
            start = f"var {j} = subgroup_lane + subgroup_lanes"
            self.line(f"for ({start}; {j} < {shared.size}u; {j} += subgroup_lanes) {{")
            self.line(f"  let {x} = {memory}[{j}];")
            self.line(f"  {mine} = {self.values.combine(how, mine, x, dtype)};")
            self.line("}")
            text = self.values.normalise(f"{_ACROSS_SUBGROUP[how]}({mine})", dtype, 1)
            if how in ("max", "min") and dtype.is_float:  # what they make of a NaN is open
                nan = self.values.literal(math.nan, dtype)
                text = f"select({text}, {nan}, subgroupAny({self.values.is_nan(mine, dtype, 1)}))"
        else:
            half = f"{j}_half"
            self.line(f"for (var {j} = {shared.size}u; {j} > 1u;) {{")
            self.line(f"  let {half} = ({j} + 1u) >> 1u;")
            self.line(f"  if (local_invocation_index < {j} - {half}) {{")
            self.line(f"    let {x} = {memory}[local_invocation_index + {half}];")
            mine = f"{memory}[local_invocation_index]"
            self.line(f"    {mine} = {self.values.combine(how, mine, x, dtype)};")
            self.line("  }")
            self.line("  workgroupBarrier();")
            self.line(f"  {j} = {half};")
            self.line("}")
            text = f"{memory}[0]"
        self.line(f"let {total} = {text};")
        return total

    # -- memory ------------------------------------------------------------------------------------------------------

    def bound(self, number: int, piece: int = 0) -> str:
        """The variable of a group, or of one of its pieces."""
        return f"b{self.binding[number] + piece}"

    def located(self, buffer: Buffer, index: str) -> tuple[int, str]:
        """The group that a kernel buffer lies in, and the place in its array of the element (or vector) at `index`."""
        number, base = self.variant.slots[self.global_index[buffer]]
        shifted = f"{index} + {base}" if base else index
        width = self.variant.groups[number].width
        return number, shifted if width == 1 else f"({shifted}) >> {width.bit_length() - 1}u"

    def element(self, buffer: Buffer, index: str) -> str:
        """A reference to an element of scratch memory, or of a buffer that is bound in one piece."""
        if buffer in self.scratch:
            return f"{self.scratch[buffer]}[{index}]"
        number, place = self.located(buffer, index)
        return f"{self.bound(number)}[{place}]"

    def in_vectors(self, buffer: Buffer) -> bool:
        """Whether a buffer is bound as an array of vectors, so that an access is one element."""
        return buffer not in self.scratch and self.variant.groups[self.variant.slots[self.global_index[buffer]][0]].width > 1

    def lanes_of(self, buffer: Buffer, indices: list[str], dtype: DType) -> str:
        if self.in_vectors(buffer):
            return self.word(*self.located(buffer, indices[0]))
        lanes = [self.read(buffer, i) for i in indices]
        return lanes[0] if len(lanes) == 1 else f"{self.values.type(dtype, len(lanes))}({', '.join(lanes)})"

    def read(self, buffer: Buffer, index: str) -> str:
        if buffer in self.scratch:
            text = self.element(buffer, index)
            return f"atomicLoad(&{text})" if buffer in self.atomic_scratch else text
        number, place = self.located(buffer, index)
        if packed(buffer.dtype, self.machine.float16):
            return self.read_packed(buffer, number, place)
        kind = element(buffer.dtype, self.machine.float16)
        if kind == "f16" and self.variant.groups[number].element != "f16":
            return self.read_half(number, place)
        text = self.word(number, place)
        return text if kind == self.variant.groups[number].element else f"bitcast<{kind}>({text})"

    def word(self, number: int, place: str) -> str:
        """What lies at a place of a group."""
        group = self.variant.groups[number]
        if group.pieces > 1:
            return f"{self.piece_function(number, 'read')}({place})"
        text = f"{self.bound(number)}[{place}]"
        return f"atomicLoad(&{text})" if group.atomic else text

    def assign(self, number: int, place: str, value: str) -> None:
        """Store at a place of a group."""
        group = self.variant.groups[number]
        if group.pieces > 1:
            self.line(f"{self.piece_function(number, 'write')}({place}, {value});")
        elif group.atomic:
            self.line(f"atomicStore(&{self.bound(number)}[{place}], {value});")
        else:
            self.line(f"{self.bound(number)}[{place}] = {value};")

    def read_packed(self, buffer: Buffer, number: int, index: str) -> str:
        """An element narrower than a 32-bit word, which WGSL cannot address."""
        name, per_word = self.fresh("w"), 32 // buffer.dtype.bits
        self.line(f"let {name} = {index};")
        word = self.unsigned_word(number, f"({name} >> {per_word.bit_length() - 1}u)")
        return element_of(buffer.dtype, word, name)

    def unsigned_word(self, number: int, place: str) -> str:
        word = self.word(number, place)
        return word if self.variant.groups[number].element == "u32" else f"bitcast<u32>({word})"

    def in_words(self, op: Op, width: int) -> bool:
        """Whether a load takes whole words of a buffer that holds several elements in each."""
        buffer = op.attr
        if buffer in self.scratch or width == 1 or not packed(buffer.dtype, self.machine.float16):
            return False
        return width % (32 // buffer.dtype.bits) == 0 and self.multiples.of(op.args[0]) % width == 0

    def read_words(self, buffer: Buffer, index: str, width: int) -> str:
        """A vector of elements that fill whole words."""
        number, place = self.located(buffer, index)
        bits, first = buffer.dtype.bits, self.fresh("w")
        self.line(f"let {first} = ({place}) >> {(32 // bits).bit_length() - 1}u;")
        words = [self.unsigned_word(number, f"{first} + {i}" if i else first) for i in range(width * bits // 32)]
        return elements_of(buffer.dtype, words, width)

    def read_half(self, number: int, index: str) -> str:
        """A float16 in a group of words."""
        name = self.fresh("w")
        self.line(f"let {name} = {index};")
        word = self.word(number, f"({name} >> 1u)")
        word = word if self.variant.groups[number].element == "u32" else f"bitcast<u32>({word})"
        self.line(f"let {name}_pair = unpack2x16float({word});")
        return f"f16(select({name}_pair.x, {name}_pair.y, ({name} & 1) == 1))"

    def piece_function(self, number: int, how: str) -> str:
        """A function that reads ("read") or writes ("write") place i of a group bound in pieces."""
        group = self.variant.groups[number]
        kind, size = vector(group.element, group.width), group.piece // group.width
        cases = []
        for piece in range(group.pieces):
            place = f"{self.bound(number, piece)}[i - {piece * size}]"
            action = f"return {place};" if how == "read" else f"{place} = v; return;"
            last = piece == group.pieces - 1
            cases.append(action if last else f"if (i < {(piece + 1) * size}) {{ {action} }}")
        name = f"{how}_{self.bound(number)}"
        signature = f"(i: i32) -> {kind}" if how == "read" else f"(i: i32, v: {kind})"
        return self.values.declare(name, f"fn {name}{signature} {{ {' '.join(cases)} }}")

    def store(self, op: Op) -> None:
        buffer, count = op.attr
        index, value = self.name(op.args[0]), self.name(op.args[1])
        if op.args[1].width == 1:
            self.write(buffer, index, value)
            return
        if self.in_vectors(buffer):
            self.assign(*self.located(buffer, index), value)
            return
        if buffer.dtype is dt.float16 and packed(buffer.dtype, self.machine.float16) and count % 2 == 0:
            self.write_halves(buffer, index, value, count)
            return
        for lane in range(count):
            self.write(buffer, f"{index} + {lane}" if lane else index, f"{value}.{'xyzw'[lane]}")

    def write_halves(self, buffer: Buffer, index: str, value: str, count: int) -> None:
        """Pairs of halves as words; the first lies at the beginning of one."""
        number, place = self.located(buffer, index)
        word = self.fresh("w")
        self.line(f"let {word} = ({place}) >> 1u;")
        kind = self.variant.groups[number].element
        for i, pair in enumerate(words_of_halves(value, count)):
            self.assign(number, f"{word} + {i}" if i else word, pair if kind == "u32" else f"bitcast<{kind}>({pair})")

    def write(self, buffer: Buffer, index: str, value: str) -> None:
        if buffer in self.scratch:
            target = self.element(buffer, index)
            self.line(f"atomicStore(&{target}, {value});" if buffer in self.atomic_scratch else f"{target} = {value};")
            return
        if packed(buffer.dtype, self.machine.float16):
            raise UnsupportedFeature(
                f"kernel {self.kernel.name} stores {buffer.dtype} into {buffer.name}: WebGPU cannot store less than 32 bits; "
                "declare the buffer through Builder.buffer, which widens it"
            )
        number, place = self.located(buffer, index)
        kind = self.variant.groups[number].element
        self.assign(
            number, place, value if element(buffer.dtype, self.machine.float16) == kind else f"bitcast<{kind}>({value})"
        )


def _has_effects(op: Op) -> bool:
    return op.kind in _EFFECTS or any(_has_effects(inner) for block in op.blocks for inner in block.ops)
