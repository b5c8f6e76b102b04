"""Builder: writes kernel IR, folding constants and sharing equal values as it goes.

Lowerings, templates and the `emit` functions of primitives all hold one of these as `k`. It splats scalars where a vector
is needed, turns Python numbers into constants, and keeps float16 and narrow storage out of sight: `load` gives a value one
can compute with, `store` rounds it back.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import dtypes as dt
from ..dtypes import DType
from .fold import fold
from .half_bits import Halves
from .index import Atom, Index, Quotient, Remainder, Var, constant, variable
from .ir import INDEX, Block, Buffer, Kernel, Loop, Machine, Op, Val

_PURE = {
    "const", "splat", "lanes", "fma", "dot", "select", "convert", "bitcast", "pack", "extract", "reduce",
    "neg", "abs", "floor", "ceil", "trunc", "round", "sqrt", "not",
    "add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "shl", "shr", "eq", "ne", "lt", "le",
    "workgroup_id", "local_id", "thread", "threads",
}  # fmt: skip


class LoopHandle:
    """What `with k.loop(...) as loop` gives: the counter, the carried values, and after the block the results."""

    def __init__(self, index: Val, carried: tuple[Val, ...]) -> None:
        self.index, self.carried = index, carried
        self.next: tuple[Val, ...] | None = None
        self.results: tuple[Val, ...] = ()

    def yield_(self, *values: Val) -> None:
        """Say what the carried values become for the next iteration."""
        self.next = values


class Builder:
    """Writes one kernel for one machine."""

    def __init__(self, machine: Machine, width: int = 1) -> None:
        self.machine = machine
        self.width = width  # lanes of the vector being computed where an emit function asks for lane-varying indices
        self.buffers: list[Buffer] = []
        self.scratch: list[Buffer] = []
        self._blocks: list[Block] = [Block()]
        self._known: list[dict[Any, Val]] = [{}]
        self.halves = Halves(self)  # rounding to float16, and its bits

    # -- memory ------------------------------------------------------------------------------------------------------

    def buffer(
        self, name: str, dtype: DType, size: int, access: str = "read", constant: bool = False, finite: bool = False
    ) -> Buffer:
        """Declare the next kernel parameter: `size` elements of an array dtype, stored as the machine stores it.

        `constant`: what is known at compile time may be stored smaller (Machine.storage). `finite`: has no infinity or NaN.
        """
        stored = self.machine.storage(dtype, constant)
        made = Buffer(f"{name}_{len(self.buffers)}", stored, size, access, finite=finite)
        self.buffers.append(made)
        return made

    def local(self, dtype: DType, size: int, space: str = "private") -> Buffer:
        """Scratch memory of one thread ("private") or one GPU workgroup ("workgroup")."""
        made = Buffer(f"local_{len(self.scratch)}", dtype, size, "read_write", space)
        self.scratch.append(made)
        return made

    def load(self, buffer: Buffer, index: Any, width: int = 1, dtype: DType | None = None) -> Val:
        """`width` contiguous elements from `index`. float16 arrives as float32; `dtype` bool or narrow ints as asked."""
        raw = self._storage_dtype(buffer)
        value = self._emit("load", (self.as_index(index),), buffer, raw, width)
        return self._from_storage(value, buffer, dtype)

    def word(self, buffer: Buffer, index: Any, width: int = 1) -> Val:
        """Neighbouring elements of a buffer of 8 or 16 bits as int32s, the first in the lowest bits."""
        return self._emit("word", (self.as_index(index),), buffer, dt.int32, width)

    def gather(self, buffer: Buffer, indices: Val, dtype: DType | None = None) -> Val:
        """One element per lane of `indices`."""
        if indices.width == 1:
            return self.load(buffer, indices, 1, dtype)
        value = self._emit("gather", (indices,), buffer, self._storage_dtype(buffer), indices.width)
        return self._from_storage(value, buffer, dtype)

    def store(self, buffer: Buffer, index: Any, value: Val, count: int | None = None) -> None:
        """Store the first `count` lanes (all by default) contiguously from `index`."""
        stored = self._to_storage(value, buffer)
        self._append(Op("store", (self.as_index(index), stored), (buffer, count or stored.width)))

    def prefetch(self, buffer: Buffer, index: Any) -> None:
        """Have the line of an element fetched into the second-level cache; nothing where the target cannot ask for it.
        The element need not exist."""
        if self.machine.name == "llvm":
            self._append(Op("prefetch", (self.as_index(index),), buffer))

    def late(self, value: Val) -> Val:
        """The same value, of which nothing is computed before what has been written until here.

        To finish many sums one after the other: a compiler would rather compute the first step of all, then the second of
        all, and store them in the end. Those wait in the processor's queue for the last multiply-adds, and the next tile's wait
        behind them.
        """
        return self._emit("late", (value,), None, value.dtype, value.width) if self.machine.name == "llvm" else value

    def scatter(self, buffer: Buffer, indices: Val, value: Val) -> None:
        """Store each lane at its own index, lanes in order."""
        stored = self._to_storage(self.broadcast(value, indices.width), buffer)
        if indices.width == 1:
            self._append(Op("store", (indices, stored), (buffer, 1)))
        else:
            self._append(Op("scatter", (indices, stored), buffer))

    def atomic(self, how: str, buffer: Buffer, index: Any, value: Val) -> None:
        """GPU: combine into an int32/uint32 element indivisibly."""
        self._append(Op("atomic", (self.as_index(index), value), (buffer, how)))

    def _storage_dtype(self, buffer: Buffer) -> DType:
        if buffer.dtype is dt.float16 and not self.machine.float16:
            return dt.float32 if self.machine.gpu else dt.int16
        return buffer.dtype

    def _from_storage(self, value: Val, buffer: Buffer, wanted: DType | None) -> Val:
        if buffer.dtype is dt.float16:
            if value.dtype is dt.int16:
                value = self.halves.widened(value, buffer.finite)
            else:
                value = self.convert(value, dt.float32)
        if wanted is dt.float16:
            wanted = dt.float32
        return value if wanted is None else self.convert(value, wanted)

    def _to_storage(self, value: Val, buffer: Buffer) -> Val:
        if buffer.dtype is dt.float16:
            if self.machine.float16:
                return self.convert(value, dt.float16)
            if self.machine.gpu:  # two become a word as they are stored
                return self.convert(value, dt.float32)
            return self.halves.narrowed(value)
        return self.convert(value, buffer.dtype)

    # -- values ------------------------------------------------------------------------------------------------------

    def const(self, value: Any, dtype: DType, width: int = 1) -> Val:
        """A constant; integers are wrapped into the dtype's range."""
        if dtype is dt.bool_:
            value = bool(value)
        elif dtype.is_float:
            value = float(value)
            if dtype.bits == 32 and math.isfinite(value):
                try:
                    value = struct.unpack("f", struct.pack("f", value))[0]
                except OverflowError:
                    value = math.copysign(math.inf, value)
        else:
            value = int(value) & ((1 << dtype.bits) - 1)
            if dtype.kind == "i" and value >> (dtype.bits - 1):
                value -= 1 << dtype.bits
        made = self._emit("const", (), value, dtype, 1)
        return self.broadcast(made, width)

    def as_value(self, x: Any, like: Val) -> Val:
        """A Val of `like`'s dtype from a Val or a Python number."""
        return x if isinstance(x, Val) else self.const(x, like.dtype)

    def broadcast(self, value: Val, width: int) -> Val:
        """Splat a scalar to `width` lanes; a value of that width passes through."""
        if value.width == width:
            return value
        if value.width != 1:
            raise ValueError(f"cannot make {width} lanes of {value.width}")
        return self._emit("splat", (value,), None, value.dtype, width)

    def lanes(self, dtype: DType, width: int) -> Val:
        """The vector 0, 1, 2, …"""
        return self._emit("lanes", (), None, dtype, width)

    def pack(self, values: Sequence[Val]) -> Val:
        """One vector of these scalars."""
        if len(values) == 1:
            return values[0]
        return self._emit("pack", tuple(values), None, values[0].dtype, len(values))

    def extract(self, value: Val, lane: int) -> Val:
        """One lane of a vector."""
        if value.width == 1:
            return value
        if value.op is not None and value.op.kind == "splat":
            return value.op.args[0]
        return self._emit("extract", (value,), lane, value.dtype, 1)

    def reduce(self, how: str, value: Val) -> Val:
        """All lanes combined into a scalar: "add", "mul", "max" or "min"."""
        return value if value.width == 1 else self._emit("reduce", (value,), how, value.dtype, 1)

    def unary(self, kind: str, a: Val) -> Val:
        folded = fold(self, kind, (a,), a.dtype)
        return folded if folded is not None else self._emit(kind, (a,), None, a.dtype, a.width)

    def binary(self, kind: str, a: Any, b: Any) -> Val:
        a, b = self._match(a, b)
        if kind == "rem" and a.dtype.is_float:  # no printer needs a remainder of floats
            return self.math("fmod", a, b)
        folded = fold(self, kind, (a, b), a.dtype)
        return folded if folded is not None else self._emit(kind, (a, b), None, a.dtype, a.width)

    def compare(self, kind: str, a: Any, b: Any) -> Val:
        a, b = self._match(a, b)
        folded = fold(self, kind, (a, b), dt.bool_)
        return folded if folded is not None else self._emit(kind, (a, b), None, dt.bool_, a.width)

    def fma(self, a: Val, b: Val, c: Val) -> Val:
        """a·b + c, in one rounding where the machine has it."""
        width = max(a.width, b.width, c.width)
        a, b, c = (self.broadcast(x, width) for x in (a, b, c))
        return self._emit("fma", (a, b, c), None, a.dtype, width)

    def dot(self, a: Val, b: Val, c: Val, seven_bits: bool = False) -> Val:
        """c + the products, summed, of the bytes in each lane of a, of the sign that the machine takes, and b, signed.
        `seven_bits`: a's are at most 127, so that no way of computing it overflows on its way."""
        kind = "seven bits" if seven_bits else self.machine.dot
        width = max(a.width, b.width, c.width)
        return self._emit("dot", tuple(self.broadcast(v, width) for v in (a, b, c)), kind, dt.int32, width)

    def dot_pairs(self, a: Val, b: Val, c: Val) -> Val:
        """c + the products, summed, of the two signed 16-bit numbers in each lane of a and b."""
        width = max(a.width, b.width, c.width)
        return self._emit("dot", tuple(self.broadcast(v, width) for v in (a, b, c)), "pairs", dt.int32, width)

    def rounded(self, a: Val) -> Val:
        """A finite float as it was rounded. GPU compilers reassociate sums and products (Mesa does, Metal's fast math too),
        which undoes compensated arithmetic; they do not look through a minimum. Costs nothing elsewhere."""
        return self.min(a, 3.4028234663852886e38) if self.machine.gpu else a

    def min(self, a: Any, b: Any) -> Val:
        """`b < a ? b : a`: a NaN in `a` passes through."""
        return self.binary("min", a, b)

    def max(self, a: Any, b: Any) -> Val:
        """`b > a ? b : a`: a NaN in `a` passes through."""
        return self.binary("max", a, b)

    def floor(self, a: Val) -> Val:
        return self.unary("floor", a)

    def ceil(self, a: Val) -> Val:
        return self.unary("ceil", a)

    def trunc(self, a: Val) -> Val:
        return self.unary("trunc", a)

    def round(self, a: Val) -> Val:
        """To the nearest integer, halves to even."""
        return self.unary("round", a)

    def sqrt(self, a: Val) -> Val:
        return self.unary("sqrt", a)

    def abs(self, a: Val) -> Val:
        return self.unary("abs", a)

    def rem(self, a: Any, b: Any) -> Val:
        """The remainder with the sign of `a` (C's % and fmod)."""
        return self.binary("rem", a, b)

    def select(self, condition: Val, a: Any, b: Any) -> Val:
        """`a` where the condition holds, else `b`."""
        if not isinstance(a, Val):
            a = self.as_value(a, b)
        if not isinstance(b, Val):
            b = self.as_value(b, a)
        if condition.op is not None and condition.op.kind == "const":
            return a if condition.op.attr else b
        width = max(condition.width, a.width, b.width)
        condition, a, b = (self.broadcast(x, width) for x in (condition, a, b))
        return a if a is b else self._emit("select", (condition, a, b), None, a.dtype, width)

    def convert(self, a: Val, dtype: DType) -> Val:
        """To another dtype; see ir.OTHER for the rules."""
        if a.dtype is dtype:
            return a
        if a.op is not None and a.op.kind == "const" and not dtype.is_float and not a.dtype.is_float:
            return self.const(a.op.attr, dtype)
        if a.op is not None and a.op.kind == "const" and dtype in (dt.float32, dt.float64):
            return self.const(a.op.attr, dtype)
        if a.op is not None and a.op.kind == "splat":
            return self.broadcast(self.convert(a.op.args[0], dtype), a.width)
        return self._emit("convert", (a,), None, dtype, a.width)

    def bitcast(self, a: Val, dtype: DType) -> Val:
        """The same bits as another dtype of the same size."""
        return a if a.dtype is dtype else self._emit("bitcast", (a,), None, dtype, a.width)

    def math(self, name: str, *args: Val) -> Val:
        """A transcendental function (exp, log, sin, erf, pow…) written in kernel IR: see hither.kernels.math."""
        from . import math as functions

        return functions.FUNCTIONS[name](self, *args)

    # -- index arithmetic --------------------------------------------------------------------------------------------

    def as_index(self, index: Any) -> Val:
        """A scalar INDEX value from an int, an Index or a Val."""
        if isinstance(index, int):
            return self.const(index, INDEX)
        if isinstance(index, Index):
            return self.index(index)
        return self.convert(index, INDEX)

    def index(self, index: Index) -> Val:
        """Compute an Index: a scalar, or a vector of `self.width` lanes where it varies from lane to lane."""
        total: Val | None = None
        for atom, c in sorted(index.terms.items(), key=lambda item: item[0].varies_by_lane()):
            term = self._atom(atom)
            term = term if c == 1 else term * c
            total = term if total is None else total + term
        if total is None:
            return self.const(index.const, INDEX)
        return total + index.const if index.const else total

    def _atom(self, atom: Atom) -> Val:
        match atom:
            case Var(lane=True):
                return self.lanes(INDEX, self.width)
            case Var():
                return atom.value
            case Quotient():
                return self.floor_div(self.index(atom.index), atom.divisor, atom.index.low >= 0)
            case Remainder():
                inner = self.index(atom.index)
                if atom.index.low >= 0:
                    return self.rem(inner, atom.divisor)
                return inner - self.floor_div(inner, atom.divisor, False) * atom.divisor

    def floor_div(self, a: Val, divisor: int, non_negative: bool) -> Val:
        """floor(a / divisor) for a positive constant divisor."""
        if divisor & (divisor - 1) == 0:
            return a >> (divisor.bit_length() - 1)
        if non_negative:
            return a / divisor
        return (a - self.select(a < 0, self.const(divisor - 1, a.dtype), self.const(0, a.dtype))) / divisor

    def run_time_index(self, value: Val, extent: int, name: str = "gathered") -> Index:
        """An Index from a computed integer value, clamped into 0 … extent-1 so that an access is always inside."""
        clamped = self.max(self.min(self.convert(value, INDEX), extent - 1), 0)
        return variable(Var(name, 0, max(extent - 1, 0), value=clamped, varies=clamped.width > 1))

    def inside(self, index: Index, low: int, high: int) -> Val:
        """low <= index < high, as a predicate; constant where the range decides it."""
        if index.low >= low and index.high < high:
            return self.const(True, dt.bool_)
        if index.high < low or index.low >= high:
            return self.const(False, dt.bool_)
        value = self.index(index)
        above = self.const(low, INDEX) <= value if index.low < low else self.const(True, dt.bool_)
        below = value < high if index.high >= high else self.const(True, dt.bool_)
        return above & below

    def clamp(self, index: Index, extent: int) -> Index:
        """The index, clamped into 0 … extent-1; itself where it cannot leave that range."""
        if index.low >= 0 and index.high < extent:
            return index
        value = self.index(index)
        if index.low < 0:
            value = self.max(value, 0)
        if index.high >= extent:
            value = self.min(value, extent - 1)
        return variable(Var("clamped", 0, max(extent - 1, 0), value=value, varies=value.width > 1))

    def constant_index(self, value: int) -> Index:
        """The Index that is always `value`, for emit functions that have no index to start from."""
        return constant(value)

    def index_value(self, index: Index, dtype: DType) -> Val:
        """An Index as a value to compute with (iota, one-hot)."""
        return self.convert(self.index(index), dtype)

    # -- control -----------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, start: Any, stop: Any, step: int = 1, init: Sequence[Val] = (), kind: str = "serial",
        grain: int = 1, worth: int = 1,
    ) -> Iterator[LoopHandle]:  # fmt: skip
        """`for index in range(start, stop, step)`, carrying `init` from iteration to iteration.

        Example:
            with k.loop(0, n, init=[zero]) as loop:
                loop.yield_(loop.carried[0] + k.load(x, loop.index))
            total, = loop.results
        """
        bounds = (self.as_index(start), self.as_index(stop))
        index = Val(INDEX, 1, self)
        carried = tuple(Val(v.dtype, v.width, self) for v in init)
        handle = LoopHandle(index, carried)
        block = self._open((index, *carried))
        yield handle
        block.yields = tuple(handle.next or ())
        self._close()
        got = [(v.dtype, v.width) for v in block.yields]
        if got != [(v.dtype, v.width) for v in carried]:
            raise ValueError(f"loop carries {carried}, its body yields {block.yields}")
        op = Op("loop", (*bounds, *init), Loop(kind, step, grain, worth), blocks=(block,))
        op.results = handle.results = tuple(Val(v.dtype, v.width, self, op) for v in carried)
        self._append(op)

    def var(self, handle: LoopHandle, name: str, low: int, high: int, multiple: int = 1) -> Index:
        """A loop's counter as an Index with its range."""
        return variable(Var(name, low, high, multiple, handle.index))

    @contextmanager
    def if_(self, condition: Val) -> Iterator[None]:
        """Run the body's stores only where the scalar condition holds."""
        then = self._open(())
        yield
        self._close()
        self._append(Op("if", (condition,), blocks=(then, Block())))

    def if_else(self, condition: Val, then: Any, otherwise: Any) -> tuple[Val, ...]:
        """`then()` or `otherwise()`, each a function returning a tuple of values of the same types."""
        blocks = []
        for branch in (then, otherwise):
            block = self._open(())
            block.yields = tuple(branch())
            self._close()
            blocks.append(block)
        op = Op("if", (condition,), blocks=tuple(blocks))
        op.results = tuple(Val(v.dtype, v.width, self, op) for v in blocks[0].yields)
        self._append(op)
        return op.results

    def barrier(self) -> None:
        """GPU: wait for the workgroup."""
        self._append(Op("barrier", ()))

    def workgroup_reduce(self, how: str, value: Val, size: int) -> Val:
        """GPU: the numbers of all `size` invocations of a workgroup combined ("add", "mul", "max" or "min"), the same in each.

        All of them must come by, as at a barrier, and only once: the memory they meet in is not used again.
        """
        return self._emit("workgroup_reduce", (value,), (how, self.local(value.dtype, size, "workgroup")), value.dtype, 1)

    def special(self, kind: str, axis: int | None = None) -> Val:
        """workgroup_id / local_id (GPU, with an axis), thread / threads (CPU, WASM)."""
        return self._emit(kind, (), axis, INDEX, 1)

    def finish(
        self, name: str, grid: tuple[int, int, int] | None = None, workgroup: tuple[int, int, int] | None = None
    ) -> Kernel:
        """The finished kernel."""
        if len(self._blocks) != 1:
            raise ValueError(f"kernel {name}: a loop is still open")
        size = workgroup or (self.machine.workgroup, 1, 1)
        return Kernel(name, tuple(self.buffers), self._blocks[0], tuple(self.scratch), grid, size)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open(self, params: tuple[Val, ...]) -> Block:
        block = Block(params)
        self._blocks.append(block)
        self._known.append({})
        return block

    def _close(self) -> None:
        self._blocks.pop()
        self._known.pop()

    def _append(self, op: Op) -> None:
        self._blocks[-1].ops.append(op)

    def _emit(self, kind: str, args: tuple[Val, ...], attr: Any, dtype: DType, width: int) -> Val:
        key = (kind, args, (type(attr), repr(attr)) if kind == "const" else attr, dtype, width)
        if kind in _PURE:
            for scope in self._known:
                if key in scope:
                    return scope[key]
        op = Op(kind, args, attr)
        value = Val(dtype, width, self, op)
        op.results = (value,)
        if kind == "const":  # constants live at the top, so that every scope shares them
            self._blocks[0].ops.insert(0, op)
            self._known[0][key] = value
            return value
        self._append(op)
        if kind in _PURE:
            self._known[-1][key] = value
        return value

    def _match(self, a: Any, b: Any) -> tuple[Val, Val]:
        if not isinstance(a, Val):
            a = self.as_value(a, b)
        b = self.as_value(b, a)
        if a.dtype is not b.dtype:
            raise TypeError(f"kernel operands have dtypes {a.dtype} and {b.dtype}; convert one")
        width = max(a.width, b.width)
        return self.broadcast(a, width), self.broadcast(b, width)


__all__ = ["Builder", "LoopHandle", "constant", "variable"]
