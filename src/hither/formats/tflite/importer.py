"""Runs a subgraph's operators on traced arrays: the interpreter that importing is.

Calling the importer inside a trace records the model as a Graph for the shapes of its inputs. Variables (resources, and tensors
that keep their value from call to call) are read and assigned in a table that the caller fills before a run and reads after it:
what persists is the Model's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...array import Array
from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature, UnsupportedOperators
from ...graph.trace import note_name, weight
from ...model import BoundedOutput
from ..interpreter import Interpreter, arity, stays_visible
from .registry import CUSTOM, OPERATORS, Handle, Node, Operator
from .schema import ModelDef, OperatorDef, SubgraphDef, TensorDef

_SPECIAL: dict[type, str] = {  # values that are no arrays, for messages
    Handle: "a variable itself", BoundedOutput: "an array whose length is known only at run time",
}  # fmt: skip
MAX_DEPTH = 64  # of subgraphs called by subgraphs


def find_operator(op: OperatorDef) -> Operator | None:
    """The function of an operator, if hither has it."""
    return (CUSTOM if op.is_custom else OPERATORS).get(op.op_type)


def variable_name(tensor: TensorDef) -> str:
    """The name in the table of variables of a tensor that keeps its value."""
    return tensor.name


class Importer(Interpreter):
    """One import of one model: a run of a subgraph for given inputs. `variables` holds values by name, before and after."""

    def __init__(self, model: ModelDef, name: str, variables: Mapping[str, Any] | None = None) -> None:
        super().__init__(name)
        self.model = model
        self.depth = 0
        self.variables: dict[str, Any] = dict(variables or {})

    def run(self, subgraph: int, inputs: Mapping[str, Any]) -> list[Any]:
        """Run a subgraph on its inputs in order; names are for messages. Gives its outputs."""
        with self.running(inputs):
            return self.run_subgraph(subgraph, list(inputs.values()))

    def run_subgraph(self, index: int, arguments: Sequence[Any]) -> list[Any]:
        """Run a subgraph on positional arguments."""
        graph = self.model.subgraphs[index]
        if len(arguments) != len(graph.inputs):
            raise InvalidModel(f"subgraph {graph.name!r} takes {len(graph.inputs)} inputs, got {len(arguments)}")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LimitExceeded(f"{self.name}: subgraphs call each other more than {MAX_DEPTH} deep")
        try:
            values: dict[int, Any] = dict(zip(graph.inputs, arguments))
            for op in graph.operators:
                with self.at(op.label):
                    self.run_operator(graph, op, values)
            return [self.resolve(graph, i, values) for i in graph.outputs]
        finally:
            self.depth -= 1

    def resolve(self, graph: SubgraphDef, index: int, values: Mapping[int, Any]) -> Any:
        """The value of a tensor: one that an operator made, a constant of the current trace, or a variable's."""
        if index < 0:
            return None
        if index in values:
            return values[index]
        tensor = graph.tensors[index]
        if tensor.is_variable:
            return self.variables[variable_name(tensor)]
        if tensor.array is None:
            tensor.element  # noqa: B018  (says so if it holds what hither does not compute with)
            raise InvalidModel(
                f"{self.name}: nothing makes tensor {tensor.name!r} of subgraph {graph.name!r} before it is used"
            )
        return weight(tensor.array, tensor.name) if stays_visible(tensor.array) else Array(tensor.array)

    def run_operator(self, graph: SubgraphDef, op: OperatorDef, values: dict[int, Any]) -> None:
        """Run one operator, adding its results to the values."""
        found = find_operator(op)
        if found is None:
            raise UnsupportedOperators(self.name, [_missing(op)])
        inputs = [self.resolve(graph, i, values) for i in op.inputs]
        tensors = [None if i < 0 else graph.tensors[i] for i in op.inputs]
        outputs = [graph.tensors[i] for i in op.outputs]
        node = Node(op.op_type, op.label, op.options, self, tensors, outputs, op.custom_options)
        for x in inputs:
            if isinstance(x, tuple(_SPECIAL)) and not isinstance(x, found.accepts):
                raise UnsupportedFeature(
                    f"{op.label}: an input is {_SPECIAL[type(x)]}; cut the model before it and go on outside"
                )
        least, most = arity(found.function)
        while len(inputs) > most and inputs[-1] is None:
            inputs.pop()
        inputs += [None] * (least - len(inputs))
        node.check(len(inputs) <= most, f"takes at most {most} inputs, got {len(inputs)}")
        node.check(all(x is not None for x in inputs[:least]), "an input is missing")
        with self.blaming(op.label, inputs):
            if not found.stored:
                inputs = [node.real(x, i) for i, x in enumerate(inputs)]
            made = found.function(node, *inputs)
            results = list(made) if isinstance(made, tuple | list) else [] if made is None else [made]
            if len(results) < len(outputs):
                raise InvalidModel(f"{op.label}: has {len(outputs)} outputs, the operator makes {len(results)}")
            if not found.stored:
                results = [node.stored(y, i) for i, y in enumerate(results[: len(outputs)])]
        for index, tensor, result in zip(op.outputs, outputs, results):
            if not isinstance(result, tuple(_SPECIAL)) and tensor.dtype is not None and result.dtype != tensor.dtype:
                raise InvalidModel(f"{op.label}: its output is declared {tensor.dtype}, the operator makes {result.dtype}")
            values[index] = result
            note_name(tensor.name, result)


def _missing(op: OperatorDef) -> tuple[str, str, int]:
    return ("custom" if op.is_custom else "tflite", op.op_type, op.version)


def missing_operators(model: ModelDef, subgraphs: Sequence[int]) -> set[tuple[str, str, int]]:
    """(domain, operator, version) of all operators in these subgraphs that hither does not have."""
    return {_missing(op) for i in subgraphs for op in model.subgraphs[i].operators if find_operator(op) is None}
