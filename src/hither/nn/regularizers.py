"""Regularizers: penalties on weights that training adds to the loss, with Keras 3's names, arguments and formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from . import config
from .config import arguments


class Regularizer:
    """Base of all regularizers: called with an array, gives one number."""

    keras_module = "keras.regularizers"

    def __call__(self, x: Any) -> Any:
        """The penalty."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**arguments(cls, config))


@config.register("l1_l2")
class L1L2(Regularizer):
    """l1 · Σ|x| + l2 · Σx².

    Example:
        >>> import hither as ht
        >>> float(ht.nn.regularizers.L1L2(l1=1.0, l2=2.0)(ht.asarray([1.0, -2.0])))
        13.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = float(l1 or 0), float(l2 or 0)

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.abs(x)) + self.l2 * ops.sum(ops.square(x))


@config.register("l1")
class L1(Regularizer):
    """l1 · Σ|x|."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = float(l1)

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.abs(x))


@config.register("l2")
class L2(Regularizer):
    """l2 · Σx²."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = float(l2)

    def __call__(self, x: Any) -> Any:
        return self.l2 * ops.sum(ops.square(x))


@config.register("orthogonal_regularizer")
class OrthogonalRegularizer(Regularizer):
    """How far the rows (or columns) of a matrix are from orthogonal: factor · the mean |cosine| of two different ones.

    Args:
        factor: of the penalty.
        mode: "rows" or "columns".
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode is 'rows' or 'columns', got {mode!r}")
        self.factor, self.mode = float(factor), mode

    def __call__(self, x: Any) -> Any:
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer takes a matrix, got shape {tuple(x.shape)}")
        rows = x if self.mode == "rows" else ops.matrix_transpose(x)
        rows = rows / ops.maximum(ops.vector_norm(rows, axis=1, keepdims=True), 1e-7)
        n = rows.shape[0]
        cosines = ops.abs(ops.matmul(rows, rows, transpose_b=True)) * (1 - np.eye(n, dtype=np.float32))
        return self.factor * 0.5 * ops.sum(cosines) / (n * (n - 1) / 2 if n > 1 else 1)


def get(identifier: Any) -> Any:
    """A regularizer by name, configuration or as it is; None is none.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, str):
        return config.find(identifier, Regularizer)()
    if isinstance(identifier, dict):
        return config.deserialize(identifier, Regularizer)
    return identifier
