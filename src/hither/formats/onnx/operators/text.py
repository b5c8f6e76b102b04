"""Counting n-grams of integer tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import cast


@operator("TfIdfVectorizer")
def tf_idf_vectorizer(node: Node, x: Any) -> Any:
    """Every window of the input is compared with every n-gram of the pool; hits are counted and weighted."""
    if "pool_strings" in node.attributes:
        raise node.unsupported("a pool of strings")
    mode, pool, counts = node["mode"], node["pool_int64s"], node["ngram_counts"]
    indexes = node["ngram_indexes"]
    shortest, longest, skips = node["min_gram_length"], node["max_gram_length"], node["max_skip_count"]
    node.check(mode in ("TF", "IDF", "TFIDF"), f"mode must be TF, IDF or TFIDF, got {mode!r}")
    node.check(0 < shortest <= longest and skips >= 0, f"n-grams of {shortest} to {longest} with up to {skips} skips")
    node.check(len(x.shape) in (1, 2), f"takes [tokens] or [batch, tokens], got shape {tuple(x.shape)}")
    rows = x if len(x.shape) == 2 else ops.expand_dims(x, axis=0)
    width = max(indexes, default=-1) + 1
    frequency: Any = ops.zeros((rows.shape[0], width), dtype=dt.float32)
    done = 0
    for n, grams in _pools(node, pool, counts):
        where = indexes[done : done + len(grams)]
        done += len(grams)
        node.check(len(where) == len(grams), "ngram_indexes is shorter than the pool")
        if not shortest <= n <= longest or not len(grams):
            continue
        hits = _hits(rows, Array(grams.astype(x.dtype.numpy)), skips if n > 1 else 0)
        place = np.zeros((len(grams), width), np.float32)
        place[np.arange(len(grams)), list(where)] = 1
        frequency = frequency + ops.matmul(cast(hits, dt.float32), Array(place))
    if mode != "TF":
        weights = np.ones(width, np.float32)
        if node.get("weights"):
            node.check(len(node["weights"]) == len(indexes), "weights and ngram_indexes differ in length")
            weights[list(indexes)] = node["weights"]
        base = cast(frequency > 0, dt.float32) if mode == "IDF" else frequency
        frequency = base * Array(weights)
    return frequency if len(x.shape) == 2 else frequency[0]


def _pools(node: Node, pool: tuple[int, ...], counts: tuple[int, ...]) -> list[tuple[int, np.ndarray]]:
    """The pool's n-grams by length: [(1, int64[k, 1]), (2, int64[k, 2]), …]."""
    ends = [*counts[1:], len(pool)]
    found = []
    for n, (start, end) in enumerate(zip(counts, ends), start=1):
        node.check(0 <= start <= end <= len(pool) and (end - start) % n == 0, f"ngram_counts {list(counts)} do not fit")
        found.append((n, np.array(pool[start:end], np.int64).reshape(-1, n)))
    return found


def _hits(rows: Any, grams: Any, skips: int) -> Any:
    """How often each n-gram [G, n] occurs in each row [B, L], tokens up to `skips` apart: int32[B, G]."""
    batch, length = rows.shape
    count, n = grams.shape
    total: Any = ops.zeros((batch, count), dtype=dt.int32)
    for skip in range(skips + 1):
        places = length - (n - 1) * (skip + 1)
        if places <= 0:
            break
        same: Any = None
        for i in range(n):
            start = i * (skip + 1)
            token = ops.reshape(rows[:, start : start + places], (batch, places, 1))
            equal = token == ops.reshape(grams[:, i], (1, 1, count))
            same = equal if same is None else same & equal
        total = total + apply("reduce_sum", cast(same, dt.int32), axes=(1,))
    return total
