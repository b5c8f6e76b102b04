"""Ready models by task: pinned, checked, with what comes before and after the network compiled in.

    model = hither.models.load("file-type")          # a Model, as from hither.load: run it, bundle it, retrain it
    result = hither.models.run("file-type", "photo.jpg")
    print(*result.lines)

Each file (or folder) here holds the cards of one task. Networks are fetched from their packages on first use.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from typing import Any

from ..errors import NameMismatch
from ..model import Model
from .card import Card, Example, Page, Result, Source

TASKS = (
    "filetype",
    "voice",
    "wakeword",
    "pitch",
    "ocr",
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
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise NameMismatch(f"no ready model {name!r}{hint} There are {', '.join(known)}")


def load(name: str, *, device: str | None = None, precision: str | None = None) -> Model:
    """A ready model; its files are fetched on first use.

    Args:
        name: a name from `catalogue()`.
        device, precision: as for `hither.load`.

    Raises:
        NameMismatch: no such model.
        FetchError: its files cannot be fetched, or are not those that were pinned.

    Example:
        >>> model = hither.models.load("file-type")             # doctest: +SKIP
    """
    found = card(name)
    model = found.build({role: source.path() for role, source in found.sources.items()})
    model.name = found.name
    return model.to(device, precision)


def run(name: str, source: Any, *, device: str | None = None, precision: str | None = None) -> Result:
    """Load a model and answer one input: a picture, a sound, a file or a text, as its card says.

    Example:
        >>> hither.models.run("file-type", "setup.py").values["label"]      # doctest: +SKIP
        'python'
    """
    return card(name).answer(load(name, device=device, precision=precision), source)


__all__ = ["Card", "Example", "Page", "Result", "Source", "card", "catalogue", "load", "run"]
