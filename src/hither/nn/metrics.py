"""Metrics, with Keras 3's names, arguments and formulas: numbers that are collected over batches.

A metric is a pure function of its state, so that a compiled step can carry it: `init() → state`, `update(state, y_true, y_pred,
sample_weight) → state`, `result(state) → number`. Called as Keras's are (`update_state`, `result()`, `reset_state`), it keeps a
state of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from . import config, losses
from .losses import EPSILON, Loss, config_name, matching, reduce_weighted

State = dict[str, Any]


class Metric:
    """Base of all metrics.

    Example:
        >>> import numpy as np, hither as ht
        >>> m = ht.nn.metrics.BinaryAccuracy()
        >>> m.update_state(np.array([[1], [0]]), np.array([[0.9], [0.6]], np.float32))
        >>> float(m.result())
        0.5
    """

    keras_module = "keras.metrics"

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or config_name(type(self).__name__)
        self._state: State | None = None

    def init(self) -> State:
        """The state before the first batch."""
        return {"total": ops.zeros(()), "count": ops.zeros(())}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        """The state after a batch."""
        raise NotImplementedError

    def result(self, state: State | None = None) -> Any:
        """The number that a state stands for; of the metric's own state if none is given."""
        state = self._own() if state is None else state
        return self.value(state)

    def value(self, state: State) -> Any:
        """What `result` gives: the mean, unless a subclass says otherwise."""
        return _ratio(state["total"], state["count"])

    def _own(self) -> State:
        if self._state is None:
            self._state = self.init()
        return self._state

    def update_state(self, y_true: Any, y_pred: Any = None, sample_weight: Any = None) -> None:
        """Add a batch to the metric's own state."""
        self._state = self.update(self._own(), y_true, y_pred, sample_weight)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._state = None

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The metric of `get_config`'s arguments, or of those that Keras wrote."""
        return cls(**{k: v for k, v in config.items() if k != "dtype"})


def _ratio(total: Any, count: Any) -> Any:
    """A quotient that is 0 where nothing was counted."""
    return ops.where(count == 0, ops.zeros_like(total), total / ops.where(count == 0, ops.ones_like(count), count))


def _sums(values: Any, sample_weight: Any) -> tuple[Any, Any]:
    """The weighted sum of values, and the sum of their weights."""
    total = reduce_weighted(values, sample_weight, "sum")
    if sample_weight is None:
        return total, ops.asarray(np.float32(values.size))
    weights = ops.astype(ops.asarray(sample_weight), "float32")
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, -1)
    while weights.ndim < values.ndim:
        weights = ops.expand_dims(weights, axis=-1)
    return total, ops.sum(ops.broadcast_to(weights, tuple(values.shape)))


@config.register()
class Mean(Metric):
    """The weighted mean of the values given: `update_state(values, sample_weight=…)`."""

    def update(self, state: State, y_true: Any, y_pred: Any = None, sample_weight: Any = None) -> State:
        total, count = _sums(ops.astype(ops.asarray(y_true), "float32"), sample_weight)
        return {"total": state["total"] + total, "count": state["count"] + count}


class _MeanOf(Metric):
    """The mean of a number per sample."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """A number for each sample."""
        raise NotImplementedError

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_true, y_pred = ops.asarray(y_true), ops.asarray(y_pred)
        total, count = _sums(ops.astype(self.values(y_true, y_pred), "float32"), sample_weight)
        return {"total": state["total"] + total, "count": state["count"] + count}


# -- accuracies --------------------------------------------------------------------------------------------------------------


@config.register()
class Accuracy(_MeanOf):
    """How often predictions equal targets."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        return y_true == y_pred


@config.register("binary_accuracy", "binaryAccuracy")
class BinaryAccuracy(_MeanOf):
    """How often predictions above the threshold are ones."""

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        hits = ops.astype(y_true == ops.astype(y_pred > self.threshold, y_true.dtype), "float32")
        return ops.mean(hits, axis=-1) if hits.ndim > 1 else hits


