"""WebAssembly execution on this computer: the modules that bundles ship, run through wasmtime.

It is what runs a bundle from Python, and what `device="cpu"` is where llvmlite does not exist. One linear memory holds all
regions, laid out as the JavaScript loader lays them out; a fork is another state region in the same memory, over the same
weights. wasmtime is loaded on first use.
"""

from __future__ import annotations

import atexit
import functools
import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HitherError, OutOfMemory
from ..kernels.ir import Machine
from ..kernels.steps import ALIGN, SPACES, Code
from ..targets.wasm.printer import HELP, MEMORY, print_module
from .accounts import PROGRAMS, Account

if TYPE_CHECKING:
    from types import ModuleType

PAGE_BYTES = 1 << 16
MAX_PAGES = 1 << 16  # 4 GiB, all that 32-bit addresses reach; what our modules import
HEAD_BYTES = ALIGN  # so that no region lies at address 0
account = Account()
FEATURES = ("relaxed-simd",)  # beyond simd128: what a bundle's build may require of this runtime


class WasmError(HitherError, RuntimeError):
    """A WebAssembly module cannot be used here, or failed while it ran."""


class WasmtimeMissing(HitherError, ImportError):
    """The package wasmtime, through which WebAssembly runs here, is not installed."""


@functools.cache
def _wasmtime() -> ModuleType:
    try:
        import wasmtime
    except ImportError as error:
        raise WasmtimeMissing(
            "running WebAssembly needs the package wasmtime, which is not installed: pip install 'hither[wasmtime]'"
        ) from error
    except (RuntimeError, OSError) as error:
        raise WasmtimeMissing(f"wasmtime is installed but does not run on this computer: {error}") from error
    return wasmtime


@functools.cache
def _engine() -> Any:
    wasmtime = _wasmtime()
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.wasm_threads = True  # sharing work takes atomic instructions, which validate without shared memory too
    engine = wasmtime.Engine(config)
    atexit.register(engine.close)  # its own finalizer would run when the interpreter has taken its package apart already
    return engine


def wasm_machine() -> Machine:
    """What lowerings may assume of a WebAssembly engine: the same as for a bundle, so that what runs here is what ships."""
    return Machine("wasm", dot="unsigned")


class WasmState:
    """A state region in the memory of an executable; given back when the last reference goes."""

    __slots__ = ("__weakref__", "address")

    def __init__(self, address: int) -> None:
        self.address = address


