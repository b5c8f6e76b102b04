"""Runs a TensorFlow graph's nodes on traced arrays, on demand: what the outputs need, and nothing else.

Calling the importer inside a trace records the model as a Graph for the shapes of its inputs. Weights stay named constants.
Nodes are found from the outputs backwards without recursion; bodies of functions, loops and branches are scopes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...array import Array
from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature
from ...graph.trace import Tracer, note_name, static_value, weight
from ..interpreter import Interpreter, arity, stays_visible
from .flow import Flow
from .graphdef import GraphDef, NodeDef, Ref, Tensor
from .registry import OPERATORS, Node
from .sizes import Bounded, Sizes

MAX_DEPTH = 64  # of functions, loops and branches in one another


class Scope:
    """The values of a graph's nodes in one run of it; `outer` is where a branch finds what was computed before it."""

    def __init__(self, graph: GraphDef, values: Mapping[str, Sequence[Any]] | None = None, outer: Scope | None = None) -> None:
        self.graph, self.outer = graph, outer
        self.values: dict[str, Sequence[Any]] = dict(values or {})

    def find(self, name: str) -> Sequence[Any] | None:
        """The outputs of a node, if they have been computed."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        return None


class Unknown(Exception):
    """Raised where a value is asked for that a simulation of a loop's count does not have."""


