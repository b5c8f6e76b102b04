"""Planning: groups become launches, and every stored value gets a place.

One arena holds all intermediates; two values share bytes when they are never alive together. Inputs and outputs lie in the
io region of one call, constants in the weights region, what survives calls in the state region. Branches and loops are planned
in place: their bodies are steps of the same list, over the same arena, on one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.core import Abstract, Graph, Node, Value, abstract_of
from ..graph.primitive import Control
from ..kernels import templates  # noqa: F401  (says which templates take an epilogue, before anything is fused)
from ..kernels.blocks import join_blocks
from ..kernels.emitter import Context, describe
from ..kernels.fusion import Group, fuse
from ..kernels.halves import packed_halves, read_halves
from ..kernels.ir import Kernel, Machine
from ..kernels.lowering import lower_group
from ..kernels.siblings import side_by_side
from ..kernels.steps import ALIGN, Code, Cond, Copy, Launch, Ref, Step, While, Work
from ..kernels.templates.codes import codes_of, multiplies_codes
from ..kernels.templates.tile import Problem, Tile
from ..passes.bytes import seven_bits
from ..passes.precision import widens
from .arena import Life, place
from .in_place import may_replace, may_update
from .schedule import schedule
from .signature import Entry, Port, Variable
from .work import works


@dataclass(frozen=True)
class Weight:
    """A constant in the weights region, in the target's storage dtype.

    `held` is its array, or what reads it from the device: the Plan lives as long as its programs, and once is enough.
    """

    name: str
    held: np.ndarray | Callable[[], np.ndarray]
    ref: Ref

    @property
    def array(self) -> np.ndarray:
        """The numbers; a copy where they lie on a device."""
        return self.held() if callable(self.held) else self.held


@dataclass
class Plan:
    """Everything a target needs: code, signatures and the contents of the weights region."""

    machine: Machine
    code: Code
    entries: dict[str, Entry]
    weights: list[Weight]
    state: list[Variable] = field(default_factory=list)

    def release(self, read: Callable[[Ref, np.dtype[Any], tuple[int, ...]], np.ndarray]) -> None:
        """Let go of the weights' arrays: a device has them now, and `read` gives them back from there."""
        for i, w in enumerate(self.weights):
            if not callable(w.held):
                self.weights[i] = replace(w, held=partial(read, w.ref, w.held.dtype, w.held.shape))

    def weights_image(self) -> np.ndarray:
        """The weights region as bytes."""
        image = np.zeros(self.code.sizes["weights"], np.uint8)
        for w in self.weights:
            image[w.ref.offset : w.ref.offset + w.ref.nbytes] = np.frombuffer(w.array.tobytes(), np.uint8)
        return image


@dataclass(eq=False)
class Storage:
    """A place for one value. Its lifetime is [birth, death] on the planner's clock."""

    nbytes: int
    space: str = "arena"
    offset: int = -1
    birth: int = -1
    death: int = -1


@dataclass(eq=False)
class _Launch:
    kernel: int
    args: tuple[Storage, ...]
    label: str
    work: Work


@dataclass(eq=False)
class _Copy:
    source: Storage
    target: Storage


@dataclass(eq=False)
class _Branch:
    flag: Storage
    bodies: tuple[list[_Pending], ...]
    loop: bool = False
    bound: int | None = None


