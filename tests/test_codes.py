"""Weights in codes: int4, MatMulNBits, and bytes with zero points, read by every kind of product on every target.

What a test compares with is NumPy in float64 on the weights as a formula of its own rounds and scales them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hither as ht

from . import references as ref
from .onnx_build import build, expected, fed, hither_model, info, one_node
from .op_case import check
from .test_onnx_microsoft import packed
from .test_precision import DEVICES, compiled, int8, normal, run
from .wasm_session import in_node


def int4(w: np.ndarray, axis: int) -> np.ndarray:
    """Whole numbers of -7 to 7 with a float16 scale for each 32 neighbours along an axis, or what is left at its end."""
    rows = np.moveaxis(w, axis, -1)
    made = np.zeros(rows.shape)
    for start in range(0, rows.shape[-1], 32):
        block = rows[..., start : start + 32]
        scale = (np.abs(block).max(-1, keepdims=True) / np.float32(7)).astype(np.float16).astype(np.float32)
        made[..., start : start + 32] = np.clip(np.rint(block / scale), -7, 7) * scale.astype(np.float64)
    return np.moveaxis(made, -1, axis)


def _conv(**params: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    low, high = (pads := params.pop("pads", (0, 0)))
    border = ((0, 0), (0, 0), (low, high), (low, high))

    def ours(x: Any, w: Any) -> Any:
        return ht.relu(ht.conv(x, w, padding=[pads, pads], **params) + 0.5)

    def reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return np.maximum(ref.conv(np.pad(x, border).astype(np.float64), w, **params) + 0.5, 0)

    return ours, reference


def _block(x: Any, w: Any) -> Any:
    """Widen, filter each channel: one kernel where the wide picture is large."""
    return ht.conv(ht.relu(ht.conv(x, w)), DEPTHWISE, groups=96, padding=[(1, 1), (1, 1)])


def _block_reference(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    wide = np.maximum(ref.conv(x.astype(np.float64), w), 0)
    return ref.conv(np.pad(wide, ((0, 0), (0, 0), (1, 1), (1, 1))), int8(DEPTHWISE, (0,)), groups=96)


DEPTHWISE = normal(96, 1, 3, 3, seed=5)

# name: (function of an input and a weight, reference of the same, input, weight, axis along which scales change)
NIBBLES: dict[str, tuple[Callable[..., Any], Callable[..., Any], np.ndarray, np.ndarray, int]] = {
    "row": (ht.matmul, np.matmul, normal(1, 96), normal(96, 33, seed=1), 0),
    "rows": (ht.matmul, np.matmul, normal(7, 64), normal(64, 50, seed=1), 0),
    "many rows": (ht.matmul, np.matmul, normal(61, 32), normal(32, 48, seed=1), 0),
    "column": (ht.matmul, np.matmul, normal(9, 320), normal(320, 1, seed=1), 0),
    "a last block of eight": (ht.matmul, np.matmul, normal(3, 40), normal(40, 32, seed=1), 0),
    "a last block of five": (ht.matmul, np.matmul, normal(3, 37), normal(37, 32, seed=1), 0),
    "many rows, last block of five": (ht.matmul, np.matmul, normal(61, 37), normal(37, 32, seed=1), 0),
    "transposed": (
        lambda x, w: ht.matmul(x, ht.asarray(w).mT) + 1, lambda x, w: x @ w.T + 1, normal(4, 64), normal(31, 64, seed=1), 1,
    ),
    "table": (
        lambda i, w: ht.take(w, i, axis=0), lambda i, w: w[i], np.array([3, 0, 40], np.int32), normal(41, 64, seed=1), 1,
    ),
    "table and product": (
        lambda i, w: ht.matmul(ht.take(w, i, axis=0), ht.asarray(w).mT), lambda i, w: w[i] @ w.T,
        np.array([3, 0, 40], np.int32), normal(41, 64, seed=1), 1,
    ),
    "pointwise": (*_conv(), normal(1, 48, 9, 7), normal(20, 48, 1, 1, seed=1), 1),
    "pointwise on one pixel": (*_conv(), normal(1, 40, 1, 1), normal(24, 40, 1, 1, seed=1), 1),
    "pointwise, strided": (*_conv(strides=2), normal(2, 32, 8, 7), normal(33, 32, 1, 1, seed=1), 1),
    "window": (*_conv(), normal(1, 24, 8, 9), normal(20, 24, 3, 3, seed=1), 1),
    "window on one pixel": (*_conv(), normal(1, 34, 3, 3), normal(18, 34, 3, 3, seed=1), 1),
    "window, strided and padded": (*_conv(strides=2, pads=(1, 1)), normal(1, 64, 9, 9), normal(16, 64, 3, 3, seed=1), 1),
    "window, dilated": (*_conv(dilation=2, pads=(2, 2)), normal(1, 16, 9, 9), normal(16, 16, 3, 3, seed=1), 1),
    "Winograd's": (*_conv(pads=(1, 1)), normal(1, 40, 16, 16), normal(32, 40, 3, 3, seed=1), 1),
    "along a line": (
        lambda x, w: ht.conv(x, w), lambda x, w: ref.conv(x.astype(np.float64), w), normal(2, 32, 30),
        normal(16, 32, 5, seed=1), 1,
    ),
    "block": (_block, _block_reference, normal(1, 24, 60, 60), normal(96, 24, 1, 1, seed=1), 1),
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NIBBLES)
def test_nibbles(name: str, device: str) -> None:
    """Two numbers to a byte and a scale for each 32, in products of few and of many rows, convolutions and tables."""
    function, reference, x, w, axis = NIBBLES[name]
    program = compiled(lambda x: function(x, w), device, "int4", x)
    stored = max(program.plan.weights, key=lambda a: a.array.size)
    assert stored.array.dtype == np.uint8
    if name == "block" and device == "cpu":
        assert any(kernel.name.startswith("block") for kernel in program.plan.code.kernels)
    expected = reference(x, int4(w, axis))
    np.testing.assert_allclose(run(program, x), expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["matrix", "pointwise", "window", "channels that fill no block"])
def test_memory_of_nibbles(name: str, device: str) -> None:
    """Half a byte and a 32nd of a float16 for each number."""
    x, w = {
        "matrix": (normal(1, 256), normal(256, 768)),
        "pointwise": (normal(1, 256, 2, 2), normal(512, 256, 1, 1)),
        "window": (normal(1, 64, 4, 4), normal(128, 64, 3, 3)),
        "channels that fill no block": (normal(1, 72, 4, 4), normal(128, 72, 3, 3)),
    }[name]
    program = compiled(lambda x: x @ w if w.ndim == 2 else ht.conv(x, w), device, "int4", x)
    assert program.memory()["weights"] <= (0.15 if name.startswith("channels") else 0.145) * w.nbytes


def test_what_has_no_nibbles_has_bytes() -> None:
    """Stacks of matrices, windows over an odd number of channels, and convolutions in groups."""
    cases: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray, tuple[int, ...]]] = {
        "stack": (ht.matmul, normal(3, 4, 40), normal(3, 40, 32, seed=1), (0, 2)),
        "odd": (ht.conv, normal(1, 7, 5, 5), normal(16, 7, 3, 3, seed=1), (0,)),
        "groups": (lambda x, w: ht.conv(x, w, groups=2), normal(1, 32, 5, 5), normal(16, 16, 3, 3, seed=1), (0,)),
    }
    for name, (function, x, w, kept) in cases.items():
        program = compiled(lambda x, f=function, w=w: f(x, w), "cpu", "int4", x)
        assert {a.array.dtype.name for a in program.plan.weights if a.array.size >= 256} == {"int8"}, name
        small = int8(w, kept)
        expected = x @ small if name == "stack" else ref.conv(x, small, groups=2 if name == "groups" else 1)
        check(run(program, x), expected.astype(np.float32), "sums")


# -- blocks that a file chose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [1, 30])
@pytest.mark.parametrize(
    ("bits", "block", "depth", "zeros"),
    [
        (4, 32, 96, "none"), (4, 16, 72, "packed"), (4, 128, 200, "packed"), (4, 64, 192, "floats"), (4, 256, 256, "none"),
        (4, 32, 75, "packed"), (8, 32, 80, "packed"), (8, 64, 64, "none"), (2, 32, 90, "none"), (2, 16, 65, "packed"),
    ],
)  # fmt: skip
def test_matmul_nbits(bits: int, block: int, depth: int, zeros: str, rows: int, device: str) -> None:
    """Blocks of all lengths, a last one that is shorter, zero points in bytes and in floats: as ONNX Runtime computes them,
    and in no more memory than the file has for them."""
    rng, columns, blocks = np.random.default_rng(0), 40, -(-depth // block)
    weights, places = rng.integers(0, 2**bits, (columns, blocks, block)), rng.integers(0, 2**bits, (columns, blocks))
    given = {"none": None, "packed": packed(places, bits), "floats": places.astype(np.float32) + 0.25}[zeros]
    scales = (rng.random((columns, blocks)) + 0.1).astype(np.float32)
    operands = [normal(rows, depth), packed(weights, bits), scales, given]
    known = [i for i in (1, 2, 3) if operands[i] is not None]
    node = one_node(
        "MatMulNBits", operands, known=known, K=depth, N=columns, bits=bits, block_size=block, domain="com.microsoft"
    )
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(hither_model(node), {"x0": ht.Spec((rows, depth))}, device=device)
    (found,) = program(x0=operands[0]).values()
    (wanted,) = expected(node, fed(operands, known))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    codes = max((w.array for w in program.plan.weights), key=np.size)
    assert codes.dtype == np.uint8
    assert codes.nbytes <= -(-depth * bits // 8) * 48  # whole panels
    assert not program.plan.code.sizes["arena"]  # no matrix of floats is made on the way


def _stored(q: np.ndarray, kind: str) -> np.ndarray:
    """The elements under the dtype that the onnx package writes."""
    return q.astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind.upper())))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("kind", "block", "depth", "zeros"),
    [("int4", 32, 96, False), ("int4", 16, 71, True), ("uint4", 32, 64, True), ("uint4", 48, 96, False), ("int8", 32, 75, True),
     ("uint8", 64, 128, False)],
)  # fmt: skip
def test_dequantize_linear_in_blocks(kind: str, block: int, depth: int, zeros: bool, device: str) -> None:
    """ONNX's own way to write what MatMulNBits has: in no more memory than the file needs for it, to the float."""
    rng, columns, low = np.random.default_rng(0), 40, 0 if kind[0] == "u" else -(2 ** (int(kind[-1]) - 1))
    blocks, bits = -(-depth // block), int(kind[-1])
    q, places = (rng.integers(low, low + 2**bits, (n, columns)) for n in (depth, blocks))
    scales, x = (rng.random((blocks, columns)) + 0.1).astype(np.float32), normal(5, depth)
    given = {"q": _stored(q, kind), "scales": scales, **({"places": _stored(places, kind)} if zeros else {})}
    nodes = [
        helper.make_node("DequantizeLinear", list(given), ["w"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x0", "w"], ["y"]),
    ]
    data = build(nodes, [info("x0", np.float32, (5, depth))], ["y"], given, opset=21)
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(hither_model(data), {"x0": ht.Spec((5, depth))}, device=device)
    each = np.repeat(scales.astype(np.float64), block, 0)[:depth]
    matrix = (q - (np.repeat(places, block, 0)[:depth] if zeros else 0)) * each
    check(run(program, x), (x @ matrix).astype(np.float32), "sums")
    codes = max((w.array for w in program.plan.weights), key=np.size)
    assert codes.dtype == np.uint8
    assert codes.nbytes <= -(-depth * bits // 8) * 48  # whole panels
    assert not program.plan.code.sizes["arena"]


def test_four_bits_in_files() -> None:
    """Static quantisation to QInt4 gives a scale per tensor or channel; elements lie in raw bytes or in int32_data."""
    rng = np.random.default_rng(1)
    q, scales, x = rng.integers(-8, 8, (7, 9)), (rng.random(9) + 0.1).astype(np.float32), normal(2, 7)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    given = {"q": _stored(q, "int4"), "s": scales, "z": _stored(np.zeros(9), "int4")}
    model = onnx.load_from_string(build(nodes, [info("x", np.float32, (2, 7))], ["y"], given, opset=21))
    raw = model.SerializeToString()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("q", TensorProto.INT4, q.shape, q.reshape(-1).tolist()))
    for data in (raw, model.SerializeToString()):
        np.testing.assert_allclose(np.asarray(hither_model(data)(x)["y"]), x @ (q * scales), rtol=1e-5, atol=1e-5)


def test_four_bits_elsewhere_are_refused() -> None:
    """As bytes they would be rounded, clipped and shown otherwise: no number may come out wrong."""
    given = {"s": np.float32(0.5), "z": _stored(np.array(1), "int4")}
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="node")
    with pytest.raises(ht.HitherError, match=r"initialiser 'z': hither has no dtype int4.*QuantizeLinear 'node' does"):
        hither_model(build([node], [info("x", np.float32, (3,))], ["y:int8"], given, opset=21))


@pytest.mark.parametrize("device", DEVICES)
def test_matmul_nbits_in_float16(device: str) -> None:
    """Files for GPUs have float16 inputs and scales."""
    rng = np.random.default_rng(0)
    weights, scales = rng.integers(0, 16, (24, 3, 32)), (rng.random((24, 3)) / 8).astype(np.float16)
    x = normal(5, 96).astype(np.float16)
    node = one_node(
        "MatMulNBits", [x, packed(weights, 4), scales], known=[1, 2], K=96, N=24, block_size=32, domain="com.microsoft"
    )
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(hither_model(node), {"x0": ht.Spec((5, 96), "float16")}, device=device)
    assert max((w.array for w in program.plan.weights), key=np.size).dtype == np.uint8
    matrix = ((weights - 8) * scales[..., None].astype(np.float64)).reshape(24, 96)
    (found,) = program(x0=x).values()
    assert found.dtype == ht.float16
    np.testing.assert_allclose(found.numpy(), x.astype(np.float64) @ matrix.T, rtol=2e-3, atol=2e-3)


# -- numbers that came as bytes ----------------------------------------------------------------------------------------------

Quantised = Callable[[np.ndarray, int], np.ndarray]  # what a file makes of uint8 numbers, whose outputs an axis counts


def _per_tensor(q: np.ndarray, axis: int) -> np.ndarray:
    """ONNX's DequantizeLinear, or TensorFlow Lite's: a float32 product."""
    return (q.astype(np.int32) - 87).astype(np.float32) * np.float32(0.0123)


def _per_channel(q: np.ndarray, axis: int) -> np.ndarray:
    rng, shape = np.random.default_rng(7), [-1 if a == axis else 1 for a in range(q.ndim)]
    scale = (rng.random(q.shape[axis]) / 90 + 0.001).astype(np.float32).reshape(shape)
    zero = rng.integers(0, 256, q.shape[axis]).reshape(shape)
    return (q.astype(np.int32) - zero).astype(np.float32) * scale


def _tfjs(q: np.ndarray, axis: int) -> np.ndarray:
    """scale · q + min in float32, as TensorFlow.js computes it; its converter makes 0 one of the numbers."""
    scale = 0.0173
    return q.astype(np.float32) * np.float32(scale) + np.float32(-scale * 131)


PRODUCTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], np.ndarray, tuple[int, ...], int]] = {
    "row": (ht.matmul, np.matmul, normal(1, 300), (300, 33), 1),
    "rows": (ht.matmul, np.matmul, normal(7, 64), (64, 50), 1),
    "many rows": (ht.matmul, np.matmul, normal(61, 40), (40, 48), 1),
    "pointwise": (*_conv(), normal(1, 48, 9, 7), (24, 48, 1, 1), 0),
    "window": (*_conv(), normal(1, 7, 8, 9), (20, 7, 3, 3), 0),
    "picture": (*_conv(strides=2), normal(1, 3, 17, 17), (64, 3, 3, 3), 0),
    "Winograd's": (*_conv(pads=(1, 1)), normal(1, 40, 16, 16), (32, 40, 3, 3), 0),
    "table": (lambda i, w: ht.take(w, i, axis=0), lambda i, w: w[i], np.array([3, 0, 40], np.int32), (41, 63), 0),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [_per_tensor, _per_channel, _tfjs], ids=["tensor", "channel", "tfjs"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_bytes_with_zero_points_stay_bytes(name: str, kind: Quantised, device: str) -> None:
    """Weights of a quantised file are float32 when they are compiled, and kept as the bytes that they were."""
    function, reference, x, shape, axis = PRODUCTS[name]
    w = kind(np.random.default_rng(3).integers(0, 256, shape), axis)
    program = compiled(lambda x: function(x, w), device, "float32", x)
    assert {a.array.dtype for a in program.plan.weights if a.array.size >= w.size} == {np.dtype(np.uint8)}
    expected = reference(x, w.astype(np.float64))
    np.testing.assert_allclose(run(program, x), expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_bytes_mean_what_they_meant() -> None:
    """A table shows its numbers: those of ONNX and TensorFlow Lite bit by bit, those of TensorFlow.js up to what float32 rounds
    off scale · q + min, two units in the last place of the largest."""
    rows, q = np.arange(64, dtype=np.int32), np.random.default_rng(3).integers(0, 256, (64, 300))
    for kind in (_per_tensor, _per_channel, _tfjs):
        w = kind(q, 0)
        program = compiled(lambda i, w=w: ht.take(w, i, axis=0), "cpu", "float32", rows)
        found = run(program, rows)
        assert program.memory()["weights"] < 0.28 * w.nbytes
        if kind is _tfjs:
            assert np.abs(found - w).max() <= 2.0**-22 * np.abs(w).max()
            assert np.abs(found - 0.0173 * (q - 131.0)).max() <= 2.0**-22 * np.abs(w).max()
        else:
            np.testing.assert_array_equal(found, w)


def test_bytes_of_depthwise_filters() -> None:
    """What no codes are read of is kept in float16, which holds whole numbers up to 2048, and scaled behind the product."""
    x, q = normal(1, 40, 6, 9), np.random.default_rng(3).integers(0, 256, (40, 1, 3, 3))
    w = _per_channel(q, 0)
    program = compiled(lambda x: ht.conv(x, w, groups=40), "cpu", "float32", x)
    assert {a.array.dtype for a in program.plan.weights if a.array.size >= 256} == {np.dtype(np.float16)}
    check(run(program, x), ref.conv(x, w, groups=40), "sums")


@pytest.mark.parametrize("device", DEVICES)
def test_sixteen_bits_with_a_zero_point(device: str) -> None:
    """TensorFlow.js quantises to uint16 too: half the memory, in products of few and of many rows."""
    q = np.random.default_rng(3).integers(0, 65536, (96, 48))
    w = q.astype(np.float32) * np.float32(3.1e-5) + np.float32(-3.1e-5 * 30011)
    for x in (normal(2, 96), normal(61, 96)):
        program = compiled(lambda x: x @ w, device, "float32", x)
        assert max((a.array for a in program.plan.weights), key=np.size).dtype == np.uint16
        check(run(program, x), (x @ w.astype(np.float64)).astype(np.float32), "sums")


def test_other_numbers_stay_float32() -> None:
    """Few values do not make a weight quantised: they must be whole multiples of one number."""
    x, few = normal(3, 64), normal(200, seed=4)
    for w in (normal(64, 32), few[np.random.default_rng(0).integers(0, 200, (64, 32))], normal(64, 128, seed=9) ** 3):
        program = compiled(lambda x, w=w: x @ w, "cpu", "float32", x)
        assert {a.array.dtype for a in program.plan.weights if a.array.size >= 256} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("rows", "zeros"), [((3,), (3,)), ((4, 1), (4, 1, 1)), ((2, 3), (2, 3, 1)), ((4, 3), (1,))])
def test_zero_points_of_rows(rows: tuple[int, ...], zeros: tuple[int, ...]) -> None:
    """MatMulInteger's zero points are a vector for the rows of a matrix, and have the operand's rank for a stack."""
    rng = np.random.default_rng(3)
    x, zero, w = (rng.integers(0, 256, shape, np.uint8) for shape in ((*rows, 8), zeros, (8, 5)))
    model = hither_model(one_node("MatMulInteger", [x, w, zero], known=[1]))
    each = zero.reshape(-1, 1) if len(zeros) == 1 else zero  # as the operator's text has it
    expected = (x.astype(np.int32) - each) @ w.astype(np.int32)
    (found,) = model(fed([x, w, zero], [1])).values()
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("spread", [3e-7, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("shape", [(128, 64), (9, 64), (512, 300)])
def test_what_varies_little_is_not_one_number(shape: tuple[int, int], spread: float) -> None:
    """Averages and weights near 1: multiples of 1 but for what float32 rounds to a hasty look, and all that matters of them."""
    w = (1 + spread * np.random.default_rng(3).uniform(-1, 1, shape)).astype(np.float32)
    rows = np.arange(shape[0], dtype=np.int32)
    program = compiled(lambda i: ht.take(w, i, axis=0), "cpu", "float32", rows)
    np.testing.assert_array_equal(run(program, rows), w)
    x = np.zeros((1, shape[0]), np.float32)
    x[0, :2] = 1, -1
    np.testing.assert_array_equal(run(compiled(lambda x: x @ w, "cpu", "float32", x), x), w[:1] - w[1:2])


def _bytes(rng: np.random.Generator, kind: type, *shape: int) -> np.ndarray:
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, kind, endpoint=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("name", ["product", "product by column", "convolution", "convolution with strides"])
def test_products_of_integers_keep_known_bytes(name: str, kind: type, device: str) -> None:
    """Zero points are taken off behind the sum: each sum is ONNX Runtime's, and no int32 of the weights is made on the way."""
    rng = np.random.default_rng(5)
    attributes: dict[str, Any] = {}
    if name.startswith("product"):
        op_type, x, w = "MatMulInteger", _bytes(rng, np.uint8, 7, 96), _bytes(rng, kind, 96, 40)
        zero = _bytes(rng, kind, *((40,) if name.endswith("column") else ()))
    else:
        op_type, x, w = "ConvInteger", _bytes(rng, np.uint8, 2, 12, 9, 8), _bytes(rng, kind, 64, 12, 3, 3)
        zero, attributes = np.asarray(_bytes(rng, kind)), {"pads": [1, 0, 1, 2]}
        if name.endswith("strides"):
            attributes["strides"] = [2, 2]
    operands = [x, w, np.asarray(np.uint8(201)), np.asarray(zero)]
    node = one_node(op_type, operands, known=[1, 3], **attributes)  # the input's zero point is computed, as dynamic ones are
    specs = {"x0": ht.Spec(x.shape, "uint8"), "x2": ht.Spec((), "uint8")}
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(hither_model(node), specs, device=device)
    (found,) = program({"x0": x, "x2": operands[2]}).values()
    by_hand = kind is np.int8 and op_type == "ConvInteger"  # which ONNX Runtime's CPU provider lacks
    if by_hand:
        padded = np.pad(x.astype(np.int64) - 201, ((0, 0), (0, 0), (1, 1), (0, 2)))
        wanted = ref.conv(padded, w.astype(np.int64) - int(zero), strides=attributes.get("strides", 1))
    else:
        (wanted,) = expected(node, {"x0": x, "x2": operands[2]})
    np.testing.assert_array_equal(found.numpy(), wanted)
    assert {a.array.dtype.itemsize for a in program.plan.weights if a.array.size >= w.size} <= {1}
