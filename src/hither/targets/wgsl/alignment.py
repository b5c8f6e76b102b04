"""Which buffers a kernel only accesses as whole, aligned vectors of four.

Such a buffer is bound as array<vec4<…>>: a GPU then loads 16 bytes at once, where WGSL compilers do not join four scalar loads.
"""

from __future__ import annotations

import math

from ...kernels.ir import INDEX, Buffer, Kernel, Op, Val
from .plan import packed

LANES = 4


def vector_buffers(kernel: Kernel, float16: bool) -> set[Buffer]:
    """The kernel parameters of which every access is LANES wide, at an index that is always a multiple of LANES. Not those that
    hold several elements in a word: they are read as words."""
    multiples = Multiples(kernel)
    scalar: set[Buffer] = set()
    seen: set[Buffer] = set()
    for op in kernel.walk():
        match op.kind:
            case "load":
                buffer, width = op.attr, op.results[0].width
            case "store":
                buffer, width = op.attr
            case "word":
                buffer, width = op.attr, LANES
            case "gather" | "scatter":
                buffer, width = op.attr, 0
            case "atomic":
                buffer, width = op.attr[0], 0
            case _:
                continue
        seen.add(buffer)
        if width != LANES or multiples.of(op.args[0]) % LANES:
            scalar.add(buffer)
    return {b for b in seen - scalar if not packed(b.dtype, float16)} & set(kernel.buffers)


class Multiples:
    """For each INDEX value, a number that it is always a multiple of (0 for the value 0)."""

    def __init__(self, kernel: Kernel) -> None:
        self.known: dict[Val, int] = {}
        self.counters: dict[Val, Op] = {op.blocks[0].params[0]: op for op in kernel.walk() if op.kind == "loop"}

    def of(self, value: Val) -> int:
        if value not in self.known:
            self.known[value] = self._find(value)
        return self.known[value]

    def _find(self, value: Val) -> int:
        if value in self.counters:
            loop = self.counters[value]
            return math.gcd(self.of(loop.args[0]), loop.attr.step)
        op = value.op
        if op is None or value.dtype is not INDEX:
            return 1
        match op.kind:
            case "const":
                return abs(op.attr)
            case "add" | "sub" | "min" | "max" | "rem":  # rem truncates: a - b * quotient
                return math.gcd(*map(self.of, op.args))
            case "select":
                return math.gcd(*map(self.of, op.args[1:]))
            case "mul":
                return self.of(op.args[0]) * self.of(op.args[1])
            case "shl" if op.args[1].op is not None and op.args[1].op.kind == "const":
                return self.of(op.args[0]) << op.args[1].op.attr
        return 1
