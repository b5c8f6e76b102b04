"""Binding plan: how the launches of a Code become WebGPU dispatches that browsers accept.

The kernel IR lets a launch bind any pieces of memory to any of its buffers. WebGPU does not: a buffer may not be bound
`read` and `read_write` in one dispatch, `read_write` ranges must be disjoint and start at multiples of 256 bytes, a binding
has a largest size, a stage a largest number of bindings, and a buffer cannot be copied onto itself. wgpu checks little of
this, browsers all of it. So the plan is made once, here, for the native runtime and the bundle alike, and `verify` holds it
to the browser's rules:

* weights lie in read-only buffers of their own, cut where one would exceed the largest buffer;
* state, arena and io are one buffer each, always bound `read_write`;
* operands that overlap share one binding (a *group*), with a constant element offset each;
* an operand above the largest binding is bound in several pieces;
* a launch with too many operands binds neighbouring ranges of the same buffer as one;
* copies are dispatches of a kernel that is printed like any other.

A kernel whose operands are grouped in two ways is printed twice: once per `Variant`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ... import dtypes as dt
from ...kernels.ir import INDEX, Block, Buffer, Kernel, Loop, Machine, Op, Val
from ...kernels.steps import ALIGN, SPACES, Code, Cond, Copy, Launch, Ref, Step, While, walk
from .alignment import LANES, vector_buffers
from .plan import (
    Binding,
    BindingError,
    Branch,
    DeviceBuffer,
    Dispatch,
    GpuStep,
    Group,
    Limits,
    Plan,
    Repeat,
    Variant,
    element,
    verify,
    workgroups,
)  # fmt: skip


def copy_kernel(words: int, limits: Limits) -> Kernel:
    """A kernel that copies `words` 32-bit words from its first buffer to its second."""
    source = Buffer("source", dt.uint32, words)
    target = Buffer("target", dt.uint32, words, "write")
    start, stop = Op("const", (), 0), Op("const", (), words)
    for op in (start, stop):
        op.results = (Val(INDEX, 1, None, op),)
    i = Val(INDEX, 1, None)
    load = Op("load", (i,), source)
    load.results = (Val(dt.uint32, 1, None, load),)
    body = Block((i,), [load, Op("store", (i, load.results[0]), (target, 1))])
    loop = Op("loop", (start.results[0], stop.results[0]), Loop("parallel"), blocks=(body,))
    size = min(256, limits.invocations)
    return Kernel(f"copy_{words}", (source, target), Block((), [start, stop, loop]), workgroup=(size, 1, 1))


# -- planning ------------------------------------------------------------------------------------------------------------


def plan_bindings(code: Code, machine: Machine, limits: Limits | None = None) -> Plan:
    """The Plan of a Code.

    Raises:
        BindingError: a launch cannot be bound under the limits; says which and why.
    """
    return _Planner(code, machine, limits or Limits()).plan()


def _round(nbytes: int, to: int) -> int:
    return -(-nbytes // to) * to


@dataclass
class _Range:
    """Bytes low … high of a device buffer, and the kernel buffers in it."""

    buffer: int
    low: int
    high: int
    members: list[int]


class _Planner:
    def __init__(self, code: Code, machine: Machine, limits: Limits) -> None:
        self.code, self.machine, self.limits = code, machine, limits
        self.kernels = list(code.kernels)
        self.keys = {k.key(): i for i, k in reversed(list(enumerate(code.kernels)))}
        self.atomics = [_atomic_buffers(k) for k in code.kernels]
        self.vectors = [vector_buffers(k, self.machine.float16) for k in code.kernels]
        self.variants: dict[Variant, int] = {}
        self.clusters: list[tuple[int, int]] = []  # oversized weights: byte ranges in the region
        self.buffers = self._device_buffers()

    def plan(self) -> Plan:
        entries = {name: self._steps(steps) for name, steps in self.code.entries.items()}
        made = Plan(self.kernels, list(self.variants), self.buffers, entries, self.limits)
        verify(made)
        return made

    def _device_buffers(self) -> list[DeviceBuffer]:
        buffers = self._weight_buffers()
        for space in SPACES[1:]:
            size = _round(self.code.sizes.get(space, 0), ALIGN)
            if size or any(r.space == space for r in _refs(self.code)):
                buffers.append(DeviceBuffer(space, 0, size + ALIGN))  # room for an empty array at the very end
        return buffers

    def _weight_buffers(self) -> list[DeviceBuffer]:
        """Cut the weights region between arrays, so that each buffer is small enough; inside one only if it must be."""
        size = _round(self.code.sizes.get("weights", 0), ALIGN)
        refs = sorted({(r.offset, r.offset + r.nbytes) for r in _refs(self.code) if r.space == "weights"})
        if not size and not refs:
            return []
        clusters: list[list[int]] = []  # overlapping arrays stay together
        for low, high in refs:
            if clusters and low < clusters[-1][1]:
                clusters[-1][1] = max(clusters[-1][1], high)
            else:
                clusters.append([low, high])
        cuts = [0]
        most = self.limits.buffer_bytes // self.limits.binding_bytes * self.limits.binding_bytes
        for low, high in clusters:
            if high - low > self.limits.binding_bytes:
                self.clusters.append((low, high))
            if high - cuts[-1] > most and low > cuts[-1]:
                cuts.append(low)
            while high - cuts[-1] > most:
                cuts.append(cuts[-1] + most)
        while size + ALIGN - cuts[-1] > self.limits.buffer_bytes:
            cuts.append(cuts[-1] + most)
        ends = [*cuts[1:], size + ALIGN]
        return [DeviceBuffer("weights", low, high - low) for low, high in zip(cuts, ends)]

    def _steps(self, steps: tuple[Step, ...]) -> tuple[GpuStep, ...]:
        planned: list[GpuStep] = []
        for step in steps:
            match step:
                case Launch():
                    planned.append(self._launch(step))
                case Copy():
                    planned += self._copy(step)
                case Cond():
                    planned.append(Branch(self._flag(step.flag), self._steps(step.then), self._steps(step.otherwise)))
                case While():
                    planned.append(Repeat(self._flag(step.flag), self._steps(step.body), step.bound))
        return tuple(planned)

    def _flag(self, flag: Ref) -> Binding:
        buffer, offset = self._find(flag)
        return Binding(buffer, offset, 4)

    def _find(self, ref: Ref) -> tuple[int, int]:
        """The buffer a Ref starts in and where."""
        for i, b in enumerate(self.buffers):
            if b.space == ref.space and b.offset <= ref.offset < b.offset + b.size:
                return i, ref.offset - b.offset
        raise BindingError(f"{ref} lies outside its region of {self.code.sizes.get(ref.space, 0)} bytes")

    def _copy(self, step: Copy) -> Iterator[Dispatch]:
        """A copy as dispatches: WebGPU cannot copy a buffer onto itself, and ending the pass for a copy costs more.

        An odd number of halves copies 2 bytes more, which are padding (arrays start at multiples of ALIGN).
        """
        if step.source.nbytes != step.target.nbytes:
            raise BindingError(f"copy of {step.source.nbytes} bytes to {step.target.nbytes}")
        total, most = _round(step.source.nbytes, 4), self.limits.binding_bytes
        for start in range(0, total, most):
            n = min(most, total - start)
            kernel = copy_kernel(n // 4, self.limits)
            index = self.keys.setdefault(kernel.key(), len(self.kernels))
            if index == len(self.kernels):
                self.kernels.append(kernel)
                self.atomics.append(set())
                self.vectors.append(set())
            pieces = (Ref(r.space, r.offset + start, n) for r in (step.source, step.target))
            yield self._launch(Launch(index, tuple(pieces), "copy"))

    def _launch(self, launch: Launch) -> Dispatch:
        kernel = self.kernels[launch.kernel]
        if len(launch.args) != len(kernel.buffers):
            raise BindingError(f"kernel {kernel.name} has {len(kernel.buffers)} buffers, a launch binds {len(launch.args)}")
        for b, ref in zip(kernel.buffers, launch.args):
            if ref.nbytes * 8 < b.size * min(b.dtype.bits, 32):
                raise BindingError(f"{kernel.name}: {b.name} has {b.size} elements of {b.dtype}, more than {ref} holds")
        ranges = self._ranges(kernel, launch.args)
        self._merge_to_fit(kernel, ranges)
        groups, slots, bindings = [], {}, []
        for number, r in enumerate(ranges):
            group, found = self._group(launch.kernel, r)
            groups.append(group)
            bindings += found
            for i in r.members:
                offset = launch.args[i].offset - self.buffers[r.buffer].offset - r.low
                slots[i] = (number, offset // (min(kernel.buffers[i].dtype.bits, 32) // 8))
        variant = Variant(launch.kernel, tuple(groups), tuple(slots[i] for i in range(len(kernel.buffers))))
        index = self.variants.setdefault(variant, len(self.variants))
        return Dispatch(index, tuple(bindings), workgroups(kernel, self.limits), launch.label)

    def _ranges(self, kernel: Kernel, args: tuple[Ref, ...]) -> list[_Range]:
        """One range per operand, overlapping ones united, in the order of the buffers that begin them."""
        ranges: list[_Range] = []
        for i, (b, ref) in enumerate(zip(kernel.buffers, args)):
            if ref.offset % ALIGN:
                raise BindingError(f"{kernel.name}: {b.name} is at {ref}, not at a multiple of {ALIGN} bytes")
            if ref.space == "weights" and b.access != "read":
                raise BindingError(f"{kernel.name} writes {b.name}, which is bound to weights")
            buffer, low = self._find(ref)
            high = low + max(4, _round(ref.nbytes, 4))
            for start, stop in self.clusters if ref.space == "weights" else ():
                if start <= ref.offset < stop:  # cut where its cluster is cut
                    buffer, low = self._find(Ref("weights", start, stop - start))
                    high = low + _round(stop - start, 4)
            members = [i]
            for other in [r for r in ranges if r.buffer == buffer and r.low < high and low < r.high]:
                ranges.remove(other)
                low, high, members = min(low, other.low), max(high, other.high), other.members + members
            ranges.append(_Range(buffer, low, high, members))
        ranges.sort(key=lambda r: min(r.members))
        return ranges

    def _pieces(self, r: _Range) -> int:
        return max(1, -(-(r.high - r.low) // self.limits.binding_bytes))

    def _merge_to_fit(self, kernel: Kernel, ranges: list[_Range]) -> None:
        """While there are more bindings than a stage may have, bind the two nearest ranges of a buffer as one; of equal
        elements if possible."""

        def between(a: _Range, b: _Range) -> list[_Range]:
            return [r for r in ranges if r.buffer == a.buffer and a.low <= r.low and r.high <= b.high]

        while sum(map(self._pieces, ranges)) > self.limits.storage_buffers:
            best: tuple[tuple[bool, int], _Range, _Range] | None = None
            for a in ranges:
                for b in ranges:
                    if a.buffer == b.buffer and a.low < b.low and b.high - a.low <= self.limits.binding_bytes:
                        mixed = self._halves_among_words(kernel, [i for r in between(a, b) for i in r.members])
                        score = (mixed is not None, b.high - a.low)
                        if mixed != "written" and (best is None or score < best[0]):
                            best = (score, a, b)
            largest = max(r.high - r.low for r in ranges)
            if best is None and largest > self.limits.binding_bytes:
                raise BindingError(
                    f"kernel {kernel.name} has an operand of {largest} bytes, which takes more bindings of "
                    f"{self.limits.binding_bytes} bytes (maxStorageBufferBindingSize) than the {self.limits.storage_buffers} "
                    "that WebGPU has in any case; use a smaller batch or smaller inputs, or another device"
                )
            if best is None:
                raise BindingError(
                    f"kernel {kernel.name} needs {sum(map(self._pieces, ranges))} storage buffers, the limit "
                    f"maxStorageBuffersPerShaderStage is {self.limits.storage_buffers}; give the kernel fewer operands"
                )
            _, a, b = best
            inside = between(a, b)
            for r in inside:
                ranges.remove(r)
            ranges.append(_Range(a.buffer, a.low, b.high, sorted(i for r in inside for i in r.members)))
            ranges.sort(key=lambda r: min(r.members))

    def _halves_among_words(self, kernel: Kernel, members: list[int]) -> str | None:
        """Whether some of these operands are float16 and others 32-bit words, which halves of can be "read", not "written"."""
        buffers = [kernel.buffers[i] for i in members]
        halves = [b for b in buffers if element(b.dtype, self.machine.float16) == "f16"]
        if not halves or len(halves) == len(buffers):
            return None
        return "read" if all(b.access == "read" for b in halves) else "written"

    def _group(self, kernel: int, r: _Range) -> tuple[Group, list[Binding]]:
        buffers = [self.kernels[kernel].buffers[i] for i in r.members]
        kinds = {element(b.dtype, self.machine.float16) for b in buffers}
        if self._halves_among_words(self.kernels[kernel], r.members) == "written":
            names = [b.name for b in buffers]
            raise BindingError(f"{self.kernels[kernel].name}: float16 results overlap 32-bit operands: {names}")
        kind = next(iter(kinds)) if len(kinds) == 1 else "u32"
        atomic = any(b in self.atomics[kernel] for b in buffers)
        if atomic:
            kind = next(element(b.dtype, self.machine.float16) for b in buffers if b in self.atomics[kernel])
        space, limit = self.buffers[r.buffer].space, self.limits.binding_bytes
        pieces = self._pieces(r)
        if atomic and pieces > 1:
            raise BindingError(f"{self.kernels[kernel].name}: an operand of atomics is larger than {limit} bytes")
        access = "read" if space == "weights" else "read_write"
        piece = limit // (2 if kind == "f16" else 4) if pieces > 1 else 0
        whole = len(kinds) == 1 and piece % LANES == 0 and all(b in self.vectors[kernel] for b in buffers)
        group = Group(kind, access, atomic, pieces, piece, LANES if whole else 1)
        bindings = []
        buffer, offset, left = r.buffer, r.low, r.high - r.low
        for _ in range(pieces):
            if offset >= self.buffers[buffer].size:
                buffer, offset = buffer + 1, 0
            bindings.append(Binding(buffer, offset, min(limit, left)))
            offset, left = offset + limit, left - limit
        return group, bindings


def _atomic_buffers(kernel: Kernel) -> set[Buffer]:
    return {op.attr[0] for op in kernel.walk() if op.kind == "atomic"}


def _refs(code: Code) -> Iterator[Ref]:
    for entry in code.entries.values():
        for step in walk(entry):
            match step:
                case Launch():
                    yield from step.args
                case Copy():
                    yield from (step.source, step.target)
                case Cond() | While():
                    yield step.flag
