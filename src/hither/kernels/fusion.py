"""Fusion: a Graph is cut into groups, one loop nest each.

Nodes are visited from the outputs backwards. A node joins its consumers' group when all of them are in one group and being
computed there costs nothing extra; so elementwise chains, views and broadcasts vanish into whoever reads them, and into
the epilogue of the matmul, convolution or reduction that feeds them. A group is named by its root, the one value it stores.

Reductions over the same rows share a group (softmax, layer norm): each row is walked once per reduction and once for the
result, with everything between kept in registers.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from ..graph.core import Graph, Node, Value
from ..graph.primitive import Control, Elementwise, Indexed, Reduction, Template
from ..passes.layout import FEW_CHANNELS
from .index import Index, Var, constant, variable
from .ir import Machine

EXPENSIVE = {
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh", "erf", "sigmoid", "pow", "atan2", "div", "sqrt", "rsqrt", "rem",
}  # fmt: skip


@dataclass(eq=False)
class Rows:
    """The row structure of a group with reductions: `domain` is reduced over `axes`, its trailing axes."""

    domain: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def outer(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.domain) if i not in self.axes)

    @property
    def inner(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.domain) if i in self.axes)


@dataclass(frozen=True, eq=False)
class Placement:
    """A group's result is stored straight into a larger value: element i goes to i + shift."""

    target: Value
    shift: tuple[int, ...]


@dataclass(eq=False)
class Group:
    """Nodes computed by one loop nest. `anchor` is the node whose elements the rest finishes one by one, if any: a template,
    or a reduction that is no row's; `rows` says that it has reductions.

    `results` are the values it stores: the root alone, or every result of a template with several. `placed` are operands of
    a concat or pad root that their own groups store in their place: what is left to do here is the rest. `feeder` is a group
    that is computed line by line where this one reads it (kernels/blocks.py). `parts` are groups that are computed side by side
    in one nest, which has the nodes of all of them (kernels/siblings.py). `in_place`: the root replaces a slice of its first
    operand, and lies where that lies (program/in_place.py).
    """

    root: Node
    nodes: list[Node] = field(default_factory=list)  # latest first while forming; topological when finished
    anchor: Node | None = None
    rows: Rows | None = None
    placement: Placement | None = None
    placed: frozenset[int] = frozenset()
    feeder: Group | None = None
    parts: tuple[Group, ...] = ()
    in_place: bool = False

    @property
    def results(self) -> tuple[Value, ...]:
        return tuple(r for part in self.parts for r in part.root.results) or self.root.results

    def producers(self) -> dict[Value, Node]:
        return {r: n for n in self.nodes for r in n.results}

    def every_node(self) -> list[Node]:
        """Its nodes and those of the groups that feed it."""
        return [*(self.feeder.every_node() if self.feeder else ()), *self.nodes]

    def inputs(self) -> tuple[Value, ...]:
        """Values read from memory, in order of first use."""
        inside = {r for n in self.nodes for r in n.results}
        return tuple(dict.fromkeys(o for n in self.nodes for o in n.operands if o not in inside))


def fuse(graph: Graph, machine: Machine, stored: Collection[Value] = ()) -> list[Group]:
    """The groups of a Graph in an order in which they can run. `reshape` of a stored value is no group: it is an alias. Values
    in `stored` lie in memory even where computing them anew would cost nothing.

    On a GPU a convolution's padding is tested where it is read: that costs less there than storing a padded copy.
    """
    return _Fusion(graph, machine, stored).groups()


