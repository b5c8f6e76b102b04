"""Arrays in the memory of the GPU: putting them there, and fetching them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..array import Array
from ..dtypes import DType, dtype
from ..kernels.ir import Machine
from .device_array import DeviceArray
from .webgpu_device import Device, DeviceLost, device, webgpu_machine
from .webgpu_encoding import from_device, to_device
from .webgpu_memory import Buffer, read_back, write


@dataclass(frozen=True, eq=False)
class GpuTensor:
    """Elements of one array in a buffer of their own, in the dtype that kernels have them in."""

    on: Device
    machine: Machine
    buffer: Buffer
    shape: tuple[int, ...]
    dtype: DType

    device_name = "webgpu"

    @property
    def nbytes(self) -> int:
        """Bytes of the elements on the device."""
        return math.prod(self.shape) * self.machine.storage(self.dtype).itemsize

    def fetch(self) -> np.ndarray:
        """The elements as a host array.

        Raises:
            DeviceLost: the device went away, and with it the elements.
        """
        with self.on.watch(), self.on.turn:
            self.on.staging.join(self, self.nbytes, lambda _: None)
            staging = self.on.staging.buffer(self)
            (raw,) = read_back(self.on.handle, None, [(self.buffer.handle, 0, self.nbytes)], staging) or [b""]
        return from_device(raw, self.dtype, self.shape, self.machine)

    def like(self, array: np.ndarray) -> GpuTensor:
        return upload(array)

    def handle_on(self, other: Device) -> object:
        """The GPUBuffer, for a program on `other`.

        Raises:
            DeviceLost: that is another device than the elements were on.
        """
        if self.on is not other:
            raise DeviceLost("the WebGPU device that this array was on was lost; make the array again")
        return self.buffer.handle


def upload(array: np.ndarray) -> GpuTensor:
    """A host array's elements on the GPU.

    Raises:
        DTypeMismatch: WebGPU has nothing to carry the dtype in.
        OverflowError: a 64-bit integer does not fit the 32 bits it is carried in.
        OutOfMemory: the GPU has no room.
    """
    on, machine = device(), webgpu_machine()
    data = to_device(array, machine, "array")
    with on.watch(), on.turn:
        buffer = on.pool.allocate(data.nbytes, on.usage, "arrays")
        write(on.handle, buffer.handle, 0, memoryview(data.reshape(-1).view(np.uint8).data))
    return GpuTensor(on, machine, buffer, tuple(array.shape), dtype(array.dtype))


def move(array: Array) -> Array:
    """The elements of an array on the GPU; raises as `upload`."""
    return array if isinstance(array, DeviceArray) else DeviceArray(upload(array.numpy()))
