"""Loop nests over a shape: elementwise groups, borders of pads, and concatenations.

Rows and vectors on a CPU, one invocation per element on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import dtypes as dt
from ..graph.core import Value
from ..graph.primitive import Elementwise
from ..graph.primitives.shape import run_time_starts
from .emitter import GRAIN, Context, Emitter, Lowered, cost, describe, lane, pieces, widest
from .fusion import Group, flatten, unflatten
from .index import Index, Var, constant, variable
from .ir import Val


def pointwise(context: Context, group: Group) -> Lowered:
    """A group without reductions: each element of the result from operands at its index."""
    e = Emitter(context, group)
    root = group.root.results[0]
    if group.parts:
        write_nest(e, root.shape, lambda e, index: _store_parts(e, group.parts, index))
    elif group.root.primitive.name == "pad" and not context.machine.gpu:
        _inside(e, group)
        _slabs(e, group)
    else:
        write_nest(e, root.shape, lambda e, index: e.store_root(flatten(index, root.shape), e.read(root, index), None, index))
    return e.finish(describe(group))


def _store_parts(e: Emitter, parts: tuple[Group, ...], index: tuple[Index, ...]) -> None:
    """An element of each part's result; all are computed before any is stored, for a result may take an operand's place."""
    elements = [e.read(part.root.results[0], index) for part in parts]
    for part, element in zip(parts, elements, strict=True):
        e.store_root(flatten(index, part.root.results[0].shape), element, None, index, part)


def border(context: Context, group: Group) -> Lowered:
    """A pad whose inside is stored by others: only the border is filled here."""
    e = Emitter(context, group)
    _slabs(e, group)
    return e.finish("border")


def _inside(e: Emitter, group: Group) -> None:
    """What a pad surrounds, stored without asking for each element whether it is there."""
    (operand,), low, root = group.root.operands, group.root.params["low"], group.root.results[0]

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        there = tuple(i + n for i, n in zip(index, low, strict=True))
        e.store_root(flatten(there, root.shape), e.read(operand, index), None, there)

    if operand.abstract.size:
        write_nest(e, operand.shape, store)


def _slabs(e: Emitter, group: Group) -> None:
    """The border of a pad, one slab per side of each axis."""
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
                e.store_root(flatten(there, root.shape), e.k.const(node.params["value"], dtype), None, there)

            write_nest(e, slab, store)


def update(context: Context, group: Group) -> Lowered:
    """A slice that replaces a part of an array, stored over that part."""
    e = Emitter(context, group)
    (x, made, starts), root = group.root.operands, group.root.results[0]

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        read = lambda _, at: e.read(starts, at)  # noqa: E731
        first = run_time_starts(e.k, index, read, 2, x.shape, made.shape)
        there = tuple(i + s for i, s in zip(index, first, strict=True))
        e.store_root(flatten(there, root.shape), e.read(made, index), None, there)

    if made.abstract.size:
        write_nest(e, made.shape, store)
    return e.finish("update_slice")


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
        step = 2 if e.in_pairs() else 1
        with k.loop(0, size, step, kind="parallel") as loop:
            first = k.var(loop, "i", 0, size - step, step)
            for offset in range(step):
                with e.point():
                    store(e, unflatten(first + offset, shape))
        return
    width = widest(e.group, machine)
    split = _split(e, shape, width, store)
    if _crosswise_pays(e, shape, split, width, store):
        _crosswise(e, shape, width, store)
        return
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
    """The first axis of the inner loop: as many trailing axes as can be walked as one without dividing in any address."""
    if all(isinstance(n.primitive.lowering, Elementwise) for n in e.group.nodes):
        return 0
    last = max(len(shape) - 1, 0)
    for split in range(last):
        if not any(a.has_division() for a in _along(e, shape, split, width, store)):
            return split
    return last


def _along(e: Emitter, shape: tuple[int, ...], split: int, width: int, store: Store) -> list[Index]:
    """The addresses that one vector along the axes from `split` touches."""
    inner = math.prod(shape[split:])
    w = width if inner >= width else 1
    return _probe(e, w, store, lambda zero: (
        *_outer(shape[:split], zero),
        *unflatten(variable(Var("i", 0, max(inner - w, 0), w, zero)) + lane(w), shape[split:]),
    ))  # fmt: skip


def _outer(shape: tuple[int, ...], zero: Val) -> list[Index]:
    return [variable(Var(f"o{d}", 0, max(n - 1, 0), value=zero)) for d, n in enumerate(shape)]


def _probe(e: Emitter, width: int, store: Store, index: Callable[[Val], tuple[Index, ...]]) -> list[Index]:
    """The addresses that `store` uses at an index, found by writing it on an emitter that is thrown away."""
    probe = Emitter(e.context, e.group)
    with probe.point(width):
        store(probe, index(probe.k.as_index(0)))
    return probe.addresses


UNROLLED = 8  # elements of the last axis that are written out when vectors run across it


def _crosswise_pays(e: Emitter, shape: tuple[int, ...], split: int, width: int, store: Store) -> bool:
    """Whether vectors along the last axis but one read and write more of their memory in one piece than vectors along the
    last: turning channels-first pictures of three channels around, for one."""
    if len(shape) < 2 or not 1 < shape[-1] <= UNROLLED or shape[-2] < width or width == 1:
        return False
    across = _probe(e, width, store, lambda zero: (
        *_outer(shape[:-2], zero), variable(Var("i", 0, shape[-2] - width, width, zero)) + lane(width), constant(0),
    ))  # fmt: skip
    return _scattered(across) < _scattered(_along(e, shape, split, width, store))


def _scattered(addresses: list[Index]) -> int:
    """A cost of accesses that are not one piece of memory: each lane on its own, and twice that if its place is computed."""
    costs = {0: 0, 1: 0, None: 2}
    return sum(costs.get(a.lane_stride(), 1) for a in addresses)


def _crosswise(e: Emitter, shape: tuple[int, ...], width: int, store: Store) -> None:
    k = e.k
    *leading, across, last = shape
    outer = math.prod(leading)
    with k.loop(0, outer, kind="parallel", grain=max(1, GRAIN // (cost(e.group) * across * last))) as rows:
        row = unflatten(k.var(rows, "row", 0, outer - 1) if outer > 1 else constant(0), tuple(leading))
        for start, stop, w in pieces(across, width, e.machine):
            with k.loop(start, stop, w) as loop:
                i = variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w)
                for j in range(last):
                    with e.point(w):
                        store(e, (*row, i, constant(j)))
