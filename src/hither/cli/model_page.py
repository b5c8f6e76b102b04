"""The page of a ready model: its bundles, its example and the page kit of examples/models, as a folder for any static host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import ShapeMismatch
from ..model import Model
from ..models import Card
from ..models.card import Bundles, Source
from ..spec import Spec
from ..web.builds import bundle
from .examples import example

KIT = ("index.html", "style.css", "model.js", "inputs.js", "answers.js", "shown.js")


def write_page(card: Card, folder: Path, stage: Callable[[str], object] = lambda text: None) -> dict[str, Any]:
    """Write the page of a model.

    Args:
        card: the model's.
        folder: where to; made if missing.
        stage: told what is being done.

    Returns:
        What the page knows of the card: the content of its card.json.

    Raises:
        ShapeMismatch: an input has free extents and the card does not say for which to compile.
        FetchError: a file of the model cannot be fetched.
    """
    stage(f"fetching {card.name}")
    paths = {role: source.path() for role, source in card.sources.items()}
    page = card.page
    bundles = page.bundles(paths) if page and page.bundles else _alone(card, card.build(paths))
    kit = example("models")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (model, specs) in bundles.items():
        stage(f"compiling {card.name} for the browser" + (f": {name}" if len(bundles) > 1 else ""))
        bundle(model, folder / name, list(specs), name=card.name if name == "model" else name)
    for file in (*(kit / name for name in KIT), *_scripts(card, kit)):
        shutil.copyfile(file, folder / file.name)
    known = {
        "name": card.name, "task": card.task, "summary": card.summary, "takes": card.takes, "licence": card.licence,
        "citation": card.citation, "packages": _packages(card.sources.values()), "folders": list(bundles),
        "links": card.links, "script": page.script if page else None, "data": page.data(paths) if page and page.data else None,
        "example": _example(card, folder),
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(known, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    return known


def write_catalogue(cards: Iterable[Card], folder: Path, stage: Callable[[str], object] = lambda text: None) -> None:
    """Write the pages of several models, each in a folder of its name, and a page that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    kit = example("models")
    known = [write_page(card, folder / card.name, stage) for card in cards]
    listed = [{key: card[key] for key in ("name", "task", "summary", "licence")} for card in known]
    (folder / "catalogue.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
    shutil.copyfile(kit / "catalogue.html", folder / "index.html")
    shutil.copyfile(kit / "style.css", folder / "style.css")


def _alone(card: Card, model: Model) -> Bundles:
    """The Model for one input at a time."""
    specs: dict[str, Spec] = {}
    for name, spec in model.inputs.items():
        free = [i for i, n in enumerate(spec.shape or ()) if not isinstance(n, int)]
        if spec.shape is None or len(free) > 1:
            raise ShapeMismatch(f"{card.name}: input {name!r} is {spec}; its card must say in page.bundles what to compile for")
        extents = tuple(1 if i in free else n for i, n in enumerate(spec.shape))  # the batch axis, wherever it is
        specs[name] = Spec(
            extents, spec.dtype, media=spec.media, layout=spec.layout, scale=spec.scale, mean=spec.mean, std=spec.std,
            labels=spec.labels,
        )  # fmt: skip
    return {"model": (model, [specs])}


def _scripts(card: Card, kit: Path) -> list[Path]:
    if card.page is None:
        return []
    return [kit / card.page.script, *(example(Path(name).parts[0]).joinpath(*Path(name).parts[1:]) for name in card.page.files)]


def _packages(sources: Iterable[Source]) -> list[str]:
    return list(dict.fromkeys(map(str, sources)))


def _example(card: Card, folder: Path) -> dict[str, str]:
    given = card.example.path()
    if not isinstance(given, Path):
        return {"text": given}
    name = f"example{given.suffix}"
    shutil.copyfile(given, folder / name)
    return {"file": name}