class _Fusion:
    """Nodes are visited from the outputs backwards; each joins the group of its consumers by the first rule that allows it,
    or begins a group of its own."""

    def __init__(self, graph: Graph, machine: Machine, stored: Collection[Value]) -> None:
        self.graph, self.machine = graph, machine
        self.users = graph.users()
        self.producers = graph.producers()
        self.outputs = set(graph.outputs)
        self.stored = self.outputs.union(stored)
        self.member: dict[Node, list[Group]] = {}
        self.multiplicity: dict[Value, float] = {}  # how often each element would be recomputed if inlined

    def groups(self) -> list[Group]:
        order: list[Group] = []
        for node in reversed(self.graph.nodes):
            if not self._join(node):
                group = self._begin(node)
                self.member[node] = [group]
                order.append(group)
        position = {n: i for i, n in enumerate(self.graph.nodes)}
        order.reverse()
        for group in order:
            group.nodes = sorted(dict.fromkeys(group.nodes), key=position.__getitem__)
        _place(order, self.users, self.outputs)
        return order

    def _begin(self, node: Node) -> Group:
        group = Group(node, [node])
        lowering = node.primitive.lowering
        if isinstance(lowering, Template | Control):
            group.anchor = node
        elif isinstance(lowering, Reduction):
            group.rows = Rows(node.operands[0].shape, tuple(node.params["axes"]))
        return group

    def _join(self, node: Node) -> bool:
        """Add the node to its consumers' group, or groups, if that is allowed and costs nothing extra."""
        result, lowering = node.results[0], node.primitive.lowering
        consumers = list(dict.fromkeys(g for user in self.users.get(result, ()) for g in self.member[user]))
        border = self.machine.gpu and node.primitive.name == "pad" and _feeds_convolution(node, self.users, "transpose")
        border = border or _turns_picture(node, self.users)
        if not consumers or len(node.results) > 1 or self._is_stored(node, border):
            return False
        times = self._times(result)
        joined = False
        if isinstance(lowering, Indexed) and (lowering.view or node.primitive.name == "iota"):
            joined = not (_turns_rows(node) and any(g.rows is not None for g in consumers))  # else read in place, by everyone
        elif len(consumers) == 1:
            group = consumers[0]
            if isinstance(lowering, Elementwise | Indexed):
                cheap = border or times <= _tolerated(node) or _row_scalar(group, node, self.producers)
                joined = cheap and self._into_consumer(group, node)
            elif isinstance(lowering, Template):
                joined = times <= _tolerated(node) and self._as_anchor(group, node)
            elif isinstance(lowering, Reduction):
                joined = self._as_reduction(group, node)
        if joined:
            if isinstance(lowering, Elementwise | Indexed):  # a template's or reduction's result is computed once
                self.multiplicity[result] = times
            self.member[node] = consumers
            for group in consumers:
                group.nodes.append(node)
        return joined

    def _is_stored(self, node: Node, border: bool) -> bool:
        """Whether the result must be in memory: it leaves the Graph, or someone reads it there."""
        result = node.results[0]
        if result in self.stored:
            return True
        return not border and any(not _reads_inline(user, result) for user in self.users.get(result, ()))

    def _times(self, value: Value) -> float:
        """How often an element would be computed if each reader computed it for itself."""
        worst = 1.0
        for user in self.users.get(value, ()):
            factor = 1.0
            if isinstance(user.primitive.lowering, Template):
                factor = math.inf  # a template reads an operand many times
            elif isinstance(user.primitive.lowering, Indexed) and value.abstract.size:
                factor = max(1.0, user.results[0].abstract.size / value.abstract.size)
            worst = max(worst, factor * self.multiplicity.get(user.results[0], 1.0))
        return worst

    def _into_consumer(self, group: Group, node: Node) -> bool:
        """Elementwise work and gathers, computed where they are read, unless a template above can finish with them."""
        if node.primitive.name == "concat" or not _fits_vectors([node], group.anchor, self.machine):
            return False
        return reads_same_index(group, node) or not _finishes_template(node, self.producers, self.users, self.stored)

    def _as_anchor(self, group: Group, node: Node) -> bool:
        """A template whose result the group only finishes, element by element."""
        free = group.anchor is None and group.rows is None
        if free and _epilogue(group, node) and _fits_vectors(group.nodes, node, self.machine):
            group.anchor = node
            return True
        return False

    def _as_reduction(self, group: Group, node: Node) -> bool:
        """A reduction along the group's rows; or one over other axes whose result the group only finishes."""
        if group.anchor is not None:
            return False
        rows = _row_compatible(group, node)
        if rows is None and group.rows is None and reads_same_index(group, node):
            group.anchor, rows = node, Rows(node.operands[0].shape, tuple(node.params["axes"]))
        if rows is not None:
            group.rows = rows
        return rows is not None


