"""NonZero and non-maximum suppression on a GPU: one workgroup does what a CPU does in sequence (see dynamic.py).

Loops have constant bounds and every invocation reaches every barrier; what no longer counts is masked.
"""

from __future__ import annotations

import math

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..cooperative import Team
from ..emitter import Emitter, Lowered
from ..fusion import Group, unflatten
from ..index import Index, Var, constant, variable
from ..ir import INDEX, Val
from .boxes import corners, overlap


def nonzero(e: Emitter, group: Group) -> Lowered:
    """Each invocation counts the hits in a piece; then, knowing how many come before it, writes them."""
    (x,), (found, count) = group.root.operands, group.root.results
    k, size = e.k, x.abstract.size
    team = Team(e, 1, size)
    start, stop = team.piece(size)
    zero, one = k.const(0, INDEX), k.const(1, INDEX)
    target = e.buffer(found, "write")

    def walk(first: Val, write: bool) -> Val:
        with k.loop(start, stop, init=[first]) as loop, e.point():
            index = unflatten(k.var(loop, "i", 0, size - 1), x.shape)
            element = e.read(x, index)
            hit = element if element.dtype is dt.bool_ else element.ne(k.const(0, element.dtype))
            if write:
                with k.if_(hit):
                    for axis, position in enumerate(index):
                        k.store(target, loop.carried[0] + axis * size, k.index_value(position, found.dtype))
            loop.yield_(loop.carried[0] + k.select(hit, one, zero))
        return loop.results[0]

    earlier, total = team.before(team.shared(dt.int32), walk(zero, write=False), "add", zero)
    walk(earlier, write=True)
    with k.loop(team.local, size, team.size) as rest, k.if_(total <= rest.index):
        for axis in range(x.abstract.rank):
            k.store(target, rest.index + axis * size, k.const(0, found.dtype))
    with k.if_(team.first):
        k.store(e.buffer(count, "write"), 0, k.convert(total, count.dtype))
    return team.finish(group, f"nonzero_{size}")


def nms(e: Emitter, group: Group) -> Lowered:
    """Greedy suppression: all look for the best box left, each among its own, and drop those of their own that overlap it."""
    boxes, scores, max_output, iou_threshold, score_threshold = group.root.operands
    found, count = group.root.results
    bound, center = group.root.params["bound"], bool(group.root.params.get("center"))
    batches, number, classes = boxes.shape[0], boxes.shape[1], scores.shape[1]
    k, team = e.k, Team(e, 1, number)
    state = e.buffer(Value(Abstract((max(number, 1),), dt.int32), "alive"), "read_write")
    out = e.buffer(found, "write")
    zero, one = k.const(0, INDEX), k.const(1, INDEX)
    first = (constant(0),)
    limit = k.convert(e.read(max_output, first * max_output.abstract.rank), INDEX)
    most = e.read(iou_threshold, first * iou_threshold.abstract.rank)
    least = e.read(score_threshold, first * score_threshold.abstract.rank)
    held = (team.shared(least.dtype), team.shared(dt.int32))
    nobody = k.const(number, INDEX)

    def beats(v: Val, i: Val, w: Val, j: Val) -> Val:
        return (w < v) | (v.eq(w) & (i < j))

    def own(loop_index: Val) -> Index:
        return variable(Var("i", 0, number - 1, value=loop_index))

    with k.loop(0, batches * classes, init=[zero]) as pairs:
        b, c = unflatten(k.var(pairs, "pair", 0, max(batches * classes - 1, 0)), (batches, classes))
        with k.loop(team.local, number, team.size) as loop, e.point():
            score = e.read(scores, (b, c, own(loop.index)))
            k.store(state, loop.index, k.convert(least < score, dt.int32))
        with k.loop(0, min(number, bound), init=[pairs.carried[0]]) as picks:
            lowest = k.const(-math.inf, least.dtype)
            with k.loop(team.local, number, team.size, init=[lowest, nobody]) as search, e.point():
                score = e.read(scores, (b, c, own(search.index)))
                better = k.load(state, search.index).ne(0) & beats(score, search.index, *search.carried)
                search.yield_(k.select(better, score, search.carried[0]), k.select(better, search.index, search.carried[1]))
            chosen = team.best(held, search.results[0], search.results[1], beats)
            valid = (chosen < number) & (picks.carried[0] < bound) & (picks.index < limit)
            with k.if_(valid & team.first):
                at = picks.carried[0] * 3
                k.store(out, at, k.index_value(b, found.dtype))
                k.store(out, at + 1, k.index_value(c, found.dtype))
                k.store(out, at + 2, k.convert(chosen, found.dtype))
            with k.if_(valid):
                best = corners(e, boxes, b, k.run_time_index(chosen, number, "chosen"), center)
                with k.loop(team.local, number, team.size) as others:
                    other = corners(e, boxes, b, own(others.index), center)
                    with k.if_((most < overlap(k, best, other)) | others.index.eq(chosen)):
                        k.store(state, others.index, k.const(0, dt.int32))
            picks.yield_(picks.carried[0] + k.select(valid, one, zero))
        pairs.yield_(picks.results[0])
    with k.loop(team.local, bound * 3, team.size) as rest, k.if_(pairs.results[0] * 3 <= rest.index):
        k.store(out, rest.index, k.const(0, found.dtype))
    with k.if_(team.first):
        k.store(e.buffer(count, "write"), 0, k.convert(pairs.results[0], count.dtype))
    return team.finish(group, f"nms_{number}")
