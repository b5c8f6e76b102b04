"""What a Program must know of its Plan to run: the ports of its entries, the sizes of its regions, and what is in it, counted.

A program that comes from disk has this and no Plan, until somebody asks for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..graph.core import Abstract
from ..kernels.ir import Machine
from ..kernels.steps import Cond, Launch, Ref, While, walk

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class Port:
    """One input or output of an entry, or a value that survives calls: what the caller sees, and where it lies."""

    name: str
    abstract: Abstract
    ref: Ref
    length: str | None = None  # the output that says how much of this one's axis `length_axis` is valid
    length_axis: int = 0


@dataclass(frozen=True)
class Entry:
    """The signature of an entry."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    updates_state: bool = False

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """The inputs' names, in order."""
        return tuple(p.name for p in self.inputs)

    @cached_property
    def lengths(self) -> frozenset[str]:
        """The outputs that say how much of others is valid; callers do not see them."""
        return frozenset(p.length for p in self.outputs if p.length is not None)


@dataclass(frozen=True, eq=False)
class Variable:
    """A value that survives calls: its place in the state region, and what it is at first."""

    port: Port
    initial: np.ndarray


@dataclass(frozen=True)
class Counts:
    """What one run of an entry does: steps by kind, those inside branches and loops once."""

    launches: int
    loops: int
    conditions: int


@dataclass(frozen=True)
class Outline:
    """A Plan without kernels, steps and weights."""

    machine: Machine
    entries: dict[str, Entry]
    kernels: int
    counts: dict[str, Counts]
    state: tuple[Variable, ...] = ()


def outline(plan: Plan) -> Outline:
    """The Outline of a Plan."""
    counts = {}
    for name, entry in plan.code.entries.items():
        steps = list(walk(entry))
        counts[name] = Counts(*(sum(isinstance(s, kind) for s in steps) for kind in (Launch, While, Cond)))
    return Outline(plan.machine, plan.entries, len(plan.code.kernels), counts, tuple(plan.state))
