"""Dense, Embedding, Masking, activations and functions as layers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from ...errors import UnsupportedFeature
from .. import activations, config, constraints, initializers, regularizers
from ..layer import Layer


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
    supports_masking = True

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
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

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


@config.register()
class Embedding(Layer):
    """Rows of a table by number: [...] integers → [..., output_dim].

    A number beyond the table raises nothing, on any device or in a page: it gets the last row, and a negative one
    counts from the end (see `ht.take`). Where that would be a mistake, check numbers before.

    Args:
        input_dim: how many rows.
        output_dim: their extent.
        embeddings_initializer: how the table begins.
        mask_zero: whether 0 means "nothing here": layers after this one skip such steps.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Embedding(10, 4)(np.array([[1, 2, 3]])).shape
        (1, 3, 4)
    """

    embeddings: Any

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)

    def build(self, input_shape: Any) -> None:
        self.add_weight(
            "embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer,
            regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint,
        )  # fmt: skip

    def call(self, x: Any) -> Any:
        return ops.take(self.embeddings, x if x.dtype.is_integer else x.astype(dt.int32), axis=0)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None


@config.register()
class Masking(Layer):
    """Marks steps of a sequence in which every feature is `mask_value`: layers after this one skip them.

    Args:
        mask_value: what says "nothing here".

    Example:
        >>> import numpy as np, hither as ht
        >>> net = ht.nn.Sequential([ht.nn.Masking(), ht.nn.LSTM(2)])
        >>> net(np.zeros((1, 5, 3), np.float32)).numpy().tolist()
        [[0.0, 0.0]]
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def call(self, x: Any) -> Any:
        kept = ops.any(ops.not_equal(x, self.mask_value), axis=-1, keepdims=True)
        return ops.where(kept, x, np.zeros((), x.dtype.numpy))

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        return ops.any(ops.not_equal(inputs, self.mask_value), axis=-1)


@config.register()
class Activation(Layer):
    """An activation as a layer of its own.

    Args:
        activation: function or name.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Activation("relu")(np.array([-1.0, 2.0], np.float32))
        Array([0., 2.], dtype=float32)
    """

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Any:
        return self.activation(x)


@config.register()
class Identity(Layer):
    """Its input as it is."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        return x


@config.register()
class ActivityRegularization(Layer):
    """Its input as it is; in training its size is penalised.

    Args:
        l1, l2: factors of the sums of absolute values and of squares.
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**{"activity_regularizer": regularizers.L1L2(l1, l2), **kwargs})
        self.l1, self.l2 = l1, l2

    def call(self, x: Any) -> Any:
        return x


@config.register()
class Lambda(Layer):
    """A Python function of arrays as a layer.

    It cannot be saved: files hold no code, and a Lambda layer in a Keras file, which is bytecode, is refused. What is to be
    saved is a subclass of `Layer`, registered.

    Args:
        function: takes what the layer is given, and `training` and `mask` if it names them.
        arguments: further arguments by name.

    Raises:
        UnsupportedFeature: `function` is code from a file.

    Example:
        >>> import hither as ht
        >>> x = ht.nn.Input((6,))
        >>> ht.nn.Lambda(lambda x: ht.sum(x, axis=-1, keepdims=True))(x).shape
        (None, 1)
    """

    def __init__(
        self, function: Any = None, output_shape: Any = None, mask: Any = None, arguments: Any = None, **kwargs: Any
    ) -> None:
        if not callable(function):
            raise UnsupportedFeature(
                f"Lambda layer {kwargs.get('name') or ''!r}: its function is code inside the file, which hither does not run. "
                "Write the layer as a subclass of hither.nn.Layer, decorate it with @hither.nn.register() and name it in the "
                "file's place"
            )
        super().__init__(**kwargs)
        self.function, self.arguments = function, dict(arguments or {})

    def call(self, x: Any, training: bool = False, mask: Any = None) -> Any:
        taken = inspect.signature(self.function).parameters
        also = {k: v for k, v in (("training", training), ("mask", mask)) if k in taken}
        return self.function(x, **self.arguments, **also)

    def get_config(self) -> dict[str, Any]:
        raise self.unsupported(
            "saving (files hold no code; a subclass of hither.nn.Layer, decorated with @hither.nn.register(), can be saved)"
        )
