"""Converted nets: published for TensorFlow.js or TensorFlow Lite, measured against those engines on the very files.

hither reads the TF.js model where there is one, the TFLite file otherwise; TF.js reads its model.json, LiteRT.js the .tflite
file of the same network. What all must agree with is hither's NumPy evaluation; against TF.js and LiteRT themselves the
networks are held in `make models`.

out/bench/site/NET/  bundle/  arrays.json + arrays.bin  model.json + shards  model.tflite
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests import models_tfjs, models_tflite

from . import site

ENGINES = (("hither", "hither"), ("tfjs", "tfjs_model"), ("LiteRT.js", "litert_model"))


@dataclass(frozen=True)
class Converted:
    """A network by its entries in tests.models_tfjs and tests.models_tflite, whose outputs have equal names but for ":0"."""

    name: str
    about: str
    tfjs: str | None = None
    tflite: str | None = None

    def load(self, device: str | None = None) -> Any:
        """The Model that hither makes of the file."""
        import hither as ht
        from hither.formats.tflite import load_bytes

        if self.tfjs is not None:
            return ht.load(models_tfjs.MODELS[self.tfjs].path(), device=device)
        return load_bytes(models_tflite.MODELS[str(self.tflite)].content(), device=device)

    def specs(self) -> dict[str, Any]:
        """One concrete shape."""
        import hither as ht

        inputs = self.load().inputs
        return {n: ht.Spec(tuple(e if isinstance(e, int) else 1 for e in s.shape), s.dtype) for n, s in inputs.items()}

    def feeds(self) -> dict[str, np.ndarray]:
        """A picture of seeded noise, 0 … 1 or 0 … 255."""
        rng = np.random.default_rng(0)
        return {
            n: (rng.random(s.shape) if s.dtype.kind == "f" else rng.integers(0, 256, s.shape)).astype(s.dtype.numpy)
            for n, s in self.specs().items()
        }


CONVERTED: dict[str, Converted] = {
    net.name: net
    for net in (
        Converted("movenet-lightning", "MoveNet Lightning, poses, 192²: TF.js", tfjs="movenet-lightning"),
        Converted("blazeface-front", "BlazeFace, faces, 128²: TF.js", tfjs="blazeface-front"),
        Converted("face-short", "MediaPipe's short-range face detector, 128²: TFLite", tflite="face-short"),
        Converted("hand-landmark-lite", "MediaPipe's hand landmarks, 224²: TF.js and TFLite", "handlandmark-lite", "hand-lite"),
    )
}


def prepare(net: Converted) -> dict[str, Any]:
    """Write the net's folder. Returns how long bundling took and how big it is."""
    import hither as ht

    folder = site.SITE / net.name
    folder.mkdir(parents=True, exist_ok=True)
    feeds = net.feeds()
    site.pack(folder, feeds, {k: a.numpy() for k, a in net.load("numpy")(feeds).items()})
    if net.tfjs is not None:
        source = models_tfjs.MODELS[net.tfjs].path()
        shutil.copyfile(source, folder / "model.json")
        for shard in models_tfjs.MODELS[net.tfjs].shards:
            shutil.copyfile(source.with_name(Path(shard).name), folder / Path(shard).name)
    if net.tflite is not None:
        (folder / "model.tflite").write_bytes(models_tflite.MODELS[net.tflite].content())
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    start = time.perf_counter()
    manifest = ht.bundle(net.load(), folder / "bundle", net.specs(), targets=("wasm",))
    return {"bundle_s": time.perf_counter() - start, **site.weigh(folder / "bundle", manifest)}
