"""Graph: a typed list of primitive applications in SSA form, immutable once made.

A Graph is what tracing gives, what every transform and pass takes and returns, and what fusion cuts into kernels. It holds
no schedule and no device. Printing one shows what would be computed, line by line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType, dtype

if TYPE_CHECKING:
    from .primitive import Primitive


@dataclass(frozen=True, slots=True)
class Abstract:
    """What is known about an array before it exists: its shape (all extents known) and dtype."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def abstract_of(array: np.ndarray) -> Abstract:
    """The Abstract of a NumPy array."""
    return Abstract(tuple(array.shape), dtype(array.dtype))


class Value:
    """One array in a Graph. Identity is what makes two Values the same; `name` only helps readers and weight files."""

    __slots__ = ("abstract", "name")

    def __init__(self, abstract: Abstract, name: str = "") -> None:
        self.abstract = abstract
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.abstract.shape

    @property
    def dtype(self) -> DType:
        return self.abstract.dtype

    def __repr__(self) -> str:
        return f"<Value {self.name or hex(id(self))} {self.abstract}>"


@dataclass(frozen=True, eq=False)
class Node:
    """One application of a primitive. `params` are static: numbers, strings, tuples, DTypes, and Graphs for control flow.

    `source` says where it came from in the user's terms (an ONNX node's name and type, a layer), for error messages.
    """

    primitive: Primitive
    operands: tuple[Value, ...]
    params: Mapping[str, Any]
    results: tuple[Value, ...]
    source: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Inputs, constants, nodes in topological order, and outputs.

    `constants` maps Values to arrays known at compile time: weights (named) and literals. A control-flow body is a closed
    Graph: whatever it uses from outside arrives through its inputs.
    """

    inputs: tuple[Value, ...]
    constants: Mapping[Value, np.ndarray]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    name: str = field(default="graph")

    def __str__(self) -> str:
        return format_graph(self)

    def users(self) -> dict[Value, list[Node]]:
        """Which nodes read each Value."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for operand in dict.fromkeys(node.operands):
                found.setdefault(operand, []).append(node)
        return found

    def producers(self) -> dict[Value, Node]:
        """Which node makes each Value (inputs and constants are absent)."""
        return {result: node for node in self.nodes for result in node.results}


class GraphBuilder:
    """Appends nodes; `finish` drops what no output needs and freezes the result."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.constants: dict[Value, np.ndarray] = {}
        self.nodes: list[Node] = []
        self._constant_ids: dict[int, Value] = {}
        self._keep: list[np.ndarray] = []
        self._bound: list[tuple[Node, tuple[Value, ...]]] = []

    def input(self, abstract: Abstract, name: str = "") -> Value:
        value = Value(abstract, name)
        self.inputs.append(value)
        return value

    def constant(self, array: np.ndarray, name: str = "") -> Value:
        """A Value known at compile time. The same array object gives the same Value."""
        known = self._constant_ids.get(id(array))
        if known is not None:
            return known
        value = Value(abstract_of(array), name)
        self.constants[value] = array
        self._constant_ids[id(array)] = value
        self._keep.append(array)  # keeps id() meaningful
        return value

    def add(
        self, primitive: Primitive, operands: Sequence[Value], params: Mapping[str, Any], source: str = ""
    ) -> tuple[Value, ...]:
        """Append one application; shapes and dtypes are checked by the primitive's rule."""
        params = {**primitive.defaults, **params}
        abstract = primitive.abstract(*[o.abstract for o in operands], **params)
        results = tuple(Value(a) for a in (abstract if isinstance(abstract, tuple) else (abstract,)))
        self.nodes.append(Node(primitive, tuple(operands), params, results, source))
        return results

    def append(self, node: Node) -> None:
        """Append a node made elsewhere, unchanged."""
        self.nodes.append(node)

    def finish(
        self,
        outputs: Iterable[Value],
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
        name: str = "graph",
    ) -> Graph:
        return prune(
            Graph(
                tuple(self.inputs), self.constants, tuple(self.nodes), tuple(outputs),
                tuple(input_names), tuple(output_names), name,
            )
        )  # fmt: skip


