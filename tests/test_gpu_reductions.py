"""Reductions on WebGPU: short rows have an invocation each, long ones a workgroup; both agree with NumPy at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.kernels.cooperative import LONG_COLUMN, LONG_ROW
from hither.program import Program

pytestmark = pytest.mark.gpu


def compiled(function: Any, x: np.ndarray) -> Program:
    return ht.compile(function, {"x": ht.Spec(x.shape, x.dtype)}, device="webgpu")


def workgroups(program: Program) -> list[bool]:
    """Of each kernel, whether workgroups share the work on one result."""
    return [kernel.grid is not None for kernel in program.plan.code.kernels]


@pytest.mark.parametrize(
    "shape", [(3, LONG_ROW - 1), (3, LONG_ROW), (2, 5, 1000), (1, 100_003), (7,), (70_000, LONG_ROW)], ids=str
)
def test_rows(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    program = compiled(lambda x: {"sum": ht.sum(x, axis=-1), "max": ht.max(x, axis=-1), "min": ht.min(x, axis=-1)}, x)
    assert workgroups(program) == [shape[-1] >= LONG_ROW] * 3
    found = program(x)
    np.testing.assert_allclose(found["sum"].numpy(), x.sum(-1, dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(found["max"].numpy(), x.max(-1))
    np.testing.assert_array_equal(found["min"].numpy(), x.min(-1))


@pytest.mark.parametrize("shape", [(4, 6625), (1, 53148)], ids=str)
def test_softmax_and_layer_norm_of_long_rows(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    program = compiled(lambda x: {"softmax": ht.softmax(x), "norm": ht.layer_norm(x)}, x)
    assert workgroups(program) == [True, True]
    found = program(x)
    exp = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    np.testing.assert_allclose(found["softmax"].numpy(), exp / exp.sum(-1, keepdims=True), rtol=1e-5)
    wide = x.astype(np.float64)
    norm = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found["norm"].numpy(), norm, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [LONG_COLUMN - 1, LONG_COLUMN, 70_001])
def test_columns_and_what_is_computed_from_them(length: int) -> None:
    x = np.random.default_rng(2).uniform(0.5, 1.5, (length, 3)).astype(np.float32)
    program = compiled(lambda x: {"y": ht.sqrt(ht.sum(x, axis=0)) + 1, "z": ht.max(x, axis=0)}, x)
    assert workgroups(program) == [length >= LONG_COLUMN] * 2
    found = program(x)
    np.testing.assert_allclose(found["y"].numpy(), np.sqrt(x.sum(0, dtype=np.float64)) + 1, rtol=1e-5)
    np.testing.assert_array_equal(found["z"].numpy(), x.max(0))


def test_integers_and_nans() -> None:
    x = np.random.default_rng(3).integers(-(2**20), 2**20, (2, 3000)).astype(np.int64)
    np.testing.assert_array_equal(compiled(lambda x: ht.sum(x, axis=1), x)(x)["output"].numpy(), x.sum(1))
    y = np.linspace(-1, 1, 900, dtype=np.float32).reshape(1, 900)
    y[0, 640] = np.nan
    found = compiled(lambda x: {"max": ht.max(x), "min": ht.min(x)}, y)(y)
    assert np.isnan(found["max"].numpy()) and np.isnan(found["min"].numpy())