def _place(groups: list[Group], users: dict[Value, list[Node]], outputs: set[Value]) -> None:
    """Let whoever computes an operand of a concat or pad, and only that, store it where it will end up."""
    makers = {g.root.results[0]: g for g in groups}
    inside: dict[Group, list[Group]] = {}  # a concat or pad → those who store into it

    def move(maker: Group, target: Value, shift: tuple[int, ...]) -> None:
        before = (0,) * len(shift) if maker.placement is None else maker.placement.shift
        maker.placement = Placement(target, tuple(a + b for a, b in zip(before, shift, strict=True)))
        for other in inside.get(maker, ()):
            move(other, target, shift)

    for group in groups:
        node = group.root
        if node.primitive.name not in ("concat", "pad"):
            continue
        placed = []
        start = 0
        for i, operand in enumerate(node.operands):
            maker = makers.get(operand)
            if node.primitive.name == "pad":
                shift = tuple(node.params["low"])
            else:
                axis = node.params["axis"]
                shift = tuple(start if a == axis else 0 for a in range(operand.abstract.rank))
                start += operand.shape[axis]
            alone = users[operand] == [node] and node.operands.count(operand) == 1 and operand not in outputs
            if maker is not None and alone and _can_be_placed(maker) and operand.abstract.size:
                move(maker, node.results[0], shift)
                inside.setdefault(group, []).append(maker)
                placed.append(i)
        group.placed = frozenset(placed)


def _can_be_placed(group: Group) -> bool:
    """Whether the group stores its root element by element, so that it can store it anywhere."""
    name = group.root.primitive.name
    if name == "reshape" and len(group.nodes) == 1:
        return False
    return group.anchor is None or isinstance(group.anchor.primitive.lowering, Reduction) or _takes_epilogue(group.anchor)


def _reads_inline(user: Node, value: Value) -> bool:
    """Whether a consumer can compute this operand on the fly instead of reading it from memory."""
    if isinstance(user.primitive.lowering, Template | Control):
        return False
    # gathers read one operand at run-time positions: computing that operand anew for each is rarely right
    return not (user.primitive.name in ("take", "take_along", "gather_nd", "dynamic_slice") and value is user.operands[0])


def _feeds_convolution(node: Node, users: dict[Value, list[Node]], through: str = "") -> bool:
    """Whether a result is only there to be the picture of one convolution, read through a `through` or directly."""
    readers = users.get(node.results[0], ())
    if len(readers) != 1:
        return False
    if readers[0].primitive.name == through:
        return _feeds_convolution(readers[0], users)
    return readers[0].primitive.name == "conv" and readers[0].operands[1] is not node.results[0]


def _turns_picture(node: Node, users: dict[Value, list[Node]]) -> bool:
    """Whether a node only turns a channels-first picture of few channels around for one dense convolution, which can as
    well read it where it lies."""
    if node.primitive.name != "transpose" or not _feeds_convolution(node, users):
        return False
    (reader,) = users[node.results[0]]
    return node.results[0].shape[-1] <= FEW_CHANNELS and reader.params["groups"] == 1


def _turns_rows(node: Node) -> bool:
    """Whether a view is a transpose that takes neighbours apart: rows that are walked several times had better be turned
    around in memory first."""
    if node.primitive.name != "transpose" or node.results[0].abstract.rank == 0:
        return False
    shape, permutation = node.operands[0].shape, node.params["permutation"]
    moved = [p for p in permutation if shape[p] != 1]
    return bool(moved) and moved[-1] != max(moved)


