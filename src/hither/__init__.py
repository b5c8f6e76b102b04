"""hither: machine learning on the user's side of the wire.

Write Python; ship what runs in the user's browser tab, Node, desktop, server or Raspberry Pi. This module holds the public
names; its arrays and functions follow the Python array API standard. Importing it needs NumPy and nothing else: compilers,
runtimes and file formats load on first use.
"""

from __future__ import annotations as _annotations

import math as _math
import time as _time
from importlib import import_module as _import_module
from typing import Any as _Any

from . import array as _array
from . import ops as _ops
from .array import Array
from .dtypes import (
    DType,
    bool_,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    promote,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from .namespace import INFO as _INFO
from .namespace import NamespaceInfo as _NamespaceInfo
from .ops import *  # noqa: F403
from .ops import fft, linalg, random, signal

__version__ = "0.1.0"
__array_api_version__ = _array.API_VERSION
_IMPORTED = _time.time()  # caches do not trust sources that have changed since (runtime/provenance.py)

bool = bool_  # the standard's name
e, pi, inf, nan, newaxis = _math.e, _math.pi, _math.inf, _math.nan, None

# name → module that defines it; None: the name is a subpackage. Loaded when first asked for.
_LAZY: dict[str, str | None] = {
    "load": "hither.formats", "save": "hither.formats", "load_weights": "hither.formats.safetensors",
    "save_weights": "hither.formats.safetensors",
    "Model": "hither.model", "Spec": "hither.spec", "HitherError": "hither.errors",
    "compile": "hither.program", "jit": "hither.program", "Program": "hither.program", "bundle": "hither.web.builds",
    "memory": "hither.runtime.memory", "device": "hither.runtime.devices", "devices": "hither.runtime.devices",
    "default_device": "hither.runtime.devices", "set_default_device": "hither.runtime.devices",
    "data": None, "models": None, "nn": None, "optim": None, "train": None, "Trainer": "hither.train",
    **dict.fromkeys(
        ("checkpoint", "custom_gradient", "grad", "hessian", "jacobian", "value_and_grad", "vjp", "vmap"), "hither.transforms"
    ),
    "set_num_threads": "hither.runtime.threads", "get_num_threads": "hither.runtime.threads",
}  # fmt: skip


def __array_namespace_info__() -> _NamespaceInfo:
    """What this namespace of the array API standard has: capabilities, devices, dtypes."""
    return _INFO


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'hither' has no attribute {name!r}")
    where = _LAZY[name]
    value = _import_module(f"{__name__}.{name}") if where is None else getattr(_import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


__all__ = [
    "Array", "DType", "__array_api_version__", "__array_namespace_info__", "__version__", "bool", "bool_", "can_cast",
    "complex64", "complex128", "dtype", "e", "fft", "finfo", "float16", "float32", "float64", "iinfo", "inf", "int8", "int16",
    "int32", "int64", "isdtype", "linalg", "nan", "newaxis", "pi", "promote", "random", "signal", "uint8", "uint16",
    "uint32", "uint64",
]  # fmt: skip
__all__ += _ops.__all__
__all__ += _LAZY
