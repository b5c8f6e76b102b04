"""The registry of TensorFlow Lite operators, and the Node that each operator's function is handed.

An operator is one function `(node, *inputs) -> output | tuple`, registered under its name in the schema. Inputs are Arrays
(known now), Tracers (known when the program runs), None (left out) or a variable's Handle. Most operators are written for real
numbers: quantised inputs are dequantised before them and their results quantised after. One that is registered as `stored` gets
the integers as they are, because it only moves them or because it knows better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import ops
from ...errors import InvalidModel
from ...graph.trace import static_value
from ..interpreter import ForeignNode
from .quantization import clip_limits, dequantize, is_quantized, quantize, rescaled, stored_limits
from .reader import enumeration
from .schema import Quantization, TensorDef

if TYPE_CHECKING:
    from .importer import Importer

Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """A registered function. `stored`: it takes quantised numbers as the integers that they are stored as; `accepts`: which
    inputs that are no arrays it takes (Handle, BoundedOutput)."""

    name: str
    function: Function
    stored: bool
    accepts: tuple[type, ...]


OPERATORS: dict[str, Operator] = {}
CUSTOM: dict[str, Operator] = {}


def operator(
    *names: str, stored: bool = False, custom: bool = False, accepts: tuple[type, ...] = ()
) -> Callable[[Function], Function]:
    """Register a function as the operator(s) of these names."""
    table = CUSTOM if custom else OPERATORS

    def register(function: Function) -> Function:
        for name in names:
            if name in table:
                raise ValueError(f"TensorFlow Lite operator {name} is registered twice")
            table[name] = Operator(name, function, stored, accepts)
        return function

    return register


@dataclass(frozen=True)
class Handle:
    """What VAR_HANDLE gives: the name of a variable."""

    name: str


@dataclass(frozen=True)
class Node(ForeignNode):
    """What an operator's function knows besides its inputs: the tensors that it reads and writes, and its options, which are
    under the schema's names."""

    inputs: Sequence[TensorDef | None]
    outputs: Sequence[TensorDef]
    custom_options: bytes
    importer: Importer = field(repr=False)

    def get(self, name: str, default: Any = None) -> Any:
        """An option, or the default where the operator has no options at all: a table of options has all of its fields.

        Raises:
            InvalidModel: the options are those of another operator.
        """
        if self.attributes and name not in self.attributes:
            raise InvalidModel(f"{self.label}: its options have no {name!r}; they are another operator's")
        return self.attributes.get(name, default)

    def named(self, option: str, kind: str, default: str) -> str:
        """An option that is an enumeration, by name."""
        value = self.get(option)
        if value is None:
            return default
        found = enumeration(kind).get(value)
        if found is None:
            raise InvalidModel(f"{self.label}: {option} is {value}, which {kind} does not have")
        return found

    @property
    def activation(self) -> str:
        """The name of the fused activation; "NONE" for operators that have none."""
        if "fused_activation_function" not in self.attributes:
            return "NONE"
        return self.named("fused_activation_function", "ActivationFunctionType", "NONE")

    def require_all(self, xs: Sequence[Any]) -> None:
        """Raise InvalidModel unless there are inputs and none is left out."""
        self.check(bool(xs) and all(x is not None for x in xs), f"needs inputs, and none left out; got {len(xs)}")

    def known_ints(self, x: Any, what: str) -> tuple[int, ...]:
        """The values of an integer operand of any shape that shapes depend on."""
        value = self.static(x, what)
        self.check(value.dtype.kind in "iu", f"{what} must be integers, got {value.dtype}")
        return tuple(int(v) for v in value.reshape(-1))

    def shape(self, x: Any) -> tuple[int, ...]:
        """The values of an operand that is a shape."""
        extents = self.ints(x, "a shape")
        self.check(min(extents, default=0) >= 0, f"a shape {extents}")
        return extents

    def known(self, x: Any) -> np.ndarray | None:
        """The values of an operand, if they do not depend on the model's inputs."""
        return static_value(x)

    # -- quantised numbers -------------------------------------------------------------------------------------------------

    def is_quantized(self, i: int) -> bool:
        """Whether input i is there and quantised."""
        return i < len(self.inputs) and is_quantized(self.inputs[i])

    def quantization(self, i: int) -> Quantization:
        """The quantisation of input i.

        Raises:
            InvalidModel: it has none.
        """
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None or tensor.quantization is None:
            raise InvalidModel(f"{self.label}: input {i} has no scale, which its integers need")
        return tensor.quantization

    def real(self, x: Any, i: int) -> Any:
        """Input i as real numbers."""
        return dequantize(x, self.quantization(i)) if x is not None and self.is_quantized(i) else x

    def stored(self, y: Any, i: int = 0) -> Any:
        """A real result as output i stores it."""
        tensor = self.outputs[i]
        if tensor.quantization is None or not is_quantized(tensor) or y.dtype.kind != "f":
            return y
        return quantize(y, tensor.quantization, tensor.element)

    def moved(self, y: Any, source: int = 0, i: int = 0) -> Any:
        """Numbers of input `source`, only moved, as output i stores them: they may have to be scaled anew."""
        have, want = self.inputs[source], self.outputs[i]
        if have is None or have.quantization is None or want.quantization is None or have.quantization.per_axis:
            return y
        if not is_quantized(have) or not is_quantized(want):
            return y
        return rescaled(y, have.quantization, want.quantization, want.element)

    def padding_value(self, i: int = 0) -> int:
        """What stands for zero in input i."""
        return int(self.quantization(i).zero_point[0]) if self.is_quantized(i) else 0

    def assign(self, i: int, value: Any) -> None:
        """Give input i, a variable tensor, the real numbers that it holds from now on."""
        tensor = self.inputs[i] if i < len(self.inputs) else None
        if tensor is None or not tensor.is_variable:
            raise InvalidModel(f"{self.label}: input {i}, its state, is no variable tensor")
        if tensor.quantization is not None and is_quantized(tensor):
            value = quantize(value, tensor.quantization, tensor.element)
        self.importer.variables[tensor.name] = value

    # -- activations ---------------------------------------------------------------------------------------------------------

    def activated(self, y: Any) -> Any:
        """Real numbers after the fused activation."""
        name = self.activation
        limits = clip_limits(name)
        if limits is None:
            if name == "TANH":
                return ops.tanh(y)
            if name == "SIGN_BIT":
                return ops.astype(y < 0, y.dtype)
            raise self.unsupported(f"the activation {name}")
        low, high = limits
        if name == "NONE":
            return y
        return ops.maximum(y, low) if high == np.inf else ops.minimum(ops.maximum(y, low), high)

    def stored_clip(self, i: int = 0) -> tuple[int, int] | None:
        """The range of output i's integers after the fused activation; None where it is no clip."""
        tensor = self.outputs[i]
        if tensor.quantization is None or not is_quantized(tensor):
            return None
        return stored_limits(self.activation, tensor.quantization, tensor.element)
