"""Random operators. A compiled program has no hidden state, so their numbers are drawn once, while importing.

They come from a counter-based generator keyed by the `seed` attribute, or by the node's name where it has none: the same model
gives the same numbers in every run and on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....dtypes import DType
from ....graph.primitives import apply
from ..proto import check_shape, numpy_dtype
from ..registry import Node, operator
from .common import cast


def _generator(node: Node) -> np.random.Generator:
    seed = node.get("seed")
    text = node.label if seed is None else repr(float(seed))
    return np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")))


def uniform(node: Node, shape: Sequence[int], to: DType) -> Array:
    """Numbers in [0, 1)."""
    check_shape(tuple(shape), 8, node.label)
    return Array(np.asarray(_generator(node).random(tuple(shape), np.float32)).astype(to.numpy))


def _normal(node: Node, shape: Sequence[int], to: DType) -> Array:
    check_shape(tuple(shape), 8, node.label)
    values = np.asarray(_generator(node).standard_normal(tuple(shape)))
    return Array((values * node["scale"] + node["mean"]).astype(to.numpy))


def _output_dtype(node: Node, like: Any = None) -> DType:
    number = node.get("dtype")
    if number is None:
        return like.dtype if like is not None else dt.float32
    found = dt.dtype(numpy_dtype(number, node.label))
    node.check(like is None or found.kind in "fiub", f"dtype {found} is not possible")
    return found


@operator("RandomNormal", "RandomNormalLike")
def random_normal(node: Node, like: Any = None) -> Any:
    return _normal(node, node["shape"] if like is None else like.shape, _output_dtype(node, like))


@operator("RandomUniform", "RandomUniformLike")
def random_uniform(node: Node, like: Any = None) -> Any:
    to = _output_dtype(node, like)
    values = uniform(node, node["shape"] if like is None else like.shape, dt.float64).numpy()
    return Array((values * (node["high"] - node["low"]) + node["low"]).astype(to.numpy))


@operator("Bernoulli")
def bernoulli(node: Node, x: Any) -> Any:
    return cast(uniform(node, x.shape, x.dtype) < x, _output_dtype(node, x))


@operator("Multinomial")
def multinomial(node: Node, x: Any) -> Any:
    """Draws from unnormalised log probabilities by the largest of logits plus Gumbel noise."""
    node.check(len(x.shape) == 2 and node["sample_size"] > 0, f"takes [batch, classes], got shape {tuple(x.shape)}")
    noise = uniform(node, (x.shape[0], node["sample_size"], x.shape[1]), dt.float64).numpy()
    gumbel = Array((-np.log(-np.log(noise.clip(1e-12, 1 - 1e-12)))).astype(x.dtype.numpy))
    to = dt.int32 if node.get("dtype") is None else dt.dtype(numpy_dtype(node["dtype"], node.label))
    return apply("argmax", ops.expand_dims(x, axis=1) + gumbel, axis=2, last=False, dtype=to)
