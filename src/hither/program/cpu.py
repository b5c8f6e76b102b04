"""A program on the native CPU: its state, and memory that it borrows for each run.

Around the kernels of a run stands Python, and after a large network that is out of the caches: whatever can be found out once
is kept beside the memory, and inputs are read where the caller has them.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.steps import ALIGN
from ..runtime.accounts import PROGRAMS
from ..runtime.host_memory import account, aligned_empty, arenas
from ..runtime.threads import get_num_threads
from ..targets.llvm.inputs import ALIGNED
from .signature import Port

if TYPE_CHECKING:
    from ..runtime.cpu import CpuExecutable
    from .plan import Plan
    from .program import Session


class CpuSession:
    """A session of the native CPU target. Arena and io are borrowed for each run, so threads may run one program at a time
    each, as long as it has no state."""

    lost = False

    def __init__(self, executable: CpuExecutable) -> None:
        self.executable = executable
        self._state = aligned_empty(executable.sizes["state"], "state")
        self._state[:] = 0
        self._arena_bytes = -(-executable.sizes["arena"] // ALIGN) * ALIGN
        self._scratch_bytes = self._arena_bytes + executable.sizes["io"]
        self._who = object()  # whom a piece of memory knows: not this, which it would keep alive
        arenas.join(self, self._scratch_bytes)
        account.hold(self, PROGRAMS, 0)
        self._lock: AbstractContextManager[Any] = threading.Lock() if self._state.nbytes else nullcontext()

    @classmethod
    def of_plan(cls, plan: Plan) -> CpuSession:
        """Compile a Plan."""
        from ..runtime.cpu import CpuExecutable

        image = aligned_empty(plan.code.sizes["weights"], "weights")
        image[:] = 0  # what lies between the weights is part of what is stored
        for i, weight in enumerate(plan.weights):
            place = image[weight.ref.offset : weight.ref.offset + weight.ref.nbytes]
            place[:] = weight.array.reshape(-1).view(np.uint8)
            kept = place.view(weight.array.dtype).reshape(weight.array.shape)
            plan.weights[i] = replace(weight, held=kept)
        return cls(CpuExecutable(plan.code, plan.machine, image))

    def call(self, entry: str, inputs: list[tuple[Port, Any]], outputs: list[Port], stay: bool = False) -> list[Any]:
        with self._lock:
            piece = arenas.take(self._scratch_bytes)
            try:
                known = piece.known(self._who)
                place = known.get(entry)
                if place is None:
                    ports = [port for port, _ in inputs]
                    place = _Place.of(self.executable, entry, piece.memory, self._arena_bytes, ports, outputs)
                    known[entry] = place
                for view, slot, (_, array) in zip(place.inputs, place.slots, inputs, strict=True):
                    if slot is not None and array.flags.c_contiguous and (address := _address(array)) % ALIGNED == 0:
                        place.table[slot] = address
                        continue
                    view[...] = array
                    if slot is not None:
                        place.table[slot] = _address(view)
                state = self.executable.pointer("state", self._state)
                self.executable.enter(entry, (state, place.arena, place.io, place.addresses), get_num_threads())
                return [view.copy() for view in place.outputs]
            finally:
                arenas.give(piece)

    def read_state(self, ports: list[Port]) -> list[np.ndarray]:
        with self._lock:
            return [_view(self._state, port).copy() for port in ports]

    def write_state(self, values: list[tuple[Port, np.ndarray]]) -> None:
        with self._lock:
            for port, array in values:
                _view(self._state, port)[...] = array

    def fork(self) -> CpuSession:
        return CpuSession(self.executable)

    def adopt_state(self, other: Session) -> bool:
        if not isinstance(other, CpuSession) or other._state.nbytes != self._state.nbytes:
            return False
        self._state, self._lock = other._state, other._lock  # runs that share a state go one after the other
        return True

    def resident(self) -> dict[str, int]:
        sizes = self.executable.sizes
        return {"weights": sizes["weights"], "state": sizes["state"], "arena": sizes["arena"] + sizes["io"]}


@dataclass(frozen=True)
class _Place:
    """Where an entry runs: addresses of arena and io, the arrays there, and the table of inputs that stay with the caller."""

    arena: int
    io: int
    inputs: list[np.ndarray]
    slots: list[int | None]  # of the inputs, in the table
    outputs: list[np.ndarray]
    table: Any  # a ctypes array
    addresses: int  # of the table

    @staticmethod
    def of(
        executable: CpuExecutable, entry: str, memory: np.ndarray, arena_bytes: int, inputs: list[Port], outputs: list[Port]
    ) -> _Place:
        from ..runtime.cpu import address_table

        io, direct = memory[arena_bytes:], executable.native.direct[entry]
        slots = [direct.index(p.ref.offset) if p.ref.nbytes and p.ref.offset in direct else None for p in inputs]
        table = address_table([0] * len(direct))
        return _Place(
            executable.pointer("arena", memory), executable.pointer("io", io),
            [_view(io, p) for p in inputs], slots, [_view(io, p) for p in outputs], table, ctypes.addressof(table),
        )  # fmt: skip


def _address(array: np.ndarray) -> int:
    found: int = array.__array_interface__["data"][0]  # a third of the time that array.ctypes takes
    return found


def _view(region: np.ndarray, port: Port) -> np.ndarray:
    raw = region[port.ref.offset : port.ref.offset + port.ref.nbytes]
    return raw.view(port.abstract.dtype.numpy).reshape(port.abstract.shape)
