"""ONNX operators against ONNX Runtime where ONNX's own suite is thin: old opsets, recurrent cells, geometry, odd attributes."""

from __future__ import annotations

import numpy as np
import pytest

from .onnx_build import build, check, check_node, helper, info

rng = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# -- versions: the same operator before and after its definition changed ---------------------------------------------------


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, -1), (11, 0), (13, 1), (13, -1), (13, 0)])
def test_softmax_family_by_opset(op: str, opset: int, axis: int) -> None:
    check_node(op, [floats(2, 3, 4)], opset=opset, axis=axis)


def test_clip_by_opset() -> None:
    check_node("Clip", [floats(3, 4)], opset=8, min=-0.5, max=0.25)
    check_node("Clip", [floats(3, 4), None, np.float32(0.25)], opset=13)
    check_node("Clip", [np.arange(-5, 5), np.int64(-2), np.int64(3)], opset=13)


def test_slice_by_opset() -> None:
    check_node("Slice", [floats(4, 5)], opset=9, starts=[1, -3], ends=[9, -1], axes=[0, 1])
    check_node("Slice", [floats(4, 5), longs(3, -1), longs(0, -9), longs(0, 1), longs(-1, -2)], opset=13)
    check_node("Slice", [floats(4, 5), longs(3), longs(2)], opset=10)
    # backwards, a start before the first element is the first
    check_node("Slice", [floats(4, 5), longs(-9, 2), longs(-99, -99), longs(0, 1), longs(-1, -2)], opset=13)


def test_pad_by_opset_and_mode() -> None:
    check_node("Pad", [floats(2, 3)], opset=10, pads=[1, 0, 2, 1], value=1.5)
    for mode in ("reflect", "edge", "constant"):
        check_node("Pad", [floats(4, 5), longs(1, 2, 3, 0)], opset=13, mode=mode)
    check_node("Pad", [floats(4, 5), longs(-1, 2, 0, -2)], opset=13)
    check_node("Pad", [floats(4, 5), longs(3, 7), None, longs(1)], opset=19, mode="wrap")


def test_split_squeeze_and_unsqueeze_by_opset() -> None:
    check_node("Split", [floats(6, 2)], outputs=2, opset=11, axis=0, split=[2, 4])
    check_node("Split", [floats(6, 2), longs(1, 2, 3)], outputs=3, opset=13, axis=0)
    check_node("Split", [floats(7, 2)], outputs=3, opset=18, axis=0, num_outputs=3)
    check_node("Squeeze", [floats(1, 3, 1)], opset=11, axes=[0])
    check_node("Squeeze", [floats(1, 3, 1), longs(-1)], opset=13)
    check_node("Squeeze", [floats(1, 3, 1)], opset=13)
    check_node("Unsqueeze", [floats(3, 2)], opset=11, axes=[0, 3])
    check_node("Unsqueeze", [floats(3, 2), longs(-1, 0)], opset=13)


def test_topk_by_opset() -> None:
    check_node("TopK", [floats(3, 8)], outputs=2, opset=9, k=3)
    check_node("TopK", [floats(3, 8), longs(2)], outputs=2, opset=10, axis=0)
    check_node("TopK", [floats(3, 8), longs(5)], outputs=2, opset=11, largest=0)


def test_reductions_by_opset() -> None:
    check_node("ReduceSum", [floats(2, 3, 4)], opset=11, axes=[0, -1], keepdims=0)
    check_node("ReduceSum", [floats(2, 3, 4), longs(1)], opset=13)
    check_node("ReduceMean", [floats(2, 3, 4)], opset=13, axes=[1])
    check_node("ReduceMax", [floats(2, 3, 4), longs(-1)], opset=18, keepdims=0)
    check_node("ReduceMean", [np.arange(24).reshape(2, 3, 4), longs(1)], opset=18)


def test_batch_normalization_by_opset() -> None:
    x, c = floats(2, 3, 4, 4), [floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.5]
    for opset in (7, 9, 14, 15):
        check_node("BatchNormalization", [x, *c], opset=opset, epsilon=1e-3)


def test_upsample_and_resize_by_opset() -> None:
    x = floats(1, 2, 3, 4)
    for mode in ("nearest", "linear"):
        check_node("Upsample", [x], opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
        check_node("Upsample", [x, np.array([1, 1, 2, 2], np.float32)], opset=9, mode=mode, known=[1])
        check_node("Resize", [x, np.array([1, 1, 2, 0.5], np.float32)], opset=10, mode=mode, known=[1])


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("transform", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(7, 9), (3, 2), (5, 12)])
def test_resize_modes(mode: str, transform: str, size: tuple[int, int]) -> None:
    attributes = {"nearest_mode": "floor"} if mode == "nearest" else {}
    check_node(
        "Resize", [floats(2, 3, 5, 6), None, None, longs(2, 3, *size)], opset=13, known=[3], mode=mode,
        coordinate_transformation_mode=transform, **attributes,
    )  # fmt: skip


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_nearest_modes(nearest: str) -> None:
    check_node(
        "Resize", [floats(1, 1, 5, 6), None, np.array([1, 1, 1.7, 0.6], np.float32)], opset=13, known=[2], mode="nearest",
        nearest_mode=nearest,
    )  # fmt: skip


