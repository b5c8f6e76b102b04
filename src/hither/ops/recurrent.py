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
from . import elementwise as el
from .control import scan
from .creation import zeros
from .indexing import reverse_sequences
from .operands import Like, asarray, converted, promoted
from .products import matmul
from .shape import flip, matrix_transpose, reshape, split, stack

State = tuple[Any, ...]
Step = Callable[[State, Any], State]
Activation = Callable[[Any], Any]
Activations = tuple[Activation, ...] | tuple[tuple[Activation, ...], ...]  # of a cell, or of the cell of each direction
Product = Callable[[Any, int], Any]  # (rows [N, I], direction) → [N, gates · H]
_UNROLLED = 16  # steps; more are a scan


def _reversed(x: Any, lengths: Any) -> Any:
    """Each sequence of x [T, B, …] from its end; what lies beyond its length stays."""
    return flip(x, axis=0) if lengths is None else reverse_sequences(x, lengths)


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


def _ways(name: str, direction: str) -> tuple[bool, ...]:
    """For each direction, whether it runs backwards."""
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    if ways is None:
        raise ValueError(f"{name}: direction is forward, reverse or bidirectional, got {direction!r}")
    return ways


def _operands(name: str, gates: int, x: Like, w: Like, r: Like, direction: str) -> tuple[Any, list[Any], list[Any]]:
    """x, and each direction's matrices [I, gates · H] and [H, gates · H]; ValueError where their shapes do not fit."""
    x, w, r = promoted(x, w, r)
    if x.ndim != 3 or w.ndim != 3 or r.ndim != 3:
        raise ValueError(
            f"{name} takes x [T, B, I], w [D, {gates}H, I], r [D, {gates}H, H], got {x.shape}, {w.shape}, {r.shape}"
        )
    count, hidden = len(_ways(name, direction)), r.shape[2]
    if w.shape != (count, gates * hidden, x.shape[2]) or r.shape != (count, gates * hidden, hidden):
        raise ValueError(f"{name}: w {w.shape} and r {r.shape} do not fit x {x.shape}, {gates} gates and {count} directions")
    # Transposed here, outside the steps: what a scan captures is not packed for its products.
    return x, [matrix_transpose(w[d]) for d in range(count)], [matrix_transpose(r[d]) for d in range(count)]


def _by(matrices: list[Any]) -> Product:
    return lambda v, d: matmul(v, matrices[d])


