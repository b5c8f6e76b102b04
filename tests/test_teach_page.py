"""The page that anybody can teach: it learns pictures and sounds in Chromium and keeps them, and Python agrees with it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.teach import networks
from examples.teach.site import PAGE, write_site
from PIL import Image

import hither as ht
import hither.web.bundle
from hither import media
from hither.models import photos
from tests.browser import serving
from tests.models import Asset

WAIT = 120  # seconds


def things() -> list[Path]:
    """Photos of a cat and of a motorcycle, and another one of that motorcycle."""
    photos_of = {
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "motorcycle_right.png": "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    }
    wheel = {"python": "3.11", "platform": "manylinux_2_28_x86_64"}
    return [Asset("scikit-image", "0.26.0", f"skimage/data/{n}", sha256, **wheel).path() for n, sha256 in photos_of.items()]


# -- the networks -----------------------------------------------------------------------------------------------------------


def test_classes_that_are_not_in_use_take_no_part_in_the_loss() -> None:
    """Smoothed cross-entropy over the others, by NumPy; no gradient reaches what is not in use."""
    rng = np.random.default_rng(0)
    used = np.array([2, 5, 6])
    scores = np.full((8, networks.CLASSES), networks.LOW, np.float32)
    scores[:, used] = rng.normal(size=(8, 3))
    y = used[rng.integers(0, 3, 8)].astype(np.int32)
    likely = np.exp(scores[:, used]) / np.exp(scores[:, used]).sum(1, keepdims=True)
    target = 0.95 * (used == y[:, None]) + 0.05 / 3
    np.testing.assert_allclose(
        networks.smoothed(ht.asarray(y), ht.asarray(scores)).numpy(), -(target * np.log(likely)).sum(1), rtol=1e-5
    )
    gradient = ht.grad(lambda s: ht.mean(networks.smoothed(ht.asarray(y), s)))(ht.asarray(scores)).numpy()
    np.testing.assert_allclose(gradient[:, used], (likely - target) / 8, atol=1e-6)
    assert not gradient[:, np.setdiff1d(np.arange(networks.CLASSES), used)].any()


@pytest.mark.models
def test_embeddings_of_pictures_are_those_of_the_published_network() -> None:
    """LiteRT's own values where the network is cut, averaged, by NumPy."""
    from ai_edge_litert.interpreter import Interpreter

    from hither.formats.tflite.container import model_bytes

    picture = networks.square(media.read_image(photos.COFFEE.path()))
    content, _ = model_bytes(networks.DETECTOR.path(), None)
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    (found,) = [t["index"] for t in interpreter.get_tensor_details() if t["name"] == networks.FEATURES]
    root = np.sqrt(interpreter.get_tensor(found).mean((1, 2)))
    expected = root / np.sqrt(np.mean(root**2))
    np.testing.assert_allclose(networks.pictures()(picture)["embedding"].numpy(), expected, atol=2e-3)


def test_a_cut_network_in_a_function_is_as_large_as_its_weights(tmp_path: Path) -> None:
    """Biases are not stored once for each pixel."""
    manifest = ht.bundle(networks.pictures(), tmp_path, targets=("wasm",))
    assert manifest["weights"]["bytes"] < 10e6


TWINS = """
import { readFileSync } from "node:fs";
import { balanced, split } from "./learner.js";
import { seconds } from "./microphone.js";
const { sounds, samples } = JSON.parse(readFileSync("in.json"));
const { learned, held } = split(samples);
const cut = sounds.map((s) => seconds(Float32Array.from(s), 16000).map((x) => [...x]));
console.log(JSON.stringify({ sounds: cut, learned, held, balanced: balanced(learned) }));
"""


