"""From a file to a Model: which of its models, which of its signatures, and names for inputs, outputs, weights and state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InvalidModel, UnsupportedOperators
from ...model import Model
from ...runtime.provenance import code_identity
from ...spec import Spec
from ..interpreter import is_weight
from . import operators  # noqa: F401  (fills the registry)
from .container import model_bytes
from .importer import Importer, missing_operators
from .reader import parse, schema_package
from .schema import ModelDef, Signature, TensorDef
from .variables import initial_values, reachable

MAX_TEXT_BYTES = 1 << 16  # of an entry of the metadata that is shown as text


def load(
    path: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    member: str | None = None,
    signature: str | None = None,
) -> Model:
    """Read a TensorFlow Lite model; see `hither.load`.

    Args:
        member: which model of a file that holds several (a task bundle, packed assets).
        signature: which signature of a model that has several; "serving_default", or the first, if not given.

    Raises:
        InvalidModel: the file is malformed, or holds several models and none is named; lists them.
        UnsupportedOperators: the network uses operators that hither does not have; names all of them.
    """
    data, name = model_bytes(Path(path), member)
    return load_bytes(data, name=name, device=device, precision=precision, signature=signature)


def load_bytes(
    data: bytes,
    *,
    name: str = "model",
    device: str | None = None,
    precision: str | None = None,
    signature: str | None = None,
) -> Model:
    """Read a TensorFlow Lite model from its bytes."""
    definition = parse(data, name)
    chosen = _signature(definition, name, signature)
    graphs = reachable(definition, chosen.subgraph)
    missing = missing_operators(definition, graphs)
    if missing:
        raise UnsupportedOperators(name, missing)
    tensors = definition.subgraphs[chosen.subgraph].tensors
    inputs = {n: _spec(tensors[i], True) for n, i in chosen.inputs.items()}
    outputs = {n: _spec(tensors[i]) for n, i in chosen.outputs.items()}
    variables = initial_values(definition, chosen.subgraph, name)
    labels = {key: _distinct(key, (*inputs, *outputs)) for key in variables}  # of variables, as the Model's state

    def build(arrays: Mapping[str, Any]) -> dict[str, Any]:
        importer = Importer(definition, name, {key: arrays[label] for key, label in labels.items()})
        results = importer.run(chosen.subgraph, {n: arrays[n] for n in _in_order(definition, chosen)})
        at = definition.subgraphs[chosen.subgraph].outputs
        found = {n: results[at.index(i)] for n, i in chosen.outputs.items()}
        return found | {label: importer.variables[key] for key, label in labels.items()}

    model = Model(
        build, inputs, outputs, weights=dict(_weights(definition, graphs)), metadata=_metadata(definition), name=name,
        device=device, precision=precision, state={labels[key]: value for key, value in variables.items()},
    )  # fmt: skip
    code = code_identity()
    if code is not None:
        version = getattr(schema_package(), "__version__", "")
        model.identity = f"TFLite {code} {version} {hashlib.sha256(data).hexdigest()} {chosen.key!r} {chosen.subgraph}"
    return model


def _in_order(definition: ModelDef, signature: Signature) -> list[str]:
    """The names of a subgraph's inputs, in its order."""
    names = {index: name for name, index in signature.inputs.items()}
    return [names[i] for i in definition.subgraphs[signature.subgraph].inputs]


def _signature(definition: ModelDef, name: str, key: str | None) -> Signature:
    """The signature asked for; one made of the tensors' names where the file has none."""
    known = {s.key: s for s in definition.signatures}
    if key is not None:
        if key not in known:
            raise InvalidModel(f"{name} has no signature {key!r}; it has {', '.join(map(repr, known)) or 'none'}")
        return known[key]
    if known:
        return known.get("serving_default") or definition.signatures[0]
    graph = definition.subgraphs[0]
    inputs, outputs = (_named(graph.tensors, indices) for indices in (graph.inputs, graph.outputs))
    return Signature("", 0, inputs, outputs)


def _named(tensors: Sequence[TensorDef], indices: Sequence[int]) -> dict[str, int]:
    made: dict[str, int] = {}
    for index in indices:
        made[_distinct(tensors[index].name or f"tensor_{index}", made)] = index
    return made


def _distinct(name: str, taken: Mapping[str, Any] | Sequence[str]) -> str:
    """The name, or one made of it that is not taken."""
    made, n = name, 1
    while made in taken:
        made, n = f"{name}.{n}", n + 1
    return made


def _spec(tensor: TensorDef, is_input: bool = False) -> Spec:
    return Spec(() if is_input and tensor.free is None else tensor.free, tensor.element)


def _weights(definition: ModelDef, graphs: Sequence[int]) -> dict[str, np.ndarray]:
    """The named arrays that are weights."""
    found: dict[str, np.ndarray] = {}
    for index in graphs:
        for tensor in definition.subgraphs[index].tensors:
            if tensor.array is not None and is_weight(tensor.array):
                found.setdefault(tensor.name, tensor.array)
    return found


def _metadata(definition: ModelDef) -> dict[str, str]:
    """What of the metadata is text."""
    found = {"description": definition.description} if definition.description else {}
    for key, content in definition.metadata.items():
        if len(content) > MAX_TEXT_BYTES:
            continue
        text = bytes(content).rstrip(b"\0")
        if text and text.isascii() and text.decode("ascii").isprintable():
            found[key] = text.decode("ascii")
    if definition.signatures:
        found["signatures"] = ", ".join(s.key for s in definition.signatures)
    return found
