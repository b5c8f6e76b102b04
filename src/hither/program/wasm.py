"""The WebAssembly session: what ships, run on this computer; also what device "cpu" is where llvmlite does not exist."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .plan import Plan
    from .signature import Port


class WasmSession:
    """A session of the WebAssembly target, through wasmtime."""

    lost = False

    def __init__(self, plan: Plan, executable: Any = None) -> None:
        from ..runtime.wasm import WasmExecutable

        self.plan = plan
        if executable is None:
            executable = WasmExecutable.of_code(plan.code, plan.machine)
            for weight in plan.weights:
                executable.write(weight.ref.space, weight.ref.offset, weight.array)
            plan.release(lambda ref, kind, shape: executable.read(ref.space, ref.offset, kind, shape))
        self.executable = executable
        self._state = executable.new_state()

    def call(
        self, entry: str, inputs: list[tuple[Port, np.ndarray]], outputs: list[Port], stay: bool = False
    ) -> list[np.ndarray]:
        return self.executable.run(
            entry,
            [(port.ref.offset, array) for port, array in inputs],
            [(port.ref.offset, port.abstract.dtype.numpy, port.abstract.shape) for port in outputs],
            self._state,
        )

    def read_state(self, ports: list[Port]) -> list[np.ndarray]:
        return [
            self.executable.read("state", p.ref.offset, p.abstract.dtype.numpy, p.abstract.shape, self._state) for p in ports
        ]

    def write_state(self, values: list[tuple[Port, np.ndarray]]) -> None:
        for port, array in values:
            self.executable.write("state", port.ref.offset, array, self._state)

    def fork(self) -> WasmSession:
        return WasmSession(self.plan, self.executable)

    def adopt_state(self, other: Any) -> bool:
        if not isinstance(other, WasmSession) or other.executable is not self.executable:
            return False  # a state lies in the memory of its own module
        self._state = other._state
        return True

    def resident(self) -> dict[str, int]:
        sizes = self.executable.sizes
        return {
            "weights": sizes["weights"],
            "state": sizes["state"],
            "arena": sizes["arena"] + sizes["io"] + self.executable.overhead,
        }


@functools.cache
def warn_no_llvm() -> None:
    """Say, once, that the device "cpu" is WebAssembly here."""
    warnings.warn(
        'llvmlite is not installed: device="cpu" runs WebAssembly through wasmtime, on one thread and at a fraction of the '
        "speed of native code; pip install llvmlite where it is available",
        RuntimeWarning,
        stacklevel=2,
    )
