"""Losses."""

from __future__ import annotations

import math
from typing import Any

from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import cast


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(node: Node, scores: Any, target: Any, weight: Any = None) -> Any:
    return _picked(node, scores, target, weight)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(node: Node, scores: Any, target: Any, weight: Any = None) -> Any:
    logs = ops.log_softmax(scores, axis=1)
    return _picked(node, logs, target, weight), logs


def _picked(node: Node, logs: Any, target: Any, weight: Any) -> Any:
    """Minus the log probability of each target class, weighted, ignored classes left out, reduced."""
    node.check(len(logs.shape) >= 2 and tuple(target.shape) == (logs.shape[0], *logs.shape[2:]), "scores and target do not fit")
    ignored = node.get("ignore_index")
    kept = None if ignored is None else target != ignored
    classes = target if kept is None else ops.where(kept, target, 0)
    found = apply("take_along", logs, ops.expand_dims(classes, axis=1), axis=1)
    loss = -ops.reshape(found, target.shape)
    factor = None
    if weight is not None:
        factor = apply("take", weight, classes, axis=0)
    if kept is not None:
        factor = cast(kept, logs.dtype) if factor is None else ops.where(kept, factor, 0.0)
    if factor is not None:
        loss = loss * factor if kept is None else ops.where(kept, loss * factor, 0.0)
    reduction = node.get("reduction", "mean")
    if reduction == "none":
        return loss
    total = ops.sum(loss)
    if reduction == "sum":
        return total
    node.check(reduction == "mean", f"reduction must be none, sum or mean, got {reduction!r}")
    return total / (ops.sum(factor) if factor is not None else float(math.prod(target.shape)))
