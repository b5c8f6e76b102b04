"""Where somebody speaks: Silero's voice activity detector, 32 ms at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import media
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Page, Result, Source

RATE = 16000
FRAME = 512  # new samples per step
CONTEXT = 64  # samples of the step before that it sees again
THRESHOLD = 0.5
LEAST_SILENCE = 0.1  # seconds; shorter pauses do not end a span


def build(paths: Mapping[str, Path]) -> Model:
    """samples: float32[B, 576] (64 of the frame before, 512 new), state: float32[2, B, 128] → speech: float32[B, 1], state."""
    inner = load(paths["model"])

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        given = {"input": arrays["samples"], "state": arrays["state"], "sr": np.array(RATE, np.int64)}
        made = inner({name: given[name] for name in inner.inputs})
        speech, state = made.values()
        return {"speech": speech, "next_state": state}

    inputs = {
        "samples": Spec((None, CONTEXT + FRAME), media="audio", layout="NT"),
        "state": Spec((2, None, 128)),
    }
    outputs = {"speech": Spec((None, 1)), "next_state": Spec((2, None, 128))}
    return Model(network, inputs, outputs, weights=inner.weights)


def probabilities(model: Model, samples: np.ndarray) -> Iterator[float]:
    """The probability of speech in each frame of 512 samples at 16 kHz."""
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    for start in range(0, len(samples), FRAME):
        frame = np.zeros(FRAME, np.float32)
        frame[: len(samples) - start] = samples[start : start + FRAME]
        found = model({"samples": np.concatenate([before, frame])[None], "state": state})
        state, before = found["next_state"].numpy(), frame[-CONTEXT:]
        yield float(found["speech"].numpy()[0, 0])


def spans(speech: np.ndarray) -> list[tuple[float, float]]:
    """(start, end) in seconds of where frames are speech, pauses shorter than LEAST_SILENCE included."""
    found: list[tuple[float, float]] = []
    for i in np.flatnonzero(speech >= THRESHOLD):
        start, end = i * FRAME / RATE, (i + 1) * FRAME / RATE
        if found and start - found[-1][1] < LEAST_SILENCE:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def answer(model: Model, source: Any) -> Result:
    """Where speech is in a sound file, or in samples at 16 kHz."""
    samples = source if isinstance(source, np.ndarray) else media.read_sound(source, RATE)[0]
    speech = np.array(list(probabilities(model, samples)), np.float32)
    found = spans(speech)
    share = sum(end - start for start, end in found) / max(len(samples) / RATE, 1e-9)
    lines = [f"{start:7.2f} s to {end:.2f} s" for start, end in found] or ["no speech"]
    return Result({"spans": found, "speech": speech, "share": share}, tuple(lines))


CARDS = [
    Card(
        name="voice-activity",
        task="voice activity",
        summary="Whether somebody speaks, every 32 ms.",
        takes="audio",
        licence="MIT",
        sources={
            "model": Source(
                "silero-vad", "6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx",
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            )
        },
        build=build,
        answer=answer,
        example=Example(
            Source(
                "alsa-utils", "1.2.8-1", "usr/share/sounds/alsa/Front_Center.wav",
                "0d61518bcd3f13b0c709a5298e939caf698b80d31d71d50475365ee0e5536cc9", "debian",
            ),
            lambda values: len(values["spans"]) >= 1 and 0.3 < values["share"] < 0.95,
        ),
        citation="Silero Team: Silero VAD (2021)",
        aliases=("vad",),
        page=Page("voice.js"),
    ),
]  # fmt: skip
