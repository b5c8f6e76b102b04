"""Fashion-MNIST, 60,000 grey pictures of clothes: convolutions with batch normalisation, a learning rate that falls to 0.

python -m examples.training.fashion
"""

from __future__ import annotations

from typing import Any

import hither as ht

from .sources import fashion

EPOCHS, BATCH = 5, 64


def network() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((28, 28, 1)),
        L.Conv2D(32, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
        L.Conv2D(64, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
        L.Flatten(), L.Dropout(0.25), L.Dense(128, activation="relu"), L.Dense(10),
    ])  # fmt: skip


def train(device: str = "cpu", **options: Any) -> ht.train.History:
    """Train."""
    (x, y), test = fashion()
    ht.nn.seed(0)
    rate = ht.optim.schedules.CosineDecay(2e-3, EPOCHS * -(-len(x) // BATCH))
    loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer = ht.Trainer(network(), loss, ht.optim.Adam(rate), ["accuracy"], device=device)
    return trainer.fit(x, y, batch_size=BATCH, epochs=EPOCHS, validation_data=test, **options)


if __name__ == "__main__":
    train()
