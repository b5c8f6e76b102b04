"""One WebAssembly instruction per node: the form between kernel IR and bytes.

Lowering makes nodes; stackify.py decides which become operand-stack expressions and which live in locals. Making a node shares
it with an equal one in scope (value numbering) and places integer nodes in the outermost block that has their operands, so
that address arithmetic leaves the loops it does not depend on: V8 does neither across loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .encoder import F32, F64, I32, I64, V128, constant, signed_bits

FLOATING = (F32, F64, V128)  # the types that share the vector registers


@dataclass(eq=False, slots=True)
class Node:
    """An instruction applied to nodes. `effect`: "" pure, "load" reads memory, "store" writes it."""

    op: str
    args: tuple[Node, ...]
    type: int | None
    immediate: bytes = b""
    effect: str = ""
    block: NodeBlock | None = None
    value: int | float | bytes | None = None  # of a constant

    @property
    def is_constant(self) -> bool:
        return self.value is not None


@dataclass(eq=False, slots=True)
class LoopNode(Node):
    """for counter in range(start, stop, step). args: start, then the initial carried values. `params`: counter, carried.

    `results` stand, after it, for the last carried values: they lie where the carried params lay.
    """

    stop: Node | None = None
    step: int = 1
    runs: bool = False  # known to run at least once
    params: tuple[Node, ...] = ()
    results: tuple[Node, ...] = ()
    body: NodeBlock | None = None


@dataclass(eq=False, slots=True)
class IfNode(Node):
    """args: the condition. `results` are set by what the blocks yield."""

    results: tuple[Node, ...] = ()
    then: NodeBlock | None = None
    otherwise: NodeBlock | None = None


@dataclass(eq=False)
class NodeBlock:
    """A straight list of nodes inside one function, loop body or branch."""

    parent: NodeBlock | None = None
    items: list[Node] = field(default_factory=list)
    yields: tuple[Node, ...] = ()
    known: dict[tuple[object, ...], Node] = field(default_factory=dict)
    depth: int = 0

    def chain(self) -> Iterator[NodeBlock]:
        """This block and those around it, innermost first."""
        block: NodeBlock | None = self
        while block is not None:
            yield block
            block = block.parent


def blocks_of(node: Node) -> tuple[NodeBlock, ...]:
    """The blocks inside a control node."""
    if isinstance(node, LoopNode):
        return (node.body,) if node.body else ()
    if isinstance(node, IfNode):
        return tuple(b for b in (node.then, node.otherwise) if b)
    return ()


def has_effect(node: Node) -> bool:
    """Whether a node, or anything inside it, writes memory."""
    return node.effect == "store" or any(has_effect(item) for block in blocks_of(node) for item in block.items)


class NodeBuilder:
    """Appends nodes to the current block, folding integer constants."""

    def __init__(self) -> None:
        self.root = NodeBlock()
        self.block = self.root

    # -- making nodes ------------------------------------------------------------------------------------------------

    def constant(self, value_type: int, value: int | float) -> Node:
        """A scalar constant: never in a block, written where it is used."""
        kind = {I32: "i32", I64: "i64", F32: "f32", F64: "f64"}[value_type]
        if value_type in (I32, I64):
            value = signed_bits(int(value), 32 if value_type == I32 else 64)
        immediate = constant(value_type, value)
        key = (f"{kind}.const", immediate)
        found = self.root.known.get(key)
        if found is None:
            found = self.root.known[key] = Node(f"{kind}.const", (), value_type, immediate, block=self.root, value=value)
        return found

    def i32(self, value: int) -> Node:
        return self.constant(I32, value)

    def v128(self, raw: bytes) -> Node:
        """A vector constant of 16 bytes."""
        key = ("v128.const", raw)
        found = self.root.known.get(key)
        if found is None:
            found = self.root.known[key] = Node("v128.const", (), V128, raw, block=self.root, value=raw)
        return found

    def param(self, value_type: int, block: NodeBlock) -> Node:
        """A value that a block receives: a function parameter, a loop counter, a carried value, a result."""
        return Node("param", (), value_type, block=block)

    def pure(self, op: str, args: Sequence[Node], value_type: int, immediate: bytes = b"") -> Node:
        """A node without effects."""
        args = tuple(args)
        key = (op, immediate, args)
        for block in self.block.chain():
            if key in block.known:
                return block.known[key]
        home = self.block
        if value_type in (I32, I64) and args:
            home = max((a.block for a in args if a.block), key=lambda b: b.depth)
        node = Node(op, args, value_type, immediate, block=home)
        home.items.append(node)
        home.known[key] = node
        return node

    def load(self, op: str, args: Sequence[Node], value_type: int, immediate: bytes) -> Node:
        return self._append(Node(op, tuple(args), value_type, immediate, "load", self.block))

    def store(self, op: str, args: Sequence[Node], immediate: bytes) -> None:
        self._append(Node(op, tuple(args), None, immediate, "store", self.block))

    def _append(self, node: Node) -> Node:
        self.block.items.append(node)
        return node

    # -- blocks ------------------------------------------------------------------------------------------------------

    def open(self) -> NodeBlock:
        """Begin a block inside the current one."""
        self.block = NodeBlock(self.block, depth=self.block.depth + 1)
        return self.block

    def close(self) -> None:
        assert self.block.parent is not None
        self.block = self.block.parent

    def control(self, node: Node) -> None:
        """Append a finished loop or branch."""
        node.block = self.block
        self._append(node)

    # -- integer arithmetic with folding -----------------------------------------------------------------------------

    def add(self, a: Node, b: Node) -> Node:
        """a + b of i32."""
        if a.is_constant and b.is_constant:
            return self.i32(int(a.value) + int(b.value))  # type: ignore[arg-type]
        if a.is_constant:
            a, b = b, a
        return a if b.value == 0 and b.is_constant else self.pure("i32.add", (a, b), I32)

    def scale(self, a: Node, factor: int) -> Node:
        """a · factor of i32."""
        if a.is_constant:
            return self.i32(int(a.value) * factor)  # type: ignore[arg-type]
        if factor == 1:
            return a
        if factor > 0 and factor & (factor - 1) == 0:
            return self.pure("i32.shl", (a, self.i32(factor.bit_length() - 1)), I32)
        return self.pure("i32.mul", (a, self.i32(factor)), I32)


VECTOR_REGISTERS = 15  # V8 keeps one of x86's sixteen for itself
FEW_CARRIED = 4  # carried vectors up to which a loop has registers to lose
PINNED = 32  # vector constants that such a loop may keep outside
_CHEAP = (bytes(16), b"\xff" * 16)  # vector constants that one register-only instruction makes


def pin_invariants(n: NodeBuilder, body: NodeBlock, params: Sequence[Node]) -> None:
    """Move vector constants and other unchanging vector values out of an innermost loop.

    V8 makes a constant anew (three instructions) and repeats a splat in every iteration; reading even a spilled one back is
    cheaper (exp, erf: 1.4 and 1.9 times faster). Accumulators must not be spilled for it, so loops that carry many move only
    what fits beside them. In loops that contain loops the saving is small and the values would stay alive through the inner
    one, so they are left where they are used.
    """
    if any(isinstance(inner, LoopNode) for item in body.items for inner in _with_inner(item)):
        return
    users = [inner for item in body.items for inner in _with_inner(item)]
    outside = {a for user in users for a in user.args if _outside(a, body) and not a.is_constant and a.type in FLOATING}
    carried = sum(p.type in FLOATING for p in params)
    budget = PINNED if carried <= FEW_CARRIED else VECTOR_REGISTERS - 4 - len(outside) - carried
    parent = body.parent
    assert parent is not None
    for item in list(body.items):
        if budget <= 0:
            return
        if item.effect or blocks_of(item) or item.type not in FLOATING:
            continue
        if all(_outside(a, body) for a in item.args):
            body.items.remove(item)
            body.known.pop((item.op, item.immediate, item.args), None)
            parent.items.append(item)
            item.block = parent
            budget -= 1
    pinned: dict[Node, Node] = {}
    for user in users:
        if user.block is parent:
            continue
        for a in user.args:
            if a.op == "v128.const" and a.is_constant and a.value not in _CHEAP and a not in pinned and budget > 0:
                pinned[a] = Node("v128.const", (), V128, a.immediate, block=parent)
                parent.items.append(pinned[a])
                budget -= 1
        user.args = tuple(pinned.get(a, a) for a in user.args)


def _with_inner(node: Node) -> Iterator[Node]:
    yield node
    for block in blocks_of(node):
        for item in block.items:
            yield from _with_inner(item)


def _outside(node: Node, body: NodeBlock) -> bool:
    return node.is_constant or (node.block is not None and node.block.depth < body.depth)
