"""cond and while_loop: control flow that depends on values. Their bodies are closed Graphs; closures arrive as operands.

They become steps of a Program, not kernels. The public functions over them, which also take Python functions, are in
hither.ops.control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...array import Array
from ..core import Abstract, Graph, evaluate
from ..primitive import Control, primitive
from ..pullback import pullback
from ..trace import call_graph, trace_function
from .batch_rules import batch_cond, batch_while
from .call import Backward
from .rules import apply, full, scalar

_FLAG = Abstract((), dt.bool_)


def _describe(abstracts: tuple[Abstract, ...]) -> str:
    return "(" + ", ".join(map(str, abstracts)) + ")"


def _signature(graph: Graph) -> tuple[Abstract, ...]:
    return tuple(v.abstract for v in graph.inputs)


def _results(graph: Graph) -> tuple[Abstract, ...]:
    return tuple(v.abstract for v in graph.outputs)


def _closed(function: Callable[..., Sequence[Any]], like: Sequence[Any], name: str) -> Graph:
    """A function of values like these as a Graph; everything it uses must be among its arguments."""
    graph, captured = trace_function(function, [Abstract(tuple(x.shape), x.dtype) for x in like], name=name)
    if captured:
        raise AssertionError(f"{name} closes over {captured}")
    return graph


def _floats(values: Sequence[Any]) -> list[int]:
    """Which of the values can have cotangents."""
    return [i for i, v in enumerate(values) if v.dtype.kind in "fc"]


def _tuple(made: Any) -> tuple[Any, ...]:
    return made if isinstance(made, tuple) else (made,)


# -- cond ------------------------------------------------------------------------------------------------------------------


def _cond_abstract(flag: Abstract, *operands: Abstract, then: Graph, otherwise: Graph) -> tuple[Abstract, ...]:
    if flag != _FLAG:
        raise TypeError(f"cond takes a 0-d bool first, got {flag}")
    for which, graph in (("then", then), ("otherwise", otherwise)):
        if _signature(graph) != operands:
            raise TypeError(f"cond: {which} takes {_describe(_signature(graph))}, got {_describe(operands)}")
    if _results(then) != _results(otherwise):
        raise TypeError(f"cond: the branches differ: {_describe(_results(then))} and {_describe(_results(otherwise))}")
    return _results(then)


def _cond(flag: np.ndarray, *operands: np.ndarray, then: Graph, otherwise: Graph) -> tuple[np.ndarray, ...]:
    return evaluate(then if flag else otherwise, *operands)


def _cond_vjp(
    cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...], then: Graph, otherwise: Graph
) -> tuple[Any, ...]:
    """A cond of the branches' pullbacks."""
    flag, *values = operands
    wanted = _floats(values)
    live = [i for i, g in enumerate(cotangents) if g is not None]
    given = [cotangents[i] for i in live]

    def backward(graph: Graph) -> Graph:
        def run(*arguments: Any) -> list[Any]:
            inputs, cts = arguments[: len(values)], dict(zip(live, arguments[len(values) :], strict=True))
            made = pullback(graph, inputs, [cts.get(i) for i in range(len(cotangents))])
            return [full(0, inputs[i]) if made[i] is None else made[i] for i in wanted]

        return _closed(run, [*values, *given], f"{graph.name}_pullback")

    if not wanted:
        return (None,) * len(operands)
    made = apply("cond", flag, *values, *given, then=backward(then), otherwise=backward(otherwise))
    found = dict(zip(wanted, _tuple(made), strict=True))
    return (None, *(found.get(i) for i in range(len(values))))


primitive("cond", abstract=_cond_abstract, evaluate=_cond, batch=batch_cond, lowering=Control("cond"), vjp=_cond_vjp)


# -- while_loop ------------------------------------------------------------------------------------------------------------


def _while_abstract(
    *operands: Abstract, condition: Graph, body: Graph, carried: int, bound: int | None = None, backward: Backward | None = None
) -> tuple[Abstract, ...]:
    for which, graph in (("condition", condition), ("body", body)):
        if _signature(graph) != operands:
            raise TypeError(f"while_loop: the {which} takes {_describe(_signature(graph))}, got {_describe(operands)}")
    if _results(condition) != (_FLAG,):
        raise TypeError(f"while_loop: the condition gives one 0-d bool, got {_describe(_results(condition))}")
    if _results(body) != operands[:carried]:
        raise TypeError(
            f"while_loop: the body gives what it carries, {_describe(operands[:carried])}, got {_describe(_results(body))}; "
            "shapes and dtypes may not change from turn to turn"
        )
    if bound is not None and bound < 0:
        raise ValueError(f"while_loop: bound is the largest number of turns, got {bound}")
    return operands[:carried]


