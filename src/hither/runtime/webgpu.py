"""Runs a Code natively on WebGPU, through the wgpu package.

Everything is made once: buffers, pipelines, bind groups. A run writes the inputs, records one command buffer with one compute
pass, submits it, and reads the outputs back. Arena and io are the device's and serve all programs in turn, so bind groups are made
again when they move, to let a larger program in. Only a branch or loop whose flag is computed on the device splits it, because
WebGPU has no control flow between dispatches; `round_trips` counts those.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..dtypes import DType
from ..errors import DTypeMismatch
from ..kernels.ir import Machine
from ..kernels.steps import SPACES, Code, Ref
from ..targets.wgsl.bindings import plan_bindings
from ..targets.wgsl.plan import Branch, Dispatch, GpuStep, Limits, Plan, Repeat, dispatches
from ..targets.wgsl.printer import print_variants
from .threads import available_cpus
from .webgpu_device import Device, DeviceLost, WebGpuError, device, webgpu_machine
from .webgpu_memory import Buffer, memory
from .webgpu_timestamps import Timestamps

__all__ = ["DeviceLost", "WebGpuError", "WebGpuExecutable", "device", "from_device", "memory", "to_device", "webgpu_machine"]

_UPLOAD = 16 << 20  # bytes written at a time: wgpu keeps a copy of each write until it is submitted


def to_device(array: np.ndarray, machine: Machine, name: str = "input") -> np.ndarray:
    """A host array in the dtype it has in device memory.

    Raises:
        OverflowError: a 64-bit integer does not fit the 32 bits it is carried in; names the input and the value.
        DTypeMismatch: WebGPU has nothing to carry the dtype in.
    """
    source = dt.dtype(array.dtype)
    if (source.bits == 64 and source.kind == "f") or source.kind == "c":
        raise DTypeMismatch(f"{name!r} is {source}, which WebGPU does not have; cast to float32, or use device='cpu'")
    stored = machine.storage(source)
    if source.bits == 64 and array.size:
        info = np.iinfo(stored.numpy)
        low, high = array.min(), array.max()
        if low < info.min or high > info.max:
            wrong = low if low < info.min else high
            raise OverflowError(
                f"{name!r} is {source} and holds {wrong}; WebGPU carries {source} as {stored} ({info.min} … {info.max})"
            )
    return np.ascontiguousarray(array, stored.numpy)


def from_device(raw: Any, dtype: DType, shape: tuple[int, ...], machine: Machine) -> np.ndarray:
    """Device memory (bytes) as a host array of its public dtype: a copy of its own."""
    stored = machine.storage(dtype)
    flat = np.frombuffer(raw, stored.numpy, count=int(np.prod(shape)))
    return flat.astype(dtype.numpy).reshape(shape)


@dataclass(frozen=True)
class _Call:
    """A Dispatch with its pipeline and bind group made."""

    pipeline: Any
    group: Any
    workgroups: tuple[int, int, int]
    label: str


class WebGpuExecutable:
    """A Code on a WebGPU device: its weights, its own state, arena and io buffers, its pipelines.

    Args:
        code: what to run; compiled for `machine`.
        machine: a `webgpu_machine()`.
        weights: the bytes of the weights region, in storage dtypes (any object with the buffer protocol).
        limits: what the binding plan keeps to; the specification's guaranteed limits by default, so that what runs here
            runs in every browser.
        private: have arena and io of its own, in which everything stays from run to run.

    Raises:
        WebGpuError: no adapter, or the device's limits are too small; says which.
        OutOfMemory: the device has no room for the weights or the state.
        BindingError: a launch cannot be bound.
    """

    def __init__(
        self, code: Code, machine: Machine, weights: Any = None, limits: Limits | None = None, private: bool = False
    ) -> None:
        self.code, self.machine, self.private = code, machine, private
        self.device: Device = device()
        self.plan: Plan = plan_bindings(code, machine, limits)
        self.device.check(self.plan)
        with self.device.watch():
            texts = print_variants(self.plan, machine)
            with ThreadPoolExecutor(available_cpus()) as pool:  # drivers compile in the thread that asks
                access = [v.access() for v in self.plan.variants]
                self._pipelines = list(pool.map(self.device.pipeline, texts, access))
            self._allocate({})
            with self.device.turn:
                self._upload_weights(weights)

    def _allocate(self, given: dict[int, Buffer]) -> None:
        """Buffers for what is this executable's own, except those that are given."""
        pool, usage = self.device.pool, self.device.usage
        self._own = dict(given)
        for i, b in enumerate(self.plan.buffers):
            if i in given:
                continue
            if self.private or b.space not in self.device.scratch:
                self._own[i] = pool.allocate(b.size, usage, b.space, zeroed=b.space == "state" or self.private)
            else:
                self.device.scratch[b.space].join(self, b.size, WebGpuExecutable._unbind)
        self._staging_bytes = 0
        self.round_trips = 0
        self._unbind()

    def _unbind(self) -> None:
        self._buffers: list[Any] = []
        self._entries: dict[str, tuple[Any, ...]] = {}

    def _bind(self) -> None:
        """Make bind groups, where there are none or a buffer has moved."""
        scratch = self.device.scratch
        found = [(self._own[i] if i in self._own else scratch[b.space].buffer(self)) for i, b in enumerate(self.plan.buffers)]
        if self._entries:
            return
        handle, self._buffers = self.device.handle, [buffer.handle for buffer in found]
        groups: dict[Any, Any] = {}
        calls: dict[Dispatch, _Call] = {}
        for d in dispatches(self.plan):
            access = self.plan.variants[d.variant].access()
            if (access, d.bindings) not in groups:
                entries = [
                    {"binding": i, "resource": {"buffer": self._buffers[b.buffer], "offset": b.offset, "size": b.size}}
                    for i, b in enumerate(d.bindings)
                ]
                groups[access, d.bindings] = handle.create_bind_group(layout=self.device.layouts(access)[0], entries=entries)
            calls[d] = _Call(self._pipelines[d.variant], groups[access, d.bindings], d.workgroups, d.label)

        def ready(steps: tuple[GpuStep, ...]) -> tuple[Any, ...]:
            made: list[Any] = []
            for step in steps:
                match step:
                    case Dispatch():
                        made.append(calls[step])
                    case Branch():
                        made.append(replace(step, then=ready(step.then), otherwise=ready(step.otherwise)))
                    case Repeat():
                        made.append(replace(step, body=ready(step.body)))
            return tuple(made)

        self._entries = {name: ready(steps) for name, steps in self.plan.entries.items()}

    def _upload_weights(self, weights: Any) -> None:
        need = self.code.sizes.get("weights", 0)
        data = memoryview(b"" if weights is None else weights).cast("B")
        if data.nbytes < need:
            raise ValueError(f"the weights region has {need} bytes, got {data.nbytes}")
        for i, b in enumerate(self.plan.buffers):
            if b.space == "weights":
                self._write(self._own[i].handle, 0, data[b.offset : min(b.offset + b.size, need)])

    def _write(self, buffer: Any, offset: int, data: memoryview) -> None:
        """Write bytes; an odd end is padded to the 4 that WebGPU writes at least."""
        queue = self.device.handle.queue
        whole = data.nbytes // 4 * 4
        for start in range(0, whole, _UPLOAD):
            queue.write_buffer(buffer, offset + start, data[start : min(start + _UPLOAD, whole)])
            if whole > _UPLOAD:
                queue.submit([])
        if whole < data.nbytes:
            queue.write_buffer(buffer, offset + whole, bytes(data[whole:]) + bytes(4 - data.nbytes + whole))

    def fork(self) -> WebGpuExecutable:
        """Another executable with zeroed state over the same weights and pipelines."""
        other = object.__new__(WebGpuExecutable)
        other.code, other.machine, other.device, other.plan = self.code, self.machine, self.device, self.plan
        other._pipelines, other.private = self._pipelines, self.private
        with self.device.watch():
            other._allocate({i: self._own[i] for i, b in enumerate(self.plan.buffers) if b.space == "weights"})
        return other

    def adopt_state(self, other: WebGpuExecutable) -> bool:
        """Work on the state of another executable from now on. False if it lies in buffers of other sizes, or on another
        device."""
        mine, theirs = (
            [(i, b.offset, b.size) for i, b in enumerate(e.plan.buffers) if b.space == "state"] for e in (self, other)
        )
        if self.device is not other.device or [b[1:] for b in mine] != [b[1:] for b in theirs]:
            return False
        with self.device.turn:
            self._own |= {i: other._own[j] for (i, *_), (j, *_) in zip(mine, theirs)}
            self._unbind()
        return True

    # -- memory ------------------------------------------------------------------------------------------------------

    def memory(self) -> dict[str, int]:
        """Bytes on the device, by region, with "staging" and "total". Arena, io and staging are shared with other programs."""
        sizes = {space: sum(b.size for b in self.plan.buffers if b.space == space) for space in SPACES}
        sizes["staging"] = self._staging_bytes
        return {**sizes, "total": sum(sizes.values())}

    def write(self, ref: Ref, array: np.ndarray, name: str = "input") -> None:
        """Put a host array where `ref` lies (state, or io of a private one), converted to its storage dtype and range-checked."""
        data = self._encoded(ref, array, name)
        with self.device.watch(), self.device.turn:
            self._bind()
            self._place(ref, data)

    def _encoded(self, ref: Ref, array: np.ndarray, name: str) -> memoryview:
        data = to_device(np.asarray(array), self.machine, name)
        if data.nbytes != ref.nbytes:
            raise ValueError(
                f"{name!r}: {array.dtype}{array.shape} takes {data.nbytes} bytes on the device, its place has {ref.nbytes}"
            )
        return memoryview(data.reshape(-1).view(np.uint8).data)

    def _place(self, ref: Ref, data: memoryview) -> None:
        done = 0
        for buffer, offset, nbytes in self.plan.locate(ref):
            self._write(self._buffers[buffer], offset, data[done : done + nbytes])
            done += nbytes

    def read(self, wanted: Sequence[tuple[Ref, DType, tuple[int, ...]]]) -> list[np.ndarray]:
        """Arrays from the device: for each (ref, public dtype, shape), a host copy. Of what survives runs, see `write`."""
        with self.device.watch(), self.device.turn:
            self._bind()
            return _Recorder(self).finish(wanted)

    # -- running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        entry: str,
        inputs: Sequence[tuple[Ref, np.ndarray, str]] = (),
        outputs: Sequence[tuple[Ref, DType, tuple[int, ...]]] = (),
    ) -> list[np.ndarray]:
        """Write `inputs` (place, array, name for errors), run an entry, return `outputs` (place, dtype, shape).

        Raises:
            KeyError: there is no such entry; lists those there are.
            OverflowError: a 64-bit integer input is out of range.
            OutOfMemory: the device has no room for arena, inputs and outputs.
            DeviceLost: the device went away.
        """
        if entry not in self.plan.entries:
            raise KeyError(f"no entry {entry!r}; there are {', '.join(self.plan.entries)}")
        encoded = [(ref, self._encoded(ref, array, name)) for ref, array, name in inputs]
        with self.device.watch(), self.device.turn:
            self._bind()
            self.round_trips = 0
            for ref, data in encoded:
                self._place(ref, data)
            recorder = _Recorder(self)
            recorder.steps(self._entries[entry])
            return recorder.finish(outputs)

    def profile(self, entry: str) -> list[tuple[str, float]]:
        """(label, seconds) of each dispatch of one run, by the device's timestamps; where it has none, the device is waited
        for after each, which counts some 0.3 ms of the API's time in."""
        times: list[tuple[str, float]] = []
        with self.device.watch(), self.device.turn:
            self._bind()
            recorder = _Recorder(self, times)
            recorder.steps(self._entries[entry])
            recorder.finish(())
        return times

    def wait(self) -> None:
        """Return when the device has done all that was submitted to it."""
        with self.device.watch(), self.device.turn:
            self._bind()
            _Recorder(self).submit([(0, 0, 4)])

    @cached_property
    def timestamps(self) -> Timestamps | None:
        """For profiles; None where the device has no timestamps."""
        return Timestamps(self.device) if "timestamp-query" in self.device.features else None

    def _staging_of(self, nbytes: int) -> Any:
        if self._staging_bytes < nbytes:
            self._staging_bytes = nbytes
            self.device.staging.join(self, nbytes, lambda _: None)
        return self.device.staging.buffer(self).handle


