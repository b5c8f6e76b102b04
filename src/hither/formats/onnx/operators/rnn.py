"""LSTM, GRU and simple RNN. The input's products are computed for all steps in one matrix product; a scan does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import cast
from .movement import reversed_sequences

UNROLLED_STEPS = 4  # up to this many, the steps are written out

Activation = Callable[[Any], Any]
Step = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]


def _activation(node: Node, name: str, alpha: float | None, beta: float | None) -> Activation:
    """An activation of a recurrent cell, by ONNX's name (case is ignored)."""

    def a(default: float) -> float:
        return default if alpha is None else alpha

    def b(default: float) -> float:
        return default if beta is None else beta

    table: dict[str, Activation] = {
        "sigmoid": lambda x: apply("sigmoid", x),
        "tanh": lambda x: apply("tanh", x),
        "relu": lambda x: ops.maximum(x, 0.0),
        "affine": lambda x: x * a(1.0) + b(0.0),
        "leakyrelu": lambda x: ops.where(x < 0, x * a(0.01), x),
        "thresholdedrelu": lambda x: ops.where(x > a(1.0), x, 0.0),
        "scaledtanh": lambda x: apply("tanh", x * b(1.0)) * a(1.0),
        "hardsigmoid": lambda x: ops.minimum(ops.maximum(x * a(0.2) + b(0.5), 0.0), 1.0),
        "elu": lambda x: ops.where(x < 0, apply("expm1", ops.minimum(x, 0.0)) * a(1.0), x),
        "softsign": lambda x: x / (ops.abs(x) + 1.0),
        "softplus": lambda x: apply("log1p", apply("exp", -ops.abs(x))) + ops.maximum(x, 0.0),
    }
    found = table.get(name.lower())
    node.check(found is not None, f"activation {name!r} is unknown")
    return found  # type: ignore[return-value]


@dataclass
class Recurrence:
    """What the three operators share: directions, layout, lengths, activations, initial states."""

    node: Node
    x: Any  # [T, B, I]
    lengths: Any
    hidden: int
    directions: int
    defaults: tuple[str, ...]

    def activations(self, direction: int) -> list[Activation]:
        names = self.node.get("activations") or self.defaults * self.directions
        count = len(self.defaults)
        self.node.check(
            len(names) >= count * self.directions, f"{len(names)} activations do not fit {self.directions} directions"
        )
        names = names[: count * self.directions]  # RNN's default names both directions' even where there is one
        alphas, betas = (list(self.node.get(k) or ()) for k in ("activation_alpha", "activation_beta"))
        # Only activations that take a parameter consume one, in order.
        found = []
        for name in names:
            lower = name.lower()
            alpha = alphas.pop(0) if alphas and lower in _TAKES_ALPHA else None
            beta = betas.pop(0) if betas and lower in _TAKES_BETA else None
            found.append(_activation(self.node, name, alpha, beta))
        return found[direction * count : (direction + 1) * count]

    def clip(self, x: Any) -> Any:
        limit = self.node.get("clip")
        return x if limit is None else ops.minimum(ops.maximum(x, -limit), limit)

    def run(self, direction: int, inputs: Any, state: tuple[Any, ...], step: Step) -> tuple[Any, tuple[Any, ...]]:
        """Run `step(state, x_t)` over `inputs` [T, B, …]: all states' first arrays [T, B, H], and the last states."""
        backward = direction == 1 or self.node.get("direction") == "reverse"
        if backward:
            inputs = ops.flip(inputs, axis=0) if self.lengths is None else reversed_sequences(inputs, self.lengths, 0, 1)
        count = inputs.shape[0]
        lengths = None if self.lengths is None else ops.reshape(cast(self.lengths, dt.int32), (-1, 1))

        def advance(carry: tuple[Any, ...], now: Any) -> tuple[tuple[Any, ...], Any]:
            if lengths is None:
                after = step(carry, now)
                return after, after[0]
            time, old = carry[0], carry[1:]
            active = time < lengths
            after = tuple(ops.where(active, a, b) for a, b in zip(step(old, now), old))
            return (time + 1, *after), ops.where(active, after[0], 0.0)

        carry = state if lengths is None else (ops.zeros((), dtype=dt.int32), *state)
        if count <= UNROLLED_STEPS:
            rows = []
            for t in range(count):
                carry, row = advance(carry, inputs[t])
                rows.append(row)
            outputs = ops.stack(rows, axis=0) if rows else ops.zeros((0, *state[0].shape), dtype=state[0].dtype)
        else:
            carry, outputs = ops.scan(advance, carry, inputs)
        if backward:
            outputs = ops.flip(outputs, axis=0) if self.lengths is None else reversed_sequences(outputs, self.lengths, 0, 1)
        return outputs, tuple(carry if lengths is None else carry[1:])

    def results(self, outputs: list[Any], *states: list[Any]) -> tuple[Any, ...]:
        """Y and the last states, directions joined, in the node's layout."""
        y = ops.stack(outputs, axis=1)  # [T, D, B, H]
        last = [ops.stack(s, axis=0) for s in states]  # [D, B, H]
        if self.node.get("layout", 0):
            return ops.permute_dims(y, (2, 0, 1, 3)), *[ops.permute_dims(s, (1, 0, 2)) for s in last]
        return y, *last


