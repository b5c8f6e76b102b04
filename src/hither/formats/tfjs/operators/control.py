"""Control flow and calls, and the operators that pass values on. Loops and branches themselves: see loops.py and flow.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....errors import InvalidModel
from ....graph.trace import static_value
from ..flow import Flow
from ..graphdef import FunctionName, GraphDef, Ref
from ..importer import Scope, known_flag
from ..loops import WhileLoop, function_loop, run_conditional, run_loop
from ..registry import Node, operator
from ..sizes import Sizes


@operator(
    "Identity", "StopGradient", "Snapshot", "PreventGradient", "CheckNumerics", "LoopCond", "Enter", "NextIteration",
    "RefEnter", "RefNextIteration", "EnsureShape", "PlaceholderWithDefault",
    bounded=True, sizes=True, handles=True,
)  # fmt: skip
def identity(node: Node, x: Any) -> Any:
    return (x,)


@operator("Print", bounded=True, sizes=True, handles=True)
def print_(node: Node, x: Any, *_: Any) -> Any:
    return (x,)


@operator("IdentityN", bounded=True, sizes=True, handles=True)
def identity_n(node: Node, *xs: Any) -> Any:
    return xs


@operator("NoOp", "Assert", "ControlTrigger", bounded=True, sizes=True, handles=True)
def no_op(node: Node, *xs: Any) -> Any:
    return ()


@operator("Switch", "RefSwitch", bounded=True, sizes=True, handles=True)
def switch(node: Node, x: Any, predicate: Any) -> Any:
    """Outside of a conditional that is read as a whole: only where it is known which way it goes."""
    known = known_flag(predicate)
    if known is None:
        node.importer.need(predicate, node.label, "which way a value goes that no Merge joins again")
    return (None, x) if known else (x, None)


@operator("Merge", "RefMerge", bounded=True, sizes=True, handles=True)
def merge(node: Node) -> Any:
    importer, scope = node.importer, node.scope
    found = importer.flow(scope.graph).conditional(node.definition.name)

    def branch(result: Any) -> Any:
        def run() -> list[Any]:
            given = {}
            for name in found.switches:
                (x,) = importer.values([scope.graph.node(name).inputs[0]], scope)
                given[name] = (x, x)
            return importer.values([result], Scope(scope.graph, given, scope))

        return run

    (predicate,) = importer.values([found.predicate], scope)
    (made,) = run_conditional(node, predicate, branch(found.true), branch(found.false))
    which = found.true == node.definition.inputs[1]
    index = ops.astype(ops.reshape(predicate, ()) if which else ops.logical_not(ops.reshape(predicate, ())), "int32")
    return made, index


@operator("Exit", "RefExit", bounded=True, sizes=True, handles=True)
def exit_(node: Node) -> Any:
    """The whole loop that this value leaves; its other Exits find their values beside it."""
    importer, scope = node.importer, node.scope
    flow = importer.flow(scope.graph)
    condition, switch_name = flow.loop_condition(node.definition.name)
    loop = flow.loop(condition)
    key = f"{condition}\0result"
    if key not in scope.values:
        constants = {name: (x,) for (name, _), x in zip(loop.constants, importer.values([s for _, s in loop.constants], scope))}

        def scopes(values: Any) -> tuple[Scope, Scope]:
            given: dict[str, Any] = dict(constants)
            for variable, x in zip(loop.variables, values):
                given[variable.merge] = (x, x)
                if variable.switch is not None:
                    given[variable.switch] = (x, x)
            return Scope(scope.graph, given), Scope(scope.graph, given)

        start = importer.values([v.start for v in loop.variables], scope)
        whole = WhileLoop(
            tuple(v.merge for v in loop.variables), tuple(start), loop.test, tuple(v.next for v in loop.variables),
            flow, _Frame(scope.graph, {v.switch: v.merge for v in loop.variables if v.switch}), scopes,
        )  # fmt: skip
        scope.values[key] = tuple(run_loop(node, whole))
    for variable, x in zip(loop.variables, scope.values[key]):
        if variable.switch == switch_name:
            return (x,)
    raise InvalidModel(f"{node.label} leaves a loop with a value that it does not carry")


class _Frame(Flow):
    """The flow of a loop's step, in which a variable goes by its Switch; it is named by its Merge."""

    def __init__(self, graph: GraphDef, merges: dict[str, str]) -> None:
        super().__init__(graph)
        self._merges = merges

    def origin(self, reference: Ref) -> Ref:
        found = super().origin(reference)
        return Ref(self._merges.get(found.node, found.node), found.index)

    def reached(self, starts: Iterable[Ref], stops: set[str]) -> set[str]:
        switches = {s: m for s, m in self._merges.items() if m in stops}
        found = super().reached(starts, stops | set(switches))
        return {switches.get(f, f) for f in found}


# -- functions -----------------------------------------------------------------------------------------------------------------


@operator("PartitionedCall", "StatefulPartitionedCall", bounded=True, sizes=True, handles=True)
def call(node: Node, *xs: Any) -> Any:
    return node.importer.call(node.importer.function(node.function_name("f"), node), xs)


@operator("If", "StatelessIf", bounded=True, sizes=True, handles=True)
def if_(node: Node, predicate: Any, *xs: Any) -> Any:
    then, otherwise = (node.importer.function(node.function_name(n), node) for n in ("then_branch", "else_branch"))
    node.check(len(then.results) == len(otherwise.results), "its branches give different numbers of values")
    return run_conditional(
        node, _flag(predicate), lambda: node.importer.call(then, xs), lambda: node.importer.call(otherwise, xs)
    )  # fmt: skip


def _flag(predicate: Any) -> Any:
    """What counts as true: not zero, or not empty."""
    predicate = predicate.plain() if isinstance(predicate, Sizes) else predicate
    if len(predicate.shape):
        return Array(np.array(0 not in predicate.shape))
    return predicate != 0 if predicate.dtype.kind != "b" else predicate


@operator("Case", "StatelessCase", bounded=True, sizes=True, handles=True)
def case(node: Node, index: Any, *xs: Any) -> Any:
    names = node.get("branches") or ()
    node.check(bool(names) and all(isinstance(n, FunctionName) for n in names), "has no branches")
    branches = [node.importer.function(n.name, node) for n in names]
    index = index.plain() if isinstance(index, Sizes) else index
    known = static_value(index)
    if known is not None:
        at = int(known.reshape(()))
        return node.importer.call(branches[at if 0 <= at < len(branches) else -1], xs)

    def chain(at: int) -> list[Any]:
        if at == len(branches) - 1:  # also for every index out of range
            return node.importer.call(branches[at], xs)
        return run_conditional(
            node, index == at, lambda: node.importer.call(branches[at], xs), lambda: chain(at + 1), "the branch's number"
        )  # fmt: skip

    return chain(0)


@operator("While", "StatelessWhile", bounded=True, sizes=True, handles=True)
def while_(node: Node, *xs: Any) -> Any:
    test, body = (node.importer.function(node.function_name(n), node) for n in ("cond", "body"))
    return run_loop(node, function_loop(node, test, body, xs))
