"""Tracing: calling a Python function on stand-ins records what it does as a Graph.

`bind` is the one door through which every primitive is applied. Given concrete arrays it evaluates at once; given a traced
value it appends a node to the innermost trace. Arithmetic on concrete values (shape computations above all) therefore
disappears from the Graph by itself. Values of an outer trace that an inner function uses become inputs of the inner Graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..array import Array, ArrayMethods, evaluator
from ..dtypes import DType
from .core import Abstract, Graph, GraphBuilder, Node, Value, abstract_of, evaluate, evaluations, prune
from .primitive import Control, Primitive

MANY = 256  # evaluations of a node on NumPy take about as long as compiling it


class Trace:
    """A recording in progress. `captured` holds the outer values that the function turned out to use.

    `given` are the values of its inputs, where they can be had: a function that is differentiated at once, not compiled, may
    look at its numbers, which are computed when it does.
    """

    def __init__(self, parent: Trace | None, knows: bool = False) -> None:
        self.builder = GraphBuilder()
        self.parent = parent
        self.captured: dict[Value, Tracer] = {}
        self.given: dict[Value, Any] | None = {} if knows else None
        self._seen: dict[Value, np.ndarray] = {}
        self._makers: dict[Value, Node] = {}
        self._noted = 0  # nodes whose results are among them
        self._lifted: dict[tuple[Trace, Value], Value] = {}

    def value_of(self, x: Any) -> Value:
        """The Value in this trace for a traced value, an Array or a NumPy array."""
        if isinstance(x, Tracer):
            if x.trace is self:
                return x.value
            key = (x.trace, x.value)
            if key not in self._lifted:
                value = self.builder.input(x.value.abstract)
                self._lifted[key] = value
                self.captured[value] = x
                if self.given is not None:
                    self.given[value] = x
            return self._lifted[key]
        array = x.numpy() if isinstance(x, Array) else np.asarray(x)
        if array.size > 1 and not any(array.strides):  # one repeated value stays a scalar and a broadcast
            from .primitives import REPEAT, scalar

            one = self.builder.constant(scalar(array.reshape(-1)[0], abstract_of(array).dtype))
            return self.builder.add(REPEAT, [one], {"shape": tuple(array.shape), "axes": ()})[0]
        return self.builder.constant(array)

    def look(self, value: Value) -> np.ndarray | None:
        """The numbers of one of its values, in a trace that knows them."""
        if self.given is None:
            return None
        for node in self.builder.nodes[self._noted :]:
            self._makers.update(dict.fromkeys(node.results, node))
        self._noted = len(self.builder.nodes)
        waiting = [value]
        while waiting:
            wanted = waiting[-1]
            maker = None if wanted in self._seen else self._makers.get(wanted)
            missing = [o for o in maker.operands if o not in self._seen] if maker is not None else []
            if missing:
                waiting += missing
                continue
            if maker is not None:
                arrays = [self._seen[o] for o in maker.operands]
                self._seen.update(zip(maker.results, maker.primitive.run(*arrays, **maker.params), strict=True))
            elif wanted not in self._seen:
                constant = self.builder.constants.get(wanted)
                self._seen[wanted] = _numbers(self.given[wanted]) if constant is None else constant
            waiting.pop()
        return self._seen[value]


def _numbers(x: Any) -> np.ndarray:
    """The elements of an array, or of a traced value of a trace that knows them."""
    if isinstance(x, Tracer):
        found = x.known()
        if found is None:
            raise escaped(x)
        return found
    return x.numpy() if isinstance(x, Array) else np.asarray(x)


_current: ContextVar[Trace | None] = ContextVar("hither_trace", default=None)
_source: ContextVar[str] = ContextVar("hither_source", default="")


@contextmanager
def source(text: str) -> Iterator[None]:
    """Label the nodes recorded inside, in the user's terms ("Conv 'conv1' of model.onnx"); errors quote it."""
    token = _source.set(text)
    try:
        yield
    finally:
        _source.reset(token)


class Notes:
    """What importers say about the values that they record: their names in the file, and which are statistics of data."""

    def __init__(self) -> None:
        self.named: dict[str, Value] = {}
        self.statistics: set[Value] = set()


_notes: ContextVar[Notes | None] = ContextVar("hither_notes", default=None)


@contextmanager
def noting() -> Iterator[Notes]:
    """Collect, inside, what `note_name` and `note_statistics` are told; elsewhere nobody listens."""
    notes = Notes()
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note_name(name: str, x: Any) -> None:
    """The name that a value has in the file which is being imported."""
    notes = _notes.get()
    if notes is not None and isinstance(x, Tracer):
        notes.named[name] = x.value


