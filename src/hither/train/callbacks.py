"""Callbacks: what is done between the batches and epochs of a training, with Keras 3's names, arguments and hooks.

A callback that remembers things (a best value, a file's length) gives them as `state` and takes them back, so that a training
that was killed goes on exactly: see `BackupAndRestore`.
"""

from __future__ import annotations

import csv
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import NameMismatch

if TYPE_CHECKING:
    from .trainer import Trainer

Logs = Mapping[str, Any] | None
Mode = Literal["auto", "min", "max"]


class Callback:
    """Base of all callbacks: hooks that do nothing. `trainer` (or `model`) is what trains, `params` has epochs and steps."""

    trainer: Trainer
    params: Mapping[str, Any]

    @property
    def model(self) -> Trainer:
        """The trainer, by Keras's name."""
        return self.trainer

    def set_trainer(self, trainer: Trainer) -> None:
        """Called before everything else."""
        self.trainer = trainer

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called with {"epochs", "steps", "verbose"}."""
        self.params = params

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: numbers, strings, lists, and arrays under "arrays" {name: array}."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""

    def on_train_begin(self, logs: Logs = None) -> None: ...
    def on_train_end(self, logs: Logs = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None: ...  # what it puts into logs, later ones and History see
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None: ...
    def on_test_begin(self, logs: Logs = None) -> None: ...
    def on_test_end(self, logs: Logs = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_begin(self, logs: Logs = None) -> None: ...
    def on_predict_end(self, logs: Logs = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None: ...


class CallbackList:
    """Callbacks called in order."""

    def __init__(self, callbacks: Sequence[Callback], trainer: Trainer, params: Mapping[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_trainer(trainer)

    def call(self, hook: str, *args: Any) -> None:
        """Call a hook of each."""
        for callback in self.callbacks:
            getattr(callback, hook)(*args)


class LambdaCallback(Callback):
    """A callback made of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: …)`."""

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        unknown = [h for h in hooks if not h.startswith("on_") or not hasattr(Callback, h)]
        if unknown:
            raise NameMismatch(
                f"there is no hook {unknown[0]!r}; there are {', '.join(h for h in dir(Callback) if h[:3] == 'on_')}"
            )
        for hook, function in hooks.items():
            if function is not None:
                setattr(self, hook, function)


def monitored(callback: Callback, monitor: str, logs: Logs) -> float:
    """The value that a callback watches.

    Raises:
        NameMismatch: the logs have none of this name.
    """
    if logs is None or monitor not in logs:
        known = ", ".join(map(repr, logs or ())) or "none"
        hint = "; validation_data makes the val_ ones" if monitor.startswith("val_") else ""
        raise NameMismatch(f"{type(callback).__name__} watches {monitor!r}, which is not reported; there are {known}{hint}")
    return float(logs[monitor])


def maximizes(monitor: str, mode: str) -> bool:
    """Whether larger values are better; "auto" goes by the name."""
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode is 'auto', 'min' or 'max', got {mode!r}")
    if mode != "auto":
        return mode == "max"
    larger = ("acc", "auc", "precision", "recall", "f1", "r2", "cosine", "iou", "true_")
    return any(part in monitor for part in larger)


class _Watching(Callback):
    """What callbacks that watch a value share: the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.larger = maximizes(monitor, mode)
        self.best: float | None = None

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better, by more than `min_delta`."""
        if than is None:
            return not math.isnan(value)
        return value > than + self.min_delta if self.larger else value < than - self.min_delta


class EarlyStopping(_Watching):
    """Stops when a value has not got better for `patience` epochs.

    Args:
        monitor, mode: what to watch, and whether less or more is better.
        min_delta: what counts as better.
        patience: epochs to wait.
        baseline: a value that must be surpassed.
        restore_best_weights: whether the weights of the best epoch come back at the end.
        start_from_epoch: epochs to let pass first.
        verbose: whether to print it.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: Mode = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = monitored(self, self.monitor, logs)
        if epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.trainer.get_weights(), epoch
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.trainer.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            self.trainer.set_weights(self.best_weights)

    def state(self) -> dict[str, Any]:
        return {
            "wait": self.wait, "stopped_epoch": self.stopped_epoch, "best_epoch": self.best_epoch, "best": self.best,
            "arrays": self.best_weights or {},
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self.best_epoch, self.best = state["best_epoch"], state["best"]
        self.best_weights = dict(state["arrays"]) or None


class ReduceLROnPlateau(_Watching):
    """Multiplies the learning rate by `factor` when a value has not got better for `patience` epochs."""

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: Mode = "auto",
        min_delta: float = 0.0001, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        if factor >= 1:
            raise ValueError(f"factor is below 1, got {factor}")
        self.factor, self.patience, self.verbose, self.cooldown, self.min_lr = factor, patience, verbose, cooldown, min_lr
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self.wait = self.cooldown_counter = 0
        self.best = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = monitored(self, self.monitor, logs)
        if isinstance(logs, dict):
            logs["learning_rate"] = self.trainer.learning_rate  # of this epoch; the History keeps it, as Keras's does
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
            return
        if self.cooldown_counter > 0:
            return
        self.wait += 1
        if self.wait >= self.patience:
            rate = self.trainer.learning_rate
            if rate > np.float32(self.min_lr):
                self.trainer.learning_rate = max(rate * self.factor, self.min_lr)
                if self.verbose:
                    print(f"Epoch {epoch + 1}: ReduceLROnPlateau: learning rate is now {self.trainer.learning_rate}")
                self.cooldown_counter, self.wait = self.cooldown, 0

    def state(self) -> dict[str, Any]:
        return {"wait": self.wait, "cooldown_counter": self.cooldown_counter, "best": self.best}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.wait, self.cooldown_counter, self.best = state["wait"], state["cooldown_counter"], state["best"]


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch: `schedule(epoch, rate)`, or `schedule(epoch)`, gives it."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self.takes_rate = True
        except TypeError:
            self.takes_rate = False
        except ValueError:  # a built-in function, whose arguments are not known
            self.takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        rate = self.schedule(epoch, self.trainer.learning_rate) if self.takes_rate else self.schedule(epoch)
        self.trainer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {self.trainer.learning_rate}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if isinstance(logs, dict):
            logs["learning_rate"] = self.trainer.learning_rate


class ModelCheckpoint(_Watching):
    """Writes the weights to a safetensors file, after each epoch or every so many batches.

    Args:
        filepath: the file; `{epoch:02d}` and reported values (`{val_loss:.2f}`) are put in.
        save_best_only: whether to write only when `monitor` is better than ever.
        save_weights_only: the weights alone; otherwise with the network's configuration, for `hither.load(path)`.
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: what the first value must surpass.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: Mode = "auto", save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}")
        if not os.fspath(filepath).endswith(".safetensors"):
            raise ValueError(f"ModelCheckpoint writes safetensors files, so filepath ends in .safetensors; got {filepath!r}")
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self.best = initial_value_threshold
        self.batches, self.epoch = 0, 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.save_freq != "epoch":
            self.batches += 1
            if self.batches % int(self.save_freq) == 0:
                self._save(self.epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = monitored(self, self.monitor, logs)
            if not self.better(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.trainer.save(path, weights_only=self.save_weights_only)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "batches": self.batches}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best, self.batches = state["best"], state["batches"]


class CSVLogger(Callback):
    """Writes each epoch's values as a line of a CSV file."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.path, self.separator, self.append = Path(filename), separator, append
        self.columns: list[str] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.columns = None
        if self.append and self.path.exists() and self.path.stat().st_size:
            with self.path.open(newline="", encoding="utf-8") as file:
                self.columns = next(csv.reader(file, delimiter=self.separator))[1:]
        else:
            self.path.write_text("", encoding="utf-8")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self.columns is None:
                self.columns = sorted(logs)
                writer.writerow(["epoch", *self.columns])
            writer.writerow([epoch, *(_text(logs.get(c, "NA")) for c in self.columns)])

    def state(self) -> dict[str, Any]:
        return {"columns": self.columns, "text": self.path.read_bytes().decode("utf-8")}  # as it is, ends of lines included

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.columns = state["columns"]
        self.path.write_bytes(state["text"].encode("utf-8"))  # without what was written after the checkpoint


def _text(value: Any) -> Any:
    array = np.asarray(value)
    return value if array.dtype.kind in "UO" else array.tolist()


class TerminateOnNaN(Callback):
    """Ends the training at the first batch whose loss is NaN or infinite, with a line that says where the first such value came
    from, where `fit` otherwise raises NonFiniteLoss. The weights stay what they were before that batch."""


__all__ = [
    "CSVLogger", "Callback", "EarlyStopping", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint",
    "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip
