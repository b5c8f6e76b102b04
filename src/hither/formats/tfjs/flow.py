"""TensorFlow 1's control flow, found in a graph: which nodes make up a while loop, and which a conditional.

A frozen graph has no loops and branches, only operators that pass values on or do not: Enter, Merge, Switch, NextIteration,
Exit and LoopCond for `while`, Switch and Merge for `cond`. Their patterns are the compiler's own output (Yu et al.: Dynamic
Control Flow in Large-Scale Machine Learning, 2018), so they can be read backwards.

    while:  Merge(Enter, NextIteration(body)) → Switch(·, LoopCond(test)) → :0 Exit, :1 body
    cond:   Switch(x, pred) → :0 one branch, :1 the other → Merge
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...errors import InvalidModel, UnsupportedFeature
from .graphdef import GraphDef, NodeDef, Ref

PASSING = ("Identity", "StopGradient", "Snapshot", "PreventGradient")


@dataclass(frozen=True)
class Variable:
    """What a loop carries: its Merge and Switch (if it has one), where it comes from and what it becomes."""

    merge: str
    switch: str | None
    start: Ref
    next: Ref


@dataclass(frozen=True)
class Loop:
    """A while loop: its test, its variables, and the values from outside that stay the same (Enter's name, source)."""

    test: Ref
    variables: tuple[Variable, ...]
    constants: tuple[tuple[str, Ref], ...]


@dataclass(frozen=True)
class Conditional:
    """What a Merge joins: `false` and `true` are what the branches give; the Switches hand values to them."""

    predicate: Ref
    false: Ref
    true: Ref
    switches: tuple[str, ...]


class Flow:
    """The control flow of one graph, found when it is asked for."""

    def __init__(self, graph: GraphDef) -> None:
        self.graph = graph
        self._loops: dict[str, Loop] = {}
        self._conditionals: dict[str, Conditional] = {}
        self._switches: dict[str, list[NodeDef]] | None = None

    # -- loops ---------------------------------------------------------------------------------------------------------------

    def loop_condition(self, exit_name: str) -> tuple[str, str]:
        """The LoopCond of the loop that an Exit leaves, and the Switch it leaves by."""
        switch = self._through(self._input(self.graph.node(exit_name), 0))
        if switch.op != "Switch":
            raise InvalidModel(f"Exit {exit_name!r} must follow a Switch, but follows {switch.label}")
        condition = self._through(self._input(switch, 1))
        if condition.op != "LoopCond":
            raise InvalidModel(f"{switch.label} before Exit {exit_name!r} must be told by a LoopCond, not {condition.label}")
        return condition.name, switch.name

    def loop(self, condition: str) -> Loop:
        """The loop of a LoopCond."""
        if condition not in self._loops:
            self._loops[condition] = self._find_loop(condition)
        return self._loops[condition]

    def _find_loop(self, condition: str) -> Loop:
        test = self._input(self.graph.node(condition), 0)
        switches = {self._through(self._input(s, 0)).name: s.name for s in self._switches_of(condition)}
        variables: dict[str, Variable] = {}
        constants: dict[str, Ref] = {}
        pending = [test]
        for merge in switches:
            if self.is_loop_merge(self.graph.node(merge)):
                variables[merge] = self._variable(merge, switches[merge])
                pending.append(variables[merge].next)
        seen: set[str] = set()
        own = set(switches.values())
        while pending:
            name = pending.pop().node
            if name in seen or name in own or name not in self.graph.nodes:
                continue
            seen.add(name)
            node = self.graph.nodes[name]
            if node.op in ("Enter", "RefEnter"):
                constants[name] = self._input(node, 0)
            elif self.is_loop_merge(node):
                if name not in variables:
                    variables[name] = self._variable(name, switches.get(name))
                    pending.append(variables[name].next)
            elif node.op == "Exit":
                pending.extend(self.entries(self.loop(self.loop_condition(name)[0])))
            else:
                pending.extend(node.inputs)
        return Loop(test, tuple(variables.values()), tuple(constants.items()))

    def entries(self, loop: Loop) -> Iterator[Ref]:
        """What a loop reads from outside."""
        yield from (v.start for v in loop.variables)
        yield from (source for _, source in loop.constants)

    def _variable(self, merge: str, switch: str | None) -> Variable:
        node = self.graph.node(merge)
        start = following = None
        for reference in node.inputs:
            made = self.graph.node(reference.node)
            if made.op == "NextIteration":
                following = self._input(made, 0)
            elif made.op in ("Enter", "RefEnter"):
                start = self._input(made, 0)
        if start is None or following is None:
            raise InvalidModel(f"{node.label} must join an Enter and a NextIteration")
        return Variable(merge, switch, start, following)

    def is_loop_merge(self, node: NodeDef) -> bool:
        """Whether a node carries a loop's variable."""
        if node.op not in ("Merge", "RefMerge"):
            return False
        return any(getattr(self.graph.nodes.get(r.node), "op", "") == "NextIteration" for r in node.inputs)

    def _switches_of(self, condition: str) -> list[NodeDef]:
        if self._switches is None:
            self._switches = {}
            for node in self.graph.nodes.values():
                if node.op in ("Switch", "RefSwitch") and len(node.inputs) == 2 and node.inputs[1].node in self.graph.nodes:
                    self._switches.setdefault(self._through(node.inputs[1]).name, []).append(node)
        return self._switches.get(condition, [])

    # -- conditionals --------------------------------------------------------------------------------------------------------

    def conditional(self, merge: str) -> Conditional:
        """The conditional whose result a Merge is."""
        if merge not in self._conditionals:
            self._conditionals[merge] = self._find_conditional(self.graph.node(merge))
        return self._conditionals[merge]

    def _find_conditional(self, merge: NodeDef) -> Conditional:
        if len(merge.inputs) != 2:
            raise UnsupportedFeature(f"{merge.label} joins {len(merge.inputs)} branches; hither reads conditionals of two")
        found = [list(self._switches_before(r)) for r in merge.inputs]
        switches = {s.name: s for branch in found for s, _ in branch}
        predicates = {self._through(self._input(s, 1)).name: self._input(s, 1) for s in switches.values()}
        sides = [{side for _, side in branch} for branch in found]
        if len(predicates) != 1 or any(len(s) > 1 for s in sides) or sides[0] == sides[1]:
            raise UnsupportedFeature(f"{merge.label} does not join the two branches of one conditional")
        first_is_true = sides[0] == {1} or sides[1] == {0}
        false, true = merge.inputs[::-1] if first_is_true else merge.inputs
        return Conditional(next(iter(predicates.values())), false, true, tuple(switches))

    def _switches_before(self, start: Ref) -> Iterator[tuple[NodeDef, int]]:
        """The Switches that a branch begins at, and which of their outputs it is; those of conditionals inside are passed."""
        stack, seen = [(start, 0)], set()
        while stack:
            reference, depth = stack.pop()
            if (reference, depth) in seen or reference.node not in self.graph.nodes:
                continue
            seen.add((reference, depth))
            node = self.graph.nodes[reference.node]
            if node.op in ("Switch", "RefSwitch"):
                if depth == 0:
                    yield node, reference.index
                else:
                    stack.extend((r, depth - 1) for r in node.inputs)
            elif node.op == "Exit":
                stack.extend((r, depth) for r in self.entries(self.loop(self.loop_condition(node.name)[0])))
            else:
                inside = depth + (node.op in ("Merge", "RefMerge") and not self.is_loop_merge(node))
                stack.extend((r, inside) for r in node.inputs)
                if not node.inputs:  # a constant is tied to its branch by what must run before it
                    stack.extend((Ref(c), inside) for c in node.controls)

    # -- references ------------------------------------------------------------------------------------------------------------

    def _input(self, node: NodeDef, index: int) -> Ref:
        if index >= len(node.inputs):
            raise InvalidModel(f"{node.label} has {len(node.inputs)} inputs, needs {index + 1}")
        return node.inputs[index]

    def _through(self, reference: Ref) -> NodeDef:
        """The node that makes a value, past those that pass it on."""
        node, steps = self.graph.node(reference.node), 0
        while node.op in PASSING and node.inputs and steps < len(self.graph.nodes):
            node, steps = self.graph.node(node.inputs[0].node), steps + 1
        return node

    def origin(self, reference: Ref) -> Ref:
        """The reference to a value, past nodes that pass it on."""
        for _ in range(len(self.graph.nodes) + 1):
            node = self.graph.nodes.get(reference.node)
            if node is None or node.op not in PASSING or not node.inputs:
                break
            reference = node.inputs[0]
        return reference

    def reached(self, starts: Iterable[Ref], stops: set[str]) -> set[str]:
        """Which of `stops` (nodes or arguments) values depend on; the search ends at them."""
        found: set[str] = set()
        pending, seen = [r.node for r in starts], set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in stops:
                found.add(name)
            elif name in self.graph.nodes:
                pending.extend(r.node for r in self.graph.nodes[name].inputs)
        return found
