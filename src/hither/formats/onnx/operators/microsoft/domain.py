"""What the operators of ONNX Runtime's domain share: its name, and the fused activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..... import ops
from ...registry import Node

DOMAIN = "com.microsoft"

# The parameters of each activation that one may be fused with, with the defaults of the operator that it is.
_ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "": (lambda x: x, ()),
    "Relu": (ops.relu, ()),
    "Sigmoid": (ops.sigmoid, ()),
    "Tanh": (ops.tanh, ()),
    "Softplus": (ops.softplus, ()),
    "Softsign": (ops.softsign, ()),
    "HardSwish": (ops.hard_swish, ()),
    "LeakyRelu": (lambda x, alpha: ops.leaky_relu(x, alpha=alpha), (0.01,)),
    "Elu": (lambda x, alpha: ops.elu(x, alpha=alpha), (1.0,)),
    "ThresholdedRelu": (lambda x, alpha: ops.where(x > alpha, x, 0.0), (1.0,)),
    "ParametricSoftplus": (lambda x, alpha, beta: ops.softplus(x * beta) * alpha, (1.0, 1.0)),
    "ScaledTanh": (lambda x, alpha, beta: ops.tanh(x * beta) * alpha, (1.0, 1.0)),
    "HardSigmoid": (lambda x, alpha, beta: ops.hard_sigmoid(x, alpha=alpha, beta=beta), (0.2, 0.5)),
    "Clip": (lambda x, low, high: ops.clip(x, low, high), (-3.4028234663852886e38, 3.4028234663852886e38)),
}


def activated(node: Node, x: Any, name: str, numbers: Sequence[float | None]) -> Any:
    """x through the activation that a fused operator names; numbers that are missing or None are its defaults."""
    found = _ACTIVATIONS.get(name)
    if found is None:
        raise node.unsupported(f"activation {name!r}")
    function, defaults = found
    given = [*numbers, *[None] * len(defaults)]
    return function(x, *[d if n is None else n for n, d in zip(given, defaults)])
