"""Kick, snare, hi-hat, tom or cymbal? Sounds of drums from their raw samples: convolutions over time.

python -m examples.training.drums
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import hither as ht

from .sources import drumkits

KINDS = {
    "kick": r"kick|bass ?drum|\bbd", "snare": r"snare|\bs[nd]", "hihat": r"hat|\b[co]?hh", "tom": r"tom|\btm|\bft|\bt\d",
    "cymbal": r"crash|ride|splash|china|\brd",
}  # fmt: skip
RATE, LENGTH, EPOCHS = 8000, 4000, 40  # half a second of sound


def kind(path: Path) -> str | None:
    """What a file's name says it is; None if it says nothing, or two things."""
    name = re.sub("[^a-z0-9]", " ", path.stem.lower())
    found = [k for k, pattern in KINDS.items() if re.search(pattern, name)]
    return found[0] if len(found) == 1 else None


def varied(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Any:
    """The sound a little later, louder or softer."""
    later = rng.integers(0, 400)
    return np.pad(x, ((later, 0), (0, 0)))[:LENGTH] * np.float32(rng.uniform(0.5, 1.5)), y


def network() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((LENGTH, 1)),
        L.Conv1D(64, 64, strides=8, activation="relu"), L.MaxPooling1D(4),
        L.Conv1D(64, 5, activation="relu"), L.MaxPooling1D(4),
        L.Conv1D(64, 5, activation="relu"), L.GlobalAveragePooling1D(), L.Dropout(0.3), L.Dense(len(KINDS)),
    ])  # fmt: skip


def train(device: str = "cpu", **options: Any) -> ht.train.History:
    """Train; every fifth file, chosen at random, is held out."""
    train, test = ht.data.audio_folder(
        drumkits(), RATE, LENGTH, labels=kind, class_names=list(KINDS), validation_split=0.2, subset="both"
    )
    data = train.cache().shuffle().map(varied, seed=0).batch(32)
    ht.nn.seed(0)
    rate = ht.optim.schedules.CosineDecay(2e-3, EPOCHS * len(data))
    loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer = ht.Trainer(network(), loss, ht.optim.Adam(rate), ["accuracy"], device=device)
    return trainer.fit(data.prefetch(2), epochs=EPOCHS, validation_data=test.cache().batch(32), **options)


if __name__ == "__main__":
    train()
