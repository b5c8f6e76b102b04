"""Constraints: what training makes of a weight after each step, with Keras 3's names, arguments and formulas."""

from __future__ import annotations

from typing import Any

from .. import ops
from . import config
from .config import arguments

_EPSILON = 1e-7


class Constraint:
    """Base of all constraints: called with an array, gives the nearest one allowed."""

    keras_module = "keras.constraints"

    def __call__(self, w: Any) -> Any:
        """The array that takes w's place."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**arguments(cls, config))


def _norms(w: Any, axis: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(w), axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=True))


@config.register("max_norm")
class MaxNorm(Constraint):
    """Norms along `axis` of at most `max_value`.

    Example:
        >>> import hither as ht
        >>> ht.nn.constraints.MaxNorm(1.0)(ht.asarray([[3.0], [4.0]])).numpy().round(3).tolist()
        [[0.6000000238418579], [0.800000011920929]]
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        return w * (ops.clip(norms, 0, self.max_value) / (norms + _EPSILON))


@config.register("non_neg")
class NonNeg(Constraint):
    """Nothing negative: 0 instead."""

    def __call__(self, w: Any) -> Any:
        return ops.maximum(w, 0)


@config.register("unit_norm")
class UnitNorm(Constraint):
    """Norms along `axis` of 1."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (_norms(w, self.axis) + _EPSILON)


@config.register("min_max_norm")
class MinMaxNorm(Constraint):
    """Norms along `axis` between `min_value` and `max_value`; `rate` says how much of the way to go in a step."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        wanted = self.rate * ops.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (norms + _EPSILON))


def get(identifier: Any) -> Any:
    """A constraint by name, configuration or as it is; None is none.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, str):
        return config.find(identifier, Constraint)()
    if isinstance(identifier, dict):
        return config.deserialize(identifier, Constraint)
    return identifier
