"""Sound in the catalogue: notes of tones that are known, wake words against ONNX Runtime and as espeak-ng says them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hither import media, models
from hither.models import pitch, wakeword


def tone(key: int, start: float, end: float, seconds: float) -> np.ndarray:
    """A decaying tone with three overtones, as a plucked string has them."""
    t = np.arange(round(seconds * pitch.RATE)) / pitch.RATE
    wave = sum(0.3 / h * np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * h * t) for h in (1, 2, 3, 4))
    return np.where((t >= start) & (t < end), wave * np.exp(-1.5 * (t - start)), 0).astype(np.float32)


def test_notes_are_made_of_what_sounds_and_begins() -> None:
    """An onset cuts a pitch in two; short and quiet ones are no notes; what has no onset is found all the same."""
    sounding, onsets = np.zeros((2, 200, 88), np.float32)
    sounding[20:80, 39] = 0.8  # middle C, struck again at 50
    onsets[[20, 50], 39] = 0.9
    sounding[100:108, 50] = 0.9  # too short
    onsets[100, 50] = 0.9
    sounding[120:160, 60] = 0.6  # no onset: by its energy
    sounding[120:160, 62] = 0.2  # too quiet
    found = pitch.notes(sounding, onsets, np.arange(200.0))
    assert [(n.name, n.start, n.end) for n in found] == [("C4", 20, 50), ("C4", 50, 80), ("A5", 120, 160)]
    assert [n.strength for n in found] == pytest.approx([0.8, 0.8, 0.6])


def test_windows_join_without_a_gap() -> None:
    samples = np.arange(100_000, dtype=np.float32) + 1
    margin = pitch.MARGIN * pitch.HOP
    kept = np.concatenate([w[0, margin : margin + pitch.STEP] for w in pitch.windows(samples)])
    np.testing.assert_array_equal(kept[: len(samples)], samples)


@pytest.mark.models
def test_pitch_hears_the_tones_that_were_played() -> None:
    """Across the seams of windows, too: the sound is longer than two of them."""
    played = [(57, 0.5, 1.4), (60, 1.6, 2.5), (64, 1.6, 2.5), (69, 3.0, 4.0)]
    samples = np.sum([tone(key, start, end, 4.5) for key, start, end in played], axis=0)
    found = models.run("pitch", samples).values["notes"]
    loud = [n for n in found if n.strength > 0.6]
    assert sorted(n.pitch for n in loud) == sorted(key for key, _, _ in played)
    for key, start, end in played:
        (note,) = [n for n in loud if n.pitch == key]
        assert note.start == pytest.approx(start, abs=0.05) and note.end == pytest.approx(end, abs=0.12)


def reference_scores(samples: np.ndarray) -> list[float]:
    """openWakeWord's own order of work with ONNX Runtime: 480 samples again, 8 spectra more, one embedding more per step."""
    import onnxruntime as ort

    sources = models.card("wake-word").sources
    spectra, embedding, word = (
        ort.InferenceSession(sources[r].path(), providers=["CPUExecutionProvider"]) for r in ("spectra", "embedding", "word")
    )

    def run(session: ort.InferenceSession, x: np.ndarray) -> np.ndarray:
        return session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0]

    heard = np.concatenate([np.zeros(16000 * 3, np.float32), samples])
    window = run(spectra, heard[None, : 16000 * 3] * 0).reshape(-1, 32)[-76:] / 10 + 2
    past = [run(embedding, window[None, ..., None]).reshape(96)] * 16
    found = []
    for end in range(16000 * 3 + 1280, len(heard) + 1, 1280):
        fresh = run(spectra, heard[None, end - 1280 - 480 : end] * 32767).reshape(-1, 32) / 10 + 2
        window = np.concatenate([window, fresh])[-76:]
        past = [*past[1:], run(embedding, window[None, ..., None]).reshape(96)]
        found.append(float(run(word, np.array(past)[None]).ravel()[0]))
    return found


@pytest.mark.models
def test_wake_word_scores_are_those_of_onnxruntime() -> None:
    card = models.card("wake-word")
    samples = media.read_sound(card.example.path(), wakeword.RATE)[0]
    samples = samples[: len(samples) // 1280 * 1280].astype(np.float32)
    model = models.load("wake-word")
    first, again = (list(wakeword.scores(model, samples)) for _ in range(2))
    np.testing.assert_allclose(first, reference_scores(samples), atol=1e-4)
    assert first == again  # what was heard before is forgotten


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "word", "other"), [("wake-word", "alexa", "hey jarvis"), ("wake-word-jarvis", "hey jarvis", "alexa")]
)
def test_wake_words_are_heard_and_others_are_not(say: Callable[..., np.ndarray], name: str, word: str, other: str) -> None:
    model, card = models.load(name), models.card(name)
    pause = np.zeros(wakeword.RATE, np.float32)
    said = np.concatenate([pause, say(word, "-v", "en-us"), pause, pause, say(word, "-v", "en-us"), pause])
    assert len(card.answer(model, said).values["times"]) == 2
    for text in (other, "what is the time", "turn off the light"):
        answer = card.answer(model, say(text, "-v", "en-us"))
        assert answer.values["times"] == [] and answer.values["score"] < 0.1, text
