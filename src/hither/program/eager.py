"""Operations that are compiled though nobody asked: each primitive is a Program of one node, kept by what it is applied to.

An operation with an operand on the GPU runs there, and what comes out stays there. Nothing waits until somebody looks at the
elements. On the CPU NumPy computes, except Graphs whose loops go round so often that compiling them takes less time
(`trace.bind`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..array import Array
from ..graph.core import Abstract, GraphBuilder
from ..graph.identity import identity
from ..graph.primitive import Primitive
from ..graph.primitives import REPEAT
from ..runtime.cpu import has_llvm
from ..runtime.webgpu_device import when_lost
from .compile import check_dtypes, machine_for
from .program import Program

MAX_PROGRAMS = 512

_programs: OrderedDict[Any, Program] = OrderedDict()
_guard = threading.Lock()
when_lost.append(_programs.clear)  # what was compiled on a lost device


def evaluate(primitive: Primitive, operands: Sequence[Any], params: Mapping[str, Any]) -> tuple[Array, ...]:
    """Apply a primitive to concrete operands: on the GPU if one of them lives there.

    Raises:
        UnsupportedFeature: for a dtype that WebGPU does not have.
    """
    arrays = [o if isinstance(o, Array) else Array(np.asarray(o)) for o in operands]
    device = next((a.device for a in arrays if a.device != "cpu"), "cpu")
    if device == "cpu" and not (has_llvm() and all(a.dtype.kind != "c" for a in arrays)):
        return tuple(map(Array, primitive.run(*(a.numpy() for a in arrays), **params)))
    abstracts = tuple(Abstract(a.shape, a.dtype) for a in arrays)
    repeated = tuple(_is_repeated(a) for a in arrays)  # numbers: one element goes over, not as many as there are to meet
    key = (device, primitive.name, abstracts, repeated, identity(dict(params)))
    with _guard:
        program = _programs.get(key)
    if program is None:
        program = _compile(primitive, abstracts, repeated, params, device)
    with _guard:
        _programs[key] = program
        _programs.move_to_end(key)
        while len(_programs) > MAX_PROGRAMS:
            _programs.popitem(last=False)
    given = [Array(a.numpy().reshape(-1)[0]) if one else a for a, one in zip(arrays, repeated)]
    return tuple(program({f"x{i}": a for i, a in enumerate(given)}).values())


def _is_repeated(array: Array) -> bool:
    return array.device == "cpu" and array.size > 1 and not any(array.numpy().strides)


def _compile(
    primitive: Primitive, abstracts: Sequence[Abstract], repeated: Sequence[bool], params: Mapping[str, Any], device: str
) -> Program:
    from ..passes import optimize
    from .plan import plan

    builder = GraphBuilder()
    names = [f"x{i}" for i in range(len(abstracts))]
    inputs = [builder.input(Abstract((), a.dtype) if one else a, n) for a, one, n in zip(abstracts, repeated, names)]
    operands = [
        builder.add(REPEAT, [value], {"shape": a.shape, "axes": ()})[0] if one else value
        for value, a, one in zip(inputs, abstracts, repeated)
    ]
    results = builder.add(primitive, operands, dict(params), primitive.name)
    outputs = tuple(f"output_{i}" for i in range(len(results)))
    graph = builder.finish(results, names, outputs, name=primitive.name)
    machine = machine_for(device)
    check_dtypes(graph, machine)
    return Program(plan({"call": optimize(graph)}, machine), device, "call")
