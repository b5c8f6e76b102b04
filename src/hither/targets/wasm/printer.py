"""Code → a WebAssembly module: one function per distinct kernel, one exported function per entry.

An entry is called by each thread as `entry(weights, state, arena, io, thread, nthreads, sync, scratch)`: byte addresses of the
four regions, which thread this is of how many, SYNC_BYTES of zeroed memory for barriers and `scratch_bytes` of memory of the
thread's own. When it returns on any thread, all its work is done. The memory is imported as MEMORY.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...kernels.ir import Kernel, Machine
from ...kernels.steps import SPACES, Code, Cond, Copy, Launch, Ref, Step, While, walk
from .encoder import EMPTY_BLOCK, I32, OPCODES, Function, ModuleWriter, constant, memarg, unsigned
from .helpers import SYNC_BYTES, helper
from .lower import KernelLowering
from .stackify import print_function

MEMORY = ("env", "memory")
_THREAD, _NTHREADS, _SYNC, _SCRATCH, _FLAG = range(len(SPACES), len(SPACES) + 5)  # locals of an entry, after the regions


@dataclass(frozen=True)
class WasmModule:
    """A module and what its loader must know of it."""

    bytes: bytes
    shared_flag_offset: int  # the byte there is 0x01; a loader that shares the memory between threads writes 0x03
    scratch_bytes: int  # memory that each thread needs for itself, aligned to 16
    relaxed: bool
    entries: tuple[str, ...]
    sync_bytes: int = SYNC_BYTES


def print_module(code: Code, machine: Machine, relaxed: bool, names: bool = False) -> WasmModule:
    """Print kernels and entries as one module.

    Args:
        machine: what the kernels were lowered for; must be a wasm machine.
        relaxed: use relaxed SIMD (fused multiply-add, one-instruction blends). Such a module needs an engine that has it.
        names: write function names into the module, for profilers and stack traces.

    Raises:
        ValueError: for kernels that were lowered for another machine, naming the kernel and the operation.
    """
    if machine.name != "wasm":
        raise ValueError(f"print_module got kernels for the machine {machine.name!r}; lower them for a Machine named 'wasm'")
    module = ModuleWriter(MEMORY)
    helpers: dict[str, int] = {}

    def helper_index(name: str) -> int:
        if name not in helpers:
            helpers[name] = module.add(helper(name))
        return helpers[name]

    barrier = helper_index("barrier")
    launched = {s.kernel for steps in code.entries.values() for s in walk(steps) if isinstance(s, Launch)}
    printed: dict[str, _Printed] = {}
    by_number: dict[int, _Printed] = {}
    scratch_bytes = 0
    for number in sorted(launched):
        kernel = code.kernels[number]
        key = kernel.key()
        if key not in printed:
            lowered = KernelLowering(kernel, relaxed, helper_index)
            index = module.add(print_function(kernel.name, lowered.params, lowered.n.root))
            uses_threads = any(op.kind in ("thread", "threads") for op in kernel.walk())
            printed[key] = _Printed(kernel, index, lowered.has_parallel or uses_threads)
            scratch_bytes = max(scratch_bytes, lowered.scratch_bytes)
        by_number[number] = printed[key]
    for name, steps in code.entries.items():
        entry = _Entry(by_number, barrier)
        entry.steps(steps)
        entry.barrier()
        module.add(Function(name, (I32,) * 8, (), ((1, I32),), b"".join(entry.code)), export=name)
    raw, flag = module.finish(names)
    return WasmModule(raw, flag, scratch_bytes, relaxed, tuple(code.entries))


@dataclass(frozen=True)
class _Printed:
    kernel: Kernel
    index: int
    on_all_threads: bool


@dataclass(frozen=True)
class _Access:
    """Bytes touched since the last barrier."""

    ref: Ref
    writes: bool
    on_all_threads: bool

    def conflicts(self, other: _Access) -> bool:
        """Whether the two must not overlap in time. What thread 0 does alone happens in order anyway."""
        a, b = self.ref, other.ref
        return (
            (self.writes or other.writes)
            and (self.on_all_threads or other.on_all_threads)
            and a.space == b.space
            and a.offset < b.offset + b.nbytes
            and b.offset < a.offset + a.nbytes
        )


@dataclass
class _Entry:
    """Writes the body of one entry."""

    kernels: dict[int, _Printed]
    barrier_index: int
    code: list[bytes] = field(default_factory=list)
    pending: list[_Access] = field(default_factory=list)

    def _emit(self, op: str, immediate: bytes = b"") -> None:
        self.code.append(OPCODES[op] + immediate)

    def _get(self, local: int) -> None:
        self._emit("local.get", unsigned(local))

    def _address(self, ref: Ref) -> None:
        self._get(SPACES.index(ref.space))
        if ref.offset:
            self._emit("i32.const", constant(I32, ref.offset))
            self._emit("i32.add")

    def barrier(self) -> None:
        """Wait for all threads."""
        self._get(_SYNC)
        self._get(_NTHREADS)
        self._emit("call", unsigned(self.barrier_index))
        self.pending.clear()

    def _touch(self, accesses: list[_Access]) -> None:
        """A barrier if these accesses conflict with what has run since the last one."""
        if any(new.conflicts(old) for new in accesses for old in self.pending):
            self.barrier()
        self.pending += accesses

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Launch():
                    self._launch(step)
                case Copy():
                    self._copy(step)
                case Cond():
                    self._cond(step)
                case While():
                    self._while(step)

    def _launch(self, step: Launch) -> None:
        printed = self.kernels[step.kernel]
        kernel, everyone = printed.kernel, printed.on_all_threads
        if len(step.args) != len(kernel.buffers):
            raise ValueError(f"a launch of {kernel.name} binds {len(step.args)} refs; it has {len(kernel.buffers)} buffers")
        self._touch(
            [_Access(ref, buffer.access != "read", everyone) for ref, buffer in zip(step.args, kernel.buffers, strict=True)]
        )
        if not everyone:
            self._only_first_thread()
        for ref in step.args:
            self._address(ref)
        for local in (_THREAD, _NTHREADS, _SCRATCH):
            self._get(local)
        self._emit("call", unsigned(printed.index))
        if not everyone:
            self._emit("end")

    def _only_first_thread(self) -> None:
        self._get(_THREAD)
        self._emit("i32.eqz")
        self._emit("if", EMPTY_BLOCK)

    def _copy(self, step: Copy) -> None:
        self._touch([_Access(step.source, False, False), _Access(step.target, True, False)])
        self._only_first_thread()
        self._address(step.target)
        self._address(step.source)
        self._emit("i32.const", constant(I32, step.source.nbytes))
        self._emit("memory.copy", b"\0\0")
        self._emit("end")

    def _read_flag(self, flag: Ref) -> None:
        """Read a bool on every thread. The second barrier keeps a fast thread from changing it under a slow one."""
        if self.pending:
            self.barrier()
        self._get(SPACES.index(flag.space))
        self._emit("i32.load8_u", memarg(0, flag.offset))
        self._emit("local.set", unsigned(_FLAG))
        self.barrier()
        self._get(_FLAG)

    def _cond(self, step: Cond) -> None:
        self._read_flag(step.flag)
        self._emit("if", EMPTY_BLOCK)
        self._branch(step.then)
        if step.otherwise:
            self._emit("else")
            self._branch(step.otherwise)
        self._emit("end")

    def _branch(self, steps: tuple[Step, ...]) -> None:
        self.steps(steps)
        if self.pending:
            self.barrier()

    def _while(self, step: While) -> None:
        self._emit("block", EMPTY_BLOCK)
        self._emit("loop", EMPTY_BLOCK)
        self._read_flag(step.flag)
        self._emit("i32.eqz")
        self._emit("br_if", b"\1")
        self._branch(step.body)
        self._emit("br", b"\0")
        self._emit("end")
        self._emit("end")