def _layer(
    name: str, gates: int, make_step: Callable[[int, Any], Step], x: Any, enter: Product, hidden: int, bias: Like | None,
    initial: Sequence[Like | None], lengths: Like | None, direction: str, shared_bias: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """What the three have in common: run every direction, stack the results. One array of `initial` for each state."""
    steps, batch, width = x.shape
    flat = reshape(x, (steps * batch, width))
    extent = None if lengths is None else asarray(lengths, dtype=dt.int32)
    outputs, last = [], []
    for d, backwards in enumerate(_ways(name, direction)):
        products = enter(flat, d)
        state_bias = None
        if bias is not None:
            input_bias, state_bias = split(converted(asarray(bias), x.dtype)[d], 2)
            products = el.add(products, el.add(input_bias, state_bias) if shared_bias else input_bias)
        start = tuple(
            zeros((batch, hidden), dtype=x.dtype) if s is None else converted(asarray(s), x.dtype)[d] for s in initial
        )
        inputs = reshape(products, (steps, batch, gates * hidden))
        y, ends = _run(make_step(d, state_bias), inputs, start, extent, backwards)
        outputs.append(y)
        last.append(ends)
    return stack(outputs, axis=1), *(stack([ends[i] for ends in last]) for i in range(len(initial)))


def _clipped(limit: float | None) -> Activation:
    return (lambda v: v) if limit is None else (lambda v: el.clip(v, -limit, limit))


def _of_direction(activations: Activations, d: int) -> tuple[Activation, ...]:
    """The activations of a direction, where they are the same for all or given for each."""
    own = activations[d]
    return own if isinstance(own, tuple) else activations  # type: ignore[return-value]


def lstm(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, initial_c: Like | None = None,
    peepholes: Like | None = None, lengths: Like | None = None, direction: str = "forward", clip: float | None = None,
    input_forget: bool = False, activations: Activations = (el.sigmoid, el.tanh, el.tanh),
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
        activations: of the gates, of the new cell content, of the cell's output; or one such tuple for each direction.

    Returns:
        Outputs [T, D, B, H], and the last h and c, [D, B, H].

    Example:
        >>> import hither as ht
        >>> y, h, c = ht.lstm(ht.ones((5, 2, 3)), ht.ones((1, 16, 3)), ht.ones((1, 16, 4)))
        >>> y.shape, h.shape
        ((5, 1, 2, 4), (1, 2, 4))
    """
    x, own, recurrent = _operands("lstm", 4, x, w, r, direction)
    return lstm_by_products(
        x, _by(own), _by(recurrent), recurrent[0].shape[0], bias, initial_h=initial_h, initial_c=initial_c, peepholes=peepholes,
        lengths=lengths, direction=direction, clip=clip, input_forget=input_forget, activations=activations,
    )  # fmt: skip


def lstm_by_products(
    x: Any, enter: Product, recur: Product, hidden: int, bias: Like | None = None, /, *, initial_h: Like | None = None,
    initial_c: Like | None = None, peepholes: Like | None = None, lengths: Like | None = None, direction: str = "forward",
    clip: float | None = None, input_forget: bool = False, activations: Activations = (el.sigmoid, el.tanh, el.tanh),
) -> tuple[Any, Any, Any]:  # fmt: skip
    """`lstm` with its two products as functions, for weights that are stored in other ways (quantised, say).

    Args:
        enter: the product of the input's rows with w of a direction.
        recur: the product of the state with r of a direction.
        hidden: H.
    """
    limit = _clipped(clip)

    def make_step(d: int, state_bias: Any) -> Step:
        peep = None if peepholes is None else split(asarray(peepholes)[d], 3)
        gate, content, output = _of_direction(activations, d)

        def step(state: State, now: Any) -> State:
            h, c = state
            i, o, f, new = split(el.add(now, recur(h, d)), 4, axis=1)
            if peep is not None:
                i, f = el.add(i, el.multiply(peep[0], c)), el.add(f, el.multiply(peep[2], c))
            i = gate(limit(i))
            f = el.subtract(1, i) if input_forget else gate(limit(f))
            c = el.add(el.multiply(f, c), el.multiply(i, content(limit(new))))
            if peep is not None:
                o = el.add(o, el.multiply(peep[1], c))
            return el.multiply(gate(limit(o)), output(c)), c

        return step

    y, h, c = _layer("lstm", 4, make_step, x, enter, hidden, bias, (initial_h, initial_c), lengths, direction, True)
    return y, h, c


def gru(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, lengths: Like | None = None,
    direction: str = "forward", clip: float | None = None, linear_before_reset: bool = False,
    activations: Activations = (el.sigmoid, el.tanh),
) -> tuple[Any, Any]:  # fmt: skip
    """A gated recurrent unit over sequences; arguments as for `lstm`, gates in the order update, reset, hidden.

    Args:
        linear_before_reset: reset after the product with r (cuDNN, Keras, PyTorch) instead of before it.
        activations: of the gates and of the new state; or one such pair for each direction.

    Returns:
        Outputs [T, D, B, H] and the last h, [D, B, H].
    """
    x, own, recurrent = _operands("gru", 3, x, w, r, direction)
    hidden, limit = recurrent[0].shape[0], _clipped(clip)

    def make_step(d: int, state_bias: Any) -> Step:
        gate, content = _of_direction(activations, d)
        gates_matrix, new_matrix = split(recurrent[d], [2 * hidden, hidden], axis=1)
        gates_bias, new_bias = (0, 0) if state_bias is None else split(state_bias, [2 * hidden, hidden])

        def step(state: State, now: Any) -> State:
            (h,) = state
            entering, new = split(now, [2 * hidden, hidden], axis=1)
            gates = el.add(el.add(entering, matmul(h, gates_matrix)), gates_bias)
            update, reset = (gate(limit(v)) for v in split(gates, 2, axis=1))
            if linear_before_reset:
                inner = el.multiply(reset, el.add(matmul(h, new_matrix), new_bias))
            else:
                inner = el.add(matmul(el.multiply(reset, h), new_matrix), new_bias)
            fresh = content(limit(el.add(new, inner)))
            return (el.add(el.multiply(el.subtract(1, update), fresh), el.multiply(update, h)),)

        return step

    y, h = _layer("gru", 3, make_step, x, _by(own), hidden, bias, (initial_h,), lengths, direction, False)
    return y, h


def rnn(
    x: Like, w: Like, r: Like, bias: Like | None = None, /, *, initial_h: Like | None = None, lengths: Like | None = None,
    direction: str = "forward", clip: float | None = None, activation: Activation | tuple[Activation, ...] = el.tanh,
) -> tuple[Any, Any]:  # fmt: skip
    """A simple recurrent layer, h' = activation(w·x + r·h + bias); arguments as for `lstm`.

    Args:
        activation: one function, or one for each direction.

    Returns:
        Outputs [T, D, B, H] and the last h, [D, B, H].
    """
    x, own, recurrent = _operands("rnn", 1, x, w, r, direction)
    limit, recur = _clipped(clip), _by(recurrent)

    def make_step(d: int, state_bias: Any) -> Step:
        function = activation[d] if isinstance(activation, tuple) else activation
        return lambda state, now: (function(limit(el.add(now, recur(state[0], d)))),)

    y, h = _layer("rnn", 1, make_step, x, _by(own), recurrent[0].shape[0], bias, (initial_h,), lengths, direction, True)
    return y, h


__all__ = [
    "gru", "lstm", "lstm_by_products", "rnn",
]  # fmt: skip
