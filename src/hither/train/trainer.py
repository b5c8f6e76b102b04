"""Trainer: a network, what it is to minimise, and how: Keras's fit, evaluate and predict over compiled steps.

All that training changes (weights, the optimizer's state, metrics, keys of random numbers) lies in the programs' state; the
network's own arrays are brought up to date when training ends, and when they are asked for.
"""

from __future__ import annotations

import copy
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..array import Array
from ..errors import NonFiniteLoss, ShapeMismatch
from ..formats import safetensors
from ..graph.core import abstract_of
from ..graph.tree import tree_map, unflatten
from ..nn.module import Module
from ..ops import asarray
from ..optim import get as get_optimizer
from ..program.compile import Entries
from .batches import Batch, arrays_of, is_arrays, split, weighted_by_class
from .callbacks import Callback, CallbackList, TerminateOnNaN
from .checkpoint import BackupAndRestore, replace_file
from .epochs import Epochs, batches_of
from .history import History
from .nonfinite import origin
from .objective import Objective
from .progress import progress_for
from .steps import Steps, by_output, ensure_built, unchanging

Logs = dict[str, Any]


class Trainer:
    """Trains a network: Keras 3's `fit`, `evaluate` and `predict`, compiled once for each shape of batches.

    Args:
        net: the network, or any Module.
        loss: a loss, its name ("mse", "sparse_categorical_crossentropy"), or a function (y_true, y_pred) → losses; for several
            outputs a list, or a dict by output (None: no loss).
        optimizer: an optimizer, or its name.
        metrics, weighted_metrics: metrics or their names, for several outputs lists of them or dicts by output; in the second
            samples' weights count.
        loss_weights: factors of the outputs' losses.
        device, precision: to compile for; see `hither.compile`.
        seed: of the order of samples and of what layers draw. The same seed gives the same training, on every device up to
            rounding.

    `stop_training = True`, set by a callback, ends `fit` after the batch at hand; `position` is the epoch and batch that come
    next, `last_history` what the last `fit` measured.

    Example:
        >>> import numpy as np, hither as ht
        >>> net = ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(8, activation="relu"), ht.nn.Dense(3)])
        >>> loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> trainer = ht.Trainer(net, loss, optimizer=ht.optim.Adam(0.05), metrics=["accuracy"])
        >>> x, y = np.eye(4, dtype=np.float32)[:3].repeat(20, 0), np.arange(3).repeat(20)
        >>> history = trainer.fit(x, y, epochs=60, verbose=0)
        >>> trainer.evaluate(x, y, verbose=0)["accuracy"]
        1.0
    """

    def __init__(
        self, net: Module, loss: Any = None, optimizer: Any = "rmsprop", metrics: Any = None, *, weighted_metrics: Any = None,
        loss_weights: Any = None, device: str | None = None, precision: str = "float32", seed: int = 0,
    ) -> None:  # fmt: skip
        if not isinstance(net, Module):
            raise TypeError(f"a Trainer trains a hither.nn network or Module, got a {type(net).__name__}")
        self._net = net
        self.optimizer = get_optimizer(optimizer)
        self.device, self.precision, self.seed = device, precision, seed
        self._given = (loss, metrics, weighted_metrics, loss_weights)
        self._steps: Steps | None = None
        self._arrays: dict[str, Any] = {}  # the network's arrays as they were last brought up to date
        self._assigned: Counter[str] = Counter()  # how often others changed weights that training leaves as they are
        self._stale = False  # whether the programs' weights are newer
        self._seen: Batch | None = None  # what the largest batch that it was fitted with looks like, and its rows
        self._rows = 0
        self.stop_training = False
        self.position = (0, 0)  # epoch and batch that come next
        self.last_history: History | None = None

    # -- state ---------------------------------------------------------------------------------------------------------------

    @property
    def net(self) -> Module:
        """The network, its arrays up to date."""
        self.sync()
        return self._net

    def sync(self) -> None:
        """Bring the network's arrays up to date with the training."""
        if self._stale and self._steps is not None:
            self._put(self.get_weights())
        self._stale = False

    def _put(self, weights: Mapping[str, Array]) -> None:
        own = self._net.weights
        self._net.load_weights({n: a for n, a in weights.items() if a is not own[n]}, strict=False)
        self._arrays = self._net.weights

    def get_weights(self) -> dict[str, Array]:
        """The weights by path, as they are now."""
        if self._steps is None or not self._stale:
            return dict(self._net.weights)
        now = self._steps.state
        return {n: now.get(f"weights.{n}", a) for n, a in self._net.weights.items()}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Go on from these weights; the optimizer keeps its state."""
        self.sync()
        self._net.load_weights(weights)

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate; setting it compiles nothing."""
        if self._steps is not None:
            return float(self._steps.state["optimizer.learning_rate"])
        rate = self.optimizer.learning_rate
        return float(rate(asarray(np.int32(0))) if callable(rate) else rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if callable(self.optimizer.learning_rate):
            raise TypeError("the optimizer's learning rate follows a schedule, which callbacks cannot change; give it a number")
        if self._steps is None:
            self.optimizer = copy.copy(self.optimizer)
            self.optimizer.learning_rate = value
        else:
            self._steps.load_state({"optimizer.learning_rate": np.float32(value)})

    @property
    def state(self) -> dict[str, Array]:
        """All that training changes by name: "weights.…", "optimizer.…", "metrics.…", "keys.…"."""
        if self._steps is None:
            return {}
        return {**self._steps.state, **{f"weights.{n}": self._net.weights[n] for n in self._steps.constant}}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Go on from a state that `state` gave."""
        if self._steps is None:
            raise RuntimeError("the Trainer has no state before its first batch")
        constant = {f"weights.{n}" for n in self._steps.constant}
        self._steps.load_state({n: a for n, a in values.items() if n not in constant})
        self._stale = True
        own = self._net.weights
        fixed = {n.removeprefix("weights."): values[n] for n in constant & set(values)}
        self._net.load_weights({n: a for n, a in fixed.items() if not np.array_equal(a, own[n], equal_nan=True)}, strict=False)

    def save(self, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
        """Write the network to a safetensors file, which is there whole or not at all."""
        net = self.net

        def write(part: Path) -> None:
            if weights_only:
                safetensors.save_weights(net.weights, part)
            else:
                safetensors.save(net, part)

        replace_file(Path(path), write)

    def prepare(self, batch: Batch) -> Steps:
        """The compiled steps for batches like this one, their state up to date with the network's arrays."""
        steps, current = self._steps, self._net.weights
        changed = {p: a for p, a in current.items() if self._arrays.get(p) is not a}
        if steps is not None and changed:
            steps.load_state({f"weights.{p}": a for p, a in changed.items() if p not in steps.constant})
            self._arrays = current
        if (
            steps is None
            or (steps.objective is None and batch.y is not None)
            or self._frozen_otherwise(steps)
            or any(current[p] is not a for p, a in steps.constant.items())  # which their programs hold
        ):
            if steps is not None:
                self._assigned.update(p for p, a in steps.constant.items() if current[p] is not a)
            steps = self._make(batch)
        return steps

    def _frozen_otherwise(self, steps: Steps) -> bool:
        return list(self._net.trainable_weights) != steps.trainable

    def _make(self, batch: Batch) -> Steps:
        before = self.state
        self.sync()
        predicted, names, masked = ensure_built(self._net, batch)
        objective = self._steps.objective if self._steps is not None else None  # for predictions in between, too
        if batch.y is not None or any(g is not None for g in self._given):
            if self._given[0] is None and batch.y is not None:
                raise TypeError('the Trainer has no loss: Trainer(net, loss=…), for example "mse"')
            if batch.y is not None:
                targets = [_abstract(t) for t in by_output(batch.y, names, "y")]
                loss, metrics, weighted, factors = self._given
                objective = Objective(loss, metrics, weighted, factors, names, targets, predicted, masked)
        constant = {p: a for p, a in unchanging(self._net, batch).items() if self._assigned[p] < 2}  # set once, it may stay so
        steps = Steps(self._net, objective, self.optimizer, self.device, self.precision, self.seed, constant)
        fresh = steps.state
        steps.load_state({n: a for n, a in before.items() if n in fresh and a.shape == fresh[n].shape})
        self._steps, self._arrays, self._stale = steps, self._net.weights, False
        return steps

    def as_entries(self, specs: Mapping[str, Any] | None = None) -> Entries:
        """Predicting, training and evaluating as functions over one state: what `compile` and `bundle` make of a Trainer.

        `predict` gives the network's outputs. `train_step` gives "loss", of this batch alone, and the other losses and metrics
        since the last reset; a batch whose loss is not finite changes nothing. `evaluate` gives all of them since the last
        reset, without training. `reset_metrics` takes nothing and gives nothing, nor does `take_averages`, which is there
        where the optimizer has use_ema and ends training, as in `fit`. `train_partial` and `evaluate_partial` do the same for
        the first `rows` samples (int32) of a batch, exactly: statistics, means, draws and metrics are of those alone; what
        lies behind should be samples, too, such as the first again. `predict_partial` is there only where samples mix in
        predicting. All work on one state: weights, the optimizer's, metrics and random keys as they are now, metrics at their
        beginning. Weights that training leaves as they are, frozen ones, are constants, folded and packed like any model's; a
        bundle exports them with the others.

        Inputs are called "x", or as the network's several inputs are; targets "y", and weights of samples "sample_weight",
        where there are several outputs "y_NAME" and "sample_weight_NAME".

        Args:
            specs: {input: Spec} for all entries, or {entry: {input: Spec}}, where entries without take what "train_step" takes.
                Weights of samples are taken where specs name them; targets that specs leave out look as in training. None: the
                largest batch that the Trainer was fitted with.

        Raises:
            ShapeMismatch: nothing says what an array looks like, or arrays have different numbers of samples.
            NameMismatch: specs name an input or an output that there is not.

        Warns:
            PartialBatchWarning: the network or its loss mixes the samples of a batch (sorts them, for example) in a way that is
                not known for fewer of them; then there are no partial entries.
        """
        from .entries import entries_of

        return entries_of(self, specs, self._seen)

    # -- one batch -----------------------------------------------------------------------------------------------------------

    def _train(self, batch: Batch) -> Logs:
        steps = self.prepare(batch)
        if batch.y is None:
            raise ShapeMismatch("training takes targets: fit(x, y), or batches (x, y)")
        if self._seen is None or batch.size > self._rows:
            self._seen, self._rows = Batch(*map(_abstract, (batch.x, batch.y, batch.sample_weight))), batch.size
        logs = _logs(steps.run("train", batch))
        self._stale = True
        if not np.isfinite(logs.pop("batch_loss")):
            graph, arrays = steps.graph("train", batch)
            where = origin(graph, arrays, "batch_loss")
            raise NonFiniteLoss(
                f"the loss of batch {self.position[1] + 1} of epoch {self.position[0] + 1} is not finite: {where}. "
                "The weights are what they were before; look at the data, lower the learning rate, or clip gradients "
                "(optimizer's clipnorm)",
                where,
            )
        return logs

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None) -> Logs:
        """One step on one batch; what is reported of it alone, by name."""
        batch = Batch(*map(arrays_of, (x, y, sample_weight)))
        batch = weighted_by_class(batch, class_weight) if class_weight else batch
        self.prepare(batch).reset_metrics()
        logs = self._train(batch)
        self.sync()
        return logs

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        """What is reported of one batch, without training."""
        batch = Batch(*map(arrays_of, (x, y, sample_weight)))
        steps = self.prepare(batch)
        steps.reset_metrics()
        return _logs(self._run(steps, "test", batch))

    def _run(self, steps: Steps, entry: str, batch: Batch) -> dict[str, Array]:
        """Run what is no training."""
        outputs = steps.run(entry, batch)
        self._stale |= steps.carries
        return outputs

    def predict_on_batch(self, x: Any) -> Any:
        """The network's outputs for one batch: an array, or a list, or a dict where the network gives one."""
        return self.predict(x, batch_size=max(Batch(arrays_of(x)).size, 1), verbose=0)

    # -- all batches ---------------------------------------------------------------------------------------------------------

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = 1,
        callbacks: Sequence[Callback] | None = None, validation_split: float = 0.0, validation_data: Any = None,
        shuffle: bool = True, class_weight: Mapping[int, float] | None = None, sample_weight: Any = None,
        initial_epoch: int = 0, steps_per_epoch: int | None = None, validation_steps: int | None = None,
        validation_batch_size: int | None = None, validation_freq: int = 1,
        resume: str | os.PathLike[str] | BackupAndRestore | None = None,
    ) -> History:  # fmt: skip
        """Train for a number of epochs. Arguments as Keras's, and `resume`.

        Args:
            x: arrays (for several inputs a list or a dict of them), or batches, (x, y) or (x, y, sample_weight), from a
                hither.data.Dataset, a generator or another iterable.
            y: targets, for several outputs a list or a dict of them.
            batch_size: of arrays; 32 if not given, or what makes `steps_per_epoch` of them.
            validation_data: (x, y), (x, y, sample_weight), or an iterable of batches.
            validation_split: the last part of the arrays, taken for validation.
            shuffle: whether each epoch has an order of its own, which the Trainer's seed decides; a Dataset shuffles itself.
            steps_per_epoch: batches of an epoch. The next one goes on where it stopped; the epoch in which the data end is
                shorter, with a warning, and the next begins them again, or training ends if it cannot.
            class_weight: {class number: factor of its samples' weights}.
            resume: a folder (or a BackupAndRestore with more settings): the training is kept there, and goes on from there when
                it was interrupted, ending bit by bit as it would have.

        Returns:
            The History. Runs that went on from a checkpoint include what came before.

        Raises:
            NonFiniteLoss: names the layer that made the first NaN or infinity; unless TerminateOnNaN is among the callbacks.
            LabelOutOfRange: the loss takes numbers of classes, and a target is none.
            ShapeMismatch, NameMismatch, TypeError: the data do not fit the network.
        """
        if validation_split and not is_arrays(x):
            raise TypeError("validation_split parts arrays; give validation_data beside an iterable of batches")
        if is_arrays(x):
            whole = Batch(*map(arrays_of, (x, y, sample_weight)))
            if validation_split:
                whole, held_out = split(whole, validation_split)
                validation_data = (held_out.x, held_out.y, held_out.sample_weight)
            if class_weight:
                whole, class_weight = weighted_by_class(whole, class_weight), None
            x, y, sample_weight = whole.x, whole.y, whole.sample_weight
        data = batches_of(x, y, sample_weight, size=batch_size, shuffle=shuffle, seed=self.seed, steps=steps_per_epoch)
        validation_size = batch_size if validation_batch_size is None else validation_batch_size
        validation = self._validation(validation_data, validation_size, validation_steps)
        history = self.last_history = History()
        history.set_trainer(self)
        history.validation = validation
        own, backup = _ordered_callbacks(callbacks, resume)
        shown = progress_for(verbose)
        params = {"epochs": epochs, "steps": data.steps, "verbose": verbose}
        everything = CallbackList([*shown, *own, history, *([backup] if backup else [])], self, params)
        self.stop_training, self.position = False, (initial_epoch, 0)
        everything.call("on_train_begin")
        if backup is not None:
            backup.watch([history, *own])
            self.position = self._restore(backup, data) or self.position
        logs = self._fit(data, epochs, everything, class_weight, validation, validation_freq)
        self._take_averages()
        everything.call("on_train_end", logs)
        self.sync()
        return history

    def _fit(
        self, data: Epochs, epochs: int, everything: CallbackList, class_weight: Mapping[int, float] | None,
        validation: Epochs | None, validation_freq: int,
    ) -> Logs:  # fmt: skip
        """The epochs from `self.position` on; what was said of the last of them."""
        history = self.last_history
        assert history is not None
        logs: Logs = {}
        while self.position[0] < epochs and not self.stop_training:
            epoch, _ = self.position
            began = time.perf_counter()
            try:
                made = self._epoch(data, everything, class_weight)
            except NonFiniteLoss as error:
                if not any(isinstance(c, TerminateOnNaN) for c in everything.callbacks):
                    self.sync()
                    raise
                print(f"Training ends: {error}")
                self.stop_training = True
                break
            if made is None:
                if not history.epoch:
                    raise ShapeMismatch("there are no batches; is the iterator at its end?")
                break  # of which it was warned
            logs = made
            if validation is not None and (epoch + 1) % validation_freq == 0:
                logs |= {f"val_{n}": v for n, v in self._evaluate(validation, everything).items()}
            history.seconds.append(time.perf_counter() - began)
            self.position = (epoch + 1, 0)
            everything.call("on_epoch_end", epoch, logs)
        return logs

    def _epoch(self, data: Epochs, everything: CallbackList, class_weight: Mapping[int, float] | None) -> Logs | None:
        """The batches of an epoch that are left from `self.position` on: what the metrics say then, None if there are none."""
        epoch, start = self.position
        everything.call("on_epoch_begin", epoch)
        if not start and self._steps is not None:
            self._steps.reset_metrics()
        logs: Logs = {}
        for step, batch in enumerate(data.epoch(epoch, start), start):
            if class_weight:
                batch = weighted_by_class(batch, class_weight)
            everything.call("on_train_batch_begin", step)
            logs = self._train(batch)
            self.position = (epoch, step + 1)
            everything.call("on_train_batch_end", step, logs)
            if self.stop_training:
                break
        return None if self.position == (epoch, 0) else logs or self._reported()

    def _take_averages(self) -> None:
        """What an optimizer with use_ema has averaged becomes the weights, as training ends."""
        if self.optimizer.use_ema and self._steps is not None:
            averages = {n: a for n, a in self.state.items() if n.startswith("optimizer.average.")}
            self.load_state({f"weights.{n.removeprefix('optimizer.average.')}": a for n, a in averages.items()})

    def _reported(self) -> Logs:
        """What the metrics say now: of an epoch whose last batches were trained before an interruption."""
        assert self._steps is not None and self._steps.objective is not None
        nested: dict[str, dict[str, Array]] = {}
        for name, array in self._steps.state.items():
            part, _, rest = name.partition(".")
            if part == "metrics":
                metric, _, leaf = rest.rpartition(".")
                nested.setdefault(metric, {})[leaf] = array
        return _logs(self._steps.objective.results(nested))

    def _restore(self, backup: BackupAndRestore, data: Epochs) -> tuple[int, int] | None:
        """Go on from a checkpoint, if there is one; the state needs to know a batch's shape first."""
        if not backup.path.exists():
            return None
        if self._steps is None:
            self.prepare(data.first())
        found = backup.restore(self)
        self._stale = True
        return found

    def _validation(self, given: Any, size: int | None, steps: int | None) -> Epochs | None:
        if given is None:
            return None
        if isinstance(given, tuple) and 2 <= len(given) <= 3 and is_arrays(given[0]):
            return batches_of(*given, size=size, steps=steps)
        return batches_of(given, size=size if is_arrays(given) else None, steps=steps)

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto", sample_weight: Any = None,
        steps: int | None = None, callbacks: Sequence[Callback] | None = None,
    ) -> Logs:  # fmt: skip
        """Loss and metrics of data, by name. Arguments as for `fit`."""
        data = batches_of(x, y, sample_weight, size=batch_size, steps=steps)
        shown = CallbackList([*progress_for(verbose), *(callbacks or ())], self, {"epochs": 1, "steps": data.steps})
        return self._evaluate(data, shown)

    def _evaluate(self, data: Epochs, callbacks: CallbackList) -> Logs:
        callbacks.call("on_test_begin")
        logs: Logs = {}
        for i, batch in enumerate(data.epoch(0)):
            if batch.y is None:
                raise ShapeMismatch("evaluating takes targets: evaluate(x, y), or batches (x, y)")
            steps = self.prepare(batch)
            if i == 0:
                steps.reset_metrics()
            callbacks.call("on_test_batch_begin", i)
            logs = _logs(self._run(steps, "test", batch))
            callbacks.call("on_test_batch_end", i, logs)
        callbacks.call("on_test_end", logs)
        return logs

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> Any:  # fmt: skip
        """The network's outputs for all samples, as it gives them: an array; for several outputs a list, or a dict of them."""
        data = batches_of(x, size=batch_size, steps=steps)
        shown = CallbackList([*progress_for(verbose), *(callbacks or ())], self, {"epochs": 1, "steps": data.steps})
        shown.call("on_predict_begin")
        found: list[list[np.ndarray]] = []
        for i, batch in enumerate(data.epoch(0)):
            steps_ = self.prepare(Batch(batch.x))
            shown.call("on_predict_batch_begin", i)
            found.append([a.numpy() for a in self._run(steps_, "predict", Batch(batch.x)).values()])
            shown.call("on_predict_batch_end", i)
        shown.call("on_predict_end")
        if not found:
            raise ShapeMismatch("there are no batches; is the iterator at its end?")
        joined = [Array(np.concatenate(parts)) for parts in zip(*found, strict=True)]
        structure = self._steps.structure if self._steps is not None else None
        return joined if structure is None else unflatten(structure, joined)

    def __repr__(self) -> str:
        return f"<Trainer of {self._net!r} with {self.optimizer!r}>"


def _abstract(arrays: Any) -> Any:
    """What arrays look like, in the same structure."""
    return tree_map(abstract_of, arrays)


def _logs(outputs: Mapping[str, Any]) -> Logs:
    """Reported values as numbers, or arrays where there are several."""
    return {n: a.numpy().item() if a.ndim == 0 else a.numpy() for n, a in outputs.items()}


def _ordered_callbacks(given: Sequence[Callback] | None, resume: Any) -> tuple[list[Callback], BackupAndRestore | None]:
    """The callbacks without the backup, and the backup, which comes after all others have done their work."""
    callbacks = list(given or ())
    wrong = [c for c in callbacks if not isinstance(c, Callback)]
    if wrong:
        raise TypeError(f"callbacks are hither.train.Callback objects, got a {type(wrong[0]).__name__}")
    backups = [c for c in callbacks if isinstance(c, BackupAndRestore)]
    if resume is not None:
        backups.append(resume if isinstance(resume, BackupAndRestore) else BackupAndRestore(resume))
    if len(backups) > 1:
        raise ValueError("one BackupAndRestore is enough: give resume=, or the callback")
    return [c for c in callbacks if not isinstance(c, BackupAndRestore)], backups[0] if backups else None
