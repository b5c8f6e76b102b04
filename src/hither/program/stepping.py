"""Running an entry step by step: every launch and copy timed on its own, branches and loops decided here.

Each step becomes an entry of its own over the same regions, so that what is timed is the very kernel that the Program runs,
on the data that it would see. A Stepper is that for one device; `passes` walks the steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import dtypes as dt
from ..kernels.ir import Machine
from ..kernels.steps import Code, Cond, Copy, Launch, Ref, Step, While
from .signature import Port

WHOLE, NOTHING = "whole", "nothing"  # entries beside those of the single steps
Inputs = list[tuple[Port, np.ndarray]]


class Stepper(Protocol):
    """Entries of a Code on one device, timed one at a time. The state starts as zeros."""

    def write(self, inputs: Inputs) -> None: ...  # pragma: no cover

    def seconds(self, entry: str) -> float:
        """Run an entry; how long the device was busy with it, as exactly as can be told."""
        ...  # pragma: no cover

    def wall(self, entry: str) -> float:
        """Run an entry; how long its caller waits."""
        ...  # pragma: no cover

    def flag(self, ref: Ref) -> bool: ...  # pragma: no cover


class CpuStepper:
    """On the native CPU target. What calling from Python costs is measured on an empty entry and subtracted."""

    def __init__(self, code: Code, machine: Machine, weights: np.ndarray, threads: int, least: float | None = None) -> None:
        from ..kernels.sharing import WORTH_WAKING, shared_work
        from ..runtime.cpu import CpuExecutable
        from ..runtime.host_memory import aligned_empty

        shared = threads > 1 and shared_work(code, code.entries[WHOLE]) >= (WORTH_WAKING if least is None else least)
        self.executable = CpuExecutable(code, machine, weights, worth_sharing=0 if shared else math.inf)
        self.threads = threads if shared else 1
        self._regions = {space: aligned_empty(code.sizes.get(space, 0)) for space in ("state", "arena", "io")}
        for region in self._regions.values():
            region[:] = 0
        self.wall(NOTHING)
        self._overhead = _cost_of_a_call(self)

    def write(self, inputs: Inputs) -> None:
        for port, array in inputs:
            self._bytes(port.ref)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def wall(self, entry: str) -> float:
        start = time.perf_counter()
        regions = self._regions
        self.executable.run(entry, regions["state"], regions["arena"], regions["io"], threads=self.threads)
        return time.perf_counter() - start

    def seconds(self, entry: str) -> float:
        return max(self.wall(entry) - self._overhead, 0.0)

    def flag(self, ref: Ref) -> bool:
        return bool(self._bytes(ref)[0])

    def _bytes(self, ref: Ref) -> np.ndarray:
        return self._regions[ref.space][ref.offset : ref.offset + ref.nbytes]


class WasmStepper:
    """On the WebAssembly target, through wasmtime: one thread. Calls are subtracted as on the CPU."""

    threads = 1

    def __init__(self, code: Code, machine: Machine, weights: np.ndarray) -> None:
        from ..runtime.wasm import WasmExecutable

        self.executable = WasmExecutable.of_code(code, machine)
        self.executable.write("weights", 0, weights)
        self._state = self.executable.new_state()
        self.wall(NOTHING)
        self._overhead = _cost_of_a_call(self)

    def write(self, inputs: Inputs) -> None:
        for port, array in inputs:
            self.executable.write("io", port.ref.offset, array)

    def wall(self, entry: str) -> float:
        start = time.perf_counter()
        self.executable.run(entry, (), (), self._state)
        return time.perf_counter() - start

    def seconds(self, entry: str) -> float:
        return max(self.wall(entry) - self._overhead, 0.0)

    def flag(self, ref: Ref) -> bool:
        return bool(self.executable.read(ref.space, ref.offset, np.dtype(np.uint8), (1,), self._state)[0])


class WebGpuStepper:
    """On the native WebGPU target, by the GPU's own timestamps where it has them."""

    threads = 1

    def __init__(self, code: Code, machine: Machine, weights: np.ndarray) -> None:
        from ..runtime.webgpu import WebGpuExecutable

        self.executable = WebGpuExecutable(code, machine, weights, private=True)  # steps go on where others stopped

    def write(self, inputs: Inputs) -> None:
        for port, array in inputs:
            if array.size:
                self.executable.write(port.ref, array, port.name)

    def wall(self, entry: str) -> float:
        start = time.perf_counter()
        self.executable.run(entry)
        self.executable.wait()
        return time.perf_counter() - start

    def seconds(self, entry: str) -> float:
        return sum(seconds for _, seconds in self.executable.profile(entry))

    def flag(self, ref: Ref) -> bool:
        return bool(self.executable.read([(ref, dt.bool_, ())])[0])


