"""Array: the n-dimensional array that users hold, and the operators it shares with traced values.

An Array has a shape, a dtype, a device and a buffer that frees itself when the last reference goes. What its operators do
lives in hither.ops; this file reaches them through one registered hook, so that it can stand at the top of the import order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .dtypes import DType, dtype

_ops: ModuleType | None = None


def register_operations(module: ModuleType) -> None:
    """Called once by hither.ops: the module whose functions stand behind the operators and methods below."""
    global _ops
    _ops = module


def _operation(name: str) -> Callable[..., Any]:
    if _ops is None:
        raise RuntimeError("hither.ops registers the operations behind array operators; import hither, not hither.array")
    return getattr(_ops, name)


class ArrayMethods:
    """Operators and methods of anything array-like: concrete Arrays and traced values alike."""

    __slots__ = ()
    __array_priority__ = 1000  # numpy_array + Array comes to us

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Any:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(f".T needs a matrix, got shape {self.shape}; use .mT or permute_dims")
        return _operation("permute_dims")(self, (1, 0))

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        if self.ndim < 2:
            raise ValueError(f".mT needs two axes or more, got shape {self.shape}")
        return _operation("matrix_transpose")(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        return _operation("getitem")(self, key)

    def astype(self, dtype: Any) -> Any:
        """The same values in another dtype."""
        return _operation("astype")(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        """The same elements in another shape; one extent may be -1."""
        if len(shape) == 1 and not isinstance(shape[0], int):
            shape = tuple(shape[0])
        return _operation("reshape")(self, shape)

    def transpose(self, *axes: Any) -> Any:
        """Axes permuted; reversed without arguments."""
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = tuple(axes[0])
        return _operation("permute_dims")(self, axes or tuple(reversed(range(self.ndim))))

    def flatten(self) -> Any:
        """One axis, row-major."""
        return _operation("reshape")(self, (-1,))


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _operation(name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"See `hither.{name}`."
    return method


for _name in ("sum", "prod", "max", "min", "mean", "var", "std", "argmax", "argmin", "all", "any", "squeeze"):
    setattr(ArrayMethods, _name, _method(_name))


def _operator(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Any, other: Any) -> Any:
        return _operation(name)(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return _operation(name)(other, self)

    return forward, reflected


for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}.items():  # fmt: skip
    _forward, _reflected = _operator(_name)
    setattr(ArrayMethods, f"__{_symbol}__", _forward)
    setattr(ArrayMethods, f"__r{_symbol}__", _reflected)

for _symbol, _name in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(ArrayMethods, f"__{_symbol}__", _operator(_name)[0])

for _symbol, _name in {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}.items():
    setattr(ArrayMethods, f"__{_symbol}__", _method(_name))

ArrayMethods.__hash__ = object.__hash__  # type: ignore[method-assign]  # == is elementwise; identity hashes


class Array(ArrayMethods):
    """An n-dimensional array with values.

    Made by `hither.asarray`, by operations, and as the result of programs. Immutable: operations give new arrays.
    """

    __slots__ = ("__weakref__", "_data")

    def __init__(self, data: np.ndarray) -> None:
        dtype(data.dtype)  # refuses object arrays and other dtypes that hither does not have
        self._data = data

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self._data.shape)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return dtype(self._data.dtype)

    @property
    def device(self) -> str:
        """Where the elements are: "cpu" or "webgpu"."""
        return "cpu"

    @property
    def nbytes(self) -> int:
        return int(self._data.nbytes)

    def numpy(self) -> np.ndarray:
        """The elements as a NumPy array (read-only where they are shared)."""
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The Python number of a one-element array."""
        return self.numpy().item()

    def tolist(self) -> Any:
        """Nested Python lists."""
        return self.numpy().tolist()

    def to_device(self, device: str) -> Array:
        """The same elements on another device."""
        if device == self.device:
            return self
        raise ValueError(f"cannot move an array to {device!r}: arrays live on 'cpu'; compiled programs run on other devices")

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of an array of shape {self.shape} is ambiguous; use any() or all()")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self.shape != () or not self.dtype.is_integer:
            raise TypeError(f"only a 0-d integer array is an index, got {self.dtype} of shape {self.shape}")
        return int(self.item())

    def __repr__(self) -> str:
        body = np.array2string(self.numpy(), separator=", ", prefix="Array(", threshold=100)
        return f"Array({body}, dtype={self.dtype})"
