"""jit: a function compiled when it is called, once per combination of shapes, dtypes and static arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import Array
from ..dtypes import dtype
from ..graph.core import Abstract
from ..graph.trace import Tracer, trace_function
from ..passes import optimize
from ..runtime.devices import default_device
from .compile import check_dtypes, machine_for
from .plan import plan
from .program import Program


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
    programs: dict[Any, tuple[Program, Any]] = {}

    @functools.wraps(function)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        static = {k: kwargs[k] for k in static_argnames if k in kwargs}
        leaves, structure = flatten((args, {k: v for k, v in kwargs.items() if k not in static}))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args, **kwargs)
        arrays = [leaf.numpy() if isinstance(leaf, Array) else np.asarray(leaf) for leaf in leaves]
        signature = tuple((a.shape, a.dtype.str) for a in arrays)
        where = device or default_device()
        key = (where, structure, signature, tuple(sorted(static.items())))
        if key not in programs:
            programs[key] = _compile(function, structure, arrays, static, where)
        program, result_structure = programs[key]
        results = program({f"input_{i}": a for i, a in enumerate(arrays)})
        return unflatten(result_structure, list(results.values()))

    compiled.programs = programs  # type: ignore[attr-defined]
    return compiled


def _compile(
    function: Callable[..., Any], structure: Any, arrays: list[np.ndarray], static: dict[str, Any], device: str
) -> tuple[Program, Any]:
    found: list[Any] = []

    def flat(*tracers: Any) -> list[Any]:
        args, kwargs = unflatten(structure, list(tracers))
        leaves, result_structure = flatten(function(*args, **kwargs, **static), numbers=True)
        found.append(result_structure)
        return leaves

    names = [f"input_{i}" for i in range(len(arrays))]
    abstracts = [Abstract(a.shape, dtype(a.dtype)) for a in arrays]
    graph, _ = trace_function(flat, abstracts, names, getattr(function, "__name__", "function"))
    outputs = tuple(f"output_{i}" for i in range(len(graph.outputs)))
    graph = optimize(type(graph)(graph.inputs, graph.constants, graph.nodes, graph.outputs, graph.input_names, outputs))
    machine = machine_for(device)
    check_dtypes(graph, machine)
    return Program(plan({"call": graph}, machine), device, "call"), found[-1]


def flatten(tree: Any, numbers: bool = False) -> tuple[list[Any], Any]:
    """Arrays in a nest of dicts, lists and tuples, and the nest without them (hashable).

    Python numbers are part of the structure, unless `numbers` asks for them as arrays (results of a function).
    """
    if isinstance(tree, dict):
        parts = [flatten(v, numbers) for v in tree.values()]
        return [x for p in parts for x in p[0]], ("dict", tuple(tree), tuple(p[1] for p in parts))
    if isinstance(tree, list | tuple):
        parts = [flatten(v, numbers) for v in tree]
        return [x for p in parts for x in p[0]], (type(tree).__name__, None, tuple(p[1] for p in parts))
    if tree is None or isinstance(tree, str) or (isinstance(tree, bool | int | float) and not numbers):
        return [], ("value", type(tree).__name__, tree)
    return [tree], ("array", None, ())


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The nest again; takes its arrays from the front of `leaves`."""
    kind, keys, parts = structure
    match kind:
        case "dict":
            return {k: unflatten(p, leaves) for k, p in zip(keys, parts, strict=True)}
        case "list":
            return [unflatten(p, leaves) for p in parts]
        case "tuple":
            return tuple(unflatten(p, leaves) for p in parts)
        case "value":
            return parts
        case _:
            return leaves.pop(0)