_TAKES_ALPHA = {"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"}
_TAKES_BETA = {"affine", "scaledtanh", "hardsigmoid"}


def recurrence(node: Node, x: Any, w: Any, r: Any, lengths: Any, gates: int, defaults: tuple[str, ...]) -> Recurrence:
    """Check the operands and bring the input to time-major layout."""
    node.check(len(x.shape) == 3 and len(w.shape) == 3 and len(r.shape) == 3, "X, W and R must have three axes")
    directions, rows, _ = w.shape
    hidden = r.shape[2]
    expected = 2 if node["direction"] == "bidirectional" else 1
    node.check(node["direction"] in ("forward", "reverse", "bidirectional"), f"direction {node['direction']!r} is unknown")
    node.check(
        directions == expected and rows == gates * hidden and tuple(r.shape) == (directions, gates * hidden, hidden),
        f"W {tuple(w.shape)} and R {tuple(r.shape)} do not fit {expected} direction(s) of {gates} gates",
    )
    node.check(node.get("hidden_size", hidden) == hidden, f"hidden_size {node.get('hidden_size')} is not that of R, {hidden}")
    if node.get("layout", 0):
        x = ops.permute_dims(x, (1, 0, 2))
    return Recurrence(node, x, lengths, hidden, directions, defaults)


def initial(cell: Recurrence, state: Any, direction: int) -> Any:
    """The initial state [B, H] of a direction; zeros where it is not given."""
    if state is None:
        return Array(np.zeros((cell.x.shape[1], cell.hidden), cell.x.dtype.numpy))
    return state[:, direction] if cell.node.get("layout", 0) else state[direction]


def _products(cell: Recurrence, w: Any, bias: Any) -> Any:
    """X·Wᵀ + bias for all steps at once: [T, B, gates·H]."""
    t, b, width = cell.x.shape
    result = ops.matmul(ops.reshape(cell.x, (t * b, width)), ops.matrix_transpose(w))
    result = result if bias is None else result + bias
    return ops.reshape(result, (t, b, w.shape[0]))


def _halves(bias: Any, direction: int, size: int) -> tuple[Any, Any]:
    """The input's and the state's part of a direction's bias."""
    return (None, None) if bias is None else (bias[direction, :size], bias[direction, size:])


@operator("LSTM")
def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, p: Any = None
) -> Any:
    cell = recurrence(node, x, w, r, lengths, 4, ("Sigmoid", "Tanh", "Tanh"))
    outputs, hs, cs = [], [], []
    for d in range(cell.directions):
        wb, rb = _halves(b, d, 4 * cell.hidden)
        inputs = _products(cell, w[d], None if wb is None else wb + rb)
        state = (initial(cell, h0, d), initial(cell, c0, d))

        def recur(h: Any, matrix: Any = ops.matrix_transpose(r[d])) -> Any:  # noqa: B008  (bound per direction)
            return ops.matmul(h, matrix)

        step = lstm_step(cell, d, recur, p)
        y, (h, c) = cell.run(d, inputs, state, step)
        outputs.append(y)
        hs.append(h)
        cs.append(c)
    return cell.results(outputs, hs, cs)


