"""Programs on disk: what was compiled from a model file for this machine runs again without being traced, lowered or printed.

A stored program is two objects of a cache: its outline, initial state and machine code, and its weights region, which other
programs of the same model (for other shapes) share. The key covers all that they depend on: the content of the model's files,
the inputs' shapes, dtypes and compiled-in values, the machine, LLVM, and hither's own sources. Only native programs are stored.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import dtype
from ..graph.core import Abstract
from ..kernels.ir import Machine
from ..kernels.steps import Ref
from ..runtime.object_cache import ObjectCache, cache_directory
from ..runtime.provenance import code_identity, is_unchanged
from .cpu import CpuSession
from .program import Program
from .signature import Counts, Entry, Outline, Port, Variable

LIMIT = 1 << 30  # bytes of all stored programs
_LENGTH_BYTES = 8  # the number that says how long the outline is


def program_key(
    target: Any, specs: Mapping[str, Any] | None, machine: Machine, tuned: bool = False, numbers: tuple[str, ...] = ()
) -> str | None:
    """The key of what `target` is compiled to; None if that is not known beforehand, or nothing is to be stored.

    Raises:
        NameMismatch, ShapeMismatch, DTypeMismatch: if the specs do not fit the model.
    """
    code = code_identity()
    if machine.name != "llvm" or code is None or getattr(target, "identity", None) is None:
        return None
    from ..runtime.cpu import compiler_identity

    kind = "tuned program" if tuned else "program"
    return ObjectCache.key(kind, *target.fingerprint(specs), *numbers, repr(machine), *compiler_identity(), code)


@functools.cache
def _cache_at(directory: Path) -> ObjectCache:
    return ObjectCache(directory, LIMIT, ".program")


def program_cache() -> ObjectCache:
    """The user's cache of programs."""
    return _cache_at(cache_directory() / "programs")


def load_program(key: str, machine: Machine) -> tuple[Outline, CpuSession] | None:
    """The program of this key, ready to run; None if it is not stored, or not whole any more."""
    from ..runtime.cpu import CpuExecutable, NativeCode
    from ..runtime.host_memory import aligned_empty

    cache = program_cache()
    content = cache.get(key)
    if content is None:
        return None
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:start])
    weights = cache.read(header["weights"], lambda nbytes: aligned_empty(nbytes, "weights"))
    if weights is None:
        return None
    entries = {
        name: Entry(tuple(map(_port, inputs)), tuple(map(_port, outputs)), updates)
        for name, (inputs, outputs, updates) in header["entries"].items()
    }
    state = []
    for port in map(_port, header["state"]):
        kind = port.abstract.dtype.numpy
        initial = np.frombuffer(content, kind, port.abstract.size, start).reshape(port.abstract.shape)
        state.append(Variable(port, initial))
        start += initial.nbytes
    counts = {name: Counts(*numbers) for name, numbers in header["counts"].items()}
    native = NativeCode(content[start:], header["sizes"], header["symbols"], header["shared"], header["direct"])
    return Outline(machine, entries, header["kernels"], counts, tuple(state)), CpuSession(
        CpuExecutable.of_native(native, weights)
    )


def keep_program(key: str, program: Program) -> None:
    """Store a native program that was just compiled, unless hither was edited meanwhile."""
    session = program.session
    if not isinstance(session, CpuSession) or not is_unchanged():
        return
    cache, made, executable = program_cache(), program.outline, session.executable
    weights = hashlib.sha256(executable.weights.data).hexdigest()
    if not cache.has(weights):
        cache.put(weights, executable.weights)
    header = {
        "weights": weights,
        "entries": {
            n: [*([_plain(p) for p in ports] for ports in (e.inputs, e.outputs)), e.updates_state]
            for n, e in made.entries.items()
        },
        "state": [_plain(v.port) for v in made.state],
        "kernels": made.kernels,
        "counts": {name: dataclasses.astuple(c) for name, c in made.counts.items()},
        "sizes": executable.native.sizes,
        "symbols": executable.native.symbols,
        "shared": executable.native.shared,
        "direct": executable.native.direct,
    }
    text = json.dumps(header).encode()
    initial = b"".join(np.ascontiguousarray(v.initial).tobytes() for v in made.state)
    cache.put(key, len(text).to_bytes(_LENGTH_BYTES, "little") + text + initial + executable.native.object)


def _plain(port: Port) -> list[Any]:
    ref, abstract = port.ref, port.abstract
    return [
        port.name, abstract.shape, abstract.dtype.name, ref.space, ref.offset, ref.nbytes, port.length, port.length_axis
    ]  # fmt: skip


def _port(plain: list[Any]) -> Port:
    name, shape, kind, space, offset, nbytes, length, axis = plain
    return Port(name, Abstract(tuple(shape), dtype(kind)), Ref(space, offset, nbytes), length, axis)