class Importer(Interpreter):
    """One import of one model."""

    def __init__(
        self, graph: GraphDef, functions: Mapping[str, GraphDef], weights: Mapping[str, np.ndarray], name: str,
        initializer: GraphDef | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self.graph, self.functions, self.weights, self.initializer = graph, functions, weights, initializer
        self.depth = 0
        self._flows: dict[GraphDef, Flow] = {}

    def run(
        self, inputs: Mapping[str, Any], places: Mapping[str, str], results: Sequence[Ref], handles: Mapping[str, Ref]
    ) -> list[Any]:
        """The results for the model's inputs. Must be called inside a trace.

        Args:
            places: the placeholder that each input is the value of.
            handles: placeholders that results of the initializer graph are the values of.
        """
        with self.running(inputs):
            given: dict[str, Sequence[Any]] = {places[key]: (x,) for key, x in inputs.items()}
            if self.initializer is not None and handles:
                made = self.values(list(handles.values()), Scope(self.initializer))
                given |= {place: (x,) for place, x in zip(handles, made)}
            return self.values(results, Scope(self.graph, given))

    def flow(self, graph: GraphDef) -> Flow:
        """The control flow of a graph."""
        return self._flows.setdefault(graph, Flow(graph))

    def values(self, references: Sequence[Ref], scope: Scope) -> list[Any]:
        """Outputs of nodes, computed where they have not been."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LimitExceeded(f"{self.name}: functions, loops and branches are nested more than {MAX_DEPTH} deep")
        try:
            for reference in references:
                self._evaluate(reference.node, scope)
            return [self._output(r, scope) for r in references]
        finally:
            self.depth -= 1

    def _output(self, reference: Ref, scope: Scope) -> Any:
        found = scope.find(reference.node)
        if found is None or reference.index >= len(found):
            raise InvalidModel(f"{self.name}: {reference.node!r} has no output {reference.index}")
        value = found[reference.index]
        if value is Unknown:
            raise Unknown
        return value

    def _evaluate(self, target: str, scope: Scope) -> None:
        stack, waiting = [target], set()
        while stack:
            name = stack[-1]
            if scope.find(name) is not None:
                stack.pop()
                continue
            node = scope.graph.node(name)
            missing = [r.node for r in self._needs(node, scope) if scope.find(r.node) is None]
            if not missing:
                with self.at(node.label):
                    results = scope.values[name] = self._run_node(node, scope)
                    note_name(name, results[0] if results else None)
                waiting.discard(name)
                stack.pop()
                continue
            waiting.add(name)
            if any(m in waiting for m in missing):
                raise InvalidModel(f"{self.name}: {node.label} depends on itself")
            stack.extend(dict.fromkeys(missing))

    def _needs(self, node: NodeDef, scope: Scope) -> Sequence[Ref]:
        """What must be there before a node runs."""
        flow = self.flow(scope.graph)
        if node.op in ("Exit", "RefExit"):
            return list(flow.entries(flow.loop(flow.loop_condition(node.name)[0])))
        if node.op in ("Merge", "RefMerge"):
            found = flow.conditional(node.name)
            if scope.find(found.predicate.node) is None:
                return [found.predicate]
            if known_flag(self._output(found.predicate, scope)) is None:
                return [scope.graph.node(s).inputs[0] for s in found.switches]
            return []
        return node.inputs

    def _run_node(self, node: NodeDef, scope: Scope) -> Sequence[Any]:
        if node.op == "Const":
            return (self._constant(node),)
        operator = OPERATORS.get(node.op)
        if operator is None:  # reading the file finds all of them; what is left are placeholders without a value
            raise InvalidModel(f"{self.name}: {node.label} has no value; it is no input of the model's signature")
        if node.op in ("Exit", "Merge", "RefExit", "RefMerge"):
            inputs: list[Any] = []
        else:
            inputs = [self._output(r, scope) for r in node.inputs]
        context = Node(node.op, node.label, node.attributes, self, node, scope)
        if not operator.handles and any(x is None or not hasattr(x, "shape") for x in inputs):
            raise InvalidModel(f"{node.label} reads a value of a branch that is not taken, or a handle")
        if not operator.handles and any(isinstance(x, np.ndarray) for x in inputs):
            raise UnsupportedFeature(f"{node.label} computes with strings, which hither does not")
        if not operator.sizes:
            inputs = [x.plain() if isinstance(x, Sizes) else x for x in inputs]
        with self.blaming(node.label, inputs):
            if operator.rows and not operator.bounded and isinstance(inputs[0], Bounded):
                results = self._rows(context, operator.function, inputs)
            else:
                if not operator.bounded and any(isinstance(x, Bounded) for x in inputs):
                    raise UnsupportedFeature(
                        f"{node.label}: an input has a length that is known only at run time, which {node.op} cannot take; "
                        "trim or use the value outside the model"
                    )
                least, most = arity(operator.function)
                if not least <= len(inputs) <= most:
                    raise InvalidModel(f"{node.label} has {len(inputs)} inputs, takes {least} to {most}")
                results = operator.function(context, *inputs)
        return tuple(results) if isinstance(results, (tuple, list)) else (results,)

    def _rows(self, node: Node, function: Any, inputs: list[Any]) -> Any:
        """An operator that works on each entry of its first operand's first axis by itself, on the whole buffer."""
        first, *others = inputs
        if first.axis != 0 or any(isinstance(x, Bounded) for x in others):
            raise UnsupportedFeature(f"{node.label}: a length that is known only at run time must be that of the first axis")
        made = function(node, first.data, *others)
        made = made if isinstance(made, (tuple, list)) else (made,)
        if any(m.shape[:1] != first.shape[:1] for m in made):
            raise UnsupportedFeature(f"{node.label}: data whose length is known only at run time is mixed along its first axis")
        return tuple(first.map(m) for m in made)

    def _constant(self, node: NodeDef) -> Any:
        array = self.weights.get(node.name)
        if array is None:
            value = node.attributes.get("value")
            array = value.values if isinstance(value, Tensor) else None
        if array is None:
            raise InvalidModel(f"{self.name}: the weight manifest has nothing for {node.label}")
        if array.dtype == object:
            return array
        return weight(array, node.name) if stays_visible(array) else Array(array)

    def function(self, name: str, node: Node) -> GraphDef:
        """A function of the library."""
        found = self.functions.get(name)
        if found is None:
            raise InvalidModel(f"{node.label} calls {name!r}, which the library does not have")
        return found

    def call(self, function: GraphDef, arguments: Sequence[Any]) -> list[Any]:
        """The results of a function of the library."""
        return self.values(function.results, self.arguments(function, arguments))

    def arguments(self, function: GraphDef, arguments: Sequence[Any]) -> Scope:
        """A function's own scope."""
        if len(arguments) != len(function.arguments):
            raise InvalidModel(f"function {function.name!r} takes {len(function.arguments)} values, got {len(arguments)}")
        return Scope(function, {n: (x,) for n, x in zip(function.arguments, arguments)})


def known_flag(x: Any) -> bool | None:
    """A condition that is known while importing, else None."""
    if isinstance(x, (Bounded, Sizes)):
        x = x.plain() if isinstance(x, Sizes) else x.data
    if not isinstance(x, (Array, Tracer)):
        raise InvalidModel("a condition must be an array")
    value = static_value(x)
    if value is None:
        return None
    if value.size != 1:
        raise InvalidModel(f"a condition must be one value, got shape {value.shape}")
    return bool(value.reshape(()))