def _cost_of_a_call(on: Stepper) -> float:
    """What calling costs, rather less than more of it: the lower quartile of many calls of an empty entry."""
    return float(np.percentile([on.wall(NOTHING) for _ in range(200)], 25))


def stepper(
    code: Code, machine: Machine, weights: np.ndarray, threads: int, least: float | None = None
) -> CpuStepper | WasmStepper | WebGpuStepper:
    """The Stepper of a machine. `code` has the entries WHOLE and NOTHING beside others.

    Args:
        least: chunks of work from which native entries are shared among threads; as in a Program if not given.
    """
    if machine.name == "llvm":
        return CpuStepper(code, machine, weights, threads, least)
    return (WebGpuStepper if machine.gpu else WasmStepper)(code, machine, weights)


# -- walking -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Branch:
    step: Cond | While
    bodies: tuple[_Tree, ...]


_Tree = list["int | _Branch"]


class Steps:
    """The steps of an entry, numbered as they are printed, and how to walk them."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.leaves: list[Launch | Copy] = []
        self.depths: list[int] = []  # loops around each leaf
        self._tree = self._number(steps, 0)

    def _number(self, steps: tuple[Step, ...], depth: int) -> _Tree:
        tree: _Tree = []
        for step in steps:
            match step:
                case Launch() | Copy():
                    tree.append(len(self.leaves))
                    self.leaves.append(step)
                    self.depths.append(depth)
                case Cond():
                    tree.append(_Branch(step, (self._number(step.then, depth), self._number(step.otherwise, depth))))
                case While():
                    tree.append(_Branch(step, (self._number(step.body, depth + 1),)))
        return tree

    def code(self, code: Code, entry: str) -> Code:
        """The same kernels with an entry for every leaf (its number), for the whole and for nothing."""
        entries: dict[str, tuple[Step, ...]] = {str(i): (leaf,) for i, leaf in enumerate(self.leaves)}
        return Code(code.kernels, {**entries, WHOLE: code.entries[entry], NOTHING: ()}, code.sizes)

    def time(self, on: Stepper) -> tuple[np.ndarray, np.ndarray]:
        """Run all steps once, one at a time: seconds and number of runs of each leaf."""
        seconds, calls = np.zeros(len(self.leaves)), np.zeros(len(self.leaves), np.int64)

        def walk(tree: _Tree) -> None:
            for item in tree:
                if isinstance(item, int):
                    seconds[item] += on.seconds(str(item))
                    calls[item] += 1
                elif isinstance(item.step, Cond):
                    walk(item.bodies[0] if on.flag(item.step.flag) else item.bodies[1])
                else:
                    trips, bound = 0, item.step.bound
                    while (bound is None or trips < bound) and on.flag(item.step.flag):
                        walk(item.bodies[0])
                        trips += 1

        walk(self._tree)
        return seconds, calls


def versions(machine: Machine) -> Mapping[str, str]:
    """What the times depend on beside the hardware."""
    import platform
    from importlib.metadata import version

    found = {"hither": version("hither"), "Python": platform.python_version(), "NumPy": np.__version__}
    package = {"llvm": "llvmlite", "wasm": "wasmtime"}.get(machine.name, "wgpu")
    return {**found, package: version(package)}
