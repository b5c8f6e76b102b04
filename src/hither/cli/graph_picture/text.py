"""What is written in and at boxes, and how much room it takes."""

from __future__ import annotations

import re

from ...graph.core import Abstract
from ..report import count
from .parts import Part

TITLE = 14.0  # the width of bold text of 13 px is that of plain text of this size
WIDTH, MAX_WIDTH = 132.0, 310.0
PADDING, STACK = 12.0, 3  # inside a box; between the frames of several
TITLE_HEIGHT, LINE_HEIGHT = 17.0, 14.5
# Widths of characters against the font's size, on average over the fonts that system-ui may be
_NARROW, _WIDE = set("iljtfrI.,:;'|!()[]·/ "), set("mwMWGOQ@%→…×")


def text_width(text: str, size: float) -> float:
    return size * sum(0.36 if c in _NARROW else 0.95 if c in _WIDE else 0.69 if c.isupper() else 0.61 for c in text)


def fitting(text: str, size: float, width: float) -> str:
    """The text, its middle left out where it is too long: names differ at their ends."""
    if text_width(text, size) <= width:
        return text
    keep = len(text)
    while keep > 4 and text_width(text[:keep], size) > width - size:
        keep -= 1
    return f"{text[: keep // 3]}…{text[len(text) - (keep - keep // 3) :]}"


def shape(abstract: Abstract) -> str:
    """[1,56,56,24] float32."""
    return f"[{','.join(map(str, abstract.shape))}] {abstract.dtype}"


def short_name(part: Part) -> str:
    """The user's name without the scopes that the blocks around it are called after."""
    steps = re.split(r"(?<=[/.])", part.name)
    return "".join(steps[part.skipped :]) or part.name


def lines_of(part: Part) -> list[str]:
    """What a folded box says: its title, then smaller lines."""
    if part.kind in ("input", "output"):
        value = (part.inputs or part.outputs)[0]
        return [part.name or part.kind, shape(value.abstract)]
    title = part.title if part.times == 1 else f"{part.title}  ×{part.times}"
    if part.inside is not None:
        facts = [f"{part.leaves} operators"]
        if part.parameters:
            facts.append(f"{count(part.parameters)} params")
        if part.flops:
            facts.append(f"{count(part.flops)}FLOP" if part.flops >= 1000 else f"{part.flops} FLOP")
        kinds = part.attributes.get("operators", "")
        return [title, *([kinds] if kinds else []), " · ".join(facts)]
    if part.kind == "depthwise" and "depth" not in title.lower():
        title += ", depthwise"
    weights = " ".join(f"[{','.join(map(str, w.value.shape))}]" for w in part.weights[:3])
    more = f" +{len(part.weights) - 3}" if len(part.weights) > 3 else ""
    numbers = part.attributes.get("numbers", "")
    detail = weights + more or (numbers if part.kind == "elementwise" and len(numbers) < 24 else "")
    name = short_name(part)
    return [title, *([name] if name else []), *([detail] if detail else [])]


def label_lines(part: Part) -> list[str]:
    """What stands under a box about the arrays that leave it: each shape once."""
    if part.kind in ("input", "output"):
        return []
    counts: dict[str, int] = {}
    for value in part.outputs:
        text = shape(value.abstract)
        counts[text] = counts.get(text, 0) + 1
    return [text if n == 1 else f"{n} × {text}" for text, n in counts.items()]


def size_of(part: Part) -> tuple[float, float]:
    """(width, height) of a folded box, room for the labels under it included."""
    title, *rest = lines_of(part)
    wide = max([text_width(title, TITLE), *(text_width(line, 11) for line in rest)])
    mark = 20 if part.inside is not None else 0
    label = max((text_width(line, 10.5) for line in label_lines(part)), default=0.0)
    width = min(MAX_WIDTH, max(WIDTH, wide + 2 * PADDING + mark, label))
    behind = 2 * STACK if part.times > 1 else 0
    return round(width) + behind, TITLE_HEIGHT + LINE_HEIGHT * len(rest) + 13 + behind
