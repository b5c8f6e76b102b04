"""Checkpoints of a training: everything that decides how it goes on, in one file that is there whole or not at all.

The state (weights, optimizer, metrics, keys of random numbers), the position (epoch and batch), the history, and what callbacks
remember lie in one safetensors file. It is written beside, flushed to the disk and then renamed, so that a process killed at
any moment leaves the last whole one. The order of samples follows from the seed and the position.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array import Array
from ..errors import InvalidModel, NameMismatch
from ..formats.safetensors import read, save_weights
from .callbacks import Callback, Logs

if TYPE_CHECKING:
    from .trainer import Trainer

FILE = "training.safetensors"
ENTRY = "hither.training"  # the metadata entry with everything that is no array
VERSION = 1


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all, also after a crash: beside, flushed, renamed. It is written in a
    folder of its own, for libraries may write beside what they write, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_beside(path), dir=path.parent, ignore_cleanup_errors=True) as folder:
        part = Path(folder) / path.name
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    if os.name == "posix":
        parent = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(parent)  # the renaming itself
        finally:
            os.close(parent)


def _beside(path: Path) -> str:
    """How the folders begin in which a file is written."""
    return f".{path.name}-"


class BackupAndRestore(Callback):
    """Keeps a training's state in a folder, and goes on from there when `fit` is called again: after a crash, exactly.

    `fit(…, resume="folder")` is the short form. The end is bit by bit that of a training that was not interrupted, as long
    as the data are the same in the same order: arrays and Datasets are; an iterator is run forward to where it was. A
    training that had ended is not run again. Callbacks must be the same, too.

    Args:
        backup_dir: the folder; made if missing. Another training needs another one.
        save_freq: "epoch", or a number of batches.
        delete_checkpoint: whether to remove the file at the end.
    """

    def __init__(
        self, backup_dir: str | os.PathLike[str], save_freq: str | int = "epoch", delete_checkpoint: bool = False
    ) -> None:
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ValueError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}")
        self.path = Path(backup_dir) / FILE
        self.save_freq, self.delete_checkpoint = save_freq, delete_checkpoint
        self.batches = 0
        self.others: list[Callback] = []

    def watch(self, callbacks: list[Callback]) -> None:
        """Whose state to keep beside the trainer's."""
        self.others = [c for c in callbacks if c is not self]

    def on_train_begin(self, logs: Logs = None) -> None:
        for part in self.path.parent.glob(f"{_beside(self.path)}*"):
            shutil.rmtree(part)  # what a kill left half written

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.save_freq != "epoch":
            self.batches += 1
            if self.batches % int(self.save_freq) == 0:
                self.write()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.write()

    def on_train_end(self, logs: Logs = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def write(self) -> None:
        """Keep the state as it is now."""
        arrays: dict[str, Any] = {f"state.{n}": a for n, a in self.trainer.state.items()}
        kept: list[dict[str, Any]] = []
        for i, callback in enumerate(self.others):
            state = dict(callback.state())
            own = state.pop("arrays", {})
            arrays |= {f"callbacks.{i}.{n}": a for n, a in own.items()}
            kept.append({"class": type(callback).__name__, "state": state, "arrays": list(own)})
        about = {
            "version": VERSION,
            "position": list(self.trainer.position),
            "stopped": self.trainer.stop_training,
            "seed": self.trainer.seed,
            "callbacks": kept,
        }
        text = json.dumps(about, default=_plain)
        replace_file(self.path, lambda part: save_weights(arrays, part, {ENTRY: text}))

    def restore(self, trainer: Trainer) -> tuple[int, int] | None:
        """Put the state back; the position, (epoch, batch), to go on from. None: there is no checkpoint.

        Raises:
            InvalidModel: the file is damaged, or of another version.
            NameMismatch: it is of another training: other weights, optimizer, metrics, callbacks or seed.
        """
        if not self.path.exists():
            return None
        arrays, metadata = read(self.path)
        try:
            about = json.loads(metadata[ENTRY])
            version, (epoch, batch), kept = about["version"], about["position"], about["callbacks"]
            stopped, seed = bool(about["stopped"]), about["seed"]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidModel(f"{self.path} is no checkpoint of a training: {error!r}") from error
        if version != VERSION:
            raise InvalidModel(f"{self.path} has version {version} of the format; this hither reads {VERSION}")
        names = [type(c).__name__ for c in self.others]
        if [entry["class"] for entry in kept] != names:
            raise NameMismatch(
                f"{self.path} was written with the callbacks {[e['class'] for e in kept]}, and there are {names} now; use the "
                "same, or another folder"
            )
        if seed != trainer.seed:
            raise NameMismatch(f"{self.path} was written with seed={seed}, and the Trainer has seed={trainer.seed}")
        state = {n.removeprefix("state."): a for n, a in arrays.items() if n.startswith("state.")}
        if set(state) != set(trainer.state):
            odd = sorted(set(state) ^ set(trainer.state))
            raise NameMismatch(f"{self.path} is of another training: {odd[0]!r} is in one of the two only; use another folder")
        trainer.load_state(state)
        for i, (callback, entry) in enumerate(zip(self.others, kept, strict=True)):
            own = {n: Array(arrays[f"callbacks.{i}.{n}"]) for n in entry["arrays"]}
            callback.load_state({**entry["state"], "arrays": own})
        trainer.stop_training = stopped
        return int(epoch), int(batch)


def _plain(value: Any) -> Any:
    array = value.numpy() if isinstance(value, Array) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a checkpoint keeps numbers, strings, lists and arrays of callbacks, not a {type(value).__name__}")
    return array.tolist()
