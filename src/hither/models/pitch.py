"""The notes of a piece of music: Spotify's Basic Pitch, for any instrument and several notes at once.

Bittner et al.: A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription and Multipitch Estimation (2022). The
network says for each of 88 pitches and 86 times a second whether it sounds and whether it begins; `notes` makes notes of
that, as section 2.3 has it. `pitch.js` is the same in JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import media, ops
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Page, Result, Source

RATE = 22050
HOP = 256  # samples between frames
WINDOW = 43844  # samples that the network sees at once, 172 frames
MARGIN = 15  # frames at either end of a window that the neighbouring window knows better
STEP = WINDOW - 2 * MARGIN * HOP
PITCHES, LOWEST = 88, 21  # the keys of a piano, from A0 on, as MIDI numbers them

ONSET = 0.5  # how likely a note must begin
SOUNDING = 0.3  # and go on
LEAST_FRAMES = 11  # of a note, 128 ms
GAP_FRAMES = 11  # of silence that end one

NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


@dataclass(frozen=True)
class Note:
    """A note: seconds, MIDI number (60 is the middle C) and how sure the network is on average."""

    start: float
    end: float
    pitch: int
    strength: float

    @property
    def name(self) -> str:
        """Such as "A4"."""
        return f"{NAMES[self.pitch % 12]}{self.pitch // 12 - 1}"


def build(paths: Mapping[str, Path]) -> Model:
    """samples: float32[B, 43844] at 22050 Hz → notes, onsets: float32[B, 172, 88], contours: float32[B, 172, 264]."""
    inner = load(paths["model"])
    (given,) = inner.inputs

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        made = inner({given: ops.expand_dims(arrays["samples"], axis=-1)})
        return {ours: made[theirs] for ours, theirs in _OUTPUTS.items()}

    inputs = {"samples": Spec((None, WINDOW), media="audio", layout="NT")}
    outputs = {name: Spec((None, None, PITCHES * (3 if name == "contours" else 1))) for name in _OUTPUTS}
    return Model(network, inputs, outputs, weights=inner.weights)


_OUTPUTS = {
    "notes": "StatefulPartitionedCall:1", "onsets": "StatefulPartitionedCall:2", "contours": "StatefulPartitionedCall:0",
}  # fmt: skip


def windows(samples: np.ndarray) -> Iterator[np.ndarray]:
    """float32[1, 43844] pieces that overlap by twice the margin, the first from a margin before the start on."""
    padded = np.concatenate([np.zeros(MARGIN * HOP, np.float32), samples, np.zeros(WINDOW, np.float32)])
    for start in range(0, len(samples), STEP):
        yield padded[None, start : start + WINDOW]


def activations(model: Model, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(notes, onsets) float32[frames, 88] of samples at 22050 Hz, and the seconds at which each frame begins."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    seconds: list[np.ndarray] = []
    for i, window in enumerate(windows(samples)):
        made = model({"samples": window})
        kept = slice(MARGIN, made["notes"].shape[1] - MARGIN)
        found.append((made["notes"].numpy()[0, kept], made["onsets"].numpy()[0, kept]))
        seconds.append((i * STEP + HOP * np.arange(len(found[-1][0]))) / RATE)
    if not found:
        return np.zeros((0, PITCHES), np.float32), np.zeros((0, PITCHES), np.float32), np.zeros(0)
    times = np.concatenate(seconds)
    inside = times < len(samples) / RATE
    sounding, onsets = (np.concatenate(each)[inside] for each in zip(*found))
    return sounding, onsets, times[inside]


def notes(sounding: np.ndarray, onsets: np.ndarray, times: np.ndarray) -> list[Note]:
    """The notes of what the network says, by start and pitch.

    Args:
        sounding, onsets: float32[frames, 88].
        times: float[frames], seconds.
    """
    frames = len(sounding)
    if frames < 3:
        return []
    onsets = with_rises(sounding, onsets)
    left = sounding.copy()  # what no note has explained yet
    found: list[Note] = []

    def take(start: int, stop: int, pitch: int) -> None:
        strength = float(sounding[start:stop, pitch].mean())
        found.append(Note(float(times[start]), float(times[min(stop, frames - 1)]), pitch + LOWEST, strength))

    def clear(rows: slice, pitch: int) -> None:
        left[rows, max(pitch - 1, 0) : pitch + 2] = 0  # neighbours sound along

    inner = onsets[1:-1]
    peaks = (inner > onsets[:-2]) & (inner > onsets[2:]) & (inner >= ONSET)
    # Backwards in time: a note ends where a later one of the same pitch has begun.
    for start, pitch in (np.argwhere(peaks) + np.array([1, 0]))[::-1]:
        stop = start + 1 + _lasts(left[start + 1 :, pitch])
        if stop - start > LEAST_FRAMES:
            take(start, stop, pitch)
            clear(slice(start, stop), pitch)
    # What still sounds without an onset, loudest first, both ways from there.
    while True:
        middle, pitch = divmod(int(left.argmax()), PITCHES)
        if left[middle, pitch] <= SOUNDING:
            break
        start = middle - _lasts(left[:middle, pitch][::-1])
        stop = middle + 1 + _lasts(left[middle + 1 :, pitch])
        clear(slice(start, stop), pitch)
        if stop - start > LEAST_FRAMES:
            take(start, stop, pitch)
    return sorted(found, key=lambda n: (n.start, n.pitch))


def _lasts(levels: np.ndarray) -> int:
    """How many frames pass until it is silent for long."""
    quiet = 0
    for i, level in enumerate(levels):
        quiet = quiet + 1 if level < SOUNDING else 0
        if quiet == GAP_FRAMES:
            return i + 1 - quiet
    return len(levels) - quiet


def with_rises(sounding: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """Onsets, and where a pitch gets much louder within two frames, scaled to the same maximum."""
    rise = np.zeros_like(sounding)
    rise[2:] = np.minimum(sounding[2:] - sounding[1:-1], sounding[2:] - sounding[:-2]).clip(0)
    most = rise.max()
    return np.maximum(onsets, rise * (onsets.max() / most)) if most > 0 else onsets


def answer(model: Model, source: Any) -> Result:
    """The notes in a sound file, or in samples at 22050 Hz."""
    samples = source if isinstance(source, np.ndarray) else media.read_sound(source, RATE)[0]
    found = notes(*activations(model, samples))
    lines = tuple(f"{n.start:7.2f} s to {n.end:5.2f} s  {n.name:<4}{100 * n.strength:4.0f} %" for n in found)
    return Result({"notes": found}, lines or ("no notes",))


CARDS = [
    Card(
        name="pitch",
        task="music transcription",
        summary="The notes of a piece of music, several at once, of any instrument.",
        takes="audio",
        licence="Apache-2.0",
        sources={
            "model": Source(
                "basic-pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx",
                "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
            )
        },
        build=build,
        answer=answer,
        # A guitar plays E minor with the seventh and the ninth, string by string.
        example=Example(
            Source(
                "sonic-pi-samples", "3.2.2~repack-8", "usr/share/sonic-pi/samples/guit_em9.flac",
                "e6dbbdc5aef03fada9cbd84d9ef000472c6954db9badcf5721969c515d46c2f1", "debian",
            ),
            lambda values: {n.pitch % 12 for n in values["notes"] if n.strength > 0.4} == {4, 7, 11, 2, 6},
        ),
        citation="Bittner et al.: A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription (2022)",
        aliases=("transcription", "basic-pitch"),
        page=Page("pitch.js"),
    ),
]  # fmt: skip
