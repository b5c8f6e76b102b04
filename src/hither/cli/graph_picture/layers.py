"""Layers of a Level, as Sugiyama, Tagawa and Toda (1981) draw graphs: the row of each box, its place in the row, its x.

Longest paths give rows, barycentres the order in them. An edge over several rows passes a waypoint in each, and all edges of
one Value share theirs: a mask that every block reads is one line with branches. Nothing here depends on how large boxes are
once blocks are unfolded, so a page can unfold them and keep rows, order and places (layout).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ...graph.core import Value
from .parts import Level, Part, sources_of

SWEEPS = 8
FIXED = 1e6  # weight of what lies on the longest path: it stays straight
RAIL = 50.0  # weight of waypoints
STRAIGHT = 8.0  # weight of a waypoint's link to the next one, against 1 of a link between boxes
WAYPOINT_WIDTH, PORT_WIDTH, APART = 16.0, 24.0, 22.0


@dataclass(eq=False)
class Item:
    """What stands in a row: a Part, a waypoint of a Value, or a Value where it enters or leaves a block."""

    part: Part | None = None
    value: Value | None = None
    port: str = ""  # "in", "out" or neither
    x: float = 0.0  # of the middle, with all blocks folded
    weight: float = 1.0


@dataclass(eq=False)
class Layers:
    """A Level in rows. `links` go from an Item to one in the next row, carrying a Value."""

    rows: list[list[Item]]
    links: list[tuple[Item, Item, Value]] = field(default_factory=list)


def arrange(level: Level, widths: Mapping[Part, float]) -> Layers:
    """Rows of a Level whose folded boxes have these widths."""
    rank, longest = _ranks(level)
    items = {part: Item(part) for part in level.parts}
    rows: list[list[Item]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for i, part in enumerate(level.parts):
        rows[rank[i]].append(items[part])
        if i in longest:
            items[part].weight = FIXED
    ports_in = [Item(value=v, port="in") for v in level.inputs]
    ports_out = [Item(value=v, port="out") for v, _ in level.results]
    rows = [*([ports_in] if ports_in else []), *rows, *([ports_out] if ports_out else [])]
    made = Layers([row for row in rows if row])
    _link(level, made, items, ports_in, ports_out)
    _order(made)
    _place(made, widths)
    return made


def _ranks(level: Level) -> tuple[list[int], set[int]]:
    """The row of each Part, and which Parts the longest path goes through."""
    reads = sources_of(level)
    n = len(reads)
    readers: list[list[int]] = [[] for _ in range(n)]
    rank = [0] * n
    for i, sources in enumerate(reads):
        rank[i] = 1 + max((rank[s] for s in sources), default=-1)
        for s in sources:
            readers[s].append(i)
    length = list(rank)  # ties on the longest path go to where the work is
    work = [p.flops for p in level.parts]
    for i, sources in enumerate(reads):
        work[i] += max((work[s] for s in sources if length[s] == length[i] - 1), default=0)
    longest: set[int] = set()
    if n:
        i = max(range(n), key=lambda k: (length[k], work[k]))
        longest.add(i)
        while reads[i]:
            i = max((s for s in reads[i] if length[s] == length[i] - 1), key=lambda s: work[s])
            longest.add(i)
    for i in reversed(range(n)):  # what only feeds others moves down to them
        if i not in longest and readers[i] and len(readers[i]) >= len(reads[i]):
            below = min(rank[r] for r in readers[i]) - 1
            if not reads[i] or len({v for v in level.parts[i].inputs}) < len(level.parts[i].outputs) or below == rank[i]:
                rank[i] = max(rank[i], below)
    return rank, longest


def _link(level: Level, made: Layers, items: Mapping[Part, Item], ports_in: Sequence[Item], ports_out: Sequence[Item]) -> None:
    """Links between neighbouring rows, with waypoints that all readers of a Value share."""
    row_of = {item: i for i, row in enumerate(made.rows) for item in row}
    start: dict[Value, Item] = {port.value: port for port in ports_in if port.value is not None}
    start.update({v: items[part] for part in level.parts for v in part.outputs})
    goals: dict[Value, list[Item]] = defaultdict(list)
    for part in level.parts:
        for value in dict.fromkeys(part.inputs):
            goals[value].append(items[part])
    for port, (_, inside) in zip(ports_out, level.results, strict=True):
        for value in inside:
            goals[value].append(port)
    for value, ends in goals.items():
        if value not in start:
            continue
        first = row_of[start[value]]
        rail = [start[value]]
        for row in range(first + 1, max(row_of[e] for e in ends)):
            waypoint = Item(value=value)
            made.rows[row].append(waypoint)
            made.links.append((rail[-1], waypoint, value))
            rail.append(waypoint)
        for end in ends:
            made.links.append((rail[row_of[end] - first - 1], end, value))


def _neighbours(made: Layers) -> tuple[dict[Item, list[Item]], dict[Item, list[Item]]]:
    above: dict[Item, list[Item]] = defaultdict(list)
    below: dict[Item, list[Item]] = defaultdict(list)
    for a, b, _ in made.links:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _order(made: Layers) -> None:
    """Order each row by the barycentre of its neighbours, downwards and upwards; the order with the fewest crossings stays."""
    above, below = _neighbours(made)
    best, rows = _crossings(made.rows, below), [list(row) for row in made.rows]
    for sweep in range(SWEEPS):
        if not best:
            break
        down = sweep % 2 == 0
        place = {item: i / max(1, len(row) - 1) for row in made.rows for i, item in enumerate(row)}
        for row in made.rows[1:] if down else reversed(made.rows[:-1]):
            near = above if down else below
            places = {}
            for i, item in enumerate(row):
                found = [place[o] for o in near.get(item, ())]
                places[item] = sum(found) / len(found) if found else i / max(1, len(row) - 1)
            row.sort(key=places.__getitem__)
            place.update({item: i / max(1, len(row) - 1) for i, item in enumerate(row)})
        crossings = _crossings(made.rows, below)
        if crossings < best:
            best, rows = crossings, [list(row) for row in made.rows]
    made.rows = rows


def _crossings(rows: Sequence[Sequence[Item]], below: Mapping[Item, list[Item]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        place = {item: i for i, item in enumerate(lower)}
        seen: list[int] = []
        for item in upper:
            targets = sorted(place[o] for o in below.get(item, ()))
            count += sum(len(seen) - bisect_right(seen, t) for t in targets)
            for target in targets:
                insort(seen, target)
    return count


def _place(made: Layers, widths: Mapping[Part, float]) -> None:
    """The x of each Item: near its neighbours, the longest path straight, waypoints of one edge below each other."""
    above, below = _neighbours(made)
    size = {item: width_of(item, widths) for row in made.rows for item in row}
    for row in made.rows:
        for item, x in zip(row, spread(row, [0.0] * len(row), [size[i] for i in row])):
            item.x = x
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in made.rows if down else reversed(made.rows):
            wanted = [0.0 if item.weight == FIXED else _pull(item, above, below, down, sweep < SWEEPS - 2) for item in row]
            for item, x in zip(row, spread(row, wanted, [size[i] for i in row])):
                item.x = x
    for row in made.rows:
        for item in row:
            item.weight = RAIL if _waypoint(item) else item.weight
    for item, x in straight(made.rows, size).items():
        item.x = x


def straight(rows: Sequence[Sequence[Item]], size: Mapping[Item, float]) -> dict[Item, float]:
    """The x of all Items for boxes of these widths: as near as can be to their own, waypoints of a Value below each other.

    The longest path stands at 0; an edge beside it keeps as far away as it must at the widest place that it passes.
    """
    places: dict[Item, float] = {}
    for row in rows:
        places.update(zip(row, spread(row, [i.x for i in row], [size[i] for i in row])))
    rails: dict[Value, list[Item]] = defaultdict(list)
    for row in rows:
        for item in row:
            if _waypoint(item) and item.value is not None:
                rails[item.value].append(item)
    for rail in rails.values():
        xs = [places[item] for item in rail]
        target = max(xs) if min(xs) > 0 else min(xs) if max(xs) < 0 else sum(xs) / len(xs)
        places.update(dict.fromkeys(rail, target))
    for row in rows:
        places.update(zip(row, spread(row, [places[i] for i in row], [size[i] for i in row])))
    return places


def _pull(item: Item, above: Mapping[Item, list[Item]], below: Mapping[Item, list[Item]], down: bool, one_sided: bool) -> float:
    """Where the neighbours would have an Item."""
    near = (above if down else below).get(item, []) if one_sided else [*above.get(item, ()), *below.get(item, ())]
    near = near or [*above.get(item, ()), *below.get(item, ())]
    if not near:
        return item.x
    weights = [STRAIGHT if _waypoint(item) and _waypoint(other) else 1.0 for other in near]
    return sum(w * other.x for w, other in zip(weights, near)) / sum(weights)


def _waypoint(item: Item) -> bool:
    return item.part is None and not item.port


def width_of(item: Item, widths: Mapping[Part, float]) -> float:
    if item.part is not None:
        return widths[item.part]
    return PORT_WIDTH if item.port else WAYPOINT_WIDTH


def spread(row: Sequence[Item], wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The x of a row's Items nearest to what is wanted (weighted least squares) without overlaps, in order.

    The minimum is found by pooling adjacent violators (Ayer et al. 1955), after taking the least distances out.
    """
    pools: list[list[float]] = []  # [sum of weight * place, sum of weights, count]
    offset, offsets = 0.0, []
    for i, item in enumerate(row):
        if i:
            offset += (widths[i - 1] + widths[i]) / 2 + APART
        offsets.append(offset)
        pools.append([item.weight * (wanted[i] - offset), item.weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last)]
    places = [total / weight for total, weight, count in pools for _ in range(int(count))]
    return [place + away for place, away in zip(places, offsets, strict=True)]
