"""Attention whose keys have as many heads as its queries: Attention, MultiHeadAttention, packed and quantised variants.

A padding mask of these operators adds `mask_filter_value` to the scores of what it hides; what comes after a query that may
not look ahead (`unidirectional`) is hidden for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..... import dtypes as dt
from ..... import ops
from ...registry import Node, operator
from .. import integer_products
from ..attention import attend, both, merged_heads, per_sample, split_heads, steps
from ..common import cast, constant
from .domain import DOMAIN

SCORES = {"num_heads": int, "scale": 0.0, "mask_filter_value": -10000.0}
MASKED = {**SCORES, "unidirectional": 0}
CACHED = {**MASKED, "past_present_share_buffer": 0, "do_rotary": 0}


def _hiding(node: Node, mask: Any, batch: int, queries: int, past: int, keys: int) -> Any:
    """What a mask in any of its documented shapes adds to scores [batch, heads, queries, keys]; `keys` counts past ones too."""
    if mask is None:
        return None
    shape = tuple(mask.shape)
    if shape in ((batch, 1), (1, 1)) and keys != 1:  # a placeholder that hides nothing
        return None
    if len(shape) == 1:
        node.check(shape[0] in (batch, 2 * batch, 3 * batch + 2), f"a mask of shape {shape} does not fit a batch of {batch}")
        seen = steps(keys, -1)
        visible = seen < per_sample(mask[:batch])  # ends; in the third form, lengths before cumulated ones
        if shape[0] == 2 * batch:
            visible = both(visible, seen >= per_sample(mask[batch:]))
    else:
        if len(shape) == 4:
            node.check(shape[:2] == (batch, 1) and min(shape[2:]) >= keys, f"a mask of shape {shape} does not fit {keys} keys")
            mask = mask[:, :, past : past + queries, :keys]
        else:
            wanted = (batch, keys) if len(shape) == 2 else (batch, queries, keys)
            node.check(shape == wanted, f"a mask of shape {shape} does not fit {queries} queries and {keys} keys of {batch}")
            mask = ops.reshape(mask, (batch, 1, queries if len(shape) == 3 else 1, keys))
        visible = mask > 0 if mask.dtype is not dt.bool_ else mask
    return ops.where(visible, 0.0, constant(node["mask_filter_value"], dt.float32))


def _sum(*biases: Any) -> Any:
    """The sum of what is to be added to scores, or None."""
    given = [cast(b, dt.float32) for b in biases if b is not None]
    return None if not given else given[0] if len(given) == 1 else given[0] + given[1]


def _ahead(node: Node, queries: int, keys: int, past: Any) -> Any:
    """What a query may see of the keys, where it may not look ahead."""
    if not node.get("unidirectional", 0):
        return None
    return steps(keys, -1) <= steps(queries, -2) + past


def written(cache: Any, new: Any, start: Any) -> Any:
    """A cache [batch, heads, capacity, size] with new steps at `start`, an integer or one per sample [batch]."""
    if isinstance(start, int):
        end = start + new.shape[2]
        return ops.concat([cache[:, :, :start], new, cache[:, :, end:]], axis=2)
    room = cache.shape[2]
    at = ops.minimum(
        per_sample(start) + steps(new.shape[2], -2), room
    )  # what is beyond the cache goes to a step that is cut off
    spare = ops.concat([cache, cache[:, :, :1]], axis=2)
    return ops.scatter_along_axis(spare, ops.broadcast_to(at, new.shape), new, axis=2)[:, :, :room]


def _extended(node: Node, past: Any, new: Any, start: Any) -> tuple[Any, Any]:
    """The present cache, and how many of its steps precede the new ones; `start` is given where the buffer is shared."""
    if past is None:
        return new, 0
    if start is None:
        return ops.concat([past, new], axis=2), past.shape[2]
    return written(past, new, cast(ops.reshape(start, (1,)), dt.int32)), cast(ops.reshape(start, ()), dt.int32)


def _attended(
    node: Node, q: Any, k: Any, v: Any, past: Any, mask: Any, extra: Any, *, new: int, shared: bool
) -> tuple[Any, Any]:
    """The result [batch, queries, features] and the scores of q, k, v with their heads apart.

    `new` of the keys are this call's, after `past` earlier ones. In a `shared` buffer others follow, which nobody sees.
    """
    batch, _, queries, _ = q.shape
    keys = k.shape[2]
    allowed = _ahead(node, queries, keys, past)
    if shared:
        allowed = both(allowed, steps(keys, -1) < past + new)
        if mask is not None and len(mask.shape) in (2, 3) and mask.shape[-1] < keys:
            mask = ops.pad(mask, [(0, 0)] * (len(mask.shape) - 1) + [(0, keys - mask.shape[-1])])
        if extra is not None and extra.shape[-1] < keys:
            extra = ops.pad(extra, [(0, 0)] * 3 + [(0, keys - extra.shape[-1])])
        if mask is not None and len(mask.shape) == 4:
            raise node.unsupported("a mask of four axes with a shared buffer")
    hiding = _hiding(node, mask, batch, queries, 0 if shared else past, keys)
    made, scores = attend(q, k, v, node["scale"], bias=_sum(hiding, extra), allowed=allowed)
    return merged_heads(made), scores


def _refuse_rotary(node: Node) -> None:
    if node["do_rotary"]:
        raise node.unsupported("do_rotary=1 (whose angles the operator's documentation does not give)")


def _self_attention(
    node: Node, projected: Any, sizes: Sequence[int], mask: Any, past: Any, extra: Any, start: Any
) -> tuple[Any, Any]:
    """Attention and its present cache, from queries, keys and values side by side."""
    _refuse_rotary(node)
    shared = bool(node["past_present_share_buffer"]) and past is not None
    node.check(not shared or start is not None, "past_present_share_buffer needs past_sequence_length")
    first, second = sizes[0], sizes[0] + sizes[1]
    node.check(second + sizes[2] == projected.shape[-1], f"hidden sizes {tuple(sizes)} are not those of {projected.shape}")
    parts = projected[..., :first], projected[..., first:second], projected[..., second:]
    q, k, v = (split_heads(x, node["num_heads"]) for x in parts)
    new, before = k.shape[2], 0
    if past is not None:
        node.check(len(past.shape) == 5 and past.shape[0] == 2, f"past has shape {tuple(past.shape)}")
        k, before = _extended(node, past[0], k, start if shared else None)
        v, _ = _extended(node, past[1], v, start if shared else None)
    made, _ = _attended(node, q, k, v, before, mask, extra, new=new, shared=shared)
    return made, ops.stack([k, v]) if node.wants(1) else None


def _thirds(node: Node, width: int) -> tuple[int, int, int]:
    node.check(width % 3 == 0, f"{width} features are no queries, keys and values of one size")
    return width // 3, width // 3, width // 3


@operator("Attention", domain=DOMAIN, attributes={**CACHED, "qkv_hidden_sizes": [int], "rotary_embedding_dim": 0})
def attention(
    node: Node, x: Any, weights: Any, bias: Any = None, mask: Any = None, past: Any = None, extra: Any = None, start: Any = None
) -> Any:
    projected = ops.matmul(x, weights)
    projected = projected if bias is None else projected + bias
    sizes = node.get("qkv_hidden_sizes") or _thirds(node, projected.shape[-1])
    node.check(len(sizes) == 3 and min(sizes) > 0, f"qkv_hidden_sizes must be three positive sizes, got {sizes}")
    return _self_attention(node, projected, sizes, mask, past, extra, start)


@operator("QAttention", domain=DOMAIN, attributes=CACHED)
def quantized_attention(
    node: Node, x: Any, weights: Any, bias: Any, x_scale: Any, w_scale: Any, mask: Any = None, x_zero: Any = None,
    w_zero: Any = None, past: Any = None,
) -> Any:  # fmt: skip
    """Attention whose projection multiplies 8-bit integers."""
    if node["past_present_share_buffer"]:
        raise node.unsupported("past_present_share_buffer=1 (without an input that says how long the past is)")
    total = integer_products.matmul(x, weights, x_zero, w_zero)
    projected = cast(total, bias.dtype) * (ops.reshape(x_scale, ()) * w_scale) + bias
    return _self_attention(node, projected, _thirds(node, projected.shape[-1]), mask, past, None, None)


def _separate(node: Node, q: Any, k: Any, v: Any, bias: Any) -> list[Any]:
    """Queries, keys and values [batch, heads, steps, size] from any of the forms in which they are given."""
    n = node["num_heads"]
    if k is None and len(q.shape) == 3:
        a, b, _ = _thirds(node, q.shape[-1])
        q, k, v = q[..., :a], q[..., a : a + b], q[..., a + b :]
    elif k is None:
        node.check(len(q.shape) == 5 and q.shape[2:4] == (n, 3), f"query of shape {q.shape} does not hold {n} heads of three")
        q, k, v = (q[:, :, :, i] for i in range(3))
    elif len(k.shape) == 5:
        node.check(v is None and k.shape[2:4] == (n, 2), f"key of shape {k.shape} does not hold {n} heads of keys and values")
        k, v = k[:, :, :, 0], k[:, :, :, 1]
    elif len(k.shape) == 4:  # what an earlier step projected: its heads are apart, its bias added
        node.check(v is not None and len(v.shape) == 4, "a key with heads needs a value with heads")
        return [split_heads(q if bias is None else q + bias[: q.shape[-1]], n), k, v]
    node.check(v is not None, "value is missing")
    made, begin = [], 0
    for x in (q, k, v):
        x = ops.reshape(x, (x.shape[0], x.shape[1], -1))
        end = begin + x.shape[-1]
        made.append(split_heads(x if bias is None else x + bias[begin:end], n))
        begin = end
    node.check(bias is None or tuple(bias.shape) == (begin,), f"bias of {begin} features expected")
    return made


def _multi_head(
    node: Node, inputs: Sequence[Any], bias: Any, mask: Any, extra: Any, past: tuple[Any, Any], start: Any
) -> tuple[Any, ...]:
    """Attention of inputs given apart, the present keys and values, and the scores."""
    node.check((past[0] is None) == (past[1] is None), "past_key and past_value go together")
    q, k, v = _separate(node, inputs[0], inputs[1], inputs[2], bias)
    new = k.shape[2]
    shared = start is not None and past[0] is not None
    k, before = _extended(node, past[0], k, start if shared else None)
    v, _ = _extended(node, past[1], v, start if shared else None)
    made, scores = _attended(node, q, k, v, before, mask, extra, new=new, shared=shared)
    return made, k, v, scores


@operator("MultiHeadAttention", domain=DOMAIN, attributes=MASKED)
def multi_head_attention(
    node: Node, q: Any, k: Any = None, v: Any = None, bias: Any = None, mask: Any = None, extra: Any = None,
    past_k: Any = None, past_v: Any = None, start: Any = None, beams: Any = None,
) -> Any:  # fmt: skip
    if beams is not None:
        raise node.unsupported("cache_indirection (beam search inside a shared buffer)")
    made, k, v, scores = _multi_head(node, (q, k, v), bias, mask, extra, (past_k, past_v), start)
    return made, k, v, scores.biased


@operator(
    "DecoderMaskedMultiHeadAttention", domain=DOMAIN, attributes={**SCORES, "past_present_share_buffer": 0, "output_qk": 0}
)
def decoder_masked_multi_head_attention(
    node: Node, q: Any, k: Any = None, v: Any = None, mask: Any = None, extra: Any = None, past_k: Any = None,
    past_v: Any = None, start: Any = None, width: Any = None, beams: Any = None, bias: Any = None,
) -> Any:  # fmt: skip
    if beams is not None or (width is not None and node.scalar(width, "beam_width") != 1):
        raise node.unsupported("beam search (beam_width, cache_indirection)")
    if node["past_present_share_buffer"] and past_k is not None:
        raise node.unsupported("past_present_share_buffer=1 (whose keys are in an order of the device's own)")
    made, k, v, scores = _multi_head(node, (q, k, v), bias, mask, extra, (past_k, past_v), None)
    return made, k, v, scores.biased


# -- packed: batches without their padding -------------------------------------------------------------------------------------


def _unpacked(x: Any, offsets: Any, tokens: int) -> Any:
    """Rows [tokens, features] at their offsets of [batch, steps, features], zeros elsewhere."""
    batch, length = offsets.shape
    at = ops.reshape(offsets, (-1,))[:tokens]
    whole = ops.zeros((batch * length, x.shape[-1]), dtype=x.dtype)
    return ops.reshape(ops.scatter_nd(whole, ops.expand_dims(at, axis=1), x), (batch, length, x.shape[-1]))


def _packed(node: Node, parts: Sequence[Any], offsets: Any, cumulated: Any, extra: Any) -> Any:
    """Attention within each sequence of a packed batch: [tokens, features]."""
    tokens = parts[0].shape[0]
    q, k, v = (split_heads(_unpacked(x, offsets, tokens), node["num_heads"]) for x in parts)
    lengths = cumulated[1:] - cumulated[:-1]
    allowed = steps(k.shape[2], -1) < per_sample(lengths)
    made = merged_heads(attend(q, k, v, node["scale"], bias=extra, allowed=allowed)[0])
    flat = ops.reshape(made, (-1, made.shape[-1]))
    return ops.take(flat, ops.reshape(offsets, (-1,))[:tokens], axis=0)


@operator(
    "PackedAttention", domain=DOMAIN, attributes={"num_heads": int, "scale": 0.0, "qkv_hidden_sizes": [int]},
)  # fmt: skip
def packed_attention(
    node: Node, x: Any, weights: Any, bias: Any, offsets: Any, cumulated: Any, extra: Any = None
) -> Any:  # fmt: skip
    projected = ops.matmul(x, weights) + bias
    first, second, _ = node.get("qkv_hidden_sizes") or _thirds(node, projected.shape[-1])
    parts = projected[:, :first], projected[:, first : first + second], projected[:, first + second :]
    return _packed(node, parts, offsets, cumulated, extra)


@operator("PackedMultiHeadAttention", domain=DOMAIN, attributes=SCORES, optional=("k", "v", "bias"))
def packed_multi_head_attention(
    node: Node, q: Any, k: Any, v: Any, bias: Any, offsets: Any, cumulated: Any, extra: Any = None
) -> Any:
    if k is None:
        node.check(len(q.shape) == 4 and q.shape[2] == 3, f"without key, query must be packed in threes, got {q.shape}")
        q, k, v = (q[:, :, i] for i in range(3))
    node.check(v is not None, "value is missing")
    parts, begin = [], 0
    for x in (q, k, v):
        x = ops.reshape(x, (x.shape[0], -1))
        end = begin + x.shape[-1]
        parts.append(x if bias is None else x + bias[begin:end])
        begin = end
    return _packed(node, parts, offsets, cumulated, extra)
