"""What the onnx package knows about operators: attributes, inputs, and the functions that define some through others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...errors import InvalidModel, UnsupportedFeature
from .external import ExternalData
from .proto import DTYPES, Decoder, FunctionDef, GraphDef, NodeDef
from .registry import OPERATORS, Operator


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

    own = OPERATORS.get((domain, op_type))
    if own is not None and own.attributes is not None:
        return _declared_parts(own, own.attributes)
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


def _declared_parts(
    own: Operator, attributes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, int], tuple[str, ...], tuple[int, ...]]:
    """The same parts of an operator that is declared where it is registered."""
    defaults: dict[str, Any] = {}
    kinds: dict[str, int] = {}
    required = []
    for name, value in attributes.items():
        if isinstance(value, list):
            kinds[name] = _KINDS_OF_LISTS[value[0]]
        elif isinstance(value, type):
            kinds[name] = _KINDS[value]
            required.append(name)
        elif value is None:
            kinds[name] = _KINDS[float]
        else:
            kinds[name], defaults[name] = _KINDS[type(value)], value
    parameters = list(inspect.signature(own.function).parameters.values())[1:]
    inputs = tuple(
        i
        for i, p in enumerate(parameters)
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and p.name not in own.optional
    )
    return defaults, kinds, tuple(required), inputs


_KINDS = {float: 1, int: 2, str: 3}
_KINDS_OF_LISTS = {float: 6, int: 7, str: 8}
_PYTHON_TYPES = {1: float, 2: int, 3: str, 4: np.ndarray, 5: GraphDef, 6: tuple, 7: tuple, 8: tuple}


def checked_attributes(node: NodeDef) -> dict[str, Any]:
    """A node's attributes with defaults, held to the types in the schema of its operator, which is a registered one."""
    defaults, kinds, required, _ = _schema_parts(node.op_type, node.version, node.domain)
    declared = OPERATORS[node.domain, node.op_type].attributes
    for name, value in node.attributes.items():
        if declared is not None and name not in declared:
            raise UnsupportedFeature(f"{node.label}: hither does not know attribute {name!r} of {node.op_type}")
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


def operator_body(node: NodeDef, inputs: Sequence[Any]) -> FunctionDef:
    """The function by which ONNX itself defines a node's operator, for these inputs.

    Raises:
        InvalidModel: if it has none.
    """
    body = _fixed_body(node.op_type, node.version, node.domain)
    if body is not None:
        return body
    found = schema(node.op_type, node.version, node.domain)
    if found is None or not found.has_context_dependent_function:
        raise InvalidModel(f"{node.label}: no such operator in opset {node.version}")
    versions = [v for v in found.context_dependent_function_opset_versions if v <= node.version]
    types = [_type_proto(x).SerializeToString() for x in inputs]
    proto = found.get_context_dependent_function_with_opset_version(
        max(versions, default=found.since_version), _node_proto(node).SerializeToString(), types
    )
    return _decoded(proto, node.version)


@cache
def _fixed_body(op_type: str, version: int, domain: str) -> FunctionDef | None:
    """The body of an operator whose definition is the same for all inputs, or None."""
    found = schema(op_type, version, domain)
    if found is None or not found.has_function:
        return None
    versions = [v for v in found.function_opset_versions if v <= version]
    body = found.get_function_with_opset_version(max(versions)) if versions else found.function_body
    return _decoded(body, version)


def _decoded(body: Any, version: int) -> FunctionDef:
    import onnx

    proto = body if isinstance(body, onnx.FunctionProto) else onnx.FunctionProto.FromString(body)
    return Decoder({"": version}, ExternalData(None)).function(proto)


def _type_proto(x: Any) -> Any:
    """The ONNX type of an array (empty for an input left out)."""
    from onnx import TypeProto
    from onnx.helper import make_tensor_type_proto

    if x is None or not hasattr(x, "dtype"):
        return TypeProto()
    numbers = {name: number for number, name in DTYPES.items()}
    return make_tensor_type_proto(numbers[str(x.dtype)], [int(n) for n in x.shape])


def _node_proto(node: NodeDef) -> Any:
    """The message that a node was read from, without its subgraphs."""
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    attributes: Mapping[str, Any] = {
        name: from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
        if not isinstance(value, GraphDef)
    }
    return make_node(node.op_type, node.inputs, node.outputs, node.name, domain=node.domain, **attributes)


def is_supported(op_type: str, version: int, domain: str) -> bool:
    """Whether hither has this operator, itself or through the function that defines it (whose operators it must have)."""
    own = OPERATORS.get((domain, op_type))
    if own is not None:
        return own.attributes is not None or domain != "" or schema(op_type, version, domain) is not None
    found = schema(op_type, version, domain)
    if found is not None and found.has_context_dependent_function:
        return True  # its body is known only with its inputs' types
    body = _fixed_body(op_type, version, domain)
    return body is not None and all(is_supported(n.op_type, n.version, n.domain) for n in body.nodes)