_Pending = _Launch | _Copy | _Branch


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def plan(
    graphs: Mapping[str, Graph],
    machine: Machine,
    lengths: Mapping[str, Mapping[str, tuple[str, int]]] | None = None,
    tiles: Callable[[Problem], Tile] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
) -> Plan:
    """Plan every entry over shared weights.

    Args:
        graphs: entry name → Graph with named inputs and outputs.
        lengths: entry → {output: (output that holds its length, axis)} for data-dependent sizes.
        tiles: the tiles of products; by rule if not given.
        state: {name: value before the first call} of what survives calls. Where a graph has an input of such a name, it
            reads the value; where it has an output of it, that is the value from then on. All entries share it.
    """
    planner = _Planner(machine, tiles, state or {})
    steps: dict[str, tuple[Step, ...]] = {}
    entries: dict[str, Entry] = {}
    io = arena = 0
    for name, graph in graphs.items():
        pending, inputs, outputs, io_bytes, updates = planner.entry(graph)
        arena = max(arena, planner.place_arena())
        io = max(io, io_bytes)
        steps[name] = tuple(_resolve(p) for p in pending)
        trimmed = (lengths or {}).get(name, {})
        entries[name] = Entry(
            tuple(Port(n, v.abstract, _ref(s)) for n, v, s in inputs),
            tuple(Port(n, v.abstract, _ref(s), *trimmed.get(n, (None, 0))) for n, v, s in outputs),
            updates,
        )
    weights, nbytes = planner.weights()
    sizes = {"weights": nbytes, "state": planner.state_bytes, "arena": arena, "io": io}
    places = {name: tuple(p.ref for p in entry.inputs) for name, entry in entries.items()}
    return Plan(machine, Code(planner.kernels, steps, sizes, places), entries, weights, planner.variables())


