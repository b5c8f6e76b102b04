"""Handwritten digits of 8×8 pixels: two convolutions and a dense layer.

python -m examples.training.digits
"""

from __future__ import annotations

from typing import Any

import hither as ht

from .sources import digits


def network() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((8, 8, 1)), L.Conv2D(32, 3, padding="same", activation="relu"), L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(), L.Flatten(), L.Dropout(0.3), L.Dense(10),
    ])  # fmt: skip


def train(device: str = "cpu", **options: Any) -> ht.train.History:
    """Train on four fifths of the digits."""
    (x, y), test = digits()
    ht.nn.seed(0)
    loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer = ht.Trainer(network(), loss, ht.optim.Adam(2e-3), ["accuracy"], device=device)
    return trainer.fit(x, y, batch_size=64, epochs=15, validation_data=test, **options)


if __name__ == "__main__":
    train()
