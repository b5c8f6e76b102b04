"""The configuration of a Functional network, as Keras 3 writes it; read in Keras 2's and TensorFlow.js's form too.

A tensor is named by (layer, which call of it, which result). A network inside another has been called once before, when it was
drawn, so files count its calls from 1; what counts here is their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..array import Array
from ..errors import InvalidModel
from ..ops import asarray
from . import config
from .layer import Layer
from .symbolic import Call, InputLayer, SymbolicTensor, symbols

_TENSOR = "__keras_tensor__"
_TUPLE = "__tuple__"
_SLICE = "__slice__"
_ARRAYS = ("__tensor__", "__numpy__")  # constants among a call's arguments
Key = tuple[str, int, int]  # layer, call, result


def write(network: Any) -> dict[str, Any]:
    """The configuration of a network."""
    numbers: dict[Call, int] = {t.call: 0 for t in network.inputs}
    calls: dict[Layer, list[Call]] = defaultdict(list)
    for call in network.calls:
        numbers[call] = len(calls[call.layer]) + (1 if hasattr(call.layer, "calls") else 0)
        calls[call.layer].append(call)

    def history(tensor: SymbolicTensor) -> list[Any]:
        return [tensor.call.layer.name, numbers[tensor.call], tensor.index]

    def argument(value: Any) -> Any:
        if isinstance(value, SymbolicTensor):
            about = {"shape": list(value.shape), "dtype": value.dtype.name, "keras_history": history(value)}
            return {"class_name": _TENSOR, "config": about}
        if isinstance(value, dict):
            return {k: argument(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [argument(v) for v in value]
        if isinstance(value, slice):
            bounds = {"start": value.start, "stop": value.stop, "step": value.step}
            return {"class_name": _SLICE, "config": bounds}
        if isinstance(value, Array | np.ndarray):
            return {"class_name": _ARRAYS[0], "config": {"value": np.asarray(value).tolist(), "dtype": value.dtype.name}}
        return config.serialize(value)

    def structure(value: Any) -> Any:
        if isinstance(value, SymbolicTensor):
            return history(value)
        if isinstance(value, dict):
            return {k: structure(v) for k, v in value.items()}
        return [structure(v) for v in value]

    layers = []
    for layer in network.layers:
        nodes = [{"args": argument(c.args), "kwargs": argument(c.kwargs)} for c in calls[layer]]
        entry = config.serialize(layer)
        entry.update(name=layer.name, inbound_nodes=nodes)
        layers.append(entry)
    return {
        "name": network.name,
        "trainable": network.trainable,
        "layers": layers,
        "input_layers": structure(network.input_structure),
        "output_layers": structure(network.output_structure),
    }


def read(data: Mapping[str, Any], cls: Callable[..., Any]) -> Any:
    """The network of a configuration.

    Raises:
        InvalidModel: if it refers to layers or calls that do not exist, or in circles.
    """
    name = data.get("name")
    layers: dict[str, Layer] = {}
    waiting: dict[str, list[Any]] = {}
    for entry in _entries(data.get("layers"), f"the layers of {name}"):
        layer = config.deserialize(entry, Layer)
        label = entry.get("name") or layer.name
        if label in layers:
            raise InvalidModel(f"{name} has two layers named {label!r}")
        layers[label] = layer
        waiting[label] = list(entry.get("inbound_nodes") or [])
    first = _first_calls(data, waiting)
    made: dict[str, list[Call]] = defaultdict(list)
    for label, layer in layers.items():
        if isinstance(layer, InputLayer):
            made[label].append(layer.output.call)
            waiting[label] = []

    def tensor(key: Any) -> SymbolicTensor | None:
        """The tensor of a reference; None if its call has not been made yet."""
        label, number, index = _key(key)
        if label not in layers:
            raise InvalidModel(f"{name} refers to a layer {label!r} that it does not have; it has {', '.join(layers)}")
        at = number - first.get(label, 0)
        if not 0 <= at < len(made[label]):
            if at < 0 or at >= len(made[label]) + len(waiting[label]):
                raise InvalidModel(f"{name} refers to call {number} of layer {label!r}, which does not exist")
            return None
        outputs = made[label][at].outputs
        if not 0 <= index < len(outputs):
            raise InvalidModel(f"{name} refers to result {index} of layer {label!r}, which has {len(outputs)}")
        return outputs[index]

    progress = True
    while progress and any(waiting.values()):
        progress = False
        for label, nodes in waiting.items():
            while nodes:
                found = _arguments(nodes[0], tensor)
                if found is None:
                    break
                made[label].append(symbols(layers[label](*found[0], **found[1]))[0].call)
                nodes.pop(0)
                progress = True
    stuck = [label for label, nodes in waiting.items() if nodes]
    if stuck:
        raise InvalidModel(f"{name}: the inputs of {', '.join(stuck)} depend on their own results")
    inputs, outputs = (_structure(data.get(k), tensor, f"{k} of {name}") for k in ("input_layers", "output_layers"))
    return cls(_alone(inputs), _alone(outputs), name=name, trainable=data.get("trainable", True))


def _entries(data: Any, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(data, list) or not all(isinstance(e, Mapping) for e in data):
        raise InvalidModel(f"{what} must be a list of configurations")
    return data


def _key(data: Any) -> Key:
    """A reference to a tensor: [layer, call, result], in old files followed by keyword arguments."""
    fits = isinstance(data, list | tuple) and len(data) in (3, 4) and isinstance(data[0], str)
    if not fits or not all(isinstance(n, int) for n in data[1:3]):
        raise InvalidModel(f"a reference to a tensor is [layer, call, result], got {str(data)[:100]}")
    return data[0], data[1], data[2]


def _is_key(data: Any) -> bool:
    return isinstance(data, list | tuple) and len(data) in (3, 4) and isinstance(data[0], str) and isinstance(data[1], int)


def _references(value: Any) -> Iterator[Key]:
    """All references to tensors in a node of either form, or in a structure of inputs or outputs."""
    if isinstance(value, Mapping) and value.get("class_name") == _TENSOR:
        yield _key((value.get("config") or {}).get("keras_history"))
    elif _is_key(value):
        yield _key(value)
        yield from _references(value[3] if len(value) > 3 else None)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _references(part)


def _first_calls(data: Mapping[str, Any], waiting: Mapping[str, list[Any]]) -> dict[str, int]:
    """The number that a file gives to each layer's first call: the least that anything refers to, at most 1."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for source in (*waiting.values(), data.get("input_layers"), data.get("output_layers")):
        for label, number, _ in _references(source):
            numbers[label].append(number)
    return {label: min(min(found), 1) for label, found in numbers.items()}


