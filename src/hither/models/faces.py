"""Faces: where they are, 468 points of each, and how they look. MediaPipe's detector comes first in all three.

Bazarevsky et al.: BlazeFace, 2019. Kartynnik et al.: Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs,
2019. Arriaga et al.: Real-time Convolutional Neural Networks for Emotion and Gender Classification, 2017.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..formats import load
from ..model import BoundedOutput, Model
from ..spec import Spec
from .anchors import Detector, grid
from .card import Card, Example, Result, Source, human
from .drawing import Drawing
from .photos import SOFA, SOFA_FACES, STAIRS, STAIRS_FACES, matches
from .pictures import Picture, image_spec, show_box
from .regions import Region, bounds, relative, unit
from .stages import each

MOST = 16
POINTS = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")  # the person's own right and left
EXPRESSIONS = ("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral")

MESH_SIDE = 1.5  # of the square that the mesh is found in, over the face's box
FACE_SIDE = 1.25  # of the one that the expression is read from
MESH_SCORE = 0.5


def _loop(*points: int) -> tuple[tuple[int, int], ...]:
    return tuple(itertools.pairwise((*points, points[0])))


def _open(*points: int) -> tuple[tuple[int, int], ...]:
    return tuple(itertools.pairwise(points))


# Contours of the mesh, by the numbers that the points of MediaPipe's canonical face have.
CONTOURS = (
    _loop(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
          172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
    + _loop(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
    + _loop(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
    + _loop(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
    + _loop(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
    + _open(46, 53, 52, 65, 55) + _open(276, 283, 282, 295, 285) + _open(168, 6, 197, 195, 5, 4)
)  # fmt: skip


def detector(path: Path) -> Detector:
    """MediaPipe's full-range face detector: faces up to five metres away."""
    return Detector(load(path), grid(192, [(4, 1)]), -1.0, 0.6, MOST)


def build_detection(paths: Mapping[str, Path]) -> Model:
    """image → boxes [n, 4] as x1, y1, x2, y2; landmarks [n, 6, 2]; scores [n]: places as shares of the picture, best first."""
    find = detector(paths["detector"])

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        image = arrays["image"]
        size = image.shape[1:3]
        found = find(unit(image))
        boxes = ops.reshape(relative(ops.reshape(found.boxes, (MOST, 2, 2)), *size), (MOST, 4))
        made = {"boxes": boxes, "landmarks": relative(found.points, *size), "scores": found.scores}
        return {name: BoundedOutput(value, found.count, 0) for name, value in made.items()}

    outputs = {"boxes": Spec((None, 4)), "landmarks": Spec((None, 6, 2)), "scores": Spec((None,))}
    return Model(network, {"image": image_spec()}, outputs, weights=find.network.weights)


def build_mesh(paths: Mapping[str, Path]) -> Model:
    """image → landmarks [n, 468, 3] (x, y and depth as shares of the picture), boxes [n, 4] around them, scores [n]."""
    find, mesh = detector(paths["detector"]), load(paths["mesh"])
    outputs = {"landmarks": Spec((None, 468, 3)), "boxes": Spec((None, 4)), "scores": Spec((None,))}

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        picture = unit(arrays["image"])
        size = picture.shape[1:3]
        found = find(picture)
        regions = Region.around(found.boxes, found.points[:, 0], found.points[:, 1], 0.0, scale=MESH_SIDE)

        def one(i: Any) -> tuple[Any, dict[str, Any]]:
            region = regions.at(i)
            made = mesh(input_1=region.crop(picture, 192))
            points = ops.reshape(ops.multiply(made["output_mesh"], 1 / 192), (1, 468, 3))
            placed = relative(region.back(points), *size)
            score = ops.reshape(made["output_faceflag"], (1,))
            return score, {"landmarks": placed, "boxes": bounds(placed), "scores": score}

        return each(one, found.count, MOST, outputs, MESH_SCORE)

    return Model(network, {"image": image_spec()}, outputs, weights={**find.network.weights, **mesh.weights})


def build_expression(paths: Mapping[str, Path]) -> Model:
    """image → boxes [n, 4] of faces, scores [n, 7] of what they express."""
    find, read = detector(paths["detector"]), load(paths["expression"])
    (given,), (made,) = read.inputs, read.outputs
    outputs = {"boxes": Spec((None, 4)), "scores": Spec((None, 7), labels=EXPRESSIONS)}
    grey = np.array([0.299, 0.587, 0.114], np.float32)

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        picture = unit(arrays["image"])
        found = find(picture)
        regions = Region.around(found.boxes, found.points[:, 0], found.points[:, 1], 0.0, scale=FACE_SIDE)
        boxes = ops.reshape(relative(ops.reshape(found.boxes, (MOST, 2, 2)), *picture.shape[1:3]), (MOST, 4))

        def one(i: Any) -> tuple[Any, dict[str, Any]]:
            face = ops.sum(ops.multiply(regions.at(i).crop(picture, 64, samples=2), grey), axis=-1, keepdims=True)
            scores = read({given: ops.multiply(ops.subtract(face, 0.5), 2.0)})[made]
            return None, {"boxes": ops.take(boxes, ops.reshape(i, (1,)), axis=0), "scores": scores}

        return each(one, found.count, MOST, outputs)

    return Model(network, {"image": image_spec()}, outputs, weights={**find.network.weights, **read.weights})


