"""Recurrent layers. Their state is in variable tensors: it survives from call to call, as everywhere in this format.

Quantised ones compute on real numbers and round what they give and keep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .... import ops
from ..registry import Node, operator

Step = Callable[[Any, Any], tuple[Any, Any]]  # state, input of one moment → state, output


def _over_time(node: Node, x: Any, time_major: bool, state: Any, step: Step, backwards: bool = False) -> tuple[Any, Any]:
    """Run a step over the time axis of [time, batch, …] or [batch, time, …]: the last state, and all outputs in x's layout."""
    node.check(len(x.shape) == 3, f"a sequence has 3 axes, got {tuple(x.shape)}")
    inputs = x if time_major else ops.moveaxis(x, 1, 0)
    state, outputs = ops.scan(step, state, inputs, reverse=backwards)
    return state, outputs if time_major else ops.moveaxis(outputs, 0, 1)


def _product(x: Any, w: Any) -> Any:
    """x · wᵀ; a vector of weights is a diagonal."""
    return x * w if len(w.shape) == 1 else ops.matmul(x, ops.matrix_transpose(w))


# -- simple ------------------------------------------------------------------------------------------------------------------


def _rnn_step(node: Node, w: Any, r: Any, bias: Any) -> Step:
    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = node.activated(_product(x, w) + _product(h, r) + bias)
        return h, h

    return step


@operator("RNN")
def rnn(node: Node, x: Any, w: Any, r: Any, bias: Any, h: Any) -> Any:
    h, y = _rnn_step(node, w, r, bias)(h, x)
    node.assign(4, h)
    return y


@operator("UNIDIRECTIONAL_SEQUENCE_RNN")
def unidirectional_sequence_rnn(node: Node, x: Any, w: Any, r: Any, bias: Any, h: Any) -> Any:
    h, y = _over_time(node, x, bool(node.get("time_major", False)), h, _rnn_step(node, w, r, bias))
    node.assign(4, h)
    return y


@operator("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_sequence_rnn(
    node: Node, x: Any, fw_w: Any, fw_r: Any, fw_bias: Any, fw_h: Any, bw_w: Any, bw_r: Any, bw_bias: Any, bw_h: Any,
    aux: Any = None, fw_aux_w: Any = None, bw_aux_w: Any = None,
) -> Any:  # fmt: skip
    if fw_aux_w is not None or bw_aux_w is not None:
        raise node.unsupported("an auxiliary input with weights of its own")
    major = bool(node.get("time_major", False))
    fw_h, forward = _over_time(node, x, major, fw_h, _rnn_step(node, fw_w, fw_r, fw_bias))
    bw_h, backward = _over_time(node, x if aux is None else aux, major, bw_h, _rnn_step(node, bw_w, bw_r, bw_bias), True)
    node.assign(4, fw_h)
    node.assign(8, bw_h)
    return ops.concat([forward, backward], axis=-1) if node.get("merge_outputs", False) else (forward, backward)


