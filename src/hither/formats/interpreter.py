"""What importers of all formats share: running a file's nodes on traced arrays, within limits and with errors that name them.

An importer calls ordinary `ops` functions on the arrays that a model is built with. What depends on shapes and small constants
alone is computed on the spot and leaves no trace; weights stay named constants of the Graph. A format adds how its nodes,
names and attributes look (its Importer and Node) and one function per operator.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..errors import HitherError, InvalidModel, LimitExceeded, NeedsValue, UnsupportedFeature
from ..graph.core import Value
from ..graph.trace import Trace, Tracer, result_limit, source, static_value

MAX_VALUE_BYTES = 1 << 31  # of one intermediate result
MAX_FOLDED_BYTES = 1 << 29  # of all that is computed while importing
MAX_NODES = 100_000  # nodes run by one import, unrolled loops included

# What malformed nodes make NumPy and the operations raise; anything else is a bug of ours and must surface as one.
MALFORMED = (
    ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, MemoryError, NotImplementedError,
)  # fmt: skip


def stays_visible(array: np.ndarray) -> bool:
    """Whether a file's array is a weight (stored by name) and not a small constant that shapes are made of."""
    return array.size > 1 if array.dtype.kind == "f" else array.size > 256


def is_weight(array: np.ndarray) -> bool:
    """Whether a file's array is one of a Model's `weights`: what stays visible, and the bias of a single channel."""
    return stays_visible(array) or (array.dtype.kind == "f" and array.shape == (1,))


@cache
def arity(function: Any) -> tuple[int, int]:
    """The fewest and most inputs that an operator's function takes."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sum(p.kind is not p.VAR_POSITIONAL for p in parameters), 1 << 16
    return sum(p.default is p.empty for p in parameters), len(parameters)


class Interpreter:
    """One import of one model: a run of its nodes for given inputs. `name` is the model's, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: dict[Value, str] = {}
        self.count = 0

    @contextmanager
    def running(self, inputs: Mapping[str, Any]) -> Iterator[None]:
        """Around a whole import: results stay within the limits, and `need` knows the model's inputs."""
        self.inputs = {x.value: name for name, x in inputs.items() if isinstance(x, Tracer)}
        with result_limit(MAX_VALUE_BYTES, MAX_FOLDED_BYTES, LimitExceeded):
            yield

    @contextmanager
    def at(self, label: str) -> Iterator[None]:
        """Around one node: what is traced says where it came from, and nodes are counted."""
        self.count += 1
        if self.count > MAX_NODES:
            raise LimitExceeded(f"{self.name}: more than {MAX_NODES} nodes (unrolled loops included)")
        with source(f"{label} of {self.name}"):
            yield

    @contextmanager
    def blaming(self, label: str, inputs: Sequence[Any]) -> Iterator[None]:
        """Around an operator's function: what malformed operands raise becomes an InvalidModel that names the node."""
        try:
            yield
        except HitherError:
            raise
        except MALFORMED as error:
            shapes = ", ".join(
                "-" if x is None else f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else "?" for x in inputs
            )
            raise InvalidModel(f"{label} of {self.name} on ({shapes}): {error}") from error

    def origins(self, x: Any) -> set[str] | None:
        """The model inputs that a traced value depends on; None if it also depends on what no input determines."""
        names: set[str] = set()
        stack: list[tuple[Trace, Value]] = [(x.trace, x.value)]
        seen: set[Value] = set()
        makers: dict[Trace, dict[Value, Any]] = {}
        while stack:
            trace, value = stack.pop()
            if value in seen or value in trace.builder.constants:
                continue
            seen.add(value)
            if value in self.inputs:
                names.add(self.inputs[value])
            elif value in trace.captured:
                outer = trace.captured[value]
                stack.append((outer.trace, outer.value))
            else:
                if trace not in makers:
                    makers[trace] = {r: n for n in trace.builder.nodes for r in n.results}
                node = makers[trace].get(value)
                if node is None:  # carried by a loop
                    return None
                stack.extend((trace, o) for o in node.operands)
        return names

    def need(self, x: Any, where: str, what: str) -> Any:
        """Raise the error that says whose values `x` depends on."""
        names = self.origins(x)
        if not names:
            raise UnsupportedFeature(f"{where}: {what} must be known while compiling, but changes inside a loop")
        raise NeedsValue(sorted(names), where, what)


@dataclass(frozen=True)
class ForeignNode:
    """What an operator's function knows besides its inputs: the node's name for messages, and its attributes."""

    op_type: str
    label: str
    attributes: Mapping[str, Any]
    importer: Interpreter = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """An attribute that must be there."""
        if name not in self.attributes:
            raise InvalidModel(f"{self.label}: attribute {name!r} is missing")
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where it is not given."""
        return self.attributes.get(name, default)

    def static(self, x: Any, what: str) -> np.ndarray:
        """The values of an operand that shapes depend on.

        Raises:
            NeedsValue: if they depend on inputs of the model; names them.
            UnsupportedFeature: if they can never be known while compiling.
        """
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
