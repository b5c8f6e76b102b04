"""The OCR example: its array code against ONNX Runtime, its JavaScript against its Python, and the whole demo in Chromium."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.ocr import demo

from hither import load
from hither.media import read_image
from hither.models.ocr import networks, reader
from hither.models.ocr.boxes import Box, components, find_boxes, smallest_rectangle
from hither.models.ocr.picture import cut, shrink
from tests.models import MODELS

PAGE = Path(demo.HERE) / "page"


def bar(shape: tuple[int, int], box: Box) -> np.ndarray:
    """A probability map with 0.9 inside a turned rectangle."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    c, s = math.cos(box.angle), math.sin(box.angle)
    u, v = (x - box.x) * c + (y - box.y) * s, (y - box.y) * c - (x - box.x) * s
    return np.where((abs(u) <= box.width / 2) & (abs(v) <= box.height / 2), 0.9, 0.05).astype(np.float32)


def test_boxes_of_turned_text_are_found_and_widened() -> None:
    drawn = [Box(60, 30, 80, 12, 0.1), Box(60, 80, 90, 14, -0.2), Box(170, 60, 60, 10, -math.pi / 2)]
    found = find_boxes(np.maximum.reduce([bar((120, 200), b) for b in drawn]))
    assert len(found) == 3
    for box in drawn:
        near = min(found, key=lambda f: math.hypot(f.x - box.x, f.y - box.y))
        wider = 1.6 * box.width * box.height / (box.width + box.height)
        assert math.hypot(near.x - box.x, near.y - box.y) < 1.5
        assert near.width == pytest.approx(box.width + wider, abs=3) and near.height == pytest.approx(box.height + wider, abs=3)
        assert near.angle == pytest.approx(box.angle, abs=0.06)


def test_reading_order_is_by_rows() -> None:
    boxes = [Box(150, 21, 40, 10, 0), Box(50, 60, 40, 10, 0), Box(50, 19, 40, 10, 0)]
    found = find_boxes(np.maximum.reduce([bar((80, 200), b) for b in boxes]))
    assert [(round(b.x, -1), round(b.y, -1)) for b in found] == [(50, 20), (150, 20), (50, 60)]


def test_components_touch_diagonally() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]], bool)
    assert sorted(sum(stop - start for _, start, stop in runs) for runs in components(mask)) == [1, 1, 4]


def test_smallest_rectangle_of_degenerate_hulls() -> None:
    assert smallest_rectangle([(3, 4)]).width == 0
    line = smallest_rectangle([(0, 0), (6, 0)])
    assert (line.width, line.height, line.angle) == (6, 0, 0)


def test_cut_takes_what_is_under_the_box() -> None:
    pixels = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)
    np.testing.assert_array_equal(cut(pixels, Box(5, 4, 10, 8, 0), 10, 8), pixels)
    np.testing.assert_array_equal(cut(pixels, Box(5, 4, 4, 2, 0), 4, 2), pixels[3:5, 3:7])
    np.testing.assert_array_equal(cut(pixels, Box(5, 4, 8, 10, math.pi / 2), 8, 10), np.rot90(pixels))
    np.testing.assert_array_equal(shrink(pixels, 2)[0, 0], pixels[:2, :2].reshape(4, 3).mean(0).astype(np.uint8))


def test_canvas_is_the_smallest_that_fits() -> None:
    assert reader.canvas_for(191, 384) == (320, 640)
    assert reader.canvas_for(600, 500) == (640, 640)
    assert reader.canvas_for(3000, 4000) == (960, 960)


PARITY = """
import { readFileSync } from "node:fs";
import { findBoxes } from "./boxes.js";
import { cut } from "./picture.js";
const { width, height, boxes } = JSON.parse(readFileSync("in.json"));
const map = new Float32Array(readFileSync("map.bin").buffer.slice(0, 4 * width * height));
const rgba = new Uint8Array(readFileSync("rgba.bin"));
const cuts = boxes.map((b) => {
  const out = new Uint8Array(3 * 70 * 20);
  cut({ data: rgba, width, height }, b, 64, 20, out, 70);
  return [...out];
});
console.log(JSON.stringify({ found: findBoxes(map, width - 5, height - 3, width), cuts }));
"""


