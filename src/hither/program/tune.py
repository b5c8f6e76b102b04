"""Tiles by measurement: a few candidates for each product, timed with the very kernels that would run, the fastest kept.

The rule in kernels/templates/tile.py knows registers; it does not know how a processor's caches, load ports and clocks like a
shape. Here each distinct product is compiled on its own, on random numbers, once per candidate; candidates take turns, and the
least time of each counts, since what others do to the machine only slows it. The rule's tile stays unless another is clearly
faster. Choices are kept on disk, so a product is measured once per machine and version of hither.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..graph.core import Abstract, Graph, Node, Value
from ..graph.primitive import REGISTRY
from ..kernels.ir import Machine
from ..kernels.templates.tile import Problem, Tile, choose_tile
from ..runtime.object_cache import ObjectCache, cache_directory
from ..runtime.provenance import code_identity, is_unchanged

CLEARLY = 0.97  # of the rule's time, below which another tile replaces it: half of what repeated measurements differ by
SHARE = 2e-3  # seconds that a candidate runs per turn
TURNS = 8
MOST_ELEMENTS = 1 << 26  # of all operands of a product that is measured; larger ones keep to the rule
LIMIT = 4 << 20  # bytes of all choices on disk

Measure = Callable[[Problem, Machine, Sequence[Tile]], Sequence[float]]


def candidates(problem: Problem, machine: Machine) -> list[Tile]:
    """Tiles worth measuring, the rule's first: accumulators fill the registers beside a row of the panel and a broadcast.

    With vectors of half the width too, where whole ones would mostly hold padding or N is no multiple of them.
    """
    first = choose_tile(machine, problem.n, problem.m, problem.bits)
    found = {(min(first.rows, problem.m), first.vectors, first.width): first}
    lanes = machine.lanes(problem.bits)
    for width in (lanes, lanes // 2) if problem.n % lanes and lanes >= 8 else (lanes,):
        needed = -(-problem.n // width)
        for vectors in range(1, min(4, needed) + 1):
            room = (machine.vector_registers - 1) // vectors - 1
            for rows in {room, room * 3 // 4} if width == lanes else {room}:
                if rows >= 2:
                    shape = (min(rows, problem.m), vectors, width)
                    found.setdefault(shape, Tile(*shape))
    return list(found.values())


class TileSearch:
    """The tiles of products, measured: what `Context.tiles` is under `tune=True`.

    Args:
        machine: whose tiles.
        measure: (problem, machine, candidates) to seconds of each; by running them if not given.
        cache: where choices are kept; the user's cache if not given.
    """

    def __init__(self, machine: Machine, measure: Measure | None = None, cache: ObjectCache | None = None) -> None:
        self.machine, self.measure = machine, measure or measured
        self.cache = cache or tile_cache()
        self._chosen: dict[Problem, Tile] = {}

    def __call__(self, problem: Problem) -> Tile:
        """The fastest tile for a product: known, from disk, or measured now."""
        if problem not in self._chosen:
            self._chosen[problem] = self._stored(problem) or self._search(problem)
        return self._chosen[problem]

    def _key(self, problem: Problem) -> str | None:
        from ..runtime.cpu import compiler_identity

        code = code_identity()
        return None if code is None else self.cache.key("tile", repr(problem), repr(self.machine), *compiler_identity(), code)

    def _stored(self, problem: Problem) -> Tile | None:
        key = self._key(problem)
        found = None if key is None else self.cache.get(key)
        return None if found is None else Tile(**json.loads(found))

    def _search(self, problem: Problem) -> Tile:
        tiles = candidates(problem, self.machine)
        elements = problem.m * problem.n + sum(a.size for a in problem.operands)
        if len(tiles) == 1 or not 0 < elements <= MOST_ELEMENTS:
            return tiles[0]
        seconds = self.measure(problem, self.machine, tiles)
        best = min(range(len(tiles)), key=lambda i: seconds[i])
        chosen = tiles[best] if seconds[best] < CLEARLY * seconds[0] else tiles[0]
        key = self._key(problem)
        if key is not None and is_unchanged():
            self.cache.put(key, json.dumps(asdict(chosen)).encode())
        return chosen


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory, LIMIT, ".tile")


def tile_cache() -> ObjectCache:
    """The user's cache of tiles."""
    return _cache_at(cache_directory() / "tiles")


# -- measuring -----------------------------------------------------------------------------------------------------------


def measured(problem: Problem, machine: Machine, tiles: Sequence[Tile]) -> list[float]:
    """Seconds that a product takes with each tile, on one thread: the least of several turns."""
    runs = [runner(problem, machine, tile) for tile in tiles]
    least = [math.inf] * len(runs)
    for turn in range(TURNS):
        for i in range(turn % len(runs), turn % len(runs) + len(runs)):
            run = runs[i % len(runs)]
            run()  # what the one before left in the caches is not counted
            end = time.perf_counter() + SHARE
            while True:
                start = time.perf_counter()
                run()
                now = time.perf_counter()
                least[i % len(runs)] = min(least[i % len(runs)], now - start)
                if now > end:
                    break
    return least


def runner(problem: Problem, machine: Machine, tile: Tile) -> Callable[[], None]:
    """A product alone, compiled with this tile, over random operands: what runs it once, on one thread."""
    from ..runtime.cpu import CpuExecutable
    from ..runtime.host_memory import aligned_empty
    from .plan import plan

    def tiles(other: Problem) -> Tile:
        return tile if other == problem else choose_tile(machine, other.n, other.m, other.bits)

    made = plan({"run": product_graph(problem)}, machine, tiles=tiles)
    executable = CpuExecutable(made.code, machine, made.weights_image())
    state, arena, io = (aligned_empty(made.code.sizes[space]) for space in ("state", "arena", "io"))
    for port in made.entries["run"].inputs:
        place = io[port.ref.offset : port.ref.offset + port.ref.nbytes]
        place[:] = _random(port.abstract).reshape(-1).view(np.uint8)
    return lambda: executable.run("run", state, arena, io, threads=1)


def product_graph(problem: Problem) -> Graph:
    """The Graph of a product alone."""
    primitive, params = REGISTRY[problem.primitive], dict(problem.params)
    operands = tuple(Value(a, name) for a, name in zip(problem.operands, ("x", "w"), strict=True))
    made = primitive.abstract(*problem.operands, **params)
    assert isinstance(made, Abstract), "products have one result"
    result = Value(made, "y")
    node = Node(primitive, operands, params, (result,))
    constants = {operands[1]: _random(problem.operands[1])} if problem.packed else {}
    inputs = tuple(v for v in operands if v not in constants)
    return Graph(inputs, constants, (node,), (result,), tuple(v.name for v in inputs), ("y",))


def _random(abstract: Abstract) -> np.ndarray:
    """Small numbers: times do not depend on them as long as they are normal."""
    return np.random.default_rng(0).integers(1, 5, abstract.shape).astype(abstract.dtype.numpy)
