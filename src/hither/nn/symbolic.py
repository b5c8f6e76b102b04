"""Symbolic tensors: what a functional network is drawn with. Calling a layer on one records the call instead of computing it.

What shape comes out is found by tracing the layer for two different sizes of everything free: extents that differ are free.
No layer needs a shape rule of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import dtypes as dt
from ..dtypes import DType
from ..graph.core import Abstract
from ..graph.trace import trace_function
from ..graph.tree import Structure, flatten, unflatten
from ..ops import random
from . import config
from .layer import Layer
from .randomness import randomness

Shape = tuple[int | None, ...]
_TRIED = ((2, 64), (3, 96))  # (batch, any other free extent)


@dataclass(frozen=True, eq=False)
class SymbolicTensor:
    """A value in a network that is being drawn. `call` made it as its result number `index`; None: an input.

    Operators and indices apply to it as to arrays, and are layers of the network then: `x + h`, `2 * x`, `x[:, -1]`. Functions
    take it through a layer: `Lambda(hither.tanh)(x)`.
    """

    shape: Shape
    dtype: DType
    call: Call
    index: int = 0

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.dtype}{list(self.shape)} of {self.call.layer.name}>"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self!r} has no values yet, so functions of arrays cannot take it. Layers and operators do; anything else is "
            "done in a layer: hither.nn.Lambda(lambda x: hither.sum(x, axis=1))(x), or a Layer of your own"
        )

    __array_ufunc__ = None  # NumPy's arrays, and hither's, leave operators to it
    __iter__ = None  # though it has __getitem__

    def __getitem__(self, key: Any) -> Any:
        return _operation("GetItem", self, key)

    def __neg__(self) -> Any:
        return _operation("Negative", self)

    def __abs__(self) -> Any:
        return _operation("Absolute", self)


def _operation(name: str, *args: Any) -> Any:
    """A call of one of Keras's functions as a layer."""
    from .operations import OPERATIONS  # whose layers are recorded here

    return OPERATIONS[name]({})(*args)


def _operator(name: str, reflected: bool) -> Any:
    def method(self: SymbolicTensor, other: Any) -> Any:
        return _operation(name, other, self) if reflected else _operation(name, self, other)

    return method


for _symbol, _name in {
    "add": "Add", "sub": "Subtract", "mul": "Multiply", "truediv": "TrueDivide", "floordiv": "FloorDivide", "mod": "Mod",
    "pow": "Power", "matmul": "Matmul",
}.items():  # fmt: skip
    setattr(SymbolicTensor, f"__{_symbol}__", _operator(_name, False))
    setattr(SymbolicTensor, f"__r{_symbol}__", _operator(_name, True))

for _symbol, _name in {"lt": "Less", "le": "LessEqual", "gt": "Greater", "ge": "GreaterEqual"}.items():
    setattr(SymbolicTensor, f"__{_symbol}__", _operator(_name, False))


@dataclass(eq=False)
class Call:
    """One use of a layer: its arguments, with symbolic tensors in them, and the tensors that came out."""

    layer: Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[SymbolicTensor] = field(default_factory=list)
    structure: Structure | None = None

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors among the arguments, in order."""
        return symbols((self.args, self.kwargs))


@config.register()
class InputLayer(Layer):
    """Where a network's input enters. Use `Input`.

    Args:
        shape: without the batch axis; None is free. Or `batch_shape` with it.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(name=name or None, dtype="float32")
        given = batch_shape if batch_shape is not None else batch_input_shape
        if (shape is None) == (given is None):
            raise ValueError("an Input takes either shape or batch_shape")
        self.batch_shape: Shape = tuple(given) if given is not None else (batch_size, *(shape or ()))
        self.input_dtype = dt.dtype(dtype or "float32")
        self.built = True
        call = Call(self, (), {}, [], None)
        call.outputs.append(SymbolicTensor(self.batch_shape, self.input_dtype, call))
        self.output = call.outputs[0]

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": list(self.batch_shape), "dtype": self.input_dtype.name, "name": self.name}


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
) -> SymbolicTensor:
    """An input of a functional network: a symbolic tensor of shape [batch, *shape].

    Args:
        shape: extents without the batch axis; None is free.
        batch_size: extent of the batch axis; None is free.
        dtype: element type; float32 unless given.
        name: the input's name in the network.

    Example:
        >>> import hither as ht
        >>> x = ht.nn.Input((8,))
        >>> net = ht.nn.Functional(x, ht.nn.Dense(2)(x))
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name).output


def symbols(value: Any) -> list[SymbolicTensor]:
    """The symbolic tensors in a structure of arguments."""
    return [leaf for leaf in flatten(value)[0] if isinstance(leaf, SymbolicTensor)]


def is_symbolic(args: Any, kwargs: Any) -> bool:
    """Whether some argument is a symbolic tensor."""
    return bool(symbols((args, kwargs)))


def record(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer on symbolic tensors: its results, symbolic."""
    layer.ensure_built(*args)
    call = Call(layer, args, kwargs)
    abstracts, call.structure = infer(layer, args, kwargs)
    call.outputs = [SymbolicTensor(shape, dtype, call, i) for i, (shape, dtype) in enumerate(abstracts)]
    return unflatten(call.structure, call.outputs)


def infer(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[tuple[Shape, DType]], Structure]:
    """(shape, dtype) of each result of a layer, and their structure."""
    leaves, structure = flatten((args, kwargs))
    found: list[list[Abstract]] = []
    results: list[Structure] = []
    for batch, other in _TRIED:
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, SymbolicTensor)]
        abstracts = [Abstract(_sized(leaves[i].shape, batch, other), leaves[i].dtype) for i in places]

        def function(*tracers: Any, places: list[int] = places) -> list[Any]:
            filled = list(leaves)
            for place, tracer in zip(places, tracers):
                filled[place] = tracer
            positional, named = unflatten(structure, filled)
            with randomness(random.key(0)), layer.swapped({}):  # what the layer learns of this call, it forgets
                outputs, made = flatten(layer(*positional, **named))
            results.append(made)
            return outputs

        graph, _ = trace_function(function, abstracts)
        found.append([v.abstract for v in graph.outputs])
    pairs = [
        (tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True)), a.dtype)
        for a, b in zip(*found, strict=True)
    ]
    return pairs, results[0]


def _sized(shape: Shape, batch: int, other: int) -> tuple[int, ...]:
    return tuple((batch if axis == 0 else other) if n is None else n for axis, n in enumerate(shape))
