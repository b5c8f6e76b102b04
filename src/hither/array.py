"""Array: the n-dimensional array that users hold, and the operators it shares with traced values.

An Array has a shape, a dtype, a device and a buffer that frees itself when the last reference goes. What its operators do
lives in hither.ops; this file reaches them through one registered hook, so that it can stand at the top of the import order.

Arrays are values: no operation changes its operands, and what `numpy()` gives is read-only. `x[key] = value` and `x += y`
change what x stands for, never another Array, however they were made from each other.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .dtypes import DType, dtype

API_VERSION = "2024.12"  # of the Python array API standard
_DLPACK_CPU = (1, 0)  # DLPack's device type kDLCPU, and device number 0

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
    def device(self) -> str:
        """Where the elements are: "cpu" or "webgpu"."""
        return "cpu"

    def to_device(self, device: str, /, *, stream: Any = None) -> Any:
        """The same elements on another device, "cpu" or "webgpu".

        Operations on an array that lives on a GPU run there, as compiled programs do that are given one, and their results
        stay there until `numpy()` or `to_device("cpu")` fetches them.

        Raises:
            ValueError: for another device, or a stream: there is nothing to synchronise with.
            WebGpuError: there is no GPU to be used; says why.
            DTypeMismatch: the device has nothing to carry the dtype in (float64 on WebGPU).

        Example:
            >>> import hither as ht
            >>> x = ht.asarray([1.0, 2.0]).to_device("cpu")
        """
        if stream is not None:
            raise ValueError(f"to_device: arrays on {self.device!r} have no streams, got {stream!r}")
        if device == self.device:
            return self
        if device == "cpu" and isinstance(self, Array):
            return Array(self.numpy())
        if device in _ELSEWHERE and isinstance(self, Array):
            return import_module(_ELSEWHERE[device][0]).move(self)
        raise ValueError(f"cannot move an array to {device!r}: arrays live on 'cpu' or 'webgpu'")

    def __array_namespace__(self, /, *, api_version: str | None = None) -> ModuleType:
        """The module of functions for these arrays, hither, which follows the Python array API standard.

        Raises:
            ValueError: for a version of the standard other than 2024.12 and the earlier ones, which it contains.
        """
        if api_version is not None and api_version not in ("2021.12", "2022.12", "2023.12", API_VERSION):
            raise ValueError(f"hither follows version {API_VERSION} of the array API standard, asked for {api_version!r}")
        return sys.modules[__package__]

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
        """Elements by numbers, slices, None, `...`, integer arrays or one bool array, as the array API standard has it."""
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


def _reduction(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        for foreign in ("out", "dtype"):  # numpy.sum(x) calls x.sum with NumPy's own arguments, which mean nothing as None
            if kwargs.get(foreign, 0) is None:
                del kwargs[foreign]
        if "ddof" in kwargs:
            kwargs["correction"] = kwargs.pop("ddof")
        return _operation(name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"See `hither.{name}`."
    return method


for _name in ("sum", "prod", "max", "min", "mean", "var", "std", "argmax", "argmin", "all", "any"):
    setattr(ArrayMethods, _name, _reduction(_name))
ArrayMethods.squeeze = _method("squeeze")  # type: ignore[attr-defined]


# What is never an operand: Python then says so in its own words, and `x == None` is False.
_NO_OPERANDS = (type(None), str, bytes, dict, set)


def _leaves(other: Any) -> bool:
    """Whether an operator is the other operand's to do, which says so as it does to NumPy's arrays."""
    return isinstance(other, _NO_OPERANDS) or getattr(other, "__array_ufunc__", other) is None


def _operator(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Any, other: Any) -> Any:
        return NotImplemented if _leaves(other) else _operation(name)(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return NotImplemented if _leaves(other) else _operation(name)(other, self)

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


# device → the modules that bring an Array there (`move`) and compute there (`evaluate`), loaded when somebody asks
_ELSEWHERE = {"webgpu": ("hither.runtime.webgpu_arrays", "hither.program.eager")}


_COMPILED = "hither.program.eager"


def evaluator(operands: Iterable[Any], compiled: bool = False) -> Callable[..., tuple[Array, ...]] | None:
    """What applies a primitive, `(primitive, operands, params)`, where one of these operands lives, or `compiled`.

    None: NumPy does.
    """
    module = next((_ELSEWHERE[o.device][1] for o in operands if isinstance(o, Array) and o.device != "cpu"), None)
    if module is None and not compiled:
        return None
    found: Callable[..., tuple[Array, ...]] = import_module(module or _COMPILED).evaluate
    return found


_alive: set[weakref.ref[Array]] = set()


def live_arrays() -> tuple[int, int]:
    """How many Arrays there are, and the bytes of the memory that they lie in: each piece once, however many views it has."""
    arrays = [array for ref in list(_alive) if (array := ref()) is not None]
    owners = {id(owner): owner.nbytes for owner in map(_owner, arrays)}
    return len(arrays), sum(owners.values())


def _owner(array: Array) -> np.ndarray:
    data = array._data
    while isinstance(data.base, np.ndarray):
        data = data.base
    return data


class Array(ArrayMethods):
    """An n-dimensional array with values.

    Made by `hither.asarray`, by operations, and as the result of programs. A value: operations give new arrays.
    """

    __slots__ = ("__weakref__", "_data", "_unseen", "_view")

    def __init__(self, data: np.ndarray) -> None:
        dtype(data.dtype)  # refuses object arrays and other dtypes that hither does not have
        self._data = np.asarray(data)  # NumPy's arithmetic makes scalars of arrays without axes
        self._view: np.ndarray | None = None  # _data, read-only: always the same object, by which constants are recognised
        self._unseen = False  # whether nobody else holds _data, so that __setitem__ may write into it
        _alive.add(weakref.ref(self, _alive.discard))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self._data.shape)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return dtype(self._data.dtype)

    @property
    def nbytes(self) -> int:
        """How many bytes the elements take."""
        return int(self._data.nbytes)

    def numpy(self) -> np.ndarray:
        """The elements as a read-only NumPy array, without a copy; `numpy.array(x)` gives one to write into."""
        if self._view is None:
            self._view = self._data.view() if self._data.flags.writeable else self._data
            self._view.flags.writeable = False
            self._unseen = False
        return self._view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A copy as a NumPy array; with copy=False the elements themselves, read-only."""
        if copy is False:
            return np.asarray(self.numpy(), dtype=dtype, copy=False)
        return np.array(self._data, dtype=dtype)

    def alias(self, copy: bool = False) -> Array:
        """A second Array of these elements; with copy=True in memory of its own, where one that can be changed has them."""
        return Array(np.array(self.numpy()) if copy else self._data)

    def item(self) -> Any:
        """The Python number of a one-element array."""
        return self._data.item()

    def tolist(self) -> Any:
        """Nested Python lists."""
        return self._data.tolist()

    def __setitem__(self, key: Any, value: Any) -> None:
        """x[key] = value by NumPy's rules: x stands for a changed copy from now on; other Arrays keep their values.

        Values are converted to x's dtype and broadcast. Loops that write element by element copy once, not every time.

        Raises:
            IndexError: for keys outside x.
            TypeError: for a traced value: x would lose its gradient.
            ValueError: for values that do not broadcast to what the key selects.
        """
        keys = tuple(_index(k) for k in key) if isinstance(key, tuple) else _index(key)
        changed = self._data if self._unseen else np.array(self._data)
        elements = _operation("asarray")(value, dtype=self.dtype)
        if not isinstance(elements, Array):
            raise TypeError(
                "x[key] = value puts a traced value into an array of numbers; make a new array instead, with hither.stack, "
                "hither.where, hither.scatter_nd or hither.dynamic_update_slice"
            )
        changed[keys] = elements.numpy()
        self._data, self._unseen, self._view = changed, True, None

    def __dlpack__(
        self, *, stream: Any = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """A DLPack capsule of the elements, without a copy where the consumer may have them.

        Consumers of DLPack 1.0 learn that the elements are read-only. Older ones have no way to; they share memory that
        belongs to this Array alone (and must not write to it), and get a copy of what may be shared, unless copy=False.
        """
        if stream is not None:
            raise ValueError(f"__dlpack__: arrays on the CPU have no streams, got {stream!r}")
        if dl_device is not None and tuple(map(int, dl_device)) != _DLPACK_CPU:
            raise BufferError(f"__dlpack__: arrays live on device {_DLPACK_CPU} (the CPU), asked for {tuple(dl_device)}")
        if copy or (max_version or (0, 0)) < (1, 0):
            shared = not self._data.flags.writeable
            data = np.array(self._data) if copy or (copy is None and shared) else _writeable(self._data)
            self._unseen = False
            return data.__dlpack__()
        return self.numpy().__dlpack__(max_version=max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's device type and number: (1, 0), the CPU."""
        return _DLPACK_CPU

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of an array of shape {self.shape} is ambiguous; use any() or all()")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.shape != () or not self.dtype.is_integer:
            raise TypeError(f"only a 0-d integer array is an index, got {self.dtype} of shape {self.shape}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else super().__format__(spec)

    def __repr__(self) -> str:
        body = np.array2string(self._data, separator=", ", prefix="Array(", threshold=100)
        shape = "" if self.size or self.shape == (0,) else f", shape={self.shape}"
        return f"Array({body}{shape}, dtype={self.dtype})"


def _index(key: Any) -> Any:
    return key._data if isinstance(key, Array) else key


def _writeable(data: np.ndarray) -> np.ndarray:
    """The same memory as an array that NumPy lets out without a read-only mark, which old DLPack cannot carry."""
    if data.flags.writeable:
        return data

    class Memory:
        def __init__(self) -> None:
            self.keeps = data
            address, _ = data.__array_interface__["data"]
            self.__array_interface__ = {**data.__array_interface__, "data": (address, False), "strides": data.strides}

    return np.asarray(Memory())
