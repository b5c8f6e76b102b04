"""One kernel as one LLVM function in SSA form: loops are phis, nothing lives on the stack but private scratch memory.

The text is emitted so that code generation alone makes it fast: no optimisation pipeline runs over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ... import dtypes as dt
from ...kernels.ir import INDEX, Block, Buffer, Kernel, Loop, Machine, Op, Val
from ...kernels.sharing import loop_chunks, most_chunks, trips
from .types import Target, literal, scalar, suffix, typed, vector_literal
from .values import ARITHMETIC, COMPARISONS, ROUNDING, ValuePrinter

PAGE = 4096  # bytes: the smallest page of any system
_WRITES = {"store", "scatter"}


class KernelPrinter(ValuePrinter):
    """Prints one kernel: its memory accesses, loops and branches around the values."""

    def __init__(self, kernel: Kernel, machine: Machine, target: Target, support: dict[str, str]) -> None:
        super().__init__(kernel, machine, target, support)
        self.pointers: dict[Buffer, str] = {}
        self.label = "entry"  # of the block being written: phis name it
        self.top = False  # at the top level of a kernel in which several threads take part

    def function(self, name: str, alignments: list[int], unaliased: list[bool]) -> str:
        """The function's text. `alignments` and `unaliased` say for each buffer what every launch of the kernel grants."""
        parameters = []
        for i, (buffer, alignment, alone) in enumerate(zip(self.kernel.buffers, alignments, unaliased)):
            self.pointers[buffer] = f"%b{i}"
            notes = [f"align {alignment}"]
            if buffer.size:
                notes.append(f"dereferenceable({buffer.size * buffer.dtype.itemsize})")
            if alone:
                notes.append("noalias")
            if buffer.access == "read":
                notes.append("readonly")
            parameters.append(f"ptr {' '.join(notes)} %b{i}")
        self.scratch()
        split = most_chunks(self.kernel) > 1
        self.top = split and not any(op.kind in ("thread", "threads") for op in self.kernel.walk())
        self.block(self.kernel.body)
        self.lines.append("ret void")
        body = "\n".join(line if line.endswith(":") else "  " + line for line in self.lines)
        signature = ", ".join([*parameters, "i64 %thread", "i64 %threads"])
        return (
            f"; {self.kernel.name!r}\ndefine internal void @{name}({signature}) nounwind noinline #0 {{\nentry:\n{body}\n}}\n"
        )

    def scratch(self) -> None:
        """Private memory, on the stack.

        Windows hands out a stack's pages in order only, downwards. LLVM would call a library function for that; printer.py
        forbids it ("no-stack-arg-probe"), and each page is touched here, on all systems."""
        size, offsets = 0, []
        for buffer in self.kernel.scratch:
            if buffer.space != "private":
                raise ValueError(f"kernel {self.kernel.name}: {buffer.space} memory exists on GPUs only")
            offsets.append(size)
            size += -(-buffer.size * buffer.dtype.itemsize // 64) * 64
        if not self.kernel.scratch:
            return
        self.lines.append(f"%scratch = alloca [{max(size, 1)} x i8], align 64")
        for buffer, offset in zip(self.kernel.scratch, offsets, strict=True):
            self.pointers[buffer] = self.put(f"getelementptr inbounds i8, ptr %scratch, i64 {offset}")
        for offset in range(size - 1, 0, -PAGE):
            touched = self.put(f"getelementptr inbounds i8, ptr %scratch, i64 {offset}")
            self.put(f"load volatile i8, ptr {touched}")

    def begin(self, label: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{label}:")
        self.label = label

    def block(self, block: Block) -> None:
        top = self.top
        for op in block.ops:
            if not top:
                self.op(op)
            elif op.kind == "loop" and op.attr.kind == "parallel":
                self.top = False
                self.op(op)
            elif self.writes_shared(op):
                self.top = False
                self.on_first_thread(op)
            else:
                self.op(op)
            self.top = top

    def writes_shared(self, op: Op) -> bool:
        """Whether it changes memory that other threads see."""
        if op.kind in _WRITES:
            buffer = op.attr[0] if op.kind == "store" else op.attr
            return buffer.space == "global"
        return any(self.writes_shared(inner) for block in op.blocks for inner in block.ops)

    def on_first_thread(self, op: Op) -> None:
        """What stands beside parallel loops is done once, not by every thread."""
        if op.results:
            raise ValueError(
                f"kernel {self.kernel.name}: a {op.kind} beside a parallel loop both stores and yields values; "
                "split it, or move it into a kernel of its own"
            )
        mine, after = self.fresh("first"), self.fresh("after")
        first = self.put("icmp eq i64 %thread, 0")
        self.lines.append(f"br i1 {first}, label %{mine}, label %{after}")
        self.begin(mine)
        self.op(op)
        self.lines.append(f"br label %{after}")
        self.begin(after)

    def op(self, op: Op) -> None:
        kind = op.kind
        if kind in ARITHMETIC:
            self.names[op.results[0]] = self.arithmetic(kind, op.args[0], op.args[1])
        elif kind in COMPARISONS:
            a = op.args[0]
            self.names[op.results[0]] = self.compare(kind, a.dtype, a.width, self.name(a), self.name(op.args[1]))
        elif kind in ROUNDING:
            self.names[op.results[0]] = self.rounding(kind, op.args[0])
        else:
            handler: Callable[[Op], str | None] | None = getattr(self, f"_{kind}", None)
            if handler is None:
                raise ValueError(f"kernel {self.kernel.name}: {kind} exists on GPUs only")
            result = handler(op)
            if result is not None:
                self.names[op.results[0]] = result

    # -- memory ------------------------------------------------------------------------------------------------------

    def address(self, buffer: Buffer, index: str) -> str:
        return self.put(f"getelementptr inbounds {scalar(buffer.dtype)}, ptr {self.pointers[buffer]}, i64 {index}")

    def _load(self, op: Op) -> str:
        result, buffer = op.results[0], op.attr
        pointer = self.address(buffer, self.name(op.args[0]))
        return self.put(f"load {typed(result.dtype, result.width)}, ptr {pointer}, align {buffer.dtype.itemsize}")

    def _word(self, op: Op) -> str:
        pointer, buffer = self.address(op.attr, self.name(op.args[0])), op.attr
        return self.put(f"load {typed(dt.int32, op.results[0].width)}, ptr {pointer}, align {buffer.dtype.itemsize}")

    def _prefetch(self, op: Op) -> None:
        (index,), buffer = op.args, op.attr
        pointer = self.put(f"getelementptr {scalar(buffer.dtype)}, ptr {self.pointers[buffer]}, i64 {self.name(index)}")
        self.support.setdefault("llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.lines.append(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 2, i32 1)")

    def _late(self, op: Op) -> str:
        """Empty assembly code that keeps its place among stores, and that the value goes through in a register."""
        (value,) = op.args
        name, dtype, bits = self.name(value), value.dtype, value.width * value.dtype.bits
        fits = dtype in (dt.float32, dt.float64) and bits in (128, 256, 512) and bits <= self.machine.vector_bits
        if self.target.arch != "x86_64" or not fits:
            return name
        t, register = typed(dtype, value.width), "v" if self.masks() else "x"
        return self.put(f'call {t} asm sideeffect "", "={register},0"({t} {name})')

    def _store(self, op: Op) -> None:
        (index, value), (buffer, count) = op.args, op.attr
        pointer, name = self.address(buffer, self.name(index)), self.name(value)
        dtype, width, size = value.dtype, value.width, buffer.dtype.itemsize
        if count == width:
            self.lines.append(f"store {typed(dtype, width)} {name}, ptr {pointer}, align {size}")
        elif self.masks():
            t, p = typed(dtype, width), typed(dt.bool_, width)
            mask = vector_literal(["true" if i < count else "false" for i in range(width)], dt.bool_)
            intrinsic = f"llvm.masked.store.{suffix(dtype, width)}.p0"
            self.support.setdefault(intrinsic, f"declare void @{intrinsic}({t}, ptr, i32, {p})")
            self.lines.append(f"call void @{intrinsic}({t} {name}, ptr {pointer}, i32 {size}, {p} {mask})")
        else:
            self.store_pieces(pointer, name, value, count)

    def masks(self) -> bool:
        """Whether a masked store is an instruction (AVX-512 with BW, which is what 512 bits stands for)."""
        return self.target.arch == "x86_64" and self.machine.vector_bits == 512

    def store_pieces(self, pointer: str, name: str, value: Val, count: int) -> None:
        """The first `count` lanes as stores of 8, 4, 2, 1… lanes."""
        dtype, size, done = value.dtype, value.dtype.itemsize, 0
        while done < count:
            lanes = 1 << ((count - done).bit_length() - 1)
            piece = self.slice(name, dtype, value.width, done, lanes)
            at = pointer if done == 0 else self.put(f"getelementptr inbounds {scalar(dtype)}, ptr {pointer}, i64 {done}")
            self.lines.append(f"store {typed(dtype, lanes)} {piece}, ptr {at}, align {size}")
            done += lanes

    def _gather(self, op: Op) -> str:
        """LLVM knows on which processors the instruction is faster than a load per lane."""
        indices, buffer, result = op.args[0], op.attr, op.results[0]
        width = result.width
        base = f"ptr {self.pointers[buffer]}, {typed(INDEX, width)} {self.name(indices)}"
        pointers = self.put(f"getelementptr inbounds {scalar(buffer.dtype)}, {base}")
        vector, everyone = typed(result.dtype, width), literal(True, dt.bool_, width)
        return self.call(
            f"llvm.masked.gather.{suffix(result.dtype, width)}.v{width}p0",
            vector,
            (f"<{width} x ptr>", pointers),
            ("i32", str(buffer.dtype.itemsize)),
            (typed(dt.bool_, width), everyone),
            (vector, "poison"),
        )

    def _scatter(self, op: Op) -> None:
        (indices, value), buffer = op.args, op.attr
        for i in range(indices.width):
            pointer = self.address(buffer, self.lane(self.name(indices), INDEX, indices.width, i))
            lane = self.lane(self.name(value), value.dtype, value.width, i)
            self.lines.append(f"store {scalar(value.dtype)} {lane}, ptr {pointer}, align {buffer.dtype.itemsize}")

    # -- control -----------------------------------------------------------------------------------------------------

    def _loop(self, op: Op) -> None:
        start, stop = (self.name(a) for a in op.args[:2])
        loop: Loop = op.attr
        count = trips(op)
        if loop.kind == "parallel" and loop_chunks(op) != 1:
            if op.results:
                raise ValueError(
                    f"kernel {self.kernel.name}: a parallel loop cannot carry values from one iteration to the next"
                )
            start, stop = self.chunk(start, loop, count or 0)
            count = None
        elif loop.kind == "parallel" and most_chunks(self.kernel) > 1:  # too small to share, beside one that is shared
            first = self.put("icmp eq i64 %thread, 0")
            stop = self.put(f"select i1 {first}, i64 {stop}, i64 {start}")
            count = None
        init = [self.name(a) for a in op.args[2:]]
        body = op.blocks[0]
        if count is not None and count <= 1:
            results = init
            if count == 1:
                self.names.update(zip(body.params, [start, *init]))
                self.block(body)
                results = [self.name(y) for y in body.yields]
            self.names.update(zip(op.results, results))
            return
        self.counted_loop(op, start, stop, init, guarded=count is None)

    def counted_loop(self, op: Op, start: str, stop: str, init: list[str], guarded: bool) -> None:
        """Test at the bottom, so that the body is one fall-through; where it may run not at all, a test before it."""
        body, step = op.blocks[0], op.attr.step
        head, after, before = self.fresh("loop"), self.fresh("after"), self.label
        less = "slt" if step > 0 else "sgt"
        if guarded:
            some = self.put(f"icmp {less} i64 {start}, {stop}")
            self.lines.append(f"br i1 {some}, label %{head}, label %{after}")
        else:
            self.lines.append(f"br label %{head}")
        self.begin(head)
        phis = []
        for param, first in zip(body.params, [start, *init]):
            self.names[param] = "%" + self.fresh("c")
            phis.append((len(self.lines), param, first))
            self.lines.append("")
        self.block(body)
        counter = self.names[body.params[0]]
        advanced = self.put(f"add nsw i64 {counter}, {step}")
        more = self.put(f"icmp {less} i64 {advanced}, {stop}")
        latch = self.label
        self.lines.append(f"br i1 {more}, label %{head}, label %{after}")
        following = [advanced, *(self.name(y) for y in body.yields)]
        for (line, param, first), again in zip(phis, following):
            phi = f"phi {typed(param.dtype, param.width)} [ {first}, %{before} ], [ {again}, %{latch} ]"
            self.lines[line] = f"{self.names[param]} = {phi}"
        self.begin(after)
        for result, first, last in zip(op.results, init, following[1:]):
            if guarded:
                t = typed(result.dtype, result.width)
                last = self.put(f"phi {t} [ {first}, %{before} ], [ {last}, %{latch} ]")
            self.names[result] = last

    def chunk(self, start: str, loop: Loop, trips: int) -> tuple[str, str]:
        """The bounds of one chunk: as many chunks have something to do as get at least `grain` iterations each."""
        most = max(1, trips // loop.grain)
        parts = self.call("llvm.umin.i64", "i64", ("i64", "%threads"), ("i64", str(most)))
        bounds = []
        following = self.put("add i64 %thread, 1")
        for thread in ("%thread", following):
            scaled = self.put(f"mul i64 {thread}, {trips}")
            share = self.put(f"udiv i64 {scaled}, {parts}")
            share = self.call("llvm.umin.i64", "i64", ("i64", share), ("i64", str(trips)))
            stepped = self.put(f"mul i64 {share}, {loop.step}")
            bounds.append(self.put(f"add i64 {stepped}, {start}"))
        return bounds[0], bounds[1]

    def _if(self, op: Op) -> None:
        condition, (then, otherwise) = op.args[0], op.blocks
        if condition.op is not None and condition.op.kind == "const":
            taken = then if condition.op.attr else otherwise
            self.block(taken)
            self.names.update(zip(op.results, (self.name(y) for y in taken.yields)))
            return
        labels = self.fresh("then"), self.fresh("else"), self.fresh("after")
        self.lines.append(f"br i1 {self.name(condition)}, label %{labels[0]}, label %{labels[1]}")
        ends = []
        for label, block in zip(labels, (then, otherwise)):
            self.begin(label)
            self.block(block)
            ends.append((self.label, [self.name(y) for y in block.yields]))
            self.lines.append(f"br label %{labels[2]}")
        self.begin(labels[2])
        for i, result in enumerate(op.results):
            sources = ", ".join(f"[ {names[i]}, %{label} ]" for label, names in ends)
            self.names[result] = self.put(f"phi {typed(result.dtype, result.width)} {sources}")


def symbol(index: int, name: str) -> str:
    """A readable symbol for a kernel: profilers show it."""
    return f"k{index}_{re.sub(r'[^A-Za-z0-9_]', '_', name)[:48]}"