def _tolerated(node: Node) -> float:
    return 1.0 if node.primitive.name in EXPENSIVE or not isinstance(node.primitive.lowering, Elementwise) else 1.5


def _epilogue(group: Group, node: Node) -> bool:
    """Whether the group is a chain of same-index operations on this template's result."""
    return _takes_epilogue(node) and reads_same_index(group, node)


def _fits_vectors(nodes: list[Node], anchor: Node | None, machine: Machine) -> bool:
    """Whether these nodes can be computed in a template's vectors: WebAssembly has none of 64-bit elements that long."""
    if anchor is None or not isinstance(anchor.primitive.lowering, Template) or anchor.results[0].dtype.bits > 32:
        return True
    return (
        machine.lanes(64) > 1
        or machine.lanes(32) == 1
        or all(v.dtype.bits <= 32 for n in nodes for v in (*n.operands, *n.results))
    )


def reads_same_index(group: Group, node: Node) -> bool:
    """Whether the group's root needs, for each element, just the element of `node`'s result at the same position."""
    if node.results[0].abstract.size != group.root.results[0].abstract.size:
        return False
    depends = {node.results[0]}
    for inner in sorted_nodes(group):
        if not any(o in depends for o in inner.operands):
            continue
        if inner.primitive.name != "reshape" and not isinstance(inner.primitive.lowering, Elementwise):
            return False
        depends.add(inner.results[0])
    return group.root.results[0] in depends


def _finishes_template(node: Node, producers: dict[Value, Node], users: dict[Value, list[Node]], stored: set[Value]) -> bool:
    """Whether an elementwise node could be the epilogue of a template above it, so that it should not join a consumer
    that reads it in another order. Everything that reads the template's result, or what is made from it on the way, must
    lead to this node."""
    if not isinstance(node.primitive.lowering, Elementwise):
        return False
    cone, waiting = {node}, [node]  # what is computed for this node alone
    while waiting:
        for operand in waiting.pop().operands:
            above = producers.get(operand)
            if above is None or above in cone or operand in stored or not all(u in cone for u in users.get(operand, ())):
                continue  # a value with several readers is looked at again from the last of them
            if _takes_epilogue(above):
                return True
            if isinstance(above.primitive.lowering, Elementwise):
                cone.add(above)
                waiting.append(above)
    return False


def _takes_epilogue(node: Node) -> bool:
    return isinstance(node.primitive.lowering, Template) and _EPILOGUES.get(node.primitive.lowering.name, False)


_EPILOGUES: dict[str, bool] = {}


def takes_epilogue(template: str) -> None:
    """Declare that a template finishes each element through the group's epilogue (gemm, conv, pool)."""
    _EPILOGUES[template] = True


def sorted_nodes(group: Group) -> list[Node]:
    """The group's nodes, operands first."""
    producers = group.producers()
    done: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node in done:
            return
        for operand in node.operands:
            if operand in producers:
                visit(producers[operand])
        done[node] = None

    for node in group.nodes:
        visit(node)
    return list(done)


def _row_compatible(group: Group, node: Node) -> Rows | None:
    """The row structure if `node`, a reduction, can be computed inside the group: everything there must read it at the
    row being computed, whatever the position in the row."""
    domain = node.operands[0].shape
    axes = tuple(sorted(node.params["axes"]))
    kept = [i for i in range(len(domain)) if i not in axes]
    if not axes or node.operands[0].abstract.size == 0 or (kept and max(kept) > min(axes)):
        return None  # rows must be contiguous: the reduced axes are the trailing ones
    rows = Rows(domain, axes)
    outer, inner = _product(rows.outer), _product(rows.inner)
    if group.rows is not None:
        if (_product(group.rows.outer), _product(group.rows.inner)) != (outer, inner):
            return None
        rows = group.rows
    return rows if _read_by_row(group, node.results[0], outer, inner) else None


