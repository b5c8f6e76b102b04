"""Keras's functions as layers: what `y = keras.ops.relu(x) + 1` writes into a network's configuration.

Masks are written so too: a network with Masking or Embedding(mask_zero=True) holds NotEqual and Any. The configuration of such
an entry holds the function's settings; its arrays, and constants among them, are in its calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .. import dtypes as dt
from .. import ops
from ..errors import UnsupportedFeature
from . import config
from .layer import Layer


class Operation(Layer):
    """A function as a layer. Made from configurations; in Python call the function."""

    function: Callable[..., Any]
    keras_module = "keras.src.ops.numpy"

    def __init__(self, settings: dict[str, Any], name: str | None = None) -> None:
        super().__init__(name=name)
        self.settings = settings
        self.built = True

    def convert(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args  # a list may be an index

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return type(self).function(*args, **kwargs, **self.settings)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **config.serialize(self.settings)}

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        if isinstance(plain.get("dtype"), str):
            plain["dtype"] = dt.dtype(plain["dtype"]).name  # refused here, where the file is read
        else:
            plain.pop("dtype", None)  # of a layer, which this is none of
        plain.pop("trainable", None)
        name: Any = plain.pop("name", None)
        return cls(plain, name)


def _item(x: Any, key: Any) -> Any:
    return x[tuple(key) if isinstance(key, list) else key]


def _mean_like(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
        if any(v is not None for v in rest.values()):
            raise ValueError(f"{', '.join(rest)} is not supported here")
        return function(x, axis=axis, keepdims=keepdims)

    return reduced


def _where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    if x1 is None or x2 is None:
        raise ValueError("Where without two values has a result of unknown size")
    return ops.where(condition, x1, x2)


def _split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    if isinstance(indices_or_sections, int):
        return ops.split(x, indices_or_sections, axis=axis)
    ends = [0, *indices_or_sections, x.shape[axis]]
    return ops.split(x, [b - a for a, b in itertools.pairwise(ends)], axis=axis)


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    return ops.pad(x, pad_width, mode=mode, value=0 if constant_values is None else constant_values)


def _one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    if sparse:
        raise UnsupportedFeature("one_hot: sparse=True is not supported, as there are no sparse arrays; leave it out")
    return ops.one_hot(x, num_classes, axis=axis, dtype=dtype or dt.float32)


_NUMPY = (
    "add", "ceil", "cos", "cosh", "divide", "equal", "exp", "exp2", "expm1", "floor", "floor_divide", "greater",
    "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "log2", "log10", "logaddexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "matmul", "maximum", "minimum", "multiply", "negative",
    "not_equal", "reciprocal", "sign", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh",
)  # fmt: skip
_NN = (
    "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign",
    "sparse_plus", "squareplus", "tanh_shrink",
)  # fmt: skip
_IN_NN = {*_NN, "elu", "gelu", "leaky_relu", "log_softmax", "one_hot", "softmax"}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(ops, name) for name in (*_NUMPY, *_NN)},
    "absolute": ops.abs,
    "all": _mean_like(ops.all),
    "any": _mean_like(ops.any),
    "arccos": ops.acos,
    "arcsin": ops.asin,
    "arctan": ops.atan,
    "argmax": lambda x, axis=None, keepdims=False: ops.argmax(x, axis=axis, keepdims=keepdims, dtype=dt.int32),
    "argmin": lambda x, axis=None, keepdims=False: ops.argmin(x, axis=axis, keepdims=keepdims, dtype=dt.int32),
    "broadcast_to": lambda x, shape: ops.broadcast_to(x, shape),
    "cast": lambda x, dtype: ops.astype(x, dtype),
    "clip": lambda x, x_min, x_max: ops.clip(x, x_min, x_max),
    "concatenate": lambda xs, axis=0: ops.concat(xs, axis=axis),
    "elu": lambda x, alpha=1.0: ops.elu(x, alpha=alpha),
    "expand_dims": lambda x, axis: ops.expand_dims(x, axis=axis),
    "flip": lambda x, axis=None: ops.flip(x, axis=axis),
    "gelu": lambda x, approximate=True: ops.gelu(x, approximate=approximate),
    "get_item": _item,
    "leaky_relu": lambda x, negative_slope=0.2: ops.leaky_relu(x, alpha=negative_slope),
    "log_softmax": lambda x, axis=-1: ops.log_softmax(x, axis=axis),
    "max": _mean_like(ops.max),
    "mean": _mean_like(ops.mean),
    "min": _mean_like(ops.min),
    "mod": ops.remainder,
    "moveaxis": lambda x, source, destination: ops.moveaxis(x, source, destination),
    "one_hot": _one_hot,
    "pad": _pad,
    "power": ops.pow,
    "prod": _mean_like(ops.prod),
    "ravel": lambda x: ops.reshape(x, (-1,)),
    "repeat": lambda x, repeats, axis=None: ops.repeat(x, repeats, axis=axis),
    "reshape": lambda x, newshape: ops.reshape(x, newshape),
    "roll": lambda x, shift, axis=None: ops.roll(x, shift, axis=axis),
    "softmax": lambda x, axis=-1: ops.softmax(x, axis=axis),
    "split": _split,
    "squeeze": lambda x, axis=None: ops.squeeze(x, axis),
    "stack": lambda x, axis=0: ops.stack(x, axis=axis),
    "std": _mean_like(ops.std),
    "sum": _mean_like(ops.sum),
    "swapaxes": lambda x, axis1, axis2: ops.permute_dims(x, _swapped(x.ndim, axis1, axis2)),
    "take": lambda x, indices, axis=None: ops.take(x, indices, axis=axis),
    "tile": lambda x, repeats: ops.tile(x, repeats),
    "transpose": lambda x, axes=None: ops.permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else axes),
    "true_divide": ops.divide,
    "var": _mean_like(ops.var),
    "where": _where,
    "ones_like": lambda x, dtype=None: ops.ones_like(x, dtype=dtype),
    "zeros_like": lambda x, dtype=None: ops.zeros_like(x, dtype=dtype),
}


def _swapped(rank: int, a: int, b: int) -> list[int]:
    order = list(range(rank))
    order[a], order[b] = order[b], order[a]
    return order


def _operation(name: str, function: Callable[..., Any]) -> type[Operation]:
    spelled = "".join(part.capitalize() for part in name.split("_"))
    module = "keras.src.ops." + ("nn" if name in _IN_NN else "core" if name == "cast" else "numpy")
    return type(spelled, (Operation,), {"function": staticmethod(function), "keras_module": module, "__module__": __name__})


OPERATIONS: dict[str, type[Operation]] = {
    made.__name__: made for made in (_operation(name, function) for name, function in _FUNCTIONS.items())
}
