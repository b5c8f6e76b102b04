"""LSTM, GRU and RNN: ONNX's attributes and operands brought to the arguments of hither.ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .... import ops
from ....errors import InvalidModel
from ..registry import Node, operator

Activation = Callable[[Any], Any]

_TAKES_ALPHA = {"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"}
_TAKES_BETA = {"affine", "scaledtanh", "hardsigmoid"}


def _activation(node: Node, name: str, alpha: float | None, beta: float | None) -> Activation:
    """An activation of a recurrent cell, by ONNX's name (case is ignored)."""

    def a(default: float) -> float:
        return default if alpha is None else alpha

    def b(default: float) -> float:
        return default if beta is None else beta

    table: dict[str, Activation] = {
        "sigmoid": ops.sigmoid,
        "tanh": ops.tanh,
        "relu": ops.relu,
        "affine": lambda x: x * a(1.0) + b(0.0),
        "leakyrelu": lambda x: ops.leaky_relu(x, alpha=a(0.01)),
        "thresholdedrelu": lambda x: ops.where(x > a(1.0), x, 0.0),
        "scaledtanh": lambda x: ops.tanh(x * b(1.0)) * a(1.0),
        "hardsigmoid": lambda x: ops.clip(x * a(0.2) + b(0.5), 0.0, 1.0),
        "elu": lambda x: ops.elu(x, alpha=a(1.0)),
        "softsign": ops.softsign,
        "softplus": ops.softplus,
    }
    found = table.get(name.lower())
    if found is None:
        raise InvalidModel(f"{node.label}: activation {name!r} is unknown")
    return found


def activations(node: Node, defaults: tuple[str, ...]) -> tuple[tuple[Activation, ...], ...]:
    """The activations of the cell of each direction."""
    directions, count = 2 if node["direction"] == "bidirectional" else 1, len(defaults)
    names = node.get("activations") or defaults * directions
    node.check(len(names) >= count * directions, f"{len(names)} activations do not fit {directions} directions")
    alphas, betas = (list(node.get(k) or ()) for k in ("activation_alpha", "activation_beta"))
    found = []
    for name in names[: count * directions]:  # RNN's default names both directions' even where there is one
        # Only activations that take a parameter consume one, in order.
        alpha = alphas.pop(0) if alphas and name.lower() in _TAKES_ALPHA else None
        beta = betas.pop(0) if betas and name.lower() in _TAKES_BETA else None
        found.append(_activation(node, name, alpha, beta))
    return tuple(tuple(found[d * count : (d + 1) * count]) for d in range(directions))


@dataclass(frozen=True)
class Layout:
    """`layout` 1 has the batch in front; ops have time in front (and directions in front of the batch, in states)."""

    batch_first: bool

    @staticmethod
    def of(node: Node) -> Layout:
        return Layout(bool(node.get("layout", 0)))

    def inputs(self, x: Any, *states: Any) -> list[Any]:
        """X and initial states as ops take them; states may be left out."""
        return [v if v is None or not self.batch_first else ops.permute_dims(v, (1, 0, 2)) for v in (x, *states)]

    def results(self, y: Any, *states: Any) -> tuple[Any, ...]:
        """Y [T, D, B, H] and last states [D, B, H] as the node gives them."""
        if not self.batch_first:
            return y, *states
        return ops.permute_dims(y, (2, 0, 1, 3)), *[ops.permute_dims(s, (1, 0, 2)) for s in states]


def _check_hidden(node: Node, r: Any) -> None:
    hidden = node.get("hidden_size", r.shape[-1])
    node.check(len(r.shape) == 3 and hidden == r.shape[2], f"hidden_size {hidden} is not that of R {tuple(r.shape)}")


@operator("LSTM")
def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, p: Any = None
) -> Any:
    _check_hidden(node, r)
    layout = Layout.of(node)
    x, h0, c0 = layout.inputs(x, h0, c0)
    results = ops.lstm(
        x, w, r, b, initial_h=h0, initial_c=c0, peepholes=p, lengths=lengths, direction=node["direction"],
        clip=node.get("clip"), input_forget=bool(node.get("input_forget", 0)),
        activations=activations(node, ("Sigmoid", "Tanh", "Tanh")),
    )  # fmt: skip
    return layout.results(*results)


@operator("GRU")
def gru(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    _check_hidden(node, r)
    layout = Layout.of(node)
    x, h0 = layout.inputs(x, h0)
    results = ops.gru(
        x, w, r, b, initial_h=h0, lengths=lengths, direction=node["direction"], clip=node.get("clip"),
        linear_before_reset=bool(node.get("linear_before_reset", 0)), activations=activations(node, ("Sigmoid", "Tanh")),
    )  # fmt: skip
    return layout.results(*results)


@operator("RNN")
def rnn(node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    _check_hidden(node, r)
    layout = Layout.of(node)
    x, h0 = layout.inputs(x, h0)
    results = ops.rnn(
        x, w, r, b, initial_h=h0, lengths=lengths, direction=node["direction"], clip=node.get("clip"),
        activation=tuple(f for (f,) in activations(node, ("Tanh",))),
    )  # fmt: skip
    return layout.results(*results)
