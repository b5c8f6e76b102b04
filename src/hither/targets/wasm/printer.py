"""Code → a WebAssembly module: one function per distinct kernel, one exported function per entry.

An entry is called as `entry(weights, state, arena, io, threads, sync, scratch)`: byte addresses of the four regions, how many
threads there are, SYNC_BYTES of memory that was zero before the first run, and `scratch_bytes` of memory of the calling
thread's own. When it returns, all its work is done. The other threads, each an instance of the module over the same shared
memory, have called the export HELP as `help(sync, scratch)`, which does not return. The memory is imported as MEMORY.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...kernels.ir import Kernel, Machine
from ...kernels.sharing import WORTH_WAKING, most_chunks, shared_work
from ...kernels.steps import ALIGN, SPACES, Code, Cond, Copy, Launch, Ref, Step, While, walk
from .encoder import EMPTY_BLOCK, I32, OPCODES, Function, ModuleWriter, constant, memarg, unsigned, vector
from .helpers import helper
from .lower import KernelLowering
from .sharing import STEP_PARAMS, SYNC_BYTES, help_, share, wake
from .stackify import print_function

MEMORY = ("env", "memory")
HELP = "@help"  # entries of bundles have something before the @
_THREADS, _SYNC, _SCRATCH = range(len(SPACES), len(SPACES) + 3)  # parameters of an entry, after the regions


@dataclass(frozen=True)
class WasmModule:
    """A module and what its loader must know of it."""

    bytes: bytes
    shared_flag_offset: int  # the byte there is 0x01; a loader that shares the memory between threads writes 0x03
    scratch_bytes: int  # memory that each thread needs for itself, a multiple of ALIGN
    relaxed: bool
    entries: tuple[str, ...]
    sync_bytes: int = SYNC_BYTES


def print_module(
    code: Code, machine: Machine, relaxed: bool, names: bool = False, worth_sharing: float = WORTH_WAKING, apart: bool = False
) -> WasmModule:
    """Print kernels and entries as one module.

    Args:
        machine: what the kernels were lowered for; must be a wasm machine.
        relaxed: use relaxed SIMD (fused multiply-add, one-instruction blends). Such a module needs an engine that has it.
        names: write function names into the module, for profilers and stack traces.
        worth_sharing: entries with fewer chunks of work than this run on one thread, however many there are.
        apart: print relaxed products of bytes as the three operations that processors without such a product make of them:
            an engine would write a constant for each anew.

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

    launched = {s.kernel for steps in code.entries.values() for s in walk(steps) if isinstance(s, Launch)}
    printed: dict[str, _Printed] = {}
    by_number: dict[int, _Printed] = {}
    scratch_bytes = 0
    for number in sorted(launched):
        kernel = code.kernels[number]
        key = kernel.key()
        if key not in printed:
            lowered = KernelLowering(kernel, relaxed, helper_index, apart)
            index = module.add(print_function(kernel.name, lowered.params, lowered.n.root))
            printed[key] = _Printed(kernel, index, most_chunks(kernel))
            scratch_bytes = max(scratch_bytes, -(-lowered.scratch_bytes // ALIGN) * ALIGN)
        by_number[number] = printed[key]

    shares = {name: shared_work(code, steps) >= worth_sharing for name, steps in code.entries.items()}
    shared: dict[_Step, int] = {}  # the number of each step that threads share
    for name, steps in code.entries.items():
        for step in walk(steps):
            if shares[name] and isinstance(step, Launch) and by_number[step.kernel].most_chunks > 1:
                shared.setdefault((by_number[step.kernel], step.args), len(shared))
    dispatch = module.add(_dispatch(list(shared)))
    calls = _Calls(by_number, shared, module.add(share(dispatch)), module.add(wake()))
    module.add(help_(dispatch), export=HELP)
    for name, steps in code.entries.items():
        entry = _Entry(calls, shares[name])
        if shares[name]:
            entry.wake()
        entry.steps(steps)
        module.add(Function(name, (I32,) * 7, (), (), b"".join(entry.code)), export=name)
    raw, flag = module.finish(names)
    return WasmModule(raw, flag, scratch_bytes, relaxed, tuple(code.entries))


def multiplies_bytes(code: Code) -> bool:
    """Whether a relaxed module has products of bytes, and so is another one if they are printed apart."""
    return any(op.kind == "dot" and op.attr == "seven bits" for kernel in code.kernels for op in kernel.walk())


@dataclass(frozen=True, eq=False)
class _Printed:
    kernel: Kernel
    index: int
    most_chunks: int


_Step = tuple[_Printed, tuple[Ref, ...]]


@dataclass(frozen=True)
class _Calls:
    """What entries call."""

    kernels: dict[int, _Printed]
    shared: dict[_Step, int]
    share: int
    wake: int


@dataclass
class _Writer:
    """Writes the body of a function whose parameters `regions` on are the addresses of the regions."""

    regions: int = 0
    code: list[bytes] = field(default_factory=list)

    def emit(self, op: str, immediate: bytes = b"") -> None:
        self.code.append(OPCODES[op] + immediate)

    def get(self, local: int) -> None:
        self.emit("local.get", unsigned(local))

    def number(self, value: int) -> None:
        self.emit("i32.const", constant(I32, value))

    def address(self, ref: Ref) -> None:
        self.get(self.regions + SPACES.index(ref.space))
        if ref.offset:
            self.number(ref.offset)
            self.emit("i32.add")

    def call(self, printed: _Printed, args: tuple[Ref, ...], chunk: Callable[[], None]) -> None:
        """Call a kernel; `chunk` pushes chunk, chunks and scratch."""
        for ref in args:
            self.address(ref)
        chunk()
        self.emit("call", unsigned(printed.index))


def _dispatch(steps: list[_Step]) -> Function:
    """`step(number, regions, chunk, chunks, scratch)`: one chunk of a shared step. A helper has no other way to name it."""
    w = _Writer(regions=1)

    def chunk() -> None:
        for local in range(1 + len(SPACES), len(STEP_PARAMS)):
            w.get(local)

    for _ in range(len(steps) + 1):
        w.emit("block", EMPTY_BLOCK)
    w.get(0)
    w.emit("br_table", vector([unsigned(i) for i in range(len(steps))]) + unsigned(len(steps)))
    for printed, args in steps:
        w.emit("end")
        w.call(printed, args, chunk)
        w.emit("return")
    w.emit("end")
    w.emit("unreachable")
    return Function("step", STEP_PARAMS, (), (), b"".join(w.code))


class _Entry(_Writer):
    """Writes the body of one entry: the control flow of a run."""

    def __init__(self, calls: _Calls, shares: bool) -> None:
        super().__init__()
        self.calls, self.shares = calls, shares

    def wake(self) -> None:
        self.get(_THREADS)
        self.get(_SYNC)
        self.emit("call", unsigned(self.calls.wake))

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
        printed = self.calls.kernels[step.kernel]
        kernel = printed.kernel
        if len(step.args) != len(kernel.buffers):
            raise ValueError(f"a launch of {kernel.name} binds {len(step.args)} refs; it has {len(kernel.buffers)} buffers")
        if self.shares and printed.most_chunks > 1:
            self.number(self.calls.shared[printed, step.args])
            self.number(printed.most_chunks)
            for i in range(len(SPACES) + 3):
                self.get(i)
            self.emit("call", unsigned(self.calls.share))
        else:
            self.call(printed, step.args, self._alone)

    def _alone(self) -> None:
        self.number(0)
        self.number(1)
        self.get(_SCRATCH)

    def copy(self, step: Copy) -> None:
        self.address(step.target)
        self.address(step.source)
        self.number(step.source.nbytes)
        self.emit("memory.copy", b"\0\0")

    def flag(self, flag: Ref) -> None:
        self.get(SPACES.index(flag.space))
        self.emit("i32.load8_u", memarg(0, flag.offset))

    def cond(self, step: Cond) -> None:
        self.flag(step.flag)
        self.emit("if", EMPTY_BLOCK)
        self.steps(step.then)
        if step.otherwise:
            self.emit("else")
            self.steps(step.otherwise)
        self.emit("end")

    def loop(self, step: While) -> None:
        self.emit("block", EMPTY_BLOCK)
        self.emit("loop", EMPTY_BLOCK)
        self.flag(step.flag)
        self.emit("i32.eqz")
        self.emit("br_if", b"\1")
        self.steps(step.body)
        self.emit("br", b"\0")
        self.emit("end")
        self.emit("end")