@operator("SVDF")
def svdf(node: Node, x: Any, by_feature: Any, by_time: Any, bias: Any, memory: Any) -> Any:
    """A layer of filters of rank `rank`, each a product of one over features and one over time (Nakkiran et al., 2015).

    x: [batch, features]; by_feature: [filters, features]; by_time and memory per batch entry: [filters, time].
    """
    rank = int(node.get("rank", 0))
    filters, length = by_time.shape
    node.check(rank > 0 and filters % rank == 0, f"{filters} filters of rank {rank}")
    batch = x.shape[0]
    fresh = ops.reshape(ops.matmul(x, ops.matrix_transpose(by_feature)), (batch, filters, 1))
    past = ops.reshape(memory, (batch, filters, length))
    now = ops.concat([ops.slice_axis(past, 2, 1, length), fresh], axis=2)
    node.assign(4, ops.reshape(now, tuple(memory.shape)))
    y = ops.sum(ops.reshape(ops.sum(now * by_time, axis=2), (batch, filters // rank, rank)), axis=2)
    return node.activated(y if bias is None else y + bias)


# -- LSTM --------------------------------------------------------------------------------------------------------------------


def _normalised(x: Any, scale: Any, bias: Any) -> Any:
    """A gate's sum, layer-normalised where there are coefficients."""
    if scale is None:
        return x if bias is None else x + bias
    y = ops.layer_norm(x, epsilon=1e-8) * scale
    return y if bias is None else y + bias


def _lstm_step(node: Node, p: Sequence[Any], norms: Sequence[Any]) -> Step:
    """One moment of an LSTM by its weights in the schema's order: 4 of inputs, 4 recurrent, 3 peepholes, 4 biases, projection
    and its bias. Without input gate weights, the input gate is 1 - the forget gate."""
    w, r, peep, bias, project, project_bias = p[:4], p[4:8], p[8:11], p[11:15], p[15], p[16]
    clip, project_clip = float(node.get("cell_clip", 0.0)), float(node.get("proj_clip", 0.0))
    node.check(all(v is not None for v in (*w[1:], *r[1:], *bias[1:])), "weights or biases are missing")
    coupled = w[0] is None

    def gate(i: int, x: Any, h: Any, cell: Any, peephole: Any) -> Any:
        total = _product(x, w[i]) + _product(h, r[i])
        total = total if peephole is None else total + cell * peephole
        return _normalised(total, norms[i], bias[i])

    def clipped(x: Any, limit: float) -> Any:
        return ops.minimum(ops.maximum(x, -limit), limit) if limit > 0 else x

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        h, cell = state
        forget = ops.sigmoid(gate(1, x, h, cell, peep[1]))
        enter = 1 - forget if coupled else ops.sigmoid(gate(0, x, h, cell, peep[0]))
        cell = clipped(forget * cell + enter * node.activated(gate(2, x, h, cell, None)), clip)
        out = ops.sigmoid(gate(3, x, h, cell, peep[2])) * node.activated(cell)
        if project is not None:
            out = _product(out, project)
            out = clipped(out if project_bias is None else out + project_bias, project_clip)
        return (out, cell), out

    return step


@operator("UNIDIRECTIONAL_SEQUENCE_LSTM")
def unidirectional_sequence_lstm(node: Node, x: Any, *rest: Any) -> Any:
    """Inputs after x: 17 weights (see _lstm_step), output state, cell state, and 4 coefficients of layer normalisation."""
    p, (h, cell), norms = _lstm_operands(node, rest)
    step = _lstm_step(node, p, norms)
    (h, cell), y = _over_time(node, x, bool(node.get("time_major", False)), (h, cell), step)
    node.assign(18, h)
    node.assign(19, cell)
    return y


def _lstm_operands(node: Node, rest: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    node.check(len(rest) in (19, 23), f"an LSTM has 20 or 24 inputs, got {len(rest) + 1}")
    norms = [*rest[19:], *[None] * (23 - len(rest))]
    node.check(rest[17] is not None and rest[18] is not None, "the state is missing")
    return rest[:17], rest[17:19], norms


@operator("LSTM")
def lstm(node: Node, x: Any, *rest: Any) -> Any:
    """One moment. The basic kernel (5 inputs: x, h, weights, bias, cell) gives its state as outputs."""
    if node.named("kernel_type", "LSTMKernelType", "FULL") == "BASIC":
        node.check(len(rest) == 4, f"a basic LSTM has 5 inputs, got {len(rest) + 1}")
        h, w, bias, cell = rest
        both = ops.concat([x, h], axis=-1)
        gates = ops.split(_product(both, w) + bias, 4, axis=-1)
        enter, new, forget, leave = gates
        cell = ops.sigmoid(enter) * ops.tanh(new) + ops.sigmoid(forget) * cell
        h = ops.sigmoid(leave) * ops.tanh(cell)
        return h, cell, both, ops.concat(gates, axis=-1)
    p, (h, cell), norms = _lstm_operands(node, rest)
    (h, cell), y = _lstm_step(node, p, norms)((h, cell), x)
    node.assign(18, h)
    node.assign(19, cell)
    return y


@operator("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_sequence_lstm(node: Node, x: Any, *rest: Any) -> Any:
    """Inputs after x: 17 weights forward, 17 backward, the states (h, cell) of both, an auxiliary input and its weights."""
    node.check(len(rest) >= 38, f"a bidirectional LSTM has at least 39 inputs, got {len(rest) + 1}")
    if any(v is not None for v in rest[39:]):
        raise node.unsupported("an auxiliary input with weights of its own")
    aux = rest[38] if len(rest) > 38 else None
    major, none = bool(node.get("time_major", True)), [None] * 4
    fw, forward = _over_time(node, x, major, (rest[34], rest[35]), _lstm_step(node, rest[:17], none))
    source = x if aux is None else aux
    bw, backward = _over_time(node, source, major, (rest[36], rest[37]), _lstm_step(node, rest[17:34], none), True)
    for i, value in enumerate((*fw, *bw)):
        node.assign(35 + i, value)
    return ops.concat([forward, backward], axis=-1) if node.get("merge_outputs", False) else (forward, backward)