def note_statistics(*arrays: Any) -> None:
    """These arrays, where they are weights, hold what was measured on data (a mean, a variance): no gradient changes them."""
    notes = _notes.get()
    if notes is not None:
        notes.statistics.update(x.value for x in arrays if isinstance(x, Tracer))


class _Limit:
    """How large results may be while an untrusted model is traced, and how much is computed on the way already."""

    def __init__(self, result: int, folded: int, error: type[Exception]) -> None:
        self.result, self.folded, self.error = result, folded, error

    def check(self, primitive: Primitive, abstract: Abstract | tuple[Abstract, ...], computed: bool) -> None:
        for a in abstract if isinstance(abstract, tuple) else (abstract,):
            if a.nbytes > self.result:
                raise self.error(f"{_source.get() or primitive.name}: a result {a} of {a.nbytes} bytes; at most {self.result}")
            # NumPy broadcasts by strides: the result is a view and takes no memory, whatever its shape.
            self.folded -= a.nbytes if computed and primitive.name != "broadcast" else 0
        if self.folded < 0:
            raise self.error(f"{_source.get() or primitive.name}: constants computed while tracing take too much memory")


_limit: ContextVar[_Limit | None] = ContextVar("hither_limit", default=None)


@contextmanager
def result_limit(result: int, folded: int, error: type[Exception]) -> Iterator[None]:
    """Refuse, inside, any single result above `result` bytes and, in sum, more than `folded` bytes computed while tracing.

    Shapes in a model file are untrusted: they are checked by the shape rules before anything is allocated.
    """
    token = _limit.set(_Limit(result, folded, error))
    try:
        yield
    finally:
        _limit.reset(token)


class Tracer(ArrayMethods):
    """A stand-in for an array while a function is traced: it has a shape and a dtype, but no values yet."""

    __slots__ = ("trace", "value")

    def __init__(self, trace: Trace, value: Value) -> None:
        self.trace, self.value = trace, value

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.value.abstract.shape

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.value.abstract.dtype

    def known(self) -> np.ndarray | None:
        """The values, in a trace that knows them."""
        return self.trace.look(self.value)

    def _value(self, what: str) -> Any:
        found = self.known()
        if found is not None:
            return found
        raise TypeError(
            f"{what} needs the values of an array ({self.value.abstract}) that is only being traced; "
            "use hither.where or hither.cond instead of Python control flow, or make the argument static"
        )

    def __bool__(self) -> bool:
        return bool(self._value("bool()"))

    def __int__(self) -> int:
        return int(self._value("int()"))

    def __float__(self) -> float:
        return float(self._value("float()"))

    def __index__(self) -> int:
        return self._value("an index").__index__()

    def __complex__(self) -> complex:
        return complex(self._value("complex()"))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "x[key] = value changes values that are only being traced; make a new array instead, with hither.where, "
            "hither.scatter_nd or hither.dynamic_update_slice"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self._elements("conversion to NumPy"), *args, **kwargs)

    def numpy(self) -> np.ndarray:
        return self._elements("numpy()")

    def _elements(self, what: str) -> np.ndarray:
        found: np.ndarray = self._value(what)
        if self.dtype.kind in "fc":  # known because it is differentiated
            raise TypeError(
                f"{what} of an array ({self.value.abstract}) that is being differentiated: no gradient passes through NumPy; "
                "use hither's functions, or float(x) where one number's value alone is wanted"
            )
        return found

    def __format__(self, spec: str) -> str:
        return format(self._value("a format").item(), spec) if spec else repr(self)

    def __repr__(self) -> str:
        return f"Tracer({self.value.abstract})"


def escaped(tracer: Tracer) -> RuntimeError:
    """The error of a traced value outside the function that it was traced in."""
    return RuntimeError(f"{tracer!r} was used after its trace had ended; return it from the traced function instead")


def bind(primitive: Primitive, *operands: Any, **params: Any) -> Any:
    """Apply a primitive: at once on concrete arrays, as a new node where any operand is traced.

    Operands are Tracers, Arrays or NumPy arrays. Returns one result, or a tuple for primitives with several.
    """
    trace, limit = _current.get(), _limit.get()
    if trace is None or not any(isinstance(o, Tracer) for o in operands):
        stray = next((o for o in operands if isinstance(o, Tracer)), None)
        if stray is not None:
            raise escaped(stray)
        elsewhere = evaluator(operands, compiled=limit is None and _goes_round(primitive, params))
        results: tuple[Any, ...]
        if elsewhere is not None:
            results = elsewhere(primitive, operands, params)
        else:
            arrays = [o.numpy() if isinstance(o, Array) else np.asarray(o) for o in operands]
            if limit is not None:
                limit.check(primitive, primitive.abstract(*[abstract_of(a) for a in arrays], **params), True)
            results = tuple(Array(r) for r in primitive.run(*arrays, **params))
    else:
        values = [trace.value_of(o) for o in operands]
        results = tuple(Tracer(trace, v) for v in trace.builder.add(primitive, values, params, _source.get()))
        if limit is not None:
            limit.check(primitive, tuple(r.value.abstract for r in results), False)
    return results[0] if len(results) == 1 else results


