"""Where everything stands: boxes with their sizes, folded or unfolded, rows below each other, edges from box to box.

The page does the same in its script when a block is unfolded (page.html: place); the two must agree, and a test holds
them together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...graph.core import Value
from .layers import Item, Layers, arrange, straight, width_of
from .parts import Level, Part
from .text import label_lines, size_of

GAP = 26.0  # between rows
LABEL, LABEL_GAP = 13.0, 4.0  # more for each line of a label under a box; below the label
SLANT = 0.05  # more for each unit that an edge goes sideways, up to
MOST_SLANT = 60.0
HEADER, MARGIN = 30.0, 16.0  # of an unfolded block
PORTS = 22.0  # at most, between edges that enter or leave a box


@dataclass(eq=False)
class Edge:
    """A piece of an edge, downwards from (x, y) to (x, y); `arrow`: it ends at a box."""

    start: tuple[float, float]
    end: tuple[float, float]
    value: Value
    arrow: bool
    straight: bool = False


@dataclass(eq=False)
class Box:
    """A Part at its place, its inside being placed relative to it."""

    part: Part
    x: float
    y: float
    width: float
    height: float
    inside: Drawing | None = None


@dataclass(eq=False)
class Drawing:
    """A Level, placed: (0, 0) is its upper left corner. `labels` are (x, y, lines) under boxes."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    labels: list[tuple[float, float, list[str]]] = field(default_factory=list)
    entries: dict[Value, float] = field(default_factory=dict)  # x of where Values enter and leave a block
    exits: dict[Value, float] = field(default_factory=dict)


