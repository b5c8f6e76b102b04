"""Reductions on WebGPU: short rows have an invocation each, long ones a workgroup; both agree with NumPy at every size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import hither as ht
from hither.formats.onnx import load_bytes
from hither.kernels.cooperative import LONG_COLUMN, LONG_ROW
from hither.program import Program
from hither.program.compile import plan_target
from hither.runtime import webgpu_device
from hither.targets.wgsl.bindings import plan_bindings
from hither.targets.wgsl.printer import print_subgroup_variants, print_variants
from hither.web.builds import MACHINES

from .browser import serving
from .onnx_build import build, expected, info
from .tint import messages, open_page

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["subgroups", "plain"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an adapter with subgroups runs, and what one without."""
    machine = webgpu_device.webgpu_machine()
    if request.param == "subgroups" and not machine.subgroups:
        pytest.skip("this adapter has no subgroups")
    monkeypatch.setattr(webgpu_device, "webgpu_machine", lambda: replace(machine, subgroups=request.param == "subgroups"))


def compiled(function: Any, x: np.ndarray) -> Program:
    return ht.compile(function, {"x": ht.Spec(x.shape, x.dtype)}, device="webgpu")


def workgroups(program: Program) -> list[bool]:
    """Of each kernel, whether workgroups share the work on one result."""
    return [kernel.grid is not None for kernel in program.plan.code.kernels]


@pytest.mark.parametrize(
    "shape", [(3, LONG_ROW - 1), (3, LONG_ROW), (2, 5, 1000), (1, 3500), (1, 100_003), (7,), (70_000, LONG_ROW)], ids=str
)
def test_rows(either_way: None, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    program = compiled(lambda x: {"sum": ht.sum(x, axis=-1), "max": ht.max(x, axis=-1), "min": ht.min(x, axis=-1)}, x)
    assert workgroups(program) == [shape[-1] >= LONG_ROW] * 3
    found = program(x)
    np.testing.assert_allclose(found["sum"].numpy(), x.sum(-1, dtype=np.float64), rtol=1e-5)
    np.testing.assert_array_equal(found["max"].numpy(), x.max(-1))
    np.testing.assert_array_equal(found["min"].numpy(), x.min(-1))


@pytest.mark.parametrize("shape", [(4, 6625), (1, 53148)], ids=str)
def test_softmax_and_layer_norm_of_long_rows(either_way: None, shape: tuple[int, ...]) -> None:
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
def test_columns_and_what_is_computed_from_them(either_way: None, length: int) -> None:
    x = np.random.default_rng(2).uniform(0.5, 1.5, (length, 3)).astype(np.float32)
    program = compiled(lambda x: {"y": ht.sqrt(ht.sum(x, axis=0)) + 1, "z": ht.max(x, axis=0)}, x)
    assert workgroups(program) == [length >= LONG_COLUMN] * 2
    found = program(x)
    np.testing.assert_allclose(found["y"].numpy(), np.sqrt(x.sum(0, dtype=np.float64)) + 1, rtol=1e-5)
    np.testing.assert_array_equal(found["z"].numpy(), x.max(0))


def test_integers_and_nans(either_way: None) -> None:
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
    bound = [plan_bindings(plan.code, machine) for plan in plans]
    plain = [text for plan in bound for text in print_variants(plan, machine)]
    across = [text for plan in bound for text in print_subgroup_variants(plan, machine).values()]
    assert len(across) == 3, "softmax and the two sums"
    open_page(page)
    found = messages(page, plain) + messages(page, across, ["subgroups"])
    assert [m for m in found if m] == []


_ON_BOTH_DEVICES = """
async (x) => {
  const {load} = await import("/hither.js"), found = [];
  const adapter = await navigator.gpu.requestAdapter();
  for (const gpu of [undefined, await adapter.requestDevice()]) {
    const program = await load("/", {device: "webgpu", gpu});
    const outputs = Object.entries(await program.run({x: Float32Array.from(x)}));
    found.push({subgroups: program.info.subgroups, ...Object.fromEntries(outputs.map(([name, t]) => [name, [...t.data]]))});
    program.close();
  }
  return found;
}
"""


def test_pages_take_the_modules_that_suit_their_adapter(page: Any, tmp_path: Path) -> None:
    """Subgroups where the device has them, nothing of them where it has not; the same results, a NaN's included."""
    x = np.random.default_rng(6).standard_normal((3, 3500)).astype(np.float32)

    def function(x: Any) -> dict[str, Any]:
        return {"sum": ht.sum(x, axis=1), "max": ht.max(x, axis=1), "softmax": ht.softmax(x[:, :1200])}

    manifest = ht.bundle(function, tmp_path, {"x": ht.Spec(x.shape, "float32")}, targets=["webgpu"])
    (made,) = manifest["builds"]
    assert sorted(made["subgroups"].values()) == [len(made["pipelines"]) + i for i in range(len(made["subgroups"]))]
    x[1, 77] = np.nan
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/package.json")
        found = page.evaluate(_ON_BOTH_DEVICES, x.reshape(-1).tolist())
    assert [each["subgroups"] for each in found] == [True, False]
    exp = np.exp(x[:, :1200].astype(np.float64) - x[:, :1200].max(1, keepdims=True))
    for each in found:
        np.testing.assert_allclose(each["sum"], x.sum(1, dtype=np.float64), rtol=1e-4)
        np.testing.assert_array_equal(each["max"], x.max(1))
        np.testing.assert_allclose(np.reshape(each["softmax"], exp.shape), exp / exp.sum(1, keepdims=True), rtol=1e-4)
