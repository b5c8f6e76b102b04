"""Trials of a precision: a Graph in which every weight can be given the digits that it would be stored with, or its own.

Whether a precision is good enough, and which weights it harms, are many questions about one network. One Graph answers them
all, with one more input, `switches`: where a switch is on, a weight is what it would be after rounding. It is compiled once,
and each question is a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import dtypes as dt
from ..graph.core import Abstract, Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control
from .bytes import ByteProducts
from .precision import Numbers, in_bytes, stored_small
from .ranges import digest_of

SWITCHES = "hither.switches"


@dataclass(frozen=True)
class Candidate:
    """A weight that a precision stores small. Equal weights are one: `digest` tells them apart, in every trace of a network."""

    digest: str
    name: str
    shape: tuple[int, ...]
    nbytes: int


def candidates(graph: Graph, numbers: Numbers) -> list[Candidate]:
    """The weights that these numbers would store small, those in branch and loop bodies too, each once."""
    found: dict[str, Candidate] = {}
    for owner, value in _stored(graph, numbers):
        array = owner.constants[value]
        digest = digest_of(array)
        found.setdefault(digest, Candidate(digest, value.name, array.shape, array.nbytes))
    return list(found.values())


def with_switches(graph: Graph, numbers: Numbers, of: list[Candidate]) -> Graph:
    """The Graph with one more input, bool [len(of)]: whether each candidate has the digits that it would be stored with."""
    return _switched(graph, numbers, {candidate.digest: i for i, candidate in enumerate(of)}, {})


def _stored(graph: Graph, numbers: Numbers) -> Iterator[tuple[Graph, Value]]:
    for value, small in stored_small(graph, numbers).items():
        if numbers.activations != "float32" or not np.array_equal(small.widened(), graph.constants[value]):
            yield graph, value
    for node in graph.nodes:
        for body in node.params.values():
            if isinstance(body, Graph):
                yield from _stored(body, numbers)


def _switched(graph: Graph, numbers: Numbers, places: Mapping[str, int], bodies: dict[Graph, Graph]) -> Graph:
    switches = Value(Abstract((len(places),), dt.bool_), SWITCHES)
    small = stored_small(graph, numbers)
    place = {value: places.get(digest_of(graph.constants[value])) for value in small}
    products = ByteProducts(graph, numbers.byte, numbers.ranges)
    made: dict[Value, Value] = {}

    def either(builder: GraphBuilder, of: Value, changed: Value, plain: Value) -> Value:
        """What becomes of a weight's switch: `changed` where it is on."""
        number = builder.constant(np.array(place[of], np.int32))
        (switch,) = builder.add(REGISTRY["take"], (switches, number), {"axis": 0})
        (flags,) = builder.add(REGISTRY["broadcast"], (switch,), {"shape": plain.shape, "axes": ()})
        return builder.add(REGISTRY["select"], (flags, changed, plain), {})[0]

    def operand(builder: GraphBuilder, value: Value) -> Value:
        if place.get(value) is not None and value not in made:
            rounded = builder.constant(small[value].widened(), f"{value.name}.rounded" if value.name else "")
            made[value] = either(builder, value, rounded, value)
        return made.get(value, value)

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value]:
        if numbers.activations == "int8" and operands[1:] and place.get(operands[1]) is not None:
            weight = operands[1]
            found = in_bytes(products, builder, node, operands[0], small[weight], weight.name)
            if found is not None:
                return [either(builder, weight, found, builder.add(node.primitive, operands, node.params, node.source)[0])]
        operands = tuple(operand(builder, o) for o in operands)
        params = node.params
        own = {k: v for k, v in params.items() if isinstance(v, Graph)}
        if isinstance(node.primitive.lowering, Control) and any(True for b in own.values() for _ in _stored(b, numbers)):
            for body in own.values():  # they get the same operands, so all of them take the switches
                if body not in bodies:
                    bodies[body] = _switched(body, numbers, places, bodies)
            params = {**params, **{k: bodies[v] for k, v in own.items()}}
            operands = (*operands, switches)
        return builder.add(node.primitive, operands, params, node.source)

    again = rewrite(graph, rule)
    names = (*again.input_names, SWITCHES) if len(again.input_names) == len(again.inputs) else ()
    return replace(again, inputs=(*again.inputs, switches), input_names=names)


__all__ = ["SWITCHES", "Candidate", "candidates", "digest_of", "with_switches"]
