"""From ONNX's protobuf messages to plain definitions, checked.

Everything the file says is decoded here once, with sizes checked before anything is allocated, so that the importer works on
data it can trust: dtypes hither has, tensors with as many bytes as their shape needs, unique names, nodes in execution order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature
from ...spec import Spec
from ..room import Room
from .external import ExternalData, stored, stored_as
from .few_bits import FEW_BITS, check_readers, packed_bytes, unpacked

MAX_RANK = 32
MAX_TENSOR_BYTES = 1 << 31
MAX_SPARSE_BYTES = 1 << 30  # of all sparse tensors of a model together, which take no room in its file
MAX_DEPTH = 32

# TensorProto.DataType → NumPy dtype; what is missing here hither does not have.
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
}  # fmt: skip
OTHER_DTYPES = {
    8: "string", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz",
    21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip


@dataclass(frozen=True)
class AttributeRef:
    """Stands, in a function's body, for the attribute of this name of the node that calls the function."""

    name: str


@dataclass(frozen=True, eq=False)
class NodeDef:
    """One node: operator, names of its inputs and outputs ("" where left out), attributes."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    version: int

    @property
    def label(self) -> str:
        """What errors call this node."""
        return f"{self.op_type} {(self.name or (self.outputs[0] if self.outputs else ''))!r}"

    def graphs(self) -> Iterator[GraphDef]:
        """The subgraphs among the attributes."""
        for value in self.attributes.values():
            if isinstance(value, GraphDef):
                yield value


@dataclass(frozen=True, eq=False)
class GraphDef:
    """A graph or subgraph: typed inputs and outputs, initialisers, nodes in execution order."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, np.ndarray]
    nodes: tuple[NodeDef, ...]
    specs: Mapping[str, Spec | UnsupportedFeature | None] = field(default_factory=dict)

    def free_names(self) -> set[str]:
        """Names that the graph takes from the graphs around it."""
        known = set(self.inputs) | set(self.initializers)
        free: set[str] = set()
        for node in self.nodes:
            free.update(n for n in node_uses(node) if n not in known)
            known.update(node.outputs)
        free.update(n for n in self.outputs if n not in known)
        return free - {""}


@dataclass(frozen=True, eq=False)
class FunctionDef:
    """A model-local function, or the body by which ONNX defines an operator through others."""

    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    defaults: Mapping[str, Any]
    nodes: tuple[NodeDef, ...]

    def body(self, attributes: Mapping[str, Any]) -> tuple[NodeDef, ...]:
        """The nodes with the caller's attributes in place of references to them."""
        return tuple(_substitute(n, {**self.defaults, **attributes}) for n in self.nodes)


def _substitute(node: NodeDef, attributes: Mapping[str, Any]) -> NodeDef:
    """A node whose attribute references are resolved; one that the caller leaves out is left out."""
    found: dict[str, Any] = {}
    for name, value in node.attributes.items():
        if isinstance(value, AttributeRef):
            if value.name in attributes:
                found[name] = attributes[value.name]
        elif isinstance(value, GraphDef):
            found[name] = replace(value, nodes=tuple(_substitute(n, attributes) for n in value.nodes))
        else:
            found[name] = value
    return replace(node, attributes=found)


def node_uses(node: NodeDef) -> Iterator[str]:
    """All names that a node reads, those that its subgraphs take from outside included."""
    yield from node.inputs
    for graph in node.graphs():
        yield from graph.free_names()


# -- tensors -----------------------------------------------------------------------------------------------------------------


def numpy_dtype(data_type: int, where: str) -> np.dtype:
    """The NumPy dtype of a TensorProto.DataType.

    Raises:
        UnsupportedFeature: for strings and the small floats and integers that hither does not have.
        InvalidModel: for a number that is no dtype.
    """
    if data_type in DTYPES:
        return np.dtype(DTYPES[data_type])
    if data_type in OTHER_DTYPES:
        raise UnsupportedFeature(f"{where}: hither has no dtype {OTHER_DTYPES[data_type]}")
    raise InvalidModel(f"{where}: {data_type} is no ONNX data type")