def answer_detection(model: Model, source: Any) -> Result:
    """The faces of a picture."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    values = {"boxes": picture.boxes(found["boxes"]), "landmarks": picture.back(found["landmarks"]), "scores": found["scores"]}
    drawing = Drawing(picture.pixels)
    for i, (box, points, score) in enumerate(zip(values["boxes"], values["landmarks"], values["scores"])):
        drawing.box(box, f"{100 * score:.0f} %", i)
        drawing.points(points, i)
    lines = [f"face {100 * s:3.0f} %  at {show_box(b)}" for b, s in zip(values["boxes"], values["scores"])]
    return Result(values, tuple(lines or ["no face"]), drawing.image)


def answer_mesh(model: Model, source: Any) -> Result:
    """The points of the faces of a picture."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    values = {"landmarks": picture.back(found["landmarks"]), "boxes": picture.boxes(found["boxes"]), "scores": found["scores"]}
    drawing = Drawing(picture.pixels)
    for i, points in enumerate(values["landmarks"]):
        drawing.points(points, i, 0.3)
        drawing.lines(points, CONTOURS, i, 0.5)
    lines = [f"face {100 * s:3.0f} %  at {show_box(b)}, 468 points" for b, s in zip(values["boxes"], values["scores"])]
    return Result(values, tuple(lines or ["no face"]), drawing.image)


def answer_expression(model: Model, source: Any) -> Result:
    """What the faces of a picture express."""
    picture = Picture.of(model, source)
    found = {name: value.numpy() for name, value in model(picture.frame).items()}
    boxes, scores = picture.boxes(found["boxes"]), found["scores"]
    best = [EXPRESSIONS[int(i)] for i in scores.argmax(-1)]
    drawing, lines = Drawing(picture.pixels), []
    for i, (box, score, label) in enumerate(zip(boxes, scores, best)):
        drawing.box(box, f"{label} {100 * score.max():.0f} %", i)
        second = int(np.argsort(-score)[1])
        lines.append(
            f"{label:<10} {100 * score.max():3.0f} %, {EXPRESSIONS[second]} {100 * score[second]:.0f} %  at {show_box(box)}"
        )
    return Result({"boxes": boxes, "scores": scores, "labels": best}, tuple(lines or ["no face"]), drawing.image)


def _mouths_below_eyes(faces: np.ndarray) -> bool:
    """Whether in all faces of people who sit upright the lips (13, 14) are below the eyes (159, 386) and between them."""
    eyes, mouth = (faces[:, [a, b], :2].mean(1) for a, b in ((159, 386), (13, 14)))
    between = (faces[:, 159, 0] < mouth[:, 0]) & (mouth[:, 0] < faces[:, 386, 0])
    return bool(np.all(mouth[:, 1] > eyes[:, 1] + 0.05) and np.all(between))


def _rightmost(values: Mapping[str, Any]) -> str:
    """What the face furthest right in the picture expresses."""
    return str(values["labels"][int(values["boxes"][:, 0].argmax())])


_DETECTOR = Source(
    "@mediapipe/face_detection", "0.4.1657300184", "face_detection_full_range.tflite",
    "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3", "npm",
)  # fmt: skip

CARDS = [
    Card(
        name="face-detection",
        task="face detection",
        summary="Where faces are, up to 16 of them, with eyes, nose, mouth and ears.",
        takes="image",
        licence="Apache-2.0",
        sources={"detector": _DETECTOR},
        build=build_detection,
        answer=answer_detection,
        example=Example(STAIRS, lambda values: matches(values["boxes"], STAIRS_FACES)),
        citation="Bazarevsky et al.: BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs (2019)",
        aliases=("face",),
    ),
    Card(
        name="face-mesh",
        task="face landmarks",
        summary="468 points of every face, with depth.",
        takes="image",
        licence="Apache-2.0 (MediaPipe), converted in an MIT package",
        sources={
            "detector": _DETECTOR,
            **human("mesh", "facemesh", "b60ca26f404724f43bd2b1575761d8265180e1f053cc0731caa68462927309e7",
                    "3826da640b0a3021161605369ee6af293f75d518040355b960ec71a3390c1c0b"),
        },
        build=build_mesh,
        answer=answer_mesh,
        example=Example(SOFA, lambda values: matches(values["boxes"], SOFA_FACES) and _mouths_below_eyes(values["landmarks"])),
        citation="Kartynnik et al.: Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs (2019)",
        aliases=("mesh", "face-landmark"),
        links=CONTOURS,
    ),
    Card(
        name="facial-expression",
        task="facial expression",
        summary="What every face expresses: anger, disgust, fear, happiness, sadness, surprise or nothing of these.",
        takes="image",
        licence="MIT (package and upstream project); faces are found by an Apache-2.0 model",
        sources={
            "detector": _DETECTOR,
            **human("expression", "emotion", "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2",
                    "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987"),
        },
        build=build_expression,
        answer=answer_expression,
        example=Example(SOFA, lambda values: matches(values["boxes"], SOFA_FACES) and _rightmost(values) == "happy"),
        citation="Arriaga et al.: Real-time Convolutional Neural Networks for Emotion and Gender Classification (2017)",
        aliases=("expression", "emotion"),
    ),
]  # fmt: skip
