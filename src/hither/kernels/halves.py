"""Halves: activations="float16". What kernels store for each other is stored as float16, and widened where it is read.

Which values lie in memory is fusion's choice, and fusion is asked here, for one machine whatever the target, so that all of
them round the same values. Behind each the Graph says `narrow`, and `convert` back; what only moves elements (padding,
concatenation, views, gathers) moves halves. Before it fuses, the planner lets readers have the halves themselves
(`read_halves`): they widen them in registers, as they do small weights. Arithmetic and sums are float32 as before, and a value
that a target never stores is not rounded there.

These keep float32: inputs, results and state of the program; what branches and loops are given; small arrays; statistics (sums
over axes, and what is computed of them alone); what is only there to be summed, which may be squares of anything; what becomes
an index, where a tie would be broken otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control, Elementwise, Indexed, Reduction, Template
from ..passes.precision import Numbers
from .fusion import Group, fuse
from .ir import Machine

WORDS = 4  # what last axes of packed halves are multiples of: a product's vectors have four lanes
LEAST = 256  # elements of a value that is worth storing small
CHOOSER = Machine("llvm", vector_bits=256)  # for which fusion says what is stored
_MAKERS = ("matmul", "conv", "conv_transpose", "pool")
_READERS = (*_MAKERS, "conv_filter_gradient")  # templates that widen what they read; gradients of pools look for equals
_MOVERS = (
    "reshape", "transpose", "broadcast", "slice", "pad", "concat", "take", "take_along", "gather_nd", "dynamic_slice",
)  # fmt: skip
_PLACED = ("reshape", "pad", "concat")  # whose operands are stored where the result lies


@dataclass(frozen=True)
class Stored:
    """A value that is stored as float16. `key` identifies it in every trace of a network: where it comes from, and the how
    manieth such node it is; `name` is for people."""

    key: str
    name: str


def stored_halves(graph: Graph, prefix: str = "") -> dict[Value, Stored]:
    """The values of a Graph (its branch and loop bodies apart) that are stored as float16. `prefix`: of keys."""
    readers = _Readers(graph)
    statistics = _statistics(graph)
    keys = node_keys(graph, prefix)
    found = {}
    for node in (node for group in fuse(graph, CHOOSER) for node in _made_in(group)):
        value = node.results[0]
        large = value.dtype is dt.float32 and value.abstract.size >= LEAST
        if large and len(node.results) == 1 and value not in statistics and readers.take_halves(value):
            found[value] = Stored(keys[node], node.source or node.primitive.name)
    return found


def store_halves(graph: Graph, numbers: Numbers, prefix: str = "") -> Graph:
    """The Graph with what kernels store for each other rounded to float16, but for what `numbers` keep; in bodies too."""
    chosen = {value for value, stored in stored_halves(graph, prefix).items() if stored.key not in numbers.kept}
    inner = {node: path for node, path in node_keys(graph, prefix).items() if isinstance(node.primitive.lowering, Control)}
    half: dict[Value, Value] = {}  # values of the new Graph that are rounded → the same in float16

    def widened(builder: GraphBuilder, narrow: Value, source: str) -> list[Value]:
        (wide,) = builder.add(REGISTRY["convert"], (narrow,), {"dtype": dt.float32}, source)
        half[wide] = narrow
        return [wide]

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
        if node in inner:
            changed = {name: store_halves(body, numbers, path) for name, body, path in bodies_of(node, inner[node])}
            return list(builder.add(node.primitive, operands, {**node.params, **changed}, node.source))
        moved = _moved(node)
        if moved and all(operands[i] in half for i in moved):
            there = tuple(half[o] if i in moved else o for i, o in enumerate(operands))
            return widened(builder, builder.add(node.primitive, there, node.params, node.source)[0], node.source)
        if node.results[0] not in chosen:
            return None
        (value,) = builder.add(node.primitive, operands, node.params, node.source)
        return widened(builder, builder.add(REGISTRY["narrow"], (value,), {}, node.source)[0], node.source)

    return rewrite(graph, rule)


def read_halves(graph: Graph) -> tuple[Graph, frozenset[Value]]:
    """The Graph with readers reading halves themselves where it has a `convert` of them to float32, and the values that were
    made halves for that: they are to be stored so, whoever could compute them anew."""
    wide = {n.results[0]: n.operands[0] for n in graph.nodes if _widens(n) and n.operands[0] not in graph.constants}
    if not wide:
        return graph, frozenset()
    nodes = [
        replace(n, operands=tuple(wide.get(o, o) for o in n.operands)) if _widens_what_it_reads(n) else n for n in graph.nodes
    ]
    read = {o for n in nodes for o in n.operands} | set(graph.outputs)
    kept = tuple(n for n in nodes if n.results[0] not in wide or n.results[0] in read)
    return replace(graph, nodes=kept), frozenset(_rounded(graph, wide.values()))


def node_keys(graph: Graph, prefix: str = "") -> dict[Node, str]:
    """What identifies each node in every trace of a network, as long as the same operations are traced."""
    counts: Counter[tuple[str, str]] = Counter()
    keys = {}
    for node in graph.nodes:
        kind = node.source, node.primitive.name
        keys[node] = f"{prefix}{node.source}:{node.primitive.name}:{counts[kind]}"
        counts[kind] += 1
    return keys


def bodies_of(node: Node, key: str) -> Iterator[tuple[str, Graph, str]]:
    """(parameter, body, prefix of keys in it) of a branch or loop whose bodies may store halves: a loop's condition may not."""
    for name, body in node.params.items():
        if isinstance(body, Graph) and name != "condition":
            yield name, body, f"{key}/{name}/"


