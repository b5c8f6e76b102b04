"""Metrics made of counts: right and wrong positives and negatives, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import ShapeMismatch
from .. import config
from ..losses import EPSILON, matching
from .base import Metric, State, ratio

_KINDS = ("tp", "fp", "tn", "fn")

# -- counts ------------------------------------------------------------------------------------------------------------------


class _Confusion(Metric):
    """Numbers of right and wrong positives and negatives at each of several thresholds."""

    multi_label = False  # whether to count for each column

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
        return {k: ops.zeros((n,)) for k in _KINDS}

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
        shape = (1, -1, y_true.shape[-1]) if self.multi_label else (1, -1)
        t, p, w = (ops.reshape(x, shape) for x in (y_true, y_pred, self._weighed(w)))
        said = ops.astype(p > ops.reshape(ops.asarray(self._levels), (-1, *(1,) * (len(shape) - 1))), "float32")
        truth = ops.astype(t > 0.5, "float32")
        counts = {
            "tp": said * truth, "fp": said * (1 - truth), "tn": (1 - said) * (1 - truth), "fn": (1 - said) * truth,
        }  # fmt: skip
        return {k: state[k] + ops.sum(v * w, axis=1) for k, v in counts.items()}

    def _weighed(self, w: Any) -> Any:
        """The weights of all numbers, from those of the samples."""
        return w

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
        return self._shaped(ratio(state["tp"], state["tp"] + state["fp"]))


@config.register("recall")
class Recall(_Confusion):
    """The share of ones that were predicted."""

    def value(self, state: State) -> Any:
        return self._shaped(ratio(state["tp"], state["tp"] + state["fn"]))


@config.register("auc")
class AUC(_Confusion):
    """The area under the ROC or precision-recall curve, by sums over many thresholds.

    Args:
        num_thresholds: how many, evenly between 0 and 1.
        curve: "ROC" or "PR".
        summation_method: the curve's height between two thresholds: "interpolation" (the trapezoid rule; for precision and
            recall Davis and Goadrich's), "minoring" or "majoring" (the smaller or larger of the two).
        thresholds: others, between 0 and 1.
        multi_label: whether columns are labels of their own, whose areas are averaged; else all numbers are one question's.
        num_labels: how many columns there are; known from the predictions.
        label_weights: a weight of each label: of its area (multi_label), or of its numbers.
        from_logits: whether predictions are logits.
    """

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation", name: str | None = None,
        dtype: Any = None, thresholds: Sequence[float] | None = None, multi_label: bool = False,
        num_labels: int | None = None, label_weights: Sequence[float] | None = None, from_logits: bool = False,
    ) -> None:  # fmt: skip
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve is 'ROC' or 'PR', got {curve!r}")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(f"summation_method is 'interpolation', 'minoring' or 'majoring', got {summation_method!r}")
        inside = (
            (np.arange(1, num_thresholds - 1) / (num_thresholds - 1)).tolist() if thresholds is None else sorted(thresholds)
        )
        if any(not 0 <= t <= 1 for t in inside) or (thresholds is None and num_thresholds < 2):
            raise ValueError(
                f"thresholds lie between 0 and 1, and num_thresholds is 2 or more; got {thresholds or num_thresholds}"
            )
        super().__init__([-EPSILON, *inside, 1 + EPSILON], name=name or "auc")
        self.num_thresholds, self.curve, self.from_logits = len(inside) + 2, curve, from_logits
        self.summation_method, self.multi_label, self.num_labels = summation_method, multi_label, num_labels
        self.thresholds, self.label_weights = thresholds, label_weights

    def get_config(self) -> dict[str, Any]:
        names = ("num_thresholds", "curve", "summation_method", "thresholds", "multi_label", "num_labels", "label_weights")
        return {k: getattr(self, k) for k in (*names, "from_logits", "name")}

    def init(self) -> State:
        return {k: ops.zeros((len(self._levels), 1)) for k in _KINDS} if self.multi_label else super().init()

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_pred = ops.astype(ops.asarray(y_pred), "float32")
        if self.num_labels is not None and y_pred.shape[-1] != self.num_labels:
            raise ShapeMismatch(f"{self.name} has num_labels={self.num_labels}, got predictions of shape {tuple(y_pred.shape)}")
        y_pred = ops.sigmoid(y_pred) if self.from_logits else y_pred
        return super().update(state, y_true, y_pred, sample_weight)

    def _weighed(self, w: Any) -> Any:
        if self.multi_label or self.label_weights is None:
            return w
        return w * ops.asarray(np.asarray(self.label_weights, np.float32))

    def value(self, state: State) -> Any:
        tp, fp, fn, tn = (state[k] for k in ("tp", "fp", "fn", "tn"))
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._under_precision_recall(tp, fp, fn)
        else:
            recall = ratio(tp, tp + fn)
            x, y = (ratio(fp, fp + tn), recall) if self.curve == "ROC" else (recall, ratio(tp, tp + fp))
            low, high = ops.minimum(y[:-1], y[1:]), ops.maximum(y[:-1], y[1:])
            height = {"interpolation": (low + high) / 2, "minoring": low, "majoring": high}[self.summation_method]
            areas = ops.sum((x[:-1] - x[1:]) * height, axis=0)
        if not self.multi_label or self.label_weights is None:
            return ops.mean(areas)
        w = np.asarray(self.label_weights, np.float32)
        return ops.sum(areas * w) / float(w.sum())

    def _under_precision_recall(self, tp: Any, fp: Any, fn: Any) -> Any:
        """Interpolated between thresholds as Davis and Goadrich (2006) show to be right."""
        gained = tp[:-1] - tp[1:]
        positives = tp + fp
        slope = ratio(gained, ops.maximum(positives[:-1] - positives[1:], 0.0))
        intercept = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        safe = ratio(positives[:-1], ops.maximum(positives[1:], 0.0))
        growth = ops.where(both, safe, ops.ones_like(safe))
        total = slope * (gained + intercept * ops.log(growth))
        return ops.sum(ratio(total, ops.maximum(tp[1:] + fn[1:], 0.0)), axis=0)


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
