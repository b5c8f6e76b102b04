"""Runs a Code natively on WebGPU, through the wgpu package.

Everything is made once: buffers, pipelines, bind groups. A run writes the inputs, records one command buffer with one compute
pass, submits it, and reads the outputs back. Only a branch or loop whose flag is computed on the device splits it, because
WebGPU has no control flow between dispatches; `round_trips` counts those.

Arena and io are the device's and serve all programs in turn: when they move, to let a larger program in, bind groups are made
again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..dtypes import DType
from ..kernels.ir import Machine
from ..kernels.steps import SPACES, Code, Ref
from ..targets.wgsl.bindings import plan_bindings
from ..targets.wgsl.plan import Branch, Dispatch, GpuStep, Limits, Plan, Repeat, dispatches
from ..targets.wgsl.printer import print_variants
from .accounts import PROGRAMS
from .threads import available_cpus
from .webgpu_arrays import GpuTensor
from .webgpu_device import Device, DeviceLost, WebGpuError, device, webgpu_machine
from .webgpu_encoding import from_device, to_device
from .webgpu_memory import Buffer, account, memory, read_back, write
from .webgpu_timestamps import Timestamps

__all__ = ["DeviceLost", "WebGpuError", "WebGpuExecutable", "device", "from_device", "memory", "to_device", "webgpu_machine"]


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
        account.hold(self, PROGRAMS, 0)
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
                write(self.device.handle, self._own[i].handle, 0, data[b.offset : min(b.offset + b.size, need)])

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
        """Put a host array where `ref` lies (state, or io of a private one), converted to its storage dtype and checked."""
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
            write(self.device.handle, self._buffers[buffer], offset, data[done : done + nbytes])
            done += nbytes

    def stored(self, ref: Ref, kind: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        """A copy of a weight, as it is stored: in the dtype that it has there."""
        if not ref.nbytes:
            return np.empty(shape, kind)
        with self.device.watch(), self.device.turn:
            self._bind()
            data = b"".join(_Recorder(self).submit(self.plan.locate(ref)))
        return np.frombuffer(data, kind).reshape(shape)

    def read(self, wanted: Sequence[tuple[Ref, DType, tuple[int, ...]]]) -> list[np.ndarray]:
        """Arrays from the device: for each (ref, public dtype, shape), a host copy. Of what survives runs, see `write`."""
        with self.device.watch(), self.device.turn:
            self._bind()
            return _Recorder(self).finish(wanted)

    # -- running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        entry: str,
        inputs: Sequence[tuple[Ref, np.ndarray | GpuTensor, str]] = (),
        outputs: Sequence[tuple[Ref, DType, tuple[int, ...]]] = (),
    ) -> list[np.ndarray]:
        """Write `inputs` (place, array, name for errors), run an entry, return `outputs` (place, dtype, shape).

        Inputs may also be on the device already.

        Raises:
            KeyError: there is no such entry; lists those there are.
            OverflowError: a 64-bit integer input is out of range.
            OutOfMemory: the device has no room for arena, inputs and outputs.
            DeviceLost: the device went away.
        """
        with self._running(entry, inputs) as recorder:
            return recorder.finish(outputs)

    def run_there(
        self,
        entry: str,
        inputs: Sequence[tuple[Ref, np.ndarray | GpuTensor, str]] = (),
        outputs: Sequence[tuple[Ref, DType, tuple[int, ...]]] = (),
    ) -> list[GpuTensor]:
        """As `run`, with results that stay on the device; does not wait for it."""
        with self._running(entry, inputs) as recorder:
            return recorder.keep(outputs)

    @contextmanager
    def _running(self, entry: str, inputs: Sequence[tuple[Ref, np.ndarray | GpuTensor, str]]) -> Iterator[_Recorder]:
        if entry not in self.plan.entries:
            raise KeyError(f"no entry {entry!r}; there are {', '.join(self.plan.entries)}")
        encoded = [(ref, a if isinstance(a, GpuTensor) else self._encoded(ref, a, name)) for ref, a, name in inputs]
        with self.device.watch(), self.device.turn:
            self._bind()
            self.round_trips = 0
            recorder = _Recorder(self)
            for ref, data in encoded:
                if isinstance(data, GpuTensor):
                    recorder.take(ref, data)
                else:
                    self._place(ref, data)
            recorder.steps(self._entries[entry])
            yield recorder

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
        return self.device.staging.buffer(self)


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

    def take(self, ref: Ref, tensor: GpuTensor) -> None:
        """Copy what is on the device already to where `ref` lies."""
        if tensor.nbytes != ref.nbytes:
            raise ValueError(f"a tensor of {tensor.nbytes} bytes is not one of {ref.nbytes}")
        self.encoder = self.encoder or self.device.create_command_encoder()
        handle, done = tensor.handle_on(self.executable.device), 0
        for buffer, offset, n in self.executable.plan.locate(ref):
            self.encoder.copy_buffer_to_buffer(handle, done, self.executable._buffers[buffer], offset, -(-n // 4) * 4)
            done += n

    def keep(self, wanted: Sequence[tuple[Ref, DType, tuple[int, ...]]]) -> list[GpuTensor]:
        """Submit what is left, and results into buffers of their own."""
        on, machine = self.executable.device, self.executable.machine
        if self.compute is not None:
            self.compute.end()
            self.compute = None
        self.encoder = self.encoder or self.device.create_command_encoder()
        made = []
        for ref, dtype, shape in wanted:
            buffer, done = on.pool.allocate(ref.nbytes, on.usage, "arrays"), 0
            for source, offset, n in self.executable.plan.locate(ref):
                self.encoder.copy_buffer_to_buffer(
                    self.executable._buffers[source], offset, buffer.handle, done, -(-n // 4) * 4
                )
                done += n
            made.append(GpuTensor(on, machine, buffer, shape, dtype))
        self.submit([])
        return made

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
        if self.compute is not None:
            self.compute.end()
            self.compute = None
        found = [(self.executable._buffers[buffer], offset, n) for buffer, offset, n in ranges]
        staging = self.executable._staging_of(sum(-(-n // 8) * 8 for _, _, n in ranges)) if ranges else None
        encoder, self.encoder = self.encoder, None
        return read_back(self.device, encoder, found, staging)
