"""The networks of the page: what turns a picture or a second of sound into numbers, and the head that learns from these.

A backbone is a published network up to where it starts to decide anything; it stays as it is. The head is two Dense layers
for up to CLASSES classes. How many of them are in use, and which, is an input: the scores of the others are put so low that no
loss sees them, so one compiled step of training serves whatever classes people make.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hither as ht
from hither import media, ops
from hither.models import card, wakeword
from hither.models.card import Source

CLASSES = 10
BATCH = 32
HIDDEN = 64
LOW = np.float32(-1e4)  # the score of a class that is not in use
SMOOTHING = 0.05  # share of each target that is spread over the classes in use

# -- pictures -----------------------------------------------------------------------------------------------------------------

SIDE = 300
PICTURE_WIDTH = 1280
DETECTOR = Source(
    "@mediapipe/objectron", "0.4.1675468480", "objectron_solution_packed_assets.data",
    "470986ca5df183f41698da6de74b027d838fe289d77b5ab094497d350bee664e", "npm",
)  # fmt: skip
_PART = "FeatureExtractor/MobilenetV2/Conv_1"
FEATURES = f"{_PART}/Relu6;{_PART}/BatchNorm/FusedBatchNormV3;{_PART}/Conv2D"  # float32[1,10,10,1280], what its boxes are of


def pictures() -> ht.Model:
    """image: float32[1,300,300,3] from -1 to 1 → embedding: float32[1,1280].

    The MobileNetV2 of Objectron's first stage, which finds objects of 24 kinds (Open Images): means of its last features over
    the picture, their square roots (Perronnin et al., 2010: a few strong features say less than their sizes do), scaled to a
    mean square of one.
    """
    layer = ht.nn.from_model(ht.load(DETECTOR.path()), FEATURES, freeze=True)

    def embed(arrays: Mapping[str, Any]) -> dict[str, Any]:
        found = ops.mean(layer(arrays["image"]), axis=(1, 2))
        root = ops.sqrt(found)
        return {"embedding": root / ops.sqrt(ops.mean(root * root) + np.float32(1e-6))}

    image = ht.Spec((1, SIDE, SIDE, 3), media="image", layout="NHWC", scale=1 / 127.5, mean=1.0)
    return ht.Model(embed, {"image": image}, {"embedding": ht.Spec((1, PICTURE_WIDTH))}, name="pictures")


# -- sounds -------------------------------------------------------------------------------------------------------------------

RATE = wakeword.RATE
SPEECH = {role: card("wake-word").sources[role] for role in ("spectra", "embedding")}
SOUND_WIDTH = 3 * wakeword.BANDS + 2 * wakeword.WIDTH
STEP = 8  # spectra between the windows that embeddings are of
SPEECH_FACTOR = 0.3  # how much the speech embedding counts beside the spectrum, when training begins


def sounds() -> ht.Model:
    """sound: float32[16000], a second from -1 to 1 → embedding: float32[1,288].

    Means, deviations and maxima over time of the mel spectrum, which tell claps from whistles, and means and maxima of Google's
    speech embedding, which tell words apart.
    """
    hearing = wakeword.Hearing({role: source.path() for role, source in SPEECH.items()})

    def embed(arrays: Mapping[str, Any]) -> dict[str, Any]:
        spectra = hearing.spectra(arrays["sound"])
        starts = range(0, spectra.shape[0] - wakeword.SPECTRA + 1, STEP)
        windows = ops.stack([spectra[s : s + wakeword.SPECTRA] for s in starts])
        speech = hearing.embeddings(windows)
        parts = [f(spectra, axis=0) for f in (ops.mean, ops.std, ops.max)] + [f(speech, axis=0) for f in (ops.mean, ops.max)]
        return {"embedding": ops.expand_dims(ops.concat(parts), axis=0)}

    sound = ht.Spec((RATE,), media="audio", layout="T")
    return ht.Model(embed, {"sound": sound}, {"embedding": ht.Spec((1, SOUND_WIDTH))}, name="sounds")


# -- what is taught -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What the page can be taught: a backbone, where it comes from, and how its numbers are weighed when training begins."""

    name: str
    backbone: Callable[[], ht.Model]
    width: int
    weights: Callable[[], np.ndarray]
    sources: tuple[Source, ...]
    licence: str
    citation: str


def _weigh_speech() -> np.ndarray:
    made = np.full(SOUND_WIDTH, SPEECH_FACTOR, np.float32)
    made[: 3 * wakeword.BANDS] = 1
    return made


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "pictures", pictures, PICTURE_WIDTH, lambda: np.ones(PICTURE_WIDTH, np.float32), (DETECTOR,), "Apache-2.0",
            "MobileNetV2 (Sandler et al., 2018) of Google's MediaPipe Objectron, trained on Open Images",
        ),
        Kind(
            "sounds", sounds, SOUND_WIDTH, _weigh_speech, tuple(SPEECH.values()), card("wake-word").licence,
            "Google's speech embedding (Lin et al., 2020) as openWakeWord (Scripka, 2022) publishes it",
        ),
    )
}  # fmt: skip


