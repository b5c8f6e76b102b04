"""Which pixels show a person: MediaPipe's selfie segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..formats import load
from ..model import Model
from ..spec import Spec
from .card import Card, Example, Result, Source
from .drawing import Drawing
from .photos import WINDOW, WINDOW_GROUND, WINDOW_SKIN, Box
from .pictures import Picture, image_spec
from .regions import unit


def build(paths: Mapping[str, Path]) -> Model:
    """image → mask [1, H, W]: how probably each pixel is a person's."""
    inner = load(paths["model"])
    (given,), (made,) = inner.inputs, inner.outputs

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        picture = unit(arrays["image"])
        small = ops.resize(picture, (256, 256), axes=(1, 2), antialias=True)
        mask = ops.resize(inner({given: small})[made], picture.shape[1:3], axes=(1, 2))
        return {"mask": mask[..., 0]}

    return Model(network, {"image": image_spec()}, {"mask": Spec((1, None, None))}, weights=inner.weights)


def answer(model: Model, source: Any) -> Result:
    """The people of a picture, cut out of it."""
    picture = Picture.of(model, source)
    mask = picture.mask(model(picture.frame)["mask"].numpy()[0])
    drawing = Drawing(picture.pixels)
    drawing.mask(mask)
    share = float((mask > 0.5).mean())
    return Result({"mask": mask, "share": share}, (f"{100 * share:.0f} % of the picture is people",), drawing.image)


def _people_only(values: Mapping[str, Any]) -> bool:
    """Whether the mask has all faces and bodies that were marked by hand, and none of the window above them."""
    mask: np.ndarray = values["mask"]
    height, width = mask.shape

    def covered(box: Box) -> float:
        x1, y1, x2, y2 = (round(v * extent) for v, extent in zip(box, (width, height) * 2))
        return float((mask[y1:y2, x1:x2] > 0.5).mean())

    return all(covered(box) > 0.9 for box in WINDOW_SKIN) and all(covered(box) < 0.1 for box in WINDOW_GROUND)


CARDS = [
    Card(
        name="person-segmentation",
        task="person segmentation",
        summary="Which pixels show a person.",
        takes="image",
        licence="Apache-2.0",
        sources={
            "model": Source(
                "@mediapipe/selfie_segmentation", "0.1.1675465747", "selfie_segmentation.tflite",
                "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27", "npm",
            )
        },
        build=build,
        answer=answer,
        example=Example(WINDOW, _people_only),
        citation="Google: MediaPipe Selfie Segmentation, model card (2021)",
        aliases=("segmentation",),
    ),
]  # fmt: skip
