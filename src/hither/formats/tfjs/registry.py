"""The registry of TensorFlow operators that graph models have, and the Node that each operator's function is handed.

An operator is one function `(node, *inputs) -> output | tuple`, registered under its name. Inputs are Arrays (known now),
Tracers (known when the program runs), Bounded (of a length known only then), Sizes (small integers that are known only then,
within bounds), NumPy arrays of bytes (strings), and the handles of lists and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidModel, UnsupportedFeature
from ..interpreter import ForeignNode
from .graphdef import FunctionName, NodeDef
from .sizes import Bounded, Sizes

if TYPE_CHECKING:
    from .importer import Importer, Scope

Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """A registered function and which of the special kinds of values it takes; the others it never sees.

    Where it does not take Sizes it gets them as an ordinary array. Where it does not take Bounded values the node is refused,
    unless the operator works on each entry along the first axis by itself (`rows`): then it runs on the whole buffer.
    """

    name: str
    function: Function
    bounded: bool
    sizes: bool
    rows: bool
    handles: bool


OPERATORS: dict[str, Operator] = {}


def operator(
    *names: str, bounded: bool = False, sizes: bool = False, rows: bool = False, handles: bool = False
) -> Callable[[Function], Function]:
    """Register a function as the TensorFlow operator(s) of these names."""

    def register(function: Function) -> Function:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"TensorFlow operator {name} is registered twice")
            OPERATORS[name] = Operator(name, function, bounded, sizes, rows, handles)
        return function

    return register


@dataclass(frozen=True)
class Node(ForeignNode):
    """What an operator's function knows besides its inputs."""

    definition: NodeDef
    scope: Scope = field(repr=False)
    importer: Importer = field(repr=False)

    def static(self, x: Any, what: str) -> np.ndarray:
        if isinstance(x, Bounded):
            raise UnsupportedFeature(f"{self.label}: {what} has a length that is known only at run time")
        if isinstance(x, Sizes):
            raise UnsupportedFeature(f"{self.label}: {what} depends on a count that is known only at run time")
        return super().static(x, what)

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is text."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bytes) or not value.isascii():
            raise InvalidModel(f"{self.label}: attribute {name!r} must be text, got {value!r:.100}")
        return value.decode("ascii")

    def flag(self, name: str, default: bool = False) -> bool:
        """An attribute that is true or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InvalidModel(f"{self.label}: attribute {name!r} must be true or false, got {value!r:.100}")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute that is an integer."""
        value = self.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 62:
            raise InvalidModel(f"{self.label}: attribute {name!r} must be an integer, got {value!r:.100}")
        return value

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidModel(f"{self.label}: attribute {name!r} must be a number, got {value!r:.100}")
        return float(value)

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        value = self.get(name)
        if value is None or value == ():
            return default
        if not isinstance(value, tuple) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            raise InvalidModel(f"{self.label}: attribute {name!r} must be integers, got {value!r:.100}")
        if any(abs(v) >= 1 << 31 for v in value):
            raise InvalidModel(f"{self.label}: attribute {name!r} is out of range, got {value!r:.100}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """An attribute that is a list of texts."""
        value = self.get(name) or ()
        if not isinstance(value, tuple) or not all(isinstance(v, bytes) and v.isascii() for v in value):
            raise InvalidModel(f"{self.label}: attribute {name!r} must be texts, got {value!r:.100}")
        return tuple(v.decode("ascii") for v in value)

    def dtype(self, name: str, default: str | None = None) -> str:
        """An attribute that is a dtype which arrays have."""
        value = self.get(name, default)
        if value not in ("float32", "int32", "bool", "complex64"):
            raise UnsupportedFeature(f"{self.label}: arrays of dtype {value!r:.100} are not supported")
        return str(value)

    def function_name(self, name: str) -> str:
        """An attribute that names a function of the library."""
        value = self.get(name)
        if not isinstance(value, FunctionName):
            raise InvalidModel(f"{self.label}: attribute {name!r} must name a function, got {value!r:.100}")
        return value.name
