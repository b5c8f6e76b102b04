"""From the JSON of a TensorFlow GraphDef to plain definitions, checked.

Everything the file says about nodes is decoded here once: references as (node, output), attributes as Python values, dtypes
as TF.js has them (all integers are int32, all floats float32). The graph's own nodes and the bodies of its function library
have the same form.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InvalidModel, LimitExceeded
from ..room import Room

MAX_NODES = 1 << 20
MAX_RANK = 32
MAX_CONSTANT_BYTES = 1 << 28  # of all constants that are written in the JSON, where one number may stand for many

# TensorFlow's DataType by number, for files that do not write names.
NUMBERS = {
    1: "DT_FLOAT", 2: "DT_DOUBLE", 3: "DT_INT32", 4: "DT_UINT8", 5: "DT_INT16", 6: "DT_INT8", 7: "DT_STRING",
    8: "DT_COMPLEX64", 9: "DT_INT64", 10: "DT_BOOL", 14: "DT_BFLOAT16", 17: "DT_UINT16", 18: "DT_COMPLEX128", 19: "DT_HALF",
    20: "DT_RESOURCE", 21: "DT_VARIANT", 22: "DT_UINT32", 23: "DT_UINT64",
}  # fmt: skip
# What TF.js computes with.
DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float32", "DT_HALF": "float32", "DT_BFLOAT16": "float32", "DT_INT32": "int32",
    "DT_INT64": "int32", "DT_INT16": "int32", "DT_INT8": "int32", "DT_UINT8": "int32", "DT_UINT16": "int32",
    "DT_UINT32": "int32", "DT_UINT64": "int32", "DT_BOOL": "bool", "DT_COMPLEX64": "complex64", "DT_COMPLEX128": "complex64",
    "DT_STRING": "string", "DT_RESOURCE": "resource", "DT_VARIANT": "variant",
}  # fmt: skip

# Names of the outputs of operators that have several, which function bodies refer to. All others have one, maybe a list.
OUTPUTS = {
    "Switch": ("output_false", "output_true"), "Merge": ("output", "value_index"), "TopKV2": ("values", "indices"),
    "Unique": ("y", "idx"), "UniqueV2": ("y", "idx"), "ListDiff": ("out", "idx"), "TensorArrayV3": ("handle", "flow"),
    "MaxPoolWithArgmax": ("output", "argmax"), "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
    "FusedBatchNorm": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    "FusedBatchNormV2": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    "FusedBatchNormV3": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    "TensorListPopBack": ("output_handle", "tensor"), "TensorListConcatV2": ("tensor", "lengths"),
    "TensorListConcat": ("tensor", "lengths"), "TensorArrayConcatV3": ("value", "lengths"),
    "SparseReshape": ("output_indices", "output_shape"), "UniqueWithCounts": ("y", "idx", "count"),
    "SparseFillEmptyRows": ("output_indices", "output_values", "empty_row_indicator", "reverse_index_map"),
}  # fmt: skip


@dataclass(frozen=True)
class Ref:
    """An output of a node."""

    node: str
    index: int = 0


@dataclass(frozen=True, eq=False)
class NodeDef:
    """One node: operator, the outputs it reads, the nodes that must have run before it, attributes."""

    name: str
    op: str
    inputs: tuple[Ref, ...]
    controls: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What errors call this node."""
        return f"{self.op} {self.name!r}"


@dataclass(frozen=True, eq=False)
class GraphDef:
    """Nodes by name. A function also has names of its arguments and the outputs it gives."""

    name: str
    nodes: Mapping[str, NodeDef]
    arguments: tuple[str, ...] = ()
    results: tuple[Ref, ...] = ()

    def node(self, name: str) -> NodeDef:
        """A node that must be there."""
        found = self.nodes.get(name)
        if found is None:
            raise InvalidModel(f"graph {self.name!r}: nothing makes {name!r}")
        return found


@dataclass(frozen=True)
class Tensor:
    """A constant: dtype and shape, and its values where they are in the JSON (most are in the weight manifest)."""

    dtype: str
    shape: tuple[int | None, ...] | None
    values: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FunctionName:
    """An attribute that names a function of the library."""

    name: str


