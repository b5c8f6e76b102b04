"""What kind of file some bytes are: Magika, which looks at the first and the last kilobyte."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Page, Result, Source

ENDS = 1024  # bytes of either end that the network sees
BLOCK = 4096  # bytes of either end from which white space is stripped before
PADDING = 256

_MAGIKA = ("magika", "1.0.3")
_LINUX = "manylinux_2_28_x86_64"  # any platform's wheel holds the same model


def features(data: bytes) -> np.ndarray:
    """int32[1, 2048]: the first and the last bytes, stripped of white space, padded with 256."""
    head = data[:BLOCK].lstrip()[:ENDS]
    tail = data[-BLOCK:].rstrip()[-ENDS:]
    made = np.full((1, 2 * ENDS), PADDING, np.int32)
    made[0, : len(head)] = np.frombuffer(head, np.uint8)
    if tail:
        made[0, -len(tail) :] = np.frombuffer(tail, np.uint8)
    return made


def build(paths: Mapping[str, Path]) -> Model:
    """bytes: int32[B, 2048] → scores: float32[B, labels], label: the best one's number, confidence: its score."""
    labels = json.loads(paths["config"].read_text())["target_labels_space"]
    inner = load(paths["model"])
    (given,), (made,) = inner.inputs, inner.outputs

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        scores = inner({given: arrays["bytes"]})[made]
        return {"scores": scores, "label": ops.argmax(scores, axis=-1), "confidence": ops.max(scores, axis=-1)}

    outputs = {
        "scores": Spec((None, len(labels)), labels=labels),
        "label": Spec((None,), "int64"),
        "confidence": Spec((None,)),
    }
    return Model(network, {"bytes": Spec((None, 2 * ENDS), "int32")}, outputs, weights=inner.weights)


def answer(model: Model, source: Any) -> Result:
    """The kind of a file, or of bytes."""
    data = source if isinstance(source, bytes) else Path(os.fspath(source)).read_bytes()
    found = model({"bytes": features(data)})
    scores, labels = found["scores"].numpy()[0], model.outputs["scores"].labels
    assert labels is not None
    best = np.argsort(-scores)[:3]
    values = {"label": labels[best[0]], "confidence": float(scores[best[0]])}
    return Result(values, tuple(f"{labels[i]:<16} {100 * scores[i]:5.1f} %" for i in best))


CARDS = [
    Card(
        name="file-type",
        task="file type",
        summary="The type of a file from its content: 214 kinds of documents, code, archives, media.",
        takes="file",
        licence="Apache-2.0",
        sources={
            "model": Source(
                *_MAGIKA, "magika/models/standard_v3_3/model.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c", platform=_LINUX,
            ),
            "config": Source(
                *_MAGIKA, "magika/models/standard_v3_3/config.min.json",
                "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db", platform=_LINUX,
            ),
        },
        build=build,
        answer=answer,
        example=Example(
            Source(
                "scikit-image", "0.26.0", "skimage/data/rocket.jpg",
                "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", python="3.11", platform=_LINUX,
            ),
            lambda values: values["label"] == "jpeg" and values["confidence"] > 0.9,
        ),
        citation="Fratantonio et al.: Magika: AI-Powered Content-Type Detection (2024)",
        page=Page("file.js"),
    ),
]  # fmt: skip