def lstm_step(cell: Recurrence, direction: int, recur: Callable[[Any], Any], peephole: Any) -> Step:
    """One step of an LSTM; `recur(h)` is the state's product with the recurrence weights. Gates are in order i, o, f, c."""
    f, g, out = cell.activations(direction)
    n = cell.hidden
    if peephole is not None:
        pi, po, pf = (peephole[direction, i * n : (i + 1) * n] for i in range(3))

    def step(state: tuple[Any, ...], now: Any) -> tuple[Any, ...]:
        h, c = state
        gates = now + recur(h)
        i, o, forget, new = (gates[:, k * n : (k + 1) * n] for k in range(4))
        if peephole is not None:
            i, forget = i + pi * c, forget + pf * c
        i = f(cell.clip(i))
        forget = 1.0 - i if cell.node.get("input_forget", 0) else f(cell.clip(forget))
        c = forget * c + i * g(cell.clip(new))
        if peephole is not None:
            o = o + po * c
        return f(cell.clip(o)) * out(c), c

    return step


@operator("GRU")
def gru(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    cell = recurrence(node, x, w, r, lengths, 3, ("Sigmoid", "Tanh"))
    n, after = cell.hidden, bool(node.get("linear_before_reset", 0))
    outputs, hs = [], []
    for d in range(cell.directions):
        wb, rb = _halves(b, d, 3 * n)
        f, g = cell.activations(d)
        matrix = ops.matrix_transpose(r[d])
        gates_matrix, new_matrix = matrix[:, : 2 * n], matrix[:, 2 * n :]
        gates_bias = None if rb is None else rb[: 2 * n]
        new_bias = None if rb is None else rb[2 * n :]

        def step(
            state: tuple[Any, ...], now: Any, f: Any = f, g: Any = g, gates_matrix: Any = gates_matrix,
            new_matrix: Any = new_matrix, gates_bias: Any = gates_bias, new_bias: Any = new_bias,
        ) -> tuple[Any, ...]:  # fmt: skip
            (h,) = state
            gates = now[:, : 2 * n] + _affine(h, gates_matrix, gates_bias)
            z, reset = f(cell.clip(gates[:, :n])), f(cell.clip(gates[:, n:]))
            if after:
                new = now[:, 2 * n :] + reset * _affine(h, new_matrix, new_bias)
            else:
                new = now[:, 2 * n :] + _affine(reset * h, new_matrix, new_bias)
            new = g(cell.clip(new))
            return ((1.0 - z) * new + z * h,)

        y, (h,) = cell.run(d, _products(cell, w[d], wb), (initial(cell, h0, d),), step)
        outputs.append(y)
        hs.append(h)
    return cell.results(outputs, hs)


def _affine(h: Any, matrix: Any, bias: Any) -> Any:
    product = ops.matmul(h, matrix)
    return product if bias is None else product + bias


@operator("RNN")
def rnn(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    cell = recurrence(node, x, w, r, lengths, 1, ("Tanh",))
    outputs, hs = [], []
    for d in range(cell.directions):
        wb, rb = _halves(b, d, cell.hidden)
        (f,) = cell.activations(d)
        matrix = ops.matrix_transpose(r[d])

        def step(state: tuple[Any, ...], now: Any, f: Any = f, matrix: Any = matrix) -> tuple[Any, ...]:
            return (f(cell.clip(now + ops.matmul(state[0], matrix))),)

        inputs = _products(cell, w[d], None if wb is None else wb + rb)
        y, (h,) = cell.run(d, inputs, (initial(cell, h0, d),), step)
        outputs.append(y)
        hs.append(h)
    return cell.results(outputs, hs)
