"""Host arrays as a GPU has them, and back: 64-bit integers are carried in 32 bits, others as the machine stores them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..dtypes import DType
from ..errors import DTypeMismatch
from ..kernels.ir import Machine


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