def check_shape(shape: Sequence[int], itemsize: int, where: str) -> int:
    """The number of elements of a shape, refused when negative or larger than one tensor may be."""
    if len(shape) > MAX_RANK or any(d < 0 for d in shape):
        raise InvalidModel(f"{where}: {list(shape)[:MAX_RANK]} is no shape")
    size = math.prod(shape)
    if size * itemsize > MAX_TENSOR_BYTES:
        raise LimitExceeded(f"{where}: shape {list(shape)} needs {size * itemsize} bytes; the limit is {MAX_TENSOR_BYTES}")
    return size


def tensor(proto: Any, external: ExternalData, where: str, few: bool = False) -> np.ndarray:
    """The array in a TensorProto, read-only; shares the bytes of the file where it can. `few`: elements of 2 and 4 bits are
    taken too, as bytes (few_bits.py)."""
    where = f"{where} {proto.name!r}" if proto.name else where
    shape = tuple(proto.dims)
    if few and proto.data_type in FEW_BITS:
        size = check_shape(shape, 1, where)
        packed = _elements(proto, np.dtype(np.uint8), packed_bytes(proto.data_type, size), external, where)
        array = unpacked(proto.data_type, packed, size)
    else:
        kind = numpy_dtype(proto.data_type, where)
        array = _elements(proto, kind, check_shape(shape, kind.itemsize, where), external, where)
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def _elements(proto: Any, kind: np.dtype, size: int, external: ExternalData, where: str) -> np.ndarray:
    """So many elements of a TensorProto, wherever it has them."""
    if proto.data_location == 1:
        return external.read(proto, kind, size, where)
    if not proto.HasField("raw_data"):
        return _typed_data(proto, kind, size, where)
    if len(proto.raw_data) != size * kind.itemsize:
        raise InvalidModel(
            f"{where}: shape {list(proto.dims)} needs {size * kind.itemsize} bytes, the file has {len(proto.raw_data)}"
        )
    return stored(np.frombuffer(proto.raw_data, stored_as(kind)), kind)


def _typed_data(proto: Any, kind: np.dtype, size: int, where: str) -> np.ndarray:
    """The elements of a TensorProto that are in one of its typed fields instead of raw bytes."""
    if kind.name in ("float32", "complex64"):
        source: Any = np.array(proto.float_data, np.float32)
    elif kind.name in ("float64", "complex128"):
        source = np.array(proto.double_data, np.float64)
    elif kind.name == "int64":
        source = np.array(proto.int64_data, np.int64)
    elif kind.name in ("uint32", "uint64"):
        source = np.array(proto.uint64_data, np.uint64)
    else:
        source = np.array(proto.int32_data, np.int32)
    expected = size * 2 if kind.kind == "c" else size
    if source.size != expected:
        raise InvalidModel(f"{where}: {expected} elements expected, the file has {source.size}")
    if kind.kind == "c":
        return source.view(kind)
    if kind.name == "float16":
        return source.astype(np.uint16).view(np.float16)
    return source.astype(kind)


def sparse_tensor(proto: Any, external: ExternalData, where: str, room: Room) -> np.ndarray:
    """The dense array of a SparseTensorProto, for which there must be room."""
    values = tensor(proto.values, external, where)
    indices = tensor(proto.indices, external, where)
    shape = tuple(proto.dims)
    size = check_shape(shape, values.dtype.itemsize, where)
    if values.ndim != 1 or indices.dtype != np.int64:
        raise InvalidModel(f"{where}: sparse values must be a vector with int64 indices")
    if indices.ndim == 2 and indices.shape == (values.size, len(shape)):
        if ((indices < 0) | (indices >= np.array(shape))).any():
            raise InvalidModel(f"{where}: a sparse index lies outside shape {list(shape)}")
        indices = indices @ np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)
    if indices.shape != values.shape or (indices.size and (indices.min() < 0 or indices.max() >= size)):
        raise InvalidModel(f"{where}: sparse indices of shape {indices.shape} do not fit {values.size} values")
    room.take(size * values.dtype.itemsize, where)
    dense = np.zeros(size, values.dtype)
    dense[indices] = values
    return dense.reshape(shape)


