"""Activations, sums and normalisations that ONNX Runtime's optimisers fuse."""

from __future__ import annotations

from typing import Any

from ..... import dtypes as dt
from ..... import ops
from ...registry import Node, operator
from ..common import as_float, cast
from ..norm import layer_norm_results
from .domain import DOMAIN

NO_ATTRIBUTES: dict[str, Any] = {}


@operator("Gelu", "BiasGelu", domain=DOMAIN, attributes=NO_ATTRIBUTES)
def gelu(node: Node, x: Any, bias: Any = None) -> Any:
    return ops.gelu(x if bias is None else x + bias)


@operator("FastGelu", domain=DOMAIN, attributes=NO_ATTRIBUTES)
def fast_gelu(node: Node, x: Any, bias: Any = None) -> Any:
    return ops.gelu(x if bias is None else x + bias, approximate=True)


@operator("QuickGelu", domain=DOMAIN, attributes={"alpha": 1.702})
def quick_gelu(node: Node, x: Any) -> Any:
    return ops.swish(x, alpha=node["alpha"])


@operator("BiasSplitGelu", domain=DOMAIN, attributes=NO_ATTRIBUTES)
def bias_split_gelu(node: Node, x: Any, bias: Any) -> Any:
    """One half of the features times the Gelu of the other."""
    x = x + bias
    half = x.shape[-1] // 2
    node.check(2 * half == x.shape[-1], f"{x.shape[-1]} features have no halves")
    return x[..., :half] * ops.gelu(x[..., half:])


@operator(
    "SwiGLU", domain=DOMAIN,
    attributes={"activation_alpha": 1.0, "activation_beta": 0.0, "limit": 0.0, "round_activation": 0},
)  # fmt: skip
def swiglu(node: Node, gate: Any, up: Any = None) -> Any:
    if up is None:
        half = gate.shape[-1] // 2
        node.check(2 * half == gate.shape[-1], f"{gate.shape[-1]} features have no halves")
        gate, up = gate[..., :half], gate[..., half:]
    kind, limit = gate.dtype, node["limit"]
    gate, up = as_float(gate), as_float(up)
    if limit > 0:
        gate, up = ops.minimum(gate, limit), ops.clip(up, -limit, limit)
    active = ops.swish(gate, alpha=node["activation_alpha"])
    if node["round_activation"]:
        active = as_float(cast(active, kind))
    return cast(active * (up + node["activation_beta"]), kind)


@operator("ScaledSiLU", domain=DOMAIN, attributes={"alpha": 1.0})
def scaled_silu(node: Node, x: Any, scale: Any = None) -> Any:
    return ops.silu(x * (node["alpha"] if scale is None else cast(ops.reshape(scale, ()), x.dtype)))


@operator("BiasAdd", domain=DOMAIN, attributes=NO_ATTRIBUTES)
def bias_add(node: Node, x: Any, bias: Any, skip: Any) -> Any:
    return x + bias + skip


@operator("BiasDropout", domain=DOMAIN, attributes={"seed": 0})
def bias_dropout(
    node: Node, x: Any, bias: Any, residual: Any = None, ratio: Any = None, training: Any = None
) -> Any:  # fmt: skip
    if training is not None and node.scalar(training, "training_mode"):
        raise node.unsupported("training_mode")
    x = x + bias
    return x if residual is None else x + residual, ops.ones(x.shape, dtype=dt.bool_)


@operator("BiasSoftmax", domain=DOMAIN, attributes={"axis": 1, "is_inner_broadcast": int})
def bias_softmax(node: Node, x: Any, bias: Any) -> Any:
    """Softmax over all axes from `axis` on; the bias lacks axes at the front, or has ones just before `axis`."""
    axis = node.axis(node["axis"], len(x.shape))
    total = x + bias
    return cast(ops.softmax(as_float(total), axis=tuple(range(axis, len(x.shape)))), x.dtype)


# -- normalisation -------------------------------------------------------------------------------------------------------------


