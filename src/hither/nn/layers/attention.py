"""Attention: dot products between a query and keys, with one head or several, and the einsum layer that they are made of.

Vaswani et al.: Attention Is All You Need, 2017. Bahdanau et al.: Neural Machine Translation by Jointly Learning to Align and
Translate, 2015 (AdditiveAttention).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from .. import activations, config, constraints, initializers, regularizers
from ..layer import Layer
from ..randomness import next_key
from .geometry import one_of
from .regularization import dropped


@config.register()
class EinsumDense(Layer):
    """`activation(einsum(equation, x, kernel) + bias)`.

    Args:
        equation: such as "abc,cde->abde"; "..." stands for any axes.
        output_shape: extents of the output without the batch axis; None is the input's.
        activation: function or name; None is linear.
        bias_axes: letters of the output's axes that the bias has; None is no bias.
        kernel_initializer, bias_initializer: how the weights begin.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(np.ones((2, 5, 3), np.float32)).shape
        (2, 5, 4)
    """

    kernel: Any
    bias: Any

    def __init__(
        self,
        equation: str,
        output_shape: int | Sequence[int | None],
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.equation, self.bias_axes = equation, bias_axes
        self.output_shape = [output_shape] if isinstance(output_shape, int) else list(output_shape)
        self.activation = activations.get(activation)
        self.kernel_initializer, self.bias_initializer = (
            initializers.get(kernel_initializer),
            initializers.get(bias_initializer),
        )
        self.kernel_regularizer, self.bias_regularizer = (
            regularizers.get(kernel_regularizer),
            regularizers.get(bias_regularizer),
        )
        self.kernel_constraint, self.bias_constraint = constraints.get(kernel_constraint), constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        operands, arrow, result = self.equation.replace(" ", "").partition("->")
        left, comma, right = operands.partition(",")
        if not arrow or not comma or "..." in right:
            raise ValueError(f"the equation of EinsumDense is such as 'abc,cd->abd', got {self.equation!r}")
        extents = self._extents(left, list(input_shape))
        made = self._extents(result, [input_shape[0], *self.output_shape])
        for letter, n in made.items():
            extents[letter] = n if n is not None else extents.get(letter)
        missing = [letter for letter in (*right, *(self.bias_axes or "")) if letter not in extents]
        if missing:
            raise ValueError(f"{self.name}: no extent is known for {missing[0]!r} in {self.equation!r}")
        self.add_weight(
            "kernel", [extents[letter] for letter in right], self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        if self.bias_axes:
            first = min(result.replace("...", "").index(letter) for letter in self.bias_axes)
            shape = [extents[a] if a in self.bias_axes else 1 for a in result.replace("...", "")[first:]]
            self.add_weight(
                "bias", shape, self.bias_initializer, regularizer=self.bias_regularizer, constraint=self.bias_constraint
            )

    def _extents(self, letters: str, shape: list[Any]) -> dict[str, Any]:
        before, dots, after = letters.partition("...")
        if not dots and len(before) != len(shape):
            raise ValueError(f"{self.name}: {letters!r} of {self.equation!r} does not fit shape {tuple(shape)}")
        return {**dict(zip(before, shape)), **dict(zip(reversed(after), reversed(shape)))}

    def call(self, x: Any) -> Any:
        y = ops.einsum(self.equation, x, self.kernel)
        return self.activation(y + self.bias if self.bias_axes else y)


@config.register()
class MultiHeadAttention(Layer):
    """Attention of a query [batch, steps, …] to a value [batch, other steps, …] in several heads.

    Args:
        num_heads: how many heads.
        key_dim: extent of each head's query and key.
        value_dim: of each head's value; key_dim unless given.
        dropout: rate, in training, for the weights of attention.
        use_bias: whether the projections have biases.
        output_shape: extent of the output; the query's unless given.
        seed: makes the draws of dropout its own.

    Called with `attention_mask` [batch, steps, other steps], `query_mask`, `value_mask`, `key_mask` [batch, steps] (what
    counts) and `use_causal_mask` (no step sees a later one); `return_attention_scores` gives the weights too.

    Example:
        >>> import numpy as np, hither as ht
        >>> x = np.ones((2, 5, 8), np.float32)
        >>> ht.nn.MultiHeadAttention(num_heads=2, key_dim=3)(x, x).shape
        (2, 5, 8)
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.attention_axes, self.sliding_window, self.use_gate = attention_axes, sliding_window, use_gate
        if attention_axes is not None and list(attention_axes) != [1]:
            raise self.unsupported(f"attention_axes={attention_axes!r}")
        if sliding_window or use_gate:
            raise self.unsupported(f"sliding_window={sliding_window!r} or use_gate={use_gate}")
        self.num_heads, self.key_dim, self.value_dim = num_heads, key_dim, value_dim or key_dim
        self.dropout, self.use_bias, self.seed = dropout, use_bias, seed
        shape = (
            list(output_shape) if isinstance(output_shape, list | tuple) else None if output_shape is None else [output_shape]
        )
        if shape is not None and len(shape) != 1:
            raise self.unsupported(f"output_shape={output_shape!r}")
        self.output_shape = shape
        self.kernel_initializer, self.bias_initializer = (
            initializers.get(kernel_initializer),
            initializers.get(bias_initializer),
        )
        self.kernel_regularizer, self.bias_regularizer = (
            regularizers.get(kernel_regularizer),
            regularizers.get(bias_regularizer),
        )
        self.kernel_constraint, self.bias_constraint = constraints.get(kernel_constraint), constraints.get(bias_constraint)

    def __call__(self, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        named = [kwargs.pop(n) for n in ("query", "value", "key")[len(args) :] if kwargs.get(n) is not None]
        return super().__call__(*args, *named, training=training, mask=mask, **kwargs)

    def ensure_built(self, *inputs: Any) -> None:
        if self.built:
            return
        query, value, *rest = (tuple(x.shape) for x in inputs)
        key = rest[0] if rest else value
        if {len(query), len(value), len(key)} != {3}:
            raise self.unsupported(f"attention between shapes {query} and {value}, other than [batch, steps, features],")
        n = self.num_heads
        self.query_dense = self._projection("query", "abc,cde->abde", (None, n, self.key_dim), "de", query)
        self.key_dense = self._projection("key", "abc,cde->abde", (None, n, self.key_dim), "de", key)
        self.value_dense = self._projection("value", "abc,cde->abde", (None, n, self.value_dim), "de", value)
        width = self.output_shape[0] if self.output_shape else query[-1]
        heads = (*query[:2], n, self.value_dim)
        self.output_dense = self._projection("attention_output", "abcd,cde->abe", (None, width), "e", heads)
        self.built = True

    def _projection(self, name: str, equation: str, shape: Any, bias_axes: str, input_shape: Any) -> EinsumDense:
        made = EinsumDense(
            equation, shape, bias_axes=bias_axes if self.use_bias else None, name=name, dtype=self.dtype.name,
            kernel_initializer=self.kernel_initializer, bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer, bias_regularizer=self.bias_regularizer,
            kernel_constraint=self.kernel_constraint, bias_constraint=self.bias_constraint,
        )  # fmt: skip
        made.build(input_shape)
        made.built = True
        return made

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        key = value if key is None else key
        masks = [None if m is None else ops.expand_dims(m, axis=2) for m in (query_mask,)]
        masks += [None if m is None else ops.expand_dims(m, axis=1) for m in (value_mask, key_mask)]
        masks += [attention_mask, _causal(query.shape[1], key.shape[1]) if use_causal_mask else None]
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        scores = ops.einsum("bqnh,bknh->bnqk", q * (1 / self.key_dim**0.5), k)
        allowed = _all(masks)
        # As in Keras, steps that may attend to nothing get zeros where weights are at hand, else the mean of all values.
        zeros = return_attention_scores or self.dropout > 0
        weights = attended(scores, None if allowed is None else ops.expand_dims(allowed, axis=1), zeros)
        kept = _with_dropout(self, weights, training)
        result = self.output_dense(ops.einsum("bnqk,bknh->bqnh", kept, v))
        return (result, weights) if return_attention_scores else result


def attended(scores: Any, allowed: Any, zeros: bool) -> Any:
    """softmax of scores along the last axis over what is allowed; where nothing is, zeros or equal weights."""
    if allowed is None:
        return ops.softmax(scores)
    low = np.asarray(np.finfo(scores.dtype.numpy).min / 2, scores.dtype.numpy)
    weights = ops.softmax(ops.where(allowed, scores, low))
    return ops.where(allowed, weights, np.zeros((), scores.dtype.numpy)) if zeros else weights


def _causal(steps: int, others: int) -> np.ndarray:
    return np.tril(np.ones((1, steps, others), bool))


def _all(masks: Sequence[Any]) -> Any:
    given = [ops.astype(m, "bool") for m in masks if m is not None]
    return functools.reduce(ops.logical_and, given) if given else None


def _with_dropout(layer: Any, weights: Any, training: bool) -> Any:
    if not training or not layer.dropout:
        return weights

    def key() -> Any:
        drawn = next_key(layer.name)
        return drawn if layer.seed is None else ops.random.fold_in(drawn, layer.seed)

    return dropped(weights, layer.dropout, key)


@config.register()
class Attention(Layer):
    """Attention of a query [batch, steps, features] to a value, called with [query, value] or [query, value, key].

    Args:
        use_scale: whether scores have a factor that is learnt.
        score_mode: "dot", or "concat": the sum of tanh(query + key).
        dropout: rate, in training, for the weights of attention.
        seed: makes the draws of dropout its own.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Attention()([np.ones((2, 5, 8), np.float32), np.ones((2, 7, 8), np.float32)]).shape
        (2, 5, 8)
    """

    scale: Any = None
    concat_score_weight: Any = None

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale, self.score_mode = use_scale, one_of("score_mode", score_mode, ("dot", "concat"))
        self.dropout, self.seed = dropout, seed

    def build(self, input_shape: Any) -> None:
        if self.use_scale:
            self.add_weight("scale", (), "ones")
        if self.score_mode == "concat":
            self.add_weight("concat_score_weight", (), "ones")

    def scores(self, query: Any, key: Any) -> Any:
        """How much each step of the query has to do with each of the key."""
        if self.score_mode == "dot":
            made = ops.matmul(query, key, transpose_b=True)
            return made if self.scale is None else made * self.scale
        both = ops.expand_dims(query, axis=-2) + ops.expand_dims(key, axis=-3)
        both = both if self.scale is None else both * self.scale
        return self.concat_score_weight * ops.sum(ops.tanh(both), axis=-1)

    def call(
        self, inputs: Any, mask: Any = None, training: bool = False, return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3):
            raise ValueError(f"{self.name} takes [query, value] or [query, value, key]")
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        of_query, of_value = list(mask)[:2] if isinstance(mask, list | tuple) else (None, None)
        scores = self.scores(query, key)
        masks = [None if of_value is None else ops.expand_dims(of_value, axis=1)]
        masks.append(_causal(query.shape[1], key.shape[1]) if use_causal_mask else None)
        allowed = _all(masks)
        # What is masked is lowered by so much, as Keras does: where nothing is allowed, the weights are as without a mask.
        weights = ops.softmax(scores if allowed is None else ops.where(allowed, scores, scores - 1e9))
        result = ops.matmul(_with_dropout(self, weights, training), value)
        if of_query is not None:
            result = ops.where(ops.expand_dims(of_query, axis=-1), result, np.zeros((), result.dtype.numpy))
        return (result, weights) if return_attention_scores else result

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        return mask[0] if isinstance(mask, list | tuple) and mask else None


@config.register()
class AdditiveAttention(Attention):
    """Attention whose scores are Σ scale · tanh(query + key); called with [query, value] or [query, value, key].

    Args:
        use_scale: whether there is a factor for each feature, which is learnt.
        dropout: rate, in training, for the weights of attention.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **{k: v for k, v in kwargs.items() if k != "score_mode"})

    def build(self, input_shape: Any) -> None:
        if self.use_scale:
            self.add_weight("scale", (input_shape[0][-1],), "glorot_uniform")

    def scores(self, query: Any, key: Any) -> Any:
        both = ops.tanh(ops.expand_dims(query, axis=-2) + ops.expand_dims(key, axis=-3))
        return ops.sum(both if self.scale is None else both * self.scale, axis=-1)
