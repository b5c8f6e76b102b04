"""The device "wasm" in Node: Programs compiled to WebAssembly and run by V8, in fresh memory for each call.

Within `in_node()`, `compile`, `jit` and Models for the device "wasm" make such Programs. Browsers run the same modules in the
same engine, behind the JavaScript loader; outside the block the device runs them in another engine, wasmtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hither.program.plan import Plan, Port
from hither.program.program import DEVICES, Device
from hither.runtime.wasm import wasm_machine
from hither.targets.wasm.printer import print_module
from tests.wasm_node import run_wasm


class NodeSession:
    """A session that calls a plan's module in Node. Plain SIMD: what every engine has."""

    lost = False

    def __init__(self, plan: Plan, threads: int = 1) -> None:
        self.plan, self.threads = plan, threads
        self.module = print_module(plan.code, plan.machine, relaxed=False, worth_sharing=1)
        self.weights = plan.weights_image().tobytes()

    def call(
        self, entry: str, inputs: list[tuple[Port, np.ndarray]], outputs: list[Port], stay: bool = False
    ) -> list[np.ndarray]:
        sizes = self.plan.code.sizes
        io = bytearray(sizes["io"])
        for port, array in inputs:
            raw = np.ascontiguousarray(array, self.plan.machine.storage(port.abstract.dtype).numpy).tobytes()
            io[port.ref.offset : port.ref.offset + port.ref.nbytes] = raw
        # what a run does not write must not matter: the arena starts as noise
        arena = b"\xa5" * sizes["arena"]
        result = run_wasm(self.module, entry, self.weights, bytes(sizes["state"]), arena, bytes(io), self.threads)
        found = []
        for port in outputs:
            stored = self.plan.machine.storage(port.abstract.dtype).numpy
            piece = result[port.ref.offset : port.ref.offset + port.ref.nbytes]
            array = np.frombuffer(piece, stored).reshape(port.abstract.shape)
            found.append(array.astype(port.abstract.dtype.numpy))
        return found

    def fork(self) -> NodeSession:
        return NodeSession(self.plan, self.threads)

    def resident(self) -> dict[str, int]:
        return dict(self.plan.code.sizes)


@contextmanager
def in_node(threads: int = 1) -> Iterator[None]:
    """Within the block, programs for the device "wasm" are made for Node; they go on running there afterwards."""
    before = DEVICES["wasm"]
    DEVICES["wasm"] = Device(wasm_machine, lambda plan: NodeSession(plan, threads))
    try:
        yield
    finally:
        DEVICES["wasm"] = before
