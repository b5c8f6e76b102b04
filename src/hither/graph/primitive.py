"""Primitive: one record that says everything about one operation.

Shape rule, NumPy evaluation (the oracle), gradient rule, batching rule, and how it becomes kernel IR. Adding an operation to
hither's core is adding one of these and one row to the op table in the tests; nothing else switches on an operation's name.

How a primitive is lowered is data, one of the classes below. The functions in it are handed a kernel builder `k`
(hither.kernels.builder.Builder) and use only its methods, so this room imports no kernel code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .core import Abstract, abstract_of


@dataclass(frozen=True)
class Elementwise:
    """Result element i is a function of operand elements i. `emit(k, *values, **params)` returns the kernel value.

    float16 operands arrive as float32 values: arithmetic on halves is done in float32 and rounded when stored.
    """

    emit: Callable[..., Any]


@dataclass(frozen=True)
class Indexed:
    """Result element at `index` is a function of a few operand elements elsewhere: views, padding, gathers, iota.

    `emit(k, index, read, operands, result, **params)`: `index` is a tuple of hither.kernels.index.Index, one per result
    axis (they take + - * // % with ints and each other); `read(j, index)` gives the element of operand j at an index that
    must lie inside it; `operands` and `result` are Abstracts.

    `view` says that each result element is exactly one operand element and the map is cheap: always worth inlining.
    """

    emit: Callable[..., Any]
    view: bool = False


@dataclass(frozen=True)
class Reduction:
    """Folds `params["axes"]` (kept out of the result's shape) with "add", "mul", "max" or "min".

    `initial(dtype)` is the value of an empty reduction.
    """

    combine: str
    initial: Callable[[Any], Any]


@dataclass(frozen=True)
class Template:
    """Lowered by the hand-written kernel family of this name in hither.kernels.templates."""

    name: str


@dataclass(frozen=True)
class Control:
    """cond and while_loop: they become steps of the Program, not kernels."""

    kind: str


Lowering = Elementwise | Indexed | Reduction | Template | Control


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation, whole.

    abstract: `(*Abstract, **params) -> Abstract | tuple[Abstract, ...]`; raises TypeError or ValueError that says what was
        received and what is expected.
    evaluate: `(*ndarray, **params) -> ndarray | tuple`; results must have exactly the abstract's shapes and dtypes.
    vjp: `(cotangents, operands, results, **params) -> tuple`, the reverse-mode rule. `cotangents` has one entry per result
        (None where nothing depends on it; never None for a primitive with one result), `operands` and `results` are the
        Arrays or traced values of the application. Gives one cotangent per operand, of its shape and dtype, None meaning
        zero. Rules are written with `bind`, so they are differentiable themselves. A primitive without a rule is not
        differentiable; its float results may only be reached by cotangents that are zero.
    batch: see hither.transforms.vmap. None: not written yet, and vmap says so by name.
    flops: `(operands, results, params) -> int`, for `inspect`; None counts one per result element.
    """

    name: str
    abstract: Callable[..., Abstract | tuple[Abstract, ...]]
    evaluate: Callable[..., Any]
    lowering: Lowering
    vjp: Callable[..., Any] | None = None
    batch: Callable[..., Any] | None = None
    flops: Callable[..., int] | None = None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Parameters that may be left out, with their values: nodes always carry them all."""
        parameters = inspect.signature(self.abstract).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def run(self, *arrays: np.ndarray, **params: Any) -> tuple[np.ndarray, ...]:
        """Evaluate on NumPy and hold the evaluation to its own shape rule."""
        expected = self.abstract(*[abstract_of(a) for a in arrays], **params)
        expected = expected if isinstance(expected, tuple) else (expected,)
        with np.errstate(all="ignore"):
            results = self.evaluate(*arrays, **params)
        results = results if isinstance(results, tuple) else (results,)
        results = tuple(np.asarray(r) for r in results)
        got = tuple(abstract_of(r) for r in results)
        if got != expected:
            raise AssertionError(
                f"primitive {self.name}: evaluation gave {', '.join(map(str, got))}, "
                f"its shape rule says {', '.join(map(str, expected))}"
            )
        return results

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


REGISTRY: dict[str, Primitive] = {}


def primitive(
    name: str,
    *,
    abstract: Callable[..., Abstract | tuple[Abstract, ...]],
    evaluate: Callable[..., Any],
    lowering: Lowering,
    vjp: Callable[..., Any] | None = None,
    batch: Callable[..., Any] | None = None,
    flops: Callable[..., int] | None = None,
) -> Primitive:
    """Declare a primitive and register it under its name (serialised Graphs and the op table find it there)."""
    if name in REGISTRY:
        raise ValueError(f"primitive {name!r} is declared twice")
    REGISTRY[name] = record = Primitive(name, abstract, evaluate, lowering, vjp, batch, flops)
    return record
