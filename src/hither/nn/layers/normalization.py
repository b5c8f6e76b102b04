"""Normalisations: over the batch, over features, over groups of channels, by norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from ...ops.operands import one_axis
from .. import config, constraints, initializers, regularizers
from ..layer import Layer

Axes = int | Sequence[int]


def axes_of(axis: Axes, rank: int) -> tuple[int, ...]:
    """Axes counted from 0, in order."""
    return tuple(sorted(one_axis(a, rank) for a in ((axis,) if isinstance(axis, int) else axis)))


class _Scaled(Layer):
    """A normalisation with a factor gamma and an offset beta, where it is asked for them."""

    gamma: Any = None
    beta: Any = None

    def __init__(
        self, axis: Axes, epsilon: float, center: bool, scale: bool, beta_initializer: Any, gamma_initializer: Any,
        beta_regularizer: Any, gamma_regularizer: Any, beta_constraint: Any, gamma_constraint: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.axis: Any = axis if isinstance(axis, int) else list(axis)
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.beta_initializer, self.gamma_initializer = initializers.get(beta_initializer), initializers.get(gamma_initializer)
        self.beta_regularizer, self.gamma_regularizer = regularizers.get(beta_regularizer), regularizers.get(gamma_regularizer)
        self.beta_constraint, self.gamma_constraint = constraints.get(beta_constraint), constraints.get(gamma_constraint)

    def add_scale(self, shape: Sequence[int]) -> None:
        """Make gamma and beta, those that there are."""
        if self.scale:
            self.add_weight(
                "gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer, constraint=self.gamma_constraint
            )
        if self.center:
            self.add_weight(
                "beta", shape, self.beta_initializer, regularizer=self.beta_regularizer, constraint=self.beta_constraint
            )


@config.register("BatchNormalizationV1", "SyncBatchNormalization")
class BatchNormalization(_Scaled):
    """Each channel standardised: in training with the batch's mean and variance, otherwise with averages of those seen.

    Args:
        axis: the channels' axis.
        momentum: how much of the averages stays in each training step.
        epsilon: added to the variance.
        center, scale: whether there is an offset beta and a factor gamma.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.BatchNormalization()(np.ones((2, 3), np.float32)).shape
        (2, 3)

    Ioffe, Szegedy: Batch Normalization, 2015.
    """

    axis: int
    moving_mean: Any
    moving_variance: Any
    supports_masking = True

    def __init__(
        self,
        axis: Axes = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        **kwargs: Any,
    ) -> None:
        axes = [axis] if isinstance(axis, int) else list(axis)  # Keras 2 writes a list of one
        if len(axes) != 1:
            raise ValueError(f"BatchNormalization takes one axis, got {axis}")
        axis = int(axes[0])
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        if renorm:
            raise self.unsupported("renorm=True")
        self.momentum = momentum
        self.renorm, self.renorm_clipping, self.renorm_momentum = renorm, renorm_clipping, renorm_momentum
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[one_axis(self.axis, len(input_shape))],)
        self.add_scale(shape)
        self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)

    def call(self, x: Any, training: bool = False, mask: Any = None) -> Any:
        mean, variance = self.moving_mean, self.moving_variance
        if training and self.trainable:
            mean, variance = self._moments(ops.astype(x, mean.dtype), mask)
            self.moving_mean = self.moving_mean * self.momentum + mean * (1 - self.momentum)
            self.moving_variance = self.moving_variance * self.momentum + variance * (1 - self.momentum)
        scale, offset = (self.gamma if self.scale else None), (self.beta if self.center else None)
        return ops.batch_norm(x, scale, offset, mean, variance, epsilon=self.epsilon, axis=self.axis)

    def _moments(self, x: Any, mask: Any) -> tuple[Any, Any]:
        """Mean and variance of each channel, of the elements that count."""
        channels = one_axis(self.axis, x.ndim)
        axes = tuple(a for a in range(x.ndim) if a != channels)
        if mask is None:
            return ops.mean(x, axis=axes), ops.var(x, axis=axes)
        weight = ops.astype(ops.reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim))), x.dtype)
        count = ops.sum(ops.broadcast_to(weight, x.shape), axis=axes, keepdims=True)
        mean = ops.sum(x * weight, axis=axes, keepdims=True) / count
        variance = ops.sum(ops.square(x - mean) * weight, axis=axes, keepdims=True) / count
        return ops.reshape(mean, (-1,)), ops.reshape(variance, (-1,))


@config.register()
class LayerNormalization(_Scaled):
    """Each sample standardised over `axis`.

    Args:
        axis: one axis or several.
        epsilon: added to the variance.
        center, scale: whether there is an offset beta and a factor gamma, of the extents of `axis`.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.LayerNormalization()(np.array([[1.0, 3.0]], np.float32)).numpy().round(2).tolist()
        [[-1.0, 1.0]]

    Ba, Kiros, Hinton: Layer Normalization, 2016.
    """

    supports_masking = True

    def __init__(
        self,
        axis: Axes = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        self.add_scale([input_shape[a] for a in axes_of(self.axis, len(input_shape))])

    def call(self, x: Any) -> Any:
        axes = axes_of(self.axis, x.ndim)
        shape = [n if a in axes else 1 for a, n in enumerate(x.shape)]
        parts = [None if v is None else ops.reshape(v, shape) for v in (self.gamma, self.beta)]
        return ops.layer_norm(x, *parts, axis=axes, epsilon=self.epsilon)


@config.register()
class GroupNormalization(_Scaled):
    """Channels standardised in groups, each sample by itself.

    Args:
        groups: how many; -1 is one for each channel.
        axis: the channels' axis.
        epsilon: added to the variance.
        center, scale: whether there is an offset beta and a factor gamma for each channel.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.GroupNormalization(2)(np.ones((1, 5, 5, 4), np.float32)).shape
        (1, 5, 5, 4)

    Wu, He: Group Normalization, 2018.
    """

    supports_masking = True

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        self.groups = groups

    def build(self, input_shape: Any) -> None:
        channels = int(input_shape[one_axis(self.axis, len(input_shape))])
        groups = channels if self.groups == -1 else self.groups
        if groups < 1 or channels % groups:
            raise ValueError(f"{self.name}: {channels} channels do not divide into {self.groups} groups")
        self.add_scale([channels])

    def call(self, x: Any) -> Any:
        axis = one_axis(self.axis, x.ndim)
        channels = x.shape[axis]
        first = ops.moveaxis(x, axis, 1)
        y = ops.group_norm(first, channels if self.groups == -1 else self.groups, self.gamma, self.beta, epsilon=self.epsilon)
        return ops.moveaxis(y, 1, axis)


@config.register()
class RMSNormalization(Layer):
    """Each sample divided by the root mean square over `axis`, times a factor.

    Args:
        axis: one axis or several.
        epsilon: added to the mean square.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.RMSNormalization()(np.full((1, 4), 3, np.float32)).numpy().round(3).tolist()
        [[1.0, 1.0, 1.0, 1.0]]

    Zhang, Sennrich: Root Mean Square Layer Normalization, 2019.
    """

    scale: Any
    supports_masking = True

    def __init__(self, axis: Axes = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        self.add_weight("scale", [input_shape[a] for a in axes_of(self.axis, len(input_shape))], "ones")

    def call(self, x: Any) -> Any:
        axes = axes_of(self.axis, x.ndim)
        scale = ops.reshape(self.scale, [n if a in axes else 1 for a, n in enumerate(x.shape)])
        return ops.rms_norm(x, scale, axis=axes, epsilon=self.epsilon)


@config.register()
class UnitNormalization(Layer):
    """Each sample divided by its Euclidean norm over `axis`.

    Args:
        axis: one axis or several.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.UnitNormalization()(np.array([[3.0, 4.0]], np.float32)).numpy().round(3).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    supports_masking = True

    def __init__(self, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else list(axis)

    def call(self, x: Any) -> Any:
        square = ops.sum(ops.square(x), axis=axes_of(self.axis, x.ndim), keepdims=True)
        return x * ops.rsqrt(ops.maximum(square, 1e-12))


@config.register()
class Normalization(Layer):
    """(x - mean) / √variance with statistics that are given, or measured by `adapt`.

    Args:
        axis: axes with statistics of their own; None is one mean and variance for all.
        mean, variance: the statistics, instead of measured ones.
        invert: whether to undo it: x · √variance + mean.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Normalization(mean=3.0, variance=4.0)(np.array([[5.0]], np.float32)).numpy().tolist()
        [[1.0]]
    """

    def __init__(
        self, axis: Axes | None = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError(f"Normalization takes both mean and variance or neither, got {mean} and {variance}")
        self.axis = axis if axis is None or isinstance(axis, int) else list(axis)
        self.invert = invert
        self._given = None if mean is None else (mean, variance)

    def build(self, input_shape: Any) -> None:
        axes = () if self.axis is None else axes_of(self.axis, len(input_shape))
        self._shape = tuple(input_shape[a] for a in axes)
        self._broad = tuple(n if a in axes else 1 for a, n in enumerate(input_shape))
        if self._given is None:
            self.add_weight("mean", self._shape, "zeros", trainable=False)
            self.add_weight("variance", self._shape, "ones", trainable=False)
            self.add_weight("count", (), "zeros", trainable=False, dtype=dt.int32)

    def adapt(self, data: Any) -> None:
        """Measure mean and variance.

        Args:
            data: [samples, …], or a hither.data.Dataset of batches, x or (x, y), whose first epoch is read. Parts are joined as
                in Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (1979).
        """
        if self._given is not None:
            raise ValueError(f"{self.name} was given its mean and variance: it measures none")
        total, mean, squares = 0, np.zeros(()), np.zeros(())
        for batch in data.epoch(0) if hasattr(data, "epoch") else [data]:
            x = np.asarray(batch[0] if isinstance(batch, tuple) else batch, np.float64)
            self.ensure_built(x)
            kept = () if self.axis is None else axes_of(self.axis, x.ndim)
            axes = tuple(a for a in range(x.ndim) if a not in kept)
            count = math.prod(x.shape[a] for a in axes)
            apart = x.mean(axes) - mean
            squares = squares + x.var(axes) * count + apart**2 * (total * count / (total + count))
            total += count
            mean = mean + apart * (count / total)
        self.mean, self.variance = (ops.asarray(v, dtype=self.dtype) for v in (mean, squares / total))
        self.count = ops.asarray(total, dtype=dt.int32)

    def call(self, x: Any) -> Any:
        x = ops.astype(x, self.dtype)
        statistics = (self.mean, self.variance) if self._given is None else self._given
        mean, variance = (self._aligned(ops.asarray(v, dtype=self.dtype)) for v in statistics)
        deviation = ops.maximum(ops.sqrt(variance), 1e-7)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def _aligned(self, v: Any) -> Any:
        return v if v.size == 1 and v.ndim == 0 else ops.reshape(ops.broadcast_to(v, self._shape), self._broad)

    def get_config(self) -> dict[str, Any]:
        mean, variance = self._given or (None, None)
        about = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}
        given = {"mean": config.serialize(mean), "variance": config.serialize(variance)}
        return {**about, "axis": self.axis, **given, "invert": self.invert}
