"""Activations that are layers because they have arguments or weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from .. import config, constraints, initializers, regularizers
from ..layer import Layer


class _Elementwise(Layer):
    supports_masking = True


@config.register()
class ReLU(_Elementwise):
    """max(x, 0), with options.

    Args:
        max_value: upper limit; None is none.
        negative_slope: slope below the threshold.
        threshold: x below it is (x - threshold) · negative_slope.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.ReLU(max_value=6)(np.array([-1.0, 3.0, 9.0], np.float32))
        Array([0., 3., 6.], dtype=float32)
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float | None = 0.0, threshold: float | None = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope or 0.0, threshold or 0.0

    def call(self, x: Any) -> Any:
        return ops.relu(x, negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold)


@config.register()
class LeakyReLU(_Elementwise):
    """x, or negative_slope · x where x is negative.

    Args:
        negative_slope: the slope; `alpha` in older files.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.LeakyReLU(0.5)(np.array([-1.0, 3.0], np.float32))
        Array([-0.5,  3. ], dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def call(self, x: Any) -> Any:
        return ops.leaky_relu(x, alpha=self.negative_slope)

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        if "alpha" in data:
            data = {**{k: v for k, v in data.items() if k != "alpha"}, "negative_slope": data["alpha"]}
        return super().from_config(data)


@config.register()
class PReLU(_Elementwise):
    """x, or alpha · x where x is negative, with an alpha that is learnt for each element.

    Args:
        alpha_initializer: how alpha begins.
        shared_axes: axes along which alpha is one number, counted from 1.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.PReLU(shared_axes=[1, 2])(np.ones((1, 4, 4, 3), np.float32)).shape
        (1, 4, 4, 3)

    He et al.: Delving Deep into Rectifiers, 2015.
    """

    alpha: Any

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else None if shared_axes is None else list(shared_axes)

    def build(self, input_shape: Any) -> None:
        shape = [1 if axis in (self.shared_axes or ()) else n for axis, n in enumerate(input_shape)][1:]
        self.add_weight(
            "alpha", shape, self.alpha_initializer, regularizer=self.alpha_regularizer, constraint=self.alpha_constraint
        )

    def call(self, x: Any) -> Any:
        return ops.prelu(x, self.alpha)


@config.register()
class ELU(_Elementwise):
    """x, or alpha · (exp(x) - 1) where x is negative.

    Args:
        alpha: the factor.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, x: Any) -> Any:
        return ops.elu(x, alpha=self.alpha)


@config.register()
class ThresholdedReLU(_Elementwise):
    """x where it exceeds theta, else 0. Keras 3 has it no more; files of Keras 2 and TensorFlow.js do.

    Args:
        theta: the threshold.
    """

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theta = theta

    def call(self, x: Any) -> Any:
        return ops.thresholded_relu(x, alpha=self.theta)


@config.register()
class Softmax(_Elementwise):
    """exp(x) / Σ exp(x) over `axis`; where a mask says no, 0.

    Args:
        axis: one axis or several.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Softmax()(np.zeros((1, 2), np.float32))
        Array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else list(axis)

    def call(self, x: Any, mask: Any = None) -> Any:
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        if mask is None:
            return ops.softmax(x, axis=axis)
        low = np.asarray(np.finfo(x.dtype.numpy).min / 2, x.dtype.numpy)
        return ops.where(mask, ops.softmax(ops.where(mask, x, low), axis=axis), np.zeros((), x.dtype.numpy))
