"""com.microsoft's fused, quantised and block-wise operators against ONNX Runtime, or NumPy where its CPU provider has none.

A failure means that a file that ONNX Runtime's optimiser or quantiser wrote gives other numbers here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import erf

import hither as ht
from hither.errors import InvalidModel, UnsupportedFeature

from .onnx_build import build, check_node, expected, fed, helper, hither_model, info, one_node

rng = np.random.default_rng(2)
MS = {"domain": "com.microsoft"}


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def bytes_of(*shape: int, signed: bool = False) -> np.ndarray:
    return rng.integers(*((-128, 128) if signed else (0, 256)), shape).astype(np.int8 if signed else np.uint8)


def run(op: str, arrays: list[Any], outputs: int = 1, **attributes: Any) -> list[np.ndarray]:
    """What hither gives."""
    data = one_node(op, arrays, outputs, **MS, **attributes)
    return [np.asarray(a) for a in hither_model(data)(fed(arrays, attributes.get("known", ()))).values()]


def near(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def check_bytes(op: str, arrays: list[Any], known: list[int] | None = None, **attributes: Any) -> None:
    """Against ONNX Runtime, whose sums in another order may round one step apart."""
    known = [i for i, a in enumerate(arrays) if a is not None and np.ndim(a) == 0] if known is None else known
    data = one_node(op, arrays, known=known, **attributes, **MS)
    got = np.asarray(next(iter(hither_model(data)(fed(arrays, known)).values())))
    want = expected(data, fed(arrays, known))[0]
    assert got.dtype == want.dtype and got.shape == want.shape
    assert np.abs(got.astype(np.int32) - want.astype(np.int32)).max() <= 1


# -- activations and norms -----------------------------------------------------------------------------------------------------


def test_gelus() -> None:
    x, bias = floats(2, 3, 8), floats(8)
    check_node("Gelu", [x], **MS)
    check_node("BiasGelu", [x, bias], **MS)
    check_node("FastGelu", [x], **MS)
    check_node("FastGelu", [x, bias], **MS)
    check_node("QuickGelu", [x], **MS)
    check_node("QuickGelu", [x], alpha=1.0, **MS)
    check_node("ScaledSiLU", [x], alpha=0.7, **MS)
    a, b = np.split(x + bias, 2, axis=-1)
    near(run("BiasSplitGelu", [x, bias])[0], a * b * 0.5 * (1 + erf(b / np.sqrt(2))))


def test_gated_units() -> None:
    gate, up = floats(3, 8), floats(3, 8)
    capped, limited = np.minimum(gate, 0.5), np.clip(up, -0.5, 0.5)
    want = capped / (1 + np.exp(-1.5 * capped)) * (limited + 1)
    attributes = {"activation_alpha": 1.5, "activation_beta": 1.0, "limit": 0.5}
    near(run("SwiGLU", [gate, up], **attributes)[0], want)
    near(run("SwiGLU", [np.concatenate([gate, up], -1)], **attributes)[0], want)


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("skip", [(2, 3, 8), (1, 3, 8), (3, 8)])
def test_skip_norms(op: str, bias: bool, skip: tuple) -> None:
    affine = [floats(8), floats(8)] if op == "SkipLayerNormalization" else [floats(8)]
    operands = [floats(2, 3, 8), floats(*skip), *affine, *([floats(8)] if bias else [])]
    check_node(op, operands, outputs=4, unwanted=[1, 2], epsilon=1e-5, **MS)


def test_skip_norm_statistics() -> None:
    """The second and third result, which training used."""
    x, skip, gamma = floats(2, 3, 8), floats(2, 3, 8), floats(8)
    total = x + skip
    _, mean, inverse = run("SkipLayerNormalization", [x, skip, gamma], outputs=3, epsilon=1e-5)
    near(mean, total.mean(-1, keepdims=True))
    near(inverse, 1 / np.sqrt(total.var(-1, keepdims=True) + 1e-5))
    got = run("SkipSimplifiedLayerNormalization", [x, skip, gamma], outputs=3, unwanted=[1], epsilon=1e-5)
    near(got[1], 1 / np.sqrt((total**2).mean(-1, keepdims=True) + 1e-5))


@pytest.mark.parametrize("axis", [-1, 1])
def test_norms_in_the_domain_of_onnx_that_only_onnx_runtime_has(axis: int) -> None:
    x = floats(2, 3, 8)
    check_node("SimplifiedLayerNormalization", [x, floats(*x.shape[axis:])], axis=axis, epsilon=1e-6)
    check_node("LayerNormalization", [x, floats(*x.shape[axis:]), floats(*x.shape[axis:])], axis=axis, opset=12)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("mask", [None, np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.int32)])
@pytest.mark.parametrize(
    "positions", [None, np.array([[3, 2, 1, 0]], np.int32), np.array([[3, 2, 1, 0], [5, 5, 0, 1]], np.int32)]
)
def test_embeddings(segments: bool, mask: Any, positions: Any) -> None:
    words = rng.integers(0, 9, (2, 4)).astype(np.int32)
    given = [rng.integers(0, 2, (2, 4)).astype(np.int32), floats(2, 8)] if segments else [None, None]
    operands = [words, given[0], floats(9, 8), floats(6, 8), given[1], floats(8), floats(8), mask, positions]
    outputs = {"outputs": 3} if mask is not None else {"outputs": 3, "unwanted": [1]}
    check_node("EmbedLayerNormalization", operands, **outputs, **MS)


def test_quantised_embeddings() -> None:
    words, segments = rng.integers(0, 9, (2, 4)).astype(np.int32), rng.integers(0, 2, (2, 4)).astype(np.int32)
    tables = [bytes_of(9, 8), bytes_of(6, 8), bytes_of(2, 8), bytes_of(8), bytes_of(8)]
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.int32)
    scales, zeros = [np.float32(s) for s in (0.02, 0.01, 0.03, 0.04, 0.05)], [np.uint8(z) for z in (128, 100, 120, 3, 7)]
    operands = [words, segments, *tables, mask, *scales, *zeros]
    check_node("QEmbedLayerNormalization", operands, outputs=2, known=list(range(8, 18)), **MS)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("activation", [0, 1])
def test_group_norms(last: int, activation: int) -> None:
    x, gamma, beta, skip, bias = floats(2, 6, 3, 4), floats(6), floats(6), floats(2, 6), floats(6)

    def reference(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(2, 3, -1)
        normal = ((flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True) + 1e-5)).reshape(x.shape)
        y = normal * gamma[:, None, None] + beta[:, None, None]
        return y / (1 + np.exp(-y)) if activation else y

    def turned(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 1, -1).copy() if last else x

    attributes = {"groups": 3, "activation": activation, "channels_last": last}
    near(run("GroupNorm", [turned(x), gamma, beta], **attributes)[0], turned(reference(x)))
    total = x + skip[:, :, None, None] + bias[:, None, None]
    got = run("SkipGroupNorm", [turned(x), gamma, beta, skip, bias], outputs=2, **attributes)
    near(got[0], turned(reference(total)))
    near(got[1], turned(total))


def test_biases() -> None:
    x, bias, skip = floats(2, 3, 8), floats(8), floats(2, 3, 8)
    near(run("BiasAdd", [x, bias, skip])[0], x + bias + skip)
    near(run("BiasDropout", [x, bias, skip])[0], x + bias + skip)
    e = np.exp(x + skip[:1])
    near(run("BiasSoftmax", [x, skip[:1]], axis=2, is_inner_broadcast=0)[0], e / e.sum(-1, keepdims=True))


# -- products ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["FusedMatMul", "TransposeMatMul"])
@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(op: str, transposed: tuple[int, int]) -> None:
    a, b = floats(2, 3, 4, 5), floats(3, 5, 6)
    a, b = (np.swapaxes(x, -1, -2).copy() if t else x for x, t in zip((a, b), transposed))
    check_node(op, [a, b], transA=transposed[0], transB=transposed[1], alpha=0.25, **MS)


@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul_with_rows_before_the_batch(transposed: tuple[int, int]) -> None:
    a, b = floats(2, 3, 4, 5), floats(2, 3, 5, 6)
    a, b = (np.moveaxis(np.swapaxes(x, -1, -2) if t else x, -2, 0).copy() for x, t in zip((a, b), transposed))
    check_node("FusedMatMul", [a, b], transA=transposed[0], transB=transposed[1], transBatchA=1, transBatchB=1, **MS)


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid", "Elu", "Softplus"])
def test_fused_gemm(activation: str) -> None:
    numbers = {"LeakyRelu": {"activation_alpha": 0.3}, "HardSigmoid": {"activation_alpha": 0.3, "activation_beta": 0.4}}
    operands = [floats(5, 4), floats(6, 5), floats(6)]
    check_node(
        "FusedGemm", operands, transA=1, transB=1, alpha=0.5, beta=2.0, activation=activation,
        **numbers.get(activation, {"activation_alpha": 1.0} if activation == "Elu" else {}), **MS,
    )  # fmt: skip


def test_products_with_activations() -> None:
    a, b, bias = floats(3, 4), floats(4, 5), floats(5)
    near(run("FusedMatMulActivation", [a, b], activation="Relu", alpha=0.5)[0], np.maximum(a @ b * 0.5, 0))
    y = a @ b + bias
    want = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    near(run("GemmFastGelu", [a, b, bias])[0], want)


@pytest.mark.parametrize(("activation", "numbers"), [
    ("Relu", []), ("Sigmoid", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.4]),
])  # fmt: skip
def test_fused_conv(activation: str, numbers: list[float]) -> None:
    x, w, bias = floats(2, 4, 7, 6), floats(6, 2, 3, 3), floats(6)
    attributes = {"group": 2, "pads": [1, 0, 1, 2], "strides": [2, 1], "activation": activation}
    attributes |= {"activation_params": numbers} if numbers else {}
    check_node("FusedConv", [x, w, bias], **attributes, **MS)
    if activation != "Relu":  # which alone ONNX Runtime adds to
        return
    shape = expected(one_node("FusedConv", [x, w, bias], **attributes, **MS), fed([x, w, bias]))[0].shape
    extra = floats(*shape)
    check_node("FusedConv", [x, w, bias, extra], **attributes, **MS)
    last = [np.moveaxis(x, 1, -1).copy(), w, bias, np.moveaxis(extra, 1, -1).copy()]
    want = expected(one_node("FusedConv", [x, w, bias, extra], **attributes, **MS), fed([x, w, bias, extra]))[0]
    near(run("NhwcFusedConv", last, **attributes)[0], np.moveaxis(want, 1, -1))
    plain = {n: v for n, v in attributes.items() if not n.startswith("activation")}
    want = expected(one_node("Conv", [x, w, bias], **plain), fed([x, w, bias]))[0]
    near(run("NhwcConv", last[:3], **plain)[0], np.moveaxis(want, 1, -1))


def test_nhwc_max_pool() -> None:
    check_bytes("NhwcMaxPool", [bytes_of(2, 7, 6, 3)], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])


# -- weights of few bits -------------------------------------------------------------------------------------------------------


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Numbers along the last axis, the first in the lowest bits of each byte; the last byte is filled with zeros."""
    per = 8 // bits
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % per)])
    parts = padded.reshape(*padded.shape[:-1], -1, per).astype(np.uint8) << (np.arange(per) * bits).astype(np.uint8)
    return np.bitwise_or.reduce(parts, axis=-1)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("rows", "block"), [(64, 32), (40, 16), (16, 16)])
