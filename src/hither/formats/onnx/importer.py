"""Runs an ONNX graph's nodes on traced arrays: the interpreter that importing is.

Calling the importer inside a trace records the model as a Graph for the shapes of its inputs. What depends on shapes and small
constants alone is computed on the spot and leaves no trace; weights stay named constants of the Graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...array import Array
from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature
from ...graph.trace import note_name, weight
from ..interpreter import Interpreter, arity, stays_visible
from .proto import MAX_DEPTH, FunctionDef, GraphDef, NodeDef
from .registry import OPERATORS, Bounded, Node
from .schemas import checked_attributes, operator_body, required_inputs


class Scope:
    """Names that are known where a node runs: its own graph's, then those of the graphs around it."""

    def __init__(self, parent: Scope | None = None) -> None:
        self.values: dict[str, Any] = {}
        self.parent = parent

    def find(self, name: str) -> Any:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        raise InvalidModel(f"nothing makes {name!r}")


class Weight:
    """An initialiser: it becomes a constant of whichever trace uses it."""

    def __init__(self, array: np.ndarray, name: str) -> None:
        self.array, self.name = array, name


class Importer(Interpreter):
    """One import of one model: a run of its nodes for given inputs."""

    def __init__(self, graph: GraphDef, functions: Mapping[tuple[str, str], FunctionDef], name: str) -> None:
        super().__init__(name)
        self.graph = graph
        self.functions = functions
        self.depth = 0
        self.scope = Scope()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the whole model; `inputs` and the result are by name. Must be called inside a trace."""
        with self.running(inputs):
            results = self.run_graph(self.graph, [inputs[n] for n in self.graph.inputs], Scope())
        return dict(zip(self.graph.outputs, results))

    def run_graph(self, graph: GraphDef, arguments: Sequence[Any], outer: Scope) -> list[Any]:
        """Run a graph on positional arguments; `outer` is what it sees of its surroundings."""
        if len(arguments) != len(graph.inputs):
            raise InvalidModel(f"graph {graph.name!r} takes {len(graph.inputs)} inputs, got {len(arguments)}")
        scope = Scope(outer)
        for name, array in graph.initializers.items():
            scope.values[name] = Weight(array, name) if stays_visible(array) else Array(array)
        scope.values.update(zip(graph.inputs, arguments))
        self.run_nodes(graph.nodes, scope)
        return [self.resolve(name, scope) for name in graph.outputs]

    def resolve(self, name: str, scope: Scope) -> Any:
        """The value of a name; weights become constants of the current trace."""
        value = scope.find(name)
        return weight(value.array, value.name) if isinstance(value, Weight) else value

    def run_nodes(self, nodes: Sequence[NodeDef], scope: Scope) -> None:
        """Run nodes in order, adding their results to the scope."""
        self.depth += 1
        if self.depth > 2 * MAX_DEPTH:
            raise LimitExceeded(f"{self.name}: graphs and functions are nested more than {2 * MAX_DEPTH} deep")
        try:
            for node in nodes:
                with self.at(node.label):
                    self.run_node(node, scope)
        finally:
            self.depth -= 1

    def run_node(self, node: NodeDef, scope: Scope) -> None:
        """Run one node: by its operator's function, or by the body of the function that defines it."""
        inputs = [self.resolve(name, scope) if name else None for name in node.inputs]
        key = (node.domain, node.op_type)
        outer, self.scope = self.scope, scope
        try:
            with self.blaming(node.label, inputs):
                if key in self.functions:
                    results = self.run_function(self.functions[key], node.attributes, inputs)
                elif key in OPERATORS:
                    results = self.run_operator(node, inputs)
                else:
                    results = self.run_function(operator_body(node, inputs), node.attributes, inputs)
        finally:
            self.scope = outer
        if len(results) < len(node.outputs) and any(node.outputs[len(results) :]):
            raise InvalidModel(f"{node.label}: has {len(node.outputs)} outputs, the operator makes {len(results)}")
        for name, result in zip(node.outputs, results):
            if name:
                scope.values[name] = result
                note_name(name, result)

    def run_operator(self, node: NodeDef, inputs: list[Any]) -> list[Any]:
        operator = OPERATORS[node.domain, node.op_type]
        attributes = checked_attributes(node)
        context = Node(node.op_type, node.label, attributes, self, node.version, node.outputs)
        if not operator.bounded and any(isinstance(x, Bounded) for x in inputs):
            raise UnsupportedFeature(
                f"{node.label}: an input has a length that is known only at run time, which {node.op_type} cannot take; "
                "trim or use the value outside the model"
            )
        least, most = arity(operator.function)
        while len(inputs) > most and inputs[-1] is None:
            inputs.pop()
        if not least <= len(inputs) <= most:
            inputs = inputs + [None] * (least - len(inputs))
            if len(inputs) > most:
                raise InvalidModel(f"{node.label}: takes at most {most} inputs, got {len(inputs)}")
        for i in required_inputs(node):
            if i >= len(inputs) or inputs[i] is None:
                raise InvalidModel(f"{node.label}: input {i} is missing")
        results = operator.function(context, *inputs)
        return list(results) if isinstance(results, (tuple, list)) else [results]

    def run_function(self, function: FunctionDef, attributes: Mapping[str, Any], inputs: Sequence[Any]) -> list[Any]:
        """Run a function's body on its own names."""
        if len(inputs) > len(function.inputs):
            raise InvalidModel(f"function {function.name} takes {len(function.inputs)} inputs, got {len(inputs)}")
        scope = Scope()
        scope.values.update((n, None) for n in function.inputs)
        scope.values.update(zip(function.inputs, inputs))
        self.run_nodes(function.body(attributes), scope)
        return [self.resolve(n, scope) if n in scope.values else None for n in function.outputs]
