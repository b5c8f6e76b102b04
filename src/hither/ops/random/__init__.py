"""Random numbers from explicit keys, alike on every target: the generator, and distributions made from it."""

from __future__ import annotations

from .distributions import beta, exponential, gamma, laplace, multinomial, poisson
from .generator import (
    bernoulli,
    bits,
    categorical,
    dropout,
    fold_in,
    gumbel,
    key,
    normal,
    permutation,
    randint,
    shuffle,
    split,
    threefry,
    truncated_normal,
    uniform,
)

__all__ = [
    "bernoulli", "beta", "bits", "categorical", "dropout", "exponential", "fold_in", "gamma", "gumbel", "key", "laplace",
    "multinomial", "normal", "permutation", "poisson", "randint", "shuffle", "split", "threefry", "truncated_normal",
    "uniform",
]  # fmt: skip


def __dir__() -> list[str]:
    return list(__all__)
