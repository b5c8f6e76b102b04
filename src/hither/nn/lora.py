"""Low-rank adaptation: a large matrix stays as it is, and two small ones whose product is added to it are trained instead.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..errors import UnsupportedFeature
from . import config
from .layer import Layer


def low_rank_shapes(
    name: str, shape: Sequence[int], rank: int, outputs: Sequence[int] | None = None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of the two factors for an array: the first has a row for each of its inputs, the second a column for each of
    its outputs.

    Args:
        name, shape: of the array.
        rank: of its change.
        outputs: the axes that are the output's, all others together being the input's; the last one if not given, as kernels of
            layers have it.

    Raises:
        ValueError: the array has one axis, or the rank is not below its extents.
    """
    if len(shape) < 2:
        raise ValueError(f"LoRA adapts matrices; {name!r} has shape {tuple(shape)}")
    columns = math.prod(shape[axis] for axis in (outputs if outputs is not None else range(len(shape))[-1:]))
    rows = math.prod(shape) // columns
    if not 1 <= rank <= min(rows, columns):
        raise ValueError(
            f"LoRA of {name!r}, {columns} outputs by {rows} inputs: the rank lies between 1 and {min(rows, columns)}, "
            f"got {rank}"
        )
    return (rows, rank), (rank, columns)


def adapted(array: Any, a: Any, b: Any, alpha: float, outputs: Sequence[int] | None = None) -> Any:
    """The array plus alpha / rank times the product of its factors. `outputs`: as for `low_rank_shapes`."""
    change = ops.matmul(a, b) * (alpha / a.shape[1])
    shape = tuple(array.shape)
    last = range(len(shape))[-1:] if outputs is None else outputs
    order = [*(axis for axis in range(len(shape)) if axis not in last), *last]
    change = ops.reshape(change, tuple(shape[axis] for axis in order))
    if order != sorted(order):
        change = ops.permute_dims(change, tuple(order.index(axis) for axis in range(len(shape))))
    return array + change.astype(array.dtype)


@config.register()
class LoRA(Layer):
    """A layer whose kernel stays as it is but for a trained change of low rank; its bias is trained as before.

    Args:
        layer: one with a `kernel`: Dense, EinsumDense, a convolution. Given a built one, its kernel is what is adapted.
        rank: of the change.
        alpha: the change is multiplied by alpha / rank; `rank` if not given.

    Example:
        >>> import numpy as np, hither as ht
        >>> layer = ht.nn.LoRA(ht.nn.Dense(8), rank=2)
        >>> layer(np.ones((1, 4), np.float32)).shape, sorted(layer.trainable_weights)
        ((1, 8), ['layer.bias', 'lora_a', 'lora_b'])
    """

    lora_a: Any
    lora_b: Any

    def __init__(self, layer: Any, rank: int = 4, alpha: float | None = None, **kwargs: Any) -> None:
        self.layer = config.deserialize(layer, Layer)
        super().__init__(**{"name": f"{self.layer.name}_lora", **kwargs})
        self.supports_masking = self.layer.supports_masking
        self.rank, self.alpha = rank, alpha

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        if "kernel" not in self.layer._kept:
            raise UnsupportedFeature(f"LoRA adapts layers with a kernel, and {self.layer!r} has none")
        if self.layer.weight_constraint("kernel") is not None:
            raise UnsupportedFeature(f"LoRA of {self.layer!r}: its kernel has a constraint, which its change cannot keep to")
        self.layer._kept["kernel"].trainable = False
        first, second = low_rank_shapes(f"{self.layer.name}.kernel", self.layer.kernel.shape, self.rank)
        self.add_weight("lora_a", first, "he_uniform")
        self.add_weight("lora_b", second, "zeros")

    def kernel(self) -> Any:
        """The kernel with its change."""
        return adapted(self.layer.kernel, self.lora_a, self.lora_b, self.rank if self.alpha is None else self.alpha)

    def call(self, x: Any, training: bool = False) -> Any:
        with self.layer.swapped({"kernel": self.kernel()}):
            return self.layer(x, training=training)

    def merge(self) -> Layer:
        """The layer itself, its kernel changed for good: what to ship after training. It can be trained whole again."""
        self.layer.kernel = self.kernel()
        self.layer._kept["kernel"].trainable = True
        self.lora_b = ops.zeros_like(self.lora_b)
        return self.layer
