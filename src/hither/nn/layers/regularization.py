"""Layers that do something in training only: dropout and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from .. import config
from ..layer import Layer
from ..randomness import next_key
from .geometry import layout_of


class _Noise(Layer):
    """A layer that draws random numbers in training and passes its input on otherwise."""

    supports_masking = True
    rate: float
    seed: int | None = None

    def _key(self) -> Any:
        key = next_key(self.name)
        return key if self.seed is None else ops.random.fold_in(key, self.seed)

    def _shape(self, x: Any) -> Sequence[int]:
        """The shape of what is drawn."""
        return x.shape

    def _checked(self, rate: float) -> float:
        if not 0 <= rate <= 1:
            raise ValueError(f"a dropout rate is between 0 and 1, got {rate}")
        return rate


@config.register()
class Dropout(_Noise):
    """In training, sets elements to 0 at this rate and scales the others by 1 / (1 - rate); otherwise does nothing.

    Args:
        rate: the fraction set to 0.
        noise_shape: shape of the mask, broadcast to the input's; None for an extent takes the input's.
        seed: makes the layer's draws its own.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Dropout(0.5)(np.ones(3, np.float32))
        Array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.noise_shape, self.seed = self._checked(rate), noise_shape, seed

    def _shape(self, x: Any) -> Sequence[int]:
        return [n if m is None else m for m, n in zip(self.noise_shape or [None] * x.ndim, x.shape, strict=True)]

    def call(self, x: Any, training: bool = False) -> Any:
        return dropped(x, self.rate, self._key, self._shape(x)) if training else x


def dropped(x: Any, rate: float, key: Any, shape: Sequence[int] | None = None) -> Any:
    """x with elements set to 0 at this rate and the others scaled by 1 / (1 - rate).

    Args:
        key: function that gives the key to draw with.
        shape: of what is drawn, where it is not x's.
    """
    return x if rate == 0 else ops.random.dropout(key(), x, rate, noise_shape=shape)


class _SpatialDropout(Dropout):
    """Drops whole channels.

    Args:
        rate: the fraction set to 0.
        data_format: where the channels are.
        seed: makes the layer's draws its own.
    """

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, **kwargs)
        self.data_format = layout_of(data_format)

    def _shape(self, x: Any) -> Sequence[int]:
        window = (1,) * (x.ndim - 2)
        last = self.data_format == "channels_last"
        return (x.shape[0], *window, x.shape[-1]) if last else (x.shape[0], x.shape[1], *window)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "trainable"}  # Keras's class takes none


@config.register()
class SpatialDropout1D(_SpatialDropout):
    """Dropout of whole channels of [batch, steps, channels].

    Args:
        rate: the fraction set to 0.
        seed: makes the layer's draws its own.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, **kwargs)


@config.register()
class SpatialDropout2D(_SpatialDropout):
    """Dropout of whole channels of [batch, height, width, channels]."""


@config.register()
class SpatialDropout3D(_SpatialDropout):
    """Dropout of whole channels of [batch, depth, height, width, channels]."""


@config.register()
class GaussianNoise(_Noise):
    """In training, adds normally distributed noise.

    Args:
        stddev: its standard deviation.
        seed: makes the layer's draws its own.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev, self.seed = stddev, seed

    def call(self, x: Any, training: bool = False) -> Any:
        return x + ops.random.normal(self._key(), x.shape, std=self.stddev, dtype=x.dtype) if training and self.stddev else x


@config.register()
class GaussianDropout(_Noise):
    """In training, multiplies by normally distributed numbers of mean 1 and standard deviation √(rate / (1 - rate)).

    Args:
        rate: as for Dropout, which has the same standard deviation.
        seed: makes the layer's draws its own.

    Srivastava et al.: Dropout, 2014, section 10.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of GaussianDropout is at least 0 and below 1, got {rate}")
        self.rate, self.seed = rate, seed

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return x
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return x * ops.random.normal(self._key(), x.shape, mean=1.0, std=deviation, dtype=x.dtype)


@config.register()
class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance of what a selu network carries: elements become selu's lowest value.

    Args:
        rate: the fraction dropped.
        noise_shape: shape of the mask, as for Dropout.
        seed: makes the layer's draws its own.

    Klambauer et al.: Self-Normalizing Neural Networks, 2017.
    """

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return x
        if self.rate == 1:
            return x * 0
        lowest = -1.7580993408473766
        a = ((1 - self.rate) * (1 + self.rate * lowest**2)) ** -0.5
        kept = ops.random.bernoulli(self._key(), 1 - self.rate, self._shape(x))
        return ops.where(kept, x, np.asarray(lowest, x.dtype.numpy)) * a + -a * lowest * self.rate
