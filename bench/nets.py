"""The networks that are measured, each with one concrete shape and seeded inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.models import MODELS, Inputs

from . import topologies

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "bench"  # git-ignored


@dataclass(frozen=True)
class Net:
    """A network as an ONNX file. `packaged` names an entry of tests.models; `build` makes the file otherwise."""

    name: str
    about: str
    shapes: Inputs = field(default_factory=dict)  # where they differ from the packaged model's
    packaged: str | None = None
    build: Callable[[], Any] | None = None
    static: dict[str, int] = field(default_factory=dict)  # inputs whose value decides which network it is

    @property
    def inputs(self) -> Inputs:
        return self.shapes or MODELS[str(self.packaged)].inputs

    def path(self) -> Path:
        """The ONNX file, fetched or built on first use."""
        if self.packaged is not None:
            return MODELS[self.packaged].path()
        import onnx

        assert self.build is not None
        path = OUT / "nets" / f"{self.name}.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            onnx.save(self.build(), path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        return path

    def specs(self) -> dict[str, Any]:
        """What `hither.compile` and `hither.bundle` are told about the inputs."""
        from hither import Spec

        values = {n: np.full(self.inputs[n][0], v, self.inputs[n][1]) for n, v in self.static.items()}
        return {n: Spec(shape, dtype, value=values.get(n)) for n, (shape, dtype) in self.inputs.items()}

    def feeds(self) -> dict[str, np.ndarray]:
        """Inputs from a seeded generator, in the range that the network expects."""
        rng = np.random.default_rng(0)
        made = {}
        for name, (shape, dtype) in self.inputs.items():
            if name in (known := {**self.static, "attention_mask": 1}):
                made[name] = np.full(shape, known[name], dtype)
            elif np.dtype(dtype).kind == "f":
                made[name] = rng.uniform(0, 1, size=shape).astype(dtype)
            else:
                made[name] = rng.integers(0, 256, size=shape).astype(dtype)
        return made


_IDS = ((1, 64), "int64")

NETS: dict[str, Net] = {
    net.name: net
    for net in (
        Net(
            "mobilenetv2",
            "MobileNetV2-1.0 topology, 224²",
            {"image": ((1, 3, 224, 224), "float32")},
            build=topologies.mobilenet_v2,
        ),
        Net("ppocr-det", "PP-OCRv4 text detection, 320²", {"x": ((1, 3, 320, 320), "float32")}, "ppocr-det"),
        Net("ppocr-rec", "PP-OCRv4 text recognition, 48×320", {"x": ((1, 3, 48, 320), "float32")}, "ppocr-rec"),
        Net("magika", "file type from 2,048 bytes", packaged="magika"),
        Net("basic-pitch", "pitch, 2 s of sound", packaged="basic-pitch"),
        Net("ddddocr-det", "YOLOX text boxes, 416²", packaged="ddddocr-det"),
        Net("silero-vad", "voice activity, 32 ms of sound, LSTM", packaged="silero-vad", static={"sr": 16000}),
        Net(
            "minilm-l6",
            "MiniLM-L6 encoder topology, 64 tokens",
            {"input_ids": _IDS, "attention_mask": _IDS},
            build=lambda: topologies.bert_encoder(64),
        ),
        Net("wakeword-embedding", "openwakeword's speech embedding", packaged="wakeword-embedding"),
    )
}
