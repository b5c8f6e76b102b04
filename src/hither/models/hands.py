"""Hands: palms are found, a turned square around each is cut out, and 21 points of the hand are found in it.

Zhang et al.: MediaPipe Hands: On-device Real-time Hand Tracking, 2020.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import ops
from ..formats import load
from ..model import Model
from ..spec import Spec
from .anchors import Detector, grid
from .card import Card, Example, Result, Source
from .drawing import Drawing
from .photos import LEANING, LEANING_HANDS, matches
from .pictures import Picture, image_spec, show_box
from .regions import Region, bounds, relative, unit
from .stages import each

MOST = 8
POINTS = (
    "wrist", "thumb cmc", "thumb mcp", "thumb ip", "thumb tip", "index mcp", "index pip", "index dip", "index tip",
    "middle mcp", "middle pip", "middle dip", "middle tip", "ring mcp", "ring pip", "ring dip", "ring tip",
    "little mcp", "little pip", "little dip", "little tip",
)  # fmt: skip
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
PALM = ((0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17))

SIDE, SHIFT = 2.6, -0.5  # of the square that the hand is found in, over the palm's box
SCORE = 0.5


def build(paths: Mapping[str, Path]) -> Model:
    """image → landmarks [n, 21, 3], boxes [n, 4] around them, scores [n], label [n]: 1 for right hands.

    All places are shares of the picture; depth is relative to the wrist, in widths of the picture.
    """
    palms = Detector(load(paths["palms"], member="model at 11"), grid(192, [(8, 2), (16, 6)]), 0.0, 0.5, MOST)
    hand = load(paths["hand"])
    outputs = {
        "landmarks": Spec((None, 21, 3)), "boxes": Spec((None, 4)), "scores": Spec((None,)),
        "label": Spec((None,), "int32", labels=("left hand", "right hand")),
    }  # fmt: skip

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        picture = unit(arrays["image"])
        size = picture.shape[1:3]
        found = palms(picture)
        wrist, middle = found.points[:, 0], found.points[:, 2]
        regions = Region.around(found.boxes, wrist, middle, math.pi / 2, scale=SIDE, shift=SHIFT)

        def one(i: Any) -> tuple[Any, dict[str, Any]]:
            region = regions.at(i)
            points, presence, right, _ = hand(input_1=region.crop(picture, 224)).values()
            places = ops.reshape(ops.multiply(points, 1 / 224), (1, 21, 3))
            placed = relative(region.back(places), *size)
            score = ops.reshape(presence, (1,))
            side = ops.astype(ops.reshape(ops.greater(right, 0.5), (1,)), "int32")
            return score, {"landmarks": placed, "boxes": bounds(placed), "scores": score, "label": side}

        return each(one, found.count, MOST, outputs, SCORE)

    return Model(network, {"image": image_spec()}, outputs, weights={**palms.network.weights, **hand.weights})


def answer(model: Model, source: Any) -> Result:
    """The hands of a picture."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    landmarks, boxes = picture.back(found["landmarks"]), picture.boxes(found["boxes"])
    sides = ["right" if right else "left" for right in found["label"]]
    drawing, lines = Drawing(picture.pixels), []
    for points, box, side, score in zip(landmarks, boxes, sides, found["scores"]):
        drawing.lines(points, PALM, 3)
        for colour, finger in enumerate(FINGERS):
            drawing.lines(points, itertools.pairwise(finger), (0, 1, 2, 4, 5)[colour])
        drawing.points(points, 3, 0.7)
        drawing.caption(box, f"{side} hand {100 * score:.0f} %", 3)
        lines.append(f"{side} hand {100 * score:.0f} %  at {show_box(box)}")
    values = {"landmarks": landmarks, "boxes": boxes, "scores": found["scores"], "sides": sides}
    return Result(values, tuple(lines or ["no hand"]), drawing.image)


CARDS = [
    Card(
        name="hand-landmark",
        task="hand landmarks",
        summary="21 points of every hand, and whether it is a right or a left one.",
        takes="image",
        licence="Apache-2.0",
        sources={
            "palms": Source(
                "@mediapipe/hands", "0.4.1675469240", "hands_solution_packed_assets.data",
                "bdce7b66bfc5b39ba86a47775c98e0b186fe73f8308c2279f852af4c89ffdf42", "npm",
            ),
            "hand": Source(
                "@mediapipe/hands", "0.4.1675469240", "hand_landmark_full.tflite",
                "8c026882c9ec059ce0f8e75266bee5a9a23c341a40e0000df755374d3d1b9b68", "npm",
            ),
        },
        build=build,
        answer=answer,
        # The hand at the chin is a right one, the two on knees are left ones.
        example=Example(
            LEANING,
            lambda values: matches(values["boxes"], LEANING_HANDS) and sorted(values["sides"]) == ["left", "left", "right"],
        ),
        citation="Zhang et al.: MediaPipe Hands: On-device Real-time Hand Tracking (2020)",
        aliases=("hand", "hands"),
        links=PALM + tuple(pair for finger in FINGERS for pair in itertools.pairwise(finger)),
    ),
]  # fmt: skip
