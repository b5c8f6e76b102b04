"""Runs an ONNX graph's nodes on traced arrays: the interpreter that importing is.

Calling the importer inside a trace records the model as a Graph for the shapes of its inputs. What depends on shapes and small
constants alone is computed on the spot and leaves no trace; weights stay named constants of the Graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...array import Array
from ...errors import HitherError, InvalidModel, LimitExceeded, NeedsValue, UnsupportedFeature
from ...graph.core import Value
from ...graph.trace import Trace, Tracer, result_limit, source, weight
from .proto import MAX_DEPTH, FunctionDef, GraphDef, NodeDef
from .registry import OPERATORS, Bounded, Node

MAX_VALUE_BYTES = 1 << 31  # of one intermediate result
MAX_FOLDED_BYTES = 1 << 32  # of all that is computed while importing
MAX_NODES = 250_000  # nodes run by one import, unrolled loops included

# What malformed nodes make NumPy and the operations raise; anything else is a bug of ours and must surface as one.
MALFORMED = (
    ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, MemoryError, NotImplementedError,
)  # fmt: skip


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


def stays_visible(array: np.ndarray) -> bool:
    """Whether an initialiser is a weight (stored by name) and not a small constant that shapes are made of."""
    return array.size > 1 if array.dtype.kind == "f" else array.size > 256


class Importer:
    """One import of one model: a run of its nodes for given inputs."""

    def __init__(self, graph: GraphDef, functions: Mapping[tuple[str, str], FunctionDef], name: str) -> None:
        self.graph = graph
        self.functions = functions
        self.name = name
        self.inputs: dict[Value, str] = {}
        self.depth = 0
        self.count = 0
        self.scope = Scope()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the whole model; `inputs` and the result are by name. Must be called inside a trace."""
        self.inputs = {x.value: name for name, x in inputs.items() if isinstance(x, Tracer)}
        with result_limit(MAX_VALUE_BYTES, MAX_FOLDED_BYTES, LimitExceeded):
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
                self.count += 1
                if self.count > MAX_NODES:
                    raise LimitExceeded(f"{self.name}: more than {MAX_NODES} nodes (unrolled loops included)")
                with source(f"{node.label} of {self.name}"):
                    self.run_node(node, scope)
        finally:
            self.depth -= 1

    def run_node(self, node: NodeDef, scope: Scope) -> None:
        """Run one node: by its operator's function, or by the body of the function that defines it."""
        inputs = [self.resolve(name, scope) if name else None for name in node.inputs]
        key = (node.domain, node.op_type)
        outer, self.scope = self.scope, scope
        try:
            if key in self.functions:
                results = self.run_function(self.functions[key], node.attributes, inputs)
            elif key in OPERATORS:
                results = self.run_operator(node, inputs)
            else:
                body = operator_body(node.op_type, node.version, node.domain)
                if body is None:
                    raise InvalidModel(f"{node.label}: no such operator in opset {node.version}")
                results = self.run_function(body, node.attributes, inputs)
        except HitherError:
            raise
        except MALFORMED as error:
            shapes = ", ".join(
                "-" if x is None else f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else "?" for x in inputs
            )
            raise InvalidModel(f"{node.label} of {self.name} on ({shapes}): {error}") from error
        finally:
            self.scope = outer
        if len(results) < len(node.outputs) and any(node.outputs[len(results) :]):
            raise InvalidModel(f"{node.label}: has {len(node.outputs)} outputs, the operator makes {len(results)}")
        scope.values.update((n, r) for n, r in zip(node.outputs, results) if n)

    def run_operator(self, node: NodeDef, inputs: list[Any]) -> list[Any]:
        operator = OPERATORS[node.domain, node.op_type]
        attributes = checked_attributes(node)
        context = Node(node.op_type, node.label, node.version, attributes, node.outputs, self)
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

    # -- values that must be known ---------------------------------------------------------------------------------------

    def origins(self, x: Any) -> set[str] | None:
        """The model inputs that a traced value depends on; None if it also depends on what no input determines."""
        names: set[str] = set()
        stack: list[tuple[Trace, Value]] = [(x.trace, x.value)]
        seen: set[Value] = set()
        makers: dict[Trace, dict[Value, Any]] = {}
        while stack:
            trace, value = stack.pop()
            if value in seen or value in trace.builder.constants:
                continue
            seen.add(value)
            if value in self.inputs:
                names.add(self.inputs[value])
            elif value in trace.captured:
                outer = trace.captured[value]
                stack.append((outer.trace, outer.value))
            else:
                if trace not in makers:
                    makers[trace] = {r: n for n in trace.builder.nodes for r in n.results}
                node = makers[trace].get(value)
                if node is None:  # carried by a loop
                    return None
                stack.extend((trace, o) for o in node.operands)
        return names

    def need(self, x: Any, where: str, what: str) -> Any:
        """Raise the error that says whose values `x` depends on."""
        names = self.origins(x)
        if not names:
            raise UnsupportedFeature(f"{where}: {what} must be known while compiling, but changes inside a loop")
        raise NeedsValue(sorted(names), where, what)


