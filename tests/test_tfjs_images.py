"""TensorFlow operators of TF.js graph models on images and boxes, and those whose result's size depends on values.

If one fails, models that use the operator compute something else than in TF.js.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht

from . import references as ref
from . import references_sampling as sampling
from .tfjs_build import C, GraphModel, agree, run

RNG = np.random.default_rng(8)
IMAGE = RNG.standard_normal((2, 7, 6, 4)).astype(np.float32)
BOOLS = RNG.random((3, 4)) < 0.5


def first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


FILTERS = RNG.standard_normal((3, 3, 4, 5)).astype(np.float32)
BIAS = RNG.standard_normal(5).astype(np.float32)


def same(extents: tuple[int, ...], window: int, stride: int, dilation: int = 1) -> list[tuple[int, int]]:
    made = []
    for n in extents:
        total = max((-(-n // stride) - 1) * stride + (window - 1) * dilation + 1 - n, 0)
        made.append((total // 2, total - total // 2))
    return made


@pytest.mark.parametrize(("padding", "stride", "dilation"), [("SAME", 2, 1), ("VALID", 1, 2), ("EXPLICIT", 1, 1)])
def test_conv2d(padding: str, stride: int, dilation: int, tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "strides": [1, stride, stride, 1],
        "dilations": [1, dilation, dilation, 1],
        "padding": padding,
    }
    pads = {"SAME": same((7, 6), 3, stride), "VALID": [(0, 0), (0, 0)], "EXPLICIT": [(1, 0), (2, 1)]}[padding]
    if padding == "EXPLICIT":
        attributes["explicit_paddings"] = [0, 0, 1, 0, 2, 1, 0, 0]
    want = last(
        ref.conv(
            np.pad(first(IMAGE), [(0, 0), (0, 0), *pads]), FILTERS.transpose(3, 2, 0, 1), strides=stride, dilation=dilation
        )
    )
    agree(run(tmp_path, "Conv2D", IMAGE, C(FILTERS), **attributes)[0], want, 1e-4)
    fused = run(tmp_path, "_FusedConv2D", IMAGE, C(FILTERS), C(BIAS), fused_ops=["BiasAdd", "Relu6"], **attributes)[0]
    agree(fused, np.clip(want + BIAS, 0, 6), 1e-4)


def test_fused_convolution_with_prelu_leaky_and_batch_norm(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "VALID"}
    want = last(ref.conv(first(IMAGE), FILTERS.transpose(3, 2, 0, 1)))
    slope = np.abs(BIAS)
    got = run(
        tmp_path / "a", "_FusedConv2D", IMAGE, C(FILTERS), C(BIAS), C(slope), fused_ops=["BiasAdd", "Prelu"], **attributes
    )[0]
    agree(got, np.where(want + BIAS > 0, want + BIAS, (want + BIAS) * slope), 1e-4)
    got = run(
        tmp_path / "b",
        "_FusedConv2D",
        IMAGE,
        C(FILTERS),
        C(BIAS),
        fused_ops=["BiasAdd", "LeakyRelu"],
        leakyrelu_alpha=0.4,
        **attributes,
    )[0]
    agree(got, np.where(want + BIAS > 0, want + BIAS, (want + BIAS) * 0.4), 1e-4)
    statistics = [C(v) for v in (slope, BIAS, BIAS + 1, slope + 0.5)]
    got = run(
        tmp_path / "c", "_FusedConv2D", IMAGE, C(FILTERS), *statistics, fused_ops=["FusedBatchNorm"], epsilon=0.01, **attributes
    )[0]
    agree(got, (want - BIAS - 1) / np.sqrt(slope + 0.51) * slope + BIAS, 1e-4)


def test_depthwise_convolution_and_batch_norm(tmp_path: Path) -> None:
    filters = RNG.standard_normal((3, 3, 4, 2)).astype(np.float32)
    weights = filters.reshape(3, 3, 1, 8).transpose(3, 2, 0, 1)
    want = last(ref.conv(np.pad(first(IMAGE), [(0, 0), (0, 0), *same((7, 6), 3, 1)]), weights, groups=4))
    attributes: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    agree(run(tmp_path / "a", "DepthwiseConv2dNative", IMAGE, C(filters), **attributes)[0], want, 1e-4)
    bias = np.arange(8, dtype=np.float32)
    got = run(
        tmp_path / "b", "FusedDepthwiseConv2dNative", IMAGE, C(filters), C(bias), fused_ops=["BiasAdd", "Elu"], **attributes
    )[0]
    agree(got, np.where(want + bias > 0, want + bias, np.expm1(want + bias)), 1e-4)
    four = [np.abs(RNG.standard_normal(4)).astype(np.float32) for _ in range(4)]
    got = run(tmp_path / "c", "FusedBatchNormV3", IMAGE, *[C(v) for v in four], epsilon=0.001, is_training=False)[0]
    agree(got, (IMAGE - four[2]) / np.sqrt(four[3] + 0.001) * four[0] + four[1])


@pytest.mark.parametrize(("padding", "extents", "stride"), [("SAME", (14, 11), 2), ("VALID", (16, 14), 2), ("SAME", (7, 6), 1)])
def test_conv2d_transpose(padding: str, extents: tuple[int, int], stride: int, tmp_path: Path) -> None:
    """It is the gradient of Conv2D with respect to its input: <conv(a), x> = <a, transpose(x)> for every a."""
    filters = RNG.standard_normal((3, 3, 5, 4)).astype(np.float32)
    attributes: dict[str, Any] = {"strides": [1, stride, stride, 1], "padding": padding}
    got = run(tmp_path, "Conv2DBackpropInput", C(np.array([2, *extents, 5])), C(filters), IMAGE, **attributes)[0]
    assert got.shape == (2, *extents, 5)
    a = RNG.standard_normal((2, *extents, 5)).astype(np.float32)
    pads = same(extents, 3, stride) if padding == "SAME" else [(0, 0), (0, 0)]
    conv = last(ref.conv(np.pad(first(a), [(0, 0), (0, 0), *pads]), filters.transpose(3, 2, 0, 1), strides=stride))
    assert conv.shape == IMAGE.shape
    np.testing.assert_allclose((conv * IMAGE).sum(), (a * got).sum(), rtol=1e-4)


@pytest.mark.parametrize(("op", "reduce"), [("MaxPool", np.max), ("AvgPool", np.mean)])
def test_pooling(op: str, reduce: Callable[..., Any], tmp_path: Path) -> None:
    got = run(tmp_path, op, IMAGE, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME")[0]
    (top, _), (left, _) = same((7, 6), 3, 2)
    for i, j in np.ndindex(4, 3):
        rows, columns = slice(max(2 * i - top, 0), 2 * i - top + 3), slice(max(2 * j - left, 0), 2 * j - left + 3)
        np.testing.assert_allclose(got[:, i, j], reduce(IMAGE[:, rows, columns], axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_max_pool_with_argmax(tmp_path: Path) -> None:
    best, place = run(
        tmp_path, "MaxPoolWithArgmax", IMAGE, outputs=2, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID",
        include_batch_in_index=True,
    )  # fmt: skip
    np.testing.assert_array_equal(IMAGE.reshape(-1)[place], best)


def test_dilation2d(tmp_path: Path) -> None:
    filters = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    got = run(tmp_path, "Dilation2D", IMAGE, C(filters), strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="VALID")[0]
    want = np.max([IMAGE[:, i : i + 6, j : j + 4] + filters[i, j] for i in range(2) for j in range(3)], axis=0)
    agree(got, want)


def sampled(n: int, m: int, mode: str) -> np.ndarray:
    """Source positions of m results along n samples."""
    at = np.arange(m)
    if mode == "corners":
        return at * (n - 1) / max(m - 1, 1)
    return (at + 0.5) * n / m - 0.5 if mode == "centers" else at * n / m


@pytest.mark.parametrize("mode", ["corners", "centers", "plain"])
@pytest.mark.parametrize("op", ["ResizeBilinear", "ResizeNearestNeighbor"])
def test_resize(op: str, mode: str, tmp_path: Path) -> None:
    size = (10, 4)
    flags = {"align_corners": mode == "corners", "half_pixel_centers": mode == "centers"}
    got = run(tmp_path, op, IMAGE, C(np.array(size)), **flags)[0]
    want = IMAGE.astype(np.float64)
    for axis, m in ((1, size[0]), (2, size[1])):
        n = IMAGE.shape[axis]
        at = sampled(n, m, mode)
        if op == "ResizeNearestNeighbor":
            rounded = np.floor(at + 0.5) if mode == "corners" else np.floor(at + 0.5 * (mode == "centers"))
            want = np.take(want, rounded.clip(0, n - 1).astype(int), axis)
            continue
        low = np.floor(at)
        t = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        want = (
            np.take(want, low.clip(0, n - 1).astype(int), axis) * (1 - t)
            + np.take(want, (low + 1).clip(0, n - 1).astype(int), axis) * t
        )
    agree(got, want)


def test_crop_and_resize(tmp_path: Path) -> None:
    boxes = np.array([[0.1, 0.2, 0.9, 0.8], [0.52, 0.93, 0.2, 0.1], [-0.5, 0.05, 0.55, 1.2]], np.float32)
    images = np.array([0, 1, 1], np.int32)
    for method in ("bilinear", "nearest"):
        got = run(
            tmp_path / method,
            "CropAndResize",
            IMAGE,
            boxes,
            images,
            C(np.array([3, 5])),
            method=method,
            extrapolation_value=0.25,
        )[0]
        agree(got, sampling.crop_and_resize(IMAGE, boxes, images, (3, 5), method == "nearest", 0.25), 1e-4)


# -- sizes that depend on values -----------------------------------------------------------------------------------------------


def test_where_and_list_diff_are_as_long_as_they_come_out(tmp_path: Path) -> None:
    agree(run(tmp_path / "a", "Where", BOOLS)[0], np.argwhere(BOOLS).astype(np.int32))
    x, y = np.array([1, 2, 3, 4, 5], np.int32), np.array([2, 5], np.int32)
    kept, places = run(tmp_path / "b", "ListDiff", x, y, outputs=2)
    agree(kept, np.array([1, 3, 4], np.int32))
    agree(places, np.array([0, 2, 3], np.int32))


def test_unique_keeps_first_occurrences_in_order(tmp_path: Path) -> None:
    values, places = run(tmp_path / "a", "Unique", np.array([4, 1, 4, 7, 1], np.int32), outputs=2)
    agree(values, np.array([4, 1, 7], np.int32))
    agree(places, np.array([0, 1, 0, 2, 1], np.int32))
    rows = np.array([[2, 1], [0, 3], [2, 1]], np.float32)
    values, places = run(tmp_path / "b", "UniqueV2", rows, C(np.array([0])), outputs=2)
    agree(values, rows[:2])
    agree(places, np.array([0, 1, 0], np.int32))


BOXES = np.array(
    [[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1], [0, 100, 1, 101]], np.float32
)
SCORES = np.array([0.9, 0.75, 0.6, 0.95, 0.5, 0.3], np.float32)


def test_non_max_suppression(tmp_path: Path) -> None:
    """TensorFlow's own example: boxes 3, 0 and 5 are kept; with soft suppression also lowered scores."""
    thresholds = (C(0.5), C(0.0))
    agree(run(tmp_path / "2", "NonMaxSuppressionV2", BOXES, SCORES, C(3), C(0.5))[0], np.array([3, 0, 5], np.int32))
    agree(run(tmp_path / "3", "NonMaxSuppressionV3", BOXES, SCORES, C(3), C(0.5), C(0.4))[0], np.array([3, 0], np.int32))
    chosen, count = run(
        tmp_path / "4", "NonMaxSuppressionV4", BOXES, SCORES, C(5), *thresholds, outputs=2, pad_to_max_output_size=True
    )
    agree(chosen, np.array([3, 0, 5, 0, 0], np.int32))
    assert count == 3
    chosen, scores, count = run(tmp_path / "5", "NonMaxSuppressionV5", BOXES, SCORES, C(6), C(1.0), C(0.0), C(0.5), outputs=3)
    agree(chosen, np.array([3, 0, 1, 5, 4, 2], np.int32))
    agree(scores, np.float32([0.95, 0.9, 0.384, 0.3, 0.256, 0.197]), 1e-3)
    assert count == 6


