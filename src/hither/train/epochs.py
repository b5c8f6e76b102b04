"""Epochs: how many batches of which pass over the data each takes, as Keras 3 has it.

Without `steps` an epoch is a pass. With them an epoch goes on where the last one stopped, and the one in which a pass ends is
shorter; the next begins a new pass. So which batches an epoch has depends on its number and the length of a pass alone, and a
training that was interrupted goes on with the batch that would have come.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from .batches import ArrayBatches, Batch, DatasetBatches, MadeBatches, arrays_of, is_arrays


class Source(Protocol):
    """What can be read in passes. `length`: batches in a pass; infinite, or None if that is not known."""

    length: float | None

    def read(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of a pass without the first `skip`. Of what cannot begin anew, what is left, whatever the pass."""
        ...  # pragma: no cover

    def epoch_ended(self) -> None: ...  # pragma: no cover


class OutOfDataWarning(UserWarning):
    """The data ended before an epoch had as many batches as steps_per_epoch says."""


class Epochs:
    """The epochs of a source.

    Args:
        source: what they take their batches from.
        steps: at most so many batches an epoch.

    Raises:
        ValueError: a source without end, and no steps.
    """

    def __init__(self, source: Source, steps: int | None = None) -> None:
        if steps is None and source.length == math.inf:
            raise ValueError("the data have no end: say how many batches an epoch has (steps_per_epoch, or steps)")
        if steps is not None and steps < 1:
            raise ValueError(f"an epoch has 1 step or more, got {steps}")
        self.source, self._given = source, steps
        self._length = source.length
        self.steps = steps if steps is not None or source.length is None else int(source.length)
        self._stream: Iterator[Batch] = iter(())
        self._at: tuple[int, int] | None = None  # pass and place of the stream's next batch

    def first(self) -> Batch:
        """The first batch of all, which is not taken by this."""
        stream = self.source.read(0)
        batch = next(stream)
        self._stream, self._at = itertools.chain([batch], stream), (0, 0)
        return batch

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `skip`.

        Warns:
            OutOfDataWarning: they are fewer than `steps`.
        """
        self._seek(number, skip)
        taken = skip
        while taken != self._given:
            batch = next(self._stream, None)
            if batch is None and self._ends(number, taken):
                break
            if batch is not None:
                taken += 1
                self._moved(1)
                yield batch
        self.source.epoch_ended()

    def _place(self, number: int) -> tuple[int, int]:
        """The pass and the place in it where an epoch begins."""
        if self._given is None:
            return number, 0
        if self._length is None or self._length == math.inf:
            return 0, number * self._given
        passed, epochs = divmod(number, max(-(-int(self._length) // self._given), 1))
        return passed, epochs * self._given

    def _seek(self, number: int, skip: int) -> None:
        """Go to a batch of an epoch, if the stream is not there anyway."""
        passed, start = self._place(number)
        if self._at == (passed, start + skip):
            return
        counted = self._length is not None or self._given is None
        if self._at is None or counted or self._at[0] != passed or self._at[1] > start + skip:
            begin = start + skip if counted else 0
            self._stream, self._at = self.source.read(passed, begin), (passed, begin)
        while self._at[1] < start + skip:  # of a pass whose length shows when it ends
            if next(self._stream, None) is None:
                self._length = self._at[1]
                return self._seek(number, skip) if self._length else None
            self._moved(1)

    def _moved(self, count: int) -> None:
        assert self._at is not None
        self._at = (self._at[0], self._at[1] + count)

    def _ends(self, number: int, taken: int) -> bool:
        """Whether an epoch ends where a pass does: not if it had not begun, as the pass before turns out to have been whole."""
        assert self._at is not None
        _, place = self._at
        if self._given is None and taken:
            return True
        if self._given is not None and self._length is None and place:
            self._length = place
            if not taken:
                self._seek(number, 0)
                return False
        warnings.warn(
            f"the data ended: epoch {number + 1} has {taken} of {self._given or 'its'} steps. Give as many batches as all "
            "epochs take together, or what has no end, such as dataset.repeat()",
            OutOfDataWarning,
            stacklevel=5,
        )
        return True


def batches_of(
    x: Any, y: Any = None, sample_weight: Any = None, *, size: int | None = None, shuffle: bool = False, seed: int = 0,
    steps: int | None = None,
) -> Epochs:  # fmt: skip
    """Epochs of what a user gave.

    Args:
        size: of a batch, where arrays are cut; if not given, 32, or with `steps` what makes a pass have so many.

    Raises:
        TypeError: neither arrays nor an iterable of batches; targets beside an iterable, which brings its own; a size of
            batches beside a Dataset.
        ValueError: a Dataset without end, and no steps.
    """
    if is_arrays(x):
        batch = Batch(arrays_of(x), arrays_of(y), arrays_of(sample_weight))
        if size is None:
            size = max(-(-batch.size // steps), 1) if steps else 32
        return Epochs(ArrayBatches(batch, size, shuffle, seed), steps)
    if not isinstance(x, Iterable) and not hasattr(x, "__getitem__"):
        raise TypeError(f"x is an array, a dict or list of arrays, or an iterable of batches; got a {type(x).__name__}")
    for name, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None:
            raise TypeError(f"x gives batches, (x, y) or (x, y, sample_weight), so {name} is not given beside it")
    if hasattr(x, "epoch") and hasattr(x, "repeat"):
        if size is not None:
            raise TypeError("batch_size is for arrays; a Dataset's batches are its own: dataset.batch(…)")
        return Epochs(DatasetBatches(x), steps)
    return Epochs(MadeBatches(x, shuffle, seed), steps)


__all__ = ["Epochs", "OutOfDataWarning", "Source", "batches_of"]