def _row_scalar(group: Group, node: Node, producers: dict[Value, Node]) -> bool:
    """Whether a node that many elements of a row need (a row's standard deviation) will be one value per row of a group
    that computes the row's reductions too, so that it costs once per row."""
    if not isinstance(node.primitive.lowering, Elementwise) or group.anchor is not None:
        return False
    reduction: Node | None = node
    while reduction is not None and not isinstance(reduction.primitive.lowering, Reduction):
        if not isinstance(reduction.primitive.lowering, Elementwise) and reduction.primitive.name != "reshape":
            return False
        above = [producers[o] for o in reduction.operands if o in producers]
        reduction = above[0] if above else None
    if reduction is None:
        return False
    outer = node.results[0].abstract.size
    whole = reduction.operands[0].abstract.size
    return outer > 0 and whole % outer == 0 and _read_by_row(group, node.results[0], outer, whole // outer)


def _read_by_row(group: Group, target: Value, outer: int, inner: int) -> bool:
    """Whether the group, walked as `outer` rows of `inner` elements, reads `target` only at the row's own position."""
    root = group.root
    size = root.results[0].abstract.size
    if size not in (outer * inner, outer):
        return False
    row = variable(Var("row", 0, max(outer - 1, 0)))
    column = variable(Var("column", 0, max(inner - 1, 0)))
    producers = group.producers()
    expected = unflatten(row, target.shape)
    good: list[bool] = []
    seen: set[tuple[Value, tuple[Index, ...]]] = set()

    def visit(value: Value, index: tuple[Index, ...]) -> None:
        if (value, index) in seen:
            return
        seen.add((value, index))
        if value is target:
            good.append(index == expected)
            return
        producer = producers.get(value)
        if producer is None:
            return
        lowering = producer.primitive.lowering
        if isinstance(lowering, Elementwise):
            for operand in producer.operands:
                visit(operand, index)
        elif isinstance(lowering, Indexed):
            if producer.primitive.name in _PLAIN_VIEWS:
                view_reads(producer, index, visit)
            elif _reaches(producers, producer, target):
                good.append(False)  # through a gather: not the row at hand
        else:  # another reduction of the group: its operand is walked along the same row
            visit(producer.operands[0], unflatten(row * inner + column, producer.operands[0].shape))

    at = row * inner + column if size == outer * inner else row
    visit(root.results[0], unflatten(at, root.results[0].shape))
    return bool(good) and all(good)


_PLAIN_VIEWS = {"reshape", "broadcast", "transpose"}


class _Places:
    """What a plain view needs of a Builder to say which element it reads."""

    constant_index = staticmethod(constant)


def view_reads(node: Node, index: tuple[Index, ...], visit: object) -> None:
    """Call `visit(operand, operand index)` for a plain view read at `index`."""

    def read(j: int, at: tuple[Index, ...]) -> None:
        visit(node.operands[j], tuple(at))  # type: ignore[operator]

    node.primitive.lowering.emit(  # type: ignore[union-attr]
        _Places, index, read, tuple(o.abstract for o in node.operands), node.results[0].abstract, **node.params
    )


def _reaches(producers: dict[Value, Node], start: Node, target: Value) -> bool:
    stack, seen = [start], set()
    while stack:
        node = stack.pop()
        for operand in node.operands:
            if operand is target:
                return True
            if operand in producers and producers[operand] not in seen:
                seen.add(producers[operand])
                stack.append(producers[operand])
    return False


def unflatten(flat: Index, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """The multi-index of a row-major position."""
    index: list[Index] = []
    for extent in reversed(shape[1:]):
        index.append(flat % extent if extent else constant(0))
        flat = flat // extent if extent else constant(0)
    return (*((flat,) if shape else ()), *reversed(index))


def flatten(index: tuple[Index, ...], shape: tuple[int, ...]) -> Index:
    """The row-major position of a multi-index."""
    total = constant(0)
    for i, extent in zip(index, shape, strict=True):
        total = total * extent + i
    return total


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