def test_javascript_reads_as_python_does(node: str, tmp_path: Path) -> None:
    """boxes.js and picture.js on the same numbers: the same boxes in the same order, and the same bytes."""
    rng = np.random.default_rng(7)
    height, width = 150, 220
    blobs = np.kron(rng.random((height // 5, width // 10)) > 0.7, np.ones((5, 10), bool))
    noise = rng.random((height, width))
    text = np.maximum(np.where(blobs, 0.7 + 0.3 * noise, 0.29 * noise), bar((height, width), Box(90, 60, 120, 14, 0.3)))
    text = text.astype(np.float32)
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    boxes = [Box(100, 70, 90, 21.5, 0.3), Box(110, 75, 210, 140, -0.1), Box(5, 5, 40, 30, 1.2), Box(10, 10, 6, 2, 0)]
    for name in ("boxes.js", "picture.js"):
        shutil.copy(PAGE / name, tmp_path / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(PARITY)
    (tmp_path / "map.bin").write_bytes(text.tobytes())
    (tmp_path / "rgba.bin").write_bytes(pixels.tobytes())
    (tmp_path / "in.json").write_text(json.dumps({"width": width, "height": height, "boxes": [vars(b) for b in boxes]}))
    ran = subprocess.run([node, "run.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    ours = find_boxes(text[: height - 3, : width - 5])
    assert len(ours) > 3
    for a, b in zip(ours, result["found"], strict=True):
        assert vars(a) == pytest.approx(b, rel=1e-5, abs=1e-5)
    for box, out in zip(boxes, result["cuts"], strict=True):
        theirs = np.array(out, np.int16).reshape(20, 70, 3)
        expected = cut(pixels[..., :3], box, 64, 20).astype(np.int16)
        # sin and cos may differ in their last bit, and then a value that lies between two bytes may round the other way
        assert abs(theirs[:, :64] - expected).max() <= 1 and not theirs[:, 64:].any()


def test_the_page_is_well_typed(check_page: Any, tmp_path: Path) -> None:
    """tsc --checkJs over the page, with the loader where a built site has it."""
    shutil.copytree(PAGE, tmp_path, dirs_exist_ok=True)
    check_page(tmp_path, ["page.js"], "detector")


Function = Callable[[np.ndarray], np.ndarray]


def with_array_code(detector: Function, recogniser: Function) -> dict[str, Any]:
    """Both networks, from pictures [1, 3, H, W] to what they give, with the array code around them written a second time, in
    NumPy."""
    space = len(onnx_metadata()["character"].splitlines()) + 1

    def detect(inputs: Any) -> dict[str, Any]:
        x = (inputs["picture"][..., ::-1] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return {"text": detector(x.transpose(2, 0, 1)[None].astype(np.float32))[0, 0]}

    def recognise(inputs: Any) -> dict[str, Any]:
        x = (inputs["line"][..., ::-1] / 255 - 0.5) / 0.5
        x[:, int(inputs["columns"]) :] = 0
        y = recogniser(x.transpose(2, 0, 1)[None].astype(np.float32))[0]
        best = np.where(y[:, space] > networks.SPACE_THRESHOLD, space, y.argmax(1))
        return {"classes": np.where(best != np.r_[0, best[:-1]], best, 0), "scores": y.max(1)}

    return {"detector": detect, "recogniser": recognise}


def onnx_metadata() -> dict[str, str]:
    return dict(load(MODELS["ppocr-rec"].path()).metadata)


def onnxruntime_networks() -> dict[str, Any]:
    """The same networks, run by ONNX Runtime."""
    import onnxruntime as ort

    det, rec = (ort.InferenceSession(MODELS[n].path(), providers=["CPUExecutionProvider"]) for n in ("ppocr-det", "ppocr-rec"))
    return with_array_code(lambda x: det.run(None, {"x": x})[0], lambda x: rec.run(None, {"x": x})[0])


@pytest.mark.slow
def test_the_photo_is_read_as_onnxruntime_reads_it() -> None:
    ours = demo.Networks(lambda stage: None)
    picture = read_image(demo.photo())
    found = ours.read(picture)
    theirs = onnxruntime_networks()
    reference = reader.read(picture, lambda size: theirs["detector"], lambda size: theirs["recogniser"], ours.characters)
    assert found.text == reference.text == demo.expected()
    for a, b in zip(found.lines, reference.lines, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-3) and vars(a.box) == pytest.approx(vars(b.box), abs=0.5)


@pytest.mark.slow
def test_demo_without_a_terminal(chromium: Any, tmp_path: Path) -> None:
    """The whole of it as a user's script would run it; `chromium` says that there is a browser to drive."""
    command = [sys.executable, "-m", "hither", "demo", "-o", str(tmp_path)]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(demo.expected()) == 2
    assert ran.stdout.index("read on cpu") < ran.stdout.index("read in Chromium")
    assert "requests since load: 0" in ran.stdout
    assert (tmp_path / "screenshot.png").stat().st_size > 10_000
