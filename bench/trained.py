"""The networks whose training steps are measured: each in hither, and what a twin in another framework needs to know of it.

A convolutional classifier of 28×28 pictures and an encoder of two transformer blocks over tokens, both trained by Adam on
cross-entropy. Batches are seeded, and every contestant begins with hither's weights, so that losses can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RATE = 1e-3
VOCABULARY, TOKENS, WIDTH, HEADS, INNER, BLOCKS = 1000, 64, 128, 4, 512, 2
CLASSES = 10


@dataclass(frozen=True)
class Trained:
    """A network to train: `build` makes it in hither, `batch` its inputs and targets."""

    name: str
    about: str
    size: int  # of a batch
    build: Callable[[], Any]
    batch: Callable[[], tuple[np.ndarray, np.ndarray]]

    def trainer(self) -> Any:
        """A hither Trainer of the network, its weights made."""
        import hither as ht

        ht.nn.seed(0)
        net = self.build()
        loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
        return ht.Trainer(net, loss=loss, optimizer=ht.optim.Adam(RATE))

    def weights(self) -> dict[str, np.ndarray]:
        """The weights that everyone begins with, by hither's paths."""
        trainer = self.trainer()
        x, y = self.batch()
        from hither.train.batches import Batch

        trainer.prepare(Batch(x, y))
        return {path: array.numpy() for path, array in trainer.get_weights().items()}


def _cnn() -> Any:
    import hither as ht

    L = ht.nn
    return L.Sequential([
        L.Input((28, 28, 1)),
        L.Conv2D(32, 3, padding="same", activation="relu", name="conv1"), L.MaxPooling2D(),
        L.Conv2D(64, 3, padding="same", activation="relu", name="conv2"), L.MaxPooling2D(),
        L.Flatten(), L.Dense(128, activation="relu", name="hidden"), L.Dense(CLASSES, name="logits"),
    ])  # fmt: skip


def _transformer() -> Any:
    import hither as ht

    L = ht.nn
    tokens = L.Input((TOKENS,), dtype="int32")
    x = L.Embedding(VOCABULARY, WIDTH, name="embedding")(tokens)
    for i in range(BLOCKS):
        attended = L.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"attention{i}")(x, x)
        x = L.LayerNormalization(epsilon=1e-5, name=f"norm{i}a")(L.Add()([x, attended]))
        inner = L.Dense(INNER, activation="relu", name=f"inner{i}")(x)
        x = L.LayerNormalization(epsilon=1e-5, name=f"norm{i}b")(L.Add()([x, L.Dense(WIDTH, name=f"outer{i}")(inner)]))
    return L.Functional(tokens, L.Dense(CLASSES, name="logits")(L.GlobalAveragePooling1D()(x)))


def _pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (64, 28, 28, 1)).astype(np.float32), rng.integers(0, CLASSES, 64).astype(np.int32)


def _sentences() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, VOCABULARY, (16, TOKENS)).astype(np.int32), rng.integers(0, CLASSES, 16).astype(np.int32)


TRAINED: dict[str, Trained] = {
    net.name: net
    for net in (
        Trained("cnn", "two convolutions, two dense layers, 64 pictures of 28²", 64, _cnn, _pictures),
        Trained("transformer", "two blocks of width 128, 16 × 64 tokens", 16, _transformer, _sentences),
    )
}