def _arguments(node: Any, tensor: Callable[[Any], SymbolicTensor | None]) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments of a call; None if a tensor among them has not been made yet."""
    missing = False

    def fill(value: Any) -> Any:
        nonlocal missing
        if isinstance(value, Mapping) and value.get("class_name") == _TENSOR:
            value = (value.get("config") or {}).get("keras_history")
        elif isinstance(value, Mapping) and value.get("class_name") == _TUPLE:
            return tuple(fill(v) for v in value.get("items", ()))
        elif isinstance(value, Mapping) and value.get("class_name") == _SLICE:
            bounds = value.get("config")
            if not isinstance(bounds, Mapping):
                raise InvalidModel(f"a slice has start, stop and step, got {str(value)[:100]}")
            return slice(*(bounds.get(k) for k in ("start", "stop", "step")))
        elif isinstance(value, Mapping) and value.get("class_name") in _ARRAYS:
            about = value.get("config")
            try:
                return asarray(about["value"], dtype=about["dtype"])  # type: ignore[index]
            except (TypeError, KeyError, ValueError) as error:
                raise InvalidModel(f"an array has a value and a dtype, got {str(value)[:100]}") from error
        elif isinstance(value, Mapping):
            return {k: fill(v) for k, v in value.items()}
        elif not _is_key(value):
            return [fill(v) for v in value] if isinstance(value, list | tuple) else value
        found = tensor(value)
        missing = missing or found is None
        return found

    if isinstance(node, Mapping):
        args, kwargs = fill(list(node.get("args") or [])), fill(dict(node.get("kwargs") or {}))
    else:
        keys = [node] if _is_key(node) else node
        if not isinstance(keys, list | tuple) or not keys:
            raise InvalidModel(f"a call of a layer is a list of its inputs, got {str(node)[:100]}")
        inputs = [fill(list(_key(key))) for key in keys]
        named = [key[3] for key in keys if len(key) > 3 and isinstance(key[3], Mapping)]
        args = [inputs[0] if len(inputs) == 1 else inputs]
        kwargs = {k: v for k, v in fill(dict(named[0]) if named else {}).items() if k != "mask" or v is not None}
    return None if missing else (args, kwargs)


def _alone(structure: Any) -> Any:
    """A list of one tensor as that tensor: Keras 2 and TensorFlow.js always write lists."""
    return structure[0] if isinstance(structure, list) and len(structure) == 1 else structure


def _structure(data: Any, tensor: Callable[[Any], SymbolicTensor | None], what: str) -> Any:
    """Inputs or outputs: one reference, or a list or dict of them."""
    if _is_key(data):
        found = tensor(data)
        if found is None:
            raise InvalidModel(f"{what} are made by calls that never happen")
        return found
    if isinstance(data, Mapping):
        return {k: _structure(v, tensor, what) for k, v in data.items()}
    if isinstance(data, list | tuple) and data:
        return [_structure(v, tensor, what) for v in data]
    raise InvalidModel(f"{what} must name tensors, got {str(data)[:100]}")
