"""jit: a function compiled when it is called, once per combination of shapes, dtypes and static arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import Array
from ..dtypes import dtype
from ..graph.core import Abstract
from ..graph.trace import Tracer, trace_function
from ..graph.tree import Structure, flatten, unflatten
from ..passes import optimize
from ..runtime.devices import default_device
from .compile import check_dtypes, machine_for
from .plan import plan
from .program import Program


@dataclass(frozen=True)
class _Nest:
    """A nested value without its arrays: its structure, and the leaves that are compiled in (with their types: 1, 1.0 and
    True are equal, but not the same program)."""

    structure: Structure
    fixed: tuple[tuple[type, Any] | None, ...]

    @staticmethod
    def of(value: Any, compiled_in: tuple[type, ...]) -> tuple[list[Any], _Nest]:
        """The arrays in a value, and what is left of it."""
        leaves, structure = flatten(value)
        fixed = tuple((type(leaf), leaf) if isinstance(leaf, compiled_in) else None for leaf in leaves)
        return [leaf for leaf, known in zip(leaves, fixed, strict=True) if known is None], _Nest(structure, fixed)

    def filled(self, arrays: Iterable[Any]) -> Any:
        """The value with these arrays in their places."""
        rest = iter(arrays)
        return unflatten(self.structure, [next(rest) if known is None else known[1] for known in self.fixed])


def jit(
    function: Callable[..., Any] | None = None, *, static_argnames: Sequence[str] = (), device: str | None = None
) -> Callable[..., Any]:
    """Compile `function` for the shapes it is called with.

    Arguments are arrays or nested lists, tuples and dicts of arrays; numbers, strings and None, and arguments named in
    `static_argnames`, are part of the program and compiled in. Inside another trace the function is simply inlined.

    Example:
        >>> import numpy as np, hither as ht
        >>> @ht.jit
        ... def norm(x):
        ...     return ht.sqrt(ht.sum(x * x))
        >>> float(norm(np.array([3, 4], np.float32)))
        5.0
    """
    if function is None:
        return functools.partial(jit, static_argnames=static_argnames, device=device)
    programs: dict[Any, tuple[Program, _Nest]] = {}

    @functools.wraps(function)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        static = {k: kwargs[k] for k in static_argnames if k in kwargs}
        leaves, nest = _Nest.of((args, {k: v for k, v in kwargs.items() if k not in static}), (str, bool, int, float))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args, **kwargs)
        arrays = [leaf.numpy() if isinstance(leaf, Array) else np.asarray(leaf) for leaf in leaves]
        signature = tuple((a.shape, a.dtype.str) for a in arrays)
        where = device or default_device()
        key = (where, nest, signature, tuple(sorted(static.items())))
        if key not in programs:
            programs[key] = _compile(function, nest, arrays, static, where)
        program, made = programs[key]
        return made.filled(program({f"input_{i}": a for i, a in enumerate(arrays)}).values())

    compiled.programs = programs  # type: ignore[attr-defined]
    return compiled


def _compile(
    function: Callable[..., Any], nest: _Nest, arrays: list[np.ndarray], static: dict[str, Any], device: str
) -> tuple[Program, _Nest]:
    found: list[_Nest] = []

    def flat(*tracers: Any) -> list[Any]:
        args, kwargs = nest.filled(tracers)
        leaves, made = _Nest.of(function(*args, **kwargs, **static), (str,))
        found.append(made)
        return leaves

    names = [f"input_{i}" for i in range(len(arrays))]
    abstracts = [Abstract(a.shape, dtype(a.dtype)) for a in arrays]
    graph, _ = trace_function(flat, abstracts, names, getattr(function, "__name__", "function"))
    outputs = tuple(f"output_{i}" for i in range(len(graph.outputs)))
    graph = optimize(replace(graph, output_names=outputs))
    machine = machine_for(device)
    check_dtypes(graph, machine)
    return Program(plan({"call": graph}, machine), device, "call"), found[-1]
