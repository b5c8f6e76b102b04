"""Entries: the control flow of one run, which its calling thread walks alone. Steps worth sharing become functions of their
own, which it hands to `share` (sharing.py); everything else it calls itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...kernels.ir import Kernel
from ...kernels.sharing import copy_chunks, most_chunks
from ...kernels.steps import SPACES, Cond, Copy, Launch, Ref, Step, While, refs
from .sharing import REGIONS


class EntryPrinter:
    """Prints the entries of one module.

    Args:
        kernels: the module's kernels.
        call: gives the symbol of a kernel.
    """

    def __init__(self, kernels: list[Kernel], call: Callable[[int], str]) -> None:
        self.kernels, self.call = kernels, call
        self.lines: list[str] = []
        self.count = 0
        self.inputs: dict[Ref, int] = {}  # inputs that the caller has, and where in the table their addresses are
        self.shared: dict[tuple[Step, tuple[int | None, ...]], str] = {}  # steps that threads share: their functions' symbols
        self.functions: list[str] = []
        self.copies = False  # whether the module needs @copy

    def entry(self, name: str, steps: tuple[Step, ...], inputs: Sequence[Ref] = ()) -> None:
        """Add the exported function of an entry, and those of its shared steps; `inputs`: those that the caller has."""
        self.lines, self.count, self.inputs = [], 0, {ref: i for i, ref in enumerate(inputs)}
        self.steps(steps)
        self.functions.append(self._function(f"define void @{name}({REGIONS}, ptr %shared)"))

    def _function(self, head: str) -> str:
        body = "\n".join(line if line.endswith(":") else "  " + line for line in [*self.lines, "ret void"])
        return f"{head} nounwind #0 {{\nentry:\n{body}\n}}\n"

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def pointer(self, ref: Ref) -> str:
        if ref.space not in SPACES:
            raise ValueError(f"a step refers to memory {ref.space!r}; there are {', '.join(SPACES)}")
        if ref in self.inputs:
            slot, name = "%" + self.fresh("slot"), "%" + self.fresh("p")
            self.lines.append(f"{slot} = getelementptr inbounds ptr, ptr %inputs, i64 {self.inputs[ref]}")
            self.lines.append(f"{name} = load ptr, ptr {slot}, align 8")
            return name
        if ref.offset == 0:
            return f"%{ref.space}"
        name = "%" + self.fresh("p")
        self.lines.append(f"{name} = getelementptr inbounds i8, ptr %{ref.space}, i64 {ref.offset}")
        return name

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

    def share(self, step: Launch | Copy, most: int, print_step: Callable[[], None]) -> None:
        """Hand a step to all threads; `print_step` writes the body of its function, in which %chunk and %chunks are known."""
        key = step, tuple(map(self.inputs.get, refs(step)))
        if key not in self.shared:
            self.shared[key] = f"step_{len(self.shared)}"
            outside, self.lines = self.lines, []
            print_step()
            self.functions.append(
                self._function(f"define internal void @{self.shared[key]}({REGIONS}, i64 %chunk, i64 %chunks)")
            )
            self.lines = outside
        self.lines.append(f"call void @share(ptr %shared, ptr @{self.shared[key]}, i64 {most}, {REGIONS})")

    def launch(self, step: Launch) -> None:
        kernel = self.kernels[step.kernel]
        most = most_chunks(kernel)
        if len(step.args) != len(kernel.buffers):
            raise ValueError(f"{step.label or kernel.name}: {len(step.args)} arguments for {len(kernel.buffers)} buffers")
        for ref, buffer in zip(step.args, kernel.buffers):
            if ref.nbytes < buffer.size * buffer.dtype.itemsize:
                raise ValueError(f"{step.label or kernel.name}: {ref} is smaller than {buffer}")

        def call(chunk: str, chunks: str) -> None:
            pointers = "".join(f"ptr {self.pointer(ref)}, " for ref in step.args)
            self.lines.append(f"call void @{self.call(step.kernel)}({pointers}i64 {chunk}, i64 {chunks})")

        if most > 1:
            self.share(step, most, lambda: call("%chunk", "%chunks"))
        else:
            call("0", "1")

    def copy(self, step: Copy) -> None:
        nbytes = min(step.source.nbytes, step.target.nbytes)
        if nbytes == 0:
            return
        self.copies = True

        def call(begin: str, end: str) -> None:
            target, source = self.pointer(step.target), self.pointer(step.source)
            self.lines.append(f"call void @copy(ptr {target}, ptr {source}, i64 {begin}, i64 {end})")

        def part() -> None:
            self.lines.append("%following = add i64 %chunk, 1")
            for name, chunk in (("begin", "%chunk"), ("end", "%following")):  # cut at multiples of 64 bytes
                self.lines += [
                    f"%{name}.scaled = mul i64 {chunk}, {-(-nbytes // 64)}",
                    f"%{name}.share = udiv i64 %{name}.scaled, %chunks",
                    f"%{name}.bytes = mul i64 %{name}.share, 64",
                    f"%{name} = call i64 @llvm.umin.i64(i64 %{name}.bytes, i64 {nbytes})",
                ]
            call("%begin", "%end")

        if copy_chunks(step) > 1:
            self.share(step, copy_chunks(step), part)
        else:
            call("0", str(nbytes))

    def flag(self, ref: Ref) -> str:
        pointer, byte, name = self.pointer(ref), self.fresh("byte"), self.fresh("flag")
        self.lines += [f"%{byte} = load i8, ptr {pointer}, align 1", f"%{name} = icmp ne i8 %{byte}, 0"]
        return f"%{name}"

    def cond(self, step: Cond) -> None:
        condition = self.flag(step.flag)
        then, otherwise, after = self.fresh("then"), self.fresh("else"), self.fresh("after")
        self.lines.append(f"br i1 {condition}, label %{then}, label %{otherwise}")
        for label, branch in ((then, step.then), (otherwise, step.otherwise)):
            self.lines.append(f"{label}:")
            self.steps(branch)
            self.lines.append(f"br label %{after}")
        self.lines.append(f"{after}:")

    def loop(self, step: While) -> None:
        head, body, after = self.fresh("while"), self.fresh("body"), self.fresh("after")
        self.lines += [f"br label %{head}", f"{head}:"]
        condition = self.flag(step.flag)
        self.lines += [f"br i1 {condition}, label %{body}, label %{after}", f"{body}:"]
        self.steps(step.body)
        self.lines += [f"br label %{head}", f"{after}:"]
