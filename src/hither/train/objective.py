"""Objective: what a training step minimises and what it reports: the losses and metrics of each of a network's outputs.

Names, weights and masks as in Keras 3: the total is the sum of the outputs' losses times their `loss_weights` plus penalties;
reports are means over the samples of an epoch, "loss" and, with several outputs, "{output}_loss" and "{output}_{metric}".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import LabelOutOfRange, NameMismatch
from ..graph.core import Abstract, abstract_of
from ..graph.trace import source, trace_function
from ..graph.tree import flatten, unflatten
from ..nn import losses, metrics
from ..nn.losses import Loss, masked_weights
from ..nn.metrics import Metric
from ..nn.metrics.base import MeanOf

State = dict[str, Any]


class Output:
    """One output of the network: its loss and the factor of it, and its metrics, those that samples' weights count in apart."""

    def __init__(self, name: str, loss: Loss | None, factor: float, plain: list[Metric], weighted: list[Metric]) -> None:
        self.name, self.loss, self.factor, self.plain, self.weighted = name, loss, factor, plain, weighted


class Objective:
    """Losses and metrics for a network's outputs.

    Args:
        loss, metrics, weighted_metrics, loss_weights: as for the Trainer.
        names: of the outputs.
        targets, predictions: what they look like, one each for each output; None for an output without targets.
        masked: whether each output has a mask.

    Attributes:
        classes: of each output whose targets are numbers of classes, how many there are, and the number that is ignored.
    """

    def __init__(
        self, loss: Any, metrics: Any, weighted_metrics: Any, loss_weights: Any, names: Sequence[str],
        targets: Sequence[Abstract | None], predictions: Sequence[Abstract], masked: Sequence[bool],
    ) -> None:  # fmt: skip
        self.names = list(names)
        several = len(self.names) > 1
        found = _for_each(loss, self.names, "loss", repeat=True)
        factors = _for_each(loss_weights, self.names, "loss_weights", repeat=False)
        plain = _for_each(metrics, self.names, "metrics", repeat=False, lists=True)
        weighted = _for_each(weighted_metrics, self.names, "weighted_metrics", repeat=False, lists=True)
        self.outputs: list[Output] = []
        self.loss_names: dict[str, int] = {}
        self.metrics: dict[str, tuple[Metric, int, bool]] = {}  # name → metric, output, whether samples' weights count
        for i, name in enumerate(self.names):
            own = None if found[i] is None else losses.get(found[i])
            like = targets[i]
            if own is not None and like is None:
                raise NameMismatch(f"the output {name!r} has a loss and no targets; give y, or loss=None for this output")
            self.outputs.append(Output(name, own, 1.0 if factors[i] is None else float(factors[i]), [], []))
            if several and own is not None:
                self.loss_names[f"{name}_loss"] = i
            for given, counts in ((plain[i], False), (weighted[i], True)):
                for identifier in given or ():
                    if like is None:
                        raise NameMismatch(f"the output {name!r} has the metric {identifier!r} and no targets")
                    metric = _metric(identifier, own, like, predictions[i])
                    self._add(f"{name}_" if several else "", metric, i, counts)
        self._first = self._initial(targets, predictions)
        self.classes: list[tuple[int, int | None] | None] = [
            _classes(output.loss, like, mask) for output, like, mask in zip(self.outputs, predictions, masked, strict=True)
        ]

    def check(self, y: Sequence[Any], weights: Sequence[Any]) -> None:
        """Look at targets that are numbers of classes. What weighs nothing may be any number, and what is masked.

        Raises:
            LabelOutOfRange: one is not that of a class; says which, and what to do.
        """
        for name, known, labels, weight in zip(self.names, self.classes, y, weights):
            if known is None or labels is None:
                continue
            count, ignored = known
            wrong = ~((labels >= 0) & (labels < count))
            if labels.dtype.kind == "f":
                wrong |= labels != np.floor(labels)
            if not wrong.any():
                continue
            if ignored is not None:
                wrong &= labels != ignored
            if weight is not None:
                counts = np.asarray(weight) != 0
                shape = (*counts.shape, *(1,) * wrong.ndim)[: wrong.ndim]
                wrong &= counts.reshape(shape) if np.prod(shape) == counts.size else True
            if wrong.any():
                place = np.argwhere(wrong)[0]
                raise LabelOutOfRange(
                    f"sample {place[0]} of a batch has the label {labels[tuple(place)]}, and the output {name!r} has {count} "
                    f"classes, whose numbers are 0 to {count - 1}: count classes from 0, give the network as many outputs as "
                    "there are classes, or name the label that is to be left out (ignore_class of the loss)"
                )

    def _add(self, prefix: str, metric: Metric, output: int, counts: bool) -> None:
        name = f"{prefix}{metric.name}"
        if counts and name in self.metrics:
            name = f"{prefix}weighted_{metric.name}"
        base, count = name, 0
        while name in self.metrics or name == "loss" or name in self.loss_names:
            count += 1
            name = f"{base}_{count}"
        self.metrics[name] = (metric, output, counts)

    def loss(self, y: Sequence[Any], predicted: Sequence[Any], masks: Sequence[Any], weights: Sequence[Any]) -> tuple[Any, Any]:
        """The weighted sum of the outputs' losses, and each of them by name."""
        total: Any = ops.asarray(np.float32(0))
        each: dict[str, Any] = {}
        for i, output in enumerate(self.outputs):
            if output.loss is None:
                continue
            with source(f"loss {output.loss.name}" + (f" of {output.name}" if len(self.outputs) > 1 else "")):
                value = output.loss(y[i], predicted[i], masked_weights(weights[i], masks[i], output.loss.reduction))
                value = ops.sum(value) if value.ndim else value
                each[f"{output.name}_loss"] = value
                total = total + (value if output.factor == 1 else value * output.factor)
        return total, each

    def init(self) -> State:
        """The state of everything that is reported, before the first batch."""
        return {name: dict(state) for name, state in self._first.items()}

    def _initial(self, targets: Sequence[Abstract | None], predictions: Sequence[Abstract]) -> dict[str, State]:
        mean = {"total": ops.zeros(()), "count": ops.zeros(())}
        made: dict[str, State] = {"loss": mean, **{name: mean for name in self.loss_names}}
        for name, (metric, i, _) in self.metrics.items():
            like = targets[i]
            assert like is not None
            made[name] = _settled(metric, like, predictions[i])
        return made

    def update(
        self, state: State, loss: Any, each: Mapping[str, Any], y: Sequence[Any], predicted: Sequence[Any],
        masks: Sequence[Any], weights: Sequence[Any],
    ) -> State:  # fmt: skip
        """The state after a batch."""
        size = float(predicted[0].shape[0])
        made = {"loss": _counted(state["loss"], loss, size)}
        for name in self.loss_names:
            made[name] = _counted(state[name], each[name], size)
        for name, (metric, i, counts) in self.metrics.items():
            with source(f"metric {name}"):
                weight = weights[i] if counts else None
                # As in Keras, whose JAX backend loses masks in training, though not in evaluation.
                if isinstance(metric, MeanOf):
                    weight = masked_weights(weight, masks[i], "sum")
                made[name] = metric.update(state[name], y[i], predicted[i], weight)
        return made

    def results(self, state: State) -> dict[str, Any]:
        """What is reported, by name."""
        found = {name: metrics.Mean().result(state[name]) for name in ("loss", *self.loss_names)}
        return found | {name: metric.result(state[name]) for name, (metric, *_) in self.metrics.items()}