def check_text(message: Any, where: str) -> None:
    """Refuse names that are not UTF-8: protobuf hands them over as bytes."""
    for field_, value in message.ListFields():
        if field_.type == field_.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if not isinstance(text, str):
                    raise InvalidModel(f"{where}: {field_.full_name} is no UTF-8 text: {bytes(text[:40])!r}")
        elif field_.type == field_.TYPE_MESSAGE:
            for part in value if hasattr(value, "__len__") else [value]:
                check_text(part, where)


# -- attributes, nodes, graphs ------------------------------------------------------------------------------------------------


class Decoder:
    """Decodes the messages of one model; holds what they have in common."""

    def __init__(self, opsets: Mapping[str, int], external: ExternalData, room: Room | None = None) -> None:
        self.opsets = dict(opsets)
        self.external = external
        self.room = room or Room(MAX_SPARSE_BYTES, "sparse tensors, as dense ones,")

    def attribute(self, proto: Any, where: str, depth: int) -> Any:
        """The value of an AttributeProto as Python numbers, strings, arrays, graphs, or tuples of them."""
        if proto.ref_attr_name:
            return AttributeRef(proto.ref_attr_name)
        where = f"{where}, attribute {proto.name!r}"
        kind = proto.type
        if kind == 1:
            return proto.f
        if kind == 2:
            return proto.i
        if kind == 3:
            return proto.s.decode("utf-8", "replace")
        if kind == 4:
            return tensor(proto.t, self.external, where)
        if kind == 5:
            return self.graph(proto.g, depth + 1, top=False)
        if kind == 6:
            return tuple(proto.floats)
        if kind == 7:
            return tuple(proto.ints)
        if kind == 8:
            return tuple(s.decode("utf-8", "replace") for s in proto.strings)
        if kind == 11:
            return sparse_tensor(proto.sparse_tensor, self.external, where, self.room)
        if kind in (9, 10, 12, 13, 14):
            raise UnsupportedFeature(f"{where}: lists of tensors or graphs and type attributes are not supported")
        raise InvalidModel(f"{where}: {kind} is no attribute type")

    def node(self, proto: Any, depth: int) -> NodeDef:
        """A NodeProto's definition."""
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        where = f"{proto.op_type} {proto.name or (proto.output[0] if proto.output else '')!r}"
        attributes: dict[str, Any] = {}
        for attribute in proto.attribute:
            if attribute.name in attributes:
                raise InvalidModel(f"{where}: attribute {attribute.name!r} is given twice")
            attributes[attribute.name] = self.attribute(attribute, where, depth)
        return NodeDef(
            proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), attributes, self.opsets.get(domain, 1)
        )

    def graph(self, proto: Any, depth: int = 0, top: bool = True) -> GraphDef:
        """A GraphProto's definition, its nodes sorted into execution order."""
        where = f"graph {proto.name!r}"
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"{where}: graphs are nested more than {MAX_DEPTH} deep")
        initializers: dict[str, np.ndarray] = {}
        for t in proto.initializer:
            _once(t.name, initializers, where)
            initializers[t.name] = tensor(t, self.external, "initialiser", few=True)
        for s in proto.sparse_initializer:
            _once(s.values.name, initializers, where)
            initializers[s.values.name] = sparse_tensor(s, self.external, f"sparse initialiser {s.values.name!r}", self.room)
        inputs: dict[str, None] = {}
        for value in proto.input:
            _once(value.name, inputs, where)
            if not (top and value.name in initializers):  # one with a default is a constant to us
                inputs[value.name] = None
        specs = {v.name: spec(v) for v in [*proto.input, *proto.output]} if top else {}
        nodes = [self.node(n, depth) for n in proto.node]
        outputs = tuple(v.name for v in proto.output)
        if len(set(outputs)) != len(outputs) and top:
            raise InvalidModel(f"{where}: an output is named twice")
        nodes = sort_nodes(nodes, [*inputs, *initializers], where, closed=top)
        check_readers({t.name: t.data_type for t in proto.initializer if t.data_type in FEW_BITS}, nodes, outputs)
        made = {n for node in nodes for n in node.outputs} | set(inputs) | set(initializers)
        if top:
            missing = [n for n in outputs if n not in made]
            if missing:
                raise InvalidModel(f"{where}: nothing makes output {missing[0]!r}")
        return GraphDef(proto.name, tuple(inputs), outputs, initializers, tuple(nodes), specs)

    def function(self, proto: Any, depth: int = 0) -> FunctionDef:
        """A FunctionProto's definition."""
        where = f"function {proto.domain}.{proto.name}"
        own = Decoder({**self.opsets, **opset_versions(proto.opset_import)}, self.external, self.room)
        defaults = {a.name: own.attribute(a, where, depth) for a in proto.attribute_proto}
        nodes = sort_nodes([own.node(n, depth) for n in proto.node], proto.input, where, closed=True)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        return FunctionDef(
            proto.name, domain, tuple(proto.input), tuple(proto.output), tuple(proto.attribute), defaults, tuple(nodes)
        )


