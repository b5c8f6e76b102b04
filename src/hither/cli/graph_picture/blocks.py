"""Folding: operators into nested blocks, by the scopes in their names first, then by the shape of the graph.

Parts stand in an order in which branches stay together. An interval of a topological order can always be drawn as one box
without making a cycle, so all that structure can do is choose intervals: a branch that splits and merges, a sequence that
occurs again and again, equal blocks in a row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ...graph.core import Value
from .parts import COMPUTING, Level, Part, block, distinct, leaf_titles, readers_of, sources_of, title_of

FLAT = 24  # operators that are shown without blocks
READABLE = 24  # boxes on one level that need no further folding
CROWDED = 40  # boxes on one level from which on it is cut by size alone
SMALL = 3  # boxes that a block must exceed to stay one where there is room
LONGEST_REGION = 64
LONGEST_SEQUENCE = 24
LONG_LIVED = (24, 0.25)  # operators, share of a level: Values that live longer (a mask, a long skip) do not tie parts together
EDGES = ("input", "output")  # kinds that stay outside all blocks


def fold(level: Level) -> Level:
    """The same Level with its Parts folded into blocks, on all levels."""
    for part in level.parts:
        if part.inside is not None:
            part.inside = fold(part.inside)
    parts = ordered(level)
    named = [p for p in parts if p.kind not in EDGES]
    for part in named:
        part.skipped = max(part.skipped, _common(named, 0))
    if sum(p.leaves for p in parts if p.kind not in EDGES) > FLAT:
        parts = _Folding(Level(parts, level.inputs, level.results)).run()
    return Level(parts, level.inputs, level.results)


def ordered(level: Level) -> list[Part]:
    """The Parts in a topological order in which each branch stays together, and what serves several comes first."""
    reads = sources_of(level)
    depth: list[int] = []
    for sources in reads:
        depth.append(1 + max((depth[s] for s in sources), default=0))
    beside = _beside(level, reads, depth)
    inputs = [i for i, part in enumerate(level.parts) if part.kind == "input"]
    order: dict[int, None] = dict.fromkeys(inputs)

    def visit(root: int) -> None:
        stack = [(root, iter(reads[root]))]
        while stack:
            i, left = stack[-1]
            step = next((s for s in left if s not in order), None)
            if step is not None:
                stack.append((step, iter(reads[step])))
            else:
                order.setdefault(i)
                stack.pop()

    read = {s for sources in reads for s in sources}
    for i in [*beside, *(i for i in range(len(reads)) if i not in read), *range(len(reads))]:
        visit(i)
    ends = [i for i in order if level.parts[i].kind == "output"]
    return [level.parts[i] for i in order if level.parts[i].kind != "output"] + [level.parts[i] for i in ends]


def _beside(level: Level, reads: list[list[int]], depth: list[int]) -> list[int]:
    """Parts that several read and that do not depend on where the longest path starts: masks, positions, states."""
    if not depth:
        return []
    last = depth.index(max(depth))
    start = last
    while reads[start]:
        start = max(reads[start], key=lambda s: depth[s])
    depends = [False] * len(reads)
    entering = set(level.parts[start].inputs)
    for i, sources in enumerate(reads):
        depends[i] = i == start or any(depends[s] for s in sources) or not entering.isdisjoint(level.parts[i].inputs)
    counts: dict[int, int] = defaultdict(int)
    for sources in reads:
        for s in sources:
            counts[s] += 1
    return [i for i in range(len(reads)) if not depends[i] and counts[i] > 1 and reads[i]]


class _Folding:
    """One level while intervals of its Parts are replaced by blocks."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.parts = level.parts
        self.total = level.leaves
        self.leaving = {v for _, inside in level.results for v in inside}

    def run(self) -> list[Part]:
        self._scopes()
        while self._regions():
            pass
        while self._rows() or (len(self.parts) > READABLE and self._sequence()):
            pass
        while len(self.parts) > CROWDED and self._cut():
            pass
        self._dissolve()
        for part in self.parts:
            self._inside(part)
        return self.parts

    # -- what an interval reads and gives ----------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Where each Value is made and last read, in Parts and in operators."""
        self.made: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        at: list[int] = [0]
        for i, part in enumerate(self.parts):
            at.append(at[-1] + part.leaves)
            for value in part.inputs:
                self.made.setdefault(value, -1)
                self.last[value] = i
            self.made.update(dict.fromkeys(part.outputs, i))
        first: dict[Value, int] = {}
        for i, part in enumerate(self.parts):
            for value in part.inputs:
                first.setdefault(value, i)
        for value in self.leaving:
            self.last[value] = len(self.parts)
        longest = max(LONG_LIVED[0], LONG_LIVED[1] * self.total)
        self.long = {
            v for v, i in self.last.items()
            if i < len(self.parts) and v in first and at[i] - at[first[v] if self.made[v] < 0 else self.made[v]] > longest
        }  # fmt: skip
        for i, part in enumerate(self.parts):  # the model's inputs and outputs tie nothing together either
            if part.kind == "output":
                for value in part.inputs:
                    if self.last[value] == i:
                        others = [j for j, p in enumerate(self.parts) if value in p.inputs and p.kind != "output"]
                        if others:
                            self.last[value] = max(others)

    def _entries(self, i: int, j: int) -> set[Value]:
        return {v for p in self.parts[i:j] for v in p.inputs if self.made[v] < i and v not in self.long}

    def _exits(self, i: int, j: int) -> set[Value]:
        """The Values that leave an interval; a long-lived one counts only where it is what the interval makes in the end."""
        made = ((k, v) for k in range(i, j) for v in self.parts[k].outputs)
        return {v for k, v in made if self.last.get(v, -1) >= j and (v not in self.long or k == j - 1)}

    def _replace(self, intervals: list[tuple[int, int]]) -> None:
        """Make a block of each interval; they do not overlap."""
        for i, j in sorted(intervals, reverse=True):
            self._contract(self.parts[i:j], i)

    def _contract(self, chosen: list[Part], at: int | None = None, **names: str) -> Part:
        outside = {v for p in self.parts if p not in set(chosen) for v in p.inputs} | self.leaving
        made = block(chosen, outside, **names)
        if at is not None:
            self.parts = [*self.parts[:at], made, *self.parts[at + len(chosen) :]]
        return made

    # -- scopes --------------------------------------------------------------------------------------------------------------

    def _scopes(self) -> None:
        named = [p for p in self.parts if p.kind not in EDGES]
        self._scopes_at(named, _common(named, 0))

    def _scopes_at(self, among: list[Part], depth: int) -> None:
        groups: dict[str, list[Part]] = {}
        for part in among:
            if len(part.scope) > depth:
                groups.setdefault(part.scope[depth], []).append(part)
        for chosen in groups.values():
            inner = _common(chosen, depth + 1)
            if len(chosen) < 2 or len(chosen) == len([p for p in self.parts if p.kind not in EDGES]):
                continue
            if not self._convex(chosen):
                self._scopes_at(chosen, inner)
                continue
            scope = chosen[0].scope[depth:inner]
            for part in chosen:
                part.skipped = inner
            made = self._contract(chosen, title="/".join(scope), name="/".join(chosen[0].scope[:inner]))
            made.scope = (*chosen[0].scope[:depth], "/".join(scope))
            made.attributes["operators"] = title_of([Part(t, "", (), ()) for p in chosen for t in leaf_titles(p)])
            inside = set(chosen)
            place = next(i for i, p in enumerate(self.parts) if p in inside)
            rest = [p for p in self.parts if p not in inside]
            self.parts = ordered(Level(_topological([*rest[:place], made, *rest[place:]]), (), self.level.results))

    def _convex(self, chosen: list[Part]) -> bool:
        """Whether no path leaves these Parts and comes back, so that they can be one box."""
        inside = set(chosen)
        readers = readers_of(Level(self.parts))
        seen: set[int] = set()
        stack = [r for p in chosen for v in p.outputs for r in readers.get(v, ()) if self.parts[r] not in inside]
        while stack:
            i = stack.pop()
            if i in seen:
                continue
            seen.add(i)
            for value in self.parts[i].outputs:
                for reader in readers.get(value, ()):
                    if self.parts[reader] in inside:
                        return False
                    stack.append(reader)
        return True

    # -- structure -----------------------------------------------------------------------------------------------------------

    def _regions(self) -> bool:
        """Fold the smallest intervals in which one Value goes separate ways that meet in one Value."""
        self._measure()
        found: list[tuple[int, int]] = []
        n = len(self.parts)
        for i in range(n):
            entries: set[Value] = set()
            alive: set[Value] = set()
            readers: Counter[Value] = Counter()
            for j in range(i + 1, min(n, i + LONGEST_REGION) + 1):
                part = self.parts[j - 1]
                short = [v for v in part.inputs if v not in self.long]
                entries.update(v for v in short if self.made[v] < i)
                if part.kind in EDGES or len(entries) > 1:
                    break
                readers.update(short)
                alive.update(part.outputs)
                alive = {v for v in alive if self.last.get(v, -1) >= j}
                exits = sum(v not in self.long or self.made[v] == j - 1 for v in alive)
                if exits == 1 and entries and readers.most_common(1)[0][1] > 1:
                    found.append((i, j))
                    break
        return self._fold_apart(found)

    def _fold_apart(self, found: list[tuple[int, int]]) -> bool:
        taken: list[tuple[int, int]] = []
        for i, j in sorted(found, key=lambda f: (f[1] - f[0], f[0])):
            most = sum(p.kind not in EDGES for p in self.parts)
            if j - i < most and all(j <= a or b <= i for a, b in taken):
                taken.append((i, j))
        self._replace(taken)
        return bool(taken)

    def _sequence(self) -> bool:
        """Fold the sequence of Parts that occurs most, counting how much shorter the level becomes."""
        self._measure()
        n = len(self.parts)
        ids: dict[tuple[object, ...], int] = {}
        word = [ids.setdefault(p.signature, len(ids)) for p in self.parts]
        best: tuple[float, list[tuple[int, int]]] = (0, [])
        for length in range(2, min(LONGEST_SEQUENCE, n // 2) + 1):
            places: dict[tuple[int, ...], list[int]] = defaultdict(list)
            for i in range(n - length + 1):
                places[tuple(word[i : i + length])].append(i)
            for key, starts in places.items():
                if len(starts) < 2 or _periodic(key):
                    continue
                if (len(starts) - 1) * (min(length, 8) - 1) * 1.3 <= best[0]:
                    continue
                apart = [(i, i + length) for i in _apart(starts, length) if self._chained(i, i + length)]
                weight = 1.3 if _first(self.parts[starts[0]]).kind in COMPUTING else 1.0  # a block begins with its product
                score = (len(apart) - 1) * (min(length, 8) - 1) * weight
                if score > best[0]:
                    best = (score, apart)
        self._replace(best[1])
        return bool(best[1])

    def _chained(self, i: int, j: int) -> bool:
        if any(p.kind in EDGES for p in self.parts[i:j]):
            return False
        return len(self._exits(i, j)) == 1 and len(self._entries(i, j)) <= 1

    def _rows(self) -> bool:
        """Fold equal blocks that follow one another."""
        self._measure()
        i, found = 0, []
        while i < len(self.parts):
            j = i + 1
            while j < len(self.parts) and self.parts[j].signature == self.parts[i].signature:
                j += 1
            one = self.parts[i]
            if (
                1 < j - i < len(self.parts)
                and one.inside is not None
                and one.times == 1
                and all(self._follows(k) for k in range(i + 1, j))
                and self._chained(i, j)
            ):
                found.append((i, j))
            i = j
        for i, j in reversed(found):
            one = self.parts[i]
            made = self._contract(self.parts[i:j], i, title=one.title)
            made.times = j - i
            made.signature = ("row", one.signature)
            made.scope = one.scope
            if one.scope:
                last = made.inside.parts[-1] if made.inside else one
                made.title = f"{one.title} … {last.title.rsplit('/', 1)[-1]}"
                made.attributes = dict(one.attributes)
        return bool(found)

    def _follows(self, i: int) -> bool:
        before = set(self.parts[i - 1].outputs)
        return any(v in before for v in self.parts[i].inputs)

    def _cut(self) -> bool:
        """Cut a long level into blocks of similar size where the fewest Values cross."""
        self._measure()
        inner = [i for i, p in enumerate(self.parts) if (p.kind not in EDGES and p.inside is None) or p.leaves < 8]
        size = max(4, -(-len(self.parts) // READABLE))
        found, i, n = [], 0, len(self.parts)
        allowed = set(inner)
        while i < n:
            if i not in allowed or self.parts[i].kind in EDGES:
                i += 1
                continue
            ends = []
            for j in range(i + 2, min(n, i + 2 * size) + 1):
                if j - 1 not in allowed or self.parts[j - 1].kind in EDGES:
                    break
                ends.append(j)
            if not ends:
                i += 1
                continue
            end = min(ends, key=lambda j: (len(self._exits(i, j)), abs(j - i - size)))
            found.append((i, end))
            i = end
        self._replace(found)
        return bool(found)

    # -- afterwards ------------------------------------------------------------------------------------------------------------

    def _dissolve(self) -> None:
        """Blocks of very few operators give way where there is room for what is in them."""
        small = [p for p in self.parts if p.inside is not None and p.signature[:1] == ("block",) and not p.scope]
        boxes = sum(p.kind not in EDGES for p in self.parts)
        for part in sorted(small, key=lambda p: p.leaves):
            inside = part.inside.parts if part.inside is not None else []
            if part.leaves <= SMALL and boxes + part.leaves - 1 <= READABLE:
                at = self.parts.index(part)
                self.parts[at : at + 1] = _flattened(inside)
                boxes += part.leaves - 1

    def _inside(self, part: Part) -> None:
        """Fold what is inside a block of this level; equal blocks in a row stay as they are."""
        if part.inside is None or (part.kind == "control" and part.signature[:1] != ("block",)):
            return
        if part.times > 1:
            for one in part.inside.parts:
                self._inside(one)
            return
        flat = list(_flattened(part.inside.parts)) if part.inside.leaves <= FLAT else part.inside.parts
        inside = Level(flat, part.inside.inputs, part.inside.results)
        if inside.leaves > FLAT:
            inside = Level(_Folding(Level(ordered(inside), inside.inputs, inside.results)).run(), inside.inputs, inside.results)
        part.inside = inside


def _flattened(parts: list[Part]) -> Iterator[Part]:
    """Parts with the blocks among them taken apart, scopes and control flow excepted."""
    for part in parts:
        if part.inside is not None and part.signature[:1] in (("block",), ("row",)) and not part.scope:
            yield from _flattened(part.inside.parts)
        else:
            yield part


def _topological(parts: list[Part]) -> list[Part]:
    """The Parts in a topological order near the given one."""
    maker = {v: p for p in parts for v in p.outputs}
    done: dict[Part, None] = {}
    for root in parts:
        stack = [root]
        while stack:
            part = stack[-1]
            waiting = [maker[v] for v in distinct(part.inputs) if v in maker and maker[v] not in done]
            if part in done or not waiting:
                done.setdefault(part)
                stack.pop()
            else:
                stack.extend(waiting)
    return list(done)


def _common(parts: list[Part], depth: int) -> int:
    """How many scopes, `depth` or more, the names of all Parts begin with."""
    while parts and all(len(p.scope) > depth for p in parts) and len({p.scope[depth] for p in parts}) == 1:
        depth += 1
    return depth


def _first(part: Part) -> Part:
    while part.inside is not None and part.inside.parts:
        part = part.inside.parts[0]
    return part


def _periodic(word: tuple[int, ...]) -> bool:
    """Whether a sequence is a shorter one at least twice, the last time perhaps in part."""
    return any(word[p:] == word[:-p] for p in range(1, len(word) // 2 + 1))


def _apart(starts: list[int], length: int) -> list[int]:
    """The starts of occurrences that do not overlap, from the left."""
    kept: list[int] = []
    for start in starts:
        if not kept or start >= kept[-1] + length:
            kept.append(start)
    return kept