@pytest.mark.parametrize("zeros", ["none", "packed", "floats"])
@pytest.mark.parametrize("known", [False, True])
def test_matmul_nbits(bits: int, rows: int, block: int, zeros: str, known: bool) -> None:
    columns, blocks = 6, -(-rows // block)
    weights = rng.integers(0, 2**bits, (columns, blocks, block))
    places = rng.integers(0, 2**bits, (columns, blocks))
    given = {"none": None, "packed": packed(places, bits), "floats": places.astype(np.float32) + 0.25}[zeros]
    operands = [floats(2, 3, rows), packed(weights, bits), floats(columns, blocks), given]
    constants = [i for i in (1, 2, 3) if known and operands[i] is not None]
    attributes = {"K": rows, "N": columns, "bits": bits, "block_size": block}
    if bits == 8 and zeros == "floats":  # which ONNX Runtime's CPU provider lacks
        matrix = ((weights - given[..., None]) * operands[2][..., None]).reshape(columns, -1)[:, :rows]
        got = run("MatMulNBits", operands, known=constants, **attributes)[0]
        np.testing.assert_allclose(got, operands[0] @ matrix.T, rtol=1e-3, atol=1e-3)
    else:
        check_node("MatMulNBits", operands, known=constants, rtol=1e-3, atol=1e-3, **attributes, **MS)


def test_matmul_nbits_groups_and_bias() -> None:
    """Rows that take the scale of another block than their own, as act-order quantisation leaves them."""
    weights, scales, bias = rng.integers(0, 16, (6, 2, 32)), floats(6, 2), floats(6)
    groups = rng.integers(0, 2, 64).astype(np.int32)
    operands = [floats(3, 64), packed(weights, 4), scales, None, None, bias]
    check_node("MatMulNBits", operands, K=64, N=6, bits=4, block_size=32, rtol=1e-3, atol=1e-3, **MS)
    operands[4] = groups
    want = operands[0] @ ((weights.reshape(6, 64) - 8) * scales[:, groups]).T + bias
    near(run("MatMulNBits", operands, K=64, N=6, bits=4, block_size=32)[0], want)


def test_matmul_nbits_refuses() -> None:
    operands = [floats(3, 32), packed(rng.integers(0, 16, (6, 1, 32)), 4), floats(6, 1)]
    with pytest.raises(UnsupportedFeature, match="bits=3"):
        run("MatMulNBits", operands, K=32, N=6, bits=3, block_size=32)
    with pytest.raises(UnsupportedFeature, match="weight_prepacked=1"):
        run("MatMulNBits", operands, K=32, N=6, block_size=32, weight_prepacked=1)
    with pytest.raises(InvalidModel, match="B must be"):
        run("MatMulNBits", operands, K=32, N=7, block_size=32)


def test_packed_weights_stay_packed() -> None:
    """A model and a program hold the file's bytes, not the floats that they stand for."""
    operands = [floats(3, 256), packed(rng.integers(0, 16, (64, 8, 32)), 4), floats(64, 8)]
    stored = operands[1].nbytes + operands[2].nbytes
    model = hither_model(one_node("MatMulNBits", operands, known=[1, 2], K=256, N=64, block_size=32, **MS))
    assert sum(np.asarray(w).nbytes for w in model.weights.values()) == stored
    program = ht.compile(model, {"x0": ht.Spec((3, 256))}, device="cpu")
    assert program.memory()["weights"] < 1.2 * stored


@pytest.mark.parametrize("skip", [False, True])
def test_fused_nbits(skip: bool) -> None:
    """The parts of a decoder's block, put together from MatMulNBits and norms of ONNX Runtime."""
    x, more, norm = floats(3, 32), floats(3, 32) if skip else None, floats(32)
    total = x if more is None else x + more
    normal = total / np.sqrt((total**2).mean(-1, keepdims=True) + 1e-5) * norm
    parts = [[rng.integers(0, 16, (n, 1, 32)), floats(n, 1), floats(n)] for n in (6, 4, 4)]
    wants = [normal @ ((w[:, 0] - 8) * s).T + b for w, s, b in parts]
    q, k, v = ([packed(w, 4), s, b] for w, s, b in parts)
    got = run("MatMulNBitsQkv", [x, more, norm, *q, *k, *v], 4, K=32, Nq=6, Nkv=4, block_size=32, epsilon=1e-5)
    for g, w in zip(got, [*wants, total]):
        near(g, w)
    got = run("MatMulNBitsMlp", [x, more, norm, *k, *v], K=32, N=4, block_size=32, epsilon=1e-5, activation="silu")
    near(got[0], wants[1] / (1 + np.exp(-wants[1])) * wants[2])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_gather_block_quantized(bits: int, zeros: bool) -> None:
    values, places = rng.integers(0, 2**bits, (7, 40)), rng.integers(0, 2**bits, (7, 3))
    indices = np.array([[0, 6], [3, -1]])
    operands = [packed(values, bits), indices, floats(7, 3), packed(places, bits) if zeros else None]
    known = [0, 2, 3] if zeros else [0, 2]
    check_node("GatherBlockQuantized", operands, known=known, bits=bits, block_size=16, **MS)


@pytest.mark.parametrize("kind", [0, 1])
def test_matmul_bnb4(kind: int) -> None:
    operands = [floats(3, 32), bytes_of(5 * 32 // 2), np.abs(floats(10))]
    check_node("MatMulBnb4", operands, known=[1, 2], K=32, N=5, block_size=16, quant_type=kind, **MS)


# -- integers ------------------------------------------------------------------------------------------------------------------


def test_quantise_and_back() -> None:
    x = floats(3, 4) * 5
    for zero in (np.uint8(100), np.int8(-3), np.uint16(3000), np.int16(-7)):
        check_node("QuantizeLinear", [x, np.float32(0.05), zero], **MS)
        q = (x * 10 + 100).astype(zero.dtype)
        check_node("DequantizeLinear", [q, np.float32(0.05), zero], **MS)
    scales = np.array([0.1, 0.2, 0.05], np.float32)
    check_node("QuantizeLinear", [x, scales, np.array([3, -4, 0], np.int8)], axis=0, **MS)
    check_node("DequantizeLinear", [bytes_of(3, 4, signed=True), scales, np.array([3, -4, 0], np.int8)], axis=0, **MS)


@pytest.mark.parametrize("columns", [False, True])
def test_products_of_integers(columns: bool) -> None:
    a, b = floats(2, 3, 6), bytes_of(6, 5, signed=True)
    scale = np.linspace(0.01, 0.05, 5, dtype=np.float32) if columns else np.float32(0.02)
    zero = np.array([3, 0, -4, 1, 7], np.int8) if columns else np.int8(-3)
    check_node("DynamicQuantizeMatMul", [a, b, scale, zero, floats(5)], **MS)
    check_node("DynamicQuantizeMatMul", [a, b, scale], **MS)
    x = bytes_of(2, 3, 6)
    check_node("MatMulIntegerToFloat", [x, b, np.float32(0.03), scale, np.uint8(7), zero, floats(5)], **MS)
    check_node("MatMulIntegerToFloat", [x, b, np.float32(0.03), scale], **MS)
    check_node("MatMulInteger16", [rng.integers(-99, 99, (3, 4)).astype(np.int16), bytes_of(4, 5).astype(np.int16)], **MS)
    near(run("MulInteger", [x, np.uint8(3), x[:1], np.uint8(9)])[0], (x.astype(np.int32) - 3) * (x[:1].astype(np.int32) - 9))


@pytest.mark.parametrize("transposed", [(0, 0), (1, 1)])
@pytest.mark.parametrize("columns", [False, True])
def test_qgemm(transposed: tuple[int, int], columns: bool) -> None:
    a, b = bytes_of(4, 6), bytes_of(6, 5, signed=True)
    a, b = (x.T.copy() if t else x for x, t in zip((a, b), transposed))
    scale = np.linspace(0.01, 0.05, 5, dtype=np.float32) if columns else np.float32(0.02)
    zero = np.array([3, 0, -4, 1, 7], np.int8) if columns else np.int8(-3)
    operands = [a, np.float32(0.03), np.uint8(9), b, scale, zero, rng.integers(-500, 500, 5).astype(np.int32)]
    attributes = {"transA": transposed[0], "transB": transposed[1], "alpha": 0.5, "known": [1, 2, 4, 5, 7, 8]}
    check_bytes("QGemm", [*operands, np.float32(0.4), np.uint8(100)], **attributes)
    del attributes["known"]
    check_node("QGemm", operands, known=[1, 2, 4, 5], **attributes, **MS)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_dynamic_quantized_lstm(direction: str) -> None:
    """One sample: of several, ONNX Runtime quantises each by its own range or all together, as its threads are shared out."""
    ways, inputs, hidden = 2 if direction == "bidirectional" else 1, 6, 5
    weights = [bytes_of(ways, inputs, 4 * hidden, signed=True), bytes_of(ways, hidden, 4 * hidden, signed=True)]
    scales = [np.full((ways,), 0.003, np.float32), np.full((ways,), 0.002, np.float32)]
    zeros = [np.zeros((ways,), np.int8)] * 2
    operands = [
        floats(4, 1, inputs), *weights, floats(ways, 8 * hidden), np.array([3], np.int32), floats(ways, 1, hidden),
        floats(ways, 1, hidden), None, scales[0], zeros[0], scales[1], zeros[1],
    ]  # fmt: skip
    attributes = {"hidden_size": hidden, "direction": direction, "known": [1, 2, 8, 9, 10, 11]}
    # What is rounded to bytes may fall to the next one, which is 1/255 of a range.
    check_node("DynamicQuantizeLSTM", operands, outputs=3, **attributes, rtol=1e-2, atol=1e-2, **MS)


Q = (np.float32(0.04), np.uint8(120))  # a scale and a zero point for inputs
R = (np.float32(0.03), np.uint8(90))  # and for results


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_qlinear_arithmetic(op: str) -> None:
    check_bytes(op, [bytes_of(2, 3, 4), *Q, bytes_of(3, 1), np.float32(0.05), np.uint8(7), *R])
    signed = [bytes_of(3, 4, signed=True), np.float32(0.04), np.int8(0), bytes_of(4, signed=True), np.float32(0.05), np.int8(7)]
    check_bytes(op, [*signed, np.float32(0.1)])
    np.testing.assert_array_equal(*(run(op, [*signed[:2], zero, *signed[3:], *R[:1]])[0] for zero in (None, np.int8(0))))


def test_qlinear_functions() -> None:
    x = bytes_of(2, 3, 4)
    check_bytes("QLinearSigmoid", [x, *Q, np.float32(0.004), np.uint8(0)])
    check_bytes("QLinearLeakyRelu", [x, *Q, *R], alpha=0.2)
    for opset, axis in ((13, -1), (13, 1), (11, 1)):
        operands = {"scale": Q[0], "zero": Q[1], "y_scale": np.float32(1 / 256), "y_zero": np.uint8(0)}
        node = helper.make_node("QLinearSoftmax", ["x", *operands], ["y"], opset=opset, axis=axis, **MS)
        data = build([node], [info("x", np.uint8, x.shape)], ["y"], operands, domains={"com.microsoft": 1})
        got, want = np.asarray(hither_model(data)({"x": x})["y"]), expected(data, {"x": x})[0]
        assert np.abs(got.astype(np.int32) - want).max() <= 1
    check_bytes("QLinearConcat", [*R, x, *Q, bytes_of(2, 2, 4), *R, bytes_of(2, 1, 4), np.float32(0.02), np.uint8(0)], axis=1)
    condition = rng.integers(0, 2, (3, 4)).astype(bool)
    check_bytes("QLinearWhere", [condition, x, *Q, bytes_of(3, 1), np.float32(0.02), np.uint8(9), *R])
    mean = ((x.astype(np.float64) - 120) * 0.04).mean((0, 2), keepdims=True)
    got = run("QLinearReduceMean", [x, *Q, *R], axes=[0, 2], keepdims=1)[0]
    assert np.abs(got - np.clip(np.round(mean / 0.03) + 90, 0, 255)).max() <= 1
    np.testing.assert_array_equal(run("ReduceSumInteger", [x], axes=[1], keepdims=0)[0], x.sum(1, dtype=np.uint32))


@pytest.mark.parametrize("last", [0, 1])
def test_qlinear_pictures(last: int) -> None:
    x = bytes_of(2, 6, 7, 4)
    for padded in ({}, {"pads": [1, 0, 1, 1], "count_include_pad": 1}, {"pads": [1, 0, 1, 1]}):
        attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "channels_last": last, **padded}
        check_bytes("QLinearAveragePool", [x, *Q, *R], **attributes)
    check_bytes("QLinearGlobalAveragePool", [x, *Q, *R], channels_last=last)
    w, scales = bytes_of(6, x.shape[-1 if last else 1], 3, 3, signed=True), np.linspace(0.01, 0.03, 6, dtype=np.float32)
    operands = [
        x,
        *Q,
        w,
        scales,
        np.zeros(6, np.int8),
        np.float32(0.9),
        np.uint8(100),
        rng.integers(-900, 900, 6).astype(np.int32),
    ]
    check_bytes("QLinearConv", operands, list(range(1, 9)), pads=[1, 1, 1, 1], strides=[2, 1], channels_last=last)


# -- arrays --------------------------------------------------------------------------------------------------------------------


def test_arrays() -> None:
    x = floats(2, 4, 5)
    check_node("Trilu", [x, np.int64(1)], known=[1], upper=0, **MS)
    check_node("Trilu", [x], **MS)
    check_node("Range", [np.int64(2), np.int64(11), np.int64(3)], known=[0, 1, 2], **MS)
    check_node("Range", [np.float32(2), np.float32(6)], known=[0, 1], **MS)
    for mode in ("constant", "reflect", "edge"):
        check_node("Pad", [x, np.array([0, 1, 2, 1, 0, 1]), np.float32(1.5)], known=[1, 2], mode=mode, **MS)
    check_node("ExpandDims", [x, np.int32(-1)], known=[1], **MS)
    check_node("UnfoldTensor", [x], dim=1, size=2, step=2, **MS)
    check_node("GatherND", [x, np.array([[0, 1], [1, -1]])], **MS)
    grid = rng.uniform(-1.2, 1.2, (2, 3, 2, 2)).astype(np.float32)
    check_node("GridSample", [floats(2, 3, 5, 6), grid], padding_mode="border", align_corners=1, **MS)
    table, indices = floats(5, 3), np.array([[1, 4], [0, 2]])
    near(run("TorchEmbedding", [table, indices])[0], table[indices])


def test_inverse() -> None:
    for shape in ((4, 4), (2, 3, 5, 5), (1, 1)):
        check_node("Inverse", [floats(*shape)], rtol=1e-3, atol=1e-3, **MS)
    pivots = np.array([[0, 1, 0], [0, 0, 2], [4, 0, 0]], np.float32)  # nothing on the diagonal
    check_node("Inverse", [pivots], **MS)
    many = floats(40, 40) + 9 * np.eye(40, dtype=np.float32)
    check_node("Inverse", [many], rtol=1e-3, atol=1e-3, **MS)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances(metric: str) -> None:
    check_node("CDist", [floats(4, 3), floats(5, 3)], metric=metric, **MS)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_crop_and_resize(mode: str) -> None:
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.3, 0.9, 0.8], [-0.3, 0.1, 1.4, 0.5]], np.float32)
    operands = [floats(2, 3, 6, 7), boxes, np.array([0, 1, 1], np.int32), np.array([4, 3], np.int32)]
    check_node("CropAndResize", operands, known=[3], mode=mode, extrapolation_value=0.5, **MS)


