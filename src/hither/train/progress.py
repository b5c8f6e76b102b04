"""What a training shows while it runs: a live line of the batches and, for each epoch, a line that stays.

Drawn by rich where there is a terminal; elsewhere epochs' lines are plain text, and verbose="auto" is quiet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .callbacks import Callback, Logs


def text_of(logs: Mapping[str, Any]) -> str:
    """Reported values in one line."""
    return " - ".join(f"{name}: {_number(value)}" for name, value in logs.items())


def _number(value: Any) -> str:
    array = np.asarray(value)
    if array.ndim:
        return "[" + ", ".join(_number(v) for v in array.ravel()[:4]) + (", …]" if array.size > 4 else "]")
    x = float(array)
    return f"{x:.4f}" if x == 0 or 1e-3 <= abs(x) < 1e5 else f"{x:.3e}"


class Progress(Callback):
    """Shows epochs and batches.

    Args:
        live: whether to show each batch; otherwise only a line per epoch.
    """

    def __init__(self, live: bool) -> None:
        self.live = live
        self.bar: Any = None
        self.task: Any = None
        self.started = self.shown = 0.0
        self.epoch: int | None = None

    def _open(self, label: str, total: int | None) -> None:
        self.started = time.perf_counter()
        if not self.live:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[logs]}"), transient=True, refresh_per_second=8,
        )  # fmt: skip
        self.bar.start()
        self.task = self.bar.add_task(label, total=total, logs="")

    def _advance(self, batch: int, logs: Logs) -> None:
        if self.bar is not None and (time.perf_counter() - self.shown > 0.1 or batch == 0):
            self.shown = time.perf_counter()
            self.bar.update(self.task, completed=batch + 1, logs=text_of(logs or {}))

    def _close(self, line: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        print(line, flush=True)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch
        self._open(f"Epoch {epoch + 1}/{self.params['epochs']}", self.params.get("steps"))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._advance(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        seconds = time.perf_counter() - self.started
        self._close(f"Epoch {epoch + 1}/{self.params['epochs']} - {seconds:.1f} s - {text_of(logs or {})}")
        self.epoch = None

    def on_train_end(self, logs: Logs = None) -> None:
        if self.bar is not None:  # stopped within an epoch
            self._close("")
        self.epoch = None

    def on_test_begin(self, logs: Logs = None) -> None:
        if self.epoch is None:
            self._open("Evaluating", self.params.get("steps"))

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.epoch is None:
            self._advance(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        if self.epoch is None:
            self._close(f"Evaluated - {time.perf_counter() - self.started:.1f} s - {text_of(logs or {})}")

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._open("Predicting", self.params.get("steps"))

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._advance(batch, logs)

    def on_predict_end(self, logs: Logs = None) -> None:
        self._close(f"Predicted - {time.perf_counter() - self.started:.1f} s")


def progress_for(verbose: Any) -> list[Callback]:
    """The callback for Keras's `verbose`: 0 shows nothing, 1 batches, 2 epochs; "auto" (and 1) is quiet about batches without a
    terminal, and "auto" about everything.
    """
    if verbose not in (0, 1, 2, "auto", True, False):
        raise ValueError(f"verbose is 'auto', 0, 1 or 2, got {verbose!r}")
    terminal = sys.stdout.isatty()
    if verbose == 0 or (verbose == "auto" and not terminal):
        return []
    return [Progress(live=terminal and verbose != 2)]