class Layout:
    """The Layers of a Level and of all Levels inside it, made once; `draw` places them for a choice of unfolded blocks."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.sizes = {part: size_of(part) for part in level.walk()}
        self.layers: dict[Level, Layers] = {}
        widths = {part: size[0] for part, size in self.sizes.items()}
        for one in [level, *(p.inside for p in level.walk() if p.inside is not None)]:
            self.layers[one] = arrange(one, widths)

    def draw(self, unfolded: Collection[Part] = ()) -> Drawing:
        return self._draw(self.level, frozenset(unfolded))

    def _draw(self, level: Level, unfolded: frozenset[Part]) -> Drawing:
        layers = self.layers[level]
        inside = {p: self._draw(p.inside, unfolded) for p in level.parts if p in unfolded and p.inside is not None}
        sizes = dict(self.sizes)
        for part, drawing in inside.items():
            width = max(drawing.width + 2 * MARGIN, self.sizes[part][0])
            sizes[part] = (width, drawing.height + HEADER + MARGIN)
        widths = {part: sizes[part][0] for part in level.parts}
        across = {item: width_of(item, widths) for row in layers.rows for item in row}
        places = straight(layers.rows, across)
        left = min((x - across[item] / 2 for item, x in places.items()), default=0.0)
        places = {item: x - left for item, x in places.items()}
        drawing = Drawing(max((x + across[item] / 2 for item, x in places.items()), default=0.0), 0.0)
        tops, bottoms = self._down(layers, level, places, sizes)
        drawing.height = bottoms[-1] if bottoms else 0.0
        boxes = {}
        for top, row in zip(tops, layers.rows):
            for item in row:
                if item.part is not None:
                    width, height = sizes[item.part]
                    boxes[item] = Box(item.part, places[item] - width / 2, top, width, height, inside.get(item.part))
                elif item.port and item.value is not None:
                    (drawing.entries if item.port == "in" else drawing.exits)[item.value] = places[item]
        drawing.boxes = list(boxes.values())
        self._edges(layers, drawing, boxes, places, tops, bottoms)
        return drawing

    @staticmethod
    def _down(
        layers: Layers, level: Level, places: Mapping[Item, float], sizes: Mapping[Part, tuple[float, float]]
    ) -> tuple[list[float], list[float]]:
        """The upper and lower end of each row."""
        row_of = {item: i for i, row in enumerate(layers.rows) for item in row}
        aside = [0.0] * len(layers.rows)
        for a, b, _ in layers.links:
            aside[row_of[a]] = max(aside[row_of[a]], abs(places[a] - places[b]))
        tops, bottoms, y = [], [], 0.0
        for i, row in enumerate(layers.rows):
            tops.append(y)
            y += max((sizes[item.part][1] for item in row if item.part is not None), default=0.0)
            bottoms.append(y)
            lines = max((len(label_lines(item.part)) for item in row if item.part is not None), default=0)
            y += GAP + LABEL * lines + min(MOST_SLANT, SLANT * aside[i])
        return tops, bottoms

    @staticmethod
    def _edges(
        layers: Layers, drawing: Drawing, boxes: Mapping[Item, Box], places: Mapping[Item, float],
        tops: list[float], bottoms: list[float],
    ) -> None:  # fmt: skip
        row_of = {item: i for i, row in enumerate(layers.rows) for item in row}
        incoming: dict[Item, list[tuple[Item, Value]]] = defaultdict(list)
        outgoing: dict[Item, list[Value]] = defaultdict(list)
        for a, b, value in layers.links:
            incoming[b].append((a, value))
            if value not in outgoing[a]:
                outgoing[a].append(value)
        leaves: dict[tuple[Item, Value], float] = {}
        for item, values in outgoing.items():
            for k, value in enumerate(values):
                leaves[item, value] = _port(places[item], boxes.get(item), k, len(values), value, "exits")
        for item, box in boxes.items():
            lines = label_lines(box.part)
            if lines and outgoing[item]:
                at = leaves[item, outgoing[item][0]] if len(outgoing[item]) == 1 else places[item]
                drawing.labels.append((at, box.y + box.height + LABEL - 1, lines))
        for item, pairs in incoming.items():
            top, target = tops[row_of[item]], boxes.get(item)
            pairs.sort(key=lambda pair: leaves[pair])
            for k, (a, value) in enumerate(pairs):
                x = _port(places[item], target, k, len(pairs), value, "entries")
                start = (leaves[a, value], bottoms[row_of[a]])
                if a in boxes:  # from under the label straight down past the boxes of the row
                    under = LABEL * len(label_lines(boxes[a].part))
                    start = (start[0], boxes[a].y + boxes[a].height + under + (LABEL_GAP if under else 0))
                    trunk = bottoms[row_of[a]] + under + LABEL_GAP + 3
                    drawing.edges.append(Edge(start, (start[0], trunk), value, False, True))
                    start = (start[0], trunk)
                drawing.edges.append(Edge(start, (x, top), value, target is not None))
            if target is None and not item.port and item.value is not None and bottoms[row_of[item]] > top:
                drawing.edges.append(Edge((places[item], top), (places[item], bottoms[row_of[item]]), item.value, False, True))


def _port(x: float, box: Box | None, k: int, count: int, value: Value, side: str) -> float:
    """The x at which a Value enters or leaves an Item."""
    if box is None:
        return x
    if box.inside is not None:
        ports = box.inside.entries if side == "entries" else box.inside.exits
        if value in ports:
            return box.x + (box.width - box.inside.width) / 2 + ports[value]
    return x + (k - (count - 1) / 2) * min(PORTS, box.width / (count + 1))


def unfold_some(level: Level, most: int) -> set[Part]:
    """Blocks to unfold at first, so that at most about `most` boxes are seen: control flow, then all blocks level by level
    while they fit, then the first of each kind."""
    unfolded: set[Part] = set()
    seen, blocks = len(level.parts), [p for p in level.parts if p.inside is not None]
    while blocks:
        more = sum(len(p.inside.parts) for p in blocks if p.inside is not None)
        if seen + more > most:
            break
        unfolded.update(blocks)
        seen += more
        blocks = [q for p in blocks if p.inside is not None for q in p.inside.parts if q.inside is not None]
    known: set[tuple[object, ...]] = set()
    while blocks:
        part = blocks.pop(0)
        if part.inside is None or part.signature in known or seen + len(part.inside.parts) > most:
            continue
        known.add(part.signature)
        unfolded.add(part)
        seen += len(part.inside.parts)
        blocks = [q for q in part.inside.parts if q.inside is not None] + blocks
    return unfolded
