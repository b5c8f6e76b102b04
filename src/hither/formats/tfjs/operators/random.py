"""Random numbers: the attributes seed and seed2 fix the stream, which then is the same at every run. The generator is
hither's own: distributions agree with TensorFlow's, streams do not."""

from __future__ import annotations

from typing import Any

from .... import ops
from ....ops import random
from ..registry import Node, operator
from .creation import checked


def _key(node: Node) -> Any:
    return random.fold_in(random.key(node.integer("seed", 0) & 0xFFFFFFFF), node.integer("seed2", 0) & 0x7FFFFFFF)


def _shape(node: Node, shape: Any) -> tuple[int, ...]:
    return checked(node, node.ints(shape, "the shape"))


@operator("RandomUniform")
def uniform(node: Node, shape: Any) -> Any:
    return random.uniform(_key(node), _shape(node, shape), low=node.number("minval", 0.0), high=node.number("maxval", 1.0))


@operator("RandomUniformInt")
def uniform_int(node: Node, shape: Any, low: Any, high: Any) -> Any:
    least, most = (int(node.scalar(v, "a bound")) for v in (low, high))
    return random.randint(_key(node), least, most, _shape(node, shape))


@operator("RandomStandardNormal")
def normal(node: Node, shape: Any) -> Any:
    return random.normal(_key(node), _shape(node, shape))


@operator("TruncatedNormal")
def truncated_normal(node: Node, shape: Any) -> Any:
    mean, deviation = node.number("mean", 0.0), node.number("stdDev", 1.0)
    return random.truncated_normal(_key(node), _shape(node, shape)) * deviation + mean


@operator("Multinomial")
def multinomial(node: Node, logits: Any, count: Any) -> Any:
    n = int(node.scalar(count, "the count"))
    wide = ops.broadcast_to(ops.expand_dims(logits, axis=1), checked(node, (logits.shape[0], n, logits.shape[1])))
    return ops.astype(random.categorical(_key(node), wide, axis=-1), "int32")
