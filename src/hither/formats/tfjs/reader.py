"""Reads a TF.js graph model, an untrusted one, into a Model: its signature, its graph, its weights.

All operators that hither lacks are named at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import InvalidModel, UnsupportedFeature, UnsupportedOperators
from ...model import BoundedOutput, Model
from ...spec import Spec
from ..interpreter import is_weight
from . import operators  # noqa: F401  (fills the registry)
from .graphdef import DTYPES, FunctionName, GraphDef, NodeDef, Ref, dtype_of, graph_def, reference_of, shape_of
from .importer import Importer
from .manifest import read_weights
from .registry import OPERATORS
from .sizes import Bounded, Sizes
from .source import Source

PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "_Arg")
LIBRARY = "tensorflow"


def load_document(document: Mapping[str, Any], source: Source, *, device: str | None, precision: str | None) -> Model:
    """The model of a parsed model.json; shards come from its source.

    Raises:
        InvalidModel: if it is malformed, or a shard is missing, short or long.
        UnsupportedOperators: if it uses operators that hither does not have.
    """
    name = source.name
    graph, functions = graph_def(document.get("modelTopology"), name)
    if not graph.nodes:
        raise InvalidModel(f"{name} has no nodes")
    initializer = None
    if document.get("modelInitializer"):
        initializer, more = graph_def(document["modelInitializer"], f"initializer of {name}")
        functions = {**more, **functions}
    signature = _signature(document)
    inputs, resources = _inputs(signature.get("inputs"), graph)
    outputs, results = _outputs(signature.get("outputs"), graph)
    _check_operators(name, graph, functions, results.values())
    weights = read_weights(document.get("weightsManifest") or [], source.fetch)
    handles = _handles(document, initializer, resources)
    places = {key: node for key, (node, _) in inputs.items()}

    def build(arrays: Mapping[str, Any]) -> dict[str, Any]:
        importer = Importer(graph, functions, weights, name, initializer)
        made = importer.run({key: arrays[key] for key in places}, places, list(results.values()), handles)
        return {key: _result(name, key, x) for key, x in zip(results, made)}

    return Model(
        build, {k: s for k, (_, s) in inputs.items()}, outputs,
        weights={k: a for k, a in weights.items() if a.dtype != object and is_weight(a)},
        metadata=_metadata(document), name=name, device=device, precision=precision,
    )  # fmt: skip


def _result(name: str, key: str, x: Any) -> Any:
    if isinstance(x, Sizes):
        return x.plain()
    if isinstance(x, Bounded):
        return BoundedOutput(x.data, x.length.traced, x.axis)
    if isinstance(x, np.ndarray) or not hasattr(x, "shape"):
        raise UnsupportedFeature(f"{name}: output {key!r} is text, a list or a table; hither gives arrays of numbers only")
    return x


# -- the signature -----------------------------------------------------------------------------------------------------------


def _signature(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = document.get("userDefinedMetadata")
    found = document.get("signature") or (metadata.get("signature") if isinstance(metadata, Mapping) else None) or {}
    if not isinstance(found, Mapping):
        raise InvalidModel(f"the signature must be an object, got {type(found).__name__}")
    return found


def _entries(entries: Any, what: str) -> dict[str, Mapping[str, Any]]:
    """Key → what the signature says of an input or output."""
    if entries is None:
        return {}
    if not isinstance(entries, Mapping) or not all(isinstance(e, Mapping) for e in entries.values()):
        raise InvalidModel(f"{what} of the signature must be objects by name")
    return {str(k): e for k, e in entries.items()}


def _place(entry: Mapping[str, Any], what: str) -> Ref:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidModel(f"{what} of the signature has no name of a node")
    return reference_of(name, {})


def _inputs(entries: Any, graph: GraphDef) -> tuple[dict[str, tuple[str, Spec]], dict[str, Any]]:
    """Key → (placeholder, Spec) of the inputs; placeholder → resource for those that the initializer fills."""
    found: dict[str, tuple[str, Spec]] = {}
    resources: dict[str, Any] = {}
    for key, entry in _entries(entries, "inputs").items():
        place = _place(entry, f"input {key!r}").node
        if entry.get("resourceId") is not None:
            resources[place] = entry["resourceId"]
        elif place in graph.nodes:  # the converter may have found an input to be unused
            found[key] = (place, _spec(entry, graph.nodes[place], f"input {key!r}"))
    known = {place for place, _ in found.values()} | set(resources)
    for node in graph.nodes.values():
        if node.op in PLACEHOLDERS and node.name not in known and node.attributes.get("dtype") not in ("resource", "variant"):
            if entries:
                continue  # it is not asked for; if it is needed, running it says so
            found[node.name] = (node.name, _spec({}, node, f"input {node.name!r}"))
    return found, resources


def _outputs(entries: Any, graph: GraphDef) -> tuple[dict[str, Spec], dict[str, Ref]]:
    specs, places = {}, {}
    for key, entry in _entries(entries, "outputs").items():
        places[key] = _place(entry, f"output {key!r}")
        specs[key] = _spec(entry, graph.node(places[key].node), f"output {key!r}")
    if not places:
        read = {r.node for n in graph.nodes.values() for r in n.inputs}
        for node in graph.nodes.values():
            if node.name not in read and node.op not in ("Const", "NoOp", "Assert", *PLACEHOLDERS):
                places[node.name] = Ref(node.name)
                specs[node.name] = _spec({}, node, f"output {node.name!r}")
    if not places:
        raise InvalidModel(f"{graph.name} has no outputs")
    return specs, places


def _spec(entry: Mapping[str, Any], node: NodeDef, what: str) -> Spec:
    """What the signature says of an array, or else the node's own attributes."""
    attributes = node.attributes
    dtype = dtype_of(entry["dtype"], what) if entry.get("dtype") else None
    own = attributes.get("dtype") or attributes.get("T")
    dtype = dtype or (own if own in DTYPES.values() else None) or "float32"
    if dtype in ("string", "resource", "variant"):
        raise UnsupportedFeature(f"{what} is of dtype {dtype}; hither takes and gives arrays of numbers only")
    if isinstance(entry.get("tensorShape"), Mapping):
        return Spec(shape_of(entry["tensorShape"], what), dtype)
    shape = attributes.get("shape") if node.op in (*PLACEHOLDERS, "PlaceholderWithDefault") else None
    return Spec(shape if isinstance(shape, tuple) else None, dtype)


