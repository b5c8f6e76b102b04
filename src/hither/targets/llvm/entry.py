"""Entries: straight code that calls kernels in order, with barriers only where one step needs what another thread wrote.

Steps that only thread 0 runs need no barrier among themselves, nor do steps that touch different memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...kernels.ir import Kernel
from ...kernels.steps import SPACES, Cond, Copy, Launch, Ref, Step, While

SHARED_COPY = 1 << 18  # bytes from which on a copy is worth sharing among threads


@dataclass(frozen=True)
class Access:
    """A range of memory that a step reads or writes, by thread 0 alone or by all threads."""

    ref: Ref
    writes: bool
    everyone: bool

    def conflicts(self, other: Access) -> bool:
        """Whether two accesses, made in this order by different threads, could come out in the other."""
        return (
            (self.writes or other.writes)
            and (self.everyone or other.everyone)
            and self.ref.space == other.ref.space
            and self.ref.offset < other.ref.offset + other.ref.nbytes
            and other.ref.offset < self.ref.offset + self.ref.nbytes
        )


class EntryPrinter:
    """Prints one entry. `call` gives the symbol of a kernel, `split` whether several threads share its work."""

    def __init__(self, kernels: list[Kernel], call: Callable[[int], str], split: list[bool]) -> None:
        self.kernels, self.call, self.split = kernels, call, split
        self.lines: list[str] = []
        self.count = 0
        self.pending: list[Access] = []  # made since the last barrier
        self.copies = False  # whether the module needs @copy

    def function(self, name: str, steps: tuple[Step, ...]) -> str:
        """The text of the exported function."""
        self.lines.append("%first = icmp eq i64 %thread, 0")
        self.steps(steps)
        self.lines.append("ret void")
        body = "\n".join(line if line.endswith(":") else "  " + line for line in self.lines)
        regions = ", ".join(f"ptr %{space}" for space in SPACES)
        return f"define void @{name}({regions}, i64 %thread, i64 %threads, ptr %shared) nounwind #0 {{\nentry:\n{body}\n}}\n"

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def pointer(self, ref: Ref) -> str:
        if ref.space not in SPACES:
            raise ValueError(f"a step refers to memory {ref.space!r}; there are {', '.join(SPACES)}")
        if ref.offset == 0:
            return f"%{ref.space}"
        name = "%" + self.fresh("p")
        self.lines.append(f"{name} = getelementptr inbounds i8, ptr %{ref.space}, i64 {ref.offset}")
        return name

    def barrier(self) -> None:
        self.lines.append("call void @barrier(ptr %shared, i64 %threads)")
        self.pending.clear()

    def order(self, accesses: list[Access]) -> None:
        """Put a barrier before a step if it conflicts with one since the last barrier."""
        if any(new.conflicts(old) for old in self.pending for new in accesses):
            self.barrier()
        self.pending.extend(accesses)

    def on_first_thread(self, instructions: list[str]) -> None:
        then, after = self.fresh("first"), self.fresh("after")
        self.lines += [f"br i1 %first, label %{then}, label %{after}", f"{then}:", *instructions]
        self.lines += [f"br label %{after}", f"{after}:"]

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Launch():
                    self.launch(step)
                case Copy():
                    self.copy(step)
                case Cond():
                    self.cond(step)
                case While():
                    self.loop(step)

    def launch(self, step: Launch) -> None:
        kernel, everyone = self.kernels[step.kernel], self.split[step.kernel]
        if len(step.args) != len(kernel.buffers):
            raise ValueError(f"{step.label or kernel.name}: {len(step.args)} arguments for {len(kernel.buffers)} buffers")
        for ref, buffer in zip(step.args, kernel.buffers):
            if ref.nbytes < buffer.size * buffer.dtype.itemsize:
                raise ValueError(f"{step.label or kernel.name}: {ref} is smaller than {buffer}")
        self.order([Access(ref, b.access != "read", everyone) for ref, b in zip(step.args, kernel.buffers)])
        pointers = "".join(f"ptr {self.pointer(ref)}, " for ref in step.args)
        call = f"call void @{self.call(step.kernel)}({pointers}i64 %thread, i64 %threads)"
        if everyone:
            self.lines.append(call)
        else:
            self.on_first_thread([call])

    def copy(self, step: Copy) -> None:
        nbytes = min(step.source.nbytes, step.target.nbytes)
        if nbytes == 0:
            return
        self.copies = True
        everyone = nbytes >= SHARED_COPY
        self.order([Access(step.source, False, everyone), Access(step.target, True, everyone)])
        target, source = self.pointer(step.target), self.pointer(step.source)
        if not everyone:
            self.on_first_thread([f"call void @copy(ptr {target}, ptr {source}, i64 0, i64 {nbytes})"])
            return
        bounds = []
        self.lines.append(f"%{(after := self.fresh('t'))} = add i64 %thread, 1")
        for thread in ("%thread", f"%{after}"):  # cut at multiples of 64 bytes
            scaled, share, bytes_, bound = (self.fresh("t") for _ in range(4))
            self.lines += [
                f"%{scaled} = mul i64 {thread}, {-(-nbytes // 64)}",
                f"%{share} = udiv i64 %{scaled}, %threads",
                f"%{bytes_} = mul i64 %{share}, 64",
                f"%{bound} = call i64 @llvm.umin.i64(i64 %{bytes_}, i64 {nbytes})",
            ]
            bounds.append(f"%{bound}")
        self.lines.append(f"call void @copy(ptr {target}, ptr {source}, i64 {bounds[0]}, i64 {bounds[1]})")

    def flag(self, ref: Ref) -> str:
        """Read a bool as every thread sees it; a later write to it waits until all have read it."""
        self.order([Access(Ref(ref.space, ref.offset, 1), False, True)])
        pointer, byte, name = self.pointer(ref), self.fresh("byte"), self.fresh("flag")
        self.lines += [f"%{byte} = load i8, ptr {pointer}, align 1", f"%{name} = icmp ne i8 %{byte}, 0"]
        return f"%{name}"

    def cond(self, step: Cond) -> None:
        condition = self.flag(step.flag)
        then, otherwise, after = self.fresh("then"), self.fresh("else"), self.fresh("after")
        self.lines.append(f"br i1 {condition}, label %{then}, label %{otherwise}")
        before, left = list(self.pending), []
        for label, branch in ((then, step.then), (otherwise, step.otherwise)):
            self.pending = list(before)
            self.lines.append(f"{label}:")
            self.steps(branch)
            self.lines.append(f"br label %{after}")
            left += self.pending
        self.lines.append(f"{after}:")
        self.pending = list(dict.fromkeys(left))

    def loop(self, step: While) -> None:
        head, body, after = self.fresh("while"), self.fresh("body"), self.fresh("after")
        self.lines += [f"br label %{head}", f"{head}:"]
        self.barrier()  # orders the flag, and every trip, after all before it
        condition = self.flag(step.flag)
        at_head = list(self.pending)
        self.lines += [f"br i1 {condition}, label %{body}, label %{after}", f"{body}:"]
        self.steps(step.body)
        self.lines += [f"br label %{head}", f"{after}:"]
        self.pending = at_head
