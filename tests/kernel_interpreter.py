"""Kernel IR on NumPy: the reference that lowerings, templates and printers are debugged against.

A kernel is translated into one Python function, an operation a line, and run. Scalars are NumPy scalars of the value's dtype,
vectors one-dimensional arrays, INDEX is int64. Nothing is forgiven: an access outside its buffer, a write to a read-only
buffer, operands that disagree, a value used out of scope and a barrier that only some invocations reach all raise, and
scratch memory starts out poisoned, so that a kernel that passes here relies on nothing a target need not give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.ir import BINARY, COMPARE, INDEX, UNARY, Block, Buffer, Kernel, Loop, Op, Val
from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, Step, While

from .kernel_arithmetic import dot
from .kernel_arithmetic import fused as fused_add

POISON = 0xCD  # a byte that makes implausible integers and floats of any width


class KernelError(Exception):
    """The kernel broke a rule of the IR."""


def numpy_dtype(dtype: DType) -> np.dtype:
    """The NumPy dtype that values of a kernel dtype have here."""
    return np.dtype(np.int64) if dtype is INDEX else dtype.numpy


def interpret(kernel: Kernel, buffers: Sequence[np.ndarray], threads: int = 1, fused: bool = True) -> None:
    """Run a kernel on arrays, in place.

    Args:
        kernel: the kernel.
        buffers: one contiguous array per kernel buffer, in order, in the dtype in which the machine stores it (a bool array may
            stand for uint8, uint16 bits for float16), with at least the buffer's number of elements.
        threads: run everything as this many CPU threads would, one after the other, parallel loops cut into chunks.
        fused: whether fma rounds once (LLVM, relaxed SIMD, most GPUs) or twice (plain WASM).

    Raises:
        KernelError: if the kernel breaks a rule of the IR.
        ValueError: if the arrays do not fit the kernel's buffers.
    """
    if len(buffers) != len(kernel.buffers):
        raise ValueError(f"kernel {kernel.name} has {len(kernel.buffers)} buffers, {len(buffers)} arrays were given")
    bound = [_bind(b, a) for b, a in zip(kernel.buffers, buffers)]
    translation = _Translation(kernel, fused)
    run = translation.function()
    spaces = {b.space for b in kernel.scratch}
    with np.errstate(all="ignore"):
        if kernel.grid is None:
            if translation.uses & {"workgroup_id", "local_id", "barrier", "workgroup_reduce"} or "workgroup" in spaces:
                raise KernelError(f"kernel {kernel.name} is written for workgroups; give Builder.finish a grid")
            for thread in range(threads):
                run(*bound, *map(_scratch, kernel.scratch), thread, threads, None, None)
            return
        for group in itertools.product(*(range(n) for n in reversed(kernel.grid))):
            shared = {b: _scratch(b) for b in kernel.scratch if b.space == "workgroup"}
            invocations = [
                run(
                    *bound, *(shared[b] if b in shared else _scratch(b) for b in kernel.scratch), 0, 1, group[::-1], local[::-1]
                )
                for local in itertools.product(*(range(n) for n in reversed(kernel.workgroup)))
            ]
            if translation.uses & {"barrier", "workgroup_reduce"}:
                _lockstep(kernel, invocations)


def run_code(code: Code, entry: str, regions: dict[str, np.ndarray], threads: int = 1, fused: bool = True) -> None:
    """Run an entry of a planned program over its regions (uint8 arrays by space), in place. Weights are write-protected."""
    memory = dict(regions)
    if "weights" in memory:
        memory["weights"] = memory["weights"].view()
        memory["weights"].flags.writeable = False

    def piece(ref: Ref) -> np.ndarray:
        region = memory[ref.space]
        if ref.offset < 0 or ref.nbytes < 0 or ref.offset + ref.nbytes > region.size:
            raise KernelError(f"{ref} lies outside its region of {region.size} bytes")
        return region[ref.offset : ref.offset + ref.nbytes]

    def run(steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Launch():
                    kernel = code.kernels[step.kernel]
                    if len(step.args) != len(kernel.buffers):
                        raise KernelError(
                            f"{step} binds {len(step.args)} refs; {kernel.name} has {len(kernel.buffers)} buffers"
                        )
                    arrays = []
                    for buffer, ref in zip(kernel.buffers, step.args):
                        raw = piece(ref)
                        size = numpy_dtype(buffer.dtype).itemsize
                        arrays.append(raw[: raw.size // size * size].view(numpy_dtype(buffer.dtype)))
                    interpret(kernel, arrays, threads, fused)
                case Copy():
                    source, target = piece(step.source), piece(step.target)
                    if np.shares_memory(source, target):
                        raise KernelError(f"{step}: source and target overlap")
                    target[:] = source
                case Cond():
                    run(step.then if piece(step.flag).any() else step.otherwise)
                case While():
                    trips = 0
                    while piece(step.flag).any():
                        if step.bound is not None and trips >= step.bound:
                            raise KernelError(f"a while step made more than its {step.bound} trips")
                        run(step.body)
                        trips += 1

    run(code.entries[entry])


# -- memory ----------------------------------------------------------------------------------------------------------------


class _Memory:
    """A buffer's elements, checked at each access."""

    def __init__(self, buffer: Buffer, elements: np.ndarray) -> None:
        self.buffer, self.elements = buffer, elements

    def _check(self, low: Any, high: Any) -> None:
        if low < 0 or high >= self.buffer.size:
            raise KernelError(f"access to elements {low}…{high} of {self.buffer}")

    def load(self, index: Any) -> Any:
        self._check(index, index)
        return self.elements[index]

    def load_vector(self, index: Any, width: int) -> np.ndarray:
        self._check(index, index + width - 1)
        return self.elements[index : index + width].copy()

    def gather(self, indices: np.ndarray) -> np.ndarray:
        self._check(indices.min(), indices.max())
        return self.elements[indices]

    def store(self, index: Any, value: Any, count: int) -> None:
        self._check(index, index + count - 1)
        self.elements[index : index + count] = value if np.ndim(value) == 0 else value[:count]

    def scatter(self, indices: np.ndarray, value: np.ndarray) -> None:
        self._check(indices.min(), indices.max())
        self.elements[indices] = value  # the last of equal indices stays, as in the IR

    def atomic(self, index: Any, value: Any, how: str) -> None:
        self._check(index, index)
        self.elements[index] = _COMBINE[how](self.elements[index], value)


