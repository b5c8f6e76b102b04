"""Random numbers: the generator's published answers, the promise that keys alone decide, and rough distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.graph.core import Abstract, evaluate
from hither.graph.trace import trace_function
from hither.ops.random import threefry

KEY = ht.random.key(20)


@pytest.mark.parametrize(
    ("keys", "counters", "answers"),
    [  # Random123's known-answer vectors for threefry2x32, 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(keys: Any, counters: Any, answers: Any) -> None:
    x0, x1 = (np.array([c], np.uint32) for c in counters)
    got = threefry(np.array(keys, np.uint32), x0, x1)
    assert tuple(int(g[0]) for g in got) == answers


def draws(key: Any) -> list[Any]:
    """One of each."""
    return [
        ht.random.bits(key, (7, 3)), ht.random.uniform(key, (101,), low=-1.0, high=3.0), ht.random.normal(key, (50,)),
        ht.random.randint(key, -5, 6, (64,)), ht.random.bernoulli(key, 0.3, (64,)), ht.random.permutation(key, 33),
        ht.random.categorical(key, ht.zeros((5, 4))), ht.random.split(key, 3), ht.random.fold_in(key, 5),
        ht.random.truncated_normal(key, (20,)), ht.random.uniform(key, (9,), dtype="float64"),
        ht.random.exponential(key, (9,)), ht.random.laplace(key, (9,)), ht.random.gamma(key, 0.7, (9,)),
        ht.random.beta(key, 2.0, 0.5, (9,)), ht.random.multinomial(key, ht.zeros((4,)), 5),
    ]  # fmt: skip


def test_traced_draws_equal_eager_ones_and_hold_no_tables() -> None:
    """A counter of the data's size as a constant would be shipped with every model that uses dropout."""
    graph, _ = trace_function(draws, [Abstract((2,), ht.uint32)])
    for got, expected in zip(evaluate(graph, KEY.numpy()), draws(KEY), strict=True):
        np.testing.assert_array_equal(got, expected.numpy())
    assert max(array.size for array in graph.constants.values()) <= 20


def test_keys_differ_and_decide_everything() -> None:
    first, second = ht.random.split(KEY)
    a, b = (ht.random.bits(k, (64,)).numpy() for k in (first, second))
    assert not (a == b).any() and (a == ht.random.bits(first, (64,)).numpy()).all()
    assert not np.array_equal(ht.random.fold_in(KEY, 1).numpy(), ht.random.fold_in(KEY, 2).numpy())
    np.testing.assert_array_equal(ht.random.bits(KEY, (6,)).numpy(), ht.random.bits(KEY, (2, 3)).numpy().reshape(-1))


def test_distributions() -> None:
    n = 40_000
    u = ht.random.uniform(KEY, (n,)).numpy()
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
    z = ht.random.normal(KEY, (n,), mean=2.0, std=3.0).numpy()
    assert abs(z.mean() - 2) < 0.06 and abs(z.std() - 3) < 0.06
    t = ht.random.truncated_normal(KEY, (n,)).numpy()
    assert abs(t).max() <= 2 and abs(t.std() - 0.8796) < 0.02
    counts = np.bincount(ht.random.randint(KEY, 0, 8, (n,)).numpy(), minlength=8)
    assert abs(counts - n / 8).max() < 5 * np.sqrt(n / 8)
    picks = ht.random.categorical(KEY, np.log(np.tile(np.float32([[0.1, 0.2, 0.7]]), (n, 1)))).numpy()
    np.testing.assert_allclose(np.bincount(picks) / n, [0.1, 0.2, 0.7], atol=0.02)
    assert sorted(ht.random.permutation(KEY, 100).tolist()) == list(range(100))


def distance(drawn: np.ndarray, distribution: Any) -> float:
    """Kolmogorov and Smirnov's: the largest gap between the drawn numbers' distribution function and the true one."""
    x = np.sort(drawn.astype(np.float64))
    true, rank = distribution(x), np.arange(1, len(x) + 1) / len(x)
    return float(np.maximum(np.abs(rank - true), np.abs(rank - 1 / len(x) - true)).max())


