"""ONNX's Attention and RotaryEmbedding against the onnx package's own evaluator, and ONNX Runtime where it has the opset.

A failure means that transformers exported with opset 23 or later give other numbers here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from hither.errors import InvalidModel

from .onnx_build import check, fed, hither_model, one_node

rng = np.random.default_rng(5)
B, N, S, T, H = 2, 4, 3, 5, 8


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check_attention(arrays: list[Any], outputs: int = 1, opset: int = 25, **attributes: Any) -> None:
    """Against the onnx package; opsets that ONNX Runtime has against that too."""
    data, given = one_node("Attention", arrays, outputs, opset, **attributes), fed(arrays)
    got = [np.asarray(a) for a in hither_model(data)(given).values()]
    for g, w in zip(got, ReferenceEvaluator(onnx.load_from_string(data)).run(None, given), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)
    if opset < 25:
        check(data, given)


MASKS = {
    "none": None,
    "booleans": rng.integers(0, 2, (S, T)).astype(bool) | np.eye(S, T, dtype=bool),
    "booleans of each head": rng.integers(0, 2, (B, N, S, T)).astype(bool) | np.eye(S, T, dtype=bool),
    "numbers": floats(B, 1, S, T),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}, {"softcap": 0.5}, {"scale": 0.3}])
@pytest.mark.parametrize("opset", [23, 24])
def test_masks_and_attributes(mask: str, attributes: dict[str, Any], opset: int) -> None:
    operands = [floats(B, N, S, H), floats(B, N, T, H), floats(B, N, T, 6), MASKS[mask]]
    check_attention(operands, opset=opset, **attributes)


def test_heads_side_by_side_that_share_keys() -> None:
    operands = [floats(B, S, N * H), floats(B, T, 2 * H), floats(B, T, 2 * 6)]
    check_attention(operands, opset=24, q_num_heads=N, kv_num_heads=2)
    check_attention([floats(B, N, S, H), floats(B, 1, T, H), floats(B, 1, T, 6)], opset=24)


@pytest.mark.parametrize("causal", [0, 1])
def test_a_past(causal: int) -> None:
    operands = [floats(B, N, S, H), floats(B, 2, S, H), floats(B, 2, S, H), None, floats(B, 2, 4, H), floats(B, 2, 4, H)]
    check_attention(operands, outputs=3, opset=24, is_causal=causal)


@pytest.mark.parametrize("causal", [0, 1])
def test_a_cache_that_is_written_outside(causal: int) -> None:
    """Steps behind each sample's length are not seen; a query that may see nothing gives zeros."""
    operands = [floats(B, N, S, H), floats(B, N, T, H), floats(B, N, T, H), None, None, None, np.array([5, 2])]
    check_attention(operands, is_causal=causal)


def test_a_mask_that_is_too_short_or_hides_everything() -> None:
    qkv = [floats(B, N, S, H), floats(B, N, T, H), floats(B, N, T, H)]
    check_attention([*qkv, floats(S, 3)])
    check_attention([*qkv, np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]], bool)])


@pytest.mark.parametrize("window", [(1, 0), (2, 1), (-1, 1), (0, -1)])
@pytest.mark.parametrize("causal", [0, 1])
def test_windows(window: tuple[int, int], causal: int) -> None:
    operands = [floats(B, N, S, H), floats(B, N, S, H), floats(B, N, S, H), None, floats(B, N, 4, H), floats(B, N, 4, H)]
    check_attention(operands, outputs=3, is_causal=causal, left_window_size=window[0], right_window_size=window[1])


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_scores(mode: int) -> None:
    operands = [floats(B, N, S, H), floats(B, N, T, H), floats(B, N, T, H), MASKS["booleans"]]
    attributes = {"outputs": 4, "unwanted": [1, 2], "qk_matmul_output_mode": mode, "softcap": 2.0}
    if mode == 0:  # the onnx package's evaluator caps these too, against the standard
        check(one_node("Attention", operands, opset=24, **attributes), fed(operands))
    else:
        check_attention(operands, **attributes)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("part", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
def test_rotary_embedding(interleaved: int, part: int, flat: bool) -> None:
    half = (part or H) // 2
    x = floats(B, S, N * H) if flat else floats(B, N, S, H)
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": part, **({"num_heads": N} if flat else {})}
    for operands in (
        [x, floats(9, half), floats(9, half), rng.integers(0, 9, (B, S))],
        [x, floats(B, S, half), floats(B, S, half)],
    ):
        check(one_node("RotaryEmbedding", operands, opset=23, **attributes), fed(operands))


def test_malformed_operands_are_named() -> None:
    operands = [floats(B, N, S, H), floats(B, 3, T, H), floats(B, 3, T, H)]
    with pytest.raises(InvalidModel, match="4 heads do not share 3 groups"):
        hither_model(one_node("Attention", operands, opset=24))(fed(operands))
