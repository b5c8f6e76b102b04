"""Activations by name, as Keras 3 spells them: ordinary functions of hither.ops, which layers take by name or as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


def hard_sigmoid_keras2(x: Any) -> Any:
    """0.2·x + 0.5 limited to 0 … 1: what "hard_sigmoid" is in Keras 2 and TensorFlow.js; Keras 3 has x/6 + 0.5."""
    return ops.hard_sigmoid(x, alpha=0.2)


ACTIVATIONS["hard_sigmoid_keras2"] = hard_sigmoid_keras2
_keras2: ContextVar[bool] = ContextVar("keras2", default=False)


@contextmanager
def keras2() -> Iterator[None]:
    """Names of activations mean in this block what they mean in files of Keras 2 and TensorFlow.js."""
    token = _keras2.set(True)
    try:
        yield
    finally:
        _keras2.reset(token)


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
        name = "hard_sigmoid_keras2" if identifier == "hard_sigmoid" and _keras2.get() else identifier
        name = OTHER_NAMES.get(name, name)
        if name not in ACTIVATIONS:
            raise UnsupportedFeature(f"there is no activation {identifier!r}; there are {', '.join(sorted(ACTIVATIONS))}")
        return ACTIVATIONS[name]
    return identifier


def name_of(activation: Activation) -> Any:
    """What stands for an activation in a configuration.

    Raises:
        UnsupportedFeature: one that files of this kind have no name for.
    """
    if _keras2.get() and activation is ACTIVATIONS["hard_sigmoid"]:
        raise UnsupportedFeature(
            "Keras 2 and TensorFlow.js have another hard_sigmoid (0.2·x + 0.5) than this network (x/6 + 0.5)"
        )
    if _keras2.get() and activation is hard_sigmoid_keras2:
        return "hard_sigmoid"
    for name, known in ACTIVATIONS.items():
        if known is activation:
            return name
    return getattr(activation, "__name__", repr(activation))
