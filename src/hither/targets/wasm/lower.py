"""Kernel IR → nodes: which WebAssembly instructions compute each operation.

How values are held: a 32-bit or narrower vector of width 4n is n v128 of i32x4 or f32x4, whatever its storage; predicates in
vectors are 0 / -1 masks, as scalars 0 / 1; narrow integers are kept sign- or zero-extended. Scalars of 64 bits are native,
vectors of them do not occur. INDEX is i32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import dtypes as dt
from ...dtypes import DType
from ...kernels.ir import BINARY, COMPARE, INDEX, UNARY, Block, Buffer, Kernel, Op, Val
from . import arith, memory
from .arith import value_type
from .encoder import I32, TYPE_NAMES, V128, unsigned
from .nodes import IfNode, LoopNode, Node, NodeBlock, NodeBuilder, has_effect, pin_invariants

Parts = tuple[Node, ...]
ABI = ("thread", "nthreads", "scratch")  # parameters of a kernel function after its buffers


class KernelLowering:
    """Lowers one kernel; afterwards `params`, `n.root` and `scratch_bytes` describe its function."""

    def __init__(self, kernel: Kernel, relaxed: bool, helper: Callable[[str], int], apart: bool = False) -> None:
        self.kernel, self.relaxed, self.helper, self.apart = kernel, relaxed, helper, apart
        self.n = NodeBuilder()
        self.params = tuple(self.n.param(I32, self.n.root) for _ in (*kernel.buffers, *ABI))
        self.bases: dict[Buffer, tuple[Node, int]] = {
            b: (node, 0) for b, node in zip(kernel.buffers, self.params, strict=False)
        }
        self.thread, self.nthreads, scratch = self.params[len(kernel.buffers) :]
        self.scratch_bytes = 0
        for local in kernel.scratch:
            if local.space != "private":
                raise ValueError(
                    f"kernel {kernel.name}: {local.space} memory exists on GPUs only; lower it for the wasm machine"
                )
            self.bases[local] = (scratch, self.scratch_bytes)
            self.scratch_bytes += -(-local.size * local.dtype.itemsize // 16) * 16
        self.env: dict[Val, Parts] = {}
        self.non_negative: set[Val] = set()  # block parameters known to be so; see memory.is_non_negative
        self.splat_only = _loads_only_splatted(kernel)
        self.has_parallel = any(op.kind == "loop" and op.attr.kind == "parallel" for op in kernel.body.ops)
        self._block(kernel.body, top=True)

    # -- walking -----------------------------------------------------------------------------------------------------

    def _block(self, block: Block, top: bool = False) -> None:
        for op in block.ops:
            if top and self.has_parallel and _writes_shared(op) and not (op.kind == "loop" and op.attr.kind == "parallel"):
                self._on_first_thread(op)
            else:
                self._op(op)

    def _on_first_thread(self, op: Op) -> None:
        """What a kernel stores outside its parallel loops happens once."""
        if op.results:
            raise ValueError(f"kernel {self.kernel.name}: {op.kind} beside a parallel loop both stores and gives results")
        condition = self.n.pure("i32.eqz", (self.thread,), I32)
        then = self.n.open()
        self._op(op)
        self.n.close()
        self.n.control(IfNode("if", (condition,), None, then=then))

    def _op(self, op: Op) -> None:
        kind, n = op.kind, self.n
        if kind == "loop":
            self._loop(op)
        elif kind == "if":
            self._if(op)
        elif kind == "store":
            memory.store(self, op)
        elif kind == "scatter":
            memory.scatter(self, op)
        elif kind == "thread" or kind == "threads":
            self.env[op.results[0]] = (self.thread if kind == "thread" else self.nthreads,)
        else:
            result = op.results[0] if op.results else None
            if result is None or kind in ("atomic", "barrier", "workgroup_reduce", "workgroup_id", "local_id"):
                raise ValueError(f"kernel {self.kernel.name}: {kind} exists on GPUs only; lower it for the wasm machine")
            _check_type(self.kernel, op, result)
            if kind == "load":
                self.env[result] = memory.load(self, op, result)
            elif kind == "word":
                self.env[result] = memory.word(self, op, result)
            elif kind == "gather":
                self.env[result] = memory.gather(self, op, result)
            elif kind == "const":
                self.env[result] = (n.constant(value_type(result.dtype), op.attr),)
            else:
                self.env[result] = self._pure(op, result)

    def _pure(self, op: Op, result: Val) -> Parts:
        kind, n = op.kind, self.n
        args = [self.env[a] for a in op.args]
        dtype = op.args[0].dtype if op.args else result.dtype
        vector = result.width > 1
        if kind in UNARY:
            return tuple(arith.unary(n, kind, a, dtype, vector) for a in args[0])
        if kind in COMPARE:
            return tuple(arith.compare(n, kind, a, b, dtype, vector) for a, b in zip(*args, strict=True))
        if kind in BINARY:
            return self._binary(op, args, dtype, vector)
        match kind:
            case "splat":
                return self._splat(op.args[0], args[0], result.width)
            case "lanes":
                return tuple(
                    arith.vector_constant(n, range(p, p + 4), result.dtype) for p in range(0, result.width, 4)
                ) if vector else (n.constant(value_type(result.dtype), 0),)  # fmt: skip
            case "fma":
                return tuple(self._fma(a, b, c, dtype, vector) for a, b, c in zip(*args, strict=True))
            case "dot" if op.attr == "pairs":
                return tuple(arith.dot_pairs(n, a, b, c) for a, b, c in zip(*args, strict=True))
            case "dot":
                relaxed = self.relaxed and op.attr == "seven bits"
                return tuple(arith.dot(n, a, b, c, relaxed, self.apart) for a, b, c in zip(*args, strict=True))
            case "select":
                return tuple(self._select(c, a, b, vector) for c, a, b in zip(*args, strict=True))
            case "convert" if _is_masked(op.args[0], result.dtype):
                return args[0]
            case "convert":
                return tuple(arith.convert(n, a, dtype, result.dtype, vector) for a in args[0])
            case "bitcast":
                return tuple(self._bitcast(a, dtype, result.dtype, vector) for a in args[0])
            case "pack":
                return tuple(self._packed(op.args[p : p + 4], dtype) for p in range(0, result.width, 4))
            case "extract":
                return (arith.extract(n, args[0][op.attr // 4], op.attr % 4, dtype),)
            case "reduce":
                return (arith.reduce(n, op.attr, args[0], dtype),)
        raise ValueError(f"kernel {self.kernel.name}: the wasm printer does not know {kind!r}")

    def _binary(self, op: Op, args: list[Parts], dtype: DType, vector: bool) -> Parts:
        n, kind = self.n, op.kind
        if kind in ("shl", "shr") and vector:
            count = op.args[1].op
            if count is not None and count.kind == "splat":  # one count for all lanes, as the instruction wants it
                halves = _lower_halves(op)
                if halves is not None:
                    return tuple(arith.lower_halves(n, a, halves[1]) for a in self.env[halves[0]])
                amount = self.env[count.args[0]][0]
                return tuple(arith.shift_vector(n, kind, a, amount, dtype) for a in args[0])
        if kind == "rem" and dtype.is_float:
            return tuple(self._lanewise(self._float_remainder, a, b, dtype, vector) for a, b in zip(*args, strict=True))
        if vector and dtype.kind in "iu" and kind in ("div", "rem", "shl", "shr"):
            scalar = lambda a, b, d: arith.binary(n, kind, a, b, d, False)  # noqa: E731
            return tuple(self._lanewise(scalar, a, b, dtype, True) for a, b in zip(*args, strict=True))
        if kind in ("div", "rem") and op.args[1].op is not None and op.args[1].op.kind == "const":
            power = op.args[1].op.attr
            if dtype.kind in "iu" and power > 0 and power & (power - 1) == 0 and memory.is_non_negative(self, op.args[0]):
                return (arith.divide_by_power(n, kind, args[0][0], power, dtype),)
        return tuple(arith.binary(n, kind, a, b, dtype, vector) for a, b in zip(*args, strict=True))

    def _lanewise(self, scalar: Callable[[Node, Node, DType], Node], a: Node, b: Node, dtype: DType, vector: bool) -> Node:
        """What has no vector instruction, one lane at a time."""
        if not vector:
            return scalar(a, b, dtype)
        n = self.n
        lanes = [scalar(arith.extract(n, a, i, dtype), arith.extract(n, b, i, dtype), dtype) for i in range(4)]
        return arith.pack(n, lanes, dtype)

    def _float_remainder(self, a: Node, b: Node, dtype: DType) -> Node:
        kind = value_type(dtype)
        return self.n.pure("call", (a, b), kind, unsigned(self.helper(f"fmod_{TYPE_NAMES[kind]}")))

    def _packed(self, lanes: Sequence[Val], dtype: DType) -> Node:
        """Four scalars as one vector: in one operation where all are lanes of one or two vectors."""
        taken = [(self.env[v.op.args[0]][v.op.attr // 4], v.op.attr % 4) for v in lanes if v.op and v.op.kind == "extract"]
        sources = list(dict.fromkeys(node for node, _ in taken))
        if len(taken) < len(lanes) or len(sources) > 2:
            return arith.pack(self.n, [self.env[v][0] for v in lanes], dtype)
        picked = bytes(16 * sources.index(node) + 4 * lane + byte for node, lane in taken for byte in range(4))
        return self.n.pure("i8x16.shuffle", (sources[0], sources[-1]), V128, picked)

    def _splat(self, source: Val, parts: Parts, width: int) -> Parts:
        node = parts[0]
        if node.type != V128:  # a load that is only ever splatted was loaded as a vector
            node = arith.splat(self.n, node, source.dtype)
        return (node,) * (width // 4)

    def _fma(self, a: Node, b: Node, c: Node, dtype: DType, vector: bool) -> Node:
        if vector and self.relaxed and dtype is dt.float32:
            return self.n.pure("f32x4.relaxed_madd", (a, b, c), V128)
        product = arith.binary(self.n, "mul", a, b, dtype, vector)
        return arith.binary(self.n, "add", product, c, dtype, vector)

    def _select(self, condition: Node, a: Node, b: Node, vector: bool) -> Node:
        if not vector:
            assert a.type is not None
            return self.n.pure("select", (a, b, condition), a.type)
        # A predicate's lanes are all ones or all zeros, where the relaxed form (one blend on x86) has one meaning.
        return self.n.pure("i32x4.relaxed_laneselect" if self.relaxed else "v128.bitselect", (a, b, condition), V128)

    def _bitcast(self, a: Node, source: DType, target: DType, vector: bool) -> Node:
        if source.bits != target.bits:
            raise ValueError(f"kernel {self.kernel.name}: bitcast of {source} to {target}, which has another size")
        if source.is_float == target.is_float:
            return arith.normalise(self.n, a, target, vector)
        if vector:
            return a
        kind = value_type(target)
        return self.n.pure(f"{TYPE_NAMES[kind]}.reinterpret_{TYPE_NAMES[value_type(source)]}", (a,), kind)

    # -- control -----------------------------------------------------------------------------------------------------

    def _flat(self, values: Sequence[Val]) -> Parts:
        return tuple(node for v in values for node in self.env[v])

    def _bind(self, values: Sequence[Val], block: NodeBlock) -> Parts:
        """New nodes for block parameters or results."""
        flat: list[Node] = []
        for v in values:
            kind = V128 if v.width > 1 else value_type(v.dtype)
            self.env[v] = tuple(self.n.param(kind, block) for _ in range(max(1, v.width // 4)))
            flat += self.env[v]
        return tuple(flat)

    def _loop(self, op: Op) -> None:
        n = self.n
        start, stop = (self.env[a][0] for a in op.args[:2])
        inits = self._flat(op.args[2:])
        step = op.attr.step
        runs = start.is_constant and stop.is_constant and int(start.value) < int(stop.value)  # type: ignore[arg-type]
        if op.attr.kind == "parallel":
            start, stop = self._chunk(start, stop, step, op.attr.grain)
            runs = False
        block = op.blocks[0]
        if memory.is_non_negative(self, op.args[0]) and step > 0:
            self.non_negative.add(block.params[0])
        if step <= 0:
            raise ValueError(f"kernel {self.kernel.name}: a loop steps by {step}; steps are positive")
        body = n.open()
        params = self._bind(block.params, body)
        self._block(block)
        body.yields = self._flat(block.yields)
        n.close()
        pin_invariants(n, body, params)
        results = self._bind(op.results, n.block)
        n.control(
            LoopNode("loop", (start, *inits), None, stop=stop, step=step, runs=runs, params=params, results=results, body=body)
        )

    def _chunk(self, start: Node, stop: Node, step: int, grain: int) -> tuple[Node, Node]:
        """This thread's part of a parallel loop: contiguous, at least `grain` iterations, possibly empty."""
        n = self.n

        def i32(op: str, *args: Node) -> Node:
            return n.pure(f"i32.{op}", args, I32)

        if start.is_constant and stop.is_constant:
            trips = n.i32(max(0, -(-(int(stop.value) - int(start.value)) // step)))  # type: ignore[arg-type]
        else:
            span = i32("sub", n.add(stop, n.i32(step - 1)), start)
            trips = span if step == 1 else i32("div_s", span, n.i32(step))
        chunk = i32("div_s", n.add(self.nthreads, n.add(trips, n.i32(-1))), self.nthreads)
        if grain > 1:
            chunk = arith.binary(n, "max", chunk, n.i32(grain), dt.int32, False)
        low = i32("mul", self.thread, chunk)
        high = arith.binary(n, "min", n.add(low, chunk), trips, dt.int32, False)
        return n.add(start, n.scale(low, step)), n.add(start, n.scale(high, step))

    def _if(self, op: Op) -> None:
        n = self.n
        blocks = []
        for block in op.blocks:
            opened = n.open()
            self._block(block)
            opened.yields = self._flat(block.yields)
            n.close()
            blocks.append(opened)
        results = self._bind(op.results, n.block)
        if not results and not any(has_effect(item) for block in blocks for item in block.items):
            return
        condition = self.env[op.args[0]][0]
        n.control(IfNode("if", (condition,), None, results=results, then=blocks[0], otherwise=blocks[1]))


def _check_type(kernel: Kernel, op: Op, result: Val) -> None:
    dtype, width = result.dtype, result.width
    if dtype is dt.float16 or dtype.kind == "c":
        raise ValueError(f"kernel {kernel.name}: {op.kind} gives {dtype}, which WebAssembly cannot compute")
    if width > 1 and (width % 4 or (dtype.bits == 64 and dtype is not INDEX)):
        raise ValueError(
            f"kernel {kernel.name}: {op.kind} gives {width} lanes of {dtype}; "
            "wasm vectors have a multiple of 4 lanes of at most 32 bits"
        )


def _lower_halves(op: Op) -> tuple[Val, int] | None:
    """x and n where an operation gives (x << 16) >> (16 - n): the lower 16 bits of each int32 with their sign, times 2^n."""
    inner = op.args[0].op
    if op.kind != "shr" or op.results[0].dtype is not dt.int32 or inner is None or inner.kind != "shl":
        return None
    left, right = _bits_shifted(inner), _bits_shifted(op)
    return (inner.args[0], 16 - right) if left == 16 and right is not None and 2 <= right <= 16 else None


def _bits_shifted(op: Op) -> int | None:
    """By how many bits all lanes are shifted, where that is known."""
    count = op.args[1].op
    known = count.args[0].op if count is not None and count.kind == "splat" else None
    return int(known.attr) if known is not None and known.kind == "const" else None


def _writes_shared(op: Op) -> bool:
    """Whether it changes memory that other threads see."""
    if op.kind in ("store", "scatter"):
        buffer = op.attr[0] if op.kind == "store" else op.attr
        return bool(buffer.space == "global")
    return any(_writes_shared(inner) for block in op.blocks for inner in block.ops)


def _loads_only_splatted(kernel: Kernel) -> set[Val]:
    """Scalar 32-bit loads all of whose uses are splats: v128.load32_splat does both."""
    loads: set[Val] = set()
    other: set[Val] = set()

    def visit(block: Block) -> None:
        for op in block.ops:
            if op.kind in ("load", "word") and op.results[0].width == 1 and op.results[0].dtype.bits == 32:
                loads.add(op.results[0])
            if op.kind != "splat":
                other.update(op.args)
            for inner in op.blocks:
                visit(inner)
        other.update(block.yields)

    visit(kernel.body)
    return loads - other


def _is_masked(value: Val, dtype: DType) -> bool:
    """Whether an int32 has no bits but those of a narrower unsigned integer."""
    op = value.op
    if op is None or op.kind != "and" or value.dtype is not dt.int32 or dtype.kind != "u" or dtype.bits >= 32:
        return False
    sources = (a.op.args[0].op if a.op is not None and a.op.kind == "splat" else a.op for a in op.args)
    return any(s is not None and s.kind == "const" and 0 <= s.attr < 1 << dtype.bits for s in sources)