def _bind(buffer: Buffer, array: np.ndarray) -> _Memory:
    wanted = numpy_dtype(buffer.dtype)
    if not array.flags.c_contiguous:
        raise ValueError(f"the array for {buffer} is not contiguous")
    flat = array.reshape(-1)
    if flat.dtype != wanted:
        if flat.dtype.itemsize != wanted.itemsize:
            raise ValueError(f"{buffer} needs an array of {wanted}, got {array.dtype}")
        flat = flat.view(wanted)
    if flat.size < buffer.size:
        raise ValueError(f"{buffer} needs {buffer.size} elements, got {flat.size}")
    if buffer.access != "read" and not flat.flags.writeable:
        raise ValueError(f"{buffer} is written, but the array given for it is read-only")
    return _Memory(buffer, flat)


def _scratch(buffer: Buffer) -> _Memory:
    wanted = numpy_dtype(buffer.dtype)
    return _Memory(buffer, np.full(buffer.size * wanted.itemsize, POISON, np.uint8).view(wanted))


def _lockstep(kernel: Kernel, invocations: list[Iterator[int]]) -> None:
    """Advance every invocation of a workgroup from barrier to barrier."""
    while True:
        reached = {next(i, None) for i in invocations}
        if len(reached) > 1:
            raise KernelError(f"kernel {kernel.name}: only some invocations of a workgroup reach a barrier")
        if reached == {None}:
            return


# -- operations ------------------------------------------------------------------------------------------------------------


def _truncating_div(a: Any, b: Any) -> Any:
    return (a - np.fmod(a, b)) // b


def _minimum(a: Any, b: Any) -> Any:
    return np.where(b < a, b, a) if np.ndim(a) else (b if b < a else a)


def _maximum(a: Any, b: Any) -> Any:
    return np.where(b > a, b, a) if np.ndim(a) else (b if b > a else a)


def _convert(a: Any, source: DType, target: DType) -> Any:
    wanted = numpy_dtype(target)
    if target is dt.bool_:
        return a != 0
    if not (source.is_float and target.is_integer):
        return a.astype(wanted)
    info = np.iinfo(wanted)
    below, above = a <= info.min, a >= 2.0 ** (target.bits - (target.kind == "i"))
    middle = np.where(below | above | np.isnan(a), 0, a).astype(wanted)
    result = np.where(below, info.min, np.where(above, info.max, middle)).astype(wanted)
    return result if np.ndim(a) else result[()]


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "min": _minimum, "max": _maximum,
}  # fmt: skip


def _place(local: Sequence[int], size: Sequence[int]) -> int:
    return local[0] + size[0] * (local[1] + size[1] * local[2])


