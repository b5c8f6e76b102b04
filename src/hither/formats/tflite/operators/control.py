"""Subgraphs that call others, and variables. What is known while importing is decided then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import ops
from ....errors import HitherError, LimitExceeded, NeedsValue, UnsupportedFeature
from ....graph.trace import is_tracing, static_value, weight
from ....model import BoundedOutput
from ..registry import Handle, Node, operator

MOST_COMPUTED_TURNS = 1024  # of a loop that depends on no input; a longer one is recorded, so that importing ends
EVERYTHING = (Handle, BoundedOutput)


@operator("CALL", "STABLEHLO_COMPOSITE", stored=True, accepts=EVERYTHING)
def call(node: Node, *xs: Any) -> Any:
    index = node.get("subgraph" if node.op_type == "CALL" else "decomposition_subgraph_index")
    node.check(isinstance(index, int) and 0 <= index < len(node.importer.model.subgraphs), f"there is no subgraph {index}")
    return node.importer.run_subgraph(int(index), list(xs))


@operator("IF", stored=True, accepts=EVERYTHING)
def if_(node: Node, condition: Any, *xs: Any) -> Any:
    importer = node.importer
    indices = {True: int(node["then_subgraph_index"]), False: int(node["else_subgraph_index"])}
    known = static_value(condition)
    if known is not None:
        return importer.run_subgraph(indices[bool(node.scalar(condition, "the condition"))], list(xs))
    before = dict(importer.variables)

    def branch(index: int) -> Any:
        def run() -> Any:
            importer.variables = dict(before)
            results = importer.run_subgraph(index, list(xs))
            return tuple(_arrays(node, results)), dict(importer.variables)

        return run

    try:
        results, after = ops.cond(ops.reshape(condition, ()), branch(indices[True]), branch(indices[False]))
    except NeedsValue:
        raise
    except (HitherError, TypeError, ValueError) as error:
        # Branches of different shapes can still be told apart by value.
        try:
            return importer.need(condition, node.label, "which branch is taken (they differ in shape)")
        except HitherError as needed:
            raise needed from error
    finally:
        importer.variables = before
    importer.variables = dict(after)
    return list(results)


def _arrays(node: Node, values: Sequence[Any]) -> Sequence[Any]:
    if any(isinstance(v, EVERYTHING) for v in values):
        raise node.unsupported("a resource, complex numbers or data of data-dependent length as a result of a branch or loop")
    return values


@operator("WHILE", stored=True, accepts=(Handle,))
def while_(node: Node, *xs: Any) -> Any:
    importer = node.importer
    condition, body = int(node["cond_subgraph_index"]), int(node["body_subgraph_index"])
    moving = [i for i, x in enumerate(xs) if not isinstance(x, Handle)]

    def everything(carried: Sequence[Any]) -> list[Any]:
        values = list(xs)
        for i, x in zip(moving, carried):
            values[i] = x
        return values

    def going(carry: Any) -> Any:
        importer.variables = dict(carry[1])
        (flag,) = importer.run_subgraph(condition, everything(carry[0]))
        node.check(not isinstance(flag, EVERYTHING), "the condition is no bool")
        return ops.reshape(flag, ())

    def turn(carry: Any) -> Any:
        importer.variables = dict(carry[1])
        results = importer.run_subgraph(body, everything(carry[0]))
        node.check(len(results) == len(xs), f"the body gives {len(results)} values for {len(xs)}")
        return tuple(_arrays(node, [results[i] for i in moving])), dict(importer.variables)

    carry: Any = (tuple(xs[i] for i in moving), dict(importer.variables))
    for _ in range(MOST_COMPUTED_TURNS):
        flag = static_value(going(carry)) if _is_known(carry) else None
        if flag is None:
            break
        if not flag:
            return _finished(node, xs, moving, carry)
        carry = turn(carry)
    else:
        if not is_tracing():
            raise LimitExceeded(f"{node.label}: more than {MOST_COMPUTED_TURNS} turns while initialising")
        carry = (tuple(weight(node.static(x, "a carried value"), "") for x in carry[0]), carry[1])
    return _finished(node, xs, moving, _staged(node, going, turn, carry))


def _is_known(carry: Any) -> bool:
    return all(static_value(x) is not None for x in (*carry[0], *carry[1].values()))


def _staged(node: Node, going: Any, turn: Any, carry: Any) -> Any:
    try:
        return ops.while_loop(going, turn, carry)
    except (NeedsValue, LimitExceeded):
        raise
    except (TypeError, ValueError) as error:
        raise UnsupportedFeature(f"{node.label}: what the loop carries changes its shape or dtype: {error}") from error


def _finished(node: Node, xs: Sequence[Any], moving: Sequence[int], carry: Any) -> list[Any]:
    node.importer.variables = dict(carry[1])
    values = list(xs)
    for i, x in zip(moving, carry[0]):
        values[i] = x
    return values


# -- variables ---------------------------------------------------------------------------------------------------------------


@operator("CALL_ONCE", stored=True)
def call_once(node: Node) -> None:
    """Runs when the model is loaded (variables.py), not here."""


@operator("VAR_HANDLE", stored=True)
def var_handle(node: Node) -> Handle:
    container, name = node.get("container", ""), node.get("shared_name", "")
    return Handle(f"{container}/{name}" if container else name)


@operator("READ_VARIABLE", stored=True, accepts=(Handle,))
def read_variable(node: Node, handle: Any) -> Any:
    node.check(isinstance(handle, Handle), "reads what is no variable")
    node.check(
        handle.name in node.importer.variables,
        f"variable {handle.name!r} is read before anything is assigned to it, and no CALL_ONCE initialises it",
    )
    return node.importer.variables[handle.name]


@operator("ASSIGN_VARIABLE", stored=True, accepts=(Handle,))
def assign_variable(node: Node, handle: Any, value: Any) -> None:
    node.check(isinstance(handle, Handle) and not isinstance(value, Handle), "assigns to what is no variable")
    node.importer.variables[handle.name] = value