def incomplete_gamma(a: float, x: np.ndarray) -> np.ndarray:
    """The gamma distribution's function, by its power series (Abramowitz and Stegun 6.5.29), fit for moderate x."""
    total, term = np.zeros_like(x), np.full_like(x, 1 / a)
    for n in range(1, 400):
        total, term = total + term, term * x / (a + n)
    return np.exp(a * np.log(np.maximum(x, 1e-300)) - x - math.lgamma(a)) * total


N = 20_000
FAR = 1.63 / math.sqrt(N)  # the test's critical distance at one percent; keys are fixed


@pytest.mark.parametrize(
    ("drawn", "distribution"),
    [
        (lambda: ht.random.exponential(KEY, (N,), scale=2.0), lambda x: 1 - np.exp(-x / 2)),
        (
            lambda: ht.random.laplace(KEY, (N,), mean=1.0, scale=3.0),
            lambda x: np.where(x < 1, np.exp((x - 1) / 3) / 2, 1 - np.exp(-np.abs(x - 1) / 3) / 2),
        ),
        (lambda: ht.random.gamma(KEY, 0.3, (N,)), lambda x: incomplete_gamma(0.3, x)),
        (lambda: ht.random.gamma(KEY, 1.0, (N,)), lambda x: 1 - np.exp(-x)),
        (lambda: ht.random.gamma(KEY, 7.5, (N,), scale=0.5), lambda x: incomplete_gamma(7.5, 2 * x)),
        (lambda: ht.random.beta(KEY, 2.0, 1.0, (N,)), lambda x: x**2),
        (lambda: ht.random.beta(KEY, 0.1, 1.0, (N,)), lambda x: x**0.1),
        (lambda: ht.random.beta(KEY, 2.0, 2.0, (N,)), lambda x: x * x * (3 - 2 * x)),
        (lambda: ht.random.gumbel(KEY, (N,)), lambda x: np.exp(-np.exp(-x))),
    ],
    ids=["exponential", "laplace", "gamma_small", "gamma_one", "gamma", "beta", "beta_small", "beta_even", "gumbel"],
)
def test_continuous_distributions(drawn: Any, distribution: Any) -> None:
    assert distance(drawn().numpy(), distribution) < FAR


@pytest.mark.parametrize("rate", [0.2, 3.0, 9.9, 10.5, 60.0, 2000.0])
def test_poisson(rate: float) -> None:
    """Mean, variance, and each frequent count by the chi-squared test, on both sides of where the method changes."""
    drawn = ht.random.poisson(KEY, rate, (N,)).numpy()
    assert abs(drawn.mean() - rate) < 4 * math.sqrt(rate / N)
    assert abs(drawn.var() / rate - 1) < 4 * math.sqrt((2 + 1 / rate) / N)
    k = np.arange(drawn.max() + 1)
    chance = np.exp(k * math.log(rate) - rate - np.array([math.lgamma(i + 1) for i in k]))
    often = chance * N > 20
    seen = np.bincount(drawn, minlength=len(k))
    chi = ((seen - chance * N) ** 2 / np.maximum(chance * N, 1e-9))[often].sum()
    freedom = int(often.sum())
    assert chi < freedom + 4 * math.sqrt(2 * freedom)


def test_multinomial_and_shapes() -> None:
    picks = ht.random.multinomial(KEY, np.log(np.float32([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])), N).numpy()
    assert picks.shape == (2, N)
    np.testing.assert_allclose([np.bincount(p) / N for p in picks], [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], atol=0.015)
    rates = ht.random.gamma(KEY, ht.asarray([[0.5], [20.0]]), (2, 3))
    assert rates.shape == (2, 3) and ht.random.beta(KEY, ht.ones((2, 1)), ht.ones((3,))).shape == (2, 3)


def test_misuse_says_what_a_key_is() -> None:
    with pytest.raises(TypeError, match=r"random\.key"):
        ht.random.uniform(np.array([1, 2, 3]), (3,))
    with pytest.raises(ValueError, match="low < high"):
        ht.random.randint(KEY, 3, 3)
