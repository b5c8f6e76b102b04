"""Nodes → instructions: which values stay on the operand stack, which get a local, and which locals share one.

A value used once becomes part of its user's expression when moving it there changes nothing: no store comes between a load and
its new place, and no more vector values are alive in between than before (V8 keeps the order it is given, so a long-delayed
multiply would keep both its operands in registers). Everything else is computed where it stands, into a local that is
free again after the value's last use. Loops update their carried locals in place where the old value is dead by then.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .encoder import EMPTY_BLOCK, I32, OPCODES, Function, signed, unsigned
from .nodes import FLOATING, IfNode, LoopNode, Node, NodeBlock, blocks_of, has_effect

Local = tuple[int, int]  # (type, number among the locals of that type)
Targets = dict[Node, Local]
PARAMETER = 0  # stands for a type where the number is that of a function parameter


@dataclass(eq=False)
class _Plan:
    """What is decided about one block before it is written."""

    root: list[int]  # item -> the item in whose expression it is computed (itself if in none); both as positions
    inlined: set[Node] = field(default_factory=set)
    inner: dict[Node, dict[Node, None]] = field(default_factory=dict)  # control item -> what is used inside, in order
    dying: dict[int, list[Node]] = field(default_factory=dict)  # position -> this block's values last used there
    used: set[Node] = field(default_factory=set)  # this block's values that are used at all


def print_function(name: str, params: tuple[Node, ...], body: NodeBlock) -> Function:
    """One function without results."""
    writer = _Writer(body)
    for i, p in enumerate(params):
        writer.locals[p] = (PARAMETER, i)
    writer.block(body, {})
    counts = sorted(writer.made.items(), key=lambda item: -item[0])
    first: dict[int, int] = {PARAMETER: 0}
    position = len(params)
    for kind, count in counts:
        first[kind] = position
        position += count
    code = b"".join(
        OPCODES[op] + (unsigned(first[what[0]] + what[1]) if isinstance(what, tuple) else what) for op, what in writer.code
    )
    return Function(name, tuple(I32 for _ in params), (), tuple((count, kind) for kind, count in counts), code)


class _Writer:
    def __init__(self, body: NodeBlock) -> None:
        self.code: list[tuple[str, bytes | Local]] = []
        self.locals: dict[Node, Local] = {}  # where each living value is
        self.made: dict[int, int] = {}  # locals made, by type
        self.free: dict[int, list[Local]] = {}
        self.reserved: set[Local] = set()  # owned by a loop or branch being written: never in `free`
        self.vacant: set[Local] = set()  # reserved, but holding nothing just now
        self.plans: dict[NodeBlock, _Plan] = {}
        _drop_dead(body, set())
        self._plan(body)

    # -- planning ----------------------------------------------------------------------------------------------------

    def _plan(self, block: NodeBlock) -> dict[Node, None]:
        """Plan a block and those inside it; returns the outer values it uses, in the order in which it does."""
        end = len(block.items)
        plan = self.plans[block] = _Plan(root=list(range(end)))
        uses: dict[Node, list[tuple[int, bool]]] = {}  # value -> (position, whether as a direct operand)
        for i, item in enumerate(block.items):
            for a in item.args:
                uses.setdefault(a, []).append((i, True))
            inner: dict[Node, None] = {}
            for nested in blocks_of(item):
                inner |= self._plan(nested)
            if isinstance(item, LoopNode) and item.stop is not None:
                inner[item.stop] = None
            plan.inner[item] = inner
            for a in inner:
                uses.setdefault(a, []).append((i, False))
        for y in block.yields:
            uses.setdefault(y, []).append((end, False))
        last = {v: where[-1][0] for v, where in uses.items()}
        effects = list(accumulate((has_effect(item) for item in block.items), initial=0))
        for i in range(end - 1, -1, -1):
            item = block.items[i]
            where = uses.get(item, [])
            if len(where) != 1 or not where[0][1] or blocks_of(item):
                continue
            root = plan.root[where[0][0]]
            if item.effect == "load" and effects[root] != effects[i]:
                continue
            dying = {a for a in item.args if a.type in FLOATING and not a.is_constant and last[a] == i}
            if len(dying) <= 1 or all(plan.root[j] == root for j in range(i + 1, root)):
                plan.root[i] = root
                plan.inlined.add(item)
        plan.root.append(end)
        for v, where in uses.items():
            if v.block is block and not v.is_constant:
                position = max(plan.root[i] for i, _ in where)
                plan.dying.setdefault(position, []).append(v)
                plan.used.add(v)
        return {v: None for v in uses if v.block is not block and not v.is_constant}

    # -- locals ------------------------------------------------------------------------------------------------------

    def _take(self, kind: int) -> Local:
        if self.free.get(kind):
            return self.free[kind].pop()
        number = self.made.get(kind, 0)
        self.made[kind] = number + 1
        return (kind, number)

    def _release(self, values: Iterable[Node]) -> None:
        for v in values:
            local = self.locals.pop(v, None)
            if local is None or local[0] == PARAMETER:
                continue
            if local in self.reserved:
                self.vacant.add(local)
            else:
                self.free.setdefault(local[0], []).append(local)

    def _place(self, node: Node, targets: Targets, also: Local | None = None) -> Local:
        """A local for a value about to be set: the one it is wanted in, else `also` if that is free, else any."""
        assert node.type is not None
        wanted = targets.get(node)
        if wanted is not None and wanted in self.vacant:
            self.vacant.remove(wanted)
            return wanted
        free = self.free.get(node.type, [])
        if also in free:
            free.remove(also)
            return also
        return self._take(node.type)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _emit(self, op: str, what: bytes | Local = b"") -> None:
        if op == "local.get" and self.code and self.code[-1] == ("local.set", what):
            self.code[-1] = ("local.tee", what)
        else:
            self.code.append((op, what))

    def _value(self, node: Node, plan: _Plan) -> None:
        """Push a value."""
        if node.is_constant:
            self._emit(node.op, node.immediate)
        elif node in plan.inlined:
            self._compute(node, plan)
        else:
            self._emit("local.get", self.locals[node])

    def _compute(self, node: Node, plan: _Plan) -> None:
        for a in node.args:
            self._value(a, plan)
        self._emit(node.op, node.immediate)

    def block(self, block: NodeBlock, targets: Targets, keep: Node | None = None) -> None:
        """Write a block. `targets`: where values are wanted at its end; `keep`: a parameter that stays alive throughout."""
        plan = self.plans[block]
        for i, item in enumerate(block.items):
            if item in plan.inlined:
                continue
            ends = [v for v in plan.dying.get(i, ()) if v is not keep]
            if isinstance(item, LoopNode):
                self._loop(item, plan, ends, targets)
            elif isinstance(item, IfNode):
                self._if(item, plan, ends, targets)
            else:
                self._compute(item, plan)
                self._release(ends)
                if item.type is not None:
                    self.locals[item] = self._place(item, targets)
                    self._emit("local.set", self.locals[item])

    def _finish(self, block: NodeBlock, locals_: Sequence[Local]) -> None:
        """Bring what a block yields into these locals, all at once, and forget the block's own values."""
        plan = self.plans[block]
        moves = [(y, local) for y, local in zip(block.yields, locals_, strict=True) if self.locals.get(y) != local]
        for y, _ in moves:
            self._value(y, plan)
        for _, local in reversed(moves):
            self._emit("local.set", local)
        self._release([v for v in self.locals if v.block is block])

    def _reserve(self, locals_: Iterable[Local]) -> set[Local]:
        """Own these locals; returns those that were not owned before, to be handed to `_unreserve`."""
        mine = set(locals_) - self.reserved
        self.reserved |= mine
        return mine

    def _unreserve(self, mine: set[Local]) -> None:
        self.reserved -= mine
        self.vacant -= mine

    def _results(self, results: Sequence[Node], locals_: Sequence[Local], used: Container[Node]) -> None:
        """Let results own the locals they were left in; those that nobody uses end at once."""
        for r, local in zip(results, locals_, strict=True):
            self.vacant.discard(local)
            self.locals[r] = local
        self._release([r for r in results if r not in used])

    def _loop(self, loop: LoopNode, plan: _Plan, ends: list[Node], targets: Targets) -> None:
        assert loop.body is not None and loop.stop is not None
        pieces: list[list[tuple[str, bytes | Local]]] = []
        code = self.code
        for a in loop.args:
            self.code = []
            self._value(a, plan)
            pieces.append(self.code)
        self.code = code
        was = [self.locals.get(a) for a in loop.args]
        inner = plan.inner[loop]
        self._release([v for v in ends if v not in inner])
        wanted = dict(zip(loop.params[1:], (targets.get(r) for r in loop.results), strict=True))
        locals_: list[Local] = []
        for p, old in zip(loop.params, was, strict=True):
            locals_.append(self._place(p, {p: t} if (t := wanted.get(p)) is not None else {}, old))
        moves = [(piece, local) for piece, local in zip(pieces, locals_, strict=True) if piece != [("local.get", local)]]
        for piece, _ in moves:
            for instruction in piece:
                self._emit(*instruction)
        for _, local in reversed(moves):
            self._emit("local.set", local)
        self.locals.update(zip(loop.params, locals_, strict=True))
        mine = self._reserve(locals_)
        counter = loop.params[0]
        if not loop.runs:
            self._emit("local.get", self.locals[counter])
            self._value(loop.stop, plan)
            self._emit("i32.lt_s")
            self._emit("if", EMPTY_BLOCK)
        self._emit("loop", EMPTY_BLOCK)
        self._release([p for p in loop.params[1:] if p not in self.plans[loop.body].used])
        self.block(loop.body, _targets(loop.body.yields, locals_[1:]), counter)
        self._finish(loop.body, locals_[1:])
        self._emit("local.get", locals_[0])
        self._emit("i32.const", signed(loop.step))
        self._emit("i32.add")
        self._emit("local.tee", locals_[0])
        self._value(loop.stop, plan)
        self._emit("i32.lt_s")
        self._emit("br_if", b"\0")
        self._emit("end")
        if not loop.runs:
            self._emit("end")
        self._unreserve(mine)
        self.vacant.discard(locals_[0])
        self.free.setdefault(locals_[0][0], []).append(locals_[0])
        self._results(loop.results, locals_[1:], plan.used)
        self._release([v for v in ends if v in inner])

    def _if(self, node: IfNode, plan: _Plan, ends: list[Node], targets: Targets) -> None:
        self._value(node.args[0], plan)
        inner = plan.inner[node]
        self._release([v for v in ends if v not in inner])
        locals_ = [self._place(r, targets) for r in node.results]
        mine = self._reserve(locals_)
        self._emit("if", EMPTY_BLOCK)
        for i, block in enumerate(b for b in (node.then, node.otherwise) if b is not None and (b.items or b.yields)):
            if i or block is node.otherwise:
                self._emit("else")
            self.vacant.update(locals_)
            self.block(block, _targets(block.yields, locals_))
            self._finish(block, locals_)
        self._emit("end")
        self._unreserve(mine)
        self._results(node.results, locals_, plan.used)
        self._release([v for v in ends if v in inner])


def _targets(yields: Sequence[Node], locals_: Sequence[Local]) -> Targets:
    """Which local each yielded value is wanted in: the first, where one is yielded twice."""
    wanted: dict[Node, Local] = {}
    for y, local in zip(yields, locals_, strict=True):
        wanted.setdefault(y, local)
    return wanted


def _drop_dead(block: NodeBlock, live: set[Node]) -> None:
    """Remove nodes whose values nobody needs; `live` collects those that somebody does."""
    live.update(block.yields)
    kept = []
    for item in reversed(block.items):
        control = isinstance(item, LoopNode | IfNode)
        needed = any(r in live for r in item.results) if isinstance(item, LoopNode | IfNode) else item in live
        if not (needed or item.effect == "store" or (control and has_effect(item))):
            continue
        for inner in blocks_of(item):
            _drop_dead(inner, live)
        if isinstance(item, LoopNode) and item.stop is not None:
            live.add(item.stop)
        live.update(item.args)
        kept.append(item)
    block.items = kept[::-1]
