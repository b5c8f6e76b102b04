"""If, Loop and Scan. What is known while importing is decided then; the rest becomes cond and while_loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....errors import HitherError, LimitExceeded, NeedsValue
from ....graph.core import Abstract
from ....graph.primitives import apply
from ....graph.trace import static_value, trace_function, weight
from ..proto import check_shape
from ..registry import Bounded, Node, operator

UNROLLED_TURNS = 16  # a loop of up to this many turns is written out
MOST_TURNS = 1 << 24  # a loop that cannot end early is refused beyond this: a damaged count would run for ever
MOST_UNROLLED_TURNS = 1024  # …and one of up to this many, if what it carries changes shape


@operator("If")
def if_(node: Node, condition: Any) -> Any:
    importer, scope = node.importer, node.importer.scope
    known = static_value(condition)
    if known is not None:
        chosen = "then_branch" if bool(node.scalar(condition, "the condition")) else "else_branch"
        return importer.run_graph(node.graph(chosen), [], scope)

    def branch(name: str) -> Any:
        return lambda: tuple(_arrays(node, importer.run_graph(node.graph(name), [], scope)))

    try:
        return list(ops.cond(ops.reshape(condition, ()), branch("then_branch"), branch("else_branch")))
    except NeedsValue:
        raise
    except (HitherError, TypeError, ValueError) as error:
        # Branches that differ in shape, or of which one does not fit the given shapes, can still be told apart by value.
        try:
            return importer.need(condition, node.label, "which branch is taken (one cannot be compiled for these shapes)")
        except HitherError as needed:
            raise needed from error


def _arrays(node: Node, values: list[Any]) -> list[Any]:
    for value in values:
        if value is None or isinstance(value, (list, Bounded)):
            raise node.unsupported("a sequence, an optional or data of data-dependent length inside a branch or loop")
    return values


@operator("Loop")
def loop(node: Node, most: Any, condition: Any, *state: Any) -> Any:
    body = node.graph("body")
    node.check(len(body.inputs) == len(state) + 2, f"the body takes {len(body.inputs)} inputs, got {len(state) + 2}")
    node.check(len(body.outputs) > len(state), "the body has too few outputs")
    limit = None if most is None else static_value(most)
    turns = None if limit is None else int(limit.reshape(-1)[0])
    start = np.array(True) if condition is None else static_value(condition)
    if start is not None and not start.all():
        turns = 0
    if turns is not None and turns <= UNROLLED_TURNS and start is not None:
        found = _unrolled(node, turns, state)
        if found is not None:
            return found
    try:
        return _counted(node, most, turns, condition, state)
    except (NeedsValue, LimitExceeded):
        raise
    except (HitherError, TypeError, ValueError) as error:
        if start is not None and (
            turns is None or turns <= MOST_UNROLLED_TURNS or all(static_value(s) is not None for s in state)
        ):
            found = _unrolled(node, turns, state) if most is None or turns is not None else None
            if found is not None:
                return found
        for x in (most, condition):
            if x is not None and static_value(x) is None:
                try:
                    node.importer.need(x, node.label, "the number of turns (what the loop carries changes shape)")
                except HitherError as needed:
                    raise needed from error
        raise


def _unrolled(node: Node, turns: int | None, state: tuple[Any, ...]) -> list[Any] | None:
    """The loop written out turn by turn; None if it turns out to end on a value that is not known."""
    body, importer, scope = node.graph("body"), node.importer, node.importer.scope
    values, rows, keep, i = list(state), [], Array(np.array(True)), 0
    while turns is None or i < turns:
        if i >= MOST_UNROLLED_TURNS and any(static_value(v) is None for v in values if not isinstance(v, (list, Bounded))):
            return None
        results = importer.run_graph(body, [Array(np.array(i, np.int64)), keep, *values], scope)
        values = results[1 : len(state) + 1]
        rows.append(results[len(state) + 1 :])
        i += 1
        keep_known = static_value(results[0])
        if keep_known is None:
            return None
        if not keep_known.all():
            break
        keep = results[0]
    if not rows:
        return [*values, *_no_rows(node, state)]
    return [*values, *(ops.stack(_arrays(node, list(column)), axis=0) for column in zip(*rows))]


def _body_results(node: Node, state: tuple[Any, ...]) -> tuple[list[Abstract], bool]:
    """What one turn gives, and whether it leaves the condition as it is; found by tracing the body once."""
    importer, scope, body = node.importer, node.importer.scope, node.graph("body")
    _arrays(node, list(state))
    abstracts = [Abstract((), dt.int64), Abstract((), dt.bool_), *(Abstract(tuple(s.shape), s.dtype) for s in state)]
    graph, _ = trace_function(lambda *a: _arrays(node, importer.run_graph(body, list(a), scope)), abstracts)
    return [o.abstract for o in graph.outputs], graph.outputs[0] is graph.inputs[1]


def _no_rows(node: Node, state: tuple[Any, ...]) -> list[Any]:
    if len(node.graph("body").outputs) == len(state) + 1:
        return []
    return [Array(np.zeros((0, *a.shape), a.dtype.numpy)) for a in _body_results(node, state)[0][len(state) + 1 :]]


def _counted(node: Node, most: Any, turns: int | None, condition: Any, state: tuple[Any, ...]) -> list[Any]:
    """The loop as a while_loop that carries the turn, the condition, the state and a buffer for each scan output."""
    body, importer, scope = node.graph("body"), node.importer, node.importer.scope
    results, endless = _body_results(node, state)
    rows = results[len(state) + 1 :]
    if endless and turns is not None and turns > MOST_TURNS:
        raise LimitExceeded(f"{node.label}: {turns} turns that nothing ends earlier (at most {MOST_TURNS})")
    if rows and turns is None:
        if most is None:
            raise node.unsupported("collecting results of a loop without a largest number of turns")
        node.static(most, "the largest number of turns (it sizes the collected results)")
    bound = turns
    if rows and bound is not None:
        for row in rows:
            check_shape((bound, *row.shape), row.dtype.itemsize, node.label)
    buffers = tuple(ops.zeros((bound or 0, *a.shape), dtype=a.dtype) for a in rows)
    limit = None if most is None else ops.reshape(most, ())
    keep = Array(np.array(True)) if condition is None else ops.reshape(condition, ())
    # Where everything is known, a short loop is computed at once; a long one is recorded, so that importing always ends.
    first = np.array(0, np.int64)
    long = turns is None or turns > MOST_UNROLLED_TURNS
    carried = (weight(first, "") if long else Array(first), keep, *state, *buffers)

    def going(values: tuple[Any, ...]) -> Any:
        i, keep = values[:2]
        return keep if limit is None else keep & (i < limit)

    def turn(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        i, keep, *values = carry
        results = _arrays(node, importer.run_graph(body, [i, keep, *values[: len(state)]], scope))
        filled = []
        for buffer, row in zip(values[len(state) :], results[len(state) + 1 :]):
            starts = ops.concat(
                [ops.reshape(ops.astype(i, dt.int32), (1,)), ops.zeros((len(row.shape),), dtype=dt.int32)], axis=0
            )
            filled.append(apply("dynamic_update_slice", buffer, ops.expand_dims(row, axis=0), starts))
        return (i + 1, ops.reshape(results[0], ()), *results[1 : len(state) + 1], *filled)

    final = ops.while_loop(going, turn, carried, bound=None if bound is None or bound >= 1 << 31 else bound)
    count, values, collected = final[0], list(final[2 : 2 + len(state)]), final[2 + len(state) :]
    return values + [Bounded(buffer, count, 0) for buffer in collected]


@operator("Scan")
def scan(node: Node, *inputs: Any) -> Any:
    if node.opset < 9:
        return _batched_scan(node, *inputs)
    count = node["num_scan_inputs"]
    node.check(0 < count <= len(inputs), f"{count} scan inputs of {len(inputs)}")
    state, sequences = inputs[: len(inputs) - count], list(inputs[len(inputs) - count :])
    axes = node.get("scan_input_axes") or (0,) * count
    backward = node.get("scan_input_directions") or (0,) * count
    node.check(len(axes) == len(backward) == count, "scan_input_axes or scan_input_directions do not fit")
    for i, (x, axis, back) in enumerate(zip(sequences, axes, backward)):
        x = ops.moveaxis(x, node.axis(axis, len(x.shape)), 0)
        sequences[i] = ops.flip(x, axis=0) if back else x
    values, rows = _scanned(node, state, sequences)
    out_axes = node.get("scan_output_axes") or (0,) * len(rows)
    out_backward = node.get("scan_output_directions") or (0,) * len(rows)
    node.check(len(out_axes) == len(out_backward) == len(rows), "scan_output_axes or scan_output_directions do not fit")
    for i, (x, axis, back) in enumerate(zip(rows, out_axes, out_backward)):
        x = ops.flip(x, axis=0) if back else x
        rows[i] = ops.moveaxis(x, 0, node.axis(axis, len(x.shape)))
    return values + rows


def _scanned(node: Node, state: tuple[Any, ...], sequences: list[Any]) -> tuple[list[Any], list[Any]]:
    """Run the body over the first axis of the sequences: the last state, and the collected rows."""
    body, importer, scope = node.graph("body"), node.importer, node.importer.scope
    _arrays(node, [*state, *sequences])
    length = sequences[0].shape[0]
    node.check(all(x.shape[0] == length for x in sequences), "the scan inputs differ in length")
    node.check(len(body.inputs) == len(state) + len(sequences), "the body's inputs do not fit")

    def turn(values: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        results = _arrays(node, importer.run_graph(body, [*values, *now], scope))
        return tuple(results[: len(state)]), tuple(results[len(state) :])

    values, rows = ops.scan(turn, tuple(state), tuple(sequences))
    return list(values), list(rows)


def _batched_scan(node: Node, lengths: Any, *inputs: Any) -> list[Any]:
    """Scan as opset 8 had it: a leading batch axis everywhere, the scanned axis second."""
    if lengths is not None:
        raise node.unsupported("Scan with sequence lengths (opset 8)")
    count = node["num_scan_inputs"]
    backward = node.get("directions") or (0,) * count
    split = len(inputs) - count
    node.check(split >= 0 and len(backward) == count, "num_scan_inputs or directions do not fit")
    batches = []
    for b in range(inputs[0].shape[0]):
        rows = [x[b] for x in inputs]
        sequences = [ops.flip(x, axis=0) if back else x for x, back in zip(rows[split:], backward)]
        values, collected = _scanned(node, tuple(rows[:split]), sequences)
        batches.append(values + collected)
    node.check(bool(batches), "the batch is empty")
    return [ops.stack(column, axis=0) for column in zip(*batches)]
