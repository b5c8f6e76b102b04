"""TF.js layers models: a Keras 2 configuration in model.json, weights named after layers in shards.

Written by TensorFlow.js itself, by its converter from Keras files, and by `write_layers_model`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn
from ...errors import InvalidModel, UnsupportedFeature
from ...model import Model
from ...nn.network import Network
from ..keras.file import build
from ..keras.layouts import fill
from .keras2 import topology
from .manifest import read_weights
from .source import Source
from .weight_names import matched, written_names

SHARD_BYTES = 4 << 20


def load_document(
    document: Any, source: Source, *, device: str | None, precision: str | None, network: Network | None = None
) -> Model:
    """The model of a parsed model.json; shards come from its source.

    Raises:
        InvalidModel: if it is malformed, or a shard is missing, short or long.
        UnsupportedFeature: if it has a layer that does not exist here.
    """
    name = source.name
    manifest = document.get("weightsManifest") if isinstance(document, Mapping) else document
    arrays = read_weights(manifest or [], source.fetch)
    if network is None:
        if not isinstance(document, Mapping) or not isinstance(document.get("modelTopology"), Mapping):
            raise UnsupportedFeature(
                f"{name} holds weights without a network: build the network and pass it, hither.load(path, network=net)"
            )
        network = _network(document["modelTopology"], sum(a.size for a in arrays.values()), name)
    fill_by_name(network, arrays, name)
    return nn.as_model(network, name=name, device=device, precision=precision)


def _network(found: Mapping[str, Any], numbers: int, name: str) -> Network:
    config = found.get("model_config", found)
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except (ValueError, RecursionError) as error:
            raise InvalidModel(f"model_config of {name} is no JSON: {error}") from error
    if not isinstance(config, Mapping):
        raise InvalidModel(f"{name}: the topology must be an object with class_name and config, got {type(config).__name__}")
    version = found.get("keras_version")
    return build(config, numbers, version if isinstance(version, str) else "", name)


def fill_by_name(network: Network, arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Put named arrays into a network.

    Raises:
        InvalidModel: if they are not this network's.
    """
    for weight, place in matched(network, list(arrays), name).items():
        if arrays[weight].dtype == object:
            raise InvalidModel(f"{name}: weight {weight!r} is text")
        fill(place, arrays[weight], weight)


def write_layers_model(network: Network, folder: str | os.PathLike[str]) -> Path:
    """Write a network as TensorFlow.js loads it with `tf.loadLayersModel`: model.json and shards of at most 4 MiB.

    Args:
        network: a built network of layers that TensorFlow.js has.
        folder: made if it does not exist.

    Returns:
        The path of model.json.

    Raises:
        UnsupportedFeature: a layer, or an argument of one, that TensorFlow.js does not have; a network that is not built.
    """
    model = {"keras_version": "tfjs-layers 4.22.0", "backend": "tensor_flow.js", "model_config": topology(network)}
    where, names = Path(folder), written_names(network)  # after the topology, which refuses layers that have no such names
    arrays = {name: getattr(module, attribute).numpy() for name, (module, attribute) in names.items()}
    data = b"".join(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes() for a in arrays.values())
    count = max(1, math.ceil(len(data) / SHARD_BYTES))
    paths = [f"group1-shard{i + 1}of{count}.bin" for i in range(count)]
    weights = [{"name": n, "shape": list(a.shape), "dtype": a.dtype.name} for n, a in arrays.items()]
    document = {
        "format": "layers-model",
        "generatedBy": "hither",
        "convertedBy": None,
        "modelTopology": model,
        "weightsManifest": [{"paths": paths, "weights": weights}],
    }
    where.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(paths):
        (where / path).write_bytes(data[i * SHARD_BYTES : (i + 1) * SHARD_BYTES])
    target = where / "model.json"
    target.write_text(json.dumps(document), encoding="utf-8")
    return target


__all__ = ["fill_by_name", "load_document", "write_layers_model"]
