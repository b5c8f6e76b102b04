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
from collections.abc import Callable, Sequence
from dataclasses import replace

from ... import dtypes as dt
from ...kernels.ir import BINARY, COMPARE, UNARY, Block, Kernel, Machine, Op, Val
from .accesses import Accesses
from .expressions import vector
from .plan import Plan, Variant, packed, workgroups

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
    return _other_variants(plan, replace(machine, subgroups=True), has_subgroup_variant)


def print_dot_variants(plan: Plan, machine: Machine) -> dict[int, str]:
    """The same of variants that gain from the language feature packed_4x8_integer_dot_product."""
    return _other_variants(plan, replace(machine, packed_dot=True), has_dot_variant)


def _other_variants(plan: Plan, machine: Machine, gains: Callable[[Kernel], bool]) -> dict[int, str]:
    gaining = [i for i, v in enumerate(plan.variants) if gains(plan.kernels[v.kernel])]
    return {i: _Printer(plan, plan.variants[i], machine).print() for i in gaining}


def has_subgroup_variant(kernel: Kernel) -> bool:
    """Whether a kernel is printed in another way for machines with subgroups."""
    return any(op.kind == "workgroup_reduce" for op in kernel.walk())


def has_dot_variant(kernel: Kernel) -> bool:
    """Whether a kernel is printed in another way where WGSL sums products of bytes."""
    return any(op.kind == "dot" for op in kernel.walk())


class _Printer(Accesses):
    """Prints one variant; `names` maps values to the identifier or literal that stands for them."""

    def __init__(self, plan: Plan, variant: Variant, machine: Machine) -> None:
        super().__init__(plan, variant, machine)
        self.limits = plan.limits
        self.names: dict[Val, str] = {}
        self.builtins: dict[str, str] = {}
        self.used = {a for op in self.kernel.walk() for a in (*op.args, *(y for b in op.blocks for y in b.yields))}

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
            case "dot":
                return self.dot(op, args)
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
            case "word":  # bytes that a kernel has stored lie in a word each
                bytes_ = self.lanes_of(op.attr, [args[0]] + [f"{args[0]} + {i}" for i in range(1, 4)], op.attr.dtype)
                return self.values.pack_bytes(bytes_, op.attr.dtype)
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

    def dot(self, op: Op, args: Sequence[str]) -> str:
        """Products of signed bytes, by the language's own operation or byte by byte."""
        width = op.results[0].width
        if op.attr == "unsigned":
            raise ValueError(f"kernel {self.kernel.name}: WGSL multiplies signed bytes; lower it for this machine")
        if not self.machine.packed_dot:
            return f"({args[2]} + {self.values.dot_bytes(args[0], args[1], width)})"
        lanes = [""] if width == 1 else [f".{lane}" for lane in "xyzw"[:width]]
        words = []
        for value, text in zip(op.args, args[:2], strict=False):
            scalar = value.op.args[0] if value.op is not None and value.op.kind == "splat" else None
            name, of = self.fresh("w"), width if scalar is None else 1
            self.line(f"let {name} = bitcast<{vector('u32', of)}>({text if scalar is None else self.name(scalar)});")
            words.append([name if of == 1 else name + lane for lane in lanes])
        sums = ", ".join(f"dot4I8Packed({a}, {b})" for a, b in zip(*words, strict=True))
        return f"({args[2]} + {sums if width == 1 else f'vec{width}<i32>({sums})'})"

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


def _has_effects(op: Op) -> bool:
    return op.kind in _EFFECTS or any(_has_effects(inner) for block in op.blocks for inner in block.ops)
