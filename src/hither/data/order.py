"""Orders of samples: functions of a seed and the epoch alone, so that an interrupted training finds its place again.

Random numbers are hither's own (Threefry), the same on every machine and in every version of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..ops import random

BLOCK = 1024  # random words drawn at a time


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """0 … count-1 in the order of an epoch: the one that `Trainer.fit` gives arrays."""
    return random.permutation(random.fold_in(random.key(seed), epoch), count).numpy()


def draws(seed: int, epoch: int) -> Iterator[int]:
    """Random words of 32 bits, without end."""
    key = random.fold_in(random.key(seed), epoch)
    block = 0
    while True:
        yield from random.bits(random.fold_in(key, block), (BLOCK,)).numpy().tolist()
        block += 1


def shuffled(items: Iterable[Any], size: int, seed: int, epoch: int) -> Iterator[Any]:
    """The items in random order, as far as a buffer of `size` reaches: each that comes out is one of the buffer's."""
    words = draws(seed, epoch)
    buffer: list[Any] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        at = next(words) * size >> 32
        buffer[at], item = item, buffer[at]
        yield item
    while buffer:
        at = next(words) * len(buffer) >> 32
        buffer[at], buffer[-1] = buffer[-1], buffer[at]
        yield buffer.pop()


__all__ = ["draws", "permutation", "shuffled"]
