"""Control flow that depends on values: cond, while_loop, fori_loop, scan.

On concrete values they are Python's own if and for. While tracing, what depends on traced values becomes a cond or
while_loop of the Graph; traced values that a branch or body closes over become operands of it. Values may be nested tuples,
lists and dicts of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import dtypes as dt
from ..graph.core import Abstract, Graph, Value
from ..graph.pullback import pullback
from ..graph.trace import Tracer, call_graph, static_value, trace_function
from ..graph.tree import Structure, flatten, unflatten
from . import elementwise as el
from .creation import zeros
from .indexing import dynamic_slice, dynamic_update_slice
from .operands import Like, apply, asarray, is_traced
from .shape import concat, expand_dims, reshape, stack


def _leaves(value: Any) -> tuple[list[Any], Structure]:
    leaves, structure = flatten(value)
    return [asarray(leaf) for leaf in leaves], structure


def _abstract(x: Any) -> Abstract:
    return Abstract(tuple(x.shape), x.dtype)


def _flat(function: Callable[..., Any], structure: Structure, results: list[Structure]) -> Callable[..., Sequence[Any]]:
    """`function(*structured)` as a function of and to flat leaves; appends the structure of what it gave to `results`."""

    def flat(*leaves: Any) -> Sequence[Any]:
        made, given = _leaves(function(*unflatten(structure, leaves)))
        results.append(given)
        return made

    return flat


def _share_captured(traced: list[tuple[Graph, tuple[Tracer, ...]]], own: int) -> tuple[list[Graph], list[Tracer]]:
    """Graphs that captured different outer values, as Graphs that all take the same ones after their `own` inputs."""
    captured: dict[tuple[int, Value], Tracer] = {}
    for _, outer in traced:
        captured.update({(id(t.trace), t.value): t for t in outer})
    made = []
    for graph, outer in traced:
        known = {(id(t.trace), t.value): v for t, v in zip(outer, graph.inputs[own:], strict=True)}
        extra = tuple(known.get(key) or Value(t.value.abstract) for key, t in captured.items())
        made.append(replace(graph, inputs=graph.inputs[:own] + extra, input_names=()))
    return made, list(captured.values())


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def cond(pred: Like, then: Callable[..., Any], otherwise: Callable[..., Any], /, *operands: Any) -> Any:
    """`then(*operands)` if pred is true, else `otherwise(*operands)`. Both must give the same structure, shapes and dtypes.

    Args:
        pred: one bool (or number: not zero).

    Example:
        >>> import hither as ht
        >>> ht.cond(ht.asarray(True), lambda x: x + 1, lambda x: x - 1, 5)
        Array(6, dtype=int32)
    """
    flag = el.truth(pred)
    if flag.size != 1:
        raise ValueError(f"cond takes one bool, got shape {flag.shape}; use hither.where to choose elementwise")
    known = static_value(flag)
    leaves, structure = _leaves(operands)
    if known is not None:
        return (then if known.reshape(()) else otherwise)(*unflatten(structure, leaves))
    abstracts = [_abstract(leaf) for leaf in leaves]
    results: list[Structure] = []
    traced = [
        trace_function(_flat(branch, structure, results), abstracts, name=name)
        for name, branch in (("then", then), ("otherwise", otherwise))
    ]
    if results[0] != results[1]:
        raise TypeError(f"cond: the branches give different structures: {results[0]} and {results[1]}")
    (yes, no), captured = _share_captured(traced, len(leaves))
    made = apply("cond", reshape(flag, ()), *leaves, *captured, then=yes, otherwise=no) if yes.outputs else ()
    return unflatten(results[0], _tuple(made))


def while_loop(condition: Callable[[Any], Like], body: Callable[[Any], Any], init: Any, /, *, bound: int | None = None) -> Any:
    """Apply `body` to a value, starting from `init`, while `condition` of it holds.

    Args:
        condition: value → one bool.
        body: value → the next value, of the same structure, shapes and dtypes.
        bound: at most so many turns, where that is known: WebGPU needs it to run without asking the host each turn.

    Example:
        >>> import hither as ht
        >>> ht.while_loop(lambda n: n < 100, lambda n: n * 2, 3)
        Array(192, dtype=int32)
    """
    leaves, structure = _leaves(init)
    turns = 0
    while not is_traced(*leaves):
        known = static_value(el.truth(condition(unflatten(structure, leaves))))
        if known is None:  # the condition closes over traced values
            break
        if not known or (bound is not None and turns >= bound):
            return unflatten(structure, leaves)
        leaves, given = _leaves(body(unflatten(structure, leaves)))
        turns += 1
        if given != structure:
            raise TypeError(f"while_loop: the body takes {structure} and gives {given}")
    return _staged_while(condition, body, leaves, structure, None if bound is None else bound - turns)


def _staged_while(
    condition: Callable[[Any], Like], body: Callable[[Any], Any], leaves: list[Any], structure: Structure, bound: int | None
) -> Any:
    one = Structure(tuple, (), (structure,))
    abstracts = [_abstract(leaf) for leaf in leaves]
    results: list[Structure] = []

    def test(*values: Any) -> Sequence[Any]:
        return (reshape(el.truth(condition(unflatten(structure, values))), ()),)

    traced = [
        trace_function(test, abstracts, name="condition"),
        trace_function(_flat(body, one, results), abstracts, name="body"),
    ]
    if results[0] != structure:
        raise TypeError(f"while_loop: the body takes {structure} and gives {results[0]}")
    (check, step), captured = _share_captured(traced, len(leaves))
    made = apply("while_loop", *leaves, *captured, condition=check, body=step, carried=len(leaves), bound=bound)
    return unflatten(structure, _tuple(made))


def fori_loop(lower: Like, upper: Like, body: Callable[[Any, Any], Any], init: Any, /) -> Any:
    """value = body(i, value) for i = lower … upper-1, starting from `init`.

    Example:
        >>> import hither as ht
        >>> ht.fori_loop(0, 5, lambda i, total: total + i, 0)
        Array(10, dtype=int32)
    """
    start, stop = asarray(lower, dtype=dt.int32), asarray(upper, dtype=dt.int32)
    first, last = static_value(start), static_value(stop)
    bound = None if first is None or last is None else max(int(last) - int(first), 0)
    return while_loop(
        lambda carry: el.less(carry[0], stop), lambda carry: (carry[0] + 1, body(*carry)), (start, init), bound=bound
    )[1]


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, /, *, length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """carry, y = function(carry, x) over the leading axis of xs; gives the last carry and all y stacked.

    Args:
        xs: arrays with a common leading extent, or None with `length`.
        reverse: from the end; y are stacked at the positions of their x.

    Example:
        >>> import hither as ht
        >>> ht.scan(lambda total, x: (total + x, total + x), 0, ht.arange(4))[1]
        Array([0, 1, 3, 6], dtype=int32)
    """
    carry, carry_structure = _leaves(init)
    items, item_structure = _leaves(xs)
    extents = {x.shape[0] if x.ndim else None for x in items} | (set() if length is None else {length})
    if len(extents) != 1 or None in extents:
        raise ValueError(f"scan takes arrays with one common leading extent, or length; got extents {extents or 'none'}")
    count = int(extents.pop() or 0)
    if count and not is_traced(*carry, *items):
        made = _scan_now(function, carry, carry_structure, items, item_structure, count, reverse)
        if made is not None:
            return made
    return _scan_staged(function, carry, carry_structure, items, item_structure, count, reverse)


def _scan_now(
    function: Callable[..., Any], carry: list[Any], carry_structure: Structure, items: list[Any],
    item_structure: Structure, count: int, reverse: bool,
) -> tuple[Any, Any] | None:  # fmt: skip
    """A Python loop over concrete values; None as soon as the function turns out to give traced ones."""
    state, rows = unflatten(carry_structure, carry), []
    for i in reversed(range(count)) if reverse else range(count):
        state, y = function(state, unflatten(item_structure, [x[i] for x in items]))
        leaves, structure = _leaves(y)
        if is_traced(*_leaves(state)[0], *leaves):
            return None
        rows.append(leaves)
    if reverse:
        rows.reverse()
    state_leaves, state_structure = _leaves(state)
    return unflatten(state_structure, state_leaves), unflatten(structure, [stack(column) for column in zip(*rows)])


def _scan_staged(
    function: Callable[..., Any], carry: list[Any], carry_structure: Structure, items: list[Any],
    item_structure: Structure, count: int, reverse: bool,
) -> tuple[Any, Any]:  # fmt: skip
    results: list[Structure] = []
    step, captured = trace_function(
        _flat(function, Structure(tuple, (), (carry_structure, item_structure)), results),
        [_abstract(c) for c in carry] + [Abstract(tuple(x.shape[1:]), x.dtype) for x in items],
        name="step",
    )
    pair = results[0]
    if pair.kind is not tuple or len(pair.parts) != 2 or pair.parts[0] != carry_structure:
        raise TypeError(f"scan: the function gives (carry, y) with the structure of its carry {carry_structure}, got {pair}")
    n, m = len(carry), len(items)
    buffers = [zeros((count, *v.shape), dtype=v.dtype) for v in step.outputs[n:]]
    if not count:  # no row to slice
        return unflatten(carry_structure, carry), unflatten(pair.parts[1], buffers)

    def turn(values: list[Any]) -> list[Any]:
        i, state = values[0], values[1 : 1 + n]
        rows, outer = values[1 + n : 1 + n + len(buffers)], values[1 + n + len(buffers) :]
        at = el.subtract(count - 1, i) if reverse else i
        picked = [reshape(dynamic_slice(x, _leading(at, x.ndim), (1, *x.shape[1:])), x.shape[1:]) for x in outer[:m]]
        made = call_graph(step, *state, *picked, *outer[m:])
        rows = [dynamic_update_slice(b, expand_dims(y, axis=0), _leading(at, b.ndim)) for b, y in zip(rows, made[n:])]
        return [el.add(i, 1), *made[:n], *rows, *outer]

    init = [asarray(0), *carry, *buffers, *items, *captured]
    constant = init[1 + n + len(buffers) :]
    varying = init[: 1 + n + len(buffers)]

    def backward(cotangents: Sequence[Any], operands: Sequence[Any]) -> tuple[Any, ...]:
        state, outer = operands[1 : 1 + n], operands[len(varying) :]
        to_state, to_outer = _scan_back(step, state, outer[:m], outer[m:], cotangents[1:], count, reverse)
        return (None, *to_state, *(None for _ in buffers), *to_outer)

    leaves = _counted_loop(turn, varying, constant, count, backward)
    return unflatten(carry_structure, leaves[1 : 1 + n]), unflatten(pair.parts[1], leaves[1 + n :])


def _scan_back(
    step: Graph, state: Sequence[Any], items: Sequence[Any], captured: Sequence[Any], cotangents: Sequence[Any], count: int,
    reverse: bool,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Cotangents of what a scan began with, and of its items and what its function captured, from those of its results.

    The scan is run again to keep each turn's carry; then another scan goes back through the turns with the step's pullback. The
    rows are no part of what is carried, so memory and time grow with their number, not with its square.
    """
    n, m = len(state), len(items)
    live = [k for k in range(n, len(cotangents)) if cotangents[k] is not None]
    wanted = [[i for i, v in enumerate(part) if v.dtype.kind in "fc"] for part in (state, items, captured)]

    def forward(now: tuple[Any, ...], x: tuple[Any, ...]) -> Any:
        return tuple(call_graph(step, *now, *x, *captured)[:n]), now

    def back(carry: Any, row: Any) -> Any:
        given = dict(zip(wanted[0], carry[0])) | dict(zip(live, row[2]))
        inputs = [*row[0], *row[1], *captured]
        made = pullback(step, inputs, [given.get(k) for k in range(len(cotangents))])
        found = [zeros(v.shape, dtype=v.dtype) if g is None else g for g, v in zip(made, inputs)]
        sums = tuple(el.add(s, found[n + m + i]) for s, i in zip(carry[1], wanted[2]))
        return (tuple(found[i] for i in wanted[0]), sums), tuple(found[n + i] for i in wanted[1])

    _, kept = scan(forward, tuple(state), tuple(items), length=count, reverse=reverse)
    last = tuple(zeros(state[i].shape, dtype=state[i].dtype) if cotangents[i] is None else cotangents[i] for i in wanted[0])
    start = last, tuple(zeros(captured[i].shape, dtype=captured[i].dtype) for i in wanted[2])
    rows = kept, tuple(items), tuple(cotangents[k] for k in live)
    (first, sums), to_items = scan(back, start, rows, length=count, reverse=not reverse)
    found = [dict(zip(part, values)) for part, values in zip(wanted, (first, to_items, sums))]
    return [found[0].get(i) for i in range(n)], [*(found[1].get(i) for i in range(m)), *map(found[2].get, range(len(captured)))]


def _leading(i: Any, rank: int) -> Any:
    """A start vector: i along the first axis, 0 along the others."""
    first = expand_dims(asarray(i, dtype=dt.int32))
    return concat([first, zeros((rank - 1,), dtype=dt.int32)]) if rank > 1 else first


def _counted_loop(
    turn: Callable[[list[Any]], list[Any]], varying: list[Any], constant: list[Any], count: int, backward: Callable[..., Any]
) -> list[Any]:
    """`turn` applied `count` times; values in `constant` are operands of the loop but not carried by it.

    `backward` is the loop's rule for gradients.
    """
    abstracts = [_abstract(v) for v in (*varying, *constant)]
    carried = len(varying)
    check, _ = trace_function(lambda *values: (el.less(values[0], count),), abstracts, name="condition")
    body, captured = trace_function(lambda *values: turn(list(values))[:carried], abstracts, name="body")
    if captured:
        raise AssertionError("a scan body closes over nothing: what its function captured are its operands")
    graphs = {"condition": check, "body": body}
    return list(_tuple(apply("while_loop", *varying, *constant, **graphs, carried=carried, bound=count, backward=backward)))


__all__ = [
    "cond", "fori_loop", "scan", "while_loop",
]  # fmt: skip
