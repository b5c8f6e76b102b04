"""Metrics that are the mean of a number per sample: accuracies, losses, and the coefficient of determination."""

from __future__ import annotations

from typing import Any

from ... import ops
from .. import config, losses
from ..losses import Loss, matching
from .base import MeanOf, Metric, State, ratio

# -- accuracies --------------------------------------------------------------------------------------------------------------


@config.register()
class Accuracy(MeanOf):
    """How often predictions equal targets."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        return y_true == y_pred


@config.register("binary_accuracy", "binaryAccuracy")
class BinaryAccuracy(MeanOf):
    """How often predictions above the threshold are ones."""

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        hits = ops.astype(y_true == ops.astype(y_pred > self.threshold, y_true.dtype), "float32")
        return ops.mean(hits, axis=-1) if hits.ndim > 1 else hits


@config.register("categorical_accuracy", "categoricalAccuracy")
class CategoricalAccuracy(MeanOf):
    """How often the class with the highest score is the one-hot target."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1)


@config.register("sparse_categorical_accuracy", "sparseCategoricalAccuracy")
class SparseCategoricalAccuracy(MeanOf):
    """How often the class with the highest score is the target's number."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        best = ops.argmax(y_pred, axis=-1)
        return ops.astype(y_true, best.dtype) == best


@config.register("sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(MeanOf):
    """How often the target's number is among the k highest scores."""

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name)
        self.k = k

    def values(self, y_true: Any, y_pred: Any) -> Any:
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        number = ops.expand_dims(ops.astype(y_true, "int32"), axis=-1)
        own = ops.take_along_axis(y_pred, number, axis=-1)
        higher = ops.sum(ops.astype(y_pred > own, "int32"), axis=-1)
        return higher < self.k


@config.register("top_k_categorical_accuracy")
class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """How often the one-hot target is among the k highest scores."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return super().values(ops.argmax(y_true, axis=-1), y_pred)


# -- losses as metrics ---------------------------------------------------------------------------------------------------------


class LossMetric(MeanOf):
    """The mean of a loss over samples."""

    def __init__(self, loss: Loss, name: str | None = None) -> None:
        super().__init__(name or loss.name)
        self._loss = loss

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.astype(y_pred, "float32") if y_pred.dtype.kind != "f" else y_pred
        return self._loss.call(*self._loss.prepared(y_true, y_pred))


def _of_loss(name: str, loss: type[Loss], default: str = "") -> type[LossMetric]:
    """The metric of a loss, with the loss's arguments. Names that losses have too belong to the losses in files."""

    def __init__(self: LossMetric, name: str | None = None, dtype: Any = None, **settings: Any) -> None:
        LossMetric.__init__(self, loss(**settings), name or default)
        self.__dict__.update(settings)

    default = default or config.config_name(name)
    made = type(name, (LossMetric,), {"__doc__": loss.__doc__, "__init__": __init__, "__module__": __name__})
    BY_NAME[config.config_name(name)] = made
    return made


BY_NAME: dict[str, type[Metric]] = {}
MeanSquaredError = _of_loss("MeanSquaredError", losses.MeanSquaredError)
MeanAbsoluteError = _of_loss("MeanAbsoluteError", losses.MeanAbsoluteError)
MeanAbsolutePercentageError = _of_loss("MeanAbsolutePercentageError", losses.MeanAbsolutePercentageError)
MeanSquaredLogarithmicError = _of_loss("MeanSquaredLogarithmicError", losses.MeanSquaredLogarithmicError)
LogCoshError = _of_loss("LogCoshError", losses.LogCosh, "logcosh")
Poisson = _of_loss("Poisson", losses.Poisson)
Hinge = _of_loss("Hinge", losses.Hinge)
SquaredHinge = _of_loss("SquaredHinge", losses.SquaredHinge)
CategoricalHinge = _of_loss("CategoricalHinge", losses.CategoricalHinge)
KLDivergence = _of_loss("KLDivergence", losses.KLDivergence)
BinaryCrossentropy = _of_loss("BinaryCrossentropy", losses.BinaryCrossentropy)
CategoricalCrossentropy = _of_loss("CategoricalCrossentropy", losses.CategoricalCrossentropy)
SparseCategoricalCrossentropy = _of_loss("SparseCategoricalCrossentropy", losses.SparseCategoricalCrossentropy)


@config.register("root_mean_squared_error", "rmse")
class RootMeanSquaredError(MeanOf):
    """The square root of the mean squared difference."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        return (y_pred - y_true) ** 2

    def value(self, state: State) -> Any:
        return ops.sqrt(super().value(state))


class CosineSimilarity(MeanOf):
    """The mean cosine of the angle between targets and predictions."""

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return -losses.CosineSimilarity(self.axis).call(*matching(y_true, y_pred))


BY_NAME["cosine_similarity"] = CosineSimilarity


@config.register("r2_score", "r2Score")
class R2Score(Metric):
    """The coefficient of determination: the share of the targets' variance that predictions explain.

    Args:
        class_aggregation: "uniform_average" over outputs, "variance_weighted_average", or None for one number each.
        num_regressors: for the adjusted score.
    """

    def __init__(
        self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name or "r2_score")
        allowed = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in allowed:
            raise ValueError(f"class_aggregation is one of {allowed}, got {class_aggregation!r}")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors

    def init(self) -> State:
        return {k: ops.zeros(()) for k in ("squared", "total", "residual", "count", "samples")}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_true, y_pred = matching(ops.asarray(y_true), ops.astype(ops.asarray(y_pred), "float32"))
        if y_true.ndim == 1:
            y_true, y_pred = ops.expand_dims(y_true, axis=-1), ops.expand_dims(y_pred, axis=-1)
        w = ops.ones((y_true.shape[0], 1)) if sample_weight is None else ops.astype(ops.asarray(sample_weight), "float32")
        w = ops.reshape(w, (y_true.shape[0], 1))
        return {
            "squared": state["squared"] + ops.sum(w * y_true * y_true, axis=0),
            "total": state["total"] + ops.sum(w * y_true, axis=0),
            "residual": state["residual"] + ops.sum(w * (y_true - y_pred) ** 2, axis=0),
            "count": state["count"] + ops.sum(w),
            "samples": state["samples"] + y_true.size,  # Keras counts numbers, not rows
        }

    def value(self, state: State) -> Any:
        mean = ratio(state["total"], state["count"])
        spread = state["squared"] - state["total"] * mean
        score = 1 - ratio(state["residual"], spread)
        if self.class_aggregation == "uniform_average":
            score = ops.mean(score)
        elif self.class_aggregation == "variance_weighted_average":
            score = ops.sum(score * spread) / ops.sum(spread)
        if self.num_regressors:
            n, p = state["samples"], self.num_regressors
            score = 1 - (1 - score) * (n - 1) / (n - p - 1)
        return score
