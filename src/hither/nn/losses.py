"""Losses, with Keras 3's names, arguments and formulas. A loss is a function of targets and predictions that gives one number.

Each is a class with settings, called as `loss(y_true, y_pred, sample_weight=None)`, and a name that the Trainer takes.
Computed in float32 where predictions are float16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from . import config

EPSILON = 1e-7  # Keras's default fuzz factor
REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Loss:
    """Base of all losses. Subclass it and write `call`, which gives a loss per sample.

    Args:
        name: for reports.
        reduction: "sum_over_batch_size" (the mean over samples), "sum", "mean_with_sample_weight" (the mean weighted by
            sample weights), or "none" (a loss per sample).

    Example:
        >>> import numpy as np, hither as ht
        >>> float(ht.nn.losses.MeanSquaredError()(np.zeros((2, 2)), np.ones((2, 2))))
        1.0
    """

    keras_module = "keras.losses"

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction is one of {', '.join(map(repr, REDUCTIONS))}, got {reduction!r}")
        self.name = name or config.config_name(type(self).__name__)
        self.reduction = reduction

    def classes(self, shape: Sequence[int]) -> int | None:
        """How many classes targets are numbers of, beside predictions of this shape; None if they are no numbers of classes."""
        return None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each sample: the last axis, or all but the batch's, is gone."""
        raise NotImplementedError

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch.

        Args:
            y_true: targets.
            y_pred: predictions, of the same shape (sparse losses: with one more axis).
            sample_weight: factors of the samples' losses, broadcast to them.

        Raises:
            ValueError: if the shapes do not fit.
        """
        y_true, y_pred = ops.asarray(y_true), _float(ops.asarray(y_pred))
        values = self.call(*self.prepared(y_true, y_pred))
        return reduce_weighted(values, sample_weight, self.reduction)

    def prepared(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Targets and predictions in one dtype and rank."""
        return matching(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The loss of `get_config`'s arguments, or of those that Keras wrote."""
        return cls(**{k: v for k, v in config.items() if k not in ("dtype", "fn")})


def _float(x: Any) -> Any:
    return x if x.dtype.kind == "f" and x.dtype.bits >= 32 else ops.astype(x, "float32")


def matching(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both in the predictions' dtype. A trailing axis of one that only one of them has is dropped; one number per sample gets
    the axis instead, for the means over the last axis that losses take are not to reach over the samples."""
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true, y_pred = (y_true, ops.expand_dims(y_pred, axis=-1)) if y_pred.ndim == 1 else (ops.squeeze(y_true, -1), y_pred)
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true, y_pred = (ops.expand_dims(y_true, axis=-1), y_pred) if y_true.ndim == 1 else (y_true, ops.squeeze(y_pred, -1))
    if tuple(y_true.shape) != tuple(y_pred.shape):
        try:
            np.broadcast_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        except ValueError:
            raise ValueError(
                f"targets of shape {tuple(y_true.shape)} do not fit predictions of shape {tuple(y_pred.shape)}; "
                "for class numbers use a sparse loss"
            ) from None
    return ops.astype(y_true, y_pred.dtype), y_pred


def reduce_weighted(values: Any, sample_weight: Any, reduction: str | None) -> Any:
    """Losses or metrics of samples as one number, as Keras weighs them."""
    weights = None
    if sample_weight is not None:
        weights = _float(ops.asarray(sample_weight))
        if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
            weights = ops.squeeze(weights, -1)
        while weights.ndim < values.ndim:
            weights = ops.expand_dims(weights, axis=-1)
        values = values * weights
    if reduction in (None, "none"):
        return values
    total = ops.sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        return total / ops.maximum(ops.sum(ops.broadcast_to(weights, tuple(values.shape))), EPSILON)
    return total / max(values.size, 1)


def masked_weights(weight: Any, mask: Any, reduction: str | None) -> Any:
    """Sample weights without what is masked, as Keras weighs them: a mean is over what counts."""
    if mask is None:
        return weight
    counts = ops.astype(mask, "float32")
    if reduction in ("mean", "sum_over_batch_size"):
        valid = ops.sum(counts)
        counts = counts * ops.where(valid == 0, np.float32(0), mask.size / ops.maximum(valid, np.float32(1)))
    if weight is None:
        return counts
    weight = ops.astype(ops.asarray(weight), "float32")
    while weight.ndim < counts.ndim:
        weight = ops.expand_dims(weight, axis=-1)
    return weight * counts


def one_hot_like(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Class numbers as rows with a one, along `axis` of the predictions."""
    if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis)
    if y_true.ndim != y_pred.ndim - 1:
        raise ValueError(
            f"class numbers of shape {tuple(y_true.shape)} do not fit predictions of shape {tuple(y_pred.shape)}: "
            "predictions have one more axis, that of the classes"
        )
    hot = ops.astype(ops.one_hot(ops.astype(y_true, "int32"), y_pred.shape[axis]), y_pred.dtype)
    return hot if axis in (-1, y_pred.ndim - 1) else ops.moveaxis(hot, -1, axis)


def log_probabilities(y_pred: Any, from_logits: bool, axis: int) -> Any:
    """Logarithms of the classes' probabilities."""
    if from_logits:
        return ops.log_softmax(y_pred, axis=axis)
    normal = y_pred / ops.sum(y_pred, axis=axis, keepdims=True)
    return ops.log(ops.clip(normal, EPSILON, 1 - EPSILON))


def binary_log_losses(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    """Cross-entropy of each element; from logits in the form that does not overflow."""
    if from_logits:
        return ops.maximum(y_pred, 0.0) - y_pred * y_true + ops.log1p(ops.exp(-ops.abs(y_pred)))
    p = ops.clip(y_pred, EPSILON, 1 - EPSILON)
    return -(y_true * ops.log(p) + (1 - y_true) * ops.log(1 - p))


def smoothed(y_true: Any, label_smoothing: float, classes: int) -> Any:
    """Targets moved towards even odds."""
    return y_true * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else y_true


# -- regression ------------------------------------------------------------------------------------------------------------


def _regression(name: str, short: str, doc: str, formula: Callable[[Any, Any], Any]) -> type[Loss]:
    """A loss without settings: the mean of a formula over the last axis."""

    def call(self: Loss, y_true: Any, y_pred: Any) -> Any:
        values = formula(y_true, y_pred)
        return ops.mean(values, axis=-1) if values.ndim else values

    made = type(name, (Loss,), {"__doc__": doc, "call": call, "__module__": __name__})
    return config.register(config.config_name(name), short)(made)


def _percentage(t: Any, p: Any) -> Any:
    return 100 * ops.abs((t - p) / ops.maximum(ops.abs(t), EPSILON))


def _squared_logs(t: Any, p: Any) -> Any:
    return (ops.log1p(ops.maximum(p, EPSILON)) - ops.log1p(ops.maximum(t, EPSILON))) ** 2


def _log_cosh(t: Any, p: Any) -> Any:
    e = p - t
    return e + ops.softplus(-2 * e) - math.log(2)


def _signs(t: Any) -> Any:
    """Targets 0 and 1 as -1 and 1; others as they are."""
    binary = ops.all((t == 0) | (t == 1))
    return ops.where(binary, 2 * t - 1, t)


MeanSquaredError = _regression("MeanSquaredError", "mse", "The mean of squared differences.", lambda t, p: (p - t) ** 2)
MeanAbsoluteError = _regression("MeanAbsoluteError", "mae", "The mean of absolute differences.", lambda t, p: ops.abs(p - t))
MeanAbsolutePercentageError = _regression(
    "MeanAbsolutePercentageError", "mape", "The mean difference in per cent of the target.", _percentage
)
MeanSquaredLogarithmicError = _regression(
    "MeanSquaredLogarithmicError", "msle", "The mean squared difference of log(1 + x).", _squared_logs
)
LogCosh = _regression("LogCosh", "logcosh", "The mean of log(cosh(difference)).", _log_cosh)
Poisson = _regression("Poisson", "poisson", "The mean of p - t log p.", lambda t, p: p - t * ops.log(p + EPSILON))
Hinge = _regression(
    "Hinge", "hinge", "The mean of max(1 - t p, 0); t is -1 or 1, or 0 or 1.", lambda t, p: ops.relu(1 - _signs(t) * p)
)
SquaredHinge = _regression(
    "SquaredHinge", "squared_hinge", "The mean of max(1 - t p, 0)².", lambda t, p: ops.relu(1 - _signs(t) * p) ** 2
)


@config.register("huber")
class Huber(Loss):
    """Squares of differences up to `delta`, straight lines beyond (Huber, 1964)."""

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name or "huber_loss", reduction)
        self.delta = delta

    def call(self, y_true: Any, y_pred: Any) -> Any:
        e = ops.abs(y_pred - y_true)
        return ops.mean(ops.where(e <= self.delta, 0.5 * e * e, self.delta * e - 0.5 * self.delta**2), axis=-1)


@config.register("cosine_similarity", "cosineProximity")
class CosineSimilarity(Loss):
    """Minus the cosine of the angle between targets and predictions along `axis`."""

    def __init__(self, axis: int = -1, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return -ops.sum(_unit(y_true, self.axis) * _unit(y_pred, self.axis), axis=self.axis)


def _unit(x: Any, axis: int) -> Any:
    return x * ops.minimum(ops.rsqrt(ops.sum(x * x, axis=axis, keepdims=True)), 1 / EPSILON)


# -- classification ----------------------------------------------------------------------------------------------------------


@config.register("binary_crossentropy", "bce")
class BinaryCrossentropy(Loss):
    """Cross-entropy of yes-or-no questions; predictions are probabilities, or logits."""

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
        reduction: str | None = "sum_over_batch_size", name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = smoothed(y_true, self.label_smoothing, 2)
        return ops.mean(binary_log_losses(y_true, y_pred, self.from_logits), axis=self.axis)


@config.register("binary_focal_crossentropy")
class BinaryFocalCrossentropy(Loss):
    """Cross-entropy that weighs easy samples less (Lin et al., 2017)."""

    def __init__(
        self, apply_class_balancing: bool = False, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
        label_smoothing: float = 0.0, axis: int = -1, reduction: str | None = "sum_over_batch_size", name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.apply_class_balancing, self.alpha, self.gamma = apply_class_balancing, alpha, gamma
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = smoothed(y_true, self.label_smoothing, 2)
        p = ops.sigmoid(y_pred) if self.from_logits else y_pred
        right = y_true * p + (1 - y_true) * (1 - p)
        values = ops.pow(1 - right, self.gamma) * binary_log_losses(y_true, p, False)
        if self.apply_class_balancing:
            values = values * (y_true * self.alpha + (1 - y_true) * (1 - self.alpha))
        return ops.mean(values, axis=self.axis)


@config.register("categorical_crossentropy")
class CategoricalCrossentropy(Loss):
    """Cross-entropy of one class among many, given as probabilities (one-hot rows)."""

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
        reduction: str | None = "sum_over_batch_size", name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = smoothed(y_true, self.label_smoothing, y_pred.shape[self.axis])
        return -ops.sum(y_true * log_probabilities(y_pred, self.from_logits, self.axis), axis=self.axis)


@config.register("categorical_focal_crossentropy")
class CategoricalFocalCrossentropy(Loss):
    """Categorical cross-entropy that weighs easy samples less (Lin et al., 2017)."""

    def __init__(
        self, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
        reduction: str | None = "sum_over_batch_size", name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.alpha, self.gamma, self.from_logits = alpha, gamma, from_logits
        self.label_smoothing, self.axis = label_smoothing, axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true = smoothed(y_true, self.label_smoothing, y_pred.shape[self.axis])
        logs = log_probabilities(y_pred, self.from_logits, self.axis)
        factor = self.alpha * ops.pow(1 - ops.exp(logs), self.gamma)
        return ops.sum(factor * -y_true * logs, axis=self.axis)


@config.register("sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy of one class among many, given by its number. Samples of `ignore_class` do not count.

    Nor do samples whose number is not that of a class, as in Keras on JAX, for compiled code raises no errors. A Trainer looks
    at labels before it runs a step, and raises LabelOutOfRange.
    """

    def __init__(
        self, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1,
        reduction: str | None = "sum_over_batch_size", name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if self.ignore_class is not None:
            y_true, y_pred = ops.asarray(y_true), ops.asarray(y_pred)
            numbers = ops.squeeze(y_true, self.axis) if y_true.ndim == y_pred.ndim else y_true
            sample_weight = masked_weights(sample_weight, numbers != self.ignore_class, self.reduction)
        return super().__call__(y_true, y_pred, sample_weight)

    def prepared(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        return y_true, y_pred

    def classes(self, shape: Sequence[int]) -> int | None:
        return shape[self.axis]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        values = -ops.sum(
            one_hot_like(y_true, y_pred, self.axis) * log_probabilities(y_pred, self.from_logits, self.axis), axis=self.axis
        )
        if self.ignore_class is None:
            return values
        counted = ops.reshape(y_true, values.shape) != self.ignore_class
        return ops.where(counted, values, ops.zeros_like(values))


@config.register("categorical_hinge")
class CategoricalHinge(Loss):
    """max(highest score of a wrong class - score of the right one + 1, 0)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        right = ops.sum(y_true * y_pred, axis=-1)
        wrong = ops.max((1 - y_true) * y_pred, axis=-1)
        return ops.relu(wrong - right + 1)


@config.register("kl_divergence", "kld", "kullback_leibler_divergence")
class KLDivergence(Loss):
    """The Kullback–Leibler divergence of predictions from targets, both probabilities."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        t, p = ops.clip(y_true, EPSILON, 1.0), ops.clip(y_pred, EPSILON, 1.0)
        return ops.sum(t * ops.log(t / p), axis=-1)


@config.register("dice")
class Dice(Loss):
    """1 minus the Dice coefficient (1945) of targets and predictions: twice what they share, by what both are.

    Args:
        axis: what it is the coefficient of; None is the whole batch, (1, 2, 3) each picture.
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, axis: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(name, reduction)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        axis = tuple(self.axis) if isinstance(self.axis, list | tuple) else self.axis
        shared, both = ops.sum(y_true * y_pred, axis=axis), ops.sum(y_true, axis=axis) + ops.sum(y_pred, axis=axis)
        return 1 - (2 * shared + EPSILON) / (both + EPSILON)


@config.register("tversky")
class Tversky(Loss):
    """1 minus the Tversky index (Salehi et al., 2017): Dice's coefficient with weights of the two kinds of error.

    Args:
        alpha, beta: weights of what is missed, and of what is predicted wrongly (as Keras computes, not as it says).
        axis: as of `Dice`.
    """

    def __init__(
        self, alpha: float = 0.5, beta: float = 0.5, reduction: str | None = "sum_over_batch_size", name: str | None = None,
        axis: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name, reduction)
        self.alpha, self.beta, self.axis = alpha, beta, axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        axis = tuple(self.axis) if isinstance(self.axis, list | tuple) else self.axis
        shared = ops.sum(y_true * y_pred, axis=axis)
        wrong, missed = ops.sum((1 - y_true) * y_pred, axis=axis), ops.sum(y_true * (1 - y_pred), axis=axis)
        return 1 - (shared + EPSILON) / (shared + missed * self.alpha + wrong * self.beta + EPSILON)


class FunctionLoss(Loss):
    """A function of (y_true, y_pred) that gives a loss per sample, or one number."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(getattr(function, "__name__", "loss"))
        self._function = function

    def prepared(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        return y_true, y_pred

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.asarray(self._function(y_true, y_pred))


def get(identifier: Any) -> Loss:
    """A loss by name ("mse"), configuration, as it is, or of a function (y_true, y_pred) → losses.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return config.find(identifier, Loss)()
    if isinstance(identifier, Mapping):
        return config.deserialize(identifier, Loss)
    if callable(identifier):
        return FunctionLoss(identifier)
    raise TypeError(f"a loss is a name, a hither.nn.losses object or a function, got {type(identifier).__name__}")


__all__ = [
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "Dice", "Hinge", "Huber", "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError",
    "MeanAbsolutePercentageError", "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson",
    "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky", "get",
]  # fmt: skip
