"""Lowering: one fused group becomes one or a few kernels.

`Emitter` writes a kernel for a group: asked for a value at an index, it computes it from what is stored, through every node
that was fused. The schedules decide the loops around it: rows and vectors on a CPU, one invocation per element on a GPU.
Groups anchored by a template are scheduled in hither.kernels.templates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from .. import dtypes as dt
from ..graph.core import Node, Value, abstract_of
from ..graph.primitive import Elementwise, Indexed, Reduction
from .builder import Builder
from .fusion import Group, flatten, sorted_nodes, unflatten
from .index import Index, Var, constant, variable
from .ir import Buffer, Kernel, Machine, Val

GRAIN = 16384  # scalar operations that make a thread of its own worth waking


@dataclass
class Context:
    """What lowering shares across one compilation: the machine, the constants, and constants made from them (packed)."""

    machine: Machine
    constants: dict[Value, np.ndarray]
    packed: dict[object, Value] = field(default_factory=dict)

    def pack(self, source: Value, how: str, make: Callable[[np.ndarray], np.ndarray]) -> Value:
        """A constant derived from another, made once per (source, how)."""
        return self.new_constant((source, how), lambda: make(self.constants[source]), source.name)

    def new_constant(self, key: object, make: Callable[[], np.ndarray], name: str = "") -> Value:
        """A constant made once per key."""
        if key not in self.packed:
            array = np.ascontiguousarray(make())
            value = Value(abstract_of(array), name)
            self.constants[value] = array
            self.packed[key] = value
        return self.packed[key]


@dataclass
class Lowered:
    """A kernel and the values its buffers stand for, in order."""

    kernel: Kernel
    args: tuple[Value, ...]


class Emitter:
    """Writes one kernel of a group."""

    def __init__(self, context: Context, group: Group) -> None:
        self.context, self.group = context, group
        self.machine = context.machine
        self.k = Builder(context.machine)
        self.producers = group.producers()
        self.buffers: dict[Value, Buffer] = {}
        self.known: dict[Value, Val] = {}  # computed in this kernel: template and reduction results
        self.addresses: list[Index] = []
        self._memo: dict[tuple[Value, tuple[Index, ...], int], Val] = {}

    def buffer(self, value: Value, access: str = "read") -> Buffer:
        """The kernel parameter through which a stored value is reached."""
        if value not in self.buffers:
            self.buffers[value] = self.k.buffer(value.name or "v", value.dtype, value.abstract.size, access)
        return self.buffers[value]

    @contextmanager
    def point(self, width: int = 1) -> Iterator[None]:
        """A new place in the loop nest: values computed before it at the same index are not reused."""
        memo, self._memo = self._memo, {}
        before, self.k.width = self.k.width, width
        yield
        self._memo, self.k.width = memo, before

    def read(self, value: Value, index: tuple[Index, ...]) -> Val:
        """The element of `value` at `index`, computed or loaded; a vector where the index varies by lane."""
        if value in self.known:
            return self.known[value]
        key = (value, index, self.k.width)
        found = self._memo.get(key)
        if found is None:
            producer = self.producers.get(value)
            found = self._load(value, index) if producer is None else self._compute(producer, index)
            self._memo[key] = found
        return found

    def _compute(self, node: Node, index: tuple[Index, ...]) -> Val:
        lowering = node.primitive.lowering
        if isinstance(lowering, Elementwise):
            return lowering.emit(self.k, *[self.read(o, index) for o in node.operands], **node.params)
        if isinstance(lowering, Indexed):
            return lowering.emit(
                self.k, index, lambda j, at: self.read(node.operands[j], tuple(_as_index(i) for i in at)),
                tuple(o.abstract for o in node.operands), node.results[0].abstract, **node.params,
            )  # fmt: skip
        raise AssertionError(f"{node.primitive.name} was read inside a group before it was computed")

    def _load(self, value: Value, index: tuple[Index, ...]) -> Val:
        array = self.context.constants.get(value)
        if array is not None and array.size == 1 and array.dtype.kind in "biuf":
            dtype = dt.float32 if value.dtype is dt.float16 else value.dtype
            return self.k.const(array.item(), dtype)
        return self.load_flat(value, flatten(index, value.shape))

    def load_flat(self, value: Value, flat: Index) -> Val:
        """The stored element at a row-major position."""
        self.addresses.append(flat)
        buffer, width = self.buffer(value), self.k.width
        stride = flat.lane_stride()
        if width == 1 or stride == 0:
            return self.k.load(buffer, flat, 1, value.dtype)
        if stride == 1:
            return self.k.load(buffer, _without_lane(flat), width, value.dtype)
        return self.k.gather(buffer, self.k.index(flat), value.dtype)

    def store_flat(self, value: Value, flat: Index, element: Val, count: int | None = None) -> None:
        """Store an element, or `k.width` of them, at a row-major position of a stored result."""
        self.addresses.append(flat)
        buffer, width = self.buffer(value, "write"), self.k.width
        if width == 1:
            self.k.store(buffer, flat, element)
        elif flat.lane_stride() == 1:
            self.k.store(buffer, _without_lane(flat), self.k.broadcast(element, width), count)
        elif count is None or count == width:
            self.k.scatter(buffer, self.k.broadcast(self.k.index(flat), width), element)
        else:
            where = self.k.broadcast(self.k.index(flat), width)
            element = self.k.broadcast(element, width)
            for lane in range(count):
                self.k.scatter(buffer, self.k.extract(where, lane), self.k.extract(element, lane))

    def store_root(self, flat: Index, element: Val, count: int | None = None) -> None:
        """Store elements of the group's result, wherever that result has its place."""
        root, placement = self.group.root.results[0], self.group.placement
        if placement is None:
            self.store_flat(root, flat, element, count)
            return
        index = (i + s for i, s in zip(unflatten(flat, root.shape), placement.shift, strict=True))
        self.store_flat(placement.target, flatten(tuple(index), placement.target.shape), element, count)

    def finish_element(self, index: tuple[Index, ...], element: Val, count: int | None = None) -> None:
        """A template's result element(s) at `index`: run the group's epilogue and store the root."""
        anchor = self.group.anchor
        assert anchor is not None
        result, root = anchor.results[0], self.group.root.results[0]
        flat = flatten(index, result.shape)
        with self.point(self.k.width):
            self.known[result] = element
            at = index if root.shape == result.shape else unflatten(flat, root.shape)
            self.store_root(flat, self.read(root, at), count)
            del self.known[result]

    def finish(self, name: str, **kwargs: object) -> Lowered:
        """The kernel, and the values to bind."""
        order = {b: v for v, b in self.buffers.items()}
        kernel = self.k.finish(name, **kwargs)  # type: ignore[arg-type]
        return Lowered(kernel, tuple(order[b] for b in kernel.buffers))


