"""The registry of ONNX operators, and the Node that each operator's function is handed.

An operator is one function `(node, *inputs) -> output | tuple`, registered under its name. Inputs are Arrays (known now),
Tracers (known when the program runs), None (left out) or Bounded (data whose length is known only then). One function serves
all versions of its operator: where versions differ it asks `node.opset`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...array import Array
from ...errors import UnsupportedFeature
from ...graph.trace import Tracer
from ..interpreter import ForeignNode

if TYPE_CHECKING:
    from .importer import Importer
    from .proto import GraphDef

Like = Array | Tracer
Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """A registered function. `bounded` says that it handles Bounded inputs; all others refuse them.

    Operators that ONNX's schemas do not describe (ONNX Runtime's) declare their `attributes`: the default of each, or its
    type where it must be given, or a list of one type for a list that may be left out, or None for a number that may. What
    is not declared is refused, so that nothing that a newer version adds is passed over in silence. `optional` names the
    inputs before the last required one that may be left out.
    """

    name: str
    domain: str
    function: Function
    bounded: bool
    attributes: Mapping[str, Any] | None = None
    optional: Sequence[str] = ()


OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(
    *names: str, domain: str = "", bounded: bool = False, attributes: Mapping[str, Any] | None = None,
    optional: Sequence[str] = (),
) -> Callable[[Function], Function]:  # fmt: skip
    """Register a function as the ONNX operator(s) of these names."""

    def register(function: Function) -> Function:
        for name in names:
            if (domain, name) in OPERATORS:
                raise ValueError(f"ONNX operator {domain}.{name} is registered twice")
            OPERATORS[domain, name] = Operator(name, domain, function, bounded, attributes, optional)
        return function

    return register


@dataclass(frozen=True)
class Bounded:
    """An array with room for its largest possible extent along `axis`; only the first `length` entries are meant.

    What NonZero, NonMaxSuppression and the like give when their input is not known yet: their primitives fill a buffer of
    bounded size and say how much of it counts. Program outputs are trimmed to `length` where they leave the program.
    """

    data: Any
    length: Any
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def map(self, data: Any, axis: int | None = None) -> Bounded:
        """The same length over other data."""
        return Bounded(data, self.length, self.axis if axis is None else axis)


@dataclass(frozen=True)
class Node(ForeignNode):
    """What an operator's function knows besides its inputs.

    `attributes` has the schema's defaults filled in; `outputs` are the names of the results ("" where one is not wanted).
    """

    opset: int
    outputs: Sequence[str]
    importer: Importer = field(repr=False)

    def wants(self, index: int) -> bool:
        """Whether the result at this position is used."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def static(self, x: Any, what: str) -> np.ndarray:
        if isinstance(x, Bounded):
            raise UnsupportedFeature(f"{self.label}: {what} has a length that is known only at run time")
        return super().static(x, what)

    def graph(self, name: str) -> GraphDef:
        """An attribute that is a graph."""
        return self[name]
