"""com.microsoft's attention in every form that its documentation gives, against ONNX Runtime or NumPy.

A failure means that a transformer that ONNX Runtime's optimiser or its model builder wrote gives other numbers here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import HitherError, UnsupportedFeature
from hither.formats.onnx import load_bytes
from hither.formats.onnx.operators.microsoft.attention import written

from .onnx_build import check_node, expected, fed, hither_model, one_node

rng = np.random.default_rng(1)
MS = {"domain": "com.microsoft"}
B, S, N, H = 2, 4, 3, 8
WIDTH = N * H


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


# -- Attention -----------------------------------------------------------------------------------------------------------------

MASKS = {
    "none": None,
    "lengths": ints(3, 4),
    "ends and starts": ints(4, 3, 1, 0),
    "keys": ints([1, 1, 0, 0], [1, 1, 1, 0]),
    "placeholder": ints([1], [1]),
    "each query": np.maximum(rng.integers(0, 2, (B, S, S)), np.eye(S, dtype=np.int64)).astype(np.int32),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_masks(mask: str, unidirectional: int) -> None:
    operands = [floats(B, S, 10), floats(10, 3 * WIDTH), floats(3 * WIDTH), MASKS[mask]]
    check_node("Attention", operands, num_heads=N, unidirectional=unidirectional, **MS)


@pytest.mark.parametrize("mask", [None, ints([1] * 7, [1] * 5 + [0] * 2), ints(7, 6)])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_with_a_past(mask: Any, unidirectional: int) -> None:
    past = floats(2, B, N, 3, H)
    operands = [floats(B, S, 10), floats(10, 3 * WIDTH), floats(3 * WIDTH), mask, past]
    check_node("Attention", operands, outputs=2, num_heads=N, unidirectional=unidirectional, **MS)


def test_attention_sizes_scale_and_bias() -> None:
    weights, bias = floats(10, WIDTH + WIDTH + 2 * N), floats(WIDTH + WIDTH + 2 * N)
    check_node(
        "Attention", [floats(B, S, 10), weights, bias, MASKS["keys"]], num_heads=N, qkv_hidden_sizes=[WIDTH, WIDTH, 2 * N],
        scale=0.5, mask_filter_value=-3.0, **MS,
    )  # fmt: skip
    for shape in ((B, N, S, S), (1, N, S, S), (1, 1, S, S), (B, 1, S, S)):
        check_node("Attention", [floats(B, S, 10), floats(10, 72), None, None, None, floats(*shape)], num_heads=N, **MS)


def test_attention_of_a_square_mask_of_the_longest_sequence() -> None:
    """Megatron's form, which ONNX Runtime computes on GPUs alone: the rows of the queries, the columns of the keys."""
    x, weights, past = floats(B, S, 10), floats(10, 3 * WIDTH), floats(2, B, N, 3, H)
    mask = rng.integers(0, 2, (B, 1, 9, 9)).astype(np.int32)
    got = run("Attention", [x, weights, None, mask, past], num_heads=N)
    each = run("Attention", [x, weights, None, np.ascontiguousarray(mask[:, 0, 3:7, :7]), past], num_heads=N)
    np.testing.assert_allclose(got[0], each[0], rtol=1e-5, atol=1e-6)


def test_attention_in_a_shared_buffer() -> None:
    """Steps behind the present ones are not seen, and the present cache is as long as the buffer."""
    x, weights, bias, buffer = floats(B, S, 10), floats(10, 3 * WIDTH), floats(3 * WIDTH), floats(2, B, N, 12, H)
    mask = ints([1] * 7, [1] * 5 + [0] * 2)
    arrays = [x, weights, bias, mask, np.ascontiguousarray(buffer[:, :, :, :3])]
    want = run("Attention", arrays, outputs=2, num_heads=N, unidirectional=1)
    shared = [x, weights, bias, mask, buffer, None, ints(3)]
    got = run("Attention", shared, outputs=2, num_heads=N, unidirectional=1, past_present_share_buffer=1)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1][:, :, :, :7], want[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[1][:, :, :, 7:], buffer[:, :, :, 7:])


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("columns", [False, True])
def test_quantized_attention(past: bool, columns: bool) -> None:
    x, w = rng.integers(0, 255, (B, S, 10)).astype(np.uint8), rng.integers(-128, 127, (10, 3 * WIDTH)).astype(np.int8)
    scale = np.linspace(0.002, 0.01, 3 * WIDTH, dtype=np.float32) if columns else np.float32(0.005)
    zero = np.zeros(3 * WIDTH, np.int8) if columns else np.int8(4)
    operands = [x, w, floats(3 * WIDTH), np.float32(0.02), scale, None if past else ints(3, 4), np.uint8(120), zero]
    check_node(
        "QAttention", [*operands, floats(2, B, N, 3, H) if past else None], outputs=2 if past else 1, num_heads=N,
        known=[1, 4, 7], unidirectional=int(past), **MS,
    )  # fmt: skip


