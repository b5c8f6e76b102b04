"""What the wasm tests share: sample values, and kernels run on NumPy arrays in Node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.ir import Kernel, Machine
from hither.kernels.steps import Code, Launch, Ref, Step
from hither.targets.wasm.printer import WasmModule, print_module
from tests.wasm_node import run_wasm

MACHINE = Machine("wasm")


def printed(kernels: Sequence[Kernel], steps: Sequence[Step], relaxed: bool = False) -> WasmModule:
    return print_module(Code(list(kernels), {"main": tuple(steps)}), MACHINE, relaxed, worth_sharing=1)


def run_kernel(kernel: Kernel, arrays: Sequence[np.ndarray], threads: int = 1, relaxed: bool = False) -> list[np.ndarray]:
    """Bind the arrays to the kernel's buffers, run it, return what the buffers hold afterwards."""
    refs, io = [], bytearray()
    for a in arrays:
        refs.append(Ref("io", len(io), a.nbytes))
        io += a.tobytes() + bytes(-a.nbytes % 256)
    out = run_wasm(printed([kernel], [Launch(0, tuple(refs))], relaxed), "main", io=bytes(io), threads=threads)
    return [np.frombuffer(out, a.dtype, a.size, r.offset) for a, r in zip(arrays, refs, strict=True)]


def samples(dtype: DType, count: int = 48, seed: int = 0) -> np.ndarray:
    """Random values with the dtype's extremes among them."""
    rng = np.random.default_rng(seed)
    if dtype is dt.bool_:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_float:
        x = rng.standard_normal(count) * 10
        special = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e6][:count]
        x[: len(special)] = special
        return x.astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    x = rng.integers(info.min, info.max, count, dtype=dtype.numpy, endpoint=True)
    x[: count // 2] = rng.integers(max(info.min, -9), 9, count // 2).astype(dtype.numpy)
    x[-4:] = [info.min, info.max, 0, 1]
    return x


def same(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal bits, except that any NaN is as good as another."""
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    if got.dtype.kind == "f":
        finite = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(expected[finite]))
