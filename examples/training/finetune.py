"""A network that reads expressions from faces learns what emoji are: adapted, it does better than as it is.

It is a TF.js graph model, a file without layers: it is cut at a value inside and gets a head. Its weights stay ("frozen"), or
convolutions of its last block get changes of low rank that are trained with the head ("adapted").

    python -m examples.training.finetune
"""

from __future__ import annotations

from typing import Any

import hither as ht

from .sources import emoji, expressions

CLASSES, EPOCHS = 9, 8
CUT = "StatefulPartitionedCall/model_1/add_2/add"
WAYS: dict[str, dict[str, Any]] = {
    "frozen": {"freeze": True},
    "adapted": {"lora": {"*separable_conv2d_[34]/*_weights": 16, "*conv2d_4/Conv2D_weights": 16}},
}


def train(way: str = "adapted", device: str = "cpu", **options: Any) -> ht.train.History:
    """Train in one of the WAYS; a fifth of the pictures is held out."""
    folder, categories = emoji()
    train, test = ht.data.image_folder(
        folder, 64, channels=1, labels=lambda path: categories.get(path.name), validation_split=0.2, subset="both"
    )
    ht.nn.seed(0)
    L = ht.nn
    net = L.Sequential([
        L.Input((64, 64, 1)), L.Rescaling(1 / 127.5, -1), L.from_model(ht.load(expressions()), CUT, **WAYS[way]),
        L.GlobalAveragePooling2D(), L.BatchNormalization(), L.Dense(CLASSES),
    ])  # fmt: skip
    loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer = ht.Trainer(net, loss, ht.optim.Adam(1e-3), ["accuracy"], device=device)
    data = train.cache().shuffle().batch(32).prefetch(2)
    return trainer.fit(data, epochs=EPOCHS, validation_data=test.cache().batch(32), **options)


if __name__ == "__main__":
    train()
