"""GPU timestamps: how long one compute pass took by the device's own clock."""

from __future__ import annotations

import functools
import statistics
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .webgpu_device import Device

_BYTES = 16  # two ticks: when a pass begins and when it ends


class Timestamps:
    """Two timestamps around a compute pass.

    Example:
        stamps = Timestamps(device())
        compute = encoder.begin_compute_pass(timestamp_writes=stamps.writes)
        ...  # dispatch, end, submit, wait
        stamps.seconds()
    """

    def __init__(self, device: Device) -> None:
        import wgpu

        self._device = handle = device.handle
        self._set = handle.create_query_set(type=wgpu.QueryType.timestamp, count=2)
        self.writes = {"query_set": self._set, "beginning_of_pass_write_index": 0, "end_of_pass_write_index": 1}
        usage = wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC
        self._buffers = [
            device.pool.allocate(256, u, "staging") for u in (usage, wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST)
        ]
        self._resolved, self._read = (buffer.handle for buffer in self._buffers)

    def ticks(self) -> tuple[int, int]:
        """The device's clock at the beginning and the end of the last pass."""
        import wgpu

        encoder = self._device.create_command_encoder()
        encoder.resolve_query_set(self._set, 0, 2, self._resolved, 0)
        encoder.copy_buffer_to_buffer(self._resolved, 0, self._read, 0, _BYTES)
        self._device.queue.submit([encoder.finish()])
        self._read.map_sync(wgpu.MapMode.READ, 0, _BYTES)
        try:
            begin, end = struct.unpack("<2Q", bytes(self._read.read_mapped(0, _BYTES)))
        finally:
            self._read.unmap()
        return begin, end

    def seconds(self) -> float:
        """How long the last pass took."""
        begin, end = self.ticks()
        return (end - begin) * self.period

    @functools.cached_property
    def period(self) -> float:
        """Seconds per tick, which wgpu does not tell: measured against this computer's clock over 50 ms."""

        def now() -> tuple[float, int]:
            encoder = self._device.create_command_encoder()
            encoder.begin_compute_pass(timestamp_writes=self.writes).end()
            before = time.perf_counter()
            self._device.queue.submit([encoder.finish()])
            tick = self.ticks()[0]
            return (before + time.perf_counter()) / 2, tick

        found = []
        now()
        for _ in range(3):
            first, begin = now()
            time.sleep(0.05)
            last, end = now()
            found.append((last - first) / max(1, end - begin))
        period = statistics.median(found)
        nanoseconds = round(period * 1e9)  # most devices count nanoseconds; the measurement is good to some per cent
        return 1e-9 if nanoseconds == 1 and 0.8e-9 < period < 1.25e-9 else period
