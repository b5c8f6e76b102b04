"""Dense, activations, dropout and flattening."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from .. import activations, config, initializers
from ..layer import Layer
from ..randomness import next_key


@config.register()
class Dense(Layer):
    """`activation(x @ kernel + bias)` along the last axis.

    Args:
        units: extent of the output's last axis.
        activation: function or name; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: how the weights begin.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Dense(3)(np.ones((2, 5), np.float32)).shape
        (2, 3)
    """

    kernel: Any
    bias: Any

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.activity_regularizer = activity_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint

    def build(self, input_shape: Any) -> None:
        self.add_weight(
            "kernel", (input_shape[-1], self.units), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        if self.use_bias:
            self.add_weight(
                "bias", (self.units,), self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip

    def call(self, x: Any) -> Any:
        y = ops.matmul(x, self.kernel)
        return self.activation(y + self.bias if self.use_bias else y)

    supports_masking = True

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.name_of(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": config.serialize(self.kernel_initializer),
            "bias_initializer": config.serialize(self.bias_initializer),
            "kernel_regularizer": config.serialize(self.kernel_regularizer),
            "bias_regularizer": config.serialize(self.bias_regularizer),
            "activity_regularizer": config.serialize(self.activity_regularizer),
            "kernel_constraint": config.serialize(self.kernel_constraint),
            "bias_constraint": config.serialize(self.bias_constraint),
        }


@config.register()
class Activation(Layer):
    """An activation as a layer of its own."""

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Any:
        return self.activation(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.name_of(self.activation)}


@config.register()
class Dropout(Layer):
    """In training, sets elements to 0 at this rate and scales the others by 1 / (1 - rate); otherwise does nothing.

    Args:
        rate: the fraction set to 0.
        noise_shape: shape of the mask, broadcast to the input's; None for an extent takes the input's.
        seed: makes the layer's draws its own.
    """

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"a dropout rate is between 0 and 1, got {rate}")
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return x
        if self.rate == 1:
            return x * 0
        shape = [n if m is None else m for m, n in zip(self.noise_shape or [None] * x.ndim, x.shape, strict=True)]
        key = next_key(self.name)
        if self.seed is not None:
            key = ops.random.fold_in(key, self.seed)
        kept = ops.random.bernoulli(key, 1 - self.rate, shape)
        return ops.where(kept, x / (1 - self.rate), np.zeros((), x.dtype.numpy))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


@config.register()
class Flatten(Layer):
    """All axes but the batch's as one.

    Args:
        data_format: "channels_first" turns the channels to the end before.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or "channels_last"

    def call(self, x: Any) -> Any:
        if self.data_format == "channels_first" and x.ndim > 2:
            x = ops.moveaxis(x, 1, -1)
        return ops.reshape(x, (x.shape[0], -1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}