class _Planner:
    def __init__(self, machine: Machine, tiles: Callable[[Problem], Tile] | None, state: Mapping[str, np.ndarray]) -> None:
        self.machine = machine
        self._initial = state
        self._state: dict[str, Storage] = {}
        self.state_bytes = 0
        for name, array in state.items():
            self._state[name] = Storage(self.nbytes(abstract_of(array)), "state", self.state_bytes)
            self.state_bytes += aligned(self._state[name].nbytes)
        self.kernels: list[Kernel] = []
        self._kernel_index: dict[str, int] = {}
        self._constants: dict[Value, np.ndarray] = {}
        self._constant_storage: dict[tuple[Value, bool], Storage] = {}
        self._constant_bytes = 0
        self._same_bytes: dict[tuple[str, bytes], Storage] = {}
        self._weights: list[tuple[str, np.ndarray, Storage]] = []
        self.context = Context(machine, self._constants, tiles)
        self.storage: dict[Value, Storage] = {}
        self.arena: list[Storage] = []
        self.clock = 0

    # -- entries -----------------------------------------------------------------------------------------------------

    def entry(
        self, graph: Graph
    ) -> tuple[list[_Pending], list[tuple[str, Value, Storage]], list[tuple[str, Value, Storage]], int, bool]:
        """Plan a top-level Graph; its inputs and outputs get places in the io region, except for the state.

        Returns:
            Steps, inputs, outputs, bytes of io, and whether the state is changed.
        """
        self.arena, self.clock = [], 0
        offset = 0
        inputs, outputs = [], []
        for value, name in zip(graph.inputs, graph.input_names, strict=True):
            if name in self._state:
                self.storage[value] = self.state_of(name, value)
                continue
            storage = Storage(self.nbytes(value.abstract), "io", offset)
            offset += aligned(storage.nbytes)
            self.storage[value] = storage
            inputs.append((name, value, storage))
        targets, values, stores = [], [], []
        old = dict(zip(graph.input_names, graph.inputs, strict=True))
        successors: dict[Value, tuple[Value | None, Storage]] = {}
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if name in self._state:
                if self.storage.get(value) is not self._state[name]:  # what stays as it is needs no step
                    # Steps may still read the old value while the new one is computed: then it moves in when all are done.
                    fresh, home = self.new_storage(value.abstract), self.state_of(name, value)
                    successors.setdefault(value, (old.get(name), home))
                    stores.append((value, fresh, home))
                    targets.append(fresh)
                    values.append(value)
                continue
            values.append(value)
            storage = Storage(self.nbytes(value.abstract), "io", offset)
            offset += aligned(storage.nbytes)
            targets.append(storage)
            outputs.append((name, value, storage))
        steps = self.graph(replace(graph, outputs=tuple(values), output_names=()), targets, successors)
        for value, fresh, storage in stores:
            self.clock += 1
            if storage.nbytes and self.storage.get(value) is not storage:
                steps.append(_Copy(self.touch(fresh), storage))
        return steps, inputs, outputs, offset, bool(stores)

    def graph(
        self, graph: Graph, targets: Sequence[Storage] | None,
        successors: Mapping[Value, tuple[Value | None, Storage]] | None = None,
    ) -> list[_Pending]:  # fmt: skip
        """Steps that compute a Graph whose inputs have storage; outputs end up in `targets` (where given).

        `successors`: outputs that take the place of an input when all is done, and that place. They are computed there at once
        where nothing would miss the input.
        """
        graph, halves = read_halves(self.widened(graph))
        self.context.seven_bits.update(seven_bits(graph))
        groups = join_blocks(fuse(graph, self.machine, halves), graph, self.machine, self.context.is_known)
        groups = side_by_side(groups, graph, self.machine)
        if self.machine.gpu and not self.machine.float16:
            self.context.packed_halves |= packed_halves(groups, graph)
        groups = schedule(groups, graph, self.bytes_of)
        alias: dict[Value, Value] = {}
        for group in groups:
            if _is_alias(group):
                operand = group.root.operands[0]
                alias[group.root.results[0]] = alias.get(operand, operand)
        fixed = set(graph.inputs) | set(graph.constants)
        copies: list[tuple[Value, Storage]] = []
        for value, target in zip(graph.outputs, targets or (), strict=False):
            holder = alias.get(value, value)
            old, home = (successors or {}).get(holder, (None, None))
            first = holder not in self.storage and target.space != "io"  # what also leaves the program is computed there
            slices = home is not None and not (self.machine.gpu and home.space == "state")  # which a failing run must not touch
            if home is not None and first and slices and may_update(groups, graph, alias, holder, old):
                next(g for g in groups if holder in g.results).in_place, target = True, home
            elif home is not None and first and not self.machine.gpu:
                target = home if may_replace(groups, graph, alias, holder, old) else target
            if holder in fixed or holder in self.storage:
                copies.append((value, target))  # an input, a constant, or a value that is two outputs
            else:
                self.storage[holder] = target
        steps: list[_Pending] = []
        for group in groups:
            root = group.root.results[0]
            if _is_alias(group):
                holder = alias[root]
                if holder in self._constants:
                    self._constants[root] = self._constants[holder].reshape(root.shape)
                else:
                    self.storage[root] = self.storage_of(holder)
            elif isinstance(group.root.primitive.lowering, Control):
                steps += self.control(group)
            else:
                made = lower_group(self.context, group)
                for lowered, work in zip(made, works(group, made, self.machine), strict=True):
                    self.clock += 1
                    args = tuple(self.touch(self.storage_of(v)) for v in lowered.args)
                    steps.append(_Launch(self.kernel(lowered.kernel), args, describe(group), work))
        for value, target in copies:
            self.clock += 1
            source = self.touch(self.copied(value))
            if target.nbytes:
                steps.append(_Copy(source, self.touch(target)))
        return steps

    def widened(self, graph: Graph) -> Graph:
        """The Graph without the nodes that widen constants: what they give are constants that are stored small."""
        self._constants.update(graph.constants)
        narrow: dict[Value, np.ndarray] = {}
        nodes: list[Node] = []
        users = graph.users()
        for node in graph.nodes:
            result, known = node.results[0], all(o in graph.constants for o in node.operands)
            if known and widens(node):
                narrow[result] = graph.constants[node.operands[0]]
            elif (codes := codes_of(node, graph.constants)) and all(multiplies_codes(u, node) for u in users.get(result, ())):
                self.context.codes[result] = codes
            else:
                nodes.append(node)
        self._constants.update(narrow)
        return replace(graph, constants={**graph.constants, **narrow}, nodes=tuple(nodes))

    def control(self, group: Group) -> list[_Pending]:
        """cond and while_loop: bodies planned in place; what they read from outside lives until they are done."""
        node = group.root
        start = self.clock
        before = set(self.arena)
        steps: list[_Pending] = []
        if node.primitive.name == "cond":
            results = [self.touch(self.storage_of(r)) for r in node.results]
            flag = self.touch(self.copied(node.operands[0]))
            bodies = []
            for key in ("then", "otherwise"):
                body: Graph = node.params[key]
                self.bind(body.inputs, node.operands[1:])
                bodies.append(self.graph(body, results))
                self.unbind(body)
            steps.append(_Branch(flag, tuple(bodies)))
        elif node.primitive.name == "while_loop":
            steps += self.while_loop(node.operands, node.results, node.params)
        else:
            raise AssertionError(f"control primitive {node.primitive.name} has no plan")
        self.clock += 1
        for storage in self.arena:
            used_outside = storage in before or any(storage is self.storage.get(r) for r in node.results)
            if used_outside and storage.death > start:
                storage.death = self.clock
        return steps

    def while_loop(self, operands: Sequence[Value], results: Sequence[Value], params: Mapping[str, object]) -> list[_Pending]:
        condition, body, count = params["condition"], params["body"], params["carried"]
        assert isinstance(condition, Graph) and isinstance(body, Graph) and isinstance(count, int)
        steps: list[_Pending] = []
        carried = [self.storage_of(r) for r in results]
        for value, storage in zip(operands[:count], carried, strict=True):
            self.clock += 1
            if storage.nbytes:
                steps.append(_Copy(self.touch(self.copied(value)), self.touch(storage)))
        flag = self.new_storage(Abstract((), dt.bool_))
        consts = [self.copied(o) for o in operands[count:]]

        def bind(graph: Graph) -> None:
            for value, storage in zip(graph.inputs, (*carried, *consts), strict=True):
                self.storage[value] = storage

        def test() -> list[_Pending]:
            bind(condition)
            made = self.graph(condition, [self.touch(flag)])
            self.unbind(condition)
            return made

        steps += test()
        loop: list[_Pending] = []
        bind(body)
        places = zip(body.outputs, body.inputs, carried, strict=False)
        moving = [(new, old, home) for new, old, home in places if self.storage.get(new) is not home]
        fresh = [self.new_storage(new.abstract) for new, _, _ in moving]
        successors: dict[Value, tuple[Value | None, Storage]] = {}
        for new, old, home in moving:
            successors.setdefault(new, (old, home))
        outputs = tuple(new for new, _, _ in moving)
        loop += self.graph(replace(body, outputs=outputs, output_names=()), fresh, successors)
        there = [self.storage.get(new) is home for new, _, home in moving]
        self.unbind(body)
        for made, (_, _, home), done in zip(fresh, moving, there, strict=True):
            self.clock += 1
            if made.nbytes and not done:
                loop.append(_Copy(self.touch(made), self.touch(home)))
        loop += test()
        self.touch(flag)
        for storage in (*carried, *consts):
            self.touch(storage)
        bound = params.get("bound")
        steps.append(_Branch(flag, (loop,), True, bound if isinstance(bound, int) else None))
        return steps

    def bind(self, inputs: Sequence[Value], operands: Sequence[Value]) -> None:
        for value, operand in zip(inputs, operands, strict=True):
            self.storage[value] = self.copied(operand)

    def unbind(self, graph: Graph) -> None:
        """Forget a body's values: the same body may be planned again elsewhere."""
        for value in (*graph.inputs, *(r for n in graph.nodes for r in n.results)):
            self.storage.pop(value, None)

    # -- storage -----------------------------------------------------------------------------------------------------

    def nbytes(self, abstract: Abstract) -> int:
        return abstract.size * self.machine.storage(abstract.dtype).itemsize

    def bytes_of(self, value: Value) -> int:
        """Of a value in the arena."""
        return value.abstract.nbytes if value in self.context.packed_halves else self.nbytes(value.abstract)

    def new_storage(self, abstract: Abstract, nbytes: int | None = None) -> Storage:
        storage = Storage(self.nbytes(abstract) if nbytes is None else nbytes)
        self.arena.append(storage)
        return storage

    def storage_of(self, value: Value) -> Storage:
        """Where kernels find a value."""
        if value in self._constants:
            return self.constant(value, self._constants[value], constant=True)
        if value not in self.storage:
            self.storage[value] = self.new_storage(value.abstract, self.bytes_of(value))
        return self.storage[value]

    def state_of(self, name: str, value: Value) -> Storage:
        """The place of a value that survives calls.

        Raises:
            ValueError: the graph has it in another shape or dtype.
        """
        initial = abstract_of(self._initial[name])
        if (initial.shape, initial.dtype) != (value.abstract.shape, value.abstract.dtype):
            raise ValueError(f"the state {name!r} is {initial}, the graph reads or writes {value.abstract}")
        return self._state[name]

    def variables(self) -> list[Variable]:
        """All that survives calls."""
        return [Variable(Port(n, abstract_of(a), _ref(self._state[n])), a) for n, a in self._initial.items()]

    def touch(self, storage: Storage) -> Storage:
        """Note that a storage is in use now."""
        if storage.birth < 0:
            storage.birth = self.clock
        storage.death = max(storage.death, self.clock)
        return storage

    def copied(self, value: Value) -> Storage:
        """Where a value lies as any other of its dtype does: what is copied as bytes, or read in the body of a loop."""
        if value not in self._constants:
            return self.storage_of(value)
        array = self._constants[value].astype(value.dtype.numpy, copy=False)
        return self.constant(value, array, constant=False)

    def constant(self, value: Value, array: np.ndarray, constant: bool) -> Storage:
        """A place in the weights region, as `Machine.storage` lays it out; equal bytes are stored once."""
        if (value, constant) not in self._constant_storage:
            array = to_storage(array, self.machine, value.name, constant)
            key = (str(array.dtype), array.tobytes())
            storage = self._same_bytes.get(key)
            if storage is None:
                storage = Storage(array.nbytes, "weights", self._constant_bytes)
                self._constant_bytes += aligned(array.nbytes)
                self._same_bytes[key] = storage
                self._weights.append((value.name, array, storage))
            self._constant_storage[value, constant] = storage
        return self._constant_storage[value, constant]

    def kernel(self, kernel: Kernel) -> int:
        """The number of this kernel; equal kernels have one number."""
        key = kernel.key()
        if key not in self._kernel_index:
            self._kernel_index[key] = len(self.kernels)
            self.kernels.append(kernel)
        return self._kernel_index[key]

    def place_arena(self) -> int:
        """Give every arena storage an offset; the arena's size."""
        used = [s for s in self.arena if s.birth >= 0]
        offsets, size = place([Life(aligned(s.nbytes), s.birth, s.death) for s in used])
        for storage, offset in zip(used, offsets, strict=True):
            storage.offset = offset
        return size

    def weights(self) -> tuple[list[Weight], int]:
        return [Weight(n, a, _ref(s)) for n, a, s in self._weights], self._constant_bytes