def _as_index(i: Index | int) -> Index:
    return constant(i) if isinstance(i, int) else i


def _without_lane(flat: Index) -> Index:
    return Index({a: c for a, c in flat.terms.items() if not (isinstance(a, Var) and a.lane)}, flat.const)


def lane(width: int) -> Index:
    """The Index that counts the lanes of a vector."""
    return variable(Var("lane", 0, width - 1, lane=True)) if width > 1 else constant(0)


def widest(group: Group, machine: Machine) -> int:
    """Lanes of the vectors that suit the widest dtype in a group."""
    values = {v for n in group.nodes for v in (*n.operands, *n.results)} | set(group.results)
    bits = max((v.dtype.bits for v in values), default=32)
    return machine.lanes(bits)


def pieces(extent: int, width: int, machine: Machine) -> list[tuple[int, int, int]]:
    """Cut 0…extent into (start, stop, width): as many full vectors as fit, then the rest in what the machine does well."""
    if width > 1 and extent < width:
        width = 1 << max(extent.bit_length() - 1, 0)
    if machine.name == "wasm" and width < 4:
        width = 1
    cut: list[tuple[int, int, int]] = []
    start = 0
    while start < extent:
        stop = start + (extent - start) // width * width
        if stop > start:
            cut.append((start, stop, width))
        start = stop
        width = max(width // 2, 1)
        if machine.name == "wasm" and width < 4:
            width = 1
    return cut


def cost(group: Group) -> int:
    """A rough count of scalar operations per element, for deciding how many threads a kernel is worth."""
    heavy = sum(10 for n in group.nodes if n.primitive.name in ("exp", "log", "tanh", "erf", "sigmoid", "pow", "sin", "cos"))
    return 1 + len(group.nodes) + heavy


def describe(group: Group) -> str:
    """A name for profiles: what was fused."""
    computing = [n for n in group.nodes if not (isinstance(n.primitive.lowering, Indexed) and n.primitive.lowering.view)]
    names = [n.primitive.name for n in computing]
    return "_".join(names[:4] or [group.root.primitive.name]) + (f"_and_{len(names) - 4}" if len(names) > 4 else "")


def lower_group(context: Context, group: Group) -> list[Lowered]:
    """The kernels of one group, in order."""
    if all(r.abstract.size == 0 for r in group.results):
        return []
    if group.anchor is not None and not isinstance(group.anchor.primitive.lowering, Reduction):
        from .templates import TEMPLATES

        name = group.anchor.primitive.lowering.name  # type: ignore[union-attr]
        return TEMPLATES[name](context, group)
    if group.rows is not None:
        from . import cooperative

        by_row, length = group.anchor is None and _trailing(group), math.prod(group.rows.inner)
        if context.machine.gpu and length >= (cooperative.LONG_ROW if by_row else cooperative.LONG_COLUMN):
            return [cooperative.rows(context, group) if by_row else cooperative.columns(context, group)]
        return [_rows(context, group) if by_row else _columns(context, group)]
    if group.root.primitive.name == "concat":
        return [_concat(context, group)] if len(group.placed) < len(group.root.operands) else []
    if group.placed:
        return [_border(context, group)]
    return [_pointwise(context, group)]


# -- elementwise and views ---------------------------------------------------------------------------------------------


def _pointwise(context: Context, group: Group) -> Lowered:
    e = Emitter(context, group)
    root = group.root.results[0]
    write_nest(e, root.shape, lambda e, index: e.store_root(flatten(index, root.shape), e.read(root, index)))
    return e.finish(describe(group))


def _border(context: Context, group: Group) -> Lowered:
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


def _concat(context: Context, group: Group) -> Lowered:
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


# -- reductions --------------------------------------------------------------------------------------------------------


def _trailing(group: Group) -> bool:
    assert group.rows is not None
    axes, rank = group.rows.axes, len(group.rows.domain)
    kept = [i for i in range(rank) if i not in axes and group.rows.domain[i] != 1]
    return not kept or not axes or max(kept) < min((a for a in axes if group.rows.domain[a] != 1), default=rank)


def combine(k: Builder, how: str, total: Val, x: Val) -> Val:
    """One step of a reduction; max and min keep a NaN from either side."""
    if how == "add":
        return total + x
    if how == "mul":
        return total * x
    best = k.max(total, x) if how == "max" else k.min(total, x)
    return k.select(x.ne(x), x, best) if x.dtype.is_float else best


def across_lanes(k: Builder, how: str, vector: Val) -> Val:
    """A vector of partial results combined into one."""
    if vector.width == 1:
        return vector
    if how == "add":
        return k.reduce("add", vector)
    total = k.extract(vector, 0)
    for i in range(1, vector.width):
        total = combine(k, how, total, k.extract(vector, i))
    return total


def _rows(context: Context, group: Group) -> Lowered:
    """Row by row: each reduction in its own walk along the row, then what is stored."""
    e = Emitter(context, group)
    k, machine, rows = e.k, e.machine, group.rows
    assert rows is not None
    outer, inner = math.prod(rows.outer), math.prod(rows.inner)
    root = group.root.results[0]
    full = stores_rows(group)
    width = 1 if machine.gpu else widest(group, machine)
    nodes = sorted_nodes(group)
    by_row = row_values(nodes, outer, inner)
    with k.loop(0, outer, kind="parallel", grain=max(1, GRAIN // max(cost(group) * inner, 1))) as loop:
        row = k.var(loop, "row", 0, outer - 1) if outer > 1 else constant(0)
        for node in nodes:
            lowering = node.primitive.lowering
            if isinstance(lowering, Reduction):
                with e.point():
                    e.known[node.results[0]] = _reduce_row(e, node, row, inner, width)
            elif node in by_row and node.results[0] is not root:
                with e.point():
                    e.known[node.results[0]] = e.read(node.results[0], unflatten(row, node.results[0].shape))
        if not full:
            with e.point():
                e.store_root(row, e.read(root, unflatten(row, root.shape)))
        else:
            for start, stop, w in pieces(inner, width, machine):
                with k.loop(start, stop, w) as columns, e.point(w):
                    at = variable(Var("i", start, stop - w, math.gcd(start, w) or w, columns.index)) + lane(w)
                    flat = row * inner + at
                    e.store_root(flat, e.read(root, unflatten(flat, root.shape)))
    return e.finish(describe(group))


def stores_rows(group: Group) -> bool:
    """Whether a group of reductions along rows stores every element of each, or one value per row."""
    assert group.rows is not None
    outer, inner = math.prod(group.rows.outer), math.prod(group.rows.inner)
    alone = inner == 1 and isinstance(group.root.primitive.lowering, Reduction)
    return group.root.results[0].abstract.size == outer * inner and not alone


def row_values(nodes: list[Node], outer: int, inner: int) -> set[Node]:
    """Nodes that depend on a reduction of the group and have one value per row: computed once per row."""
    found: set[Node] = set()
    reduced: set[Value] = set()
    for node in nodes:
        plain = isinstance(node.primitive.lowering, Elementwise) or node.primitive.name in ("reshape", "broadcast")
        if isinstance(node.primitive.lowering, Reduction):
            reduced.add(node.results[0])
        elif plain and inner > 1 and node.results[0].abstract.size == outer and any(o in reduced for o in node.operands):
            reduced.add(node.results[0])
            found.add(node)
    return found


def _reduce_row(e: Emitter, node: Node, row: Index, inner: int, width: int) -> Val:
    """One reduction along one row, in vectors with several accumulators where the row is long."""
    k = e.k
    lowering, operand = node.primitive.lowering, node.operands[0]
    assert isinstance(lowering, Reduction)
    how = lowering.combine
    dtype = dt.float32 if operand.dtype is dt.float16 else operand.dtype
    first = k.const(lowering.initial(dtype), dtype)
    total: Val | None = None

    def element(at: Index, w: int) -> Val:
        flat = row * inner + at
        with e.point(w):
            return k.broadcast(e.read(operand, unflatten(flat, operand.shape)), w)

    for start, stop, w in pieces(inner, width, e.machine):
        count = 4 if w > 1 and (stop - start) >= 8 * w and len(e.group.nodes) < 12 else 1
        step = w * count
        bulk = start + (stop - start) // step * step
        sums: tuple[Val, ...] = tuple(k.broadcast(first, w) for _ in range(count))
        with k.loop(start, bulk, step, init=sums) as loop:
            base = variable(Var("i", start, max(bulk - step, start), math.gcd(start, w) or w, loop.index))
            loop.yield_(*(combine(k, how, s, element(base + u * w + lane(w), w)) for u, s in enumerate(loop.carried)))
        sums = loop.results
        vector = sums[0]
        for s in sums[1:]:
            vector = combine(k, how, vector, s)
        if bulk < stop:
            with k.loop(bulk, stop, w, init=[vector]) as loop:
                base = variable(Var("i", bulk, stop - w, math.gcd(bulk, w) or w, loop.index))
                loop.yield_(combine(k, how, loop.carried[0], element(base + lane(w), w)))
            (vector,) = loop.results
        scalar = across_lanes(k, how, vector)
        total = scalar if total is None else combine(k, how, total, scalar)
    return first if total is None else total


def column_index(group: Group, kept: tuple[Index, ...], r: Index) -> tuple[Index, ...]:
    """Where a reduction reads for result `kept`: the r-th of what it reduces over."""
    assert group.rows is not None
    domain, axes = group.rows.domain, group.rows.axes
    found = dict(zip(axes, unflatten(r, group.rows.inner), strict=True))
    found |= zip((d for d in range(len(domain)) if d not in axes), kept, strict=True)
    return tuple(found[d] for d in range(len(domain)))


def _columns(context: Context, group: Group) -> Lowered:
    """A reduction whose last axis is kept: vectors along the kept axis, one loop over what is reduced."""
    e = Emitter(context, group)
    k, machine, rows = e.k, e.machine, group.rows
    assert rows is not None
    node = group.anchor or group.root
    lowering, operand, root = node.primitive.lowering, node.operands[0], node.results[0]
    assert isinstance(lowering, Reduction)
    dtype = dt.float32 if operand.dtype is dt.float16 else operand.dtype
    reduced = math.prod(rows.inner)
    inner = 1 if machine.gpu else root.shape[-1]
    outer = root.abstract.size // inner
    width = 1 if machine.gpu else widest(group, machine)

    def one(flat: Index, w: int) -> None:
        start = k.broadcast(k.const(lowering.initial(dtype), dtype), w)
        kept = unflatten(flat, root.shape)
        with k.loop(0, reduced, init=[start]) as loop:
            r = k.var(loop, "r", 0, max(reduced - 1, 0))
            with e.point(w):
                x = e.read(operand, column_index(group, kept, r))
            loop.yield_(combine(k, lowering.combine, loop.carried[0], k.broadcast(x, w)))
        with e.point(w):
            if group.anchor is None:
                e.store_root(flat, loop.results[0])
            else:
                e.finish_element(kept, loop.results[0])

    grain = max(1, GRAIN // max(cost(group) * inner * reduced, 1))
    if outer == 1 and inner > width:
        for start, stop, w in pieces(inner, width, machine):
            with k.loop(start, stop, w, kind="parallel", grain=max(1, GRAIN // (cost(group) * w * reduced))) as loop:
                one(variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w), w)
        return e.finish(describe(group))
    with k.loop(0, outer, kind="parallel", grain=grain) as outer_loop:
        row = k.var(outer_loop, "row", 0, outer - 1) if outer > 1 else constant(0)
        for start, stop, w in pieces(inner, width, machine):
            with k.loop(start, stop, w) as loop:
                i = variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w)
                one(row * inner + i, w)
    return e.finish(describe(group))
