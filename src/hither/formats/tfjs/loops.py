"""While loops of both kinds (TensorFlow 1's frames and 2's functions) and conditionals, as hither's own.

A loop is: values it starts from, a test and a step. What a step leaves as it is stays outside the loop, so that sizes and
limits stay known. How often a loop turns is found by running the few variables its test depends on, where those are known:
short loops are then written out. The rest become while_loop, with lists as arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...array import Array
from ...dtypes import dtype
from ...errors import HitherError, LimitExceeded, NeedsValue, UnsupportedFeature
from ...graph.core import Abstract, evaluate
from ...graph.trace import Tracer, static_value, trace_function, weight
from .flow import Flow
from .graphdef import GraphDef, Ref
from .importer import Importer, Scope, Unknown, known_flag
from .lists import TensorList
from .registry import Node
from .sizes import Sizes

UNROLLED_TURNS = 16  # a loop of up to this many turns is written out
MOST_UNROLLED_TURNS = 1024  # …and one of up to this many, if what it carries changes shape
MOST_COUNTED_TURNS = 1 << 14  # a loop that only known numbers end is refused beyond this: a damaged one would run for ever


@dataclass(frozen=True)
class WhileLoop:
    """A while loop: `test` and `next` are results in scopes that hold the variables' values under `names`.

    `scopes(values)` gives the scopes in which the test and the step run.
    """

    names: tuple[str, ...]
    start: tuple[Any, ...]
    test: Ref
    next: tuple[Ref, ...]
    test_flow: Flow
    step_flow: Flow
    scopes: Callable[[Sequence[Any]], tuple[Scope, Scope]]


def run_loop(node: Node, loop: WhileLoop) -> list[Any]:
    """The variables' values after a loop."""
    importer = node.importer
    invariant = [loop.step_flow.origin(r).node == n for n, r in zip(loop.names, loop.next)]
    turns = _count(node, loop, invariant)
    if turns is not None and turns <= UNROLLED_TURNS:
        return _unrolled(importer, loop, turns)
    try:
        return _staged(node, loop, invariant, turns)
    except (NeedsValue, LimitExceeded):
        raise
    except (HitherError, TypeError, ValueError):
        if turns is None or turns > MOST_UNROLLED_TURNS:
            raise
        return _unrolled(importer, loop, turns)


def _test(importer: Importer, loop: WhileLoop, values: Sequence[Any]) -> Any:
    return importer.values([loop.test], loop.scopes(values)[0])[0]


def _step(importer: Importer, loop: WhileLoop, values: Sequence[Any]) -> list[Any]:
    return importer.values(loop.next, loop.scopes(values)[1])


def _count(node: Node, loop: WhileLoop, invariant: Sequence[bool]) -> int | None:
    """How often a loop turns, where only known values decide; None otherwise.

    The variables that the test depends on, through the step too, are traced by themselves and run.

    Raises:
        LimitExceeded: if it turns more than MOST_COUNTED_TURNS times, or never ends.
    """
    importer, names = node.importer, set(loop.names)
    needed = loop.test_flow.reached([loop.test], names)
    while True:
        more = loop.step_flow.reached([r for n, r in zip(loop.names, loop.next) if n in needed], names) | needed
        if more == needed:
            break
        needed = more
    moving = [i for i, n in enumerate(loop.names) if n in needed and not invariant[i]]
    start = [static_value(loop.start[i]) if isinstance(loop.start[i], (Array, Tracer)) else None for i in moving]
    if any(x is None for x in start):
        return None
    counted = importer.count

    def given(tracers: Sequence[Any]) -> list[Any]:
        values = [x if n in needed else Unknown for n, x in zip(loop.names, loop.start)]
        for i, x in zip(moving, tracers):
            values[i] = x
        return values

    def test(*tracers: Any) -> Sequence[Any]:
        return (ops.reshape(_test(importer, loop, given(tracers)), ()),)

    def step(*tracers: Any) -> Sequence[Any]:
        return importer.values([loop.next[i] for i in moving], loop.scopes(given(tracers))[1])

    abstracts = [Abstract(x.shape, dtype(x.dtype)) for x in start if x is not None]
    try:
        (check, outer), (body, more_outer) = trace_function(test, abstracts), trace_function(step, abstracts)
    except (Unknown, HitherError, TypeError, ValueError):  # running the loop as a whole says what is wrong with it
        return None
    finally:
        importer.count = counted
    if outer or more_outer or [o.abstract for o in body.outputs] != abstracts:
        return None
    values, turns = [x for x in start if x is not None], 0
    while evaluate(check, *values)[0]:
        turns += 1
        if turns > MOST_COUNTED_TURNS:
            raise LimitExceeded(f"{node.label}: a loop of more than {MOST_COUNTED_TURNS} turns")
        after = list(evaluate(body, *values))
        if all(np.array_equal(x, y) for x, y in zip(values, after)):
            raise LimitExceeded(f"{node.label}: a loop that never ends")
        values = after
    return turns


def _unrolled(importer: Importer, loop: WhileLoop, turns: int) -> list[Any]:
    values = list(loop.start)
    for _ in range(turns):
        values = _step(importer, loop, values)
    return values