def opset_versions(imports: Iterable[Any]) -> dict[str, int]:
    """Domain → version of a list of OperatorSetIdProto."""
    return {("" if o.domain == "ai.onnx" else o.domain): o.version for o in imports}


def spec(value: Any) -> Spec | UnsupportedFeature | None:
    """The Spec of a ValueInfoProto, None if it has no type; for what hither has no arrays for, the error to raise."""
    kind = value.type.WhichOneof("value")
    if kind is None or (kind == "tensor_type" and value.type.tensor_type.elem_type == 0):
        return None
    if kind != "tensor_type":
        return UnsupportedFeature(f"{value.name!r} is a {kind.removesuffix('_type')}, not a tensor")
    try:
        element = numpy_dtype(value.type.tensor_type.elem_type, repr(value.name))
    except UnsupportedFeature as error:
        return error
    if not value.type.tensor_type.HasField("shape"):
        return Spec(None, element)
    shape: list[int | str | None] = []
    for d in value.type.tensor_type.shape.dim:
        which = d.WhichOneof("value")
        # Exporters write 0 or -1 for a free extent too.
        shape.append(d.dim_value if which == "dim_value" and d.dim_value > 0 else (d.dim_param or None))
    if len(shape) > MAX_RANK:
        raise InvalidModel(f"{value.name!r} has {len(shape)} axes; at most {MAX_RANK} are possible")
    return Spec(tuple(shape), element)


def _once(name: str, seen: Mapping[str, Any], where: str) -> None:
    if not name:
        raise InvalidModel(f"{where}: an input or initialiser has no name")
    if name in seen:
        raise InvalidModel(f"{where}: {name!r} is given twice")


def sort_nodes(nodes: Sequence[NodeDef], given: Iterable[str], where: str, closed: bool) -> list[NodeDef]:
    """Nodes in execution order (files should have it, some do not); each value made once, no cycles.

    Args:
        closed: whether every name must be made inside (False for a subgraph, which sees the graphs around it).
    """
    maker: dict[str, int] = {}
    known = set(given)
    for i, node in enumerate(nodes):
        for name in node.outputs:
            if not name:
                continue
            if name in maker or name in known:
                raise InvalidModel(f"{where}: {name!r} is made twice, the second time by {node.label}")
            maker[name] = i
    uses = [[n for n in dict.fromkeys(node_uses(node)) if n] for node in nodes]
    if closed:
        for node, names in zip(nodes, uses):
            missing = [n for n in names if n not in maker and n not in known]
            if missing:
                raise InvalidModel(f"{where}: {node.label} uses {missing[0]!r}, which nothing makes")
    needs = [{maker[n] for n in names if n in maker} for names in uses]
    if all(all(j < i for j in need) for i, need in enumerate(needs)):
        return list(nodes)
    users: list[list[int]] = [[] for _ in nodes]
    for i, need in enumerate(needs):
        for j in need:
            users[j].append(i)
    waiting = [len(need) for need in needs]
    ready = [i for i, n in enumerate(waiting) if n == 0]
    ordered: list[int] = []
    while ready:
        i = ready.pop()
        ordered.append(i)
        for j in users[i]:
            waiting[j] -= 1
            if waiting[j] == 0:
                ready.append(j)
    if len(ordered) != len(nodes):
        stuck = next(node for node, n in zip(nodes, waiting) if n > 0)
        raise InvalidModel(f"{where}: {stuck.label} depends on its own result")
    return [nodes[i] for i in ordered]