def test_what_is_done_outside_the_networks(node: str, tmp_path: Path) -> None:
    """Sounds are cut as in Python. A fifth of each class is held out, of long takes the end; each class is learned as often."""
    for name in ("learner.js", "microphone.js", "dom.js"):
        shutil.copyfile(PAGE / name, tmp_path / name)
    rng = np.random.default_rng(0)
    envelope = np.repeat(np.array([0.01, 0.5, 0.03, 0.9, 0.2]), networks.RATE)
    sounds = [
        (rng.normal(size=n) * level).astype(np.float32).round(4)
        for n, level in ((4000, 0.1), (24000, np.linspace(0, 1, 24000)), (80000, envelope))
    ]  # fmt: skip
    takes = {0: [20, 1, 1, 1, 1, 1], 1: [4, 4], 2: [7]}  # class → sizes of its takes
    samples = [
        {"id": 1000 * slot + 100 * take + i, "slot": slot, "take": 10 * slot + take}
        for slot, sizes in takes.items() for take, size in enumerate(sizes) for i in range(size)
    ]  # fmt: skip
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(TWINS)
    (tmp_path / "in.json").write_text(json.dumps({"sounds": [s.tolist() for s in sounds], "samples": samples}))
    done = subprocess.run([node, "run.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for theirs, sound in zip(found["sounds"], sounds, strict=True):
        ours = networks.seconds(sound)
        assert len(theirs) == len(ours)
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
    held = {s["id"] for s in found["held"]}
    assert held == {16, 17, 18, 19, 500, 1100, 2006}
    assert sorted(s["id"] for s in found["learned"]) == sorted({s["id"] for s in samples} - held)
    counts = [sum(s["slot"] == slot for s in found["balanced"]) for slot in takes]
    assert counts == [64, 64, 64] and {s["id"] for s in found["balanced"]} == {s["id"] for s in found["learned"]}


# -- the page ---------------------------------------------------------------------------------------------------------------

# Stands in for camera and microphone: shows `showFrames(urls)` one after another, plays `say(base64 of a .wav)` over and over.
DEVICES = """
(() => {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [320, 240];
  let frames = [], at = 0, speech, outlet, playing;
  const picture = async (src) => {
    const image = new Image();
    image.src = src;
    await image.decode();
    return image;
  };
  globalThis.showFrames = async (urls) => {
    frames = await Promise.all(urls.map(picture));
    at = 0;
  };
  globalThis.say = async (wav) => {
    const buffer = await speech.decodeAudioData(Uint8Array.from(atob(wav), (c) => c.charCodeAt(0)).buffer);
    playing?.stop();
    playing = new AudioBufferSourceNode(speech, { buffer, loop: true });
    playing.connect(outlet);
    playing.start();
  };
  setInterval(() => frames.length && context.drawImage(frames[at++ % frames.length], 0, 0), 40);
  navigator.mediaDevices.getUserMedia = async ({ audio }) => {
    if (!audio) return canvas.captureStream(25);
    speech = new AudioContext();
    outlet = new MediaStreamAudioDestinationNode(speech);
    await speech.resume();
    return outlet.stream;
  };
})();
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("teach")
    write_site(folder)
    with serving(folder) as served:
        yield served


def until(page: Any, expression: str) -> None:
    """Wait until an expression holds. Playwright's own waiting evaluates text in the page, which its policy forbids."""
    stop = time.monotonic() + WAIT
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < stop, f"not {expression}; the page says {page.evaluate('globalThis.teaching')}"
        page.wait_for_timeout(30)


def opened(page: Any, site: Any, kind: str) -> list[str]:
    """Open the page with devices of our own; the addresses that are asked for from now on."""
    page.add_init_script(DEVICES)
    page.goto(f"{site.origin}/#{kind}")
    until(page, "globalThis.teaching?.ready || globalThis.teaching?.error")
    assert page.evaluate("teaching.error") == ""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    return asked


def name_classes(page: Any, names: list[str]) -> None:
    for _ in range(len(names) - page.locator(".class").count()):
        page.click("#add")
    for i, name in enumerate(names):
        field = page.locator(".name").nth(i)
        field.fill(name)
        field.press("Enter")


def samples(page: Any, i: int) -> int:
    return page.locator(".strip").nth(i).locator("li").count()


def trained(page: Any) -> tuple[int, int]:
    """Train; how many of the held-out samples are right, and how many there are."""
    page.click("#train")
    until(page, "!document.querySelector('#outcome').hidden")
    held = page.evaluate("document.querySelector('#score b').textContent").split(" of ")
    return int(held[0]), int(held[1])


def looked(page: Any) -> None:
    """Wait until the camera shows what was put before it: it is slower than the test."""
    looks = page.evaluate("teaching.looks")
    page.wait_for_timeout(500)
    until(page, f"teaching.looks > {looks} + 5")


def answer(page: Any) -> str:
    """What the page says next."""
    asked = page.evaluate("teaching.asked")
    until(page, f"teaching.asked > {asked}")
    return str(page.evaluate("teaching.verdict"))


def downloaded(page: Any, path: Path) -> networks.Taught:
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(path)
    assert f'ht.load("{download.value.suggested_filename}")' in page.inner_text("#snippet")
    page.click("#saved .primary")
    return networks.Taught(path)


def frames(path: Path, count: int, seed: int) -> list[Image.Image]:
    """What a camera would see of a photo that somebody moves about: sections, tilted, in changing light, with noise."""
    rng = np.random.default_rng(seed)
    whole = Image.open(path).convert("RGB")
    made = []
    for _ in range(count):
        height = rng.uniform(0.6, 0.95) * min(whole.width * 3 / 4, whole.height)
        width = height * 4 / 3
        x, y = rng.uniform(0, whole.width - width), rng.uniform(0, whole.height - height)
        tilted = whole.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC).crop(
            (round(x), round(y), round(x + width), round(y + height))
        )
        seen = np.asarray(tilted.resize((320, 240)), np.float32) * rng.uniform(0.7, 1.25) + rng.normal(0, 4, (240, 320, 3))
        made.append(Image.fromarray(seen.clip(0, 255).astype(np.uint8)))
    return made


def urls(pictures: list[Image.Image]) -> list[str]:
    made = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        made.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return made


def test_the_page_learns_pictures_from_the_camera(page: Any, site: Any, tmp_path: Path) -> None:
    """Three things, one of them checked on another photo; kept across a reload; Python says the same; nothing is asked for."""
    names = ["Cup", "Cat", "Motorcycle"]
    cat, left, right = things()
    asked = opened(page, site, "pictures")
    name_classes(page, names)
    assert "Cup needs 5 more" in page.inner_text("#advice") and page.is_disabled("#train")
    assert page.locator(".hold").first.is_disabled()  # there is nothing to collect from yet
    for i, path in enumerate((photos.COFFEE.path(), cat, left)):
        page.evaluate("urls => showFrames(urls)", urls(frames(path, 12, i)))
        if not i:
            page.click("#start")
            until(page, "document.querySelector('#stage.on')")
        looked(page)
        hold = page.locator(".hold").nth(i)
        hold.focus()
        page.keyboard.down(" ")
        until(page, f"document.querySelectorAll('.strip')[{i}].children.length >= 10")
        page.keyboard.up(" ")
    right_ones, held = trained(page)
    assert right_ones == held >= 6
    for i, path in enumerate((photos.COFFEE.path(), cat, right)):
        page.evaluate("urls => showFrames(urls)", urls(frames(path, 4, 100 + i)))
        looked(page)
        until(page, f"teaching.verdict === '{names[i]}'")  # the one before fades
        assert [answer(page) for _ in range(4)] == [names[i]] * 4
    frames(right, 1, 7)[0].resize((networks.SIDE, networks.SIDE)).save(tmp_path / "seen.png")
    page.locator("#try-file").set_input_files(tmp_path / "seen.png")
    until(page, "teaching.tried === 'seen.png'")
    assert page.inner_text("#tried") == "seen.png" and page.evaluate("teaching.verdict") == "Motorcycle"
    likely = page.evaluate("teaching.likely")
    taught = downloaded(page, tmp_path / "head.safetensors")
    assert taught.classes == names
    ((python,),) = [taught(tmp_path / "seen.png")]
    assert python == pytest.approx(likely, abs=2e-3)
    assert asked == [] and page.inner_text("#requests") == "0"
    page.reload()
    until(page, "globalThis.teaching?.ready")
    assert min(samples(page, i) for i in range(3)) >= 10
    assert page.inner_text("#advice") == "It has learned all of this."
    page.locator("#try-file").set_input_files(tmp_path / "seen.png")
    until(page, "teaching.asked > 0")
    assert page.evaluate("teaching.likely") == pytest.approx(likely, abs=1e-4)


def save_wav(path: Path, sound: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(networks.RATE)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def test_the_page_learns_sounds_from_clips_and_the_microphone(
    page: Any, site: Any, tmp_path: Path, say: Callable[..., np.ndarray]
) -> None:
    """Three words in several voices; voices that it has not heard are held out, and one is heard through the microphone."""
    words = ["yes", "no", "stop"]
    voices = ("en-us", "en-gb", "en-us+f2", "en-gb+m3", "en-gb-scotland", "en-us+f4", "en-029")
    rng = np.random.default_rng(0)
    clips: dict[str, list[Path]] = {}
    for word in words:
        clips[word] = []
        for i, voice in enumerate(voices):
            pitch, speed = (str(rng.integers(low, high)) for low, high in ((30, 70), (120, 180)))
            said = np.pad(say(word, "-v", voice, "-p", pitch, "-s", speed), (int(rng.integers(800, 4000)), 2000))
            noisy = (0.8 * said + rng.normal(0, 0.002, len(said))).astype(np.float32)
            clips[word].append(save_wav(tmp_path / f"{word}-{i}.wav", noisy))
    asked = opened(page, site, "sounds")
    name_classes(page, words)
    for i, word in enumerate(words):
        page.locator(".class input[type=file]").nth(i).set_input_files(clips[word][:5])
        until(page, f"document.querySelectorAll('.strip')[{i}].children.length === 5")
    page.locator(".strip").nth(2).locator(".discard").first.dispatch_event("click")
    assert "stop needs 1 more" in page.inner_text("#advice") and page.is_disabled("#train")
    page.click("#undo")
    right, held = trained(page)
    assert held == 3 and right >= 2
    page.locator(".class input[type=file]").nth(0).set_input_files(PAGE / "style.css")
    until(page, "document.querySelector('#notice').textContent === 'style.css is no sound that the browser can open.'")
    for word in words:
        for clip in clips[word][5:]:
            before = page.evaluate("teaching.asked")
            page.locator("#try-file").set_input_files(clip)
            until(page, f"teaching.asked > {before}")
            assert page.evaluate("teaching.verdict") == word, clip.name
    likely = page.evaluate("teaching.likely")
    taught = downloaded(page, tmp_path / "head.safetensors")
    assert taught(clips["stop"][-1]) == [pytest.approx(likely, abs=1e-3)]
    page.click("#start")
    until(page, "document.querySelector('#stage.on')")
    page.evaluate("wav => say(wav)", base64.b64encode(clips["no"][6].read_bytes()).decode())
    until(page, "teaching.verdict === 'no' && teaching.likely.no > 0.6")
    page.keyboard.down("2")  # a key is a button, too
    page.keyboard.up("2")
    until(page, "document.querySelectorAll('.strip')[1].children.length === 6")
    assert page.inner_text("#advice") == "There is something new to learn: train again."
    page.locator(".class .icon").first.click()
    page.click("#add")
    until(page, "/not learned yet/.test(document.querySelector('#bars').lastChild.textContent)")
    assert asked == [] and page.inner_text("#requests") == "0"
    page.click("nav >> text=Pictures")
    until(page, "teaching.ready && teaching.kind === 'pictures'")
    assert samples(page, 0) == 0 and page.locator(".class").count() == 2


def test_the_javascript_has_types(check_page: Any, tmp_path: Path) -> None:
    """tsc --checkJs over the page, with the loader where a site has it."""
    for file in PAGE.glob("*.js"):
        shutil.copyfile(file, tmp_path / file.name)
    check_page(tmp_path, ["teach.js"], "pictures")