class _Recorder:
    """Records the steps of one run into command buffers, and submits them when something must be read back."""

    def __init__(self, executable: WebGpuExecutable, times: list[tuple[str, float]] | None = None) -> None:
        self.executable, self.times = executable, times
        self.device = executable.device.handle
        self.encoder: Any = None
        self.compute: Any = None

    def steps(self, steps: tuple[Any, ...]) -> None:
        for step in steps:
            match step:
                case _Call():
                    self.call(step)
                case Branch():
                    self.steps(step.then if self.flag(step) else step.otherwise)
                case Repeat():
                    trips = 0
                    while (step.bound is None or trips < step.bound) and self.flag(step):
                        self.steps(step.body)
                        trips += 1

    def call(self, call: _Call) -> None:
        stamps = self.executable.timestamps if self.times is not None else None
        if self.times is not None:
            self.submit([])
            start = time.perf_counter()
        if self.compute is None:
            self.encoder = self.encoder or self.device.create_command_encoder()
            self.compute = self.encoder.begin_compute_pass(timestamp_writes=stamps.writes if stamps else None)
        self.compute.set_pipeline(call.pipeline)
        self.compute.set_bind_group(0, call.group)
        self.compute.dispatch_workgroups(*call.workgroups)
        if self.times is not None:
            self.submit([(0, 0, 4)])  # reading anything back waits for the device
            elapsed = time.perf_counter() - start
            self.times.append((call.label, stamps.seconds() if stamps else elapsed))

    def flag(self, step: Branch | Repeat) -> bool:
        self.executable.round_trips += 1
        (raw,) = self.submit([(step.flag.buffer, step.flag.offset, 4)])
        return any(raw)

    def finish(self, wanted: Sequence[tuple[Ref, DType, tuple[int, ...]]]) -> list[np.ndarray]:
        """Submit what is left and read arrays back."""
        plan, machine = self.executable.plan, self.executable.machine
        pieces = [plan.locate(ref) for ref, _, _ in wanted]
        raw = iter(self.submit([piece for found in pieces for piece in found]))
        results = []
        for (_, dtype, shape), found in zip(wanted, pieces):
            data = b"".join(next(raw) for _ in found) if len(found) != 1 else next(raw)
            results.append(from_device(data, dtype, shape, machine))
        return results

    def submit(self, ranges: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """Submit what is recorded; wait for it and return these (buffer, offset, bytes) ranges, if any."""
        import wgpu

        if self.compute is not None:
            self.compute.end()
            self.compute = None
        total = sum(-(-n // 8) * 8 for _, _, n in ranges)
        if total:
            staging = self.executable._staging_of(total)
            self.encoder = self.encoder or self.device.create_command_encoder()
            at = 0
            for buffer, offset, n in ranges:
                self.encoder.copy_buffer_to_buffer(self.executable._buffers[buffer], offset, staging, at, -(-n // 4) * 4)
                at += -(-n // 8) * 8
        if self.encoder is not None:
            self.device.queue.submit([self.encoder.finish()])
            self.encoder = None
        if not total:
            return []
        staging.map_sync(wgpu.MapMode.READ, 0, total)
        try:
            found, at = [], 0
            for _, _, n in ranges:
                found.append(bytes(staging.read_mapped(at, -(-n // 4) * 4))[:n])
                at += -(-n // 8) * 8
        finally:
            staging.unmap()
        return found