@config.register("categorical_accuracy", "categoricalAccuracy")
class CategoricalAccuracy(_MeanOf):
    """How often the class with the highest score is the one-hot target."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1)


@config.register("sparse_categorical_accuracy", "sparseCategoricalAccuracy")
class SparseCategoricalAccuracy(_MeanOf):
    """How often the class with the highest score is the target's number."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        best = ops.argmax(y_pred, axis=-1)
        return ops.astype(y_true, best.dtype) == best


@config.register("sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(_MeanOf):
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


class LossMetric(_MeanOf):
    """The mean of a loss over samples."""

    def __init__(self, loss: Loss, name: str | None = None) -> None:
        super().__init__(name or loss.name)
        self._loss = loss

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.astype(y_pred, "float32") if y_pred.dtype.kind != "f" else y_pred
        return self._loss.call(*self._loss.prepared(y_true, y_pred))


def _of_loss(name: str, loss: type[Loss]) -> type[LossMetric]:
    """The metric of a loss, with the loss's arguments. Names that losses have too belong to the losses in files."""

    def __init__(self: LossMetric, name: str | None = None, dtype: Any = None, **settings: Any) -> None:
        LossMetric.__init__(self, loss(**settings), name or default)
        self.__dict__.update(settings)

    default = config_name(name)
    made = type(name, (LossMetric,), {"__doc__": loss.__doc__, "__init__": __init__, "__module__": __name__})
    _BY_NAME[default] = made
    return made


_BY_NAME: dict[str, type[Metric]] = {}
MeanSquaredError = _of_loss("MeanSquaredError", losses.MeanSquaredError)
MeanAbsoluteError = _of_loss("MeanAbsoluteError", losses.MeanAbsoluteError)
MeanAbsolutePercentageError = _of_loss("MeanAbsolutePercentageError", losses.MeanAbsolutePercentageError)
MeanSquaredLogarithmicError = _of_loss("MeanSquaredLogarithmicError", losses.MeanSquaredLogarithmicError)
LogCoshError = _of_loss("LogCoshError", losses.LogCosh)
Poisson = _of_loss("Poisson", losses.Poisson)
Hinge = _of_loss("Hinge", losses.Hinge)
SquaredHinge = _of_loss("SquaredHinge", losses.SquaredHinge)
CategoricalHinge = _of_loss("CategoricalHinge", losses.CategoricalHinge)
KLDivergence = _of_loss("KLDivergence", losses.KLDivergence)
BinaryCrossentropy = _of_loss("BinaryCrossentropy", losses.BinaryCrossentropy)
CategoricalCrossentropy = _of_loss("CategoricalCrossentropy", losses.CategoricalCrossentropy)
SparseCategoricalCrossentropy = _of_loss("SparseCategoricalCrossentropy", losses.SparseCategoricalCrossentropy)


@config.register("root_mean_squared_error", "rmse")
class RootMeanSquaredError(_MeanOf):
    """The square root of the mean squared difference."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = matching(y_true, y_pred)
        return (y_pred - y_true) ** 2

    def value(self, state: State) -> Any:
        return ops.sqrt(super().value(state))


class CosineSimilarity(_MeanOf):
    """The mean cosine of the angle between targets and predictions."""

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return -losses.CosineSimilarity(self.axis).call(*matching(y_true, y_pred))


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
        mean = _ratio(state["total"], state["count"])
        spread = state["squared"] - state["total"] * mean
        score = 1 - _ratio(state["residual"], spread)
        if self.class_aggregation == "uniform_average":
            score = ops.mean(score)
        elif self.class_aggregation == "variance_weighted_average":
            score = ops.sum(score * spread) / ops.sum(spread)
        if self.num_regressors:
            n, p = state["samples"], self.num_regressors
            score = 1 - (1 - score) * (n - 1) / (n - p - 1)
        return score


# -- counts ------------------------------------------------------------------------------------------------------------------


class _Confusion(Metric):
    """Numbers of right and wrong positives and negatives at each of several thresholds."""

    def __init__(
        self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        default = float("-inf") if top_k is not None else 0.5
        levels = [default] if thresholds is None else np.atleast_1d(np.asarray(thresholds, np.float32)).tolist()
        self._levels = np.asarray(levels, np.float32)
        self._alone = thresholds is None or np.ndim(thresholds) == 0

    def init(self) -> State:
        n = len(self._levels)
        return {k: ops.zeros((n,)) for k in ("tp", "fp", "tn", "fn")}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_true, y_pred = matching(ops.asarray(y_true), ops.astype(ops.asarray(y_pred), "float32"))
        if self.top_k is not None:
            kth = ops.sort(y_pred, axis=-1, descending=True)[..., self.top_k - 1 : self.top_k]
            y_pred = ops.where(y_pred >= kth, y_pred, ops.asarray(np.float32(-np.inf)))
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        w = ops.ones(tuple(y_true.shape))
        if sample_weight is not None:
            given = ops.astype(ops.asarray(sample_weight), "float32")
            while given.ndim < y_true.ndim:
                given = ops.expand_dims(given, axis=-1)
            w = ops.broadcast_to(given, tuple(y_true.shape))
        t, p, w = (ops.reshape(x, (1, -1)) for x in (y_true, y_pred, w))
        said = ops.astype(p > ops.reshape(ops.asarray(self._levels), (-1, 1)), "float32")
        truth = ops.astype(t > 0.5, "float32")
        counts = {
            "tp": said * truth, "fp": said * (1 - truth), "tn": (1 - said) * (1 - truth), "fn": (1 - said) * truth,
        }  # fmt: skip
        return {k: state[k] + ops.sum(v * w, axis=1) for k, v in counts.items()}

    def _shaped(self, x: Any) -> Any:
        return x[0] if self._alone else x


def _count(name: str, key: str, doc: str) -> type[_Confusion]:
    def value(self: _Confusion, state: State) -> Any:
        return self._shaped(state[key])

    def __init__(self: _Confusion, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        _Confusion.__init__(self, thresholds, name=name)

    return config.register()(type(name, (_Confusion,), {"__doc__": doc, "value": value, "__init__": __init__}))


TruePositives = _count("TruePositives", "tp", "Ones that were predicted.")
FalsePositives = _count("FalsePositives", "fp", "Zeros that were predicted as ones.")
TrueNegatives = _count("TrueNegatives", "tn", "Zeros that were predicted.")
FalseNegatives = _count("FalseNegatives", "fn", "Ones that were predicted as zeros.")


@config.register("precision")
class Precision(_Confusion):
    """The share of predicted ones that are ones."""

    def value(self, state: State) -> Any:
        return self._shaped(_ratio(state["tp"], state["tp"] + state["fp"]))


@config.register("recall")
class Recall(_Confusion):
    """The share of ones that were predicted."""

    def value(self, state: State) -> Any:
        return self._shaped(_ratio(state["tp"], state["tp"] + state["fn"]))


@config.register("auc")
class AUC(_Confusion):
    """The area under the ROC or precision-recall curve, by the trapezoid rule over `num_thresholds` thresholds.

    Args:
        num_thresholds: how many.
        curve: "ROC" or "PR".
        from_logits: whether predictions are logits.
    """

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", from_logits: bool = False, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve is 'ROC' or 'PR', got {curve!r}")
        inside = (np.arange(1, num_thresholds - 1) / (num_thresholds - 1)).tolist()
        super().__init__([-EPSILON, *inside, 1 + EPSILON], name=name or "auc")
        self.num_thresholds, self.curve, self.from_logits = num_thresholds, curve, from_logits

    def get_config(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("num_thresholds", "curve", "from_logits", "name")}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_pred = ops.sigmoid(ops.astype(ops.asarray(y_pred), "float32")) if self.from_logits else y_pred
        return super().update(state, y_true, y_pred, sample_weight)

    def value(self, state: State) -> Any:
        tp, fp, fn, tn = (state[k] for k in ("tp", "fp", "fn", "tn"))
        if self.curve == "ROC":
            x, y = _ratio(fp, fp + tn), _ratio(tp, tp + fn)
            return ops.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2)
        return self._under_precision_recall(tp, fp, fn)

    def _under_precision_recall(self, tp: Any, fp: Any, fn: Any) -> Any:
        """Interpolated between thresholds as Davis and Goadrich (2006) show to be right."""
        gained = tp[:-1] - tp[1:]
        positives = tp + fp
        slope = _ratio(gained, ops.maximum(positives[:-1] - positives[1:], 0.0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        safe = _ratio(positives[:-1], ops.maximum(positives[1:], 0.0))
        ratio = ops.where(both, safe, ops.ones_like(safe))
        total = slope * (gained + intercept * ops.log(ratio))
        return ops.sum(_ratio(total, ops.maximum(tp[1:] + fn[1:], 0.0)))


@config.register("f1_score")
class F1Score(Metric):
    """The harmonic mean of precision and recall of each class.

    Args:
        average: "micro", "macro", "weighted", or None for one number per class.
        threshold: predictions above it are ones; None takes the class with the highest score.
    """

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name or "f1_score")
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"average is None, 'micro', 'macro' or 'weighted', got {average!r}")
        self.average, self.threshold = average, threshold

    def init(self) -> State:
        return {k: ops.zeros(()) for k in ("tp", "fp", "fn", "weight")}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_true, y_pred = matching(ops.asarray(y_true), ops.astype(ops.asarray(y_pred), "float32"))
        if self.threshold is None:
            best = ops.max(y_pred, axis=-1, keepdims=True)
            said = ops.astype((y_pred == best) & (ops.abs(y_pred) > 1e-9), "float32")
        else:
            said = ops.astype(y_pred > self.threshold, "float32")
        w = ops.ones((y_true.shape[0], 1))
        if sample_weight is not None:
            w = ops.reshape(ops.astype(ops.asarray(sample_weight), "float32"), (-1, 1))
        counts = {"tp": said * y_true, "fp": said * (1 - y_true), "fn": (1 - said) * y_true, "weight": y_true}
        axes = None if self.average == "micro" else 0
        return {k: state[k] + ops.sum(v * w, axis=axes) for k, v in counts.items()}

    def value(self, state: State) -> Any:
        precision = state["tp"] / (state["tp"] + state["fp"] + EPSILON)
        recall = state["tp"] / (state["tp"] + state["fn"] + EPSILON)
        score = 2 * precision * recall / (precision + recall + EPSILON)
        if self.average == "weighted":
            return ops.sum(score * state["weight"]) / (ops.sum(state["weight"]) + EPSILON)
        return ops.mean(score) if self.average == "macro" else score


class FunctionMetric(_MeanOf):
    """The mean of a function of (y_true, y_pred) that gives a number per sample, or one."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(getattr(function, "__name__", "metric"))
        self._function = function

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return ops.asarray(self._function(y_true, y_pred))


SHORT = {
    "mse": "mean_squared_error", "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error", "logcosh": "log_cosh_error", "kld": "kl_divergence",
    "cosine_similarity": "cosine_similarity", "meanSquaredError": "mean_squared_error",
    "meanAbsoluteError": "mean_absolute_error",
}  # fmt: skip
_BY_NAME["cosine_similarity"] = CosineSimilarity


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
        own = _BY_NAME.get(SHORT.get(identifier, identifier))
        return (own or config.find(identifier, Metric))()
    if isinstance(identifier, Mapping):
        own = _BY_NAME.get(config_name(str(identifier.get("class_name"))))
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
        taken, base, count = {m.name for m in made} | {"loss"}, metric.name, 0
        while metric.name in taken:
            count += 1
            metric.name = f"{base}_{count}"
        made.append(metric)
    return made


__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FalseNegatives", "FalsePositives", "Hinge", "KLDivergence",
    "LogCoshError", "LossMetric", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "Poisson", "Precision", "R2Score", "Recall", "RootMeanSquaredError",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy", "SquaredHinge",
    "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives", "get",
]  # fmt: skip
