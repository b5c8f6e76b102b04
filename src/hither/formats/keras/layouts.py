"""Where a file has the weights of which layer. Keras 3 keeps a tree of the network's objects, Keras 2 a list for each layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InvalidModel, ShapeMismatch, UnsupportedFeature
from ...nn import InputLayer, Layer, Module, Sequential
from ...nn.layer import saved
from ...nn.module import fitting
from ...nn.network import Network
from ...nn.operations import Operation
from . import hdf5

Place = tuple[Module, str]


def fill(place: Place, value: np.ndarray, where: str) -> None:
    """Put an array of a file in its place."""
    module, name = place
    try:
        setattr(module, name, fitting(where, value, getattr(module, name)))
    except ShapeMismatch as error:
        raise InvalidModel(f"{error}: the file is of another network") from error


def network_of(target: Any, specs: Mapping[str, Any] | None, files: str) -> Network:
    """The built network of layers that is to be written to files of a kind.

    Raises:
        UnsupportedFeature: if there is none.
    """
    network = target if isinstance(target, Module) else getattr(target, "module", None)
    if not isinstance(network, Network):
        raise UnsupportedFeature(
            f"{files} hold networks of layers (Sequential, Functional), got {type(network or target).__name__}: a graph "
            "or compiled code does not say which layers it was; ONNX holds graphs"
        )
    if not network.built and specs:
        network.ensure_built(next(iter(specs.values())))
    if not network.built:
        raise UnsupportedFeature(f"{network.name} does not know the shape of its input yet; begin it with hither.nn.Input")
    return network


def is_frozen(layer: Module) -> set[int]:
    """The identities of all modules in a layer that are frozen, by themselves or by what they are in."""
    frozen: set[int] = set()
    for _, module in layer.modules():
        if not module.trainable or id(module) in frozen:
            frozen.update(id(m) for _, m in module.modules())
    return frozen


# -- Keras 2: for each layer of the network, its weights in order --------------------------------------------------------------


def legacy_places(layer: Layer) -> list[Place]:
    """All weights of a layer in the order of Keras 2's files: those that are trained, then the others."""
    places = [(module, name) for _, module in layer.modules() for name in saved(module)]
    frozen = is_frozen(layer)
    if id(layer) in frozen:
        return places
    return sorted(places, key=lambda place: id(place[0]) in frozen or not place[0].is_trainable(place[1]))


def read_legacy(network: Network, group: Any) -> None:
    """Fill a network from a group with `layer_names`.

    Raises:
        InvalidModel: if the group has other layers or weights than the network.
    """
    listed = hdf5.texts(group, "layer_names")
    if listed is None:
        raise InvalidModel("the file has no list of layers (layer_names)")
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name in listed:
        inner = hdf5.member(group, name)
        names = None if inner is None else hdf5.texts(inner, "weight_names")
        if names is None:
            raise InvalidModel(f"the file lists layer {name!r} and has no weight_names for it")
        if names:
            groups[name] = inner, names
    layers = [layer for layer in network.layers if legacy_places(layer)]
    if len(layers) != len(groups):
        raise InvalidModel(
            f"the file has weights of {len(groups)} layers ({', '.join(groups) or 'none'}), the network {network.name} has "
            f"{len(layers)} ({', '.join(x.name for x in layers) or 'none'})"
        )
    by_name = {layer.name for layer in layers} == set(groups)
    for layer, name in zip(layers, groups):
        inner, names = groups[layer.name if by_name else name]
        places = legacy_places(layer)
        if len(places) != len(names):
            raise InvalidModel(f"layer {layer.name!r} has {len(places)} weights, the file {len(names)}: {', '.join(names)}")
        for place, weight in zip(places, names):
            fill(place, hdf5.array(inner, weight), f"{layer.name}.{place[1]}")


# -- Keras 3: a group for each object, under the attribute that holds it ------------------------------------------------------


def children(module: Module) -> Iterator[tuple[str, Module]]:
    """(path in a file, module) of what is directly in a module."""
    if isinstance(module, Network):
        unsaved = (Operation, InputLayer) if isinstance(module, Sequential) else Operation
        layers = [x for x in module.layers if not isinstance(x, unsaved)]
        yield from _listed("layers", layers)
        return
    for key, value in sorted(vars(module).items()):
        if isinstance(value, Module):
            yield key, value
        elif isinstance(value, list | tuple) and any(isinstance(v, Module) for v in value):
            yield from _listed(key, [v for v in value if isinstance(v, Module)])


def _listed(key: str, modules: list[Any]) -> Iterator[tuple[str, Module]]:
    """Members of a list are named after their classes, and numbered."""
    counts: dict[str, int] = {}
    for module in modules:
        base = snake_case(type(module).__name__)
        count = counts.get(base, 0)
        counts[base] = count + 1
        yield f"{key}/{base}_{count}" if count else f"{key}/{base}", module


def snake_case(name: str) -> str:
    """A class's name as Keras 3 makes a group's of it."""
    name = re.sub(r"\W+", "", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def read_native(network: Network, root: Any) -> None:
    """Fill a network from a file of Keras 3.

    Raises:
        InvalidModel: if the file has other weights than the network.
    """
    filled: set[int] = set()

    def visit(module: Module, group: Any, path: str) -> None:
        names = saved(module)
        values = None if group is None else hdf5.member(group, "vars")
        if id(module) not in filled and values is not None and len(values) == len(names):
            filled.add(id(module))
            for i, name in enumerate(names):
                fill((module, name), hdf5.array(values, str(i)), f"{path}.{name}")
        for key, part in children(module):
            inner = None if group is None else hdf5.member(group, key)
            if inner is None and group is not None and key.startswith("layers/"):  # so in Keras 2.12 … 2.15
                inner = hdf5.member(group, "_layer_checkpoint_dependencies/" + key.removeprefix("layers/"))
            visit(part, inner, f"{path}.{part.name if isinstance(part, Layer) else key}" if path else key)

    visit(network, root, network.name)
    missing = [(path, module) for path, module in network.modules() if saved(module) and id(module) not in filled]
    if missing:
        path, module = missing[0]
        raise InvalidModel(
            f"the file has no {len(saved(module))} weights for {path or network.name!r}: it is damaged, or of another network"
        )