def test_spectra() -> None:
    x = floats(2, 3, 8)
    spectrum = np.fft.rfft(x)
    parts = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)
    near(run("Rfft", [x], onesided=1, normalized=0, signal_ndim=1)[0], parts)
    near(run("Irfft", [parts], onesided=1, normalized=0, signal_ndim=1)[0], x)
    other = floats(2, 3, 5, 2)
    for op, factor in (("ComplexMul", other), ("ComplexMulConj", other * np.array([1, -1], np.float32))):
        want = (parts[..., 0] + 1j * parts[..., 1]) * (factor[..., 0] + 1j * factor[..., 1])
        near(run(op, [parts, other])[0], np.stack([want.real, want.imag], -1).astype(np.float32))


def test_gated_relative_position_bias() -> None:
    """As its documentation writes it in torch."""
    query, bias, positions = floats(2, 4, 6), floats(6), floats(1, 2, 4, 4)
    weight, more, factor = floats(3, 8), floats(8), floats(1, 2, 1, 1)
    apart = (query + bias).reshape(2, 4, 2, 3).swapaxes(1, 2)
    gates = 1 / (1 + np.exp(-(apart @ weight + more).reshape(2, 2, 4, 2, 4).sum(-1)))
    want = (gates[..., :1] * (gates[..., 1:] * factor - 1) + 2) * positions
    near(run("GatedRelativePositionBias", [query, bias, positions, weight, more, factor], num_heads=2)[0], want)