@cache
def arity(function: Any) -> tuple[int, int]:
    """The fewest and most inputs that an operator's function takes."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sum(p.kind is not p.VAR_POSITIONAL for p in parameters), 1 << 16
    return sum(p.default is p.empty for p in parameters), len(parameters)


@cache
def schema(op_type: str, version: int, domain: str) -> Any:
    """ONNX's own definition of an operator at an opset, or None."""
    import onnx.defs

    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


@cache
def _schema_parts(
    op_type: str, version: int, domain: str
) -> tuple[dict[str, Any], dict[str, int], tuple[str, ...], tuple[int, ...]]:
    """Defaults, types and required names of an operator's attributes, and the positions of inputs that must be there."""
    from onnx.helper import get_attribute_value

    found = schema(op_type, version, domain)
    if found is None:
        return {}, {}, (), ()
    defaults, kinds, required = {}, {}, []
    for name, attribute in found.attributes.items():
        kinds[name] = int(attribute.type.value)
        if attribute.required:
            required.append(name)
        elif attribute.default_value.name:
            value = get_attribute_value(attribute.default_value)
            plain = [v.decode() if isinstance(v, bytes) else v for v in (value if isinstance(value, list) else [value])]
            defaults[name] = tuple(plain) if isinstance(value, list) else plain[0]
    optional = type(found).FormalParameterOption.Optional
    inputs = tuple(i for i, x in enumerate(found.inputs[: found.min_input]) if x.option != optional)
    return defaults, kinds, tuple(required), inputs


_PYTHON_TYPES = {1: float, 2: int, 3: str, 4: np.ndarray, 5: GraphDef, 6: tuple, 7: tuple, 8: tuple}


def checked_attributes(node: NodeDef) -> dict[str, Any]:
    """A node's attributes with defaults, held to the types in the operator's schema."""
    defaults, kinds, required, _ = _schema_parts(node.op_type, node.version, node.domain)
    for name, value in node.attributes.items():
        expected = _PYTHON_TYPES.get(kinds.get(name, 0))
        if expected is not None and not isinstance(value, expected):
            raise InvalidModel(f"{node.label}: attribute {name!r} must be {expected.__name__}, got {type(value).__name__}")
        if expected is tuple and value:
            element = {6: float, 7: int, 8: str}[kinds[name]]
            if not all(isinstance(v, element) for v in value):
                raise InvalidModel(f"{node.label}: attribute {name!r} must be a list of {element.__name__}")
    for name in required:
        if name not in node.attributes:
            raise InvalidModel(f"{node.label}: attribute {name!r} is missing")
    return {**defaults, **node.attributes}


def required_inputs(node: NodeDef) -> tuple[int, ...]:
    """The positions of the inputs that the operator's schema requires."""
    return _schema_parts(node.op_type, node.version, node.domain)[3]


@cache
def operator_body(op_type: str, version: int, domain: str) -> FunctionDef | None:
    """The function by which ONNX itself defines an operator, or None."""
    import onnx

    from .external import ExternalData
    from .proto import Decoder

    found = schema(op_type, version, domain)
    if found is None or not found.has_function:
        return None
    opsets = [v for v in found.function_opset_versions if v <= version]
    body = found.get_function_with_opset_version(max(opsets)) if opsets else found.function_body
    proto = body if isinstance(body, onnx.FunctionProto) else onnx.FunctionProto.FromString(body)
    return Decoder({"": version}, ExternalData(None)).function(proto)


def is_supported(op_type: str, version: int, domain: str) -> bool:
    """Whether hither has this operator, itself or through the function that defines it (whose operators it must have)."""
    if (domain, op_type) in OPERATORS:
        return domain != "" or schema(op_type, version, domain) is not None
    body = operator_body(op_type, version, domain)
    return body is not None and all(is_supported(n.op_type, n.version, n.domain) for n in body.nodes)
