"""Scaled dot-product attention and rotary embeddings: ONNX's operators, and the parts that com.microsoft's share with them.

Scores and softmax are computed in float32 at least, whatever the operands hold. Heads that share keys and values
(grouped-query attention) are rows of one product: keys are never repeated.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .... import dtypes as dt
from .... import ops
from ..registry import Node, operator
from .common import as_float, cast


class Scores(NamedTuple):
    """The matrices [batch, heads, queries, keys] that attention goes through, of which some operators give one."""

    product: Any
    capped: Any
    biased: Any
    weights: Any


def split_heads(x: Any, count: int) -> Any:
    """[batch, steps, count·size] as [batch, count, steps, size]."""
    batch, steps, width = x.shape
    if count <= 0 or width % count:
        raise ValueError(f"{width} features do not split into {count} heads")
    return ops.permute_dims(ops.reshape(x, (batch, steps, count, width // count)), (0, 2, 1, 3))


def merged_heads(x: Any) -> Any:
    """[batch, heads, steps, size] as [batch, steps, heads·size]."""
    batch, heads, steps, size = x.shape
    return ops.reshape(ops.permute_dims(x, (0, 2, 1, 3)), (batch, steps, heads * size))


def attend(
    q: Any, k: Any, v: Any, scale: float, *, bias: Any = None, allowed: Any = None, softcap: float = 0.0, sink: Any = None,
    zero_rows: bool = False,
) -> tuple[Any, Scores]:  # fmt: skip
    """softmax(q·kᵀ·scale + bias)·v, and what it went through. Vaswani et al.: Attention Is All You Need, 2017.

    Args:
        q: [batch, heads, queries, size].
        k, v: [batch, groups, keys, size]; as many successive heads of q use one of the groups.
        scale: factor of the products; 0 is 1/√size.
        bias: added to the products; broadcasts to [batch, heads, queries, keys].
        allowed: booleans that broadcast likewise, which keys a query may see.
        softcap: limit of the products, c·tanh(x/c); 0 is none.
        sink: a logit per head [heads] that counts in the softmax and has no value (0 is the "smooth softmax").
        zero_rows: a query that may see nothing gives zeros; otherwise the mean of all values.
    """
    batch, heads, queries, size = q.shape
    groups, keys = k.shape[1:3]
    if not groups or heads % groups:
        raise ValueError(f"{heads} heads do not share {groups} groups of keys evenly")
    wide = q.dtype if q.dtype.bits > 32 else dt.float32
    rows = ops.reshape(q, (batch, groups, heads // groups * queries, size))
    product = ops.matmul(rows, k, transpose_b=True, dtype=wide) * (scale or 1 / math.sqrt(size))
    product = ops.reshape(product, (batch, heads, queries, keys))
    capped = ops.tanh(product / softcap) * softcap if softcap else product
    biased = capped if bias is None else capped + cast(bias, wide)
    if allowed is not None:
        biased = ops.where(allowed, biased, -math.inf if zero_rows else float(np.finfo(wide.numpy).min))
    weights = ops.softmax(biased) if sink is None else _softmax_with_sink(biased, ops.reshape(cast(sink, wide), (-1, 1, 1)))
    if zero_rows and (bias is not None or allowed is not None):
        weights = ops.where(ops.max(biased, axis=-1, keepdims=True) == -math.inf, 0.0, weights)
    mixed = ops.matmul(ops.reshape(cast(weights, v.dtype), (batch, groups, heads // groups * queries, keys)), v)
    result = ops.reshape(mixed, (batch, heads, queries, v.shape[-1]))
    return result, Scores(product, capped, biased, weights)


def _softmax_with_sink(x: Any, sink: Any) -> Any:
    most = ops.maximum(ops.max(x, axis=-1, keepdims=True), sink)
    exps = ops.exp(x - most)
    return exps / (ops.sum(exps, axis=-1, keepdims=True) + ops.exp(sink - most))


def steps(count: int, axis: int) -> Any:
    """0, 1, … along the third (-2, queries) or fourth (-1, keys) axis of scores."""
    return ops.reshape(ops.arange(count, dtype=dt.int32), (1, 1, count, 1) if axis == -2 else (1, 1, 1, count))


def per_sample(x: Any) -> Any:
    """A vector [batch] of integers, shaped to broadcast against scores."""
    return ops.reshape(cast(x, dt.int32), (-1, 1, 1, 1))


def both(a: Any, b: Any) -> Any:
    """a and b, of booleans or None for "all"."""
    return b if a is None else a if b is None else ops.logical_and(a, b)


def rotate(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """The first 2·n features of x [batch, heads, steps, size] turned pairwise by angles [batch or 1, steps, n].

    Su et al.: RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021. Pairs are neighbours (`interleaved`), or
    each element of the first half with its counterpart in the second.
    """
    half, size = cos.shape[-1], x.shape[-1]
    if cos.shape != sin.shape or 2 * half > size:
        raise ValueError(f"cosines {tuple(cos.shape)} and sines {tuple(sin.shape)} do not rotate heads of {size} features")
    cos, sin = (as_float(ops.expand_dims(a, axis=1)) for a in (cos, sin))
    turned, rest = as_float(x[..., : 2 * half]), x[..., 2 * half :]
    if interleaved:
        pairs = ops.reshape(turned, (*x.shape[:-1], half, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        made = ops.reshape(ops.stack([a * cos - b * sin, a * sin + b * cos], axis=-1), turned.shape)
    else:
        a, b = turned[..., :half], turned[..., half:]
        made = ops.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)
    made = cast(made, x.dtype)
    return made if 2 * half == size else ops.concat([made, rest], axis=-1)


@operator("RotaryEmbedding")
def rotary_embedding(node: Node, x: Any, cos: Any, sin: Any, positions: Any = None) -> Any:
    node.check(len(x.shape) in (3, 4), f"takes [batch, heads, steps, size] or [batch, steps, features], got {tuple(x.shape)}")
    if positions is not None:
        cos, sin = (ops.take(a, positions, axis=0) for a in (cos, sin))
    flat = len(x.shape) == 3
    spread = split_heads(x, node.get("num_heads", 0)) if flat else x
    wanted = node.get("rotary_embedding_dim", 0) or spread.shape[-1]
    node.check(
        len(cos.shape) == 3 and 2 * cos.shape[-1] == wanted,
        f"cosines {tuple(cos.shape)} do not rotate {wanted} features of [batch, steps]",
    )
    made = rotate(spread, cos, sin, bool(node.get("interleaved", 0)))
    return merged_heads(made) if flat else made


@operator("Attention")
def attention(
    node: Node, q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None, lengths: Any = None
) -> Any:
    ranks = {len(x.shape) for x in (q, k, v)}
    node.check(ranks in ({3}, {4}), f"Q, K and V must have three or four axes, got {q.shape}, {k.shape} and {v.shape}")
    flat = ranks == {3}
    if flat:
        q, k, v = split_heads(q, node["q_num_heads"]), *(split_heads(x, node["kv_num_heads"]) for x in (k, v))
    node.check((past_k is None) == (past_v is None), "past_key and past_value go together")
    node.check(past_k is None or lengths is None, "nonpad_kv_seqlen does not go with past_key")
    past = 0
    if past_k is not None:
        past = past_k.shape[2]
        k, v = ops.concat([past_k, k], axis=2), ops.concat([past_v, v], axis=2)
    bias, allowed = _given_mask(node, mask, k.shape[2])
    before: Any = past
    if lengths is not None:
        allowed = both(allowed, steps(k.shape[2], -1) < per_sample(lengths))
        before = per_sample(lengths) - q.shape[2]
    allowed = both(allowed, _window(node, q.shape[2], k.shape[2], before))
    result, scores = attend(
        q, k, v, node.get("scale", 0.0), bias=bias, allowed=allowed, softcap=node["softcap"], zero_rows=True
    )  # fmt: skip
    mode = node["qk_matmul_output_mode"]
    node.check(0 <= mode <= 3, f"qk_matmul_output_mode must be 0 to 3, got {mode}")
    return merged_heads(result) if flat else result, k, v, cast(scores[mode], q.dtype)


def _given_mask(node: Node, mask: Any, keys: int) -> tuple[Any, Any]:
    """attn_mask as what is added to scores, or as what is allowed. Where it is shorter, further keys are not."""
    if mask is None:
        return None, None
    fill: Any = False if mask.dtype is dt.bool_ else -math.inf
    missing = keys - mask.shape[-1]
    node.check(missing >= 0, f"attn_mask {tuple(mask.shape)} is longer than {keys} keys")
    if missing and mask.shape[-1] != 1:
        mask = ops.pad(mask, [(0, 0)] * (len(mask.shape) - 1) + [(0, missing)], value=fill)
    return (None, mask) if mask.dtype is dt.bool_ else (mask, None)


def _window(node: Node, queries: int, keys: int, before: Any) -> Any:
    """What is_causal and the window sizes of opset 25 allow, where `before` keys precede the first query."""
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    if node["is_causal"]:
        right = 0
    if left < 0 and right < 0:
        return None
    here, seen = steps(queries, -2) + before, steps(keys, -1)
    low = None if left < 0 else seen >= here - left
    return both(low, None if right < 0 else seen <= here + right)
