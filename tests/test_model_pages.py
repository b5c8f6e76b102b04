"""Pages of ready models: what `hither models page` writes answers in Chromium as cards do; its JavaScript is Python's twin."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hither import models, ops
from hither.cli import application
from hither.cli.examples import example
from hither.cli.model_page import write_catalogue, write_page
from hither.errors import ShapeMismatch
from hither.model import BoundedOutput, Model
from hither.models import Card, Example, Result, filetype, pitch, sentence, voice, wakeword
from hither.spec import Spec
from tests.browser import serving

KIT = example("models")


def answered(page: Any, folder: Path, address: str = "") -> dict[str, Any]:
    """What a page says of its example."""
    with serving(folder) as site:
        page.goto(f"{site.origin}/{address}")
        page.wait_for_function("globalThis.answered?.answer || globalThis.answered?.error", timeout=200_000)
        state: dict[str, Any] = page.evaluate("answered")
    assert not state["error"], state["error"]
    return state["answer"]


def test_the_page_of_a_model_answers_its_example(page: Any, tmp_path: Path) -> None:
    done = CliRunner().invoke(application(), ["models", "page", "voice-activity", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    answer = answered(page, tmp_path)
    native = models.run("voice-activity", models.card("voice-activity").example.path())
    assert len(answer["spans"]) == len(native.values["spans"]) >= 1
    for found, (start, end) in zip(
        answer["spans"], native.values["spans"], strict=True
    ):  # the browser resamples in its own way
        assert found["start"] == pytest.approx(start, abs=0.07) and found["end"] == pytest.approx(end, abs=0.07)
    assert page.inner_text("h1") == "voice-activity" and "MIT" in page.inner_text("footer")


@pytest.mark.models
@pytest.mark.parametrize("name", [n for n in models.catalogue() if n != "voice-activity"])
def test_every_page_answers(page: Any, tmp_path: Path, name: str) -> None:
    write_page(models.card(name), tmp_path)
    answer = answered(page, tmp_path)
    assert answer["rows"] or "empty" in answer
    if name == "text-recognition":
        assert "\n".join(row["text"] for row in answer["rows"]) == (example("ocr") / "expected.txt").read_text().strip()


def _found(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Two boxes, one of them unlikely, points and a mask, wherever one looks."""
    dark = ops.mean(arrays["image"]) * np.float32(0)
    return {
        "boxes": dark + np.array([[[0.1, 0.2, 0.6, 0.7], [0, 0, 1, 1]]], np.float32),
        "scores": dark + np.array([[0.9, 0.1]], np.float32),
        "label": ops.astype(dark, "int32") + np.array([[1, 0]], np.int32),
        "landmarks": dark + np.array([[[[0.2, 0.3, 0], [0.5, 0.6, 0], [0.9, 2, 0]], [[0, 0, 0]] * 3]], np.float32),
        "confidence": dark + np.array([[[0.9, 0.8, 0.1], [0, 0, 0]]], np.float32),
        "mask": dark + np.repeat(np.array([[[0.0, 1.0]]], np.float32), 2, 1),
        "more": BoundedOutput(dark + np.arange(4, dtype=np.float32), ops.astype(dark, "int32") + 3, 0),
    }


def _vision(tmp_path: Path, shape: tuple[int | None, ...] = (None, 8, 8, 3)) -> Card:
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), (90, 120, 60)).save(picture)
    outputs = {n: Spec(None) for n in ("boxes", "scores", "landmarks", "confidence", "mask", "more")}
    outputs["label"] = Spec((None, 2), "int32", labels=["cat", "dog"])
    inputs = {"image": Spec(shape, media="image", layout="NHWC", scale=1 / 255)}

    class Here(Example):
        def path(self) -> Path:
            return picture

    return Card(
        "both", "finding things", "Finds things.", "image", "none", {}, lambda paths: Model(_found, inputs, outputs),
        lambda model, source: Result({}), Here("", lambda values: True), "nobody", links=((0, 1), (1, 2)),
    )  # fmt: skip


def test_results_are_shown_by_their_names(page: Any, tmp_path: Path) -> None:
    """Without a script: boxes likely enough with their labels, points and lines that can be seen, and masks, on the
    picture; anything else printed, as long as it is."""
    write_page(_vision(tmp_path), tmp_path / "page")
    answer = answered(page, tmp_path / "page")
    assert [row["text"] for row in answer["rows"]] == ["foreground", "dog", "more"]
    (shape,) = answer["shapes"]
    corners = [(p["x"], p["y"]) for p in shape["corners"]]
    np.testing.assert_allclose(corners, [(0.1, 0.2), (0.6, 0.2), (0.6, 0.7), (0.1, 0.7)], atol=1e-6)
    assert [(p["x"], p["y"]) for p in answer["points"]] == [pytest.approx((0.2, 0.3)), pytest.approx((0.5, 0.6))]
    assert len(answer["lines"]) == 1 == page.locator("svg .line").count()  # nobody sees where the other would end
    assert answer["mask"]["width"] == 2 and answer["rows"][-1]["value"] == "0, 1, 2"
    assert page.locator("svg .shape").count() == 1 and page.inner_text(".tag") == "dog"
    page.click("text=Camera")  # there is none
    page.wait_for_function("document.querySelector('#status').textContent.startsWith('No camera')")