def _while(
    *operands: np.ndarray, condition: Graph, body: Graph, carried: int, bound: int | None = None,
    backward: Backward | None = None,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    state, rest = operands[:carried], operands[carried:]
    turns = 0
    while (bound is None or turns < bound) and bool(evaluate(condition, *state, *rest)[0]):
        state = evaluate(body, *state, *rest)
        turns += 1
    return tuple(state)


def _at(i: Any, rank: int) -> Any:
    """A start vector that picks row i of a buffer of this rank."""
    first = apply("reshape", i, shape=(1,))
    return apply("pad", first, low=(0,), high=(rank - 1,), value=0) if rank > 1 else first


def _row(buffer: Any, i: Any) -> Any:
    shape = tuple(buffer.shape)
    made = apply("dynamic_slice", buffer, _at(i, len(shape)), sizes=(1, *shape[1:]))
    return apply("reshape", made, shape=shape[1:])


def _with_row(buffer: Any, i: Any, value: Any) -> Any:
    row = apply("reshape", value, shape=(1, *value.shape))
    return apply("dynamic_update_slice", buffer, row, _at(i, len(buffer.shape)))


def _replay(state: Sequence[Any], constants: Sequence[Any], condition: Graph, body: Graph, bound: int) -> tuple[Any, list[Any]]:
    """Run the loop again, keeping what it carried into each turn: the number of turns, and a buffer per carried value."""
    n = len(state)
    buffers = [full(0, v, shape=(bound, *v.shape)) for v in state]
    start = scalar(0, dt.int32)

    def check(*values: Any) -> tuple[Any, ...]:
        return call_graph(condition, *values[1 : 1 + n], *values[1 + 2 * n :])

    def turn(*values: Any) -> list[Any]:
        i, now, kept, rest = values[0], values[1 : 1 + n], values[1 + n : 1 + 2 * n], values[1 + 2 * n :]
        saved = [_with_row(b, i, v) for b, v in zip(kept, now, strict=True)]
        return [apply("add", i, full(1, i)), *call_graph(body, *now, *rest), *saved]

    carried = [Array(start), *state, *buffers]
    graphs = {
        "condition": _closed(check, [*carried, *constants], "replay"),
        "body": _closed(turn, [*carried, *constants], "turn"),
    }
    turns, *rest = _tuple(apply("while_loop", *carried, *constants, **graphs, carried=len(carried), bound=bound))
    return turns, list(rest[n:])


def _while_vjp(
    cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...], condition: Graph, body: Graph,
    carried: int, bound: int | None = None, backward: Backward | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """By the rule of who made the loop and knows more of it; else replay the loop with what each turn started from kept, then
    walk back through the turns with the body's pullback."""
    if backward is not None:
        return backward(cotangents, operands)
    if bound is None:
        raise TypeError(
            "a while_loop without a bound has no gradient, since what its turns started from must be kept; "
            "give while_loop(…, bound=the largest number of turns), or use scan or fori_loop over a known range"
        )
    state, constants = operands[:carried], operands[carried:]
    varying, fixed = _floats(state), _floats(constants)
    if bound == 0 or not varying:
        return (*cotangents, *(None for _ in constants))
    turns, buffers = _replay(state, constants, condition, body, bound)
    running = [full(0, results[i]) if cotangents[i] is None else cotangents[i] for i in varying]
    totals = [full(0, constants[i]) for i in fixed]
    v, f = len(varying), len(fixed)

    def check(*values: Any) -> tuple[Any]:
        return (apply("lt", full(0, values[0]), values[0]),)

    def turn(*values: Any) -> list[Any]:
        i = apply("sub", values[0], full(1, values[0]))
        cts, sums = values[1 : 1 + v], values[1 + v : 1 + v + f]
        kept, rest = values[1 + v + f : 1 + v + f + carried], values[1 + v + f + carried :]
        inputs = [*(_row(b, i) for b in kept), *rest]
        given = dict(zip(varying, cts, strict=True))
        made = pullback(body, inputs, [given.get(j) for j in range(carried)])
        before = [full(0, inputs[j]) if made[j] is None else made[j] for j in varying]
        found = [made[carried + j] for j in fixed]
        return [i, *before, *(s if g is None else apply("add", s, g) for s, g in zip(sums, found, strict=True))]

    walked, rest = [turns, *running, *totals], [*buffers, *constants]
    graphs = {"condition": _closed(check, [*walked, *rest], "unfinished"), "body": _closed(turn, [*walked, *rest], "turn_back")}
    _, *made = _tuple(apply("while_loop", *walked, *rest, **graphs, carried=len(walked), bound=bound))
    to_state, to_constants = dict(zip(varying, made[:v], strict=True)), dict(zip(fixed, made[v:], strict=True))
    return (*(to_state.get(i) for i in range(carried)), *(to_constants.get(i) for i in range(len(constants))))


primitive("while_loop", abstract=_while_abstract, evaluate=_while, batch=batch_while, lowering=Control("while"), vjp=_while_vjp)
