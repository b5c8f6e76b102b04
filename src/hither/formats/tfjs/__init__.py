"""TF.js: a model.json and its shards become a Model. One function per TensorFlow operator, by theme, in `operators`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import InvalidModel, UnsupportedFeature
from ...model import Model
from .source import kind, parse_any, source_of

# What reads each kind of TF.js model: a module with `load_document(document, source, device=, precision=)`.
READERS = {
    "graph-model": "hither.formats.tfjs.reader",
    "layers-model": "hither.formats.tfjs.layers",
    "weights": "hither.formats.tfjs.layers",
}


def load(
    where: str | os.PathLike[str],
    *,
    device: str | None = None,
    precision: str | None = None,
    network: Any = None,
) -> Model:
    """Read a TF.js model: its JSON file, the folder with its model.json, or the http(s) address of either.

    From an address, the JSON file and its shards are fetched with urllib: nothing outside the JSON file's folder on that
    server is asked for, and not more than the weights' sizes say is read.

    A layers model's `module` is its network. A weight manifest alone needs a `network` that takes the weights.

    Arrays of graph models have the dtypes that TF.js computes with: int32 for all integers, float32 for all floats.

    Raises:
        InvalidModel: if the model is malformed, or a file is missing, short or long.
        UnsupportedOperators: if it uses operators that hither does not have; names all of them.
    """
    source = source_of(where)
    document = parse_any(source.document(), source.name)
    found = kind(document)
    if found not in READERS:
        raise InvalidModel(f"{source.name} is a {found or 'JSON file of another kind'}; this reads {', '.join(READERS)}")
    options = {} if network is None else {"network": network}
    if options and found == "graph-model":
        raise UnsupportedFeature(f"{source.name} is a graph model, whose weights belong to no network of layers")
    model: Model = import_module(READERS[found]).load_document(document, source, device=device, precision=precision, **options)
    return model


def save(target: Any, path: str | os.PathLike[str], specs: Mapping[str, Any] | None = None) -> None:
    """Write a network of layers, or a Model of one, as a layers model: a model.json and shards beside it."""
    from ..keras.layouts import network_of
    from .layers import write_layers_model

    write_layers_model(network_of(target, specs, "layers models"), Path(path).parent)


__all__ = ["READERS", "load", "save"]
