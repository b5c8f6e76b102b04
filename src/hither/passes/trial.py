"""Trials of a precision: a Graph in which every weight can be given the digits that it would be stored with, or its own.

Whether a precision is good enough, and which weights it harms, are many questions about one network. One Graph answers them
all, with one more input, `switches`: where a switch is on, a weight is what it would be after rounding. It is compiled once,
and each question is a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import dtypes as dt
from ..graph.core import Abstract, Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control
from .precision import Small, stored_small

SWITCHES = "hither.switches"


@dataclass(frozen=True)
class Candidate:
    """A weight that a precision stores small. Equal weights are one: `digest` tells them apart, in every trace of a network."""

    digest: str
    name: str
    shape: tuple[int, ...]
    nbytes: int


def digest_of(array: np.ndarray) -> str:
    """What identifies a weight, whatever Graph it is in."""
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def candidates(graph: Graph, precision: str) -> list[Candidate]:
    """The weights that `precision` would store small, those in branch and loop bodies too, each once."""
    found: dict[str, Candidate] = {}
    for owner, value in _stored(graph, precision):
        array = owner.constants[value]
        digest = digest_of(array)
        found.setdefault(digest, Candidate(digest, value.name, array.shape, array.nbytes))
    return list(found.values())


def with_switches(graph: Graph, precision: str, of: list[Candidate]) -> Graph:
    """The Graph with one more input, bool [len(of)]: whether each candidate has the digits that it would be stored with."""
    return _switched(graph, precision, {candidate.digest: i for i, candidate in enumerate(of)}, {})


def _stored(graph: Graph, precision: str) -> Iterator[tuple[Graph, Value]]:
    for value in stored_small(graph, precision):
        yield graph, value
    for node in graph.nodes:
        for body in node.params.values():
            if isinstance(body, Graph):
                yield from _stored(body, precision)


def _switched(graph: Graph, precision: str, numbers: Mapping[str, int], bodies: dict[Graph, Graph]) -> Graph:
    switches = Value(Abstract((len(numbers),), dt.bool_), SWITCHES)
    small = stored_small(graph, precision)
    made: dict[Value, Value] = {}

    def operand(builder: GraphBuilder, value: Value) -> Value:
        if value in small and value not in made:
            number = numbers[digest_of(graph.constants[value])]
            made[value] = _either(builder, switches, number, value, small[value])
        return made.get(value, value)

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        operands = tuple(operand(builder, o) for o in operands)
        params = node.params
        own = {k: v for k, v in params.items() if isinstance(v, Graph)}
        if isinstance(node.primitive.lowering, Control) and any(True for b in own.values() for _ in _stored(b, precision)):
            for body in own.values():  # they get the same operands, so all of them take the switches
                if body not in bodies:
                    bodies[body] = _switched(body, precision, numbers, bodies)
            params = {**params, **{k: bodies[v] for k, v in own.items()}}
            operands = (*operands, switches)
        return builder.add(node.primitive, operands, params, node.source)

    again = rewrite(graph, rule)
    names = (*again.input_names, SWITCHES) if again.input_names else ()
    return replace(again, inputs=(*again.inputs, switches), input_names=names)


def _either(builder: GraphBuilder, switches: Value, number: int, weight: Value, small: Small) -> Value:
    """The weight as it would be stored if its switch is on, else as it is."""
    rounded = builder.constant(small.widened(), f"{weight.name}.rounded" if weight.name else "")
    (switch,) = builder.add(REGISTRY["take"], (switches, builder.constant(np.array(number, np.int32))), {"axis": 0})
    (flags,) = builder.add(REGISTRY["broadcast"], (switch,), {"shape": weight.shape, "axes": ()})
    return builder.add(REGISTRY["select"], (flags, rounded, weight), {})[0]


__all__ = ["SWITCHES", "Candidate", "candidates", "digest_of", "with_switches"]
