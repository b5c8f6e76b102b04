"""GroupQueryAttention, the attention of decoders with a cache, and rotary embeddings with ONNX Runtime's positions."""

from __future__ import annotations

from typing import Any

from ..... import dtypes as dt
from ..... import ops
from .....graph.trace import static_value
from ...registry import Node, operator
from ..attention import attend, both, merged_heads, per_sample, rotate, split_heads, steps
from ..common import cast
from .attention import written
from .domain import DOMAIN

ATTRIBUTES = {
    "num_heads": int, "kv_num_heads": int, "scale": 0.0, "softcap": 0.0, "do_rotary": 0, "rotary_interleaved": 0,
    "local_window_size": -1, "smooth_softmax": -1, "causal": 1, "qk_output": 0, "qk_norm_epsilon": 1e-6,
    "q_norm_epsilon": 0.0, "k_norm_epsilon": 0.0, "sliding_window_cache": 0, "k_quant_type": "NONE", "v_quant_type": "NONE",
    "kv_cache_bit_width": 0,
}  # fmt: skip


@operator("GroupQueryAttention", domain=DOMAIN, attributes=ATTRIBUTES, optional=("k", "v", "past_k", "past_v"))
def group_query_attention(
    node: Node, q: Any, k: Any, v: Any, past_k: Any, past_v: Any, last: Any, total: Any, cos: Any = None, sin: Any = None,
    positions: Any = None, bias: Any = None, sink: Any = None, k_scale: Any = None, v_scale: Any = None,
    q_weight: Any = None, k_weight: Any = None, new_lengths: Any = None,
) -> Any:  # fmt: skip
    """Attention over a cache in which each sample has its own number of steps, `last` + 1 with the new ones.

    The cache has room for `total` steps at least. A sample's new steps follow its old ones: what is behind them is hidden, and
    later calls overwrite it.
    """
    if node["k_quant_type"] != "NONE" or node["v_quant_type"] != "NONE" or k_scale is not None or v_scale is not None:
        raise node.unsupported("a quantised cache (k_quant_type, v_quant_type)")
    if node["sliding_window_cache"]:
        raise node.unsupported("sliding_window_cache=1")
    node.check((past_k is None) == (past_v is None), "past_key and past_value go together")
    q, k, v = _heads(node, q, k, v)
    batch, _, queries, _ = q.shape
    node.check(k.shape[2] == queries, f"{k.shape[2]} new keys for {queries} queries")
    node.check(last.size == batch, f"seqlens_k has shape {tuple(last.shape)}, the batch is {batch}")
    keys = int(node.scalar(total, "total_sequence_length"))
    filled = cast(ops.reshape(last, (batch,)), dt.int32) + 1
    new = ops.minimum(filled, queries) if new_lengths is None else cast(ops.reshape(new_lengths, (batch,)), dt.int32)
    before = filled - new
    if q_weight is not None and k_weight is not None:
        q = ops.rms_norm(q, q_weight, epsilon=node["q_norm_epsilon"] or node["qk_norm_epsilon"])
        k = ops.rms_norm(k, k_weight, epsilon=node["k_norm_epsilon"] or node["qk_norm_epsilon"])
    if node["do_rotary"]:
        node.check(cos is not None and sin is not None, "do_rotary needs cos_cache and sin_cache")
        at = _positions(positions, before, queries, prompt=keys == queries and new_lengths is None)
        cos, sin = (ops.take(a, at, axis=0) for a in (cos, sin))
        q, k = (rotate(x, cos, sin, bool(node["rotary_interleaved"])) for x in (q, k))
    k, v = (_present(node, past, x, before, keys) for past, x in ((past_k, k), (past_v, v)))
    allowed = _visible(node, queries, keys, per_sample(before), per_sample(filled))
    if sink is None and node["smooth_softmax"] > 0:
        sink = ops.zeros((q.shape[1],), dtype=dt.float32)
    made, scores = attend(
        q, k[:, :, :keys], v[:, :, :keys], node["scale"], bias=bias, allowed=allowed, softcap=node["softcap"], sink=sink
    )
    node.check(0 <= node["qk_output"] <= 2, f"qk_output must be 0, 1 or 2, got {node['qk_output']}")
    shown = scores.weights if node["qk_output"] == 2 else scores.biased
    return merged_heads(made), k, v, cast(shown, q.dtype)