def _reduced(how: str, values: np.ndarray, dtype: DType) -> Any:
    """All of them combined; a NaN stays one."""
    wide = values.astype(numpy_dtype(dtype))
    return wide.dtype.type(np.nan) if dtype.is_float and np.isnan(wide).any() else reduce(_COMBINE[how], wide)


_UNARY = {
    "neg": "-{}", "abs": "np.abs({})", "floor": "np.floor({})", "ceil": "np.ceil({})", "trunc": "np.trunc({})",
    "round": "np.rint({})", "sqrt": "np.sqrt({})", "not": "~{}",
}  # fmt: skip
_BINARY = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "rem": "np.fmod({}, {})", "min": "minimum({}, {})",
    "max": "maximum({}, {})", "and": "{} & {}", "or": "{} | {}", "xor": "{} ^ {}", "shl": "{} << {}", "shr": "{} >> {}",
    "eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "le": "{} <= {}",
}  # fmt: skip
_FLOAT = UNARY - {"not"} | BINARY - {"and", "or", "xor", "shl", "shr"} | COMPARE | {"fma"}
_INTEGER = {"neg", "abs", "not"} | BINARY | COMPARE
_ALLOWED = {"f": _FLOAT, "i": _INTEGER, "u": _INTEGER, "b": {"not", "and", "or", "xor", "eq", "ne"}}