class InUse(ht.nn.Layer):
    """Scores float32[n, classes] where the other input, of the same shape, is not zero; LOW elsewhere."""

    def call(self, inputs: Any) -> Any:
        scores, used = inputs
        return ops.where(used > 0, scores, LOW)


def layers(classes: int) -> list[ht.nn.Layer]:
    """The layers of a head. Features are weighed after they got mean zero and deviation one, by the samples' own statistics."""
    return [
        ht.nn.BatchNormalization(momentum=0.9, center=False, name="norm"),
        ht.nn.Dense(HIDDEN, activation="relu", name="hidden"),
        ht.nn.Dropout(0.3, name="dropout"),
        ht.nn.Dense(classes, name="scores"),
    ]


def smoothed(y: Any, scores: Any) -> Any:
    """Cross-entropy float32[n], labels smoothed (Szegedy et al., 2016) over the classes in use: few samples prove little."""
    used = ops.astype(scores > LOW / 2, "float32")
    target = ops.one_hot(y, CLASSES)
    spread = used / ops.sum(used, axis=-1, keepdims=True)
    logs = ops.log_softmax(scores, axis=-1)
    return -ops.sum(((1 - SMOOTHING) * target + SMOOTHING * spread) * used * logs, axis=-1)


def trainer(kind: Kind, seed: int = 0) -> ht.Trainer:
    """What is bundled for the page: the head with `used` among its inputs, its loss, its optimizer."""
    ht.nn.seed(seed)
    embedding, used = ht.nn.Input((kind.width,), name="embedding"), ht.nn.Input((CLASSES,), name="used")
    x = embedding
    for layer in layers(CLASSES):
        x = layer(x)
    net = ht.nn.Functional([embedding, used], InUse(name="scores_in_use")([x, used]), name=f"{kind.name}-head")
    net.get_layer("norm").gamma = ht.asarray(kind.weights())
    return ht.Trainer(net, smoothed, ht.optim.AdamW(1e-3, weight_decay=0.05), metrics=["accuracy"], seed=seed)


def specs(kind: Kind) -> list[dict[str, ht.Spec]]:
    """The shapes of the page's steps: for batches, and for what is left over and for what is seen right now."""
    return [
        {"embedding": ht.Spec((n, kind.width)), "used": ht.Spec((n, CLASSES)), "y": ht.Spec((n,), "int32")} for n in (BATCH, 1)
    ]


def plain(kind: Kind, classes: int) -> ht.nn.Sequential:
    """The head as it is downloaded: for the classes that there are, likelihoods instead of scores, nothing to mask."""
    return ht.nn.Sequential([ht.nn.Input((kind.width,), name="embedding"), *layers(classes), ht.nn.Softmax(name="likelihood")])


# -- outside the page ---------------------------------------------------------------------------------------------------------


def square(pixels: np.ndarray) -> np.ndarray:
    """The square in the middle of uint8 [H, W, 3] as float32[1, SIDE, SIDE, 3], as the page cuts it."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = media.resize_image(pixels[top : top + side, left : left + side], SIDE, SIDE)
    return cut[None].astype(np.float32) / np.float32(127.5) - np.float32(1)


QUIET = 0.1  # a second of a long sound that is so much quieter than its loudest one says nothing


def seconds(samples: np.ndarray) -> list[np.ndarray]:
    """The loudest second of a sound of less than two, each second of a longer one; float32[RATE], as the page cuts them."""
    if len(samples) < 2 * RATE:
        padded = np.pad(samples, (0, max(0, RATE - len(samples))))
        starts = range(0, len(padded) - RATE + 1, RATE // 20)
        best, most = 0, -1.0
        for start in starts:  # a later second must be clearly louder: silence around a sound does not move it
            found = float(np.sum(padded[start : start + RATE] ** 2))
            if found > 1.001 * most:
                best, most = start, found
        return [padded[best : best + RATE].astype(np.float32)]
    parts = samples[: len(samples) // RATE * RATE].reshape(-1, RATE).astype(np.float32)
    power = np.sum(parts**2, axis=1)
    return [part for part, own in zip(parts, power, strict=True) if own >= QUIET**2 * power.max()]


class Taught:
    """A head that was downloaded from the page, and the backbone that it was trained on.

    Example:
        >>> taught = Taught("pictures.safetensors")     # doctest: +SKIP
        >>> taught("photo.jpg")                         # doctest: +SKIP
        [{'cup': 0.98, 'pen': 0.02}]
    """

    def __init__(self, path: str | Path) -> None:
        self.head = ht.load(path)
        self.kind = KINDS[self.head.metadata["kind"]]
        self.classes: list[str] = json.loads(self.head.metadata["classes"])
        self.backbone = self.kind.backbone()

    def likely(self, given: np.ndarray) -> dict[str, float]:
        """How likely each class is for what the backbone takes."""
        (name,) = self.backbone.inputs
        (made,) = self.head(self.backbone({name: given})["embedding"]).values()
        return dict(zip(self.classes, made.numpy()[0].tolist(), strict=True))

    def __call__(self, file: str | Path) -> list[dict[str, float]]:
        """How likely each class is for a picture, or for the seconds of a sound."""
        if self.kind.name == "pictures":
            return [self.likely(square(media.read_image(file)))]
        return [self.likely(part) for part in seconds(media.read_sound(file, RATE)[0])]
