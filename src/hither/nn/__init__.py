"""Networks written in Python: modules and layers with Keras 3's names, arguments and semantics (channels last).

net = hither.nn.Sequential([hither.nn.Input((28, 28, 1)), hither.nn.Flatten(), hither.nn.Dense(10)])
net(images)                         # runs at once
hither.compile(net, {…})            # or hither.bundle: compiled, as any model
"""

from typing import Any

from . import activations, constraints, initializers, losses, metrics, regularizers
from .as_model import as_model
from .config import deserialize, register, serialize
from .imported import Imported, from_model
from .layer import Layer, clear_session, weights_to_come
from .layers import *  # noqa: F403
from .layers import __all__ as _layers
from .lora import LoRA
from .module import Module
from .network import Functional, Sequential
from .randomness import next_key, randomness, seed
from .symbolic import Input, InputLayer, SymbolicTensor

__all__ = [
    "Functional", "Imported", "Input", "InputLayer", "Layer", "LoRA", "Module", "Sequential", "SymbolicTensor",
    "activations", "as_model", "clear_session", "constraints", "deserialize", "from_model", "initializers", "losses", "metrics",
    "next_key", "randomness", "register", "regularizers", "seed", "serialize", "weights_to_come", *_layers,
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Model":
        raise AttributeError(
            "hither.nn has no Model: Functional(inputs, outputs) is a network drawn from tensors, and what one subclasses is "
            "hither.nn.Layer; hither.Trainer trains either"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
