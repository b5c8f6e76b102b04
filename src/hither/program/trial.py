"""Trials of a precision: a Graph in which every weight, and every result that is stored small, can have the digits that it
would be stored with, those of any step from there to float32, or its own.

Whether a precision is good enough, and what it harms, are many questions about one network. One Graph answers them all, with
one more input, `switches`: the number of the step that each weight and result is in. It is compiled once, and each question
is a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import dtypes as dt
from ..graph.core import Abstract, Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control
from ..kernels.halves import bodies_of, node_keys, stored_halves
from ..passes.bytes import ByteProducts
from ..passes.precision import Numbers, digest_of, in_bytes, in_step, steps_of, stored_small

SWITCHES = "hither.switches"


@dataclass(frozen=True)
class Candidate:
    """A weight, or the result of an operator, that is stored small. `key` tells it apart in every trace of a network: equal
    weights are one, by their digest; a result is known by where it comes from (kernels.halves)."""

    key: str
    kind: str  # "weight" | "result"
    name: str
    shape: tuple[int, ...]
    nbytes: int
    steps: tuple[str, ...]  # what it can be in, the last one float32


def candidates(graph: Graph, numbers: Numbers) -> list[Candidate]:
    """What these numbers would store small, in branch and loop bodies too, each once."""
    return list({found.key: found for found in _candidates(graph, numbers, "")}.values())


def with_switches(graph: Graph, numbers: Numbers, of: list[Candidate]) -> Graph:
    """The Graph with one more input, int32 [len(of)]: which of its steps each candidate is in; beyond them, float32."""
    return _Switched({candidate.key: i for i, candidate in enumerate(of)}).graph(graph, "", numbers)


def unjudged(judged: Graph, other: Graph, numbers: Numbers) -> frozenset[str]:
    """The candidates of another trace of a network that a verdict on the judged one, `numbers.kept`, says nothing of.

    That is what is no candidate there: weights and operators that it does not have, or results too small to be stored so. And
    where the traces have different numbers of one source's operators of one kind, the how manieth may be another one: if one of
    them, or of what is in their bodies, keeps float32, all do.
    """
    plain = replace(numbers, kept=frozenset(), steps={})
    known = {found.key for found in candidates(judged, plain)}
    kinds = {f"{key.rpartition(':')[0]}:" for key in {*_node_keys(judged, "")} ^ {*_node_keys(other, "")}}
    kept = tuple(kind for kind in kinds if any(key.startswith(kind) for key in numbers.kept))
    return frozenset(found.key for found in candidates(other, plain) if found.key not in known or found.key.startswith(kept))


def _node_keys(graph: Graph, prefix: str) -> Iterator[str]:
    for node, key in node_keys(graph, prefix).items():
        yield key
        for _, body, path in bodies_of(node, key):
            yield from _node_keys(body, path)


def _candidates(graph: Graph, numbers: Numbers, prefix: str) -> Iterator[Candidate]:
    for value, small in stored_small(graph, numbers).items():
        array = graph.constants[value]
        if numbers.activations == "int8" or not np.array_equal(small.widened(), array):
            yield Candidate(digest_of(array), "weight", value.name, array.shape, array.nbytes, steps_of(numbers))
    for value, stored in _results(graph, numbers, prefix).items():
        yield Candidate(stored[0], "result", stored[1], value.shape, value.abstract.nbytes, ("float16", "float32"))
    keys = node_keys(graph, prefix)
    for node in graph.nodes:
        for _, body, path, inside in _bodies(node, keys[node], numbers):
            yield from _candidates(body, inside, path)


def _results(graph: Graph, numbers: Numbers, prefix: str) -> dict[Value, tuple[str, str]]:
    if numbers.activations != "float16":
        return {}
    return {value: (stored.key, stored.name) for value, stored in stored_halves(graph, prefix).items()}


def _bodies(node: Node, key: str, numbers: Numbers) -> Iterator[tuple[str, Graph, str, Numbers]]:
    """All bodies of a branch or loop, and in what numbers; in a loop's condition weights alone are small."""
    within = {name: path for name, _, path in bodies_of(node, key)}
    exact = replace(numbers, activations="float32") if numbers.activations == "float16" else numbers
    for name, body in node.params.items():
        if isinstance(body, Graph):
            yield name, body, within.get(name, f"{key}/{name}/"), numbers if name in within else exact


