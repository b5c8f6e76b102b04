"""A picture as a page: page.html with the boxes put in. It asks for nothing from anywhere."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ...graph.core import Value
from ..report import count, size
from .layers import Item, width_of
from .layout import Layout, unfold_some
from .parts import Level, Part
from .svg import BOXES, KINDS, box_svg, style, summary, title_end
from .text import label_lines, lines_of, shape

SHOWN_WEIGHTS = 24  # of one box, in the list beside the picture


def html_page(level: Level, title: str, most: int = BOXES) -> str:
    """The page as text; `most` is how many boxes are seen at first, as in svg_file."""
    data = json.dumps(_Writing(level, title, most).data(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.replace("$STYLE", style()).split("$DATA")
    return before.replace("$TITLE", html.escape(title)) + data.replace("<", "\\u003c") + after  # no </script> in names


class _Writing:
    """The picture as plain data: parts, levels and values by number."""

    def __init__(self, level: Level, title: str, most: int) -> None:
        self.level, self.title = level, title
        self.layout = Layout(level)
        self.unfolded = unfold_some(level, most)
        self.parts = list(level.walk())
        self.levels = [level, *(p.inside for p in self.parts if p.inside is not None)]
        self.part_ids = {part: i for i, part in enumerate(self.parts)}
        self.level_ids = {one: i for i, one in enumerate(self.levels)}
        self.values: dict[Value, int] = {}

    def data(self) -> dict[str, Any]:
        work = sum(p.flops for p in self.level.parts)
        return {
            "title": self.title,
            "summary": summary(self.level),
            "kinds": {k: name for k, name in KINDS.items() if any(p.kind == k for p in self.parts)},
            "parts": [self._part(part, work) for part in self.parts],
            "levels": [self._level(one) for one in self.levels],
            "values": [shape(v.abstract) for v in self.values],
        }

    def _value(self, value: Value) -> int:
        return self.values.setdefault(value, len(self.values))

    def _part(self, part: Part, work: int) -> dict[str, Any]:
        width, height = self.layout.sizes[part]
        made: dict[str, Any] = {
            "w": width, "h": height, "svg": box_svg(part, width, height), "title": lines_of(part)[0], "kind": part.kind,
            "labels": label_lines(part), "facts": self._facts(part, work), "search": f"{part.title} {part.name}".lower(),
        }  # fmt: skip
        if part.inside is not None:
            made |= {
                "level": self.level_ids[part.inside],
                "open": part in self.unfolded,
                "clear": title_end(part),
                "header": box_svg(part, width, height, unfolded=True),
            }
        return made

    @staticmethod
    def _facts(part: Part, work: int) -> list[tuple[str, str]]:
        facts = [("name", part.name)] if part.name else []
        if part.inside is not None:
            facts.append(("operators", str(part.leaves)))
        facts += [("reads", shape(v.abstract)) for v in part.inputs[:12]] + [
            ("gives", shape(v.abstract)) for v in part.outputs[:12]
        ]
        if part.flops:
            share = f" ({100 * part.flops / work:.1f} %)" if work else ""
            facts.append(("FLOP", count(part.flops) + share))
        if part.parameters:
            nbytes = sum(v.abstract.nbytes for v in {w.value for w in part.weights})
            facts.append(("parameters", f"{count(part.parameters)} in {size(nbytes)}"))
        if part.inside is None:
            facts += [(key, value) for key, value in part.attributes.items() if key != "operators"]
            facts += [("weight", f"{w.name} {shape(w.value.abstract)}".strip()) for w in part.weights[:SHOWN_WEIGHTS]]
            facts += [("from", source) for source in part.sources[1:]]
        return facts

    def _level(self, level: Level) -> dict[str, Any]:
        layers = self.layout.layers[level]
        items: list[list[Any]] = []
        numbers: dict[Item, int] = {}
        rows: list[list[int]] = []
        widths: Mapping[Part, float] = {p: s[0] for p, s in self.layout.sizes.items()}
        for row in layers.rows:
            rows.append([])
            for item in row:
                numbers[item] = len(items)
                rows[-1].append(len(items))
                where = [round(item.x, 1), item.weight, width_of(item, widths)]
                part = -1 if item.part is None else self.part_ids[item.part]
                items.append([*where, part, item.port, -1 if item.value is None else self._value(item.value)])
        return {
            "rows": rows,
            "items": items,
            "links": [[numbers[a], numbers[b], self._value(v)] for a, b, v in layers.links],
        }
