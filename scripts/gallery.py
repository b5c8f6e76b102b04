"""Write docs/gallery.md: every ready model on its own example, with what it prints and, where it can, what it draws.

    python scripts/gallery.py [NAME…]

Runs the catalogue (fetching packages on first use). With names, only these pictures and texts are made anew; the rest of the
page is kept. Pictures are JPEG of at most 640 pixels and 40 KB each, and 400 KB in all.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from hither import models

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "images" / "gallery"
LONGEST, MOST_BYTES, MOST_IN_ALL = 640, 40_000, 400_000
MOST_LINES = 12

INTRODUCTION = """# Ready models

Written by `python scripts/gallery.py`: each model of the catalogue on its own example. `hither models` lists them,
`hither models run NAME FILE` runs one, `hither.models.load(NAME)` gives it to Python, and `hither.bundle` to a page. Licences
are what the packages and the projects they come from say; check them before you redistribute weights.
"""


def jpeg(picture: Any, most: int) -> bytes:
    """The picture as the best JPEG that fits."""
    for quality in range(88, 20, -4):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= most:
            return buffer.getvalue()
    raise SystemExit(f"a picture of {picture.width}×{picture.height} pixels does not fit into {most} bytes")


def save(picture: Any, target: Path) -> None:
    """The picture small enough for the page."""
    small = picture.convert("RGB")
    small.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(jpeg(small, MOST_BYTES))


class WrongAnswer(Exception):
    """A model that says something else than its card; it is left out of the page."""


def section(card: models.Card) -> str:
    """One model: what it is, how to run it, what it finds in its example."""
    given = card.example.path()
    result = models.run(card.name, given)
    if not card.example.expects(result.values):
        raise WrongAnswer(f"{card.name} does not give the answer that its card expects: {result.lines}")
    packages = ", ".join(dict.fromkeys(map(str, card.sources.values())))
    example = Path(given).name if isinstance(given, Path) else f'"{given}"'
    option = f" -o {card.name}.png" if result.picture is not None else ""
    lines = [*result.lines[:MOST_LINES], *(["…"] if len(result.lines) > MOST_LINES else [])]
    text = [
        f"## {card.name}", "", f"{card.summary} *{card.citation}.* Licence: {card.licence}. Package: {packages}.", "",
        "```", f"$ hither models run {card.name} {example}{option}", *lines, "```", "",
    ]  # fmt: skip
    if result.picture is not None:
        target = PICTURES / f"{card.name}.jpg"
        save(result.picture, target)
        text += [f"![{card.task}]({target.relative_to(PAGE.parent).as_posix()})", ""]
    return "\n".join(text)


def kept() -> Iterator[tuple[str, str]]:
    """The sections of the page as it is."""
    if PAGE.exists():
        for part in re.split(r"(?m)^(?=## )", PAGE.read_text())[1:]:
            yield part.partition("\n")[0].removeprefix("## "), part


def main(names: list[str]) -> None:
    chosen = {models.card(name).name for name in names}
    before = dict(kept()) if names else {}
    parts, wrong = [], []
    for name, card in models.catalogue().items():
        fresh = name not in before or name in chosen
        print("running" if fresh else "keeping", name)
        try:
            parts.append(section(card).rstrip() if fresh else before[name].rstrip())
        except WrongAnswer as error:
            wrong.append(str(error))
    PAGE.write_text("\n\n".join([INTRODUCTION.rstrip(), *parts]) + "\n")
    for picture in PICTURES.glob("*.jpg"):
        if picture.stem not in models.catalogue():
            picture.unlink()
    total = sum(picture.stat().st_size for picture in PICTURES.glob("*.jpg"))
    print(f"{PAGE.relative_to(ROOT)}: {len(parts)} models, pictures {total} bytes")
    if total > MOST_IN_ALL:
        raise SystemExit(f"pictures take {total} bytes; at most {MOST_IN_ALL} are meant")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