def _goes_round(primitive: Primitive, params: Mapping[str, Any]) -> bool:
    """Whether compiling an operation's Graphs pays in the first run, because their loops may go round so often.

    Shapes alone decide that, not time: equal calls give equal bits.
    """
    if not isinstance(primitive.lowering, Control):
        return False
    nodes, most = evaluations(params)
    return most >= MANY * nodes


def record(primitive: Primitive, **params: Any) -> Any:
    """Apply a primitive without operands as a node of the current trace, where `bind` would compute it at once.

    For counters of the size of the data, which would otherwise be constants of that size.
    """
    trace = _current.get()
    if trace is None:
        return bind(primitive, **params)
    return Tracer(trace, trace.builder.add(primitive, (), params, _source.get())[0])


def repeat(node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
    """Apply a Graph's node to these operands. What was recorded without operands is recorded again."""
    with source(node.source):
        if not operands:
            return (record(node.primitive, **node.params),)
        results = bind(node.primitive, *operands, **node.params)
    return results if isinstance(results, tuple) else (results,)


def trace_function(
    function: Callable[..., Sequence[Any]],
    abstracts: Sequence[Abstract],
    names: Sequence[str] = (),
    name: str = "graph",
    values: Sequence[Any] | None = None,
) -> tuple[Graph, tuple[Tracer, ...]]:
    """Record `function(*tracers)`, which returns a flat sequence of array-likes.

    Args:
        function: what to record.
        abstracts, names: of its arguments.
        name: the Graph's.
        values: the arguments themselves, where the function may look at its numbers while they are known.

    Returns:
        The Graph, and the outer traced values it captured: they are its last inputs, in this order.
    """
    outer = _current.get()
    trace = Trace(outer, knows=values is not None and (outer is None or outer.given is not None))
    labels = tuple(names) or ("",) * len(abstracts)
    inputs = [Tracer(trace, trace.builder.input(a, n)) for a, n in zip(abstracts, labels, strict=True)]
    if trace.given is not None and values is not None:
        trace.given.update((tracer.value, x) for tracer, x in zip(inputs, values, strict=True))
    token = _current.set(trace)
    try:
        outputs = [trace.value_of(o) for o in function(*inputs)]
    finally:
        _current.reset(token)
    graph = trace.builder.finish(outputs, names, name=name)
    return graph, tuple(trace.captured.values())


def call_graph(graph: Graph, *operands: Any, constants: Mapping[Value, Any] | None = None) -> tuple[Any, ...]:
    """Apply a Graph's nodes to these operands: evaluated where they are concrete, inlined into the trace where not.

    `constants` takes the places of some of the Graph's own.
    """
    env: dict[Value, Any] = {v: Array(a) for v, a in graph.constants.items()} | dict(constants or {})
    env.update(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        env.update(zip(node.results, repeat(node, [env[o] for o in node.operands]), strict=True))
    return tuple(env[o] for o in graph.outputs)


def weight(array: np.ndarray, name: str) -> Any:
    """A named constant of the current trace that stays a node of the Graph: what a model's weights are.

    Unlike an Array, operations on it are recorded, not evaluated: the weight remains visible (to be stored, shared,
    trained or quantised), and the fold pass computes what depends on weights alone.
    """
    trace = _current.get()
    if trace is None:
        return Array(array)
    return Tracer(trace, trace.builder.constant(array, name))


def is_tracing() -> bool:
    """Whether a function is being traced."""
    return _current.get() is not None


def static_value(x: Any) -> np.ndarray | None:
    """The values of `x` if they are known while tracing (concrete, or computed from constants only); else None."""
    if isinstance(x, Array):
        return x.numpy()
    if not isinstance(x, Tracer):
        return np.asarray(x)
    builder = x.trace.builder
    if x.value in builder.constants:
        return builder.constants[x.value]
    producers = {r: n for n in builder.nodes for r in n.results}
    needed, stack = set(), [x.value]
    while stack:
        value = stack.pop()
        if value in needed or value in builder.constants:
            continue
        if value not in producers:
            return None
        needed.add(value)
        stack.extend(producers[value].operands)
    graph = prune(Graph((), builder.constants, tuple(builder.nodes), (x.value,)))
    return evaluate(graph)[0]


__all__ = [
    "Notes", "Trace", "Tracer", "abstract_of", "bind", "call_graph", "escaped", "is_tracing", "note_name", "note_statistics",
    "noting", "record", "result_limit", "source", "static_value",
    "trace_function", "weight",
]  # fmt: skip
