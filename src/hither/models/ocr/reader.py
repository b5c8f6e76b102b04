"""Reading a picture: find lines, cut each out, recognise it. `reader.js` does the same with the bundles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .boxes import Box, find_boxes
from .networks import CANVASES, LINE_HEIGHT, LINE_WIDTHS
from .picture import cut

LEAST_SCORE = 0.5  # of a line that is worth showing

# (shape of the canvas or width of the line) → a compiled network, called with arrays by name
Network = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One line of text, and where it stands in the picture."""

    text: str
    score: float
    box: Box


@dataclass
class Reading:
    """The lines of a picture in reading order, and the seconds that each stage took."""

    lines: list[Line] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def canvas_for(height: int, width: int) -> tuple[int, int]:
    """The smallest canvas that takes the picture without shrinking it; else the one that shrinks it least."""
    scales = {c: min(c[0] / height, c[1] / width) for c in CANVASES}
    return next((c for c in CANVASES if scales[c] >= 1), max(CANVASES, key=lambda c: scales[c]))


def on_canvas(picture: np.ndarray, canvas: tuple[int, int]) -> tuple[np.ndarray, float, tuple[int, int]]:
    """uint8 [*canvas, 3] with the picture in its top left corner, how much it is scaled, and its extents there."""
    height, width = picture.shape[:2]
    scale = min(canvas[0] / height, canvas[1] / width)
    inner = (max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5)))
    page = np.zeros((*canvas, 3), np.uint8)
    page[: inner[0], : inner[1]] = cut(picture, Box(width / 2, height / 2, width, height, 0), inner[1], inner[0])
    return page, scale, inner


def read(
    picture: np.ndarray,
    detector: Callable[[tuple[int, int]], Network],
    recogniser: Callable[[int], Network],
    characters: Sequence[str],
) -> Reading:
    """The text of a picture, uint8 [H, W, 3].

    Args:
        detector: canvas → the network of `networks.detect` for it.
        recogniser: width → the network of `networks.recognise` for it.
        characters: what its classes stand for.
    """
    result = Reading(seconds={"prepare": 0.0, "detect": 0.0, "boxes": 0.0, "recognise": 0.0})
    clock = _Clock(result.seconds)
    canvas = canvas_for(*picture.shape[:2])
    page, scale, inner = on_canvas(picture, canvas)
    clock("prepare")
    found = detector(canvas)({"picture": page})
    text = np.asarray(found["text"])
    clock("detect")
    boxes = [box.scaled(1 / scale) for box in find_boxes(text[: inner[0], : inner[1]])]
    clock("boxes")
    for box in boxes:
        columns = min(LINE_WIDTHS[-1], max(LINE_HEIGHT // 3, math.ceil(LINE_HEIGHT * box.width / box.height)))
        size = next(w for w in LINE_WIDTHS if w >= columns)
        line = np.zeros((LINE_HEIGHT, size, 3), np.uint8)
        line[:, :columns] = cut(picture, box, columns, LINE_HEIGHT)
        clock("prepare")
        found = recogniser(size)({"line": line, "columns": np.int32(columns)})
        clock("recognise")
        spelled = spell(np.asarray(found["classes"]), np.asarray(found["scores"]), characters)
        if spelled[0] and spelled[1] >= LEAST_SCORE:
            result.lines.append(Line(*spelled, box))
    return result


def spell(classes: np.ndarray, scores: np.ndarray, characters: Sequence[str]) -> tuple[str, float]:
    """A recogniser's answer as text and its mean score over the characters."""
    begins = classes != 0
    if not begins.any():
        return "", 0.0
    return "".join(characters[c] for c in classes[begins]).strip(), float(scores[begins].mean())


class _Clock:
    """Adds the time since it was last asked to the stage that it is told."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.last = seconds, time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self.last
        self.last = now
