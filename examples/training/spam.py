"""Spam or not? Mails as sequences of words: an embedding and an LSTM.

python -m examples.training.spam
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

import hither as ht

from .sources import mails

WORDS, LENGTH = 5000, 100  # the most frequent words, and how many of a mail are read


def words(text: str) -> list[str]:
    """A text's words, without HTML's tags."""
    return re.findall(r"[a-z$!']+|\d+", re.sub(r"<[^>]*>", " ", text).lower())


def tokens(texts: list[list[str]], vocabulary: dict[str, int]) -> np.ndarray:
    """Numbers of words, int32[texts, LENGTH]: 0 fills up, 1 is any word that the vocabulary does not have."""
    made = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(made, texts, strict=True):
        numbers = [vocabulary.get(w, 1) for w in text[:LENGTH]]
        row[: len(numbers)] = numbers
    return made


def network() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((LENGTH,), dtype="int32"), L.Embedding(WORDS, 32, mask_zero=True), L.LSTM(32), L.Dropout(0.3),
        L.Dense(1, activation="sigmoid"),
    ])  # fmt: skip


def train(device: str = "cpu", **options: Any) -> ht.train.History:
    """Train on four fifths of the mails; the vocabulary is theirs."""
    texts, spam = mails()
    split = [words(t) for t in texts]
    held = np.arange(len(split)) % 5 == 0
    frequent = Counter(w for text, out in zip(split, held) if not out for w in text).most_common(WORDS - 2)
    x = tokens(split, {w: i for i, (w, _) in enumerate(frequent, 2)})
    ht.nn.seed(0)
    trainer = ht.Trainer(network(), "binary_crossentropy", ht.optim.Adam(2e-3), ["accuracy"], device=device)
    test = x[held], spam[held, None]
    return trainer.fit(x[~held], spam[~held, None], batch_size=64, epochs=4, validation_data=test, **options)


if __name__ == "__main__":
    train()