def test_scores_of_classes_name_each_box(page: Any, tmp_path: Path) -> None:
    """Two boxes with scores for three classes each: both are shown, by the class that is likeliest for them."""
    write_page(_vision(tmp_path), tmp_path / "page")
    with serving(tmp_path / "page") as site:
        page.goto(site.origin)
        tensor = "{ data: %s, shape: %s, dtype: 'float32' }"
        boxes, scores = tensor % ([0.0] * 8, [2, 4]), tensor % ([0.1, 0.7, 0.2, 0.3, 0.3, 0.4], [2, 3])
        rows = page.evaluate(
            "import('./shown.js').then((s) => s.answerOf("
            f"{{ boxes: {boxes}, scores: {scores} }}, {{ scores: ['a', 'b', 'c'] }}).rows)"
        )
    assert [(row["text"], row["value"]) for row in rows] == [("b", "70 %"), ("c", "40 %")]


def test_several_models_get_a_page_that_lists_them(page: Any, tmp_path: Path) -> None:
    write_catalogue([_vision(tmp_path)], tmp_path / "site")
    with serving(tmp_path / "site") as site:
        page.goto(site.origin)
        page.click("text=both")
        page.wait_for_function("globalThis.answered?.answer", timeout=60_000)


def test_free_shapes_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ShapeMismatch, match=r"'image'.*page\.bundles"):
        write_page(_vision(tmp_path, (None, None, None, 3)), tmp_path / "page")


def test_the_kit_is_well_typed(check_page: Any, tmp_path: Path) -> None:
    """tsc --checkJs over all of it, with the demo's reader beside it as a page has it."""
    for file in [*KIT.glob("*.js"), *(example("ocr") / "page" / f"{n}.js" for n in ("boxes", "picture", "reader"))]:
        shutil.copyfile(file, tmp_path / file.name)
    check_page(tmp_path, sorted(f.name for f in KIT.glob("*.js")), "model")


TWINS = """
import { readFileSync } from "node:fs";
import { features } from "./file.js";
import { notes } from "./pitch.js";
import { spans } from "./voice.js";
import { onsets } from "./wakeword.js";
const given = JSON.parse(readFileSync("in.json"));
const { sounding, begins, times } = given.pitch;
console.log(JSON.stringify({
  features: given.files.map((f) => [...features(Uint8Array.from(f))]),
  notes: notes(Float32Array.from(sounding), Float32Array.from(begins), times),
  spans: spans(given.curve),
  onsets: onsets(given.curve),
}));
"""


def ran(node: str, folder: Path, script: str, given: Any, *names: str) -> Any:
    for name in names:
        shutil.copyfile(KIT / name, folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.js").write_text(script)
    (folder / "in.json").write_text(json.dumps(given))
    done = subprocess.run([node, "run.js"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_javascript_answers_as_python_does(node: str, tmp_path: Path) -> None:
    """What cards do outside the network, written twice: the same numbers in, the same answers out."""
    rng = np.random.default_rng(3)
    files = [b"", b"  x\n", b" \t" + bytes(rng.integers(0, 256, 5000, np.uint8)) + b"\r\n", b"\x0b" * 4096 + b"a"]
    frames = 120
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.ones(9) / 9, "same"), 0, rng.random((frames, 88)) ** 2)
    sounding = np.clip(1.3 * smooth, 0, 1).astype(np.float32)
    begins = (rng.random((frames, 88)) ** 6).astype(np.float32)
    times = np.arange(frames) * 256 / 22050
    curve = np.clip(np.convolve(rng.random(200), np.ones(4) / 4, "same"), 0, 1).astype(np.float32)
    given = {
        "files": [list(f) for f in files], "curve": curve.tolist(),
        "pitch": {"sounding": sounding.ravel().tolist(), "begins": begins.ravel().tolist(), "times": times.tolist()},
    }  # fmt: skip
    found = ran(node, tmp_path, TWINS, given, "file.js", "shown.js", "pitch.js", "voice.js", "wakeword.js")
    for theirs, file in zip(found["features"], files, strict=True):
        np.testing.assert_array_equal(theirs, filetype.features(file)[0])
    ours = pitch.notes(sounding, begins, times)
    assert len(ours) > 20
    assert [(n["pitch"], n["start"], n["end"]) for n in found["notes"]] == [(n.pitch, n.start, n.end) for n in ours]
    np.testing.assert_allclose([(s["start"], s["end"]) for s in found["spans"]], voice.spans(curve))
    assert found["onsets"] == pytest.approx(wakeword.onsets(curve)) and found["onsets"]


SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "Café naïveté 東京 — it's 42°!", "", "  tabs\tand\nlines  ",
    "😀 emoji 👩‍💻 and …", "Donaudampfschifffahrtsgesellschaft", "x" * 130, "İstanbul ǅ ﬁ", "a$b^c`d~e+f=g|h<i>",
    "Ünïcödé\u200bzero\u00adsoft\u00a0nbsp", "한국어 ไทย हिन्दी", "\u0000nul\ufffd",
]  # fmt: skip


@pytest.mark.models
def test_tokens_are_those_of_the_tokenizers_package(node: str, tmp_path: Path) -> None:
    paths = {role: source.path() for role, source in sentence.CARDS[0].sources.items() if role != "model"}
    script = """
import { readFileSync } from "node:fs";
import { WordPiece } from "./wordpiece.js";
const { vocabulary, sentences } = JSON.parse(readFileSync("in.json"));
const tokenizer = new WordPiece(vocabulary);
console.log(JSON.stringify(sentences.map((s) => tokenizer.encode(s, 256))));
"""
    given = {"vocabulary": paths["vocabulary"].read_text(encoding="utf-8").split("\n"), "sentences": SENTENCES}
    found = ran(node, tmp_path, script, given, "wordpiece.js")
    made = sentence.tokenize(SENTENCES)
    for text, theirs, ids, mask in zip(SENTENCES, found, made["ids"], made["mask"], strict=True):
        assert theirs == ids[mask > 0].tolist(), text