def _is_alias(group: Group) -> bool:
    return len(group.nodes) == 1 and group.root.primitive.name == "reshape"


def _ref(storage: Storage) -> Ref:
    return Ref(storage.space, max(storage.offset, 0), storage.nbytes)


def _resolve(pending: _Pending) -> Step:
    match pending:
        case _Launch():
            return Launch(pending.kernel, tuple(map(_ref, pending.args)), pending.label, pending.work)
        case _Copy():
            return Copy(_ref(pending.source), _ref(pending.target))
        case _Branch(loop=True):
            return While(_ref(pending.flag), tuple(map(_resolve, pending.bodies[0])), pending.bound)
        case _:
            return Cond(_ref(pending.flag), tuple(map(_resolve, pending.bodies[0])), tuple(map(_resolve, pending.bodies[1])))


def to_storage(array: np.ndarray, machine: Machine, name: str = "", constant: bool = False) -> np.ndarray:
    """An array as the machine stores it, or a constant. Narrowing is checked.

    Raises:
        OverflowError: where a 64-bit integer does not fit the 32 bits that the machine has.
        TypeError: for dtypes that the machine cannot hold.
    """
    dtype = dt.dtype(array.dtype)
    stored = machine.storage(dtype, constant)
    if stored is dtype:
        return np.ascontiguousarray(array)
    if dtype.is_integer and array.size:
        info = np.iinfo(stored.numpy)
        low, high = int(array.min()), int(array.max())
        if low < info.min or high > info.max:
            raise OverflowError(
                f"{name or 'a constant'} holds {low}…{high} ({dtype}); {machine.name} carries {dtype} as {stored}"
            )
    return np.ascontiguousarray(array.astype(stored.numpy))
