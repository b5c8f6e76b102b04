"""Code as the text of one LLVM module: an internal function per kernel, an exported one per entry.

The module is self-contained: whatever it calls, it defines. Its only way out is the function by which a waiting
thread rests, in the memory through which threads share work.
"""

from __future__ import annotations

import math

from ...kernels.ir import Machine
from ...kernels.steps import Code, Launch, walk
from .entry import EntryPrinter
from .inputs import ALIGNED, direct
from .kernel import KernelPrinter, symbol
from .prelude import COPY, UMIN
from .sharing import share
from .types import Target


def entry_symbol(code: Code, entry: str) -> str:
    """The exported name of an entry (entries may have any name, symbols may not)."""
    return f"entry_{list(code.entries).index(entry)}"


def print_module(code: Code, machine: Machine, target: Target | None = None) -> str:
    """The module's text.

    Each entry becomes `void entry_i(weights, state, arena, io, inputs, shared)`, called by one thread; the run is over when it
    returns. `inputs` holds the addresses of inputs that are not in io (inputs.py); `shared` is where helpers find work
    (sharing.py), null for a run of one thread.

    Args:
        code: kernels lowered for `machine`, and the entries that launch them.
        machine: what the kernels were lowered for.
        target: the instruction set; an x86-64 with SSE4.1 if not given.
    """
    if machine.name != "llvm":
        raise ValueError(f"these kernels were lowered for {machine.name!r}; the LLVM printer takes those for 'llvm'")
    target = target or Target()
    support: dict[str, str] = {"llvm.umin.i64": UMIN}
    symbols = [symbol(i, kernel.name) for i, kernel in enumerate(code.kernels)]
    grants = _grants(code)
    kernels = [
        KernelPrinter(kernel, machine, target, support).function(symbols[i], *grants[i])
        for i, kernel in enumerate(code.kernels)
    ]
    printer = EntryPrinter(code.kernels, symbols.__getitem__)
    for name, steps in code.entries.items():
        printer.entry(entry_symbol(code, name), steps, direct(code, name))
    if printer.copies:
        support.setdefault("copy", COPY)
    # prefer-vector-width: without it LLVM splits 512-bit vectors on processors that it believes to prefer 256
    # no-stack-arg-probe: Windows would have a library function called for scratch memory (KernelPrinter.scratch)
    notes = f'"prefer-vector-width"="{machine.vector_bits}" "no-trapping-math"="true" "no-stack-arg-probe"'
    attributes = f"attributes #0 = {{ {notes} }}\n"
    return "\n".join([share(target.arch), *support.values(), "", *kernels, *printer.functions, attributes])


def _grants(code: Code) -> list[tuple[list[int], list[bool]]]:
    """For each kernel's buffers: the alignment, and freedom from aliasing, that hold in every launch of it."""
    alignments = [[64] * len(kernel.buffers) for kernel in code.kernels]
    unaliased = [[True] * len(kernel.buffers) for kernel in code.kernels]
    for entry, steps in code.entries.items():
        elsewhere = direct(code, entry)
        for step in walk(steps):
            if not isinstance(step, Launch):
                continue
            buffers = code.kernels[step.kernel].buffers
            for i, mine in enumerate(step.args[: len(buffers)]):
                known = ALIGNED if mine in elsewhere else mine.offset
                alignments[step.kernel][i] = math.gcd(alignments[step.kernel][i], known)
                for j, other in enumerate(step.args[: len(buffers)]):
                    apart = (
                        i == j
                        or mine.space != other.space
                        or mine.offset + mine.nbytes <= other.offset
                        or other.offset + other.nbytes <= mine.offset
                    )
                    if not apart and (buffers[i].access != "read" or buffers[j].access != "read"):
                        unaliased[step.kernel][i] = False
    return list(zip(alignments, unaliased))
