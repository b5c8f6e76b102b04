"""Opening a Keras file: which kind it is, the network of its configuration, its weights.

`.keras` is a zip archive of config.json, metadata.json and model.weights.h5. An `.h5` file holds a whole network (with
`model_config`), or the weights of one. Nothing in them is executed: a Lambda layer's code is refused, and so is pickle.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ... import nn
from ...errors import HitherError, InvalidModel, LimitExceeded, UnsupportedFeature
from ...model import Model
from ...nn.activations import keras2
from ...nn.network import Network
from ..configuration import guarded
from . import hdf5
from .layouts import read_legacy, read_native

MAX_CONFIG_BYTES = 1 << 27
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    precision: str | None = None,
    network: Network | None = None,
) -> Model:
    """Read a `.keras`, `.h5`, `.hdf5` or `.weights.h5` file.

    Args:
        path: the file.
        device, precision: of the Model.
        network: the network whose weights these are: needed where the file holds weights alone, otherwise instead of the
            network that the file describes.

    Returns:
        A Model; its `module` is the network.

    Raises:
        InvalidModel: if the file is malformed, or its weights are another network's.
        UnsupportedFeature: if the network has a layer that does not exist here, or weights come without a network.
    """
    where = Path(path)
    with open(where, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    made = _read_archive(where, network) if zipped else _read_hdf5(where, network)
    return nn.as_model(made, name=where.name, device=device, precision=precision)


def _read_hdf5(where: Path, network: Network | None) -> Network:
    with hdf5.opened(where, where.name) as root:
        numbers = hdf5.count_numbers(root)
        config = hdf5.text(root, "model_config")
        if config is None and network is None:
            raise UnsupportedFeature(
                f"{where.name} holds weights without a network: build the network and pass it, "
                "hither.load(path, network=net), or net.load(path)"
            )
        version = hdf5.text(root, "keras_version") or ""
        weights = hdf5.member(root, "model_weights")
        group = root if weights is None else weights
        version = hdf5.text(group, "keras_version") or version
        if (hdf5.text(group, "backend") or "").lower() == "theano":
            raise UnsupportedFeature(f"{where.name} was written by Keras on Theano, whose convolutions are mirrored")
        made = network or build(parse(config or "", f"model_config of {where.name}"), numbers, version, where.name)
        legacy = any(a in group.attrs for a in ("layer_names", "layer_names0"))
        (read_legacy if legacy else read_native)(made, group)
    return made


def _read_archive(where: Path, network: Network | None) -> Network:
    try:
        with zipfile.ZipFile(where) as archive:
            names = archive.namelist()
            if WEIGHTS not in names or CONFIG not in names:
                raise InvalidModel(f"{where.name} holds {', '.join(names[:10])}; a .keras file has {CONFIG} and {WEIGHTS}")
            config = parse(_member(archive, CONFIG, MAX_CONFIG_BYTES), f"{CONFIG} of {where.name}")
            about = parse(_member(archive, METADATA, 1 << 20), METADATA) if METADATA in names else {}
            weights = _member(archive, WEIGHTS, hdf5.MAX_BYTES)
    except HitherError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise InvalidModel(f"{where.name} is damaged or cut short: {error}") from error
    with hdf5.opened(weights, f"{WEIGHTS} of {where.name}") as root:
        numbers = hdf5.count_numbers(root)
        made = network or build(config, numbers, str(about.get("keras_version", "3")), where.name)
        read_native(made, root)
    return made


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member's bytes, of which there may be so many, whatever the archive says of its size."""
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise LimitExceeded(f"{name} has more than {most} bytes")
    return data


def parse(data: bytes | str, what: str) -> Mapping[str, Any]:
    """The JSON object in these bytes."""
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise LimitExceeded(f"{what}: its JSON is nested too deep") from error
    except ValueError as error:
        raise InvalidModel(f"{what} is no JSON, or is damaged: {error}") from error
    if not isinstance(document, dict):
        raise InvalidModel(f"{what} must be an object, got {type(document).__name__}")
    return document


def build(config: Mapping[str, Any], numbers: int, version: str, name: str) -> Network:
    """The network of a configuration, with weights to come.

    Args:
        config: class_name and config.
        numbers: how many numbers the weights in the file are.
        version: of the Keras that wrote it; names mean other things before 3.
        name: of the file, for messages.

    Raises:
        InvalidModel: if the configuration makes no network.
        UnsupportedFeature: if a layer does not exist here.
    """
    with nn.weights_to_come(numbers), nullcontext() if version.startswith("3") else keras2():
        made = guarded(lambda: nn.deserialize(config), name)
    if not isinstance(made, Network):
        raise InvalidModel(f"{name} holds a {type(made).__name__}, no network")
    if isinstance(made, nn.Sequential) and not made.built:
        raise UnsupportedFeature(f"{name}: the network does not know the shape of its input; save it after it was built")
    return made