def graph_def(topology: Any, name: str) -> tuple[GraphDef, dict[str, GraphDef]]:
    """The graph of a modelTopology, and its function library.

    Raises:
        InvalidModel: if it is malformed.
    """
    topology = _object(topology, "modelTopology")
    room = Room(MAX_CONSTANT_BYTES, "constants written in JSON")
    main = GraphDef(name, _nodes(topology.get("node"), name, set(), room))
    library = topology.get("library")
    functions: dict[str, GraphDef] = {}
    for item in _list(_object(library, "library").get("function"), "functions of the library") if library else ():
        function = _function(item, room)
        if function.name in functions:
            raise InvalidModel(f"the library has two functions {function.name!r}")
        functions[function.name] = function
    return main, functions


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidModel(f"{what} must be an object, got {type(value).__name__}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidModel(f"{what} must be a list, got {type(value).__name__}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 4096:
        raise InvalidModel(f"{what} must be a name, got {value!r:.100}")
    return value


def _nodes(items: Any, graph: str, arguments: set[str], room: Room) -> dict[str, NodeDef]:
    listed = _list(items, f"nodes of {graph}")
    if len(listed) > MAX_NODES:
        raise LimitExceeded(f"{graph} has {len(listed)} nodes, at most {MAX_NODES}")
    operators = {
        i["name"]: i["op"]
        for i in listed
        if isinstance(i, Mapping) and isinstance(i.get("name"), str) and isinstance(i.get("op"), str)
    }
    found: dict[str, NodeDef] = {}
    for item in listed:
        item = _object(item, f"a node of {graph}")
        name = _text(item.get("name"), f"the name of a node of {graph}")
        if name in found or name in arguments:
            raise InvalidModel(f"{graph} has two nodes {name!r}")
        op = _text(item.get("op"), f"the operator of {name!r}")
        inputs, controls = [], []
        for reference in _list(item.get("input"), f"inputs of {name!r}"):
            text = _text(reference, f"an input of {name!r}")
            if text.startswith("^"):
                controls.append(text[1:].partition(":")[0])
            else:
                inputs.append(reference_of(text, operators))
        attributes = {
            str(k): _attribute(v, f"attribute {k!r} of {name!r}", room)
            for k, v in _object(item.get("attr") or {}, f"attributes of {name!r}").items()
            if not str(k).startswith("_output_shapes")
        }
        found[name] = NodeDef(name, op, tuple(inputs), tuple(controls), attributes)
    return found


def reference_of(text: str, operators: Mapping[str, Any]) -> Ref:
    """node, node:output, or node:output name:place in it (in function bodies)."""
    parts = text.split(":")
    if len(parts) == 1:
        return Ref(text)
    if not parts[-1].isdigit() or len(parts[-1]) > 6 or len(parts) > 3:
        raise InvalidModel(f"reference {text!r} must be node, node:output or node:name:output")
    index = int(parts[-1])
    if len(parts) == 3:
        names = OUTPUTS.get(operators.get(parts[0]) or "")
        if names and parts[1] in names:
            index += names.index(parts[1])
    return Ref(parts[0], index)


def _function(item: Any, room: Room) -> GraphDef:
    item = _object(item, "a function of the library")
    signature = _object(item.get("signature"), "the signature of a function")
    name = _text(signature.get("name"), "the name of a function")
    arguments = tuple(
        _text(_object(a, f"an argument of {name!r}").get("name"), f"an argument of {name!r}")
        for a in _list(signature.get("inputArg"), f"arguments of {name!r}")
    )
    if len(set(arguments)) != len(arguments):
        raise InvalidModel(f"function {name!r} has two arguments of one name")
    nodes = _nodes(item.get("nodeDef"), f"function {name!r}", set(arguments), room)
    operators = {n.name: n.op for n in nodes.values()}
    returned = _object(item.get("ret") or {}, f"results of {name!r}")
    results = []
    for result in _list(signature.get("outputArg"), f"results of {name!r}"):
        key = _text(_object(result, f"a result of {name!r}").get("name"), f"a result of {name!r}")
        results.append(reference_of(_text(returned.get(key), f"result {key!r} of {name!r}"), operators))
    return GraphDef(name, nodes, arguments, tuple(results))


# -- attributes ------------------------------------------------------------------------------------------------------------


def dtype_of(value: Any, what: str) -> str:
    """A DataType, by name or number, as what TF.js computes with."""
    name = NUMBERS.get(value) if isinstance(value, int) and not isinstance(value, bool) else value
    name = name.removesuffix("_REF") if isinstance(name, str) else name
    if not isinstance(name, str) or name not in DTYPES:
        raise InvalidModel(f"{what}: unknown dtype {value!r:.100}")
    return DTYPES[name]


def integer_of(value: Any, what: str) -> int:
    """An int64, which JSON writes as text."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            return int(value)
        except ValueError:
            pass
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    raise InvalidModel(f"{what} must be an integer, got {value!r:.100}")


def float_of(value: Any, what: str) -> float:
    """A float, which JSON writes as text where it is not finite."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value in ("NaN", "Infinity", "-Infinity", "inf", "-inf", "nan"):
        return float(value.replace("inity", ""))
    raise InvalidModel(f"{what} must be a number, got {value!r:.100}")


def bytes_of(value: Any, what: str) -> bytes:
    """Bytes, which JSON writes as base64 or as a list of numbers."""
    try:
        if isinstance(value, list):
            return bytes(value)
        if isinstance(value, str):
            return base64.b64decode(value, validate=False)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise InvalidModel(f"{what} must be base64 text, got {value!r:.100}")


def shape_of(value: Any, what: str) -> tuple[int | None, ...] | None:
    """A TensorShape: None for a rank that is not known, None for extents that are not."""
    value = _object(value, what)
    if value.get("unknownRank"):
        return None
    dims = _list(value.get("dim"), what)
    if len(dims) > MAX_RANK:
        raise LimitExceeded(f"{what} has {len(dims)} axes, at most {MAX_RANK}")
    found = [integer_of(_object(d, what).get("size", 0), what) for d in dims]
    if any(n < -1 or n > 1 << 40 for n in found):
        raise InvalidModel(f"{what}: extents {found} are out of range")
    return tuple(None if n == -1 else n for n in found)


def _attribute(value: Any, what: str, room: Room) -> Any:
    """An AttrValue: the one of its fields that is given."""
    value = _object(value, what)
    for key, entry in value.items():
        match key:
            case "s":
                return bytes_of(entry, what)
            case "i":
                return integer_of(entry, what)
            case "f":
                return float_of(entry, what)
            case "b":
                if not isinstance(entry, bool):
                    raise InvalidModel(f"{what} must be true or false, got {entry!r:.100}")
                return entry
            case "type":
                return dtype_of(entry, what)
            case "shape":
                return shape_of(entry, what)
            case "tensor":
                return _tensor(entry, what, room)
            case "func":
                return FunctionName(_text(_object(entry, what).get("name"), what))
            case "list":
                return _list_attribute(_object(entry, what), what, room)
    return None


def _list_attribute(value: Mapping[str, Any], what: str, room: Room) -> tuple[Any, ...]:
    for key, entries in value.items():
        listed = _list(entries, what)
        if not listed:
            continue
        if key == "b":
            return tuple(bool(e) for e in listed)
        if key == "func":
            return tuple(FunctionName(_text(_object(e, what).get("name"), what)) for e in listed)
        if key == "tensor":
            return tuple(_tensor(e, what, room) for e in listed)
        if key in _ELEMENTS:
            return tuple(_ELEMENTS[key](e, what) for e in listed)
    return ()


_CONTENT = {
    "DT_FLOAT": ("<f4", "floatVal"), "DT_DOUBLE": ("<f8", "doubleVal"), "DT_INT32": ("<i4", "intVal"),
    "DT_INT64": ("<i8", "int64Val"), "DT_BOOL": ("u1", "boolVal"), "DT_UINT8": ("u1", "intVal"), "DT_INT8": ("i1", "intVal"),
    "DT_INT16": ("<i2", "intVal"), "DT_UINT16": ("<u2", "intVal"), "DT_HALF": ("<f2", None),
}  # fmt: skip


def _tensor(value: Any, what: str, room: Room) -> Tensor:
    value = _object(value, what)
    given = value.get("dtype", "DT_FLOAT")
    name = NUMBERS.get(given) if isinstance(given, int) and not isinstance(given, bool) else given
    dtype = dtype_of(given, what)
    shape = shape_of(value.get("tensorShape") or {}, what)
    content, named = value.get("tensorContent"), _CONTENT.get(str(name))
    if named is None or shape is None or None in shape:
        return Tensor(dtype, shape)
    size, stored = math.prod(n or 0 for n in shape), np.dtype(named[0])
    listed = _list(value.get(named[1]), what) if named[1] and not content else []
    if not content and (not listed or len(listed) > size):
        return Tensor(dtype, shape)  # its values are in the weight manifest
    room.take(size * stored.itemsize, f"{what} of shape {shape}")
    if content:
        raw = bytes_of(content, what)
        if len(raw) != size * stored.itemsize:
            raise InvalidModel(f"{what} of shape {shape} has {len(raw)} bytes")
        made = np.frombuffer(raw, stored)
    else:
        numbers = [
            bool(v) if dtype == "bool" else float_of(v, what) if dtype == "float32" else integer_of(v, what) for v in listed
        ]
        try:
            made = np.full(size, numbers[-1], stored)  # the last value fills the rest
            made[: len(numbers)] = numbers
        except OverflowError as error:
            raise InvalidModel(f"{what}: {error}") from error
    return Tensor(dtype, shape, made.astype(dtype).reshape([n or 0 for n in shape]))


_ELEMENTS: dict[str, Callable[[Any, str], Any]] = {
    "s": bytes_of, "i": integer_of, "f": float_of, "type": dtype_of, "shape": shape_of,
}  # fmt: skip
