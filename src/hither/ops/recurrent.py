"""Recurrent layers as functions: lstm, gru, rnn over whole sequences, one or both directions.

Weights are laid out as in ONNX. The input's products for all steps are one matrix product; the steps, which depend on each
other, are written out when they are few and become a scan when they are many.

Hochreiter, Schmidhuber: Long Short-Term Memory, 1997. Cho et al.: Learning Phrase Representations using RNN
Encoder-Decoder, 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes as dt
from ..graph.primitives import counter
from . import elementwise as el
from .control import scan
from .creation import zeros
from .indexing import take_along_axis
from .linalg import matmul
from .operands import Like, asarray, converted, promoted, spread
from .shape import flip, reshape, split, stack

State = tuple[Any, ...]
Step = Callable[[State, Any], State]
Activation = Callable[[Any], Any]
_UNROLLED = 16  # steps; more are a scan


def _reversed(x: Any, lengths: Any) -> Any:
    """Each sequence of x [T, B, …] from its end; what lies beyond its length stays."""
    if lengths is None:
        return flip(x, axis=0)
    steps, batch = x.shape[:2]
    position = counter((steps, batch), 0, dt.int32, x)
    last = el.subtract(lengths, 1)
    index = el.where(el.less(position, lengths), el.subtract(last, position), position)
    return take_along_axis(x, spread(reshape(index, (steps, batch, *(1,) * (x.ndim - 2))), x.shape), axis=0)


def _run(step: Step, inputs: Any, state: State, lengths: Any, backwards: bool) -> tuple[Any, State]:
    """Outputs [T, B, H] (the first state at each step, 0 beyond a sequence's length) and the last states."""
    inputs = _reversed(inputs, lengths) if backwards else inputs
    column = None if lengths is None else reshape(lengths, (-1, 1))

    def advance(carry: tuple[Any, State], now: Any) -> tuple[tuple[Any, State], Any]:
        time, old = carry
        new = step(old, now)
        if column is None:
            return (time, new), new[0]
        going = el.less(time, column)
        kept = tuple(el.where(going, a, b) for a, b in zip(new, old, strict=True))
        return (el.add(time, 1), kept), el.where(going, new[0], 0)

    carry: tuple[Any, State] = (asarray(0), state)
    if inputs.shape[0] <= _UNROLLED:
        rows = []
        for t in range(inputs.shape[0]):
            carry, row = advance(carry, inputs[t])
            rows.append(row)
        outputs = stack(rows) if rows else zeros((0, *state[0].shape), dtype=state[0].dtype)
    else:
        carry, outputs = scan(advance, carry, inputs)
    return (_reversed(outputs, lengths) if backwards else outputs), carry[1]


def _layer(
    name: str, gates: int, states: int, make_step: Callable[..., Step], x: Like, w: Like, r: Like, bias: Like | None,
    initial: Sequence[Like | None], lengths: Like | None, direction: str, shared_bias: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """What the three have in common: check shapes, run every direction, stack the results."""
    x, w, r = promoted(x, w, r)
    if x.ndim != 3 or w.ndim != 3 or r.ndim != 3:
        raise ValueError(
            f"{name} takes x [T, B, I], w [D, {gates}H, I], r [D, {gates}H, H], got {x.shape}, {w.shape}, {r.shape}"
        )
    count, hidden = w.shape[0], r.shape[2]
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    if ways is None:
        raise ValueError(f"{name}: direction is forward, reverse or bidirectional, got {direction!r}")
    if len(ways) != count or r.shape[0] != count or w.shape[1:] != (gates * hidden, x.shape[2]) or r.shape[1] != gates * hidden:
        raise ValueError(
            f"{name}: w {w.shape} and r {r.shape} do not fit x {x.shape}, {gates} gates and {len(ways)} directions"
        )
    steps, batch, width = x.shape
    flat = reshape(x, (steps * batch, width))
    extent = None if lengths is None else asarray(lengths, dtype=dt.int32)
    outputs, last = [], []
    for d, backwards in enumerate(ways):
        products = matmul(flat, w[d], transpose_b=True)
        state_bias = None
        if bias is not None:
            input_bias, state_bias = split(converted(asarray(bias), x.dtype)[d], 2)
            products = el.add(products, el.add(input_bias, state_bias) if shared_bias else input_bias)
        start = tuple(
            zeros((batch, hidden), dtype=x.dtype) if s is None else converted(asarray(s), x.dtype)[d] for s in initial
        )
        inputs = reshape(products, (steps, batch, gates * hidden))
        y, ends = _run(make_step(d, r[d], state_bias, hidden), inputs, start, extent, backwards)
        outputs.append(y)
        last.append(ends)
    return stack(outputs, axis=1), *(stack([ends[i] for ends in last]) for i in range(states))


def _clipped(limit: float | None) -> Activation:
    return (lambda v: v) if limit is None else (lambda v: el.clip(v, -limit, limit))


def lstm(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, initial_c: Like | None = None,
    peepholes: Like | None = None, lengths: Like | None = None, direction: str = "forward", clip: float | None = None,
    input_forget: bool = False, activations: tuple[Activation, Activation, Activation] = (el.sigmoid, el.tanh, el.tanh),
) -> tuple[Any, Any, Any]:  # fmt: skip
    """A long short-term memory over sequences.

    Args:
        x: [T, B, I].
        w, r: [D, 4H, I] and [D, 4H, H], gates in the order input, output, forget, cell; D is 2 if bidirectional.
        bias: [D, 8H]: that of w, then that of r.
        initial_h, initial_c: [D, B, H]; 0 if left out.
        peepholes: [D, 3H]: input, output, forget.
        lengths: int [B]: how many steps of each sequence count; outputs beyond are 0.
        clip: limit what enters the activations to ±clip.
        input_forget: forget exactly as much as is let in.
        activations: of the gates, of the new cell content, of the cell's output.

    Returns:
        Outputs [T, D, B, H], and the last h and c, [D, B, H].

    Example:
        >>> import hither as ht
        >>> y, h, c = ht.lstm(ht.ones((5, 2, 3)), ht.ones((1, 16, 3)), ht.ones((1, 16, 4)))
        >>> y.shape, h.shape
        ((5, 1, 2, 4), (1, 2, 4))
    """
    gate, content, output = activations
    limit = _clipped(clip)

    def make_step(d: int, matrix: Any, state_bias: Any, hidden: int) -> Step:
        peep = None if peepholes is None else split(asarray(peepholes)[d], 3)

        def step(state: State, now: Any) -> State:
            h, c = state
            i, o, f, new = split(el.add(now, matmul(h, matrix, transpose_b=True)), 4, axis=1)
            if peep is not None:
                i, f = el.add(i, el.multiply(peep[0], c)), el.add(f, el.multiply(peep[2], c))
            i = gate(limit(i))
            f = el.subtract(1, i) if input_forget else gate(limit(f))
            c = el.add(el.multiply(f, c), el.multiply(i, content(limit(new))))
            if peep is not None:
                o = el.add(o, el.multiply(peep[1], c))
            return el.multiply(gate(limit(o)), output(c)), c

        return step

    y, h, c = _layer("lstm", 4, 2, make_step, x, w, r, bias, (initial_h, initial_c), lengths, direction, True)
    return y, h, c


def gru(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, lengths: Like | None = None,
    direction: str = "forward", clip: float | None = None, linear_before_reset: bool = False,
    activations: tuple[Activation, Activation] = (el.sigmoid, el.tanh),
) -> tuple[Any, Any]:  # fmt: skip
    """A gated recurrent unit over sequences; arguments as for `lstm`, gates in the order update, reset, hidden.

    Args:
        linear_before_reset: reset after the product with r (cuDNN, Keras, PyTorch) instead of before it.

    Returns:
        Outputs [T, D, B, H] and the last h, [D, B, H].
    """
    gate, content = activations
    limit = _clipped(clip)

    def make_step(d: int, matrix: Any, state_bias: Any, hidden: int) -> Step:
        gates_matrix, new_matrix = split(matrix, [2 * hidden, hidden])
        gates_bias, new_bias = (0, 0) if state_bias is None else split(state_bias, [2 * hidden, hidden])

        def step(state: State, now: Any) -> State:
            (h,) = state
            entering, new = split(now, [2 * hidden, hidden], axis=1)
            gates = el.add(el.add(entering, matmul(h, gates_matrix, transpose_b=True)), gates_bias)
            update, reset = (gate(limit(v)) for v in split(gates, 2, axis=1))
            if linear_before_reset:
                inner = el.multiply(reset, el.add(matmul(h, new_matrix, transpose_b=True), new_bias))
            else:
                inner = el.add(matmul(el.multiply(reset, h), new_matrix, transpose_b=True), new_bias)
            fresh = content(limit(el.add(new, inner)))
            return (el.add(el.multiply(el.subtract(1, update), fresh), el.multiply(update, h)),)

        return step

    y, h = _layer("gru", 3, 1, make_step, x, w, r, bias, (initial_h,), lengths, direction, False)
    return y, h


def rnn(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, lengths: Like | None = None,
    direction: str = "forward", clip: float | None = None, activation: Activation = el.tanh,
) -> tuple[Any, Any]:  # fmt: skip
    """A simple recurrent layer, h' = activation(w·x + r·h + bias); arguments as for `lstm`.

    Returns:
        Outputs [T, D, B, H] and the last h, [D, B, H].
    """
    limit = _clipped(clip)

    def make_step(d: int, matrix: Any, state_bias: Any, hidden: int) -> Step:
        return lambda state, now: (activation(limit(el.add(now, matmul(state[0], matrix, transpose_b=True)))),)

    y, h = _layer("rnn", 1, 1, make_step, x, w, r, bias, (initial_h,), lengths, direction, True)
    return y, h


__all__ = [
    "gru", "lstm", "rnn",
]  # fmt: skip
