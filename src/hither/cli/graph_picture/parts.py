"""What is drawn: Parts (an operator, a block of operators, an input or output) and Levels (the Parts inside a block).

Values of the Graph are the wires: a Part that has a Value among its inputs is reached by an edge from the Part that has it
among its outputs, or from outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...graph.core import Value

COMPUTING = ("convolution", "depthwise", "matmul")  # kinds that blocks begin with and are named after
TITLE_LENGTH = 30  # characters of a block's title


@dataclass(frozen=True)
class Weight:
    """An array of the model that a Part uses."""

    value: Value
    name: str

    @property
    def size(self) -> int:
        return self.value.abstract.size


@dataclass(eq=False)
class Part:
    """A box. `inside` is what unfolding it shows; `times` says of how many equal blocks in a row it consists."""

    title: str
    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    name: str = ""
    weights: tuple[Weight, ...] = ()
    flops: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    primitive: str = ""
    scope: tuple[str, ...] = ()
    skipped: int = 0  # scopes that the block around says already
    inside: Level | None = None
    times: int = 1
    signature: tuple[object, ...] = ()

    @property
    def leaves(self) -> int:
        """How many operators it holds."""
        return 1 if self.inside is None else max(1, self.inside.leaves)

    @property
    def parameters(self) -> int:
        """Numbers in the weights, each weight counted once."""
        return sum(w.size for w in {w.value: w for w in self.weights}.values())


@dataclass(eq=False)
class Level:
    """Parts in topological order; `results` are the Values that leave, each with the Values inside that it may be."""

    parts: list[Part]
    inputs: tuple[Value, ...] = ()
    results: tuple[tuple[Value, tuple[Value, ...]], ...] = ()

    @property
    def leaves(self) -> int:
        return sum(part.leaves for part in self.parts)

    def walk(self) -> Iterator[Part]:
        """All Parts, those inside blocks included."""
        for part in self.parts:
            yield part
            if part.inside is not None:
                yield from part.inside.walk()


def distinct(values: Iterator[Value] | Sequence[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))


def sources_of(level: Level) -> list[list[int]]:
    """For each Part, the positions of the Parts that it reads from."""
    maker = {v: i for i, part in enumerate(level.parts) for v in part.outputs}
    return [sorted({maker[v] for v in part.inputs if v in maker}) for part in level.parts]


def readers_of(level: Level) -> dict[Value, list[int]]:
    """The positions of the Parts that read each Value."""
    found: dict[Value, list[int]] = {}
    for i, part in enumerate(level.parts):
        for value in part.inputs:
            found.setdefault(value, []).append(i)
    return found


def block(parts: Sequence[Part], leaving: set[Value], *, title: str = "", name: str = "") -> Part:
    """One Part of several, of which the Values in `leaving` are used elsewhere."""
    made = {v for part in parts for v in part.outputs}
    inputs = distinct([v for part in parts for v in part.inputs if v not in made])
    outputs = distinct([v for part in parts for v in part.outputs if v in leaving])
    work = [p for p in parts if p.kind in COMPUTING] or list(parts)
    kind = max(work, key=lambda p: p.flops).kind
    return Part(
        title or title_of(parts), kind, inputs, outputs, name,
        weights=tuple(w for p in parts for w in p.weights),
        flops=sum(p.flops for p in parts),
        inside=Level(list(parts), inputs, tuple((v, (v,)) for v in outputs)),
        signature=("block", *(p.signature for p in parts)),
    )  # fmt: skip


def title_of(parts: Sequence[Part]) -> str:
    """The types of the operators in a block, in order, each once."""
    every = list(dict.fromkeys(title for part in parts for title in leaf_titles(part)))
    types = [t for t in every if "→" not in t] or every
    kept = 1
    while kept < len(types) and len(" · ".join(types[: kept + 1])) <= TITLE_LENGTH:
        kept += 1
    return " · ".join(types[:kept]) + (" …" if kept < len(types) else "")


def leaf_titles(part: Part) -> Iterator[str]:
    if part.inside is None or part.scope:
        yield "depthwise" if part.kind == "depthwise" and part.inside is None else part.title
    else:
        for inner in part.inside.parts:
            yield from leaf_titles(inner)
