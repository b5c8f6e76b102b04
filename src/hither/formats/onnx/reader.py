"""Reads an ONNX file, an untrusted one, into a Model.

The `onnx` package parses the protobuf; everything in it is checked here and in proto.py before it is used. All operators that
hither lacks are named at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InvalidModel, PackageMissing, UnsupportedFeature, UnsupportedOperators
from ...model import BoundedOutput, Build, Model
from ...spec import Spec
from ..interpreter import is_weight
from . import operators  # noqa: F401  (fills the registry)
from .external import ExternalData
from .importer import Importer
from .proto import Decoder, FunctionDef, GraphDef, NodeDef, check_text, opset_versions
from .registry import Bounded
from .schemas import is_supported, schema

OLDEST_OPSET = 7  # before it, broadcasting worked differently; operators that have not changed since are read all the same


@dataclass(frozen=True, eq=False)
class Network:
    """What an ONNX file holds: what a Model is made of."""

    build: Build
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    weights: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]

    def model(self, name: str, device: str | None, precision: str | None) -> Model:
        return Model(
            self.build, self.inputs, self.outputs, weights=self.weights, metadata=self.metadata, name=name, device=device,
            precision=precision,
        )  # fmt: skip


def load_bytes(
    data: bytes,
    *,
    name: str = "model",
    directory: Path | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> Model:
    """Read an ONNX model from bytes; `directory` is where its external data may be."""
    return read(data, ExternalData(directory), name).model(name, device, precision)


def read(data: bytes, external: ExternalData, name: str) -> Network:
    """Read the network in the bytes of an ONNX file.

    Raises:
        InvalidModel: if the file is malformed.
        UnsupportedOperators: if it uses operators that hither does not have.
    """
    proto = _parse(data, name)
    opsets = _check_versions(proto, name)
    _check_operators(proto, opsets, name)
    decoder = Decoder(opsets, external)
    graph = decoder.graph(proto.graph)
    functions = {(f.domain, f.name): f for f in (decoder.function(p) for p in proto.functions)}
    metadata = {p.key: p.value for p in proto.metadata_props}
    for key in ("producer_name", "producer_version", "domain", "doc_string"):
        if getattr(proto, key):
            metadata.setdefault(key, getattr(proto, key))
    inputs = {n: _wanted(graph.specs.get(n), n) for n in graph.inputs}
    outputs = {n: _output(graph.specs.get(n)) for n in graph.outputs}

    def build(arrays: Mapping[str, Any]) -> dict[str, Any]:
        results = Importer(graph, functions, name).run(arrays)
        for key, value in results.items():
            if isinstance(value, Bounded):
                results[key] = BoundedOutput(value.data, value.length, value.axis)
            elif not hasattr(value, "shape"):
                raise UnsupportedFeature(f"{name}: output {key!r} is a sequence or an optional; hither gives arrays only")
        return results

    return Network(build, inputs, outputs, dict(_weights(graph)), metadata)


def _parse(data: bytes, name: str) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise PackageMissing("reading ONNX files", "onnx", "onnx") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise InvalidModel(f"{name} is no ONNX file, or is damaged or cut short: {error}") from error
    check_text(proto, name)
    if not proto.HasField("graph") or not proto.opset_import:
        raise InvalidModel(f"{name} has no graph or names no opset: it is no ONNX model, or is damaged or cut short")
    return proto


def _check_versions(proto: Any, name: str) -> dict[str, int]:
    from onnx import IR_VERSION
    from onnx.defs import onnx_opset_version

    opsets = opset_versions(proto.opset_import)
    opset = opsets.setdefault("", onnx_opset_version())
    if proto.ir_version > IR_VERSION or proto.ir_version < 1:
        raise InvalidModel(
            f"{name} has IR version {proto.ir_version}; the installed onnx package knows 1 to {IR_VERSION}: update onnx"
        )
    if not 1 <= opset <= onnx_opset_version():
        raise InvalidModel(
            f"{name} uses opset {opset}; hither reads {OLDEST_OPSET} to {onnx_opset_version()}: update the onnx package"
        )
    if opset < OLDEST_OPSET:
        changed = sorted({op for domain, op, _ in _nodes(proto.graph.node, opsets) if not domain and _has_changed(op, opset)})
        if changed:
            raise InvalidModel(
                f"{name} uses opset {opset}, in which {', '.join(changed)} had another meaning; hither reads {OLDEST_OPSET} to "
                f"{onnx_opset_version()}: convert it with onnx.version_converter"
            )
    return opsets


def _has_changed(op_type: str, opset: int) -> bool:
    """Whether an operator meant something else in this old opset."""
    old, new = schema(op_type, opset, ""), schema(op_type, OLDEST_OPSET, "")
    return old is not None and new is not None and old.since_version != new.since_version


def _nodes(nodes: Iterable[Any], opsets: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """(domain, operator, version) of each node, those of subgraphs included."""
    for node in nodes:
        domain = "" if node.domain == "ai.onnx" else node.domain
        yield domain, node.op_type, opsets.get(domain, 1)
        for attribute in node.attribute:
            if attribute.type == 5:
                yield from _nodes(attribute.g.node, opsets)


def _check_operators(proto: Any, opsets: Mapping[str, int], name: str) -> None:
    local = {("" if f.domain == "ai.onnx" else f.domain, f.name) for f in proto.functions}
    used = set(_nodes(proto.graph.node, opsets))
    for function in proto.functions:
        used |= set(_nodes(function.node, {**opsets, **opset_versions(function.opset_import)}))
    missing = {
        (domain or "ai.onnx", op, version)
        for domain, op, version in used
        if (domain, op) not in local and not is_supported(op, version, domain)
    }
    if missing:
        raise UnsupportedOperators(name, missing)


def _wanted(spec: Spec | UnsupportedFeature | None, name: str) -> Spec:
    if isinstance(spec, Spec):
        return spec
    raise spec or InvalidModel(f"input {name!r} has no type")


def _output(spec: Spec | UnsupportedFeature | None) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, UnsupportedFeature):
        raise spec
    return Spec(None, "float32")  # a file that leaves the type of an output out almost always means this one


def _weights(graph: GraphDef) -> Iterator[tuple[str, np.ndarray]]:
    """The named arrays that are weights: initialisers and large constants."""
    for name, array in graph.initializers.items():
        if is_weight(array):
            yield name, array
    for node in graph.nodes:
        yield from _node_weights(node)


def _node_weights(node: NodeDef) -> Iterator[tuple[str, np.ndarray]]:
    value = node.attributes.get("value")
    if node.op_type == "Constant" and isinstance(value, np.ndarray) and is_weight(value):
        yield node.outputs[0], value
    for subgraph in node.graphs():
        yield from _weights(subgraph)


__all__ = ["FunctionDef", "Network", "load_bytes", "read"]
