"""Arrays that live on another device than the CPU: an Array whose elements are fetched when somebody looks at them.

Light on purpose: a process that uses no such device loads nothing for it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..array import Array
from ..dtypes import DType


class Tensor(Protocol):
    """Elements in the memory of a device, which nobody changes."""

    @property
    def device_name(self) -> str: ...  # pragma: no cover

    @property
    def shape(self) -> tuple[int, ...]: ...  # pragma: no cover

    @property
    def dtype(self) -> DType: ...  # pragma: no cover

    def fetch(self) -> np.ndarray: ...  # pragma: no cover

    def like(self, array: np.ndarray) -> Tensor:
        """Other elements on the same device."""
        ...  # pragma: no cover


def _again(elements: np.ndarray, device: str) -> Array:
    made: Array = Array(elements).to_device(device)
    return made


class DeviceArray(Array):
    """An Array whose elements are a Tensor. `numpy()` waits for them and fetches them, once."""

    __slots__ = ("_host", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._host: np.ndarray | None = None
        self._view = None
        self._unseen = False

    @property
    def _data(self) -> np.ndarray:
        if self._host is None:
            self._host = self.tensor.fetch()
        return self._host

    @_data.setter
    def _data(self, changed: np.ndarray) -> None:  # x[key] = value
        self.tensor = self.tensor.like(changed)
        self._host = None

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.tensor.shape

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.tensor.dtype

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> str:
        return self.tensor.device_name

    def alias(self, copy: bool = False) -> DeviceArray:
        return DeviceArray(self.tensor)

    def __copy__(self) -> DeviceArray:
        return self.alias()

    def __deepcopy__(self, memo: dict[int, Any]) -> DeviceArray:
        return self.alias()

    def __reduce__(self) -> tuple[Any, ...]:  # handles of a device mean nothing to another process
        return _again, (np.array(self._data), self.device)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError(f"__dlpack__: this array lives on {self.device!r}, which DLPack does not know; use to_device('cpu')")

    def __dlpack_device__(self) -> tuple[int, int]:
        raise BufferError(f"__dlpack_device__: DLPack does not know {self.device!r}; use to_device('cpu')")
