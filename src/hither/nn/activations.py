"""Activations by name, as Keras 3 spells them: ordinary functions of hither.ops, which layers take by name or as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..errors import UnsupportedFeature
from . import config

Activation = Callable[[Any], Any]


ACTIVATIONS: dict[str, Activation] = {
    name: getattr(ops, name)
    for name in (
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
        "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
        "soft_shrink", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink",
    )
}  # fmt: skip
OTHER_NAMES = {"swish": "silu", "hard_swish": "hard_silu"}


def get(identifier: Any) -> Activation:
    """The activation of a name, of a configuration, or as it is; None is linear.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, dict):
        if isinstance(identifier.get("class_name"), str) and identifier["class_name"] in config.CLASSES:
            return config.deserialize(identifier)  # a layer as an activation
        given = identifier.get("config")
        identifier = given if isinstance(given, str) else (given or {}).get("name", identifier.get("class_name"))
    if identifier is None:
        return ops.linear
    if isinstance(identifier, str):
        if identifier in config.CLASSES and identifier not in ACTIVATIONS:
            return config.deserialize({"class_name": identifier, "config": {}})
        name = OTHER_NAMES.get(identifier, identifier)
        if name not in ACTIVATIONS:
            raise UnsupportedFeature(f"there is no activation {identifier!r}; there are {', '.join(sorted(ACTIVATIONS))}")
        return ACTIVATIONS[name]
    return identifier


def name_of(activation: Activation) -> Any:
    """What stands for an activation in a configuration."""
    for name, known in ACTIVATIONS.items():
        if known is activation:
            return name
    return getattr(activation, "__name__", repr(activation))