# -- what is stored so -----------------------------------------------------------------------------------------------------


def _made_in(group: Group) -> Iterator[Node]:
    """The nodes of a group whose results are what it stores: computed, and not only moved. Of what is stored inside something
    larger, or under another shape, that which computes it."""
    producers = group.producers()

    def computes(node: Node) -> bool:
        if isinstance(node.primitive.lowering, Elementwise) or node.primitive.name in _MAKERS:
            return True
        return any(computes(producers[o]) for o in (node.operands[i] for i in _moved(node)) if o in producers)

    def visit(node: Node) -> Iterator[Node]:
        if node.primitive.name not in _PLACED:
            yield from (node,) if computes(node) else ()
            return
        for operand in (node.operands[i] for i in _moved(node)):
            if operand in producers:
                yield from visit(producers[operand])

    return visit(group.root)


def _moved(node: Node) -> range:
    """Which operands' elements a node moves without changing any; none if it computes, or adds what is no half."""
    name = node.primitive.name
    if name not in _MOVERS or (name == "pad" and not _is_half(node.params["value"])):
        return range(0)
    return range(len(node.operands) if name == "concat" else 1)


def _is_half(value: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.float32(np.float16(value)) == np.float32(value))


def _statistics(graph: Graph) -> set[Value]:
    """Sums (or extremes) over axes, and what is computed of such values and constants alone, of no more elements."""
    found: set[Value] = set()
    for node in graph.nodes:
        computed = [o for o in node.operands if o not in graph.constants]
        if isinstance(node.primitive.lowering, Reduction):
            found.update(node.results)
        elif isinstance(node.primitive.lowering, Elementwise | Indexed) and computed and found.issuperset(computed):
            no_more = node.results[0].abstract.size <= max(o.abstract.size for o in computed)
            found.update(node.results if no_more else ())
    return found


class _Readers:
    """Who computes with a value, seen through nodes that only move it."""

    def __init__(self, graph: Graph) -> None:
        self.users, self.outputs = graph.users(), set(graph.outputs)

    def take_halves(self, value: Value) -> bool:
        """Whether all that read a value may read it rounded, and not all of them only sum it."""
        found = list(self.of(value))
        computing = [node for node in found if node is not None]
        return len(computing) == len(found) and any(not _sums(n) for n in computing) and all(map(_computes, computing))

    def of(self, value: Value) -> Iterator[Node | None]:
        """None stands for the caller of the Graph."""
        if value in self.outputs:
            yield None
        for node in self.users.get(value, ()):
            moved = _moved(node)
            if any(node.operands[i] is value for i in moved):
                yield from self.of(node.results[0])
            if not moved or any(o is value for i, o in enumerate(node.operands) if i not in moved):
                yield node


