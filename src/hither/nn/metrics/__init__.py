"""Metrics, with Keras 3's names, arguments and formulas: numbers that are collected over batches.

A metric is a pure function of its state, so that a compiled step can carry it: `init() → state`, `update(state, y_true, y_pred,
sample_weight) → state`, `result(state) → number`. Called as Keras's are (`update_state`, `result()`, `reset_state`), it keeps a
state of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import config, losses
from ..losses import Loss
from .base import FunctionMetric, Mean, Metric
from .counts import AUC, F1Score, FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives
from .means import (
    BY_NAME,
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    LossMetric,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
)
from .overlap import BinaryIoU, IoU, MeanIoU

SHORT = {
    "mse": "mean_squared_error", "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error", "logcosh": "log_cosh_error", "kld": "kl_divergence",
    "bce": "binary_crossentropy",
}  # fmt: skip


def get(identifier: Any, loss: Loss | None = None) -> Metric:
    """A metric by name, configuration, as it is, or of a function. "accuracy" is the accuracy that fits the loss.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, Loss):
        return LossMetric(identifier)
    if identifier in ("accuracy", "acc") if isinstance(identifier, str) else False:
        return accuracy_for(loss)
    if isinstance(identifier, str):
        own = BY_NAME.get(SHORT.get(identifier.lower(), config.config_name(identifier)))
        return (own or config.find(identifier, Metric))()
    if isinstance(identifier, Mapping):
        own = BY_NAME.get(config.config_name(str(identifier.get("class_name"))))
        return own.from_config(dict(identifier.get("config") or {})) if own else config.deserialize(identifier, Metric)
    if callable(identifier):
        return FunctionMetric(identifier)
    raise TypeError(f"a metric is a name, a hither.nn.metrics object or a function, got {type(identifier).__name__}")


def accuracy_for(loss: Loss | None) -> Metric:
    """Keras's "accuracy": of class numbers, one-hot rows or yes-or-no questions, as the loss takes them."""
    made: Metric
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        made = SparseCategoricalAccuracy()
    elif isinstance(loss, losses.BinaryCrossentropy | losses.BinaryFocalCrossentropy | losses.Hinge | losses.SquaredHinge):
        made = BinaryAccuracy(threshold=0.0 if getattr(loss, "from_logits", False) else 0.5)
    elif isinstance(loss, losses.CategoricalCrossentropy | losses.CategoricalFocalCrossentropy | losses.CategoricalHinge):
        made = CategoricalAccuracy()
    else:
        made = Accuracy()
    made.name = "accuracy"
    return made


def get_all(identifiers: Sequence[Any] | None, loss: Loss | None = None) -> list[Metric]:
    """Metrics with distinct names."""
    made: list[Metric] = []
    for identifier in identifiers or ():
        metric = get(identifier, loss)
        if isinstance(identifier, str):
            metric.name = identifier  # as Keras reports it: "mae", "accuracy"
        taken, base, count = {m.name for m in made} | {"loss"}, metric.name, 0
        while metric.name in taken:
            count += 1
            metric.name = f"{base}_{count}"
        made.append(metric)
    return made


__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence",
    "LogCoshError", "LossMetric", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "Poisson", "Precision", "R2Score", "Recall", "RootMeanSquaredError",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy", "SquaredHinge",
    "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives", "get",
]  # fmt: skip
