"""Real networks in small numbers on real inputs: pictures are classified, pages read and speech found as in float32.

`make models` runs these. A failure means that a precision does what it must not to a published network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.ocr import demo
from examples.training import digits, sources
from PIL import Image

import hither as ht
from hither import media
from hither.data.packages import fetch_tree
from hither.models import filetype, voice
from hither.models.ocr import reader
from hither.program import Program
from hither.program.accuracy import accuracy

from .models import MODELS, PHOTOS
from .models_keras import MODELS as KERAS
from .test_demo import onnxruntime_networks, with_array_code

pytestmark = [pytest.mark.slow, pytest.mark.models, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parent.parent
HALVES = {"precision": "float16", "activations": "float16"}
Arrays = Mapping[str, np.ndarray]


def differences(model: Any, specs: Mapping[str, Any], output: str | None, feeds: list[Arrays], **numbers: Any) -> list[Any]:
    """How far results in small numbers are from float32's, for each of the inputs."""
    exact, small = ht.compile(model, specs), ht.compile(model, specs, **numbers)

    def of(program: Program, given: Arrays) -> np.ndarray:
        results = program(given)
        return results[output or next(iter(results))].numpy()

    return [accuracy(of(exact, given), of(small, given)) for given in feeds]


def photos(height: int, width: int) -> list[np.ndarray]:
    """Every photo, of this size: float32 [1, height, width, 3], 0…1."""
    made = []
    for photo in PHOTOS.values():
        image = Image.fromarray(media.read_image(photo.path())).convert("RGB").resize((width, height))
        made.append(np.asarray(image, np.float32)[None] / 255)
    return made


# -- halves ---------------------------------------------------------------------------------------------------------------


def test_mobilenet_v2_in_halves(tmp_path: Path) -> None:
    """A net that looks at photos: the same class for each, within 1e-2, by what the guard keeps, which is little."""
    model = ht.load(KERAS["nsfw-mobilenet-v2"].prepared(tmp_path))
    (name,) = model.inputs
    feeds: list[Arrays] = [{name: x} for x in photos(224, 224)]
    specs = {name: ht.Spec((1, 224, 224, 3))}
    plain = differences(model, specs, None, feeds, **HALVES)
    assert all(found.top1 == 1 for found in plain)
    assert float(np.median([found.relative for found in plain])) <= 3e-3
    guarded = differences(model, specs, None, feeds, **HALVES, calibrate=feeds, tolerance={"relative": 0.01, "top1": 1.0})
    assert all(found.top1 == 1 and found.relative <= 1e-2 for found in guarded)


def test_file_types_in_halves() -> None:
    """Files of this repository are of the same kinds."""
    (card,) = filetype.CARDS
    model = card.build({name: source.path() for name, source in card.sources.items()})
    files = [p for folder in ("src/hither", "docs", "tests/data") for p in sorted((ROOT / folder).rglob("*")) if p.is_file()]
    feeds: list[Arrays] = [{"bytes": filetype.features(p.read_bytes())} for p in files[::8]]
    found = differences(model, {"bytes": ht.Spec((1, 2048), "int32")}, "scores", feeds, **HALVES)
    assert len(found) > 40 and all(one.top1 == 1 and one.relative <= 1e-2 for one in found)


def test_text_angles_in_halves() -> None:
    model = ht.load(MODELS["ppocr-cls"].path())
    feeds: list[Arrays] = [{"x": x.transpose(0, 3, 1, 2) * 2 - 1} for x in photos(48, 192)]
    found = differences(model, {"x": ht.Spec((1, 3, 48, 192))}, None, feeds, **HALVES)
    assert all(one.top1 == 1 and one.relative <= 1e-2 for one in found)


def page() -> np.ndarray:
    return media.read_image(demo.photo())


