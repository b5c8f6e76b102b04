"""The Emitter, which writes a kernel of one fused group, and what all schedules share.

Asked for a value at an index, it computes it from what is stored, through every node that was fused. The loops around it are
the schedules' business: hither.kernels.nests, reductions, cooperative and templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .. import dtypes as dt
from ..graph.core import Abstract, Node, Value, abstract_of
from ..graph.primitive import Elementwise, Indexed
from .builder import Builder
from .fusion import Group, flatten, unflatten
from .index import Index, Var, constant, variable
from .ir import Buffer, Kernel, Machine, Val

if TYPE_CHECKING:
    from .templates.tile import Problem, Tile

GRAIN = 16384  # scalar operations that make a thread of its own worth waking


@dataclass(frozen=True)
class Codes:
    """A float constant that is kept in codes: the operands and parameters of `dequantize` (primitives/codes)."""

    packed: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None
    bits: int
    block: int
    size: int


@dataclass
class Context:
    """What lowering shares across one compilation: the machine, the constants, and constants made from them (packed).

    A constant's array may be of a smaller dtype than its Value: it is stored so, and widened wherever it is read.
    `codes` are weights of products that are kept in numbers of few bits, and have no array of their own.
    `packed_halves` are computed values of which a GPU that cannot address halves keeps two in a word.
    `seven_bits` are values of bytes that are known to be at most 127.
    `tiles` gives the tile of a product, where something better than the rule is known."""

    machine: Machine
    constants: dict[Value, np.ndarray]
    tiles: Callable[[Problem], Tile] | None = None
    packed: dict[object, Value] = field(default_factory=dict)
    seven_bits: set[Value] = field(default_factory=set)
    packed_halves: set[Value] = field(default_factory=set)
    codes: dict[Value, Codes] = field(default_factory=dict)
    _finite: dict[Value, bool] = field(default_factory=dict)

    def is_known(self, value: Value) -> bool:
        """Whether a value is a constant, in whatever form."""
        return value in self.constants or value in self.codes

    def stored(self, value: Value) -> dt.DType:
        """The dtype that a constant is stored in."""
        return dt.dtype(self.constants[value].dtype)

    def is_finite(self, value: Value) -> bool:
        """Whether a constant has neither infinities nor NaNs."""
        if value not in self._finite:
            self._finite[value] = bool(np.isfinite(self.constants[value]).all())
        return self._finite[value]

    def pack(self, source: Value, how: str, make: Callable[[np.ndarray], np.ndarray]) -> Value:
        """A constant derived from another, made once per (source, how)."""
        return self.new_constant((source, how), lambda: make(self.constants[source]), source.name, source.dtype)

    def new_constant(self, key: object, make: Callable[[], np.ndarray], name: str = "", dtype: dt.DType | None = None) -> Value:
        """A constant made once per key; of the array's dtype if no other is given."""
        if key not in self.packed:
            array = np.ascontiguousarray(make())
            value = Value(abstract_of(array) if dtype is None else Abstract(array.shape, dtype), name)
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
        self._finished: Value | None = None  # what a template's elements are, if more than the anchor's result
        self._memo: dict[tuple[Value, tuple[Index, ...], int], Val] = {}
        self._first: tuple[Index, Val] | None = None  # of two elements that become one word

    def buffer(self, value: Value, access: str = "read") -> Buffer:
        """The kernel parameter through which a stored value is reached."""
        if value not in self.buffers:
            name, size = value.name or "v", value.abstract.size
            if value in self.context.constants:
                kind = self.context.stored(value)
                finite = kind is dt.float16 and self.context.is_finite(value)
                self.buffers[value] = self.k.buffer(name, kind, size, access, constant=True, finite=finite)
            else:
                small = value in self.context.packed_halves
                self.buffers[value] = self.k.buffer(name, value.dtype, size, access, constant=small)
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
        if width == 1 and value in self.context.packed_halves:
            if self._first is None:
                self._first = flat, element
                return
            (first, other), self._first = self._first, None
            self.k.store(buffer, first, self.k.pack([other, element]))
        elif width == 1:
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

    def in_pairs(self) -> bool:
        """Whether what the group stores lies two to a word, so that elements are stored by pairs of neighbours."""
        placement = self.group.placement
        target = self.group.root.results[0] if placement is None else placement.target
        return target in self.context.packed_halves

    def store_root(
        self, flat: Index, element: Val, count: int | None = None, index: tuple[Index, ...] | None = None,
        part: Group | None = None,
    ) -> None:  # fmt: skip
        """Store elements of the result of the group, or of a part of it, wherever that result has its place. `index` is `flat`
        as a multi-index, where the caller has it."""
        group = part or self.group
        root, placement = group.root.results[0], group.placement
        if placement is None:
            self.store_flat(root, flat, element, count)
            return
        at = unflatten(flat, root.shape) if index is None else index
        there = tuple(i + s for i, s in zip(at, placement.shift, strict=True))
        self.store_flat(placement.target, flatten(there, placement.target.shape), element, count)

    def take_bias(self) -> Value | None:
        """If the epilogue begins by adding a value per column, that value: the template starts its sums from it, and its
        elements are then what comes after the addition."""
        anchor = self.group.anchor
        assert anchor is not None
        result = anchor.results[0]
        users = [n for n in self.group.nodes if result in n.operands]
        summed = result.dtype.is_float or result.dtype is dt.int32  # narrower ones wrap on the way
        if len(users) != 1 or users[0].primitive.name != "add" or not summed:
            return None
        (bias,) = [o for o in users[0].operands if o is not result] or (None,)
        view = self.producers.get(bias) if bias is not None else None
        if bias is None or view is None or view.primitive.name != "broadcast":
            return None
        axes = zip(view.params["axes"], view.operands[0].shape, strict=True)
        if any(n != 1 and axis != len(result.shape) - 1 for axis, n in axes):
            return None
        self._finished = users[0].results[0]
        return bias

    def take_float(self) -> bool:
        """Whether the epilogue begins, or goes on behind what it has been taken of, by making the integer a float32: the
        template's elements are that then."""
        assert self.group.anchor is not None
        value = self._finished or self.group.anchor.results[0]
        users = [n for n in self.group.nodes if value in n.operands]
        if len(users) != 1 or users[0].primitive.name != "convert" or users[0].results[0].dtype is not dt.float32:
            return False
        self._finished = users[0].results[0]
        return True

    def finish_element(
        self, index: tuple[Index, ...], element: Val, count: int | None = None, part: Group | None = None
    ) -> None:  # fmt: skip
        """A template's result element(s) at `index`: run the epilogue of the group, or of a part of it, and store the root."""
        group = part or self.group
        anchor = group.anchor
        assert anchor is not None
        result, root = self._finished or anchor.results[0], group.root.results[0]
        flat = flatten(index, result.shape)
        with self.point(self.k.width):
            self.known[result] = element
            at = index if root.shape == result.shape else unflatten(flat, root.shape)
            self.store_root(flat, self.read(root, at), count, at, part)
            del self.known[result]

    def finish(self, name: str, **kwargs: object) -> Lowered:
        """The kernel, and the values to bind."""
        assert self._first is None, "halves are stored by pairs: one is left over"
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
    nodes = group.every_node()
    computing = [n for n in nodes if not (isinstance(n.primitive.lowering, Indexed) and n.primitive.lowering.view)]
    names = [n.primitive.name for n in computing]
    return "_".join(names[:4] or [group.root.primitive.name]) + (f"_and_{len(names) - 4}" if len(names) > 4 else "")
