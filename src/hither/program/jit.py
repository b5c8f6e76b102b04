"""jit: a function compiled when it is called, once per combination of shapes, dtypes and static arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..array import Array
from ..graph.core import Abstract
from ..graph.trace import escaped, is_tracing, trace_function
from ..graph.tree import Structure, flatten, unflatten
from ..ops import asarray
from ..runtime.devices import default_device
from .compile import check_dtypes, machine_for
from .program import Program


@dataclass(frozen=True)
class _Static:
    """An argument that `static_argnames` names: a leaf, whatever is in it."""

    value: Any


def _identity(value: Any) -> Any:
    """What tells values that are compiled in apart: 1, 1.0 and True are equal, and so are 0.0 and -0.0, but they do not give
    the same program; a NaN does, though it is not equal to itself."""
    leaves, structure = flatten(value)
    if structure.kind is not None:
        return structure, tuple(map(_identity, leaves))
    return type(value), repr(value) if isinstance(value, float) else value


@dataclass(frozen=True)
class _Fixed:
    """A leaf that is compiled in."""

    leaf: Any = field(compare=False)
    identity: Any


@dataclass(frozen=True)
class _Nest:
    """A nested value without its arrays: its structure, and the leaves that are compiled in."""

    structure: Structure
    fixed: tuple[_Fixed | None, ...]

    @staticmethod
    def of(value: Any, compiled_in: tuple[type, ...]) -> tuple[list[Any], _Nest]:
        """The arrays in a value, and what is left of it."""
        leaves, structure = flatten(value)
        fixed = []
        for leaf in leaves:
            plain = leaf.value if isinstance(leaf, _Static) else leaf
            fixed.append(_Fixed(plain, _identity(plain)) if isinstance(leaf, (*compiled_in, _Static)) else None)
        return [leaf for leaf, known in zip(leaves, fixed, strict=True) if known is None], _Nest(structure, tuple(fixed))

    def filled(self, arrays: Iterable[Any]) -> Any:
        """The value with these arrays in their places."""
        rest = iter(arrays)
        return unflatten(self.structure, [next(rest) if known is None else known.leaf for known in self.fixed])


def _positions(function: Callable[..., Any], names: Sequence[str]) -> set[int]:
    """Where the arguments of these names are when they are not given by name.

    Raises:
        ValueError: the function takes no argument of such a name.
    """
    if not names:
        return set()
    parameters = inspect.signature(function).parameters
    unknown = [n for n in names if n not in parameters]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(f"static_argnames names {unknown[0]!r}; the function takes {', '.join(map(repr, parameters))}")
    positional = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {i for i, n in enumerate(positional) if n in names}


def jit(
    function: Callable[..., Any] | None = None, *, static_argnames: Sequence[str] = (), device: str | None = None
) -> Callable[..., Any]:
    """Compile `function` for the shapes it is called with.

    Arguments are arrays or nested lists, tuples and dicts of arrays; numbers, strings and None, and arguments named in
    `static_argnames`, are part of the program and compiled in. Inside another trace the function is simply inlined. It runs on
    `device`, else where its arguments live, else on the default device.

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
    static = _positions(function, static_argnames)
    programs: dict[Any, tuple[Program, _Nest]] = {}

    @functools.wraps(function)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        marked = tuple(_Static(a) if i in static else a for i, a in enumerate(args))
        named = {k: _Static(v) if k in static_argnames else v for k, v in kwargs.items()}
        leaves, nest = _Nest.of((marked, named), (str, bool, int, float))
        if is_tracing():  # traced values may come as arguments, or in what the function closes over
            return function(*args, **kwargs)
        arrays = [asarray(leaf) for leaf in leaves]
        signature = tuple((a.shape, a.dtype) for a in arrays)
        where = device or next((a.device for a in arrays if a.device != "cpu"), None) or default_device()
        key = (where, nest, signature)
        found = programs.get(key)
        if found is None or found[0].lost:
            found = programs[key] = _compile(function, nest, arrays, where)
        program, made = found
        return made.filled(program({f"input_{i}": a for i, a in enumerate(arrays)}).values())

    compiled.programs = programs  # type: ignore[attr-defined]
    return compiled


def _compile(function: Callable[..., Any], nest: _Nest, arrays: list[Array], device: str) -> tuple[Program, _Nest]:
    from ..passes import optimize  # not before something is compiled: programs from disk need neither
    from .plan import plan

    found: list[_Nest] = []

    def flat(*tracers: Any) -> list[Any]:
        args, kwargs = nest.filled(tracers)
        leaves, made = _Nest.of(function(*args, **kwargs), (str,))
        found.append(made)
        return leaves

    names = [f"input_{i}" for i in range(len(arrays))]
    abstracts = [Abstract(a.shape, a.dtype) for a in arrays]
    graph, outer = trace_function(flat, abstracts, names, getattr(function, "__name__", "function"))
    if outer:
        raise escaped(outer[0])
    outputs = tuple(f"output_{i}" for i in range(len(graph.outputs)))
    graph = optimize(replace(graph, output_names=outputs))
    machine = machine_for(device)
    check_dtypes(graph, machine)
    return Program(plan({"call": graph}, machine), device, "call"), found[-1]
