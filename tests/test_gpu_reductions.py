"""Reductions on WebGPU: short rows have an invocation each, long ones a workgroup; both agree with NumPy at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import hither as ht
from hither.formats.onnx import load_bytes
from hither.kernels.cooperative import LONG_COLUMN, LONG_ROW
from hither.program import Program
from hither.program.compile import plan_target
from hither.targets.wgsl.bindings import plan_bindings
from hither.targets.wgsl.printer import print_module
from hither.web.builds import MACHINES

from .onnx_build import build, expected, info
from .tint import messages, open_page

pytestmark = pytest.mark.gpu


def compiled(function: Any, x: np.ndarray) -> Program:
    return ht.compile(function, {"x": ht.Spec(x.shape, x.dtype)}, device="webgpu")


def workgroups(program: Program) -> list[bool]:
    """Of each kernel, whether workgroups share the work on one result."""
    return [kernel.grid is not None for kernel in program.plan.code.kernels]


@pytest.mark.parametrize(
    "shape", [(3, LONG_ROW - 1), (3, LONG_ROW), (2, 5, 1000), (1, 3500), (1, 100_003), (7,), (70_000, LONG_ROW)], ids=str
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


# -- along one axis ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, axis", [((3, LONG_ROW - 1), 1), ((3, 1000), 1), ((3500, 3), 0), ((2, 66_000), -1)], ids=str)
def test_positions_of_extremes(shape: tuple[int, ...], axis: int) -> None:
    """Equal extremes everywhere, so that the first of all invocations' first ones must be taken; and NaNs."""
    x = np.random.default_rng(4).integers(0, 9, shape).astype(np.float32)
    program = compiled(lambda x: {"max": ht.argmax(x, axis=axis), "min": ht.argmin(x, axis=axis)}, x)
    for _ in range(2):
        found = program(x)
        np.testing.assert_array_equal(found["max"].numpy(), x.argmax(axis))
        np.testing.assert_array_equal(found["min"].numpy(), x.argmin(axis))
        x[(slice(None),) * (axis % 2) + (slice(150, 250, 30),)] = np.nan


@pytest.mark.parametrize("shape, axis", [((3, LONG_ROW - 1), 1), ((3, 1000), 1), ((2000, 3), 0), ((1, 70_000), -1)], ids=str)
def test_cumulative_sums(shape: tuple[int, ...], axis: int) -> None:
    x = np.random.default_rng(5).integers(-9, 9, shape).astype(np.int32)
    found = compiled(lambda x: {"sum": ht.cumulative_sum(x, axis=axis)}, x)(x)
    np.testing.assert_array_equal(found["sum"].numpy(), x.cumsum(axis))


SORTED = [((3, 1), 1), ((5, 7), 1), ((2, 64), 1), ((2, 65), 1), ((3, 1000), 1), ((300, 3), 0), ((1, 5000), 1)]


@pytest.mark.parametrize("shape, axis", SORTED, ids=str)
@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_stable(shape: tuple[int, ...], axis: int, descending: bool) -> None:
    x = np.random.default_rng(6).integers(0, 50, shape).astype(np.float32)
    x.reshape(-1)[::17] = np.nan
    how = {"axis": axis, "descending": descending}
    found = compiled(lambda x: {"v": ht.sort(x, **how), "i": ht.argsort(x, **how)}, x)(x)
    key = np.where(np.isnan(x), 1e9, x) * (-1 if descending else 1)
    order = np.argsort(key, axis=axis, kind="stable")
    np.testing.assert_array_equal(found["i"].numpy(), order)
    np.testing.assert_array_equal(found["v"].numpy(), np.take_along_axis(x, order, axis))


# -- results of data-dependent size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (3, 64, 11), (70_001,)], ids=str)
def test_nonzero(shape: tuple[int, ...]) -> None:
    x = (np.random.default_rng(7).uniform(size=shape) < 0.3).astype(np.float32)
    data = build([helper.make_node("NonZero", ["x"], ["y"])], [info("x", np.float32, shape)], ["y"])
    model = load_bytes(data, device="webgpu")
    for given in (x, np.zeros_like(x), np.ones_like(x)):
        np.testing.assert_array_equal(model(given)["y"].numpy(), np.stack(np.nonzero(np.atleast_1d(given)))[: len(shape)])


def suppression(center: int) -> bytes:
    """1,000 boxes in two batches and three classes, and fewer outputs wanted than there are boxes."""
    constants = {"most": np.int64([12]), "iou": np.float32([0.3]), "least": np.float32([0.2])}
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["y"], center_point_box=center)
    shapes = [info("boxes", np.float32, (2, 1000, 4)), info("scores", np.float32, (2, 3, 1000))]
    return build([node], shapes, ["y"], constants)


@pytest.mark.parametrize("center", [0, 1])
def test_non_maximum_suppression(center: int) -> None:
    """With many equal scores: the first of them is taken."""
    rng = np.random.default_rng(8)
    boxes = rng.uniform(0, 1, (2, 1000, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., 2:] * 0.2 + (0 if center else boxes[..., :2])
    inputs = {"boxes": boxes, "scores": (rng.integers(0, 40, (2, 3, 1000)) / 40).astype(np.float32)}
    data = suppression(center)
    np.testing.assert_array_equal(load_bytes(data, device="webgpu")(inputs)["y"].numpy(), expected(data, inputs)[0])


# -- browsers ----------------------------------------------------------------------------------------------------------------


def test_tint_takes_what_naga_takes(page: Any) -> None:
    """Chromium's compiler refuses barriers that not every invocation would reach; wgpu's does not look."""
    everything = [
        (lambda x: ht.softmax(x), (2, 1000)),
        (lambda x: ht.sum(x, axis=1), (70_000, LONG_ROW)),
        (lambda x: ht.sqrt(ht.sum(x, axis=0)), (2000, 3)),
        (lambda x: ht.argmax(x, axis=1), (2, 1000)),
        (lambda x: ht.cumulative_sum(x, axis=1), (2, 1000)),
        (lambda x: ht.sort(x, axis=1), (2, 300)),
        (lambda x: ht.nonzero_bounded(x), (2, 300)),
    ]
    (machine,) = MACHINES["webgpu"]
    plans = [plan_target(function, {"x": ht.Spec(shape, "float32")}, machine) for function, shape in everything]
    plans.append(plan_target(load_bytes(suppression(0)), None, machine))
    modules = [print_module(plan_bindings(plan.code, machine), machine) for plan in plans]
    texts = [text.split("\n", 1)[1] for module in modules for text in module.split("//---- kernel ")[1:]]
    found = messages(open_page(page), texts)
    assert [m for m in found if m] == []
