"""Kernel IR: one loop nest per kernel, with vector SSA values and about forty small operations.

Lowering and templates write it through `Builder`; the printers in hither.targets turn it into LLVM IR, WASM bytes or WGSL and
decide nothing else. Everything that depends on the machine (vector width, tile sizes, storage dtypes) was decided before,
from a `Machine`.

Rules that printers rely on:

* A value has a dtype and a width (lanes). INDEX is the dtype of addresses and loop counters: i64 natively, i32 elsewhere.
  bool values are predicates, whatever bool arrays look like in memory.
* Operands of an operation have one dtype and one width; the Builder inserts the splats.
* Integers wrap at their own width, also where a target computes narrow ones in 32 bits.
* Buffers are addressed in elements; an access is inside the buffer (the lowering guarantees it, with clamps where needed).
* `parallel` loops stand at the top level only; several in one kernel are independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..dtypes import DType

INDEX = DType("index", "i", 64)

UNARY = {"neg", "abs", "floor", "ceil", "trunc", "round", "sqrt", "not"}
# round is to nearest even. abs/neg work on ints too; not is bitwise, logical on bool.
BINARY = {"add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "shl", "shr"}
# div and rem on integers truncate toward zero (C); the Builder makes floor division from them. A zero divisor must not trap
# and gives some value. shr is arithmetic for signed dtypes. shift counts are in range.
# min(a, b) is `b < a ? b : a` and max(a, b) is `b > a ? b : a`: a NaN in a passes through, one in b does not.
COMPARE = {"eq", "ne", "lt", "le"}  # result bool; ne is true for NaN, the others false
OTHER = {
    "const",  # attr: Python number
    "splat",  # (scalar) -> vector
    "lanes",  # () -> 0, 1, 2… of dtype and width
    "fma",  # (a, b, c) -> a*b + c, fused where the machine can
    "dot",  # (a, b, c), int32 of four bytes each: c + Σ a's bytes times b's, which are signed. attr: a's are "signed",
    # "unsigned", or "seven bits", at most 127 and so either; "pairs": of two signed 16-bit numbers each, CPUs and WASM only.
    # Where the Machine has it.
    "select",  # (bool, a, b)
    "convert",  # float -> int truncates and saturates (NaN: 0); int -> narrower int wraps; bool -> 0/1; x -> bool is x != 0
    "bitcast",  # same bits, other dtype of the same size
    "pack",  # (scalar × width) -> vector
    "extract",  # (vector), attr: lane -> scalar
    "reduce",  # (vector), attr: "add" | "mul" | "max" | "min" -> scalar
    "load",  # (index), attr: buffer -> width contiguous elements
    "word",  # (index), attr: buffer of 8- or 16-bit elements -> as many as fill width int32s, the first in the lowest bits
    "gather",  # (vector of INDEX), attr: buffer -> one element per lane
    "store",  # (index, value), attr: (buffer, count): the first count lanes, contiguous
    "scatter",  # (vector of INDEX, value), attr: buffer; lanes in order
    "prefetch",  # (index), attr: buffer: it will be read soon; native code only. The one access that may be outside the buffer
    "late",  # (value) -> value, of which nothing is computed before what is written above; native code only
    "atomic",  # (index, scalar), attr: (buffer, "add" | "max" | "min"): GPU only, int32/uint32
    "loop",  # (start, stop, *initial), attr: Loop; block params: counter, *carried; yields: next carried
    "if",  # (bool scalar), two blocks yielding the results
    "workgroup_id", "local_id",  # attr: axis; GPU only -> INDEX
    "barrier",  # GPU only: workgroup memory becomes visible to the workgroup
    "workgroup_reduce",  # (scalar), attr: ("add" | "mul" | "max" | "min", workgroup memory of an element
    # per invocation); GPU only, where all invocations come by once: their scalars combined in any order, the same in each.
    # A NaN stays one.
    "thread", "threads",  # CPU/WASM only -> INDEX: who am I, of how many
}  # fmt: skip
KINDS = UNARY | BINARY | COMPARE | OTHER


@dataclass(frozen=True)
class Machine:
    """What the lowering must know of a target. The printers know the rest."""

    name: str  # "llvm" | "wasm" | "wgsl"
    vector_bits: int = 128
    vector_registers: int = 16
    float16: bool = False  # loads and stores halves and converts them in hardware
    subgroups: bool = False  # GPU: invocations that run in step can reduce among themselves; printers ask, lowering does not
    packed_dot: bool = False  # GPU: WGSL has an operation for `dot`; printers ask, lowering does not
    fma: bool = True
    dot: str = ""  # "unsigned" | "signed": sums products of bytes, four to a lane, in one operation; the left ones are such
    gpu: bool = False
    workgroup: int = 64  # invocations per workgroup, GPU
    wide: tuple[str, ...] = ("int64", "uint64", "float64")  # 64-bit dtypes it can compute
    l2_bytes: int = 1 << 20

    def lanes(self, bits: int) -> int:
        """Lanes of a vector of elements of this many bits; 1 where the target does not vectorise them."""
        if self.gpu or (bits > 32 and self.name == "wasm"):
            return 1
        return self.vector_bits // max(bits, 32)

    def storage(self, dtype: DType, constant: bool = False) -> DType:
        """How an array of this dtype lies in device memory. WebGPU widens what it cannot store to (see DESIGN §6); numbers of
        constants stay as small as they are, several in a word."""
        from .. import dtypes as dt

        if not self.gpu:
            return dt.uint8 if dtype is dt.bool_ else dtype
        if constant and dtype.bits < 32 and dtype is not dt.bool_:
            return dtype
        match dtype.name:
            case "bool" | "uint8" | "uint16" | "uint64":
                return dt.uint32
            case "int8" | "int16" | "int64":
                return dt.int32
            case "float16":
                return dt.float16 if self.float16 else dt.float32
        return dtype


@dataclass(frozen=True)
class Buffer:
    """A kernel parameter, or (space "private" | "workgroup") scratch memory of the kernel itself.

    `dtype` is how elements lie in memory (never bool: bool arrays are uint8 or uint32 there). A load gives that dtype, but for
    halves that the machine lacks: their bits as int16 on CPUs, float32 on GPUs. `finite`: no element is infinite or NaN.
    """

    name: str
    dtype: DType
    size: int  # elements
    access: str = "read"  # "read" | "write" | "read_write" | "scratch": written and read by this kernel alone
    space: str = "global"  # "global" | "private" | "workgroup"
    finite: bool = False


@dataclass(frozen=True)
class Loop:
    """kind "serial" or "parallel". A parallel loop is cut into contiguous chunks, one per thread (CPU, WASM), or becomes the
    global invocation id (GPU). `grain` is the least number of iterations worth a thread of its own; where one is worth more,
    `worth` says how many times as much."""

    kind: str = "serial"
    step: int = 1
    grain: int = 1
    worth: int = 1


class Val:
    """An SSA value. Operators build operations in the Builder that made it."""

    __slots__ = ("builder", "dtype", "op", "width")

    def __init__(self, dtype: DType, width: int, builder: Any, op: Op | None = None) -> None:
        self.dtype, self.width, self.op, self.builder = dtype, width, op, builder

    def __add__(self, o: Any) -> Val:
        return self.builder.binary("add", self, o)

    def __radd__(self, o: Any) -> Val:
        return self.builder.binary("add", o, self)

    def __sub__(self, o: Any) -> Val:
        return self.builder.binary("sub", self, o)

    def __rsub__(self, o: Any) -> Val:
        return self.builder.binary("sub", o, self)

    def __mul__(self, o: Any) -> Val:
        return self.builder.binary("mul", self, o)

    def __rmul__(self, o: Any) -> Val:
        return self.builder.binary("mul", o, self)

    def __truediv__(self, o: Any) -> Val:
        return self.builder.binary("div", self, o)

    def __rtruediv__(self, o: Any) -> Val:
        return self.builder.binary("div", o, self)

    def __neg__(self) -> Val:
        return self.builder.unary("neg", self)

    def __and__(self, o: Any) -> Val:
        return self.builder.binary("and", self, o)

    def __or__(self, o: Any) -> Val:
        return self.builder.binary("or", self, o)

    def __xor__(self, o: Any) -> Val:
        return self.builder.binary("xor", self, o)

    def __lshift__(self, o: Any) -> Val:
        return self.builder.binary("shl", self, o)

    def __rshift__(self, o: Any) -> Val:
        return self.builder.binary("shr", self, o)

    def __invert__(self) -> Val:
        return self.builder.unary("not", self)

    def __lt__(self, o: Any) -> Val:
        return self.builder.compare("lt", self, o)

    def __le__(self, o: Any) -> Val:
        return self.builder.compare("le", self, o)

    def __gt__(self, o: Any) -> Val:
        return self.builder.compare("lt", o, self)

    def __ge__(self, o: Any) -> Val:
        return self.builder.compare("le", o, self)

    def eq(self, o: Any) -> Val:
        return self.builder.compare("eq", self, o)

    def ne(self, o: Any) -> Val:
        return self.builder.compare("ne", self, o)

    def __repr__(self) -> str:
        kind = self.op.kind if self.op else "param"
        return f"<{kind}: {self.dtype}x{self.width}>"


@dataclass(eq=False, slots=True)
class Op:
    """One operation. `attr` is hashable; `blocks` are the bodies of loop and if."""

    kind: str
    args: tuple[Val, ...]
    attr: Any = None
    results: tuple[Val, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(eq=False, slots=True)
class Block:
    """A straight list of operations, with parameters (loop counter, carried values) and what it yields at its end."""

    params: tuple[Val, ...] = ()
    ops: list[Op] = field(default_factory=list)
    yields: tuple[Val, ...] = ()


@dataclass(eq=False)
class Kernel:
    """One kernel: its buffers in the order in which a launch binds them, scratch memory, and the body.

    `grid` is None where the parallel loops say how much work there is; a GPU kernel that uses workgroup_id/local_id gives
    (workgroups x, y, z) and its workgroup size.
    """

    name: str
    buffers: tuple[Buffer, ...]
    body: Block
    scratch: tuple[Buffer, ...] = ()
    grid: tuple[int, int, int] | None = None
    workgroup: tuple[int, int, int] = (64, 1, 1)

    def __str__(self) -> str:
        return format_kernel(self)

    def key(self) -> str:
        """Text equal for kernels that do the same: equal kernels are printed once and shared."""
        return format_kernel(self, anonymous=True)

    def walk(self) -> Iterator[Op]:
        """Every operation, outer before inner."""

        def visit(block: Block) -> Iterator[Op]:
            for op in block.ops:
                yield op
                for inner in op.blocks:
                    yield from visit(inner)

        return visit(self.body)

    def parallel_extent(self) -> int:
        """Iterations of the largest parallel loop; 1 where there is none. Bounds are constants in parallel loops."""
        best = 1
        for op in self.body.ops:
            if op.kind == "loop" and op.attr.kind == "parallel":
                start, stop = op.args[0].op, op.args[1].op
                assert start is not None and stop is not None
                best = max(best, -(-(stop.attr - start.attr) // op.attr.step))
        return best


def format_kernel(kernel: Kernel, anonymous: bool = False) -> str:
    """A kernel as text."""
    names: dict[Val, str] = {}
    order = {b: f"b{i}" for i, b in enumerate((*kernel.buffers, *kernel.scratch))}

    def name(v: Val) -> str:
        if v not in names:
            names[v] = f"%{len(names)}"
        return names[v]

    def attr(a: Any) -> str:
        if isinstance(a, Buffer):
            return order[a]
        if isinstance(a, tuple):
            return ", ".join(attr(x) for x in a)
        if isinstance(a, Loop):
            notes = [f" {n} {v}" for n, v in (("grain", a.grain), ("worth", a.worth)) if v > 1]
            return f"{a.kind} step {a.step}{''.join(notes)}"
        return repr(a)

    def block(b: Block, indent: str) -> list[str]:
        lines = []
        for op in b.ops:
            left = ", ".join(f"{name(r)}:{r.dtype}x{r.width}" for r in op.results)
            right = " ".join([op.kind, *(name(a) for a in op.args), *([f"[{attr(op.attr)}]"] if op.attr is not None else [])])
            lines.append(f"{indent}{left} = {right}" if left else f"{indent}{right}")
            for inner in op.blocks:
                lines.append(f"{indent}  ({', '.join(f'{name(p)}:{p.dtype}x{p.width}' for p in inner.params)})")
                lines += block(inner, indent + "    ")
                if inner.yields:
                    lines.append(f"{indent}    yield {', '.join(map(name, inner.yields))}")
        return lines

    head = [f"kernel {'' if anonymous else kernel.name} grid={kernel.grid} workgroup={kernel.workgroup}"]
    for b in (*kernel.buffers, *kernel.scratch):
        head.append(f"  {order[b]}: {b.dtype}[{b.size}] {b.access} {b.space}" + ("" if anonymous else f"  # {b.name}"))
    return "\n".join(head + block(kernel.body, "  "))