class Reader:
    """PP-OCRv4 in any numbers: compiled for the sizes that come, and guarded on what float32 was given of each size."""

    def __init__(self, seen: Mapping[str, list[np.ndarray]] | None = None, **numbers: Any) -> None:
        self.seen: dict[str, list[np.ndarray]] = {"ppocr-det": [], "ppocr-rec": []}
        self.programs: dict[tuple[str, tuple[int, ...]], Program] = {}
        self.given, self.numbers = seen, numbers

    def run(self, name: str, tolerance: Mapping[str, float]) -> Callable[[np.ndarray], np.ndarray]:
        def run(x: np.ndarray) -> np.ndarray:
            self.seen[name].append(x)
            if (name, x.shape) not in self.programs:
                samples = [y for y in self.given[name] if y.shape == x.shape] if self.given else []
                guard = {"calibrate": samples, "tolerance": tolerance} if samples else {}
                model, specs = ht.load(MODELS[name].path()), {"x": ht.Spec(x.shape)}
                self.programs[name, x.shape] = ht.compile(model, specs, **self.numbers, **guard)
            (found,) = self.programs[name, x.shape](x=x).values()
            return found.numpy()

        return run

    def read(self, detector: Mapping[str, float], recogniser: Mapping[str, float]) -> str:
        """The text of the demo's page, of which the networks are given these tolerances."""
        networks = with_array_code(self.run("ppocr-det", detector), self.run("ppocr-rec", recogniser))
        characters = ["", *ht.load(MODELS["ppocr-rec"].path()).metadata["character"].splitlines(), " "]
        found = reader.read(page(), lambda size: networks["detector"], lambda size: networks["recogniser"], characters)
        return found.text


@pytest.mark.parametrize("numbers", [HALVES, {"precision": "int8"}], ids=["float16", "int8"])
def test_the_page_is_read_the_same(numbers: Mapping[str, str]) -> None:
    """In float16 with nothing kept; in int8 with the guard asking for the same character everywhere."""
    exact = Reader()
    expected = exact.read({}, {})
    assert expected == demo.expected()
    small = Reader(exact.seen if numbers["precision"] == "int8" else None, **numbers)
    # a space is read where it is a tenth likely: agreement of the best character is not all that counts
    assert small.read({"relative": 0.25}, {"top1": 1.0, "relative": 0.05}) == expected
    weights = [max(p.memory()["weights"] for p in each.programs.values()) for each in (small, exact)]
    assert weights[0] < (0.55 if numbers is HALVES else 0.65) * weights[1]


# -- int8 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_speech_is_found_where_it_was(activations: str) -> None:
    """Frames of recorded words and of noise: at least 99 % of the decisions of int8 are float32's."""
    folder = fetch_tree(
        "alsa-utils", "1.2.8-1", "usr/share/sounds/alsa", "fdf8922aa30529854dcb78351bd8c015a3e01471cbdb92d034c22d2204bed298",
        "debian",
    )  # fmt: skip
    sounds = [media.read_sound(path, voice.RATE)[0].astype(np.float32) for path in sorted(folder.glob("*.wav"))]
    (card,) = voice.CARDS
    model = card.build({name: source.path() for name, source in card.sources.items()})
    specs = {"samples": ht.Spec((1, voice.CONTEXT + voice.FRAME)), "state": ht.Spec((2, 1, 128))}
    decisions = []
    for numbers in ({}, {"precision": "int8", "activations": activations}):
        program = ht.compile(model, specs, **numbers)
        speech = [p for sound in sounds for p in voice.probabilities(program, sound)]  # type: ignore[arg-type]
        decisions.append(np.array(speech) >= voice.THRESHOLD)
    assert len(decisions[0]) > 400 and 0.3 < decisions[0].mean() < 0.8
    assert np.mean(decisions[0] == decisions[1]) >= 0.99


def test_digits_are_told_apart_as_well() -> None:
    """A network trained here: within half a point of its accuracy in float32, on digits that it has not seen."""
    train, (x, y) = sources.digits()
    ht.nn.seed(0)
    net = digits.network()
    loss = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    ht.Trainer(net, loss, ht.optim.Adam(2e-3), ["accuracy"]).fit(*train, batch_size=64, epochs=8, verbose=0)
    specs = {name: ht.Spec(x.shape) for name in net.as_model().inputs}
    (name,) = specs
    right = {}
    for numbers in ("float32,float32", "float16,float16", "int8,float32", "int8,int8"):
        precision, activations = numbers.split(",")
        program = ht.compile(net, specs, precision=precision, activations=activations)
        (scores,) = program({name: x}).values()
        right[numbers] = float(np.mean(scores.numpy().argmax(-1) == y))
    assert right["float32,float32"] > 0.95
    assert min(right.values()) >= right["float32,float32"] - 0.005, right


def test_the_reference_reads_the_page() -> None:
    """ONNX Runtime, by the same array code: what the other rows are compared with is not hither's own reading alone."""
    theirs = onnxruntime_networks()
    characters = ["", *ht.load(MODELS["ppocr-rec"].path()).metadata["character"].splitlines(), " "]
    found = reader.read(page(), lambda size: theirs["detector"], lambda size: theirs["recogniser"], characters)
    assert found.text == demo.expected()
