"""Hash tables whose content is constant, which an initializer graph or the graph itself fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....errors import InvalidModel
from ....graph.trace import static_value
from ..graphdef import GraphDef
from ..importer import Importer, Scope
from ..registry import Node, operator

TABLES = ("HashTable", "HashTableV2", "MutableHashTableV2")
FILLING = ("InitializeTable", "InitializeTableV2", "LookupTableImport", "LookupTableImportV2")
MAX_COMPARED_KEYS = 4096


@dataclass(frozen=True)
class Table:
    """A hash table by the name of the node that makes it."""

    name: str


@operator(*TABLES)
def table(node: Node) -> Any:
    return Table(node.get("shared_name", b"").decode("utf-8", "replace") or node.definition.name)


@operator(*FILLING, handles=True)
def filling(node: Node, handle: Any, keys: Any, values: Any) -> Any:
    return ()


def _fillings(importer: Importer, graph: GraphDef, wanted: Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for node in graph.nodes.values():
        if node.op in FILLING and len(node.inputs) == 3:
            origin = importer.flow(graph).origin(node.inputs[0])
            if graph.nodes.get(origin.node) is None or graph.nodes[origin.node].op not in TABLES:
                continue
            made, keys, values = importer.values(node.inputs, Scope(graph))
            if made == wanted:
                yield tuple(x if isinstance(x, np.ndarray) else static_value(x) for x in (keys, values))  # type: ignore[misc]


def _content(node: Node, handle: Any) -> tuple[np.ndarray, np.ndarray]:
    node.check(isinstance(handle, Table), "takes a hash table")
    importer = node.importer
    for graph in (importer.initializer, importer.graph):
        for keys, values in () if graph is None else _fillings(importer, graph, handle):
            if keys is None or values is None or keys.ndim != 1 or values.shape != keys.shape:
                raise InvalidModel(f"{node.label}: a hash table's keys and values must be constant vectors of one length")
            return keys, values
    raise InvalidModel(f"{node.label}: nothing fills the hash table {handle.name!r}")


@operator("LookupTableFind", "LookupTableFindV2", handles=True)
def find(node: Node, handle: Any, keys: Any, default: Any) -> Any:
    known, values = _content(node, handle)
    text = [x for x in (known, values, keys, default) if isinstance(x, np.ndarray) and x.dtype == object]
    asked = keys if isinstance(keys, np.ndarray) else static_value(keys)
    fallback = default if isinstance(default, np.ndarray) else node.static(default, "the default")
    if asked is not None:
        entries = dict(zip(known.tolist(), values.tolist()))
        node.check(fallback.size == 1, "the default must be one value")
        found = [entries.get(k, fallback.reshape(-1)[0]) for k in asked.reshape(-1).tolist()]
        if values.dtype == object:
            made = np.empty(len(found), object)
            made[:] = found
            return (made.reshape(asked.shape),)
        return Array(np.array(found, values.dtype).reshape(asked.shape))
    if text or len(known) > MAX_COMPARED_KEYS:
        raise node.unsupported("looking up strings, or in a table of many keys, what is only known at run time")
    if len(known) == 0:
        return ops.full(tuple(keys.shape), fallback.reshape(()).item(), dtype=values.dtype)
    hits = ops.expand_dims(keys, axis=-1) == known.astype(keys.dtype.numpy)
    place = ops.argmax(hits, axis=-1, dtype="int32")
    return ops.where(ops.any(hits, axis=-1), ops.take(Array(values), place, axis=0), fallback.reshape(()).astype(values.dtype))


@operator("LookupTableSize", "LookupTableSizeV2", handles=True)
def size(node: Node, handle: Any) -> Any:
    return Array(np.array(len(_content(node, handle)[0]), np.int32))