def _classes(loss: Loss | None, predicted: Abstract, masked: bool) -> tuple[int, int | None] | None:
    count = None if loss is None or masked else loss.classes(predicted.shape)
    return None if count is None else (count, getattr(loss, "ignore_class", None))


def _counted(state: State, value: Any, size: float) -> State:
    return {"total": state["total"] + value * size, "count": state["count"] + size}


def _settled(metric: Metric, target: Abstract, predicted: Abstract) -> State:
    """A metric's first state in the shapes that its updates give: some begin with one number and become one per class."""
    first = metric.init()
    leaves, structure = flatten(first)

    def update(t: Any, p: Any, *state: Any) -> list[Any]:
        return flatten(metric.update(unflatten(structure, state), t, p))[0]

    for _ in range(2):
        like = [abstract_of(a.numpy()) for a in leaves]
        graph, _ = trace_function(update, [target, predicted, *like])
        shapes = [v.shape for v in graph.outputs]
        if shapes == [a.shape for a in like]:
            break
        leaves = [ops.asarray(np.broadcast_to(a.numpy(), s).copy()) for a, s in zip(leaves, shapes, strict=True)]
    return unflatten(structure, leaves)


def _metric(identifier: Any, loss: Loss | None, target: Abstract, predicted: Abstract) -> Metric:
    """A metric for targets and predictions of these shapes: "accuracy" and "crossentropy" are what fits them."""
    if isinstance(identifier, str) and identifier in ("accuracy", "acc", "crossentropy", "ce"):
        made = metrics.get("accuracy", loss) if identifier in ("accuracy", "acc") else None
        if made is None or type(made) is metrics.Accuracy:
            kind = _kind(target, predicted)
            short = "accuracy" if identifier in ("accuracy", "acc") else "crossentropy"
            made = metrics.get(f"{kind}_{short}")
            if kind == "binary" and short == "accuracy" and getattr(loss, "from_logits", False):
                made = metrics.BinaryAccuracy(threshold=0.0)
            for setting in ("from_logits",) if short == "crossentropy" and getattr(loss, "from_logits", False) else ():
                made = type(made)(**{setting: True})  # type: ignore[arg-type]
        made.name = identifier
        return made
    made = metrics.get(identifier, loss)
    if isinstance(identifier, str):
        made.name = identifier
    return made


def _kind(target: Abstract, predicted: Abstract) -> str:
    """Which of a family of metrics Keras takes for arrays of these shapes."""
    if not predicted.shape or predicted.shape[-1] == 1:
        return "binary"
    sparse = target.rank < predicted.rank or (target.rank == predicted.rank and target.shape[-1] == 1)
    return "sparse_categorical" if sparse else "categorical"


def _for_each(given: Any, names: Sequence[str], what: str, *, repeat: bool, lists: bool = False) -> list[Any]:
    """One entry per output from what a user gave: a dict by name, a list in order, or one for all.

    Raises:
        NameMismatch: an output that there is not, or another number of entries than outputs.
    """
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping) and not {"class_name", "config"} <= set(given):
        unknown = [n for n in given if n not in names]
        if unknown:
            raise NameMismatch(f"{what} names the output {unknown[0]!r}; the network's outputs are {', '.join(names)}")
        entries = [given.get(n) for n in names]
        return [[e] if e is not None and not isinstance(e, list | tuple) else e for e in entries] if lists else entries
    if isinstance(given, list | tuple):
        if lists and len(names) == 1:
            return [list(given)]
        if len(given) != len(names):
            raise NameMismatch(
                f"{what} has {len(given)} entries and the network {len(names)} outputs ({', '.join(names)}); one for each, "
                "or a dict by output"
            )
        return [[e] if e is not None and not isinstance(e, list | tuple) else e for e in given] if lists else list(given)
    if lists:
        return [[given]] * len(names)
    return [given] * len(names) if repeat or len(names) == 1 else [given, *[None] * (len(names) - 1)]