def _sums(node: Node) -> bool:
    return isinstance(node.primitive.lowering, Reduction)


def _computes(node: Node) -> bool:
    """Whether a node makes numbers of a value, rather than hand it on or find places in it."""
    lowering = node.primitive.lowering
    if isinstance(lowering, Template):
        return node.primitive.name in _READERS
    return isinstance(lowering, Elementwise | Reduction)


def packed_halves(groups: Iterable[Group], graph: Graph) -> set[Value]:
    """Of the halves that groups store on a GPU which cannot address them, those that may lie two to a word: every store is of
    whole words, and nobody takes them as they lie. The others take a word each."""
    taken = set(graph.outputs).union(*(n.operands for n in graph.nodes if isinstance(n.primitive.lowering, Control)))
    fits: dict[Value, bool] = {}
    holders: dict[Value, Value] = {}  # reshapes are the memory of what they reshape
    for group in groups:
        target = group.results[0] if group.placement is None else group.placement.target
        if target.dtype is not dt.float16:
            continue
        if group.root.primitive.name == "reshape" and len(group.nodes) == 1:
            operand = group.root.operands[0]
            holders[target] = holders.get(operand, operand)
        else:
            fits[target] = fits.get(target, True) and _stores_words(group, target)
    lost = {holders.get(value, value) for value in taken}
    kept = {value for value, all_fit in fits.items() if all_fit and value not in lost}
    return kept.union(value for value, holder in holders.items() if holder in kept)


def _stores_words(group: Group, target: Value) -> bool:
    """Whether a group stores four neighbours at a time, or can store pairs: where last axes and places are multiples of it."""
    root, params = group.root, group.root.params
    result, shift = root.results[0], (0,) if group.placement is None else group.placement.shift
    lasts = [v.shape[-1] for v in (result, target) if v.abstract.rank]
    if group.rows is not None or group.parts or len(group.results) > 1:
        return False
    if group.anchor is not None:
        if group.anchor.primitive.name not in ("matmul", "conv"):
            return False
        columns, instances = group.anchor.results[0].shape[-1], group.anchor.params.get("groups", 1)
        lasts.append(columns if instances == columns else columns // instances)  # depthwise ones have vectors of channels
    if root.primitive.name == "pad":
        lasts += [params["low"][-1], params["high"][-1]]
    elif root.primitive.name == "concat":
        lasts += [o.shape[-1] for o in root.operands]
    return bool(lasts) and all(n % WORDS == 0 for n in (*lasts, shift[-1]))


# -- how they are read -----------------------------------------------------------------------------------------------------


def _widens(node: Node) -> bool:
    return (
        node.primitive.name == "convert"
        and node.operands[0].dtype is dt.float16
        and node.results[0].dtype is dt.float32
        and node.results[0].abstract.size > 0
    )


def _widens_what_it_reads(node: Node) -> bool:
    """Whether a node computes in float32 whatever an operand is stored in. A reshape may be the operand's memory itself."""
    if _widens(node):
        return False
    view = isinstance(node.primitive.lowering, Indexed) and node.primitive.name != "reshape"
    return view or _computes(node)


def _rounded(graph: Graph, halves: Iterable[Value]) -> Iterator[Value]:
    """The values that were rounded to float16 to become these."""
    producers: Mapping[Value, Node] = graph.producers()
    waiting, seen = list(halves), set()
    while waiting:
        value = waiting.pop()
        node = producers.get(value)
        if node is None or value in seen:
            continue
        seen.add(value)
        if node.primitive.name in ("narrow", "convert") and node.operands[0].dtype is dt.float32:
            yield value
        waiting.extend(node.operands[i] for i in _moved(node))


__all__ = ["Stored", "bodies_of", "node_keys", "packed_halves", "read_halves", "store_halves", "stored_halves"]
