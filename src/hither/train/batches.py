"""Batches: what fit, evaluate and predict take, read in passes, in an order that a seed and the number of the pass decide.

Arrays, alone or in dicts and lists, are cut here; anything that gives batches (a hither.data.Dataset, a generator, a data
loader, a sequence with `__getitem__` and `__len__`) is taken as it is. epochs.py makes epochs of passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array import Array
from ..errors import ShapeMismatch
from ..graph.tree import flatten, tree_map
from ..ops import random


@dataclass(frozen=True)
class Batch:
    """Inputs, targets and weights of some samples; targets and weights are None where there are none."""

    x: Any
    y: Any = None
    sample_weight: Any = None

    @property
    def size(self) -> int:
        """How many samples."""
        first = flatten(self.x)[0][0]
        return int(first.shape[0]) if first.ndim else 1


def plain(value: Any) -> np.ndarray:
    """An array as training takes it: 64-bit floats, which NumPy makes by default, as float32, and 64-bit integers as int32
    where all of them fit.

    Raises:
        TypeError: it is no array of numbers.
    """
    array = value.numpy() if isinstance(value, Array) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"training takes arrays of numbers, got {array.dtype} from a {type(value).__name__}")
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu":
        small = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return array.astype(np.int32) if small else array
    return array


def is_array(value: Any) -> bool:
    """Whether a value is an array, or a nested list of numbers that NumPy makes one of."""
    if isinstance(value, np.ndarray | Array) or (hasattr(value, "__array__") and hasattr(value, "shape")):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(v, int | float | bool | list) for v in value)


def is_arrays(value: Any) -> bool:
    """Whether a value is an array, or a dict, list or tuple of arrays."""
    if isinstance(value, Mapping):
        return bool(value) and all(is_arrays(v) for v in value.values())
    if isinstance(value, list | tuple) and not is_array(value):
        return bool(value) and all(is_arrays(v) for v in value)
    return is_array(value)


def arrays_of(value: Any) -> Any:
    """The arrays in a structure, as training takes them. Lists of numbers are arrays."""
    if value is None:
        return None
    if is_array(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {k: arrays_of(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [arrays_of(v) for v in value]
    return plain(value)


class ArrayBatches:
    """Arrays cut into batches; the last may be smaller.

    Args:
        batch: all samples.
        size: of a batch.
        shuffle: whether each pass has an order of its own: 0 … n-1 as `random.permutation` of the seed and the pass gives it.
        seed: of the order.
    """

    def __init__(self, batch: Batch, size: int, shuffle: bool = False, seed: int = 0) -> None:
        counts = {a.shape[0] if a.ndim else None for a in flatten((batch.x, batch.y, batch.sample_weight))[0]}
        if len(counts) != 1 or None in counts:
            raise ShapeMismatch(f"inputs, targets and weights have one row per sample, got {sorted(map(str, counts))} rows")
        if size < 1:
            raise ValueError(f"batch_size is 1 or more, got {size}")
        self.batch, self.size, self.shuffle, self.seed = batch, size, shuffle, seed
        self.count = int(counts.pop() or 0)
        if not self.count:
            raise ShapeMismatch("there are no samples: the arrays have 0 rows")
        self.length: float | None = -(-self.count // size)

    def read(self, number: int, skip: int = 0) -> Iterator[Batch]:
        order = None
        if self.shuffle:
            order = random.permutation(random.fold_in(random.key(self.seed), number), self.count).numpy()
        parts = self.batch.x, self.batch.y, self.batch.sample_weight
        for start in range(skip * self.size, self.count, self.size):
            rows = slice(start, start + self.size) if order is None else order[start : start + self.size]
            yield Batch(*(tree_map(lambda a, rows=rows: a[rows], p) for p in parts))

    def epoch_ended(self) -> None:
        pass


class MadeBatches:
    """What an iterable of batches gives: x, (x,), (x, y) or (x, y, sample_weight). An iterator has one pass."""

    def __init__(self, source: Any, shuffle: bool = False, seed: int = 0) -> None:
        self.source = source
        self.indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, Mapping)
        self.shuffle, self.seed = shuffle and self.indexed, seed
        self.length: float | None = len(source) if hasattr(source, "__len__") else None

    def read(self, number: int, skip: int = 0) -> Iterator[Batch]:
        if not self.indexed:
            return map(batch_of, itertools.islice(self.source, skip, None))
        count = len(self.source)
        order: Any = range(count)
        if self.shuffle:
            order = random.permutation(random.fold_in(random.key(self.seed), number), count).numpy()
        return (batch_of(self.source[int(i)]) for i in order[skip:])

    def epoch_ended(self) -> None:
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()


class DatasetBatches:
    """The elements of a hither.data.Dataset, which are batches. Passes are its epochs."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.length: float | None = source.length

    def read(self, number: int, skip: int = 0) -> Iterator[Batch]:
        return map(_whole, self.source.epoch(number, skip))

    def epoch_ended(self) -> None:
        pass


def _whole(item: Any) -> Batch:
    """A Dataset's element, which has to be a batch."""
    batch = batch_of(item)
    if any(a.ndim == 0 for a in flatten((batch.x, batch.y))[0]):
        raise ShapeMismatch("the Dataset gives single samples, training takes batches of them: dataset.batch(32)")
    return batch


def batch_of(item: Any) -> Batch:
    """A Batch from what an iterable gave.

    Raises:
        TypeError: more than three parts.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, tuple):
        if not 1 <= len(item) <= 3:
            raise TypeError(f"a batch is x, (x,), (x, y) or (x, y, sample_weight), got {len(item)} parts")
        return Batch(*map(arrays_of, item))
    return Batch(arrays_of(item))


def split(batch: Batch, fraction: float) -> tuple[Batch, Batch]:
    """The first samples, and the last `fraction` of them."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split lies between 0 and 1, got {fraction}")
    count = batch.size
    at = int(count * (1 - fraction))
    if not 0 < at < count:
        raise ValueError(f"validation_split={fraction} of {count} samples leaves one part without any")
    first, last = (
        Batch(*(tree_map(lambda a, rows=rows: a[rows], p) for p in (batch.x, batch.y, batch.sample_weight)))
        for rows in (slice(None, at), slice(at, None))
    )
    return first, last


def weighted_by_class(batch: Batch, weights: Mapping[int, float]) -> Batch:
    """The batch with each sample's weight multiplied by that of its class; classes that are not named weigh 1.

    Raises:
        ValueError: targets that are no single array of class numbers or one-hot rows.
    """
    if not isinstance(batch.y, np.ndarray):
        raise ValueError("class_weight is for networks with one output and its targets in one array")
    y = batch.y
    if y.ndim == 2 and y.shape[1] > 1:
        y = y.argmax(axis=1)
    elif y.ndim == 2:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"class_weight takes class numbers or one-hot rows as targets, got shape {batch.y.shape}")
    made = np.ones(y.shape, np.float32)
    for number, weight in weights.items():
        made[y == number] = weight
    given = batch.sample_weight
    return Batch(batch.x, batch.y, made if given is None else np.asarray(given, np.float32) * made)


__all__ = [
    "ArrayBatches", "Batch", "DatasetBatches", "MadeBatches", "batch_of", "split", "weighted_by_class",
]  # fmt: skip