def test_resize_antialias() -> None:
    for mode in ("linear", "cubic"):
        check_node("Resize", [floats(1, 1, 20, 16), None, None, longs(1, 1, 7, 5)], opset=18, known=[3], mode=mode, antialias=1)


# -- convolutions and pools ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
def test_conv_padding(rank: int, auto: str) -> None:
    pads = {"pads": [1, 0, 2][:rank] + [0, 1, 1][:rank]} if auto == "NOTSET" else {}
    check_node(
        "Conv", [floats(2, 4, *(9, 8, 7)[:rank]), floats(6, 2, *(3, 2, 3)[:rank]), floats(6)], group=2, auto_pad=auto,
        strides=[2, 1, 2][:rank], **pads,
    )  # fmt: skip


def test_conv_dilation_and_depthwise() -> None:
    check_node("Conv", [floats(1, 4, 9, 9), floats(4, 1, 3, 3)], group=4, dilations=[2, 3], pads=[2, 3, 2, 3])


@pytest.mark.parametrize("attributes", [
    {"strides": [2, 3], "pads": [1, 0, 0, 2]},
    {"strides": [2, 2], "output_padding": [1, 0]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 2], "output_shape": [10, 9]},
    {"dilations": [2, 1], "group": 2},
])  # fmt: skip
def test_conv_transpose(attributes: dict) -> None:
    group = attributes.get("group", 1)
    check_node("ConvTranspose", [floats(1, 4, 4, 5), floats(4, 6 // group, 3, 3), floats(6)], **attributes)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_pools(op: str, ceil: int, auto: str) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2]}
    attributes |= {"pads": [1, 0, 1, 1]} if auto == "NOTSET" else {"auto_pad": auto}
    if op != "LpPool":
        attributes["ceil_mode"] = ceil
    check_node(op, [floats(2, 3, 10, 9)], **attributes)


def test_average_pool_counts_padding() -> None:
    for include in (0, 1):
        check_node(
            "AveragePool", [floats(1, 2, 7, 8)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
            count_include_pad=include,
        )  # fmt: skip


def test_max_pool_indices() -> None:
    for order in (0, 1):
        check_node(
            "MaxPool", [floats(2, 2, 7, 6)], outputs=2, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1],
            storage_order=order,
        )  # fmt: skip
    check_node("MaxPool", [rng.integers(0, 255, (1, 1, 5, 5)).astype(np.uint8)], kernel_shape=[2, 2])


def test_lrn_and_global_pools() -> None:
    check_node("LRN", [floats(2, 7, 3, 3)], size=5, alpha=0.1, beta=0.7, bias=1.5)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        check_node(op, [floats(2, 3, 4, 5)])


# -- recurrent cells -------------------------------------------------------------------------------------------------------

T, B, I, H = 7, 3, 4, 5


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent(op: str, direction: str, lengths: bool) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    d = 2 if direction == "bidirectional" else 1
    arrays: list = [
        floats(T, B, I), floats(d, gates * H, I), floats(d, gates * H, H), floats(d, 2 * gates * H),
        np.array([7, 3, 5], np.int32) if lengths else None, floats(d, B, H),
    ]  # fmt: skip
    if op == "LSTM":
        arrays += [floats(d, B, H), floats(d, 3 * H)]
    check_node(op, arrays, outputs=3 if op == "LSTM" else 2, hidden_size=H, direction=direction)


def test_recurrent_variants() -> None:
    x, w3, r3, b3 = floats(T, B, I), floats(1, 3 * H, I), floats(1, 3 * H, H), floats(1, 6 * H)
    check_node("GRU", [x, w3, r3, b3], outputs=2, hidden_size=H, linear_before_reset=1)
    check_node("GRU", [x, w3, r3, b3], outputs=2, hidden_size=H, clip=0.5)
    check_node("GRU", [x, w3, r3], outputs=2, hidden_size=H, activations=["HardSigmoid", "Softsign"])
    w4, r4 = floats(1, 4 * H, I), floats(1, 4 * H, H)
    check_node("LSTM", [floats(2, B, I), w4, r4], outputs=3, hidden_size=H)
    check_node(
        "RNN", [x, floats(1, H, I), floats(1, H, H)], outputs=2, hidden_size=H, activations=["LeakyRelu"],
        activation_alpha=[0.1],
    )  # fmt: skip


# -- elementwise, linear algebra, indices -----------------------------------------------------------------------------------


def test_integer_division_and_modulo_signs() -> None:
    a, b = np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    check_node("Div", [a, b])
    check_node("Mod", [a, b])
    check_node("Mod", [a, b], fmod=1)
    check_node("Mod", [floats(5), floats(5)], fmod=1)


def test_einsum_and_matmul_ranks() -> None:
    check_node("Einsum", [floats(2, 3, 4), floats(2, 4, 5)], equation="bij,bjk->bik")
    check_node("Einsum", [floats(3, 4)], equation="ij->ji")
    check_node("Einsum", [floats(2, 3, 4), floats(3, 5)], equation="...ij,ik")
    for a, b in [((4,), (4,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 1, 2, 3), (4, 3, 2))]:
        check_node("MatMul", [floats(*a), floats(*b)])


def test_gather_and_scatter() -> None:
    x = floats(4, 5, 6)
    check_node("Gather", [x, np.array([[0, -1], [2, 1]])], axis=1)
    check_node("GatherElements", [x, rng.integers(-4, 4, (2, 5, 6))], axis=0)
    check_node("GatherND", [x, rng.integers(-4, 4, (3, 2))])
    check_node("GatherND", [x, rng.integers(0, 5, (4, 2, 1))], batch_dims=1)
    for reduction in ("none", "add", "mul", "max", "min"):
        index = np.array([[3, -1], [0, 2]])[:, :1]
        check_node("ScatterND", [x, index, floats(2, 5, 6)], opset=18, reduction=reduction)
        check_node(
            "ScatterElements", [x, rng.permutation(4)[:2].reshape(2, 1, 1), floats(2, 1, 1)], opset=18, reduction=reduction
        )


def test_one_hot_and_cumsum() -> None:
    check_node("OneHot", [np.array([[1, -1], [9, 0]]), np.int64(4), floats(2)], known=[1], axis=1)
    check_node("CumSum", [floats(3, 4), np.int64(1)], known=[1], exclusive=1, reverse=1)


def test_quantised() -> None:
    x = floats(3, 4)
    scale, zero = np.array([0.1, 0.2, 0.05], np.float32), np.array([3, -4, 0], np.int8)
    check_node("QuantizeLinear", [x, scale, zero], axis=0)
    q = rng.integers(-128, 127, (3, 4)).astype(np.int8)
    check_node("DequantizeLinear", [q, scale, zero], axis=0)
    check_node("DynamicQuantizeLinear", [x], outputs=3)
    a, b = rng.integers(0, 255, (4, 6)).astype(np.uint8), rng.integers(-128, 127, (6, 5)).astype(np.int8)
    check_node("MatMulInteger", [a, b, np.uint8(12), np.int8(-3)])
    image, w = rng.integers(0, 255, (1, 4, 6, 6)).astype(np.uint8), rng.integers(-128, 127, (6, 2, 3, 3)).astype(np.int8)
    check_node("ConvInteger", [image, w, np.uint8(9)], group=2, pads=[1, 1, 1, 1])
    check_node(
        "QLinearConv",
        [image, np.float32(0.05), np.uint8(9), w, np.full(6, 0.02, np.float32), np.zeros(6, np.int8), np.float32(0.3),
         np.uint8(120), rng.integers(-500, 500, 6).astype(np.int32)],
        group=2, strides=[2, 2], known=[1, 2, 3, 4, 5, 6, 7, 8],
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_grid_sample(mode: str, padding: str, aligned: int) -> None:
    grid = rng.uniform(-1.6, 1.6, (2, 4, 3, 2)).astype(np.float32)
    check_node("GridSample", [floats(2, 3, 5, 6), grid], opset=16, mode=mode, padding_mode=padding, align_corners=aligned)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(mode: str, ratio: int) -> None:
    rois = np.array([[0, 0, 6, 5], [1, 2, 3.5, 7], [4, 1, 4.2, 1.5]], np.float32)
    check_node(
        "RoiAlign", [floats(2, 3, 8, 9), rois, longs(0, 1, 0)], opset=16, mode=mode, output_height=2, output_width=3,
        sampling_ratio=ratio, spatial_scale=0.75,
    )  # fmt: skip


def test_max_roi_pool() -> None:
    rois = np.array([[0, 0, 0, 5, 6], [1, 2, 1, 7, 3]], np.float32)
    check_node("MaxRoiPool", [floats(2, 3, 8, 9), rois], pooled_shape=[2, 3], spatial_scale=0.9)


def test_normalisations() -> None:
    check_node("LayerNormalization", [floats(2, 3, 4), floats(3, 4), floats(3, 4)], axis=1)
    check_node("InstanceNormalization", [floats(2, 3, 4, 5), floats(3), floats(3)])
    check_node("LpNormalization", [floats(2, 3)], axis=0, p=1)
    check_node("GroupNormalization", [floats(2, 6, 4), floats(6), floats(6)], opset=21, num_groups=3)


# -- shapes that flow through the graph ------------------------------------------------------------------------------------


def test_shape_arithmetic_leaves_no_trace() -> None:
    """Shape → Gather → Concat → Reshape folds to one reshape, whatever the batch."""
    from .onnx_build import hither_model

    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "zeros": longs(0), "rest": longs(-1)}
    data = build(nodes, [info("x", np.float32, ["N", 3, 4])], ["y"], constants)
    check(data, {"x": floats(5, 3, 4)})
    from hither.spec import Spec

    graph = hither_model(data).graph({"x": Spec((2, 3, 4))})
    assert [n.primitive.name for n in graph.nodes] == ["reshape"]
