"""Objects of 80 everyday kinds: CenterNet on MobileNetV3.

Zhou et al.: Objects as Points, 2019. Kinds: Lin et al.: Microsoft COCO: Common Objects in Context, 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import ops
from ..formats import load
from ..model import BoundedOutput, Model
from ..spec import Spec
from .card import Card, Example, Result, human
from .drawing import Drawing
from .photos import COFFEE, COFFEE_CUP, overlap
from .pictures import Picture, image_spec, show_box
from .regions import Fit, relative

MOST = 100
SIZE = 512
OVERLAP = 0.5
SCORE = 0.3
LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant",
    "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
    "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork",
    "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
    "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip


def build(paths: Mapping[str, Path]) -> Model:
    """image → boxes [n, 4] as x1, y1, x2, y2, scores [n], label [n], best first.

    Boxes are in shares of the picture, a label is a number of LABELS.
    """
    inner = load(paths["model"])
    ((given, _),) = inner.inputs.items()

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        image = arrays["image"]
        fit = Fit(image.shape[1], image.shape[2], SIZE)
        found = inner({given: fit.apply(ops.astype(image, "float32"))})["tower_0/detections"][0]
        boxes, scores, kinds = found[:, :4], found[:, 4], found[:, 5]
        apart = ops.add(boxes, ops.multiply(kinds, 4.0 * SIZE)[:, None])  # boxes of different kinds do not overlap
        rows, count = ops.nms_bounded(apart[None], scores[None, None], MOST, OVERLAP, SCORE, bound=MOST)
        best = ops.astype(rows[:, 2], "int32")
        places = fit.back(ops.reshape(ops.multiply(ops.take(boxes, best, axis=0), 1 / SIZE), (MOST, 2, 2)))
        made = {
            "boxes": ops.reshape(relative(places, *image.shape[1:3]), (MOST, 4)),
            "scores": ops.take(scores, best, axis=0),
            "label": ops.astype(ops.take(kinds, best, axis=0), "int32"),
        }
        return {name: BoundedOutput(value, count, 0) for name, value in made.items()}

    outputs = {"boxes": Spec((None, 4)), "scores": Spec((None,)), "label": Spec((None,), "int32", labels=LABELS)}
    return Model(network, {"image": image_spec()}, outputs, weights=inner.weights)


def answer(model: Model, source: Any) -> Result:
    """The objects of a picture."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    boxes, labels = picture.boxes(found["boxes"]).clip(0, 1), [LABELS[k] for k in found["label"]]
    drawing = Drawing(picture.pixels)
    for box, label, score, kind in reversed(list(zip(boxes, labels, found["scores"], found["label"]))):  # the best on top
        drawing.box(box, f"{label} {100 * score:.0f} %", int(kind))
    lines = [f"{label:<14} {100 * s:3.0f} %  at {show_box(box)}" for label, s, box in zip(labels, found["scores"], boxes)]
    return Result({"boxes": boxes, "scores": found["scores"], "labels": labels}, tuple(lines or ["nothing"]), drawing.image)


def _one_cup(values: Mapping[str, Any]) -> bool:
    """Whether there is one cup, where the cup is."""
    cups = [box for box, label in zip(values["boxes"], values["labels"]) if label == "cup"]
    return len(cups) == 1 and overlap(cups[0], COFFEE_CUP) > 0.7


CARDS = [
    Card(
        name="object-detection",
        task="object detection",
        summary="Objects of 80 everyday kinds (COCO).",
        takes="image",
        licence="MIT (package); none stated upstream",
        sources=human(
            "model", "centernet", "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
            "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
        ),
        build=build,
        answer=answer,
        example=Example(COFFEE, _one_cup),
        citation="Zhou et al.: Objects as Points (2019)",
        aliases=("detection", "objects"),
    ),
]  # fmt: skip
