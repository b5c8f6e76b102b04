"""Safetensors: named arrays in a file, and, where hither wrote it, the configuration of the network that they belong to.

The safetensors package checks header and extents. A file of another framework holds arrays alone: it feeds a network written in
Python, `load(path, network=net)`, with names translated and axes turned where they differ.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..array import Array
from ..errors import InvalidModel, LimitExceeded, NameMismatch, UnsupportedFeature
from ..model import Model
from .configuration import guarded

MAX_FILE_BYTES = 1 << 34
MAX_CONFIG_BYTES = 16 << 20
CONFIG = "hither.network"  # the metadata entry with the network's configuration
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

Transform = Callable[[str, np.ndarray], Any]
Names = Mapping[str, str] | Callable[[str], str | None]


def load_weights(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a safetensors file by name. bfloat16 becomes float32, which holds it exactly.

    Raises:
        InvalidModel: if the file is malformed.
        UnsupportedFeature: it holds dtypes that hither has no arrays of.
    """
    return {name: Array(array) for name, array in read(Path(path))[0].items()}


def save_weights(weights: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays by name, such as `net.weights`; any framework reads them."""
    from safetensors.numpy import save_file

    arrays = {n: np.asarray(w.numpy() if isinstance(w, Array) else w, order="C") for n, w in weights.items()}
    save_file(arrays, Path(path), {"format": "np", **(metadata or {})})


def load(
    path: str | os.PathLike[str],
    *,
    network: nn.Module | None = None,
    names: Names | None = None,
    transform: Transform | None = None,
    strict: bool = True,
    device: str | None = None,
    precision: str | None = None,
) -> Model:
    """The network of a file that `hither.save` wrote, or a network of one's own with the file's arrays.

    Args:
        path: the file.
        network: the network to feed, which must be built: its weights exist once it has seen an input or its shape.
        names: where the file calls weights otherwise than the network: {pattern: replacement} of regular expressions applied to
            each of the file's names in turn, or a function from the file's name to the network's (None: not wanted).
        transform: (the network's name, the file's array) → the array that the network is to have, where frameworks arrange
            numbers otherwise: PyTorch's Linear keeps [out, in], Dense's kernel is [in, out].
        strict: whether the file must hold each weight of the network, and nothing else.
        device, precision: of the Model.

    Raises:
        InvalidModel: a malformed file, or one without a network where none is given.
        NameMismatch, ShapeMismatch: the arrays do not fit the network.

    Example:
        >>> def from_torch(name, array):
        ...     return array.T if name.endswith("kernel") else array
        >>> hither.load("linear.safetensors", network=net, names={"weight$": "kernel"}, transform=from_torch)  # doctest: +SKIP
    """
    where = Path(path)
    arrays, metadata = read(where)
    if network is None:
        if CONFIG not in metadata:
            raise InvalidModel(
                f"{where.name} holds {len(arrays)} arrays and no network: give one, hither.load(path, network=net), or "
                "read the arrays alone with hither.load_weights"
            )
        network = _network(where.name, metadata[CONFIG], sum(a.size for a in arrays.values()))
    arrays = _renamed(arrays, names)
    if transform is not None:
        arrays = {name: np.asarray(transform(name, array)) for name, array in arrays.items()}
    network.load_weights(arrays, strict=strict)
    model = nn.as_model(network, name=where.name, device=device, precision=precision)
    model.metadata = {k: v for k, v in metadata.items() if k != CONFIG}
    return model


def save(target: Any, path: str | os.PathLike[str], specs: Mapping[str, Any] | None = None) -> None:
    """Write a network with its configuration, or a Model's weights.

    A Model that is no network of layers (one from an ONNX file) keeps its weights alone.

    Raises:
        UnsupportedFeature: nothing has weights here, or they are those of a bundle.
    """
    network = target if isinstance(target, nn.Module) else getattr(target, "module", None)
    if network is not None:
        config = {CONFIG: json.dumps(nn.serialize(network))} if hasattr(network, "get_config") else {}
        save_weights(network.weights, path, config)
    elif getattr(target, "packed", False):
        raise UnsupportedFeature(
            f"the weights of the bundle {target.name} lie as its code reads them; convert the model that it was made from"
        )
    elif getattr(target, "weights", None):
        save_weights(target.weights, path)
    else:
        raise UnsupportedFeature(f"{type(target).__name__} has no weights to write; a safetensors file holds arrays by name")


def _network(name: str, config: str, numbers: int) -> nn.Module:
    """The network of a configuration, whose weights are so many numbers of the file."""
    if len(config) > MAX_CONFIG_BYTES:
        raise LimitExceeded(f"{name}: a configuration of {len(config)} characters; at most {MAX_CONFIG_BYTES} are read")
    try:
        data = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{name}: the configuration of the network is no JSON: {error}") from error
    with nn.weights_to_come(numbers):
        made = guarded(lambda: nn.deserialize(data, nn.Layer), name)
    if not made.built:
        raise InvalidModel(f"{name}: the network does not say the shape of its input")
    return made


def read(where: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file."""
    from safetensors import SafetensorError, deserialize

    size = where.stat().st_size
    if size > MAX_FILE_BYTES:
        raise LimitExceeded(f"{where.name} has {size} bytes; at most {MAX_FILE_BYTES} are read")
    data = where.read_bytes()
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{where.name} is no safetensors file, or is damaged or cut short: {error}") from error
    return {name: _array(where.name, name, entry) for name, entry in entries}, dict(header.get("__metadata__") or {})


def _array(file: str, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    kind, shape, data = entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])
    if kind == "BF16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in DTYPES:
        raise UnsupportedFeature(f"{file}: {name!r} is {kind}; hither reads {', '.join(DTYPES)} and BF16")
    if kind == "BOOL":
        return (np.frombuffer(data, np.uint8) != 0).reshape(shape)  # a byte that is neither 0 nor 1 is no bool of NumPy's
    return np.frombuffer(data, np.dtype(DTYPES[kind])).reshape(shape).copy()


def _renamed(arrays: Mapping[str, np.ndarray], names: Names | None) -> dict[str, np.ndarray]:
    if names is None:
        return dict(arrays)
    made: dict[str, np.ndarray] = {}
    for old, array in arrays.items():
        new: str | None = old
        if isinstance(names, Mapping):
            for pattern, replacement in names.items():
                new = re.sub(pattern, replacement, str(new))
        else:
            new = names(old)
        if new is None:
            continue
        if new in made:
            raise NameMismatch(f"two arrays would be called {new!r}, one of them {old!r}")
        made[new] = array
    return made
