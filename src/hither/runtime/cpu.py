"""Native execution: what the host can do, LLVM IR to machine code through llvmlite, and running it.

llvmlite is loaded on first use: importing hither does not need it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.ir import Machine
from ..kernels.sharing import WORTH_WAKING, shared_work
from ..kernels.steps import SPACES, Code
from ..targets.llvm import Target, entry_symbol, print_module
from ..targets.llvm.inputs import direct
from ..targets.llvm.sharing import POINTERS, REST, SHARED_BYTES, THREADS, print_helper
from .host_memory import aligned_empty
from .object_cache import ObjectCache, cache_directory
from .threads import WorkerPool, get_num_threads

if TYPE_CHECKING:
    from types import ModuleType

ABI = "4"  # of entries; changes when their signature or the layout of the shared memory does
OPTIMISATION = 2
_ENTRY = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * (len(POINTERS) + 1))
_HELP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


# -- the host ------------------------------------------------------------------------------------------------------------


def has_llvm() -> bool:
    """Whether llvmlite is installed. It does not exist for every processor; WebAssembly runs in its place then."""
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        return False
    return True


@functools.cache
def _llvm() -> ModuleType:
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise ImportError(
            "native execution needs llvmlite, which is not installed (pip install llvmlite); without it device='cpu' runs "
            "WebAssembly through wasmtime (pip install 'hither[wasmtime]')"
        ) from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def _host() -> tuple[str, frozenset[str], str]:
    """The processor's name, the features it reports (those that the operating system enables), and all as LLVM's string."""
    llvm = _llvm()
    features = llvm.get_host_cpu_features()
    text = features.flatten()
    present = frozenset(name for name, on in features.items() if on)
    if _vector_bits(present) == 512:
        text += ",-prefer-256-bit"  # some processors' tuning would split 512-bit vectors
    return llvm.get_host_cpu_name(), present, text


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _vector_bits(features: frozenset[str]) -> int:
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features:
        return 512
    return 256 if {"avx2", "fma"} <= features else 128


def host_target() -> Target:
    """The host's instruction set, as the printer must know it."""
    arch = _architecture()
    return Target(arch, rounding=arch != "x86_64" or "sse4.1" in _host()[1])


@functools.cache
def host_machine() -> Machine:
    """What lowerings may assume of this processor; nothing that it does not report."""
    features, arm = _host()[1], _architecture() == "aarch64"
    bits = _vector_bits(features)
    return Machine(
        "llvm",
        vector_bits=bits,
        vector_registers=32 if arm or bits == 512 else 16,
        float16=arm or "f16c" in features,  # converting halves is in the base instruction set of aarch64
        fma=arm or "fma" in features,
        dot="unsigned" if bits == 512 and "avx512vnni" in features else "",
        l2_bytes=_l2_bytes(),
    )


def _l2_bytes() -> int:
    """The second-level cache of one core; 1 MiB where the system does not say."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "level").read_text().strip() == "2":
                return int((index / "size").read_text().strip().removesuffix("K")) << 10
        except (OSError, ValueError):
            break
    return 1 << 20


# -- compiling -----------------------------------------------------------------------------------------------------------


def _triple() -> str:
    """The process's own; on Windows with ELF objects, since COFF ones refer to the C runtime (_fltused)."""
    triple: str = _llvm().get_process_triple()
    return f"{triple}-elf" if sys.platform == "win32" else triple


def _target_machine() -> Any:
    name, _, features = _host()
    target = _llvm().Target.from_triple(_triple())
    # position-independent: references stay inside the object, wherever its memory comes to lie
    return target.create_target_machine(cpu=name, features=features, opt=OPTIMISATION, reloc="pic", codemodel="small")


def compiler_identity() -> tuple[str, ...]:
    """All that an object depends on beside the text it is compiled from: host, LLVM and its options."""
    name, _, features = _host()
    version = ".".join(map(str, _llvm().llvm_version_info))
    options = f"opt={OPTIMISATION} reloc=pic codemodel=small"
    return name, features, _triple(), f"LLVM {version}", options, f"ABI {ABI}"


