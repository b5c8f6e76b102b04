"""Results whose size depends on values: written from the front of a buffer of the largest size, with the count beside it.

Both kernels are sequential, for what is written where depends on everything before it; on a GPU a workgroup shares the work
(hither.kernels.templates.dynamic_team).
"""

from __future__ import annotations

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered
from ..fusion import Group, unflatten
from ..index import constant
from ..ir import INDEX
from . import dynamic_team, template
from .boxes import corners, overlap


@template("nonzero")
def nonzero(context: Context, group: Group) -> list[Lowered]:
    """Positions of the elements that are not zero, one column each, row-major."""
    node = group.root
    (x,), (found, count) = node.operands, node.results
    e = Emitter(context, group)
    if e.machine.gpu:
        return [dynamic_team.nonzero(e, group)]
    k = e.k
    size = x.abstract.size
    zero = k.const(0, INDEX)
    with k.loop(0, size * max(x.abstract.rank, 0)) as clear:
        k.store(e.buffer(found, "write"), clear.index, k.const(0, found.dtype))
    with k.loop(0, size, init=[zero]) as loop, e.point():
        index = unflatten(k.var(loop, "i", 0, size - 1), x.shape)
        element = e.read(x, index)
        hit = element if element.dtype is dt.bool_ else element.ne(k.const(0, element.dtype))
        with k.if_(hit):
            for axis, position in enumerate(index):
                k.store(e.buffer(found, "write"), loop.carried[0] + axis * size, k.index_value(position, found.dtype))
        loop.yield_(loop.carried[0] + k.select(hit, k.const(1, INDEX), zero))
    k.store(e.buffer(count, "write"), 0, k.convert(loop.results[0], count.dtype))
    return [e.finish(f"nonzero_{size}")]


@template("nms")
def nms(context: Context, group: Group) -> list[Lowered]:
    """Greedy suppression per batch and class: the best box left is kept, what overlaps it too much is dropped.

    Picking the best each time costs boxes × kept comparisons and needs no sort; ties go to the lower index.
    """
    node = group.root
    boxes, scores, max_output, iou_threshold, score_threshold = node.operands
    found, count = node.results
    bound, center = node.params["bound"], bool(node.params.get("center"))
    batches, number = boxes.shape[0], boxes.shape[1]
    classes = scores.shape[1]
    e = Emitter(context, group)
    if e.machine.gpu:
        return [dynamic_team.nms(e, group)]
    k = e.k
    alive = Value(Abstract((max(number, 1),), dt.int32), "alive")
    state = e.buffer(alive, "read_write")
    out = e.buffer(found, "write")
    zero, one = k.const(0, INDEX), k.const(1, INDEX)
    first = (constant(0),)
    limit = k.convert(e.read(max_output, first * max_output.abstract.rank), INDEX)
    most = e.read(iou_threshold, first * iou_threshold.abstract.rank)
    least = e.read(score_threshold, first * score_threshold.abstract.rank)
    with k.loop(0, bound * 3) as clear:
        k.store(out, clear.index, k.const(0, found.dtype))

    rounds = min(number, bound)
    with k.loop(0, batches * classes, init=[zero]) as pairs:
        b, c = unflatten(k.var(pairs, "pair", 0, max(batches * classes - 1, 0)), (batches, classes))
        with k.loop(0, number) as loop, e.point():
            score = e.read(scores, (b, c, k.var(loop, "i", 0, number - 1)))
            k.store(state, loop.index, k.convert(least < score, dt.int32))
        with k.loop(0, k.min(limit, rounds), init=[pairs.carried[0]]) as picks:
            with k.loop(0, number, init=[k.const(-1, INDEX), k.const(0.0, least.dtype)]) as search:
                with e.point():
                    score = e.read(scores, (b, c, k.var(search, "i", 0, number - 1)))
                held, best = search.carried
                better = k.load(state, search.index).ne(0) & ((held < 0) | (best < score))
                search.yield_(k.select(better, search.index, held), k.select(better, score, best))
            chosen = search.results[0]
            valid = (k.const(-1, INDEX) < chosen) & (picks.carried[0] < bound)
            with k.if_(valid):
                at = picks.carried[0] * 3
                k.store(out, at, k.index_value(b, found.dtype))
                k.store(out, at + 1, k.index_value(c, found.dtype))
                k.store(out, at + 2, k.convert(chosen, found.dtype))
                box = k.run_time_index(chosen, number, "chosen")
                best_box = corners(e, boxes, b, box, center)
                k.store(state, box, k.const(0, dt.int32))
                with k.loop(0, number) as others:
                    other = corners(e, boxes, b, k.var(others, "j", 0, number - 1), center)
                    with k.if_(most < overlap(k, best_box, other)):
                        k.store(state, others.index, k.const(0, dt.int32))
            picks.yield_(picks.carried[0] + k.select(valid, one, zero))
        pairs.yield_(picks.results[0])
    k.store(e.buffer(count, "write"), 0, k.convert(pairs.results[0], count.dtype))
    return [e.finish(f"nms_{number}")]
