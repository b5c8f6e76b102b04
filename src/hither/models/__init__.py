"""Ready models by task: pinned, checked, with what comes before and after the network compiled in.

    model = hither.models.load("file-type")          # a Model, as from hither.load: run it, bundle it, retrain it
    result = hither.models.run("file-type", "photo.jpg")
    print(*result.lines)

Each file (or folder) here holds the cards of one task. Networks are fetched from their packages on first use.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

from ..errors import NameMismatch, UnsupportedFeature
from ..model import Model
from .card import Card, Example, Page, Result, Source

TASKS = (
    "filetype",
    "faces",
    "hands",
    "poses",
    "people",
    "objects",
    "ocr",
    "voice",
    "wakeword",
    "pitch",
    "sentence",
)  # the files with cards, in the order in which they are shown


@cache
def catalogue() -> dict[str, Card]:
    """All cards by name."""
    cards = [c for task in TASKS for c in import_module(f"{__name__}.{task}").CARDS]
    return {card.name: card for card in cards}


def card(name: str) -> Card:
    """The card of a model.

    Raises:
        NameMismatch: if there is none of this name; lists those there are.
    """
    known = catalogue()
    for found in known.values():
        if name == found.name or name in found.aliases:
            return found
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise NameMismatch(f"no ready model {name!r}{hint} There are {', '.join(known)}")


def load(name: str, *, device: str | None = None, precision: str | None = None, size: tuple[int, int] | None = None) -> Model:
    """A ready model; its files are fetched on first use.

    Args:
        name: a name from `catalogue()`.
        device, precision: as for `hither.load`.
        size: rows and columns of the pictures that it takes, where it takes pictures: choose the aspect of what will be
            shown to it, because a bundle's loader stretches other pictures.

    Raises:
        NameMismatch: no such model.
        FetchError: its files cannot be fetched, or are not those that were pinned.
        UnsupportedFeature: `size` for a model that takes no pictures.

    Example:
        >>> model = hither.models.load("file-type")             # doctest: +SKIP
    """
    found = card(name)
    model = found.build({role: source.path() for role, source in found.sources.items()})
    model.name = found.name
    if size is not None:
        model = _sized(model, size)
    return model.to(device, precision)


def _sized(model: Model, size: tuple[int, int]) -> Model:
    """A model for pictures of other rows and columns: these networks are built for whatever they are traced with."""
    pictures = {name: spec for name, spec in model.inputs.items() if spec.media == "image" and spec.layout == "NHWC"}
    if not pictures:
        raise UnsupportedFeature(f"{model.name} takes no pictures, which size= is for")
    specs = {}
    for name, spec in pictures.items():
        assert spec.shape is not None
        specs[name] = replace(spec, shape=(spec.shape[0], *size, spec.shape[3]))
    return model.with_specs(specs)


def run(name: str, source: Any, *, device: str | None = None, precision: str | None = None) -> Result:
    """Load a model and answer one input: a picture, a sound, a file or a text, as its card says.

    Example:
        >>> hither.models.run("file-type", "setup.py").values["label"]      # doctest: +SKIP
        'python'
    """
    return card(name).answer(load(name, device=device, precision=precision), source)


__all__ = ["Card", "Example", "Page", "Result", "Source", "card", "catalogue", "load", "run"]