def test_a_count_goes_on_through_shape_arithmetic(tmp_path: Path) -> None:
    """Kept boxes, filled up with zeros to a fixed number: n + (k - n) is k again, whatever n turns out to be."""
    model = GraphModel()
    x = model.input("x", (6,))
    positions = model.op("Squeeze", model.op("Where", model.op("Greater", x, np.float32(0))), squeeze_dims=[1])
    kept = model.op("GatherV2", x, positions, np.array(0))
    length = model.op("StridedSlice", model.op("Shape", kept), np.array([0]), np.array([1]), np.array([1]), shrink_axis_mask=1)
    rest = model.op("Sub", np.array(8), length)
    zeros = model.op("Fill", model.op("Pack", rest, axis=0), np.float32(-1))
    model.output("joined", model.op("ConcatV2", kept, zeros, np.array(0)))
    paddings = model.op("ExpandDims", model.op("Pack", np.array(0), rest, axis=0), np.array(0))
    model.output("padded", model.op("Pad", kept, paddings))
    model.output("kept", kept)
    model.output("total", model.op("Sum", kept, np.array([0])))
    model.output("mean", model.op("Mean", kept, np.array([0])))
    model.output("best", model.op("TopKV2", kept, model.op("Minimum", length, np.array(2))))
    model.output("scaled", model.op("Mul", kept, model.op("Cast", length, DstT=("type", "float32"))))
    model.output("numbers", model.op("Range", np.array(0), length, np.array(1)), "int32")
    model.output(
        "first", model.op("Slice", kept, np.array([0]), model.op("Pack", model.op("Minimum", length, np.array(2)), axis=0))
    )
    loaded = ht.load(model.save(tmp_path), device="cpu")
    for x_now in (np.float32([1, -2, 3, 0, 5, -1]), np.float32([-1, 4, -1, -1, -1, -1]), np.arange(1, 7, dtype=np.float32)):
        got = {k: v.numpy() for k, v in loaded(x_now).items()}
        want = x_now[x_now > 0]
        n = len(want)
        agree(got["joined"], np.concatenate([want, np.full(8 - n, -1, np.float32)]))
        agree(got["padded"], np.pad(want, (0, 8 - n)))
        agree(got["kept"], want)
        agree(got["total"], want.sum())
        agree(got["mean"], want.mean())
        agree(got["best"], -np.sort(-want)[: min(n, 2)])
        agree(got["scaled"], want * n)
        agree(got["numbers"], np.arange(n, dtype=np.int32))
        agree(got["first"], want[:2])
