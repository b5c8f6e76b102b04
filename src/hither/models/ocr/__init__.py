"""The text of pictures: PP-OCRv4's detector finds lines, its recogniser reads them.

Two networks with irregular work between them (`reader.read`): each is a model of its own, the recogniser's card reads pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import media
from ...formats import load
from ...model import Model
from ...spec import Spec
from ..card import Card, Example, Page, Result, Source
from . import networks
from .boxes import Box, find_boxes
from .reader import Reading, canvas_for, on_canvas, read

# A photo of a curved page, from scikit-image (skimage/data/README.txt says where its pictures come from).
PHOTO = Source(
    "scikit-image", "0.26.0", "skimage/data/page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
    python="3.11", platform="manylinux_2_28_x86_64",
)  # fmt: skip


def build_detector(paths: Mapping[str, Path]) -> Model:
    """picture: uint8[H, W, 3], extents multiples of 32 → text: float32[H, W], how likely each pixel is text."""
    inner = load(paths["detector"])
    function = networks.detect(inner)
    inputs = {"picture": Spec((None, None, 3), "uint8")}
    outputs = {"text": Spec((None, None))}
    return Model(lambda a: function(a["picture"]), inputs, outputs, weights=inner.weights)


def build_recogniser(paths: Mapping[str, Path]) -> Model:
    """line: uint8[48, W, 3], columns: int32[] of it that count → classes: int32[W / 8], scores: float32[W / 8].

    `metadata["character"]` has what the classes stand for, one in a line, from 1 on; after them comes the space.
    """
    inner = load(paths["recogniser"])
    function = networks.recognise(inner)
    inputs = {"line": Spec((networks.LINE_HEIGHT, None, 3), "uint8"), "columns": Spec((), "int32")}
    outputs = {"classes": Spec((None,), "int32"), "scores": Spec((None,))}
    return Model(lambda a: function(a["line"], a["columns"]), inputs, outputs, weights=inner.weights, metadata=inner.metadata)


def _picture(source: Any) -> np.ndarray:
    return source if isinstance(source, np.ndarray) else media.read_image(source)


def find(model: Model, source: Any) -> Result:
    """The lines of text in a picture file, or in pixels uint8 [H, W, 3], as turned boxes."""
    picture = _picture(source)
    page, scale, (height, width) = on_canvas(picture, canvas_for(*picture.shape[:2]))
    text = model({"picture": page})["text"].numpy()
    boxes = [box.scaled(1 / scale) for box in find_boxes(text[:height, :width])]
    lines = tuple(f"{b.width:5.0f} x {b.height:.0f} at {b.x:.0f}, {b.y:.0f}  {100 * b.score:4.0f} %" for b in boxes)
    return Result({"boxes": boxes}, lines or ("no text",), _drawn(picture, boxes))


def answer(model: Model, source: Any) -> Result:
    """The text of a picture file, or of pixels uint8 [H, W, 3], line by line."""
    picture = _picture(source)
    detector = build_detector({"detector": networks.DETECTOR.path()}).to(
        model.device, model.precision, activations=model.activations
    )
    found = read(picture, lambda size: detector, lambda size: model, networks.characters(model))
    values = {"text": found.text, "lines": found.lines}
    return Result(values, tuple(found.text.splitlines()) or ("no text",), _drawn(picture, [line.box for line in found.lines]))


def _drawn(picture: np.ndarray, boxes: list[Box]) -> Any:
    from PIL import Image, ImageDraw

    made = Image.fromarray(picture)
    pen = ImageDraw.Draw(made)
    for box in boxes:
        corners = box.corners()
        pen.line([*corners, corners[0]], fill=(11, 140, 120), width=max(1, round(max(made.size) / 500)))
    return made


def _bundles(paths: Mapping[str, Path]) -> dict[str, tuple[Model, list[dict[str, Spec]]]]:
    found = {"detector": (build_detector(paths), networks.detector_specs())}
    if "recogniser" in paths:
        found["recogniser"] = (build_recogniser(paths), networks.recogniser_specs())
    return found


_SCRIPTS = tuple(f"ocr/page/{name}.js" for name in ("boxes", "picture", "reader"))
_PAPER = "Li et al.: PP-OCRv3: More Attempts for the Improvement of Ultra Lightweight OCR System (2022); PP-OCRv4 (2023)"

CARDS = [
    Card(
        name="text-recognition",
        task="reading text",
        summary="The text of a photo or screenshot, line by line: Chinese and Latin letters, digits, punctuation.",
        takes="image",
        licence="Apache-2.0",
        sources={"detector": networks.DETECTOR, "recogniser": networks.RECOGNISER},
        build=build_recogniser,
        answer=answer,
        example=Example(PHOTO, lambda values: "Region-based segmentation" in values["text"] and len(values["lines"]) == 7),
        citation=_PAPER,
        aliases=("ocr",),
        page=Page(
            "text.js", _SCRIPTS, _bundles, lambda paths: {"characters": networks.characters(build_recogniser(paths))}
        ),
    ),
    Card(
        name="text-detection",
        task="finding text",
        summary="Where lines of text are in a picture, as boxes turned with them.",
        takes="image",
        licence="Apache-2.0",
        sources={"detector": networks.DETECTOR},
        build=build_detector,
        answer=find,
        example=Example(PHOTO, lambda values: len(values["boxes"]) == 7),
        citation="Liao et al.: Real-time Scene Text Detection with Differentiable Binarization (2020)",
        page=Page("text.js", _SCRIPTS, _bundles),
    ),
]  # fmt: skip

__all__ = ["CARDS", "PHOTO", "Reading", "build_detector", "build_recogniser", "read"]