# -- MultiHeadAttention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [
    None, ints(5, 3), ints(5, 3, 0, 4, 8, 0, 5, 10), ints([1, 1, 0, 0, 0], [1] * 5),
    np.maximum(rng.integers(0, 2, (B, S, 5)), np.eye(S, 5, dtype=np.int64)).astype(np.int32),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention_masks(mask: Any, bias: bool) -> None:
    operands = [floats(B, S, WIDTH), floats(B, 5, WIDTH), floats(B, 5, 2 * N), floats(2 * WIDTH + 2 * N) if bias else None]
    check_node("MultiHeadAttention", [*operands, mask, floats(1, N, S, 5)], num_heads=N, **MS)


def test_multi_head_attention_forms() -> None:
    """Packed, half packed, with the heads apart; the bias of each."""
    apart = [floats(B, S, WIDTH), floats(B, N, 5, H), floats(B, N, 5, H)]
    check_node("MultiHeadAttention", apart, num_heads=N, **MS)
    plain = [floats(B, S, WIDTH) for _ in range(3)]
    check_node("MultiHeadAttention", [*plain, floats(3 * WIDTH)], num_heads=N, unidirectional=1, **MS)
    want = expected(one_node("MultiHeadAttention", plain, num_heads=N, **MS), fed(plain))[0]
    q, k, v = (x.reshape(B, S, N, H) for x in plain)
    for inputs in ([np.stack([q, k, v], axis=3)], [plain[0], np.stack([k, v], axis=3)]):  # which ONNX Runtime has on GPUs alone
        np.testing.assert_allclose(run("MultiHeadAttention", inputs, num_heads=N)[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("mask", [None, ints([1] * 7, [1] * 5 + [0] * 2)])
def test_multi_head_attention_with_a_past(unidirectional: int, mask: Any) -> None:
    operands = [*(floats(B, S, WIDTH) for _ in range(3)), floats(3 * WIDTH), mask, floats(B, 1, S, 7)]
    check_node(
        "MultiHeadAttention", [*operands, floats(B, N, 3, H), floats(B, N, 3, H)], outputs=3, num_heads=N,
        unidirectional=unidirectional, **MS,
    )  # fmt: skip


def test_multi_head_attention_in_a_shared_buffer() -> None:
    new, buffers = [floats(B, 1, WIDTH) for _ in range(3)], [floats(B, N, 12, H), floats(B, N, 12, H)]
    check_node("MultiHeadAttention", [*new, None, None, None, *buffers, ints(3)], outputs=3, num_heads=N, **MS)


def test_multi_head_attention_scores() -> None:
    plain = [floats(B, S, WIDTH) for _ in range(3)]
    check_node("MultiHeadAttention", plain, outputs=4, unwanted=[1, 2], typed=[3], num_heads=N, **MS)
    check_node(
        "MultiHeadAttention",
        [*plain, None, ints(4, 2), floats(B, N, S, S)],
        outputs=4,
        unwanted=[1, 2],
        typed=[3],
        num_heads=N,
        **MS,
    )


@pytest.mark.parametrize("mask", [None, ints([1] * 4, [0, 1, 1, 1])])
def test_decoder_masked_multi_head_attention(mask: Any) -> None:
    """One step, as MultiHeadAttention has it (ONNX Runtime's own kernel wants a shared buffer, in any order it likes)."""
    new, past = [floats(B, 1, WIDTH) for _ in range(3)], [floats(B, N, 3, H), floats(B, N, 3, H)]
    crossed = [new[0], floats(B, N, 4, H), floats(B, N, 4, H)]
    packed = [np.concatenate(new, axis=-1), None, None]
    for inputs, plain, caches in ((new, new, past), (packed, new, past), (crossed, crossed, [])):
        attributes = {"outputs": 3 if caches else 1, "num_heads": N}
        like = [*plain, None, mask, None, *caches]
        want = expected(one_node("MultiHeadAttention", like, **attributes, **MS), fed(like))
        got = run("DecoderMaskedMultiHeadAttention", [*inputs, mask, None, *caches], **attributes)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


def run(op: str, arrays: list[Any], outputs: int = 1, **attributes: Any) -> list[np.ndarray]:
    """What hither gives."""
    data = one_node(op, arrays, outputs, **MS, **attributes)
    return [np.asarray(a) for a in hither_model(data)(fed(arrays)).values()]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads(x: np.ndarray, n: int) -> np.ndarray:
    return x.reshape(*x.shape[:-1], n, -1).swapaxes(-2, -3)


@pytest.mark.parametrize("packed", [False, True])
def test_packed_multi_head_attention(packed: bool) -> None:
    """Sequences of 1, 2 and 4 tokens without their padding, each on its own."""
    lengths = [1, 2, 4]
    offsets = ints([0, 4, 5, 8], [9, 10, 11, 1], [2, 3, 6, 7])
    parts = [floats(7, WIDTH) for _ in range(3)]
    bias, extra = floats(3 * WIDTH), floats(1, N, 4, 4)
    want, begin = [], 0
    for n in lengths:
        q, k, v = (heads(x[begin : begin + n] + bias[i * WIDTH : (i + 1) * WIDTH], N) for i, x in enumerate(parts))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(H) + extra[0, :, :n, :n]
        want.append((softmax(scores) @ v).swapaxes(0, 1).reshape(n, WIDTH))
        begin += n
    inputs = [np.stack([x.reshape(7, N, H) for x in parts], axis=2), None, None] if packed else parts
    got = run("PackedMultiHeadAttention", [*inputs, bias, offsets, ints(0, 1, 3, 7), extra], num_heads=N)[0]
    np.testing.assert_allclose(got, np.concatenate(want), rtol=1e-4, atol=1e-5)
    x, w = floats(7, 10), floats(10, 3 * WIDTH)
    whole = run("PackedAttention", [x, w, bias, offsets, ints(0, 1, 3, 7), extra], num_heads=N)[0]
    projected = [x @ w[:, i * WIDTH : (i + 1) * WIDTH] for i in range(3)]
    apart = run("PackedMultiHeadAttention", [*projected, bias, offsets, ints(0, 1, 3, 7), extra], num_heads=N)[0]
    np.testing.assert_allclose(whole, apart, rtol=1e-4, atol=1e-5)


# -- GroupQueryAttention -------------------------------------------------------------------------------------------------------

G, SIZE = 2, 16  # groups of keys, for four heads of queries
COS, SIN = (f(np.outer(np.arange(16), 10.0 ** -np.arange(SIZE // 2))).astype(np.float32) for f in (np.cos, np.sin))
ANGLES = COS[:, : H // 2].copy(), SIN[:, : H // 2].copy()


def grouped(
    batch: int, steps: int, past: int | None, last: Any, total: int, packed: bool = False, rotary: bool = False
) -> list:
    q, k, v = floats(batch, steps, 4 * SIZE), floats(batch, steps, G * SIZE), floats(batch, steps, G * SIZE)
    inputs = [np.concatenate([q, k, v], -1), None, None] if packed else [q, k, v]
    cache = [None, None] if past is None else [floats(batch, G, past, SIZE), floats(batch, G, past, SIZE)]
    return [*inputs, *cache, ints(*last), np.int32(total), *((COS, SIN) if rotary else (None, None))]


def check_grouped(operands: list, outputs: int = 3, rtol: float = 1e-4, atol: float = 1e-5, **attributes: Any) -> None:
    """Against ONNX Runtime, but for what is unspecified: rows of padding, and steps of the cache behind those filled."""
    data = one_node("GroupQueryAttention", operands, outputs, known=[6], num_heads=4, kv_num_heads=G, **attributes, **MS)
    got = [np.asarray(a) for a in hither_model(data)(fed(operands, [6])).values()]
    want = expected(data, fed(operands, [6]))
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in want]
    steps = operands[0].shape[1]
    for sample, filled in enumerate(operands[5] + 1):
        rows = min(steps, filled) if len(operands) < 17 else operands[16][sample]
        kept = [
            slice(rows),
            (slice(None), slice(filled)),
            (slice(None), slice(filled)),
            (slice(None), slice(rows), slice(filled)),
        ]
        for g, w, part in zip(got, want, kept):
            np.testing.assert_allclose(g[sample][part], w[sample][part], rtol=rtol, atol=atol)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rotary", [{}, {"do_rotary": 1}, {"do_rotary": 1, "rotary_interleaved": 1}])
@pytest.mark.parametrize("case", [
    (2, 5, 0, (4, 4), 5),  # a first prompt
    (2, 1, 4, (4, 4), 5),  # a growing cache
    (2, 1, 12, (4, 6), 7),  # a shared buffer, samples of different lengths
    (1, 3, 12, (6,), 7),  # several tokens after a past
])  # fmt: skip
def test_group_query_attention(case: tuple, rotary: dict, packed: bool) -> None:
    check_grouped(grouped(*case, packed=packed, rotary=bool(rotary)), **rotary)


def test_group_query_attention_of_a_length_that_is_an_input() -> None:
    """A cache's shape depends on it: a Model compiles for each value, as for each shape."""
    operands = grouped(2, 1, 4, (4, 4), 5)
    data = one_node("GroupQueryAttention", operands, 3, num_heads=4, kv_num_heads=G, **MS)
    got, want = [np.asarray(a) for a in hither_model(data)(fed(operands)).values()], expected(data, fed(operands))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4, atol=1e-5)
    assert got[1].shape == want[1].shape == (2, G, 5, SIZE)


def test_group_query_attention_without_a_cache() -> None:
    check_grouped(grouped(2, 5, None, (4, 4), 5), outputs=1)


@pytest.mark.parametrize("attributes", [
    {"softcap": 2.0}, {"scale": 0.3}, {"local_window_size": 3}, {"local_window_size": 1}, {"smooth_softmax": 1},
    {"causal": 0},
])  # fmt: skip
@pytest.mark.parametrize("case", [(2, 6, 0, (5, 5), 6), (2, 1, 12, (4, 6), 7), (1, 3, 12, (6,), 7)])
def test_group_query_attention_attributes(case: tuple, attributes: dict) -> None:
    check_grouped(grouped(*case), **attributes)


def test_group_query_attention_inputs() -> None:
    """Positions, a bias and sinks; scores before and after the softmax."""
    prompt = grouped(2, 6, 0, (5, 5), 6, rotary=True)
    check_grouped([*prompt, np.tile(np.arange(2, 8), (2, 1))], do_rotary=1)
    later = grouped(2, 1, 12, (4, 6), 7, rotary=True)
    check_grouped([*later, np.array([[9], [3]])], do_rotary=1)
    check_grouped([*grouped(2, 1, 12, (4, 6), 7), None, floats(1, 4, 1, 7)])
    check_grouped([*grouped(2, 6, 0, (5, 5), 6), None, floats(2, 1, 6, 6), floats(4)])


@pytest.mark.parametrize("stage", [1, 2])
def test_group_query_attention_scores(stage: int) -> None:
    check_grouped(grouped(2, 1, 6, (6, 6), 7), outputs=4, qk_output=stage)


def test_group_query_attention_of_padded_chunks() -> None:
    """query_seqlens: what is padded is neither seen nor counted."""
    check_grouped([*grouped(2, 3, 12, (6, 3), 9, rotary=True), *[None] * 7, ints(2, 3)], do_rotary=1)


def test_steps_beyond_a_cache_are_written_nowhere() -> None:
    """Padding that runs past the end of a shared buffer must not take the place of its last step."""
    cache, new = np.zeros((2, 1, 4, 1), np.float32), np.array([1, 9], np.float32).reshape(1, 1, 2, 1).repeat(2, 0)
    made = written(ht.asarray(cache), ht.asarray(new), ht.asarray(np.array([3, 1], np.int32))).numpy()
    np.testing.assert_array_equal(made[:, 0, :, 0], [[0, 0, 0, 1], [0, 1, 9, 0]])


def test_group_query_attention_norms_queries_and_keys() -> None:
    """Weights for them (which ONNX Runtime computes on GPUs alone) are as if heads had been normalised before."""
    operands = grouped(2, 6, 0, (5, 5), 6, rotary=True)
    weights = [floats(SIZE), floats(SIZE)]

    def normed(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        apart = x.reshape(*x.shape[:2], -1, SIZE)
        return (apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-6) * w).reshape(x.shape).astype(np.float32)

    attributes = {"known": [6], "num_heads": 4, "kv_num_heads": G, "do_rotary": 1}
    inside = [*operands, *[None] * 5, *weights]
    before = [normed(operands[0], weights[0]), normed(operands[1], weights[1]), *operands[2:]]
    got, want = (
        [np.asarray(a) for a in hither_model(one_node("GroupQueryAttention", o, 3, **attributes, **MS))(fed(o, [6])).values()]
        for o in (inside, before)
    )
    for g, w in zip(got, want):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


def test_half_precision() -> None:
    """Scores and softmax in float32 whatever the operands are."""
    operands = grouped(2, 1, 12, (4, 6), 7, rotary=True)
    halves = [a if a is None or a.dtype.kind != "f" else a.astype(np.float16) for a in operands]
    check_grouped(halves, rtol=5e-3, atol=2e-3, do_rotary=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_group_query_attention_compiled(dtype: Any) -> None:
    """The evaluator's numbers from machine code: filled steps are data there, and caches are written by index."""
    operands = [
        a if a is None or a.dtype.kind != "f" else a.astype(dtype)
        for a in grouped(2, 1, 12, (4, 6), 7, packed=True, rotary=True)
    ]
    data = one_node(
        "GroupQueryAttention", operands, 3, known=[6], num_heads=4, kv_num_heads=G, do_rotary=1, smooth_softmax=1, **MS
    )  # fmt: skip
    want = [np.asarray(a) for a in hither_model(data)(fed(operands, [6])).values()]
    got = [np.asarray(a) for a in load_bytes(data, device="cpu")(fed(operands, [6])).values()]
    tolerance = 1e-5 if dtype is np.float32 else 2e-3
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


# -- rotary embeddings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [np.array([3]), np.array([[0, 1, 2, 3], [5, 4, 9, 0]])])
def test_rotary_embedding(positions: np.ndarray, interleaved: int) -> None:
    check_node("RotaryEmbedding", [floats(B, S, WIDTH), positions, *ANGLES], interleaved=interleaved, **MS)
    check_node("RotaryEmbedding", [floats(B, N, S, H), positions, *ANGLES], interleaved=interleaved, **MS)
    check_node(
        "RotaryEmbedding", [floats(B, S, WIDTH), positions, *(a[:, :2].copy() for a in ANGLES)], interleaved=interleaved,
        rotary_embedding_dim=4, num_heads=N, **MS,
    )  # fmt: skip


# -- what is refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "operands", "attributes", "named"), [
    ("Attention", [floats(B, S, 10), floats(10, 72)], {"do_rotary": 1}, "do_rotary"),
    ("Attention", [floats(B, S, 10), floats(10, 72)], {"new_attribute": 1}, "new_attribute"),
    ("RotaryEmbedding", [floats(B, S, WIDTH), np.array([3]), *ANGLES], {"scale": 2.0}, "scale"),
    ("GroupQueryAttention", grouped(2, 1, 12, (4, 6), 7), {"kv_num_heads": G, "k_quant_type": "PER_TENSOR"}, "k_quant_type"),
    ("GroupQueryAttention", grouped(2, 1, 12, (4, 6), 7), {"kv_num_heads": G, "sliding_window_cache": 1}, "sliding_window"),
])  # fmt: skip
def test_refusals_name_what_they_refuse(op: str, operands: list, attributes: dict, named: str) -> None:
    count = {} if op == "RotaryEmbedding" else {"num_heads": 4 if op == "GroupQueryAttention" else N}
    with pytest.raises(UnsupportedFeature, match=named):
        hither_model(one_node(op, operands, **count, **attributes, **MS))(fed(operands))


def test_an_input_that_is_missing_is_named() -> None:
    operands = [floats(B, S, 10), None]
    with pytest.raises(HitherError, match="input 1 is missing"):
        hither_model(one_node("Attention", operands, num_heads=N, **MS))(fed(operands))
