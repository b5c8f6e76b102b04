"""Where layers get random numbers from: a key for the time of a call, or hither's own generator outside of compiled code.

A compiled function would draw the same numbers in every call if a layer made up a key while it is traced, so there it must be
given one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..graph.trace import is_tracing
from ..ops import random


class _Keys:
    """Keys derived from one, each once."""

    def __init__(self, key: Any) -> None:
        self.key, self.count = key, 0

    def draw(self) -> Any:
        self.count += 1
        return random.fold_in(self.key, self.count)


_current: ContextVar[_Keys | None] = ContextVar("keys", default=None)
_default = _Keys(random.key(0))


def seed(number: int) -> None:
    """Start the generator anew that initializers and layers outside of compiled functions draw from (0 at start)."""
    global _default
    _default = _Keys(random.key(number))


@contextmanager
def randomness(key: Any) -> Iterator[_Keys]:
    """Layers called in this block draw from `key`, in the order of the calls. Yields what counts the draws (`count`).

    Example:
        >>> import numpy as np, hither as ht
        >>> with ht.nn.randomness(ht.random.key(3)):
        ...     y = ht.nn.Dropout(0.5)(np.ones((2, 2), np.float32), training=True)
    """
    keys = _Keys(key)
    token = _current.set(keys)
    try:
        yield keys
    finally:
        _current.reset(token)


def next_key(what: str = "", *, concrete: bool = False) -> Any:
    """A fresh key of random numbers, for what a layer's `call` draws: another one in each call and each step of training.

    Args:
        what: the layer's name, for the error.
        concrete: for initial weights, which are no part of a trace.

    Example:
        >>> import numpy as np, hither as ht
        >>> class Sampling(ht.nn.Layer):
        ...     def call(self, inputs):
        ...         mean, log_variance = inputs
        ...         return mean + ht.exp(0.5 * log_variance) * ht.random.normal(ht.nn.next_key(), mean.shape)
        >>> Sampling()([np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)]).shape
        (2, 3)

    Raises:
        RuntimeError: inside a function that is being compiled, without `randomness` around.
    """
    keys = _current.get()
    if concrete:
        return _default.draw()
    if keys is None:
        if is_tracing():
            raise RuntimeError(
                f"{what} draws random numbers inside a compiled function; give it a key: with hither.nn.randomness(key): …"
            )
        keys = _default
    return keys.draw()
