"""Loop nests over a shape: elementwise groups, borders of pads, and concatenations.

Rows and vectors on a CPU, one invocation per element on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import dtypes as dt
from ..graph.core import Value
from ..graph.primitive import Elementwise
from .emitter import GRAIN, Context, Emitter, Lowered, cost, describe, lane, pieces, widest
from .fusion import Group, flatten, unflatten
from .index import Index, Var, constant, variable


def pointwise(context: Context, group: Group) -> Lowered:
    """A group without reductions: each element of the result from operands at its index."""
    e = Emitter(context, group)
    root = group.root.results[0]
    write_nest(e, root.shape, lambda e, index: e.store_root(flatten(index, root.shape), e.read(root, index)))
    return e.finish(describe(group))


def border(context: Context, group: Group) -> Lowered:
    """A pad whose inside is stored by others: only the border is filled here, one slab per side of each axis."""
    e = Emitter(context, group)
    node = group.root
    root, (operand,), low = node.results[0], node.operands, node.params["low"]
    dtype = dt.float32 if root.dtype is dt.float16 else root.dtype
    for axis, inside in enumerate(operand.shape):
        for start, extent in ((0, low[axis]), (low[axis] + inside, node.params["high"][axis])):
            slab = (*operand.shape[:axis], extent, *root.shape[axis + 1 :])
            corner = (*low[:axis], start, *(0,) * (len(slab) - axis - 1))
            if not math.prod(slab):
                continue

            def store(e: Emitter, index: tuple[Index, ...], corner: tuple[int, ...] = corner) -> None:
                there = tuple(i + c for i, c in zip(index, corner, strict=True))
                e.store_flat(root, flatten(there, root.shape), e.k.const(node.params["value"], dtype))

            write_nest(e, slab, store)
    return e.finish("border")


def concat(context: Context, group: Group) -> Lowered:
    """Each operand is computed straight into its part of the result: one nest per operand, all in one kernel."""
    e = Emitter(context, group)
    root = group.root.results[0]
    axis, start = group.root.params["axis"], 0
    for i, operand in enumerate(group.root.operands):
        if operand.abstract.size and i not in group.placed:

            def store(e: Emitter, index: tuple[Index, ...], operand: Value = operand, start: int = start) -> None:
                there = tuple(i + start if d == axis else i for d, i in enumerate(index))
                e.store_root(flatten(there, root.shape), e.read(operand, index))

            write_nest(e, operand.shape, store)
        start += operand.shape[axis]
    return e.finish(describe(group))


Store = Callable[[Emitter, tuple[Index, ...]], None]


def write_nest(e: Emitter, shape: tuple[int, ...], store: Store) -> None:
    """Loops over `shape` that call `store` once per element or vector of neighbours along the trailing axes."""
    k, machine = e.k, e.machine
    size = math.prod(shape)
    if machine.gpu:
        with k.loop(0, size, kind="parallel") as loop, e.point():
            store(e, unflatten(k.var(loop, "i", 0, size - 1), shape))
        return
    width = widest(e.group, machine)
    split = _split(e, shape, width, store)
    inner = math.prod(shape[split:])
    outer = size // inner if inner else 0
    work = cost(e.group)
    cut = pieces(inner, width, machine)
    if outer == 1:
        for start, stop, w in cut:
            with k.loop(start, stop, w, kind="parallel", grain=max(1, GRAIN // (work * w))) as loop, e.point(w):
                i = variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w)
                store(e, unflatten(i, shape))
        return
    with k.loop(0, outer, kind="parallel", grain=max(1, GRAIN // (work * inner))) as rows:
        row = unflatten(k.var(rows, "row", 0, outer - 1), shape[:split])
        for start, stop, w in cut:
            if stop - start == w:
                with e.point(w):
                    store(e, (*row, *unflatten(constant(start) + lane(w), shape[split:])))
                continue
            with k.loop(start, stop, w) as loop, e.point(w):
                i = variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w)
                store(e, (*row, *unflatten(i, shape[split:])))


def _split(e: Emitter, shape: tuple[int, ...], width: int, store: Store) -> int:
    """The first axis of the inner loop: as many trailing axes as can be walked as one without dividing in any address.

    Found by trying: each candidate is written on an emitter that is thrown away, and the addresses it used are looked at.
    """
    if all(isinstance(n.primitive.lowering, Elementwise) for n in e.group.nodes):
        return 0
    last = max(len(shape) - 1, 0)
    for split in range(last):
        inner = math.prod(shape[split:])
        w = width if inner >= width else 1
        probe = Emitter(e.context, e.group)
        zero = probe.k.as_index(0)
        outer = [variable(Var(f"o{d}", 0, max(n - 1, 0), value=zero)) for d, n in enumerate(shape[:split])]
        i = variable(Var("i", 0, max(inner - w, 0), w, zero)) + lane(w)
        with probe.point(w):
            store(probe, (*outer, *unflatten(i, shape[split:])))
        if not any(a.has_division() for a in probe.addresses):
            return split
    return last
