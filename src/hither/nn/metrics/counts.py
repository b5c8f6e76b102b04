"""Metrics made of counts: right and wrong positives and negatives, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from .. import config
from ..losses import EPSILON, matching
from .base import Metric, State, ratio

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
        return self._shaped(ratio(state["tp"], state["tp"] + state["fp"]))


@config.register("recall")
class Recall(_Confusion):
    """The share of ones that were predicted."""

    def value(self, state: State) -> Any:
        return self._shaped(ratio(state["tp"], state["tp"] + state["fn"]))


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
            x, y = ratio(fp, fp + tn), ratio(tp, tp + fn)
            return ops.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2)
        return self._under_precision_recall(tp, fp, fn)

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
        return ops.sum(ratio(total, ops.maximum(tp[1:] + fn[1:], 0.0)))


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
