"""What a metric is: a pure function of its state, and Keras's methods over a state of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedFeature
from .. import config
from ..losses import reduce_weighted

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
        self.name = name or config.config_name(type(self).__name__)
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
        return ratio(state["total"], state["count"])

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

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to write a metric. Raises an error that shows hither's."""
        raise UnsupportedFeature(
            f"{type(self).__name__}: a metric has no variables here, for compiled steps carry its state. Write "
            "init() -> {'n': hither.zeros(())}, update(state, y_true, y_pred, sample_weight) -> state, value(state) -> number"
        )

    add_variable = add_weight

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The metric of `get_config`'s arguments, or of those that Keras wrote."""
        return cls(**{k: v for k, v in config.items() if k != "dtype"})


def ratio(total: Any, count: Any) -> Any:
    """A quotient that is 0 where nothing was counted."""
    return ops.where(count == 0, ops.zeros_like(total), total / ops.where(count == 0, ops.ones_like(count), count))


def weighted_sums(values: Any, sample_weight: Any) -> tuple[Any, Any]:
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
        total, count = weighted_sums(ops.astype(ops.asarray(y_true), "float32"), sample_weight)
        return {"total": state["total"] + total, "count": state["count"] + count}


class MeanOf(Metric):
    """The mean of a number per sample."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """A number for each sample."""
        raise NotImplementedError

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        y_true, y_pred = ops.asarray(y_true), ops.asarray(y_pred)
        total, count = weighted_sums(ops.astype(self.values(y_true, y_pred), "float32"), sample_weight)
        return {"total": state["total"] + total, "count": state["count"] + count}


class FunctionMetric(MeanOf):
    """The mean of a function of (y_true, y_pred) that gives a number per sample, or one."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(getattr(function, "__name__", "metric"))
        self._function = function

    def values(self, y_true: Any, y_pred: Any) -> Any:
        return ops.asarray(self._function(y_true, y_pred))