def _staged(node: Node, loop: WhileLoop, invariant: Sequence[bool], turns: int | None) -> list[Any]:
    """The loop as a while_loop over its varying values."""
    importer = node.importer
    start = [x.plain() if isinstance(x, Sizes) else x for x in loop.start]
    varying = [i for i in range(len(start)) if not invariant[i]]
    for i in varying:
        if isinstance(start[i], TensorList):
            start[i] = _prepared(importer, loop, start, varying, i)
        elif not isinstance(start[i], (Array, Tracer)):
            raise UnsupportedFeature(f"{node.label}: a value of data-dependent length, a string or a handle changes in a loop")
    lists = {i: start[i] for i in varying if isinstance(start[i], TensorList)}

    def given(carry: Sequence[Any]) -> list[Any]:
        values = list(start)
        for i, x in zip(varying, carry):
            values[i] = _with_buffer(lists[i], x) if i in lists else x
        return values

    def going(carry: tuple[Any, ...]) -> Any:
        return ops.reshape(_test(importer, loop, given(carry)), ())

    def turn(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        made = importer.values([loop.next[i] for i in varying], loop.scopes(given(carry))[1])
        return tuple(_carried(node, x, lists.get(i)) for i, x in zip(varying, made))

    # Even where all is known, a long loop is recorded, so that importing always ends.
    carried = tuple(_recorded(_carried(node, start[i], lists.get(i))) for i in varying)
    final = ops.while_loop(going, turn, carried, bound=turns)
    return given(final)


def _recorded(x: Any) -> Any:
    return weight(x.numpy(), "") if isinstance(x, Array) else x


def _with_buffer(model: TensorList, buffer: Any) -> TensorList:
    return TensorList(model.size, model.dtype, model.element, buffer=buffer)


def _carried(node: Node, x: Any, model: TensorList | None) -> Any:
    """A value as the loop carries it."""
    if model is not None:
        if not isinstance(x, TensorList) or x.size != model.size:
            raise UnsupportedFeature(f"{node.label}: a list changes its length in a loop whose turns are not known")
        return x.stacked().buffer
    if isinstance(x, Sizes):
        return x.plain()
    if not isinstance(x, (Array, Tracer)):
        raise UnsupportedFeature(f"{node.label}: a value of data-dependent length, a string or a list appears in a loop")
    return x


def _prepared(importer: Importer, loop: WhileLoop, start: list[Any], varying: Sequence[int], at: int) -> TensorList:
    """A list as one array. Where nothing is written yet, one turn shows what will be."""
    model = start[at]
    try:
        return model.stacked()
    except UnsupportedFeature:
        pass
    shapes: list[tuple[int, ...]] = []
    arrays = [i for i in varying if not isinstance(start[i], TensorList)]

    def once(*tracers: Any) -> Sequence[Any]:
        values = list(start)
        for i, x in zip(arrays, tracers):
            values[i] = x
        made = importer.values([loop.next[at]], loop.scopes(values)[1])[0]
        if isinstance(made, TensorList) and not made.is_empty:
            shapes.append(tuple(made.stacked().buffer.shape[1:]))
        return (Array(np.zeros((), np.int32)),)

    trace_function(once, [Abstract(tuple(start[i].shape), start[i].dtype) for i in arrays])
    return model.stacked(shapes[0] if shapes else None)


# -- conditionals ------------------------------------------------------------------------------------------------------------


def run_conditional(
    node: Node, predicate: Any, then: Callable[[], list[Any]], otherwise: Callable[[], list[Any]], what: str = "the condition"
) -> list[Any]:
    """What the branch that `predicate` chooses gives."""
    known = known_flag(predicate)
    if known is not None:
        return then() if known else otherwise()

    def branch(run: Callable[[], list[Any]]) -> Callable[[], tuple[Any, ...]]:
        return lambda: tuple(_result(node, x) for x in run())

    try:
        return list(ops.cond(ops.reshape(predicate, ()), branch(then), branch(otherwise)))
    except (NeedsValue, LimitExceeded):
        raise
    except (HitherError, TypeError, ValueError) as error:
        # Branches that differ in shape, or of which one does not fit the given shapes, can still be told apart by value.
        try:
            return list(node.importer.need(predicate, node.label, f"{what} (the branches cannot be compiled together)"))
        except HitherError as needed:
            raise needed from error


def _result(node: Node, x: Any) -> Any:
    if isinstance(x, Sizes):
        return x.plain()
    if not isinstance(x, (Array, Tracer)):
        raise UnsupportedFeature(f"{node.label}: data of data-dependent length, a string or a list inside a branch")
    return x


def function_loop(node: Node, test: GraphDef, body: GraphDef, start: Sequence[Any]) -> WhileLoop:
    """The loop of a While: two functions of the same arguments."""
    importer = node.importer
    node.check(len(test.arguments) == len(body.arguments) == len(start), f"its functions do not take {len(start)} values")
    node.check(len(body.results) == len(start) and len(test.results) == 1, "its functions give other values than it takes")

    def scopes(values: Sequence[Any]) -> tuple[Scope, Scope]:
        return importer.arguments(test, values), importer.arguments(body, values)

    return WhileLoop(
        body.arguments, tuple(start), test.results[0], body.results, _Positional(test, body), importer.flow(body), scopes
    )  # fmt: skip


class _Positional(Flow):
    """The flow of a loop's test, whose arguments go by the names that the body has for them, place by place."""

    def __init__(self, test: GraphDef, body: GraphDef) -> None:
        super().__init__(test)
        self._names = dict(zip(body.arguments, test.arguments))

    def reached(self, starts: Iterable[Ref], stops: set[str]) -> set[str]:
        own = super().reached(starts, {self._names[s] for s in stops})
        return {s for s in stops if self._names[s] in own}