def prune(graph: Graph) -> Graph:
    """The same Graph without nodes and constants that no output needs. Inputs stay: they are the signature."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(r in needed for r in node.results):
            kept.append(node)
            needed.update(node.operands)
    constants = {v: a for v, a in graph.constants.items() if v in needed}
    return Graph(
        graph.inputs, constants, tuple(reversed(kept)), graph.outputs,
        graph.input_names, graph.output_names, graph.name,
    )  # fmt: skip


def rewrite(graph: Graph, rule: Callable[[GraphBuilder, Node, tuple[Value, ...]], Sequence[Value] | None]) -> Graph:
    """Rebuild a Graph node by node; the shared engine of the passes.

    `rule(builder, node, operands)` sees each node with its operands already rewritten and returns the Values that stand for
    the node's results (adding whatever nodes it likes to `builder`), or None to keep the node as it is.
    """
    builder = GraphBuilder()
    builder.inputs = list(graph.inputs)
    builder.constants = dict(graph.constants)
    builder._constant_ids = {id(a): v for v, a in graph.constants.items()}
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        operands = tuple(new.get(o, o) for o in node.operands)
        replaced = rule(builder, node, operands)
        if replaced is None:
            if operands == node.operands:
                builder.append(node)
                continue
            replaced = builder.add(node.primitive, operands, node.params, node.source)
        for old, value in zip(node.results, replaced, strict=True):
            new[old] = value
    outputs = [new.get(o, o) for o in graph.outputs]
    return builder.finish(outputs, graph.input_names, graph.output_names, graph.name)


def evaluate(graph: Graph, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run a Graph on NumPy, one primitive after another: the oracle that every compiled target is checked against.

    Raises:
        ValueError: if the number, shapes or dtypes of `arrays` are not those of the inputs.
    """
    if len(arrays) != len(graph.inputs):
        raise ValueError(f"{graph.name} takes {len(graph.inputs)} arrays, got {len(arrays)}")
    env: dict[Value, np.ndarray] = dict(graph.constants)
    for value, array in zip(graph.inputs, arrays, strict=True):
        if abstract_of(array) != value.abstract:
            raise ValueError(f"{graph.name}: input {value.name!r} is {value.abstract}, got {abstract_of(array)}")
        env[value] = array
    last_use = {o: i for i, node in enumerate(graph.nodes) for o in node.operands}
    keep = set(graph.outputs)
    for i, node in enumerate(graph.nodes):
        results = node.primitive.run(*[env[o] for o in node.operands], **node.params)
        env.update(zip(node.results, results, strict=True))
        for operand in set(node.operands):
            if last_use[operand] == i and operand not in keep:
                env.pop(operand, None)
    return tuple(env[o] for o in graph.outputs)


def evaluations(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many nodes there are in the Graphs among a node's parameters, and how often they are evaluated at most, all in all.
    Loops that nothing bounds count as one turn."""
    turns = params.get("bound") or 1
    nodes = most = 0
    for graph in params.values():
        for node in graph.nodes if isinstance(graph, Graph) else ():
            inside, often = evaluations(node.params)
            nodes += 1 + inside
            most += turns * (1 + often)
    return nodes, most


def format_graph(graph: Graph, indent: str = "") -> str:
    """A Graph as text: one line per node, sub-Graphs indented below the node that owns them."""
    names: dict[Value, str] = {}

    def name(value: Value) -> str:
        if value not in names:
            names[value] = f"%{len(names)}"
        return names[value]

    head = ", ".join(f"{name(v)}: {v.abstract}" for v in graph.inputs)
    lines = [f"{indent}{graph.name}({head}):"]
    for value, array in graph.constants.items():
        literal = f" = {array.item()}" if array.size == 1 else (f" = {value.name}" if value.name else "")
        lines.append(f"{indent}  {name(value)}: {value.abstract} constant{literal}")
    for node in graph.nodes:
        results = ", ".join(f"{name(r)}: {r.abstract}" for r in node.results)
        plain = {k: v for k, v in node.params.items() if not isinstance(v, Graph)}
        params = "".join(f" {k}={v}" for k, v in plain.items())
        lines.append(f"{indent}  {results} = {node.primitive.name}({', '.join(map(name, node.operands))}){params}")
        for key, sub in node.params.items():
            if isinstance(sub, Graph):
                lines.append(f"{indent}    {key} =")
                lines.append(format_graph(sub, indent + "      "))
    lines.append(f"{indent}  return {', '.join(map(name, graph.outputs))}")
    return "\n".join(lines)
