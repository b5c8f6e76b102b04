"""The two networks of PP-OCRv4 with the array code around them: all that is compiled into the bundles.

A page hands over bytes of pixels and gets back probabilities or characters by number; the normalisation that the networks were
trained with, the channels' order and the choice of characters are kernels like any others, fused with the networks' own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from ...model import Model
from ...spec import Spec
from ..card import Source

DETECTOR = Source(
    "rapidocr-onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)  # fmt: skip
RECOGNISER = Source(
    "rapidocr-onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
)  # fmt: skip
# The networks are fully convolutional; compiled ones have a size. (height, width), by area.
CANVASES = ((320, 640), (640, 640), (960, 960))
LINE_HEIGHT = 48
LINE_WIDTHS = (320, 640, 1280)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the detector started from
BLANK = 0
# The network was trained mostly on Chinese and prefers the blank to a space. Where a space is this likely, it is one.
SPACE_THRESHOLD = 0.1

Function = Callable[..., dict[str, Any]]


def characters(recogniser: Model) -> list[str]:
    """What the recogniser's classes stand for: nothing (the blank), the dictionary, and the space."""
    return ["", *recogniser.metadata["character"].splitlines(), " "]


def detect(model: Model) -> Function:
    """The detector as a function of a picture's bytes: uint8 [H, W, 3], RGB.

    Returns `text` float32 [H, W]: how likely each pixel is text.
    """
    scale = np.asarray(1 / (255 * np.array(STD)), np.float32)
    shift = np.asarray(-np.array(MEAN) / np.array(STD), np.float32)

    def detect(picture: Any) -> dict[str, Any]:
        pixels = ops.flip(ops.astype(picture, dt.float32), axis=-1)  # it was trained on BGR
        x = ops.expand_dims(ops.permute_dims(pixels * scale + shift, (2, 0, 1)), axis=0)
        (text,) = model(x).values()
        return {"text": text[0, 0]}

    return detect


def recognise(model: Model) -> Function:
    """The recogniser as a function of a line's bytes: uint8 [48, W, 3], RGB, of which `columns` hold the line.

    Returns `classes` int32 [T], the number of the character that begins at each step (0: none begins there), and
    `scores` float32 [T], its probability: CTC's best path (Graves et al., 2006), repeats dropped.
    """
    space = len(characters(model)) - 1

    def recognise(line: Any, columns: Any) -> dict[str, Any]:
        pixels = ops.flip(ops.astype(line, dt.float32), axis=-1) / 127.5 - 1.0
        inside = ops.arange(line.shape[1]) < columns
        x = ops.where(inside[:, None], pixels, 0.0)
        (likely,) = model(ops.expand_dims(ops.permute_dims(x, (2, 0, 1)), axis=0)).values()
        likely = likely[0]
        best = ops.astype(ops.argmax(likely, axis=-1), dt.int32)
        best = ops.where(likely[:, space] > SPACE_THRESHOLD, ops.full_like(best, space), best)
        before = ops.concat([ops.zeros((1,), dtype=dt.int32), best[:-1]])
        begins = ops.logical_and(best != BLANK, best != before)
        return {"classes": ops.where(begins, best, ops.zeros_like(best)), "scores": ops.max(likely, axis=-1)}

    return recognise


def detector_specs() -> list[dict[str, Spec]]:
    """One variant for each canvas."""
    return [{"picture": Spec((height, width, 3), "uint8")} for height, width in CANVASES]


def recogniser_specs() -> list[dict[str, Spec]]:
    """One variant for each width of a line."""
    return [{"line": Spec((LINE_HEIGHT, w, 3), "uint8"), "columns": Spec((), "int32")} for w in LINE_WIDTHS]
