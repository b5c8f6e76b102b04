"""Metrics of segmentation: how far the places of each class and those predicted overlap, as intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from .. import config
from ..losses import EPSILON
from .base import Metric, State


@config.register("io_u")
class IoU(Metric):
    """The mean over some classes of intersection over union (Jaccard, 1901).

    Args:
        num_classes: how many there are.
        target_class_ids: those whose mean is taken.
        ignore_class: a label whose places do not count.
        sparse_y_true, sparse_y_pred: whether these are numbers of classes, rather than numbers for each class.
        axis: that of the classes, where there is one.
        dtype: taken for Keras's sake; samples' weights count as they are, where Keras rounds them down to whole numbers.

    Example:
        >>> import numpy as np, hither as ht
        >>> metric = ht.nn.metrics.IoU(num_classes=2, target_class_ids=[1])
        >>> metric.update_state(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
        >>> round(float(metric.result()), 4)
        0.6667
    """

    def __init__(
        self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: Any = None,
        ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(name)
        wrong = [i for i in target_class_ids if not 0 <= i < num_classes]
        if wrong:
            raise ValueError(f"target_class_ids are numbers from 0 to {num_classes - 1}, got {wrong[0]}")
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, list(target_class_ids), ignore_class
        self.sparse_y_true, self.sparse_y_pred, self.axis = sparse_y_true, sparse_y_pred, axis

    def init(self) -> State:
        return {"seen": ops.zeros((self.num_classes, self.num_classes))}  # [class, prediction]

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        true, said = self.labels(ops.asarray(y_true), self.sparse_y_true), self.labels(ops.asarray(y_pred), self.sparse_y_pred)
        if sample_weight is None:
            w = ops.ones(tuple(true.shape))
        else:
            w = ops.astype(ops.asarray(sample_weight), "float32")
            w = ops.squeeze(w, -1) if w.ndim == true.ndim + 1 and w.shape[-1] == 1 else w
            w = ops.broadcast_to(ops.reshape(w, (*w.shape, *(1,) * (true.ndim - w.ndim))), tuple(true.shape))
        true, said, w = (ops.reshape(x, (-1,)) for x in (true, said, w))
        if self.ignore_class is not None:
            w = ops.where(true == self.ignore_class, 0.0, w)
        rows, columns = (ops.one_hot(x, self.num_classes) for x in (true, said))
        return {"seen": state["seen"] + ops.matrix_transpose(rows * ops.expand_dims(w, axis=-1)) @ columns}

    def labels(self, y: Any, sparse: bool) -> Any:
        """Numbers of classes."""
        return ops.astype(y if sparse else ops.argmax(y, axis=self.axis), "int32")

    def value(self, state: State) -> Any:
        seen = state["seen"]
        shared = ops.sum(seen * ops.eye(self.num_classes), axis=1)
        union = ops.sum(seen, axis=0) + ops.sum(seen, axis=1) - shared
        chosen = ops.asarray(self.target_class_ids, dtype="int32")
        shared, union = ops.take(shared, chosen, axis=0), ops.take(union, chosen, axis=0)
        there = ops.sum(ops.astype(union > 0, "float32"))
        return ops.sum(shared / (union + EPSILON)) / ops.maximum(there, 1.0)


@config.register("mean_io_u")
class MeanIoU(IoU):
    """The mean of intersection over union of all classes that occur. Arguments as of `IoU`."""

    def __init__(
        self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None,
        sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if k != "target_class_ids"}


@config.register("binary_io_u")
class BinaryIoU(IoU):
    """Intersection over union of what is and what is not, by predictions from `threshold` on.

    Args:
        target_class_ids: 0, 1 or both: what is not, what is.
        threshold: predictions from it on are 1.
    """

    def __init__(
        self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(2, target_class_ids, name)
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        return {"target_class_ids": self.target_class_ids, "threshold": self.threshold, "name": self.name}

    def update(self, state: State, y_true: Any, y_pred: Any, sample_weight: Any = None) -> State:
        return super().update(state, y_true, ops.asarray(y_pred) >= self.threshold, sample_weight)


__all__ = ["BinaryIoU", "IoU", "MeanIoU"]