class _Translation:
    """A kernel as Python source. Loops become loops, a barrier a yield."""

    def __init__(self, kernel: Kernel, fused: bool) -> None:
        self.kernel = kernel
        self.lines: list[str] = []
        self.uses = {op.kind for op in kernel.walk()}
        self.names: dict[Val, str] = {}
        self.scopes: list[set[Val]] = [set()]
        self.buffers = {b: f"b{i}" for i, b in enumerate((*kernel.buffers, *kernel.scratch))}
        self.space: dict[str, Any] = {
            "np": np, "minimum": _minimum, "maximum": _maximum, "truncating_div": _truncating_div, "convert": _convert,
            "fma": fused_add if fused else lambda a, b, c: a * b + c, "combine": _COMBINE, "fold": reduce, "chunk": _chunk,
            "dot": dot, "place": _place, "reduced": _reduced,
        }  # fmt: skip

    def function(self) -> Callable[..., Any]:
        """The kernel as a function of memory, thread, threads, workgroup id, local id; a generator if it has barriers."""
        self._block(self.kernel.body, "    ", top=True)
        head = f"def kernel({', '.join([*self.buffers.values(), 'thread', 'threads', 'group', 'local'])}):"
        exec("\n".join([head, *self.lines, "    return"]), self.space)
        return self.space["kernel"]

    def _object(self, value: Any) -> str:
        name = f"c{len(self.space)}"
        self.space[name] = value
        return name

    def _define(self, value: Val) -> str:
        self.names[value] = f"v{len(self.names)}"
        self.scopes[-1].add(value)
        return self.names[value]

    def _use(self, value: Val) -> str:
        if not any(value in scope for scope in self.scopes):
            raise KernelError(f"kernel {self.kernel.name}: {value!r} is used where it is not defined")
        return self.names[value]

    def _block(self, block: Block, indent: str, top: bool = False) -> None:
        for op in block.ops:
            try:
                self._op(op, indent, top)
            except KernelError as error:
                raise KernelError(f"{error}\nin {op.kind} {op.args} {op.attr!r} of\n{self.kernel}") from None

    def _op(self, op: Op, indent: str, top: bool) -> None:
        match op.kind:
            case "loop":
                self._loop(op, indent, top)
            case "if":
                self._if(op, indent)
            case "barrier":
                self.lines.append(f"{indent}yield {id(op)}")
            case "workgroup_reduce":
                how, buffer = op.attr
                if buffer.size != np.prod(self.kernel.workgroup):
                    raise KernelError(f"a reduction over {self.kernel.workgroup} invocations in {buffer}")
                memory, place = self.buffers[buffer], f"place(local, {self.kernel.workgroup})"
                self.lines.append(f"{indent}{memory}.store({place}, {self._cast(op.args[0], buffer)}, 1)")
                self.lines.append(f"{indent}yield {id(op)}")
                total, dtype = self._define(op.results[0]), self._object(op.args[0].dtype)
                self.lines.append(f"{indent}{total} = reduced({how!r}, {memory}.elements, {dtype})")
            case "store" | "scatter" | "atomic":
                self._write(op, indent)
            case _:
                text = self._expression(op)
                self.lines.append(f"{indent}{self._define(op.results[0])} = {text}")

    def _write(self, op: Op, indent: str) -> None:
        buffer, extra = (op.attr, None) if op.kind == "scatter" else op.attr
        index, value = op.args
        if buffer.access == "read":
            raise KernelError(f"a {op.kind} to the read-only {buffer}")
        self._raw(buffer, value.dtype)
        if index.dtype is not INDEX or (op.kind == "scatter") != (index.width > 1):
            raise KernelError(f"a {op.kind} at an index of {index.dtype} x{index.width}")
        if op.kind == "store" and not 1 <= extra <= value.width:
            raise KernelError(f"a store of {extra} lanes of a vector of {value.width}")
        if op.kind == "scatter" and value.width != index.width:
            raise KernelError(f"a scatter of {value.width} lanes at {index.width} indices")
        if op.kind == "atomic" and buffer.dtype not in (dt.int32, dt.uint32):
            raise KernelError(f"an atomic on {buffer.dtype}")
        args = [self._use(index), self._cast(value, buffer), *([] if extra is None else [repr(extra)])]
        self.lines.append(f"{indent}{self.buffers[buffer]}.{op.kind}({', '.join(args)})")

    def _raw(self, buffer: Buffer, dtype: DType) -> bool:
        """Whether halves are accessed as their bits, of either sign; raises where the value's dtype is not the buffer's."""
        if buffer not in self.buffers:
            raise KernelError(f"{buffer} is not declared by the kernel")
        if buffer.dtype is dt.float16 and dtype in (dt.uint16, dt.int16):
            return True
        if buffer.dtype is not dtype:
            raise KernelError(f"a value of {dtype} for {buffer}")
        return False

    def _cast(self, value: Val, buffer: Buffer) -> str:
        return self._use(value) + (".view(np.float16)" if self._raw(buffer, value.dtype) else "")

    def _loop(self, op: Op, indent: str, top: bool) -> None:
        loop, (block,) = op.attr, op.blocks
        start, stop, *initial = op.args
        if not isinstance(loop, Loop) or loop.kind not in ("serial", "parallel"):
            raise KernelError(f"a loop of unknown kind {loop}")
        if start.dtype is not INDEX or stop.dtype is not INDEX:
            raise KernelError(f"a loop from {start} to {stop}, which are not both INDEX")
        if loop.kind == "parallel" and (not top or initial or self.kernel.grid is not None):
            raise KernelError("a parallel loop that is nested, carries values or is in a kernel with a grid")
        bounds = f"{self._use(start)}, {self._use(stop)}, {loop.step}"
        first = [self._use(v) for v in initial]
        self.scopes.append(set())
        counter, *carried = [self._define(p) for p in block.params]
        for name, value in zip(carried, first):
            self.lines.append(f"{indent}{name} = {value}")
        extent = f"range({bounds})" if loop.kind == "serial" else f"chunk({bounds}, {loop.grain}, thread, threads)"
        self.lines.append(f"{indent}for {counter} in {extent}:")
        self.lines.append(f"{indent}    {counter} = np.int64({counter})")
        self._block(block, indent + "    ")
        self._same(op.results, block.yields, "a loop's yields")
        if carried:
            self.lines.append(f"{indent}    {', '.join(carried)} = {', '.join(map(self._use, block.yields))}")
        self.scopes.pop()
        for result, name in zip(op.results, carried):
            self.lines.append(f"{indent}{self._define(result)} = {name}")

    def _if(self, op: Op, indent: str) -> None:
        (condition,) = op.args
        if condition.dtype is not dt.bool_ or condition.width != 1:
            raise KernelError("a branch on something else than one bool")
        text = self._use(condition)
        results = [self._define(r) for r in op.results]
        for word, block in zip((f"if {text}:", "else:"), op.blocks):
            self.lines += [f"{indent}{word}", f"{indent}    pass"]
            self.scopes.append(set())
            self._block(block, indent + "    ")
            self._same(op.results, block.yields, "a branch's yields")
            self.lines += [f"{indent}    {r} = {self._use(v)}" for r, v in zip(results, block.yields)]
            self.scopes.pop()

    @staticmethod
    def _same(expected: Sequence[Val], got: Sequence[Val], what: str) -> None:
        if [(v.dtype, v.width) for v in expected] != [(v.dtype, v.width) for v in got]:
            raise KernelError(f"{what} {got} do not match the results {expected}")

    def _expression(self, op: Op) -> str:
        kind, (result,) = op.kind, op.results
        a = [self._use(v) for v in op.args]
        wanted = self._object(numpy_dtype(result.dtype))
        if kind in UNARY | BINARY | COMPARE or kind == "fma":
            return self._arithmetic(op, a)
        match kind:
            case "const":
                return self._object(numpy_dtype(result.dtype).type(op.attr))
            case "late":
                self._agree(result, op.args)
                return a[0]
            case "splat":
                return f"np.full({result.width}, {a[0]}, {wanted})"
            case "lanes":
                return f"np.arange({result.width}).astype({wanted})"
            case "select":
                condition, *sides = op.args
                if condition.dtype is not dt.bool_ or condition.width != result.width:
                    raise KernelError("a select by something else than as many bools")
                self._agree(result, sides)
                return f"np.where({a[0]}, {a[1]}, {a[2]})" if result.width > 1 else f"{a[1]} if {a[0]} else {a[2]}"
            case "convert":
                return f"convert({a[0]}, {self._object(op.args[0].dtype)}, {self._object(result.dtype)})"
            case "bitcast":
                if numpy_dtype(op.args[0].dtype).itemsize != numpy_dtype(result.dtype).itemsize:
                    raise KernelError("a bitcast between dtypes of different sizes")
                return f"{a[0]}.view({wanted})"
            case "pack":
                return f"np.array([{', '.join(a)}], {wanted})"
            case "extract":
                if not 0 <= op.attr < op.args[0].width:
                    raise KernelError("a lane that the vector does not have")
                return f"{a[0]}[{op.attr}]"
            case "reduce":
                return f"fold(combine[{op.attr!r}], {a[0]})"
            case "load" | "gather":
                return self._read(op, a)
            case "word":
                halves = numpy_dtype(op.attr.dtype).itemsize == 2
                whole = f"{self.buffers[op.attr]}.load_vector({a[0]}, {(2 if halves else 4) * result.width})"
                narrow = f"{whole}.view(np.uint16)" if halves else f"{whole}.astype(np.uint8)"  # GPUs: each in its own word
                return f"{narrow}.view(np.int32)" if result.width > 1 else f"{narrow}.view(np.int32)[0]"
            case "dot":
                self._agree(result, op.args)
                return f"dot({', '.join(a)}, {op.attr!r})"
            case "workgroup_id":
                return f"np.int64(group[{op.attr}])"
            case "local_id":
                return f"np.int64(local[{op.attr}])"
            case "thread" | "threads":
                return f"np.int64({kind})"
        raise KernelError(f"unknown operation {kind}")

    def _arithmetic(self, op: Op, a: list[str]) -> str:
        (result,) = op.results
        source = op.args[0].dtype
        if op.kind not in _ALLOWED[source.kind]:
            raise KernelError(f"{op.kind} on {source}")
        if op.kind in COMPARE:
            if result.dtype is not dt.bool_ or result.width != op.args[0].width:
                raise KernelError("a comparison that is not as many bools")
            self._agree(op.args[0], op.args)
        else:
            self._agree(result, op.args)
        if op.kind == "fma":
            return f"fma({', '.join(a)})"
        if op.kind == "div" and not source.is_float:
            return f"truncating_div({a[0]}, {a[1]})"
        return (_UNARY | _BINARY)[op.kind].format(*a)

    @staticmethod
    def _agree(like: Val, args: Sequence[Val]) -> None:
        if any(v.dtype is not like.dtype or v.width != like.width for v in args):
            raise KernelError(f"operands {args} do not agree with {like!r}")

    def _read(self, op: Op, a: list[str]) -> str:
        (result,), buffer, (index,) = op.results, op.attr, op.args
        if buffer.access == "write":
            raise KernelError(f"a {op.kind} from the write-only {buffer}")
        if index.dtype is not INDEX or index.width != (result.width if op.kind == "gather" else 1):
            raise KernelError(f"a {op.kind} at an index of {index.dtype} x{index.width}")
        if buffer.dtype is dt.float16 and result.dtype is dt.float32:  # GPUs widen halves as they read them
            bits = ".astype(np.float32)"
        else:
            bits = f".view(np.{result.dtype})" if self._raw(buffer, result.dtype) else ""
        memory = self.buffers[buffer]
        if op.kind == "gather":
            return f"{memory}.gather({a[0]}){bits}"
        return (f"{memory}.load({a[0]})" if result.width == 1 else f"{memory}.load_vector({a[0]}, {result.width})") + bits


def _chunk(start: int, stop: int, step: int, grain: int, thread: int, threads: int) -> range:
    """The iterations of a parallel loop that fall to one thread: contiguous, at least `grain` where there are as many."""
    everything = range(start, stop, step)
    per = max(grain, -(-len(everything) // threads))
    return everything[thread * per : (thread + 1) * per]