class WasmExecutable:
    """A module with its memory: weights, arena and io, which all states share.

    A store of wasmtime is used by one thread at a time, so runs of one executable go one after the other.

    Args:
        module: the bytes of a module that targets/wasm printed.
        sizes: bytes of the regions "weights", "state", "arena" and "io".
        scratch: bytes that a thread needs for itself.
        sync: bytes that threads share work through; there is one here.

    Raises:
        WasmError: if the module is malformed or wants something else than our memory.
        OutOfMemory: if there is no room for the memory.
        WasmtimeMissing: if wasmtime is not installed.

    Example:
        executable = WasmExecutable.of_code(code, wasm_machine())
        executable.write("weights", 0, image)
        (y,) = executable.run("predict", [(0, x)], [(256, y_dtype, y_shape)], executable.new_state())
    """

    def __init__(self, module: bytes, sizes: Mapping[str, int], scratch: int, sync: int) -> None:
        self._wasmtime = wasmtime = _wasmtime()
        self.sizes = {space: sizes.get(space, 0) for space in SPACES}
        self.overhead = scratch + sync
        self._at: dict[str, int] = {}
        end = HEAD_BYTES
        for name, nbytes in {"sync": sync, **self.sizes, "scratch": scratch}.items():
            self._at[name] = end
            end = _aligned(end + nbytes)
        if end > MAX_PAGES * PAGE_BYTES:
            raise OutOfMemory("wasm", end, "a program", because=f"WebAssembly addresses {MAX_PAGES * PAGE_BYTES}")
        self._lock = threading.Lock()
        self._free = [self._at["state"]]  # addresses of state regions that no WasmState has
        try:
            compiled = wasmtime.Module(_engine(), module)
            imported = [(i.module, i.name) for i in compiled.imports]
            if imported != [MEMORY]:
                raise WasmError(f"the module imports {imported}; hither's modules import {[MEMORY]}")
            self._store = wasmtime.Store(_engine())
            weakref.finalize(self, self._store.close)  # at exit too, for the same reason as the engine
            limits = wasmtime.Limits(-(-end // PAGE_BYTES), MAX_PAGES)
            try:
                self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(limits))
            except wasmtime.WasmtimeError as error:
                raise OutOfMemory("wasm", end, "a program", account.bytes(), str(error).splitlines()[0]) from error
            exports = wasmtime.Instance(self._store, compiled, [self._memory]).exports(self._store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise WasmError(f"wasmtime cannot load the module: {error}") from error
        self._entries = {e.name: exports[e.name] for e in compiled.exports if e.name != HELP}
        self._top = self._memory.data_len(self._store)
        self._bytes = self._map()
        account.hold(self, "weights", self.sizes["weights"])
        account.hold(self, "state", self.sizes["state"])
        account.hold(self, "arena", self._top - self.sizes["weights"] - self.sizes["state"])

    @classmethod
    def of_code(cls, code: Code, machine: Machine) -> WasmExecutable:
        """Print kernels and entries as a module and load it; with relaxed SIMD if the machine has fused multiply-add."""
        made = print_module(code, machine, relaxed=machine.fma)
        return cls(made.bytes, code.sizes, made.scratch_bytes, made.sync_bytes)

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the entries."""
        return tuple(self._entries)

    def new_state(self) -> WasmState:
        """A state region of zeros. The first lies in the memory from the start, more make it grow."""
        with self._lock:
            address = self._free.pop() if self._free else self._grow(self.sizes["state"])
            self._bytes[address : address + self.sizes["state"]] = 0
        state = WasmState(address)
        account.hold(state, PROGRAMS, 0)
        weakref.finalize(state, self._free.append, address).atexit = False
        return state

    def write(self, space: str, offset: int, array: np.ndarray, state: WasmState | None = None) -> None:
        """Put an array's elements at an offset of a region; `state` says of whose, for the region "state"."""
        with self._lock:
            self._view(space, offset, array.dtype, array.shape, state)[...] = array

    def read(
        self, space: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], state: WasmState | None = None
    ) -> np.ndarray:
        """A copy of what lies at an offset of a region."""
        with self._lock:
            return self._view(space, offset, dtype, shape, state).copy()

    def run(
        self,
        entry: str,
        inputs: Sequence[tuple[int, np.ndarray]],
        outputs: Sequence[tuple[int, np.dtype[Any], tuple[int, ...]]],
        state: WasmState,
        keep: bool = False,
    ) -> list[np.ndarray]:
        """Run an entry.

        Args:
            inputs: offset in io and array, in the dtype in which it lies there.
            outputs: offset in io, dtype there, and shape.
            keep: leave the state as it was if the entry fails; costs a copy of it.

        Returns:
            A copy of each output.

        Raises:
            WasmError: if the module has no such entry, or the entry traps.
        """
        if entry not in self._entries:
            raise WasmError(f"the module has no entry {entry!r}; it has {', '.join(map(repr, self._entries))}")
        with self._lock:
            for offset, array in inputs:
                self._view("io", offset, array.dtype, array.shape)[...] = array
            region = self._bytes[state.address : state.address + self.sizes["state"]]
            before = region.copy() if keep else None
            at = {**self._at, "state": state.address}
            regions = (_signed(at[space]) for space in SPACES)
            try:
                self._entries[entry](self._store, *regions, 1, _signed(at["sync"]), _signed(at["scratch"]))
            except (self._wasmtime.WasmtimeError, self._wasmtime.Trap) as error:
                if before is not None:
                    region[:] = before
                reason = str(error).strip().splitlines()[-1].strip()  # before it stands a backtrace of functions without names
                raise WasmError(f"entry {entry!r} failed: {reason}") from error
            return [self._view("io", *output).copy() for output in outputs]

    def _view(
        self, space: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], state: WasmState | None = None
    ) -> np.ndarray:
        array: np.ndarray
        start = state.address if space == "state" and state is not None else self._at[space]
        end = offset + math.prod(shape) * np.dtype(dtype).itemsize
        if offset < 0 or end > self.sizes[space]:
            raise WasmError(f"bytes {offset} to {end} are not in region {space!r} of {self.sizes[space]} bytes")
        array = np.ndarray(shape, dtype, self._bytes, start + offset)
        return array

    def _map(self) -> np.ndarray:
        """The whole memory. Taken again when it has grown, since it may have moved."""
        return np.frombuffer(self._memory.get_buffer_ptr(self._store, self._memory.data_len(self._store)), np.uint8)

    def _grow(self, nbytes: int) -> int:
        """More memory; returns its address."""
        address = self._top
        if not nbytes:
            return address
        try:
            self._memory.grow(self._store, -(-nbytes // PAGE_BYTES))
        except self._wasmtime.WasmtimeError as error:
            raise OutOfMemory("wasm", nbytes, "another state", account.bytes(), str(error).splitlines()[0]) from error
        self._bytes = self._map()
        self._top = len(self._bytes)
        account.hold(self, "state", self._top - address)
        return address


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def _signed(address: int) -> int:
    """An address as the i32 that wasmtime takes."""
    return address - (1 << 32) if address >> 31 else address
