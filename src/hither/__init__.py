"""hither: machine learning on the user's side of the wire.

Write Python; ship what runs in the user's browser tab, Node, desktop, server or Raspberry Pi. This module holds the public
names. Importing it needs NumPy and nothing else: compilers, runtimes and file formats load on first use.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from . import ops
from .array import Array
from .dtypes import (
    DType,
    bool_,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    promote,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from .ops import *  # noqa: F403
from .ops import random

__version__ = "0.1.0"
_IMPORTED = time.time()  # caches do not trust sources that have changed since (runtime/provenance.py)

# name → module that defines it; None: the name is a subpackage. Loaded when first asked for.
_LAZY: dict[str, str | None] = {
    "load": "hither.formats", "save": "hither.formats", "load_weights": "hither.formats.safetensors",
    "save_weights": "hither.formats.safetensors",
    "Model": "hither.model", "Spec": "hither.spec", "HitherError": "hither.errors",
    "compile": "hither.program", "jit": "hither.program", "Program": "hither.program", "bundle": "hither.web.builds",
    "device": "hither.runtime.devices", "devices": "hither.runtime.devices", "set_default_device": "hither.runtime.devices",
    "models": None, "nn": None, "optim": None, "train": None, "Trainer": "hither.train",
    **dict.fromkeys(
        ("checkpoint", "custom_gradient", "grad", "hessian", "jacobian", "value_and_grad", "vjp", "vmap"), "hither.transforms"
    ),
    "set_num_threads": "hither.runtime.threads", "get_num_threads": "hither.runtime.threads",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'hither' has no attribute {name!r}")
    where = _LAZY[name]
    value = import_module(f"{__name__}.{name}") if where is None else getattr(import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Array", "DType", "bool_", "complex64", "complex128", "dtype", "float16", "float32", "float64", "int8", "int16", "int32",
    "int64", "promote", "random", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
__all__ += ops.__all__