def _metadata(document: Mapping[str, Any]) -> dict[str, str]:
    keys = ("generatedBy", "convertedBy", "format")
    found = {k: str(document[k]) for k in keys if isinstance(document.get(k), str)}
    metadata = document.get("userDefinedMetadata")
    if isinstance(metadata, Mapping):
        found |= {str(k): v for k, v in metadata.items() if isinstance(v, str)}
    return found


# -- what the initializer fills ------------------------------------------------------------------------------------------------


def _handles(document: Mapping[str, Any], initializer: GraphDef | None, resources: Mapping[str, Any]) -> dict[str, Ref]:
    """Placeholder → the initializer's result of the same resource."""
    if not resources:
        return {}
    signature = document.get("initializerSignature")
    outputs = _entries(signature.get("outputs") if isinstance(signature, Mapping) else None, "outputs of the initializer")
    made = {e.get("resourceId"): _place(e, f"resource {k!r}") for k, e in outputs.items()}
    missing = [p for p, r in resources.items() if r not in made]
    if missing or initializer is None:
        raise InvalidModel(f"nothing initialises {', '.join(map(repr, missing or resources))}")
    return {place: made[resource] for place, resource in resources.items()}


# -- operators -----------------------------------------------------------------------------------------------------------------


def _check_operators(name: str, graph: GraphDef, functions: Mapping[str, GraphDef], results: Iterable[Ref]) -> None:
    """Raise for all operators at once that what the outputs need uses and hither lacks."""
    missing: set[str] = set()
    pending: list[tuple[GraphDef, list[str]]] = [(graph, [r.node for r in results])]
    called: set[str] = set()
    while pending:
        body, names = pending.pop()
        seen: set[str] = set()
        while names:
            node_name = names.pop()
            if node_name in seen or node_name in body.arguments:
                continue
            seen.add(node_name)
            node = body.node(node_name)
            if node.op not in OPERATORS and node.op != "Const" and node.op not in PLACEHOLDERS:
                missing.add(node.op)
            names.extend(r.node for r in node.inputs)
            for value in node.attributes.values():
                for item in value if isinstance(value, tuple) else (value,):
                    if isinstance(item, FunctionName) and item.name in functions and item.name not in called:
                        called.add(item.name)
                        function = functions[item.name]
                        pending.append((function, [r.node for r in function.results]))
    if missing:
        raise UnsupportedOperators(name, {(LIBRARY, op, 1) for op in missing})