def compile_object(text: str, cache: ObjectCache | None = None) -> bytes:
    """LLVM IR text to an object for this host, from the cache if it is there."""
    llvm = _llvm()
    cache = cache or default_cache()
    key = cache.key(text, *compiler_identity())
    found = cache.get(key)
    if found is not None:
        return found
    machine = _target_machine()
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    data: bytes = machine.emit_object(module)
    cache.put(key, data)
    return data


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory)


def default_cache() -> ObjectCache:
    """The user's cache of objects."""
    return _cache_at(cache_directory() / "objects")


class NativeModule:
    """An object in executable memory, which it owns: the code lives as long as this."""

    def __init__(self, data: bytes) -> None:
        llvm = _llvm()
        module = llvm.parse_assembly("")
        machine = _target_machine()
        module.triple = machine.triple
        # One block for all sections: apart, a constant may end up too far from the code for its 32-bit displacement.
        self._engine = llvm.create_mcjit_compiler(module, machine, use_lmm=True)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function is."""
        found: int = self._engine.get_function_address(name)
        if not found:
            raise KeyError(f"the object has no function {name!r}")
        return found


# -- running -------------------------------------------------------------------------------------------------------------


@functools.cache
def _rest() -> int:
    """The address of the function that takes a thread off its core for some microseconds. Windows has none: it yields there."""
    if sys.platform == "win32":
        return ctypes.cast(ctypes.WinDLL("kernel32").SwitchToThread, ctypes.c_void_p).value or 0
    return ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value or 0


@functools.cache
def _pool() -> WorkerPool:
    module = NativeModule(compile_object(print_helper(_architecture())))
    memory = aligned_empty(SHARED_BYTES, "threads")
    memory[:] = 0
    memory[REST : REST + 8].view(np.uint64)[0] = _rest()
    work = _HELP(module.address("help"))
    work._module = module  # type: ignore[attr-defined]
    return WorkerPool(memory, memory[THREADS : THREADS + 8].view(np.int64), work)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork

_in_use: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_in_use_guard = threading.Lock()


def _locks(addresses: list[int]) -> list[Any]:
    """The locks of the regions that start at these addresses, in the one order in which everybody takes them."""
    with _in_use_guard:
        return [_in_use.setdefault(address, threading.Lock()) for address in sorted(set(addresses))]


def address_table(addresses: Sequence[int]) -> ctypes.Array[ctypes.c_void_p]:
    """Addresses in memory, for native code to read."""
    return (ctypes.c_void_p * len(addresses))(*addresses)


@dataclass(frozen=True)
class NativeCode:
    """A Code compiled for this host: the object, and what must be known to run it."""

    object: bytes
    sizes: dict[str, int]  # of every region
    symbols: dict[str, str]  # entry → function in the object
    shared: dict[str, bool]  # entry → whether threads help with it
    direct: dict[str, list[int]]  # entry → where in io the inputs would be whose addresses it is given


def compile_code(code: Code, machine: Machine, worth_sharing: float = WORTH_WAKING) -> NativeCode:
    """Machine code for this host; entries with fewer chunks of work than `worth_sharing` run on one thread."""
    return NativeCode(
        compile_object(print_module(code, machine, host_target())),
        {space: code.sizes.get(space, 0) for space in SPACES},
        {entry: entry_symbol(code, entry) for entry in code.entries},
        {entry: shared_work(code, steps) >= worth_sharing for entry, steps in code.entries.items()},
        {entry: [ref.offset for ref in direct(code, entry)] for entry in code.entries},
    )


class CpuExecutable:
    """A Program's code, compiled for this host, over weights that all its runs share.

    Args:
        code: kernels lowered for `machine`, and entries.
        machine: `host_machine()`, or one that asks for less.
        weights: the weights region; used where it is if it is aligned, else copied once.
        worth_sharing: entries with fewer chunks of work than this run on one thread.

    Example:
        executable = CpuExecutable(code, host_machine(), weights)
        executable.run("predict", state, arena, io)
    """

    def __init__(
        self,
        code: Code,
        machine: Machine,
        weights: bytes | memoryview | np.ndarray = b"",
        worth_sharing: float = WORTH_WAKING,
    ) -> None:
        self._load(compile_code(code, machine, worth_sharing), weights)

    @classmethod
    def of_native(cls, native: NativeCode, weights: bytes | memoryview | np.ndarray = b"") -> CpuExecutable:
        """From what compile_code has made, now or in another process."""
        made = cls.__new__(cls)
        made._load(native, weights)
        return made

    def _load(self, native: NativeCode, weights: bytes | memoryview | np.ndarray) -> None:
        self.native, self.object, self.sizes, self._shared = native, native.object, native.sizes, native.shared
        source = np.frombuffer(weights, np.uint8) if not isinstance(weights, np.ndarray) else weights.reshape(-1).view(np.uint8)
        if source.nbytes < self.sizes["weights"]:
            raise ValueError(f"the weights have {source.nbytes} bytes, the code expects {self.sizes['weights']}")
        if source.ctypes.data % 64:
            aligned = aligned_empty(source.nbytes, "weights")
            aligned[:] = source
            source = aligned
        self.weights = source
        self._weights_pointer: int = source.ctypes.data
        self._module = NativeModule(native.object)
        self._functions = {entry: _ENTRY(self._module.address(symbol)) for entry, symbol in native.symbols.items()}

    def run(self, entry: str, state: np.ndarray, arena: np.ndarray, io: np.ndarray, threads: int | None = None) -> None:
        """Run an entry on these regions (see aligned_empty). Runs that share an arena or a state go one after the other.

        Args:
            threads: how many threads to use; what set_num_threads says if not given.
        """
        if entry not in self._functions:
            raise KeyError(f"no entry {entry!r}; there are {', '.join(map(repr, self._functions))}")
        threads = get_num_threads() if threads is None else threads
        if threads < 1:
            raise ValueError(f"cannot run on {threads} threads")
        pointers = [self.pointer(space, region) for space, region in (("state", state), ("arena", arena), ("io", io))]
        held = []
        try:
            for lock in _locks([p for p, space in zip(pointers, SPACES[1:]) if self.sizes[space]]):
                lock.acquire()
                held.append(lock)
            inputs = address_table([pointers[-1] + offset for offset in self.native.direct[entry]])
            self.enter(entry, (*pointers, ctypes.addressof(inputs)), threads)
        finally:
            for lock in held:
                lock.release()

    def enter(self, entry: str, pointers: Sequence[int], threads: int) -> None:
        """Run an entry on the regions at these addresses of state, arena and io, in which nobody else runs, with the address of
        a table of where inputs are (`NativeCode.direct`)."""
        if threads == 1 or not self._shared[entry]:
            self._functions[entry](self._weights_pointer, *pointers, None)
        else:
            _pool().run(self._functions[entry], (self._weights_pointer, *pointers), threads)

    def pointer(self, space: str, region: np.ndarray) -> int:
        """Where a region begins.

        Raises:
            ValueError: the memory is no such region.
        """
        if region.dtype != np.uint8 or not region.flags.c_contiguous or region.nbytes < self.sizes[space]:
            raise ValueError(
                f"region {space}: expected {self.sizes[space]} contiguous uint8, got {region.nbytes} bytes of {region.dtype}"
            )
        address: int = region.__array_interface__["data"][0]  # a third of the time that region.ctypes takes
        if address % 64 and self.sizes[space]:
            raise ValueError(f"region {space} starts at {address:#x}, not at a multiple of 64; make it with aligned_empty")
        return address