class _Switched:
    """Rewrites Graphs; `places` are numbers of switches by key."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self.places = places
        self._made: dict[tuple[Graph, str], Graph] = {}

    def graph(self, graph: Graph, prefix: str, numbers: Numbers) -> Graph:
        """The Graph, or a body, with the switches as one more input."""
        if (graph, prefix) not in self._made:
            self._made[graph, prefix] = self._rewritten(graph, prefix, numbers)
        return self._made[graph, prefix]

    def _rewritten(self, graph: Graph, prefix: str, numbers: Numbers) -> Graph:
        places = self.places
        switches = Value(Abstract((len(places),), dt.int32), SWITCHES)
        each = [stored_small(graph, in_step(numbers, step)) for step in steps_of(numbers)[:-1]]
        small = each[0] if each else {}
        weights = {value: places.get(digest_of(graph.constants[value])) for value in small}
        results = {value: places.get(key) for value, (key, _) in _results(graph, numbers, prefix).items()}
        keys = node_keys(graph, prefix)
        products = ByteProducts(graph, numbers.byte, numbers.ranges)
        made: dict[Value, Value] = {}

        def either(builder: GraphBuilder, place: int, changed: Value, plain: Value, step: int = 0) -> Value:
            """`changed` where a switch is at this step."""
            number, at = (builder.constant(np.array(n, np.int32)) for n in (place, step))
            (switch,) = builder.add(REGISTRY["take"], (switches, number), {"axis": 0})
            (switch,) = builder.add(REGISTRY["eq"], (switch, at), {})
            (flags,) = builder.add(REGISTRY["broadcast"], (switch,), {"shape": plain.shape, "axes": ()})
            return builder.add(REGISTRY["select"], (flags, changed, plain), {})[0]

        def operand(builder: GraphBuilder, value: Value) -> Value:
            place = weights.get(value)
            if place is not None and value not in made:
                found = value
                for step, stored in enumerate(each):
                    if value in stored:
                        name = f"{value.name}.rounded{step}" if value.name else ""
                        found = either(builder, place, builder.constant(stored[value].widened(), name), found, step)
                made[value] = found
            return made.get(value, value)

        def applied(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value]:
            if numbers.activations == "int8" and operands[1:] and (place := weights.get(operands[1])) is not None:
                weight = operands[1]
                found = in_bytes(products, builder, node, operands[0], small[weight], weight.name)
                if found is not None:
                    given = [operand(builder, o) for o in operands]
                    plain = builder.add(node.primitive, given, node.params, node.source)[0]
                    return [either(builder, place, found, plain)]
            operands = tuple(operand(builder, o) for o in operands)
            params = node.params
            inner = list(_bodies(node, keys[node], numbers)) if isinstance(node.primitive.lowering, Control) else []
            if any(True for _, body, path, inside in inner for _ in _candidates(body, inside, path)):
                # they get the same operands, so all of them take the switches
                params = {**params, **{name: self.graph(body, path, inside) for name, body, path, inside in inner}}
                operands = (*operands, switches)
            return builder.add(node.primitive, operands, params, node.source)

        def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value]:
            found = applied(builder, node, operands)
            place = results.get(node.results[0])
            return found if place is None else [either(builder, place, _as_half(builder, found[0]), found[0])]

        again = rewrite(graph, rule)
        names = (*again.input_names, SWITCHES) if len(again.input_names) == len(again.inputs) else ()
        return replace(again, inputs=(*again.inputs, switches), input_names=names)


def _as_half(builder: GraphBuilder, value: Value) -> Value:
    """A value rounded to float16."""
    for dtype in (dt.float16, dt.float32):
        (value,) = builder.add(REGISTRY["convert"], (value,), {"dtype": dtype})
    return value


__all__ = ["SWITCHES", "Candidate", "candidates", "with_switches"]
