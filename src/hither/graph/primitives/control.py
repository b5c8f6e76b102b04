"""cond and while_loop: control flow that depends on values. Their bodies are closed Graphs; closures arrive as operands.

They become steps of a Program, not kernels. The public functions over them, which also take Python functions, are in
hither.ops.control.
"""

from __future__ import annotations

import numpy as np

from ... import dtypes as dt
from ..core import Abstract, Graph, evaluate
from ..primitive import Control, primitive

_FLAG = Abstract((), dt.bool_)


def _describe(abstracts: tuple[Abstract, ...]) -> str:
    return "(" + ", ".join(map(str, abstracts)) + ")"


def _signature(graph: Graph) -> tuple[Abstract, ...]:
    return tuple(v.abstract for v in graph.inputs)


def _results(graph: Graph) -> tuple[Abstract, ...]:
    return tuple(v.abstract for v in graph.outputs)


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


primitive("cond", abstract=_cond_abstract, evaluate=_cond, lowering=Control("cond"))


# -- while_loop ------------------------------------------------------------------------------------------------------------


def _while_abstract(
    *operands: Abstract, condition: Graph, body: Graph, carried: int, bound: int | None = None
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
    *operands: np.ndarray, condition: Graph, body: Graph, carried: int, bound: int | None = None
) -> tuple[np.ndarray, ...]:
    state, rest = operands[:carried], operands[carried:]
    turns = 0
    while (bound is None or turns < bound) and bool(evaluate(condition, *state, *rest)[0]):
        state = evaluate(body, *state, *rest)
        turns += 1
    return tuple(state)


primitive("while_loop", abstract=_while_abstract, evaluate=_while, lowering=Control("while"))
