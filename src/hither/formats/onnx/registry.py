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
from ...errors import InvalidModel, UnsupportedFeature
from ...graph.trace import Tracer, static_value

if TYPE_CHECKING:
    from .importer import Importer
    from .proto import GraphDef

Like = Array | Tracer
Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """A registered function. `bounded` says that it handles Bounded inputs; all others refuse them."""

    name: str
    domain: str
    function: Function
    bounded: bool


OPERATORS: dict[tuple[str, str], Operator] = {}


def operator(*names: str, domain: str = "", bounded: bool = False) -> Callable[[Function], Function]:
    """Register a function as the ONNX operator(s) of these names."""

    def register(function: Function) -> Function:
        for name in names:
            if (domain, name) in OPERATORS:
                raise ValueError(f"ONNX operator {domain}.{name} is registered twice")
            OPERATORS[domain, name] = Operator(name, domain, function, bounded)
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
class Node:
    """What an operator's function knows besides its inputs.

    `attributes` has the schema's defaults filled in; `outputs` are the names of the results ("" where one is not wanted).
    """

    op_type: str
    label: str
    opset: int
    attributes: Mapping[str, Any]
    outputs: Sequence[str]
    importer: Importer = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """An attribute that must be there."""
        if name not in self.attributes:
            raise InvalidModel(f"{self.label}: attribute {name!r} is missing")
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where it is not given."""
        return self.attributes.get(name, default)

    def wants(self, index: int) -> bool:
        """Whether the result at this position is used."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def static(self, x: Any, what: str) -> np.ndarray:
        """The values of an operand that shapes depend on.

        Raises:
            NeedsValue: if they depend on inputs of the model; names them.
            UnsupportedFeature: if they can never be known while compiling.
        """
        if isinstance(x, Bounded):
            raise UnsupportedFeature(f"{self.label}: {what} has a length that is known only at run time")
        value = static_value(x)
        return value if value is not None else self.importer.need(x, self.label, what)

    def ints(self, x: Any, what: str) -> tuple[int, ...]:
        """The values of an integer operand (scalar or vector) that shapes depend on."""
        value = self.static(x, what)
        if value.dtype.kind not in "iu" or value.ndim > 1:
            raise InvalidModel(f"{self.label}: {what} must be a vector of integers, got {value.dtype} of shape {value.shape}")
        return tuple(int(v) for v in value.reshape(-1))

    def scalar(self, x: Any, what: str) -> Any:
        """The one value of an operand that must be known, as a Python number."""
        value = self.static(x, what)
        if value.size != 1:
            raise InvalidModel(f"{self.label}: {what} must be one number, got shape {value.shape}")
        return value.reshape(()).item()

    def axis(self, axis: int, rank: int) -> int:
        """A possibly negative axis as one in [0, rank)."""
        if not -rank <= axis < rank:
            raise InvalidModel(f"{self.label}: axis {axis} is out of range for {rank} axes")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Possibly negative axes as distinct ones in [0, rank)."""
        found = tuple(self.axis(int(a), rank) for a in axes)
        if len(set(found)) != len(found):
            raise InvalidModel(f"{self.label}: axes {tuple(axes)} name one twice")
        return found

    def check(self, condition: bool, message: str) -> None:
        """Raise InvalidModel with this node's label unless the condition holds."""
        if not condition:
            raise InvalidModel(f"{self.label}: {message}")

    def unsupported(self, what: str) -> UnsupportedFeature:
        """The error for a valid use of the operator that hither does not do."""
        return UnsupportedFeature(f"{self.label}: {what} is not supported")

    def graph(self, name: str) -> GraphDef:
        """An attribute that is a graph."""
        return self[name]
