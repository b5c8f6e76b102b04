"""Random kernels through the wasm printer, against the kernel interpreter.

The tests in test_wasm.py check what instructions compute; these check what happens between them: which values share a local,
which are computed late, what a loop carries in place, what leaves a loop. A failure here is a wrong answer that no single
operation explains.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Buffer, Kernel, Machine, Val
from hither.kernels.steps import Code, Launch, Ref
from hither.targets.wasm.printer import print_module
from tests.kernel_interpreter import interpret
from tests.wasm_node import run_wasm

pytestmark = pytest.mark.usefixtures("node")

MACHINE = Machine("wasm")
SIZE = 24  # elements of each buffer: few, so that loads and stores meet
KINDS = [
    (dt.int32, 1),
    (dt.int32, 4),
    (dt.float32, 1),
    (dt.float32, 4),
    (dt.int8, 4),
    (dt.uint8, 8),
    (dt.uint16, 1),
    (dt.int64, 1),
]
Scope = list[Val]


class RandomKernel:
    """Writes one kernel, choice by choice. Its loops and branches carry whatever is in scope."""

    def __init__(self, choose: random.Random, fma: bool) -> None:
        self.choose, self.fma = choose, fma
        self.k = Builder(MACHINE, 4)
        dtypes = {dtype: None for dtype, _ in KINDS}
        self.buffers: dict[DType, list[Buffer]] = {
            d: [self.k.buffer("x", d, SIZE, "read_write") for _ in range(2 if d in (dt.int32, dt.float32) else 1)]
            for d in dtypes
        }
        self.counters: list[Val] = []
        self.block([], 0)

    def finish(self) -> Kernel:
        return self.k.finish("random")

    def value(self, scope: Scope, dtype: DType, width: int) -> Val:
        """Something of this type: in scope, else a constant or a load."""
        found = [v for v in scope if v.dtype is dtype and v.width == width]
        if found and self.choose.random() < 0.85:
            return self.choose.choice(found[-6:]) if self.choose.random() < 0.7 else self.choose.choice(found)
        if self.choose.random() < 0.3:
            return self.k.const(self.choose.randrange(0, 100), dtype, width)
        return self.load(dtype, width)

    def index(self, width: int) -> Val:
        """An index at which `width` elements lie inside every buffer."""
        k, c = self.k, self.choose
        total = k.const(c.randrange(0, SIZE), INDEX)
        for counter in self.counters[-3:]:
            total = total + counter * c.choice([1, 4, 9, -1])
        if c.random() < 0.5 and self.counters:
            return self.counters[-1] * 4 + c.choice([0, 4])  # in range as it is: trips are at most 4
        wrapped = k.rem(total + 4 * SIZE, SIZE // width) * width
        return wrapped

    def load(self, dtype: DType, width: int) -> Val:
        return self.k.load(self.choose.choice(self.buffers[dtype]), self.index(width), width)

    def condition(self, scope: Scope, dtype: DType, width: int) -> Val:
        left, right = self.value(scope, dtype, width), self.value(scope, dtype, width)
        return self.k.compare(self.choose.choice(["lt", "le", "eq", "ne"]), left, right)

    def block(self, outer: Scope, depth: int) -> Scope:
        """Some statements; returns what is in scope at their end."""
        scope = list(outer)
        for _ in range(self.choose.randrange(3, 9)):
            dtype, width = self.choose.choice(KINDS)
            match self.choose.choices(["op", "load", "store", "swap", "convert", "loop", "if"], [8, 3, 3, 1, 1, 2, 1.5])[0]:
                case "op":
                    scope.append(self.operation(scope, dtype, width))
                case "load":
                    scope.append(self.load(dtype, width))
                case "store":
                    buffer = self.choose.choice(self.buffers[dtype])
                    self.k.store(
                        buffer, self.index(width), self.value(scope, dtype, width), self.choose.randrange(1, width + 1)
                    )
                case "swap":  # loads used once, beyond a store to where they came from
                    buffer, i, j = self.choose.choice(self.buffers[dtype]), self.index(width), self.index(width)
                    first, second = self.k.load(buffer, i, width), self.k.load(buffer, j, width)
                    self.k.store(buffer, i, self.operation([second], dtype, width))
                    self.k.store(buffer, j, first)
                case "convert":
                    target = self.choose.choice([d for d, w in KINDS if (d.bits <= 32 or width == 1) and w])
                    scope.append(self.k.convert(self.value(scope, dtype, width), target))
                case "loop" if depth < 3:
                    scope += self.loop(scope, depth)
                case "if" if depth < 3:
                    scope += self.branch(scope, depth)
        return scope

    def operation(self, scope: Scope, dtype: DType, width: int) -> Val:
        k = self.k
        a, b = self.value(scope, dtype, width), self.value(scope, dtype, width)
        kinds = ["add", "sub", "mul", "min", "max", "select", "neg", "abs", "splat", "reduce"]
        kinds += ["and", "xor", "shr", "rem"] if dtype.is_integer else ["floor", "round"]
        kinds += ["fma"] if self.fma and dtype.is_float else []
        match self.choose.choice(kinds):
            case "select":
                return k.select(self.condition(scope, dtype, width), a, b)
            case "fma":
                return k.fma(a, b, self.value(scope, dtype, width))
            case "shr":
                return a >> 3
            case "rem":
                return k.rem(a, self.choose.choice([3, 8, 7]))
            case "splat":
                return k.broadcast(k.extract(a, self.choose.randrange(width)), width)
            case "reduce":  # of the order-independent kinds: addition of floats is not
                return k.broadcast(k.reduce("max" if not dtype.is_float else "min", k.convert(a, dt.int32)), width) if (
                    dtype is dt.int32
                ) else k.max(a, b)  # fmt: skip
            case "neg" | "abs" | "floor" | "round" as kind:
                return k.unary(kind, a)
            case kind:
                return k.binary(kind, a, b)

    def loop(self, scope: Scope, depth: int) -> tuple[Val, ...]:
        types = [self.choose.choice(KINDS) for _ in range(self.choose.randrange(0, 6))]
        initial = [self.value(scope, *t) for t in types]
        start = self.choose.choice([0, 0, 1])
        stop: Val | int = self.choose.randrange(0, 5)
        if self.choose.random() < 0.3:
            stop = self.k.rem(self.k.convert(self.load(dt.uint16, 1), INDEX), 4)
        with self.k.loop(start, stop, self.choose.choice([1, 1, 2]), init=initial) as loop:
            self.counters.append(loop.index)
            inside = self.block([*scope, *loop.carried], depth + 1)
            loop.yield_(*(self.value(inside, *t) for t in types))
            self.counters.pop()
        return loop.results

    def branch(self, scope: Scope, depth: int) -> tuple[Val, ...]:
        condition = self.condition(scope, dt.int32, 1)
        types = [self.choose.choice(KINDS) for _ in range(self.choose.randrange(0, 4))]

        def side() -> tuple[Val, ...]:
            inside = self.block(scope, depth + 1)
            return tuple(self.value(inside, *t) for t in types)

        return self.k.if_else(condition, side, side)


def contents(buffer: Buffer, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if buffer.dtype.is_float:
        return rng.integers(-9, 9, SIZE).astype(buffer.dtype.numpy)
    low = 0 if buffer.dtype.kind == "u" else -9
    return rng.integers(low, 9, SIZE).astype(buffer.dtype.numpy)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), relaxed=st.booleans())
def test_random_kernels(seed: int, relaxed: bool) -> None:
    kernel = RandomKernel(random.Random(seed), fma=not relaxed).finish()
    arrays = [contents(b, i) for i, b in enumerate(kernel.buffers)]
    refs, io = [], b""
    for a in arrays:
        refs.append(Ref("io", len(io), a.nbytes))
        io += a.tobytes() + bytes(-a.nbytes % 256)
    module = print_module(Code([kernel], {"main": (Launch(0, tuple(refs)),)}), MACHINE, relaxed)
    out = run_wasm(module, "main", io=io)
    interpret(kernel, arrays, fused=False)
    for buffer, expected, ref in zip(kernel.buffers, arrays, refs, strict=True):
        got = np.frombuffer(out, expected.dtype, SIZE, ref.offset)
        np.testing.assert_array_equal(got, expected, err_msg=f"{buffer.name} of\n{kernel}")