@operator("SkipLayerNormalization", domain=DOMAIN, attributes={"epsilon": 1e-12})
def skip_layer_normalization(node: Node, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    y, mean, inverse = layer_norm_results(node, total, gamma, beta, (len(x.shape) - 1,), node["epsilon"])
    return y, mean, inverse, total


def _inverse_power(x: Any, epsilon: float) -> Any:
    """1 / √(mean of squares + epsilon) along the last axis, which is kept."""
    return ops.rsqrt(ops.mean(ops.square(as_float(x)), axis=-1, keepdims=True) + epsilon)


@operator("SkipSimplifiedLayerNormalization", domain=DOMAIN, attributes={"epsilon": 1e-12})
def skip_simplified_layer_normalization(node: Node, x: Any, skip: Any, gamma: Any, bias: Any = None) -> Any:
    if node.wants(1):
        raise node.unsupported("the mean (which this norm does not compute)")
    total = x + skip if bias is None else x + skip + bias
    epsilon = node["epsilon"]
    inverse = _inverse_power(total, epsilon) if node.wants(2) else None
    return ops.rms_norm(total, gamma, epsilon=epsilon), None, inverse, total


@operator("SimplifiedLayerNormalization", attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1})
@operator("SimplifiedLayerNormalization", domain=DOMAIN, attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1})
def simplified_layer_normalization(node: Node, x: Any, scale: Any) -> Any:
    """Division by the root mean square. ONNX Runtime keeps the operator in ONNX's own domain, which does not have it."""
    rank = len(x.shape)
    axes = tuple(range(node.axis(node["axis"], rank), rank))
    if not node.wants(1):
        return ops.rms_norm(x, scale, axis=axes, epsilon=node["epsilon"])
    inverse = ops.rsqrt(ops.mean(ops.square(as_float(x)), axis=axes, keepdims=True) + node["epsilon"])
    return ops.rms_norm(x, scale, axis=axes, epsilon=node["epsilon"]), inverse


@operator(
    "EmbedLayerNormalization", domain=DOMAIN, attributes={"epsilon": 1e-12, "mask_index_type": 0},
    optional=("segments", "segment_table"),
)  # fmt: skip
def embed_layer_normalization(
    node: Node, words: Any, segments: Any, word_table: Any, position_table: Any, segment_table: Any, gamma: Any, beta: Any,
    mask: Any = None, positions: Any = None,
) -> Any:  # fmt: skip
    """The normalised sum of embeddings of words, positions and segments, and how many words the mask counts."""
    node.check((segments is None) == (segment_table is None), "segment_ids and segment_embedding go together")
    batch, length = words.shape
    if positions is None:
        node.check(length <= position_table.shape[0], f"{length} words exceed {position_table.shape[0]} positions")
        total = ops.take(word_table, words, axis=0) + position_table[:length]
    else:
        total = ops.take(word_table, words, axis=0) + ops.take(position_table, positions, axis=0)
    if segments is not None:
        total = total + ops.take(segment_table, segments, axis=0)
    normal = ops.layer_norm(total, gamma, beta, epsilon=node["epsilon"])
    return normal, mask_length(mask, words, batch), total


def mask_length(mask: Any, words: Any, batch: int) -> Any:
    """The position of the first zero in each row of a mask [batch, length]; 0 without a mask."""
    if mask is None:
        return ops.zeros((batch,), dtype=words.dtype)
    ended = ops.cumulative_sum(cast(mask == 0, dt.int32), axis=1) > 0
    return cast(ops.sum(cast(ops.logical_not(ended), dt.int32), axis=1), words.dtype)


GROUPS = {"groups": int, "activation": int, "epsilon": 1e-5, "channels_last": 1}


def _group_norm(node: Node, x: Any, gamma: Any, beta: Any) -> Any:
    node.check(node["activation"] in (0, 1), f"activation must be 0 or 1, got {node['activation']}")
    last = bool(node["channels_last"])
    first = ops.to_channels_first(x) if last else x
    made = ops.group_norm(first, node["groups"], gamma, beta, epsilon=node["epsilon"])
    made = ops.to_channels_last(made) if last else made
    return ops.silu(made) if node["activation"] else made


@operator("GroupNorm", domain=DOMAIN, attributes=GROUPS)
def group_norm(node: Node, x: Any, gamma: Any, beta: Any) -> Any:
    return _group_norm(node, x, gamma, beta)


@operator("SkipGroupNorm", domain=DOMAIN, attributes=GROUPS)
def skip_group_norm(node: Node, x: Any, gamma: Any, beta: Any, skip: Any, bias: Any = None) -> Any:
    channels = x.shape[-1 if node["channels_last"] else 1]
    along = (1, 1, channels) if node["channels_last"] else (channels, 1, 1)
    if len(skip.shape) == 2:
        skip = ops.reshape(skip, (skip.shape[0], *along))
    total = x + skip
    if bias is not None:
        total = total + ops.reshape(bias, along)
    return _group_norm(node, total, gamma, beta), total