def _heads(node: Node, q: Any, k: Any, v: Any) -> list[Any]:
    """Queries, keys and values with their heads apart, from three inputs or one."""
    heads, groups = node["num_heads"], node["kv_num_heads"]
    node.check((k is None) == (v is None), "key and value go together")
    if k is None:
        size = q.shape[-1] // max(heads + 2 * groups, 1)
        node.check(size * (heads + 2 * groups) == q.shape[-1], f"{q.shape[-1]} features do not hold {heads} + 2·{groups} heads")
        first, second = heads * size, (heads + groups) * size
        q, k, v = q[..., :first], q[..., first:second], q[..., second:]
    return [split_heads(x, n) for x, n in ((q, heads), (k, groups), (v, groups))]


def _positions(given: Any, before: Any, queries: int, prompt: bool) -> Any:
    """Positions [batch or 1, queries] of the new steps; those given for a first prompt count from the first one's."""
    ahead = ops.reshape(ops.arange(queries, dtype=dt.int32), (1, queries))
    if given is None:
        return ops.expand_dims(before, axis=1) + ahead
    given = cast(given, dt.int32)
    return given[:1, :1] + ahead if prompt else given


def _present(node: Node, past: Any, new: Any, before: Any, keys: int) -> Any:
    """The cache with the new steps after each sample's old ones: as long as the past one, or as `keys` if that is longer."""
    room = keys if past is None else max(past.shape[2], keys)
    node.check(room >= new.shape[2], f"total_sequence_length {keys} leaves no room for {new.shape[2]} new steps")
    if past is None:
        if room == new.shape[2]:
            return new
        past = new[:, :, :0]
    if room > past.shape[2]:
        past = ops.pad(past, [(0, 0), (0, 0), (0, room - past.shape[2]), (0, 0)])
    known = static_value(before)
    if known is not None and known.size and (known == known.flat[0]).all():
        start = int(known.flat[0])
        node.check(0 <= start <= room - new.shape[2], f"{new.shape[2]} new steps after {start} do not fit a cache of {room}")
        return written(past, new, start)
    return written(past, new, before)


def _visible(node: Node, queries: int, keys: int, before: Any, filled: Any) -> Any:
    """What each query may see: filled steps, none after its own if causal, none too far before it."""
    seen, window = steps(keys, -1), node["local_window_size"]
    if not node["causal"]:
        node.check(window < 0, "local_window_size needs causal=1")
        return seen < filled
    here = steps(queries, -2) + before
    return both(seen <= here, seen > here - window if window > 0 else None)


@operator(
    "RotaryEmbedding", domain=DOMAIN,
    attributes={"num_heads": 0, "rotary_embedding_dim": 0, "interleaved": 0, "is_packed_batching": 0, "scale": 1.0},
)  # fmt: skip
def rotary_embedding(node: Node, x: Any, positions: Any, cos: Any, sin: Any) -> Any:
    node.check(len(x.shape) in (3, 4), f"takes [batch, heads, steps, size] or [batch, steps, features], got {tuple(x.shape)}")
    if node["scale"] != 1.0:
        raise node.unsupported(f"scale={node['scale']}")
    flat, part = len(x.shape) == 3, node["rotary_embedding_dim"]
    if flat:
        node.check(not part or node["num_heads"] > 0, "rotary_embedding_dim needs num_heads")
        x = split_heads(x, node["num_heads"] if part else node["num_heads"] or x.shape[-1] // max(2 * cos.shape[-1], 1))
    wanted = part or x.shape[-1]
    node.check(2 * cos.shape[-1] == wanted, f"cosines {tuple(cos.shape)} do not rotate {wanted} features")
    at = cast(positions, dt.int32)
    if len(at.shape) == 1:  # where the first step is
        at = ops.reshape(at, (1, 1)) + ops.reshape(ops.arange(x.shape[2], dtype=dt.int32), (1, -1))
    made = rotate(x, ops.take(cos, at, axis=0), ops.take(sin, at, axis=0), bool(node["interleaved"]))
    return merged_heads(made) if flat else made
