"""The model's own operators, read off the nodes of its traced Graph.

An importer or a layer labels the primitives that it records with where they came from (`Node.source`); a run of nodes with one
label is one operator of the user's. What is computed from weights alone is drawn as the weights of whoever reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...graph.core import Graph, Node, Value
from ...graph.primitive import Control, Elementwise, Indexed
from ...program.work import node_flops
from .parts import Level, Part, Weight, distinct

SHOWN_ATTRIBUTE = 80  # characters
# "Conv 'encoder/0/conv' of model.onnx", "encoder/dense (Dense)", "Conv_12 (Conv) of model.onnx"
_TYPE_FIRST = re.compile(r"^(?P<type>[^\s']+) (?P<quote>['\"])(?P<name>.*)(?P=quote)(?: of .*)?$", re.DOTALL)
_NAME_FIRST = re.compile(r"^(?P<name>.+) \((?P<type>[\w.:]+)\)(?: of .*)?$", re.DOTALL)
_PRODUCTS = {"conv": "convolution", "conv_transpose": "convolution", "matmul": "matmul"}
_RANK = ("movement", "elementwise", "reduction", "depthwise", "matmul", "convolution", "control")


@dataclass
class _Reading:
    """What is known of the Values of a Graph and of those around it."""

    arrays: dict[Value, Any] = field(default_factory=dict)  # constants
    roots: dict[Value, tuple[Value, ...]] = field(default_factory=dict)  # known before running: the constants behind it
    outer: dict[Value, Value] = field(default_factory=dict)  # an input of a branch or body: what it stands for


def read(graph: Graph) -> Level:
    """The operators of a Graph in topological order, between Parts for its inputs and outputs."""
    level = _level(graph, _Reading())
    _own_work(level)
    inputs = [
        Part("input", "input", (), (value,), name, signature=("input",))
        for value, name in _named(graph.inputs, graph.input_names)
    ]
    outputs = [
        Part("output", "output", (value,), (), name, signature=("output",))
        for value, name in _named(graph.outputs, graph.output_names)
    ]
    return Level([*inputs, *level.parts, *outputs])


def _named(values: Sequence[Value], names: Sequence[str]) -> list[tuple[Value, str]]:
    return [(value, names[i] if i < len(names) else value.name) for i, value in enumerate(values)]


def split_source(source: str, primitive: str) -> tuple[str, str]:
    """(operator type, the user's name) of a node's label."""
    for pattern in (_TYPE_FIRST, _NAME_FIRST):
        found = pattern.match(source)
        if found:
            return found["type"], found["name"]
    return (source or primitive), ""


def _level(graph: Graph, known: _Reading) -> Level:
    results = {known.outer.get(v, v) for v in graph.outputs}
    for value, array in graph.constants.items():
        known.arrays[value] = array
        known.roots[value] = (value,)
    groups: list[list[Node]] = []
    for node in graph.nodes:
        operands = [known.outer.get(v, v) for v in node.operands]
        if all(v in known.roots for v in operands) and not results.intersection(node.results):
            behind = distinct([root for v in operands for root in known.roots[v]])
            known.roots.update(dict.fromkeys(node.results, behind))
        elif groups and node.source and groups[-1][0].source == node.source and not (_nested(node) or _nested(groups[-1][-1])):
            groups[-1].append(node)
        else:
            groups.append([node])
    groups = _with_broadcasts(groups, results)
    readers: dict[Value, int] = {}
    for group in groups:
        made = {r for node in group for r in node.results}
        for value in {known.outer.get(o, o) for node in group for o in node.operands} - made:
            readers[value] = readers.get(value, 0) + 1
    parts = [_operator(group, known, results | set(readers)) for group in groups]
    return Level(_chains(parts, readers, results), (), tuple((v, (known.outer.get(v, v),)) for v in graph.outputs))


def _nested(node: Node) -> bool:
    """Whether a node is control flow over operators of the user's, not a loop that an operator is made of."""
    return any(
        inner.source and inner.source != node.source
        for param in node.params.values()
        if isinstance(param, Graph)
        for inner in param.nodes
    ) or (not node.source and isinstance(node.primitive.lowering, Control))


def _with_broadcasts(groups: list[list[Node]], results: set[Value]) -> list[list[Node]]:
    """Unlabelled broadcasts (of numbers in Python functions) join the only group that reads them."""
    readers: dict[Value, set[int]] = {}
    for i, group in enumerate(groups):
        for node in group:
            for operand in node.operands:
                readers.setdefault(operand, set()).add(i)
    kept: list[list[Node]] = []
    waiting: dict[int, list[Node]] = {}
    for i, group in enumerate(groups):
        group = [*waiting.pop(i, []), *group]
        made = group[-1].results[0]
        read = readers.get(made, set()) - {i}
        if all(n.primitive.name == "broadcast" and not n.source for n in group) and len(read) == 1 and made not in results:
            target = next(iter(read))
            if not _nested(groups[target][0]):
                waiting.setdefault(target, []).extend(group)
                continue
        kept.append(group)
    return kept


def _kind(node: Node) -> str:
    lowering = node.primitive.lowering
    if isinstance(lowering, Control):
        return "control"
    if node.primitive.name in _PRODUCTS:
        grouped = node.params.get("groups", 1) > 1 and node.operands[1].shape[1] == 1
        return "depthwise" if grouped else _PRODUCTS[node.primitive.name]
    if isinstance(lowering, Indexed) or node.primitive.name in ("convert", "bitcast", "scatter"):
        return "movement"
    return "elementwise" if isinstance(lowering, Elementwise) else "reduction"


def _importance(node: Node, gives: str) -> int:
    """How much a node says about its operator; arithmetic on indices says nothing of one that gives numbers of a kind."""
    kind = _kind(node)
    return -1 if kind == "elementwise" and node.results[0].dtype.kind != gives else _RANK.index(kind)


def _operator(nodes: list[Node], known: _Reading, needed: set[Value]) -> Part:
    made = {r for node in nodes for r in node.results}
    operands = distinct([known.outer.get(o, o) for node in nodes for o in node.operands])
    inputs = tuple(v for v in operands if v not in known.roots and v not in made)
    roots = distinct([root for v in operands for root in known.roots.get(v, ())])
    weights = tuple(Weight(v, v.name) for v in roots if v.abstract.size > 1)
    numbers = [known.arrays[v].item() for v in roots if v.abstract.size == 1]
    gives = nodes[-1].results[0].dtype.kind
    main = max(nodes, key=lambda n: (_importance(n, gives), node_flops(n)))
    kind, source = _kind(main), main.source
    title, name = split_source(source, main.primitive.name)
    attributes = {key: _text(value) for key, value in main.params.items() if value is not None and not isinstance(value, Graph)}
    if numbers:
        attributes["numbers"] = _text(", ".join(f"{n:.6g}" if isinstance(n, float) else str(n) for n in numbers))
    pointwise = kind == "convolution" and all(n == 1 for n in main.operands[1].shape[2:])
    part = Part(
        title,
        kind,
        inputs,
        tuple(v for node in nodes for v in node.results if v in needed),
        name,
        weights,
        sum(node_flops(n) for n in nodes),
        attributes,
        sources=(source,) if source else (),
        scope=scope_of(name),
        primitive=main.primitive.name,
        signature=(title, kind, pointwise),
    )
    if _nested(main):
        _open_control(part, main, known)
    return part


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_ATTRIBUTE else f"{text[:SHOWN_ATTRIBUTE]}…"


def scope_of(name: str) -> tuple[str, ...]:
    """The scopes in a name like "features/block_3/conv" or "layers.0.attention.query"; a trailing number only counts."""
    name = name.split(";", 1)[0]  # TensorFlow's converters join the names of fused operators
    steps = [s for s in re.split(r"[/.]", name) if s]
    return tuple(steps[:-1]) if len(steps) > 1 and not steps[-1].isdecimal() else ()


def _own_work(level: Level) -> None:
    """What a layer computes itself, between the layers that it holds, belongs to its scope and not beside it."""
    parts = list(level.walk())
    scopes = {part.scope[:n] for part in parts for n in range(1, len(part.scope) + 1)}
    for part in parts:
        own = scope_of(f"{part.name}/{part.primitive}")
        layer = part.primitive and part.sources and not _TYPE_FIRST.match(part.sources[0])
        if layer and part.name and own in scopes:
            part.scope, part.title, part.name = own, part.primitive, f"{part.name}/{part.primitive}"
            part.signature = (part.primitive, part.kind)


def _open_control(part: Part, node: Node, known: _Reading) -> None:
    """Give a cond or loop an inside: a block for each of its Graphs."""
    branches: list[Part] = []
    returned: list[Level] = []
    for key, graph in node.params.items():
        if not isinstance(graph, Graph):
            continue
        for inner, operand in zip(graph.inputs, node.operands[len(node.operands) - len(graph.inputs) :], strict=True):
            operand = known.outer.get(operand, operand)
            known.outer[inner] = operand
        level = _level(graph, known)
        outputs = distinct([v for _, (v,) in level.results])
        made = {v for p in level.parts for v in p.outputs}
        inputs = distinct([v for p in level.parts for v in p.inputs if v not in made])
        inputs = distinct([*inputs, *(v for v in outputs if v not in made and v not in known.roots)])
        leaving = tuple(v for v in outputs if v in made)
        inside = Level(level.parts, inputs, tuple((v, (v,)) for v in leaving))
        branches.append(
            Part(
                key,
                "control",
                inputs,
                leaving,
                inside=inside,
                flops=sum(p.flops for p in level.parts),
                weights=tuple(w for p in level.parts for w in p.weights),
                signature=(key, *(p.signature for p in level.parts)),
            )
        )
        if len(graph.outputs) == len(node.results):
            returned.append(level)
    outgoing = []
    for i, result in enumerate(node.results):
        if result in part.outputs:
            outgoing.append((result, distinct([level.results[i][1][0] for level in returned])))
    part.inside = Level(branches, part.inputs, tuple(outgoing))
    part.flops = sum(b.flops for b in branches)
    part.weights = tuple(w for b in branches for w in b.weights) + part.weights
    part.signature = (*part.signature, *(b.signature for b in branches))


def _chains(parts: list[Part], readers: Mapping[Value, int], results: set[Value]) -> list[Part]:
    """Operators that only move data, one after the other on a single path, as one Part."""
    merged: list[Part] = []
    maker: dict[Value, int] = {}
    for part in parts:
        before = maker.get(part.inputs[0]) if len(part.inputs) == 1 else None
        if before is not None and _moves(part) and _moves(merged[before]):
            first = merged[before]
            value = part.inputs[0]
            if len(first.outputs) == 1 and readers.get(value) == 1 and value not in results:
                titles = list(dict.fromkeys([*first.title.split(" → "), part.title]))
                merged[before] = part = Part(
                    " → ".join(titles), "movement", first.inputs, part.outputs, first.name, first.weights + part.weights,
                    0, {**first.attributes, **part.attributes}, first.sources + part.sources,
                    scope=first.scope, signature=(" → ".join(titles), "movement"),
                )  # fmt: skip
                maker.update(dict.fromkeys(part.outputs, before))
                continue
        maker.update(dict.fromkeys(part.outputs, len(merged)))
        merged.append(part)
    return merged


def _moves(part: Part) -> bool:
    return part.kind == "movement" and part.inside is None and not part.weights
