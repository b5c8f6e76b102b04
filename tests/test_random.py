"""Random numbers: the generator's published answers, the promise that keys alone decide, and rough distributions."""

from __future__ import annotations

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


def test_misuse_says_what_a_key_is() -> None:
    with pytest.raises(TypeError, match=r"random\.key"):
        ht.random.uniform(np.array([1, 2, 3]), (3,))
    with pytest.raises(ValueError, match="low < high"):
        ht.random.randint(KEY, 3, 3)
