"""Spam or not? Mails as sequences of words: an embedding and a small transformer.

python -m examples.training.spam
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

import hither as ht

from .sources import mails

WORDS, LENGTH, EPOCHS = 5000, 100, 3  # the most frequent words, and how many of a mail are read


def words(text: str) -> list[str]:
    """A text's words, without HTML's tags."""
    return re.findall(r"[a-z']+|\d+|[!$]", re.sub(r"<[^>]*>", " ", text).lower())


def tokens(texts: list[list[str]], vocabulary: dict[str, int]) -> np.ndarray:
    """Numbers of words, int32[texts, LENGTH]: 0 fills up, 1 is any word that the vocabulary does not have."""
    made = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(made, texts, strict=True):
        numbers = [vocabulary.get(w, 1) for w in text[:LENGTH]]
        row[: len(numbers)] = numbers
    return made


def network() -> ht.nn.Functional:
    """One block of a transformer encoder, and the mean over the words."""
    L = ht.nn
    numbers = L.Input((LENGTH,), dtype="int32")
    x = L.Embedding(WORDS, 32, mask_zero=True)(numbers)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 16)(x, x)]))
    x = L.LayerNormalization()(L.Add()([x, L.Dense(32)(L.Dense(64, activation="relu")(x))]))
    x = L.Dropout(0.3)(L.GlobalAveragePooling1D()(x))
    return L.Functional(numbers, L.Dense(1, activation="sigmoid")(x))


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
    return trainer.fit(x[~held], spam[~held, None], batch_size=64, epochs=EPOCHS, validation_data=test, **options)


if __name__ == "__main__":
    train()
