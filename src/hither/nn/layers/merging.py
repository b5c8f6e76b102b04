"""Layers of several inputs: elementwise, side by side, and products."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ... import ops
from .. import config
from ..layer import Layer


class _Merge(Layer):
    """An elementwise function of two arrays or more, which broadcast; missing axes are put after the batch's."""

    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if not isinstance(inputs, list | tuple) or not inputs:
            raise ValueError(f"{self.name} takes a list of arrays, got {type(inputs).__name__}")
        rank = max(x.ndim for x in inputs)
        arrays = [ops.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])) for x in inputs]
        given = mask if isinstance(mask, list | tuple) else [mask] * len(inputs)
        if all(m is None for m in given):
            return self.merged(arrays)
        return self.merged_where(arrays, [None if m is None else _whole(m, x) for m, x in zip(given, inputs, strict=True)])

    def merged(self, arrays: list[Any]) -> Any:
        """The function of arrays of the same rank."""
        raise NotImplementedError

    def merged_where(self, arrays: list[Any], masks: list[Any]) -> Any:
        """The function where some elements do not count; bools of the arrays' shapes, or None, say which do."""
        return self.merged(arrays)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        if not isinstance(mask, list | tuple) or any(m is None for m in mask):
            return None
        return functools.reduce(ops.logical_or, mask)


def _whole(mask: Any, x: Any) -> Any:
    """A mask of leading axes as one of all."""
    return ops.broadcast_to(ops.reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim))), x.shape)


class _Chain(_Merge):
    """A function of two, applied from the first input to the last."""

    operation: Callable[[Any, Any], Any]

    def merged(self, arrays: list[Any]) -> Any:
        return functools.reduce(type(self).operation, arrays)


@config.register()
class Add(_Chain):
    """The sum of the inputs.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Add()([np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)])
        Array([[2., 2.]], dtype=float32)
    """

    operation = staticmethod(ops.add)


@config.register()
class Subtract(_Chain):
    """The first input less the second."""

    operation = staticmethod(ops.subtract)

    def merged(self, arrays: list[Any]) -> Any:
        if len(arrays) != 2:
            raise ValueError(f"{self.name} takes two arrays, got {len(arrays)}")
        return super().merged(arrays)


@config.register()
class Multiply(_Chain):
    """The product of the inputs, of those elements that count."""

    operation = staticmethod(ops.multiply)

    def merged_where(self, arrays: list[Any], masks: list[Any]) -> Any:
        product = self.merged([x if m is None else ops.where(m, x, 1) for x, m in zip(arrays, masks)])
        if any(m is None for m in masks):
            return product
        return ops.where(functools.reduce(ops.logical_or, masks), product, 0)


class _Extremum(_Chain):
    """A function without an identity element: what does not count is what the other inputs have there."""

    def merged_where(self, arrays: list[Any], masks: list[Any]) -> Any:
        made, counts = arrays[0], masks[0]
        for x, mask in zip(arrays[1:], masks[1:]):
            x = x if mask is None else ops.where(mask, x, made)
            made = made if counts is None else ops.where(counts, made, x)
            counts = None if mask is None or counts is None else ops.logical_or(mask, counts)
            made = type(self).operation(made, x)
        return made


@config.register()
class Maximum(_Extremum):
    """The largest of the inputs, elementwise."""

    operation = staticmethod(ops.maximum)


@config.register()
class Minimum(_Extremum):
    """The smallest of the inputs, elementwise."""

    operation = staticmethod(ops.minimum)


@config.register()
class Average(_Chain):
    """The mean of the inputs, elementwise."""

    operation = staticmethod(ops.add)

    def merged(self, arrays: list[Any]) -> Any:
        return super().merged(arrays) / len(arrays)


@config.register()
class Concatenate(Layer):
    """The inputs one after the other along an axis.

    Args:
        axis: along which.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Concatenate()([np.ones((1, 2), np.float32), np.ones((1, 3), np.float32)]).shape
        (1, 5)
    """

    supports_masking = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list | tuple) or not inputs:
            raise ValueError(f"{self.name} takes a list of arrays, got {type(inputs).__name__}")
        return ops.concat(inputs, axis=self.axis)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        if not isinstance(mask, list | tuple) or all(m is None for m in mask):
            return None
        whole = [ops.ones(x.shape, dtype="bool") if m is None else _whole(m, x) for x, m in zip(inputs, mask, strict=True)]
        return ops.any(ops.concat(whole, axis=self.axis), axis=-1)


@config.register()
class Dot(Layer):
    """Sums of products of two inputs along one axis of each, sample by sample.

    Args:
        axes: the axis, or one for each input.
        normalize: whether to divide by the norms along it: the cosine.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Dot(1)([np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)])
        Array([[3.],
               [3.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int) and not (isinstance(axes, list | tuple) and len(axes) == 2):
            raise ValueError(f"axes is one axis, or one for each of the two inputs, got {axes!r}")
        self.axes = axes if isinstance(axes, int) else tuple(axes)
        self.normalize = normalize

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(f"{self.name} takes a list of two arrays")
        a, b = inputs
        axes = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        i, j = axes[0] % a.ndim, axes[1] % b.ndim
        if self.normalize:
            a, b = (
                x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))
                for x, axis in ((a, i), (b, j))
            )
        left, right = ops.moveaxis(a, i, -1), ops.moveaxis(b, j, -1)
        rows, columns = left.shape[1:-1], right.shape[1:-1]
        product = ops.matmul(
            ops.reshape(left, (left.shape[0], math.prod(rows), left.shape[-1])),
            ops.reshape(right, (right.shape[0], math.prod(columns), right.shape[-1])),
            transpose_b=True,
        )
        return ops.reshape(product, (a.shape[0], *((*rows, *columns) or (1,))))

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        return None
