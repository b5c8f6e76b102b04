"""Values: arithmetic, comparison, conversion and the rearranging of lanes, as LLVM instructions.

Where LLVM would trap, call a library function, or leave a result undefined, the instructions are spelled out so that it does
not: division, float remainder, rounding on old processors, float16.
"""

from __future__ import annotations

from ... import dtypes as dt
from ...dtypes import DType
from ...kernels.ir import Kernel, Machine, Op, Val
from .prelude import remainder
from .types import Target, literal, scalar, suffix, typed, vector_literal

ARITHMETIC = {  # kind: (float, signed, unsigned, bool)
    "add": ("fadd", "add", "add", None),
    "sub": ("fsub", "sub", "sub", None),
    "mul": ("fmul", "mul", "mul", "and"),
    "div": ("fdiv", "sdiv", "udiv", None),
    "rem": (None, "srem", "urem", None),
    "and": (None, "and", "and", "and"),
    "or": (None, "or", "or", "or"),
    "xor": (None, "xor", "xor", "xor"),
    "shl": (None, "shl", "shl", None),
    "shr": (None, "ashr", "lshr", None),
}
COMPARISONS = {  # kind: (float, signed, unsigned); bools compare as unsigned
    "eq": ("fcmp oeq", "icmp eq", "icmp eq"),
    "ne": ("fcmp une", "icmp ne", "icmp ne"),
    "lt": ("fcmp olt", "icmp slt", "icmp ult"),
    "le": ("fcmp ole", "icmp sle", "icmp ule"),
}
ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven"}


class ValuePrinter:
    """Appends instructions to `lines` and knows the names of values. An operation's method is its kind after an underscore.

    `support` collects declarations and helper functions that the module must contain.
    """

    def __init__(self, kernel: Kernel, machine: Machine, target: Target, support: dict[str, str]) -> None:
        self.kernel, self.machine, self.target, self.support = kernel, machine, target, support
        self.lines: list[str] = []
        self.names: dict[Val, str] = {}
        self.count = 0

    # -- writing -----------------------------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def put(self, text: str) -> str:
        """Append an instruction; returns the name of its result."""
        name = "%" + self.fresh()
        self.lines.append(f"{name} = {text}")
        return name

    def call(self, intrinsic: str, result: str, *args: tuple[str, str]) -> str:
        """Call an LLVM intrinsic with (type, name) arguments, declaring it."""
        self.support.setdefault(intrinsic, f"declare {result} @{intrinsic}({', '.join(t for t, _ in args)})")
        return self.put(f"call {result} @{intrinsic}({', '.join(f'{t} {a}' for t, a in args)})")

    def name(self, value: Val) -> str:
        try:
            return self.names[value]
        except KeyError:
            raise ValueError(f"kernel {self.kernel.name}: {value!r} is used where it is not defined") from None

    # -- values ------------------------------------------------------------------------------------------------------

    def _const(self, op: Op) -> str:
        return literal(op.attr, op.results[0].dtype)

    def _lanes(self, op: Op) -> str:
        dtype, width = op.results[0].dtype, op.results[0].width
        return vector_literal([literal(i, dtype) for i in range(width)], dtype)

    def _splat(self, op: Op) -> str:
        value, width = op.args[0], op.results[0].width
        if value.op is not None and value.op.kind == "const":
            return literal(value.op.attr, value.dtype, width)
        return self.splat(self.name(value), value.dtype, width)

    def splat(self, name: str, dtype: DType, width: int) -> str:
        vector = typed(dtype, width)
        one = self.put(f"insertelement {vector} poison, {scalar(dtype)} {name}, i64 0")
        return self.put(f"shufflevector {vector} {one}, {vector} poison, <{width} x i32> zeroinitializer")

    def _pack(self, op: Op) -> str:
        dtype, width = op.results[0].dtype, op.results[0].width
        return self.pack([self.name(a) for a in op.args], dtype, width)

    def pack(self, lanes: list[str], dtype: DType, width: int) -> str:
        vector = "poison"
        for i, lane in enumerate(lanes):
            vector = self.put(f"insertelement {typed(dtype, width)} {vector}, {scalar(dtype)} {lane}, i64 {i}")
        return vector

    def _extract(self, op: Op) -> str:
        return self.lane(self.name(op.args[0]), op.args[0].dtype, op.args[0].width, op.attr)

    def lane(self, name: str, dtype: DType, width: int, lane: int) -> str:
        return self.put(f"extractelement {typed(dtype, width)} {name}, i64 {lane}")

    def _thread(self, op: Op) -> str:
        return "%thread"

    def _threads(self, op: Op) -> str:
        return "%threads"

    def _select(self, op: Op) -> str:
        condition, a, b = op.args
        t = typed(a.dtype, a.width)
        c = typed(dt.bool_, condition.width)
        return self.put(f"select {c} {self.name(condition)}, {t} {self.name(a)}, {t} {self.name(b)}")

    def _bitcast(self, op: Op) -> str:
        a, r = op.args[0], op.results[0]
        source, target = typed(a.dtype, a.width), typed(r.dtype, r.width)
        return self.name(a) if source == target else self.put(f"bitcast {source} {self.name(a)} to {target}")

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def _column(self, dtype: DType) -> int:
        return {"f": 0, "i": 1, "u": 2, "b": 3}[dtype.kind]

    def arithmetic(self, kind: str, a: Val, b: Val) -> str:
        dtype, width = a.dtype, a.width
        x, y = self.name(a), self.name(b)
        self.refuse_half(kind, dtype)
        if kind == "rem" and dtype.is_float:
            return self.float_remainder(dtype, width, x, y)
        if kind in ("div", "rem") and dtype.is_integer:
            y = self.safe_divisor(a, b)
        return self.combine(kind, dtype, width, x, y)

    def combine(self, kind: str, dtype: DType, width: int, x: str, y: str) -> str:
        """A two-operand instruction that needs no care; min and max too."""
        if kind in ("min", "max"):
            if dtype is dt.bool_:
                return self.put(f"{'and' if kind == 'min' else 'or'} {typed(dtype, width)} {x}, {y}")
            t = typed(dtype, width)
            left, right = (y, x) if kind == "min" else (x, y)  # min: b < a ? b : a;  max: a < b ? b : a
            less = self.compare("lt", dtype, width, left, right)
            return self.put(f"select {typed(dt.bool_, width)} {less}, {t} {y}, {t} {x}")
        instruction = ARITHMETIC[kind][self._column(dtype)]
        if instruction is None:
            raise TypeError(f"kernel {self.kernel.name}: {kind} is not defined for {dtype}")
        return self.put(f"{instruction} {typed(dtype, width)} {x}, {y}")

    def _min(self, op: Op) -> str:
        a, b = op.args
        self.refuse_half(op.kind, a.dtype)
        return self.combine(op.kind, a.dtype, a.width, self.name(a), self.name(b))

    _max = _min

    def compare(self, kind: str, dtype: DType, width: int, x: str, y: str) -> str:
        self.refuse_half(kind, dtype)
        instruction = COMPARISONS[kind][min(self._column(dtype), 2)]
        return self.put(f"{instruction} {typed(dtype, width)} {x}, {y}")

    def refuse_half(self, kind: str, dtype: DType) -> None:
        """float16 is a storage dtype: the Builder computes in float32."""
        if dtype is dt.float16:
            raise TypeError(f"kernel {self.kernel.name}: {kind} on float16; convert to float32, compute, convert back")

    def safe_divisor(self, a: Val, b: Val) -> str:
        """The divisor, replaced by 1 where the processor would trap: zero, and -1 under the most negative number (whose
        quotient wraps to itself and whose remainder is 0, which is what 1 gives)."""
        dtype, width, y = b.dtype, b.width, self.name(b)
        known = b.op.args[0].op if b.op is not None and b.op.kind == "splat" else b.op
        if known is not None and known.kind == "const" and known.attr not in (0, -1):
            return y
        t, p = typed(dtype, width), typed(dt.bool_, width)
        bad = self.put(f"icmp eq {t} {y}, {literal(0, dtype, width)}")
        if dtype.kind == "i":
            least = self.put(f"icmp eq {t} {self.name(a)}, {literal(-(1 << (dtype.bits - 1)), dtype, width)}")
            minus = self.put(f"icmp eq {t} {y}, {literal(-1, dtype, width)}")
            overflow = self.put(f"and {p} {least}, {minus}")
            bad = self.put(f"or {p} {bad}, {overflow}")
        return self.put(f"select {p} {bad}, {t} {literal(1, dtype, width)}, {t} {y}")

    def float_remainder(self, dtype: DType, width: int, x: str, y: str) -> str:
        self.support.setdefault(f"fmod.f{dtype.bits}", remainder(dtype.bits))
        t = scalar(dtype)
        lanes = []
        for i in range(width):
            a = x if width == 1 else self.lane(x, dtype, width, i)
            b = y if width == 1 else self.lane(y, dtype, width, i)
            lanes.append(self.put(f"call {t} @fmod.f{dtype.bits}({t} {a}, {t} {b})"))
        return lanes[0] if width == 1 else self.pack(lanes, dtype, width)

    def intrinsic(self, name: str, dtype: DType, width: int, *operands: str) -> str:
        """An intrinsic whose operands and result have one type."""
        t = typed(dtype, width)
        return self.call(f"llvm.{name}.{suffix(dtype, width)}", t, *((t, x) for x in operands))

    def _neg(self, op: Op) -> str:
        a = op.args[0]
        self.refuse_half(op.kind, a.dtype)
        t = typed(a.dtype, a.width)
        if a.dtype.is_float:
            return self.put(f"fneg {t} {self.name(a)}")
        return self.put(f"sub {t} {literal(0, a.dtype, a.width)}, {self.name(a)}")

    def _abs(self, op: Op) -> str:
        a = op.args[0]
        self.refuse_half(op.kind, a.dtype)
        if a.dtype.is_float:
            return self.intrinsic("fabs", a.dtype, a.width, self.name(a))
        if a.dtype.kind != "i":
            return self.name(a)
        t = typed(a.dtype, a.width)
        return self.call(f"llvm.abs.{suffix(a.dtype, a.width)}", t, (t, self.name(a)), ("i1", "false"))

    def _not(self, op: Op) -> str:
        a = op.args[0]
        ones = literal(True if a.dtype is dt.bool_ else -1, a.dtype, a.width)
        return self.put(f"xor {typed(a.dtype, a.width)} {self.name(a)}, {ones}")

    def _sqrt(self, op: Op) -> str:
        a = op.args[0]
        self.refuse_half(op.kind, a.dtype)
        return self.intrinsic("sqrt", a.dtype, a.width, self.name(a))

    def _fma(self, op: Op) -> str:
        a = op.args[0]
        x, y, z = (self.name(v) for v in op.args)
        self.refuse_half(op.kind, a.dtype)
        if a.dtype.is_float and self.machine.fma:
            return self.intrinsic("fma", a.dtype, a.width, x, y, z)
        return self.combine("add", a.dtype, a.width, self.combine("mul", a.dtype, a.width, x, y), z)

    def _dot(self, op: Op) -> str:
        """An instruction of AVX-512's VNNI, which is what a Machine here has if it has the operation."""
        a, b, c = op.args
        t, what = typed(dt.int32, a.width), "vpdpwssd" if op.attr == "pairs" else "vpdpbusd"
        return self.call(f"llvm.x86.avx512.{what}.{32 * a.width}", t, *((t, self.name(v)) for v in (c, a, b)))

    def rounding(self, kind: str, a: Val) -> str:
        dtype, width, x = a.dtype, a.width, self.name(a)
        self.refuse_half(kind, dtype)
        if not dtype.is_float:
            return x
        if self.target.rounding:
            return self.intrinsic(ROUNDING[kind], dtype, width, x)
        t, p = typed(dtype, width), typed(dt.bool_, width)
        magnitude = self.intrinsic("fabs", dtype, width, x)
        shift = literal(2.0 ** (23 if dtype.bits == 32 else 52), dtype, width)  # from here on every float is an integer
        small = self.put(f"fcmp olt {t} {magnitude}, {shift}")
        there = self.put(f"fadd {t} {magnitude}, {shift}")
        back = self.put(f"fsub {t} {there}, {shift}")
        even = self.put(f"select {p} {small}, {t} {back}, {t} {magnitude}")
        if kind != "trunc":
            even = self.intrinsic("copysign", dtype, width, even, x)
        if kind == "round":
            return even
        goal = magnitude if kind == "trunc" else x
        off = self.put(f"fcmp {'olt' if kind == 'ceil' else 'ogt'} {t} {even}, {goal}")
        one = literal(1.0 if kind == "ceil" else -1.0, dtype, width)
        moved = self.put(f"fadd {t} {even}, {one}")
        return self.intrinsic("copysign", dtype, width, self.put(f"select {p} {off}, {t} {moved}, {t} {even}"), x)

    def _reduce(self, op: Op) -> str:
        """Halves folded onto each other, so that the order does not depend on the machine's own vector width."""
        a = op.args[0]
        self.refuse_half(op.kind, a.dtype)
        dtype, width, name = a.dtype, a.width, self.name(a)
        rest: list[str] = []
        while width > 1:
            half, odd = divmod(width, 2)
            if odd:
                rest.append(self.lane(name, dtype, width, width - 1))
            low, high = (self.slice(name, dtype, width, i, half) for i in (0, half))
            name = self.combine(op.attr, dtype, half, low, high)
            width = half
        for lane in reversed(rest):
            name = self.combine(op.attr, dtype, 1, name, lane)
        return name

    def slice(self, name: str, dtype: DType, width: int, start: int, count: int) -> str:
        """`count` neighbouring lanes, a scalar if it is one."""
        if count == 1:
            return self.lane(name, dtype, width, start)
        if count == width:
            return name
        mask = ", ".join(f"i32 {start + i}" for i in range(count))
        vector = typed(dtype, width)
        return self.put(f"shufflevector {vector} {name}, {vector} poison, <{count} x i32> <{mask}>")

    # -- conversion --------------------------------------------------------------------------------------------------

    def _convert(self, op: Op) -> str:
        return self.convert(self.name(op.args[0]), op.args[0].dtype, op.results[0].dtype, op.args[0].width)

    def convert(self, x: str, source: DType, target: DType, width: int) -> str:
        if dt.float16 in (source, target) and source is not target:
            return self.convert_half(x, source, target, width)
        s, t = typed(source, width), typed(target, width)
        if s == t:
            return x
        if target is dt.bool_:
            return self.put(f"{'fcmp une' if source.is_float else 'icmp ne'} {s} {x}, {literal(0, source, width)}")
        if source is dt.bool_ and target.is_float:
            return self.put(f"select {s} {x}, {t} {literal(1.0, target, width)}, {t} {literal(0.0, target, width)}")
        if source.is_float and target.is_float:
            return self.put(f"{'fpext' if target.bits > source.bits else 'fptrunc'} {s} {x} to {t}")
        if source.is_float:
            sign = "s" if target.kind == "i" else "u"
            return self.call(f"llvm.fpto{sign}i.sat.{suffix(target, width)}.{suffix(source, width)}", t, (s, x))
        if target.is_float:
            return self.put(f"{'sitofp' if source.kind == 'i' else 'uitofp'} {s} {x} to {t}")
        if target.bits < source.bits:
            return self.put(f"trunc {s} {x} to {t}")
        return self.put(f"{'sext' if source.kind == 'i' else 'zext'} {s} {x} to {t}")

    def convert_half(self, x: str, source: DType, target: DType, width: int) -> str:
        """Only float32 <-> float16 is an instruction; everything else goes through float32."""
        if not self.machine.float16:
            raise TypeError(f"kernel {self.kernel.name}: this machine has no float16; load and store it as uint16 bits")
        half, single = typed(dt.float16, width), typed(dt.float32, width)
        if source is dt.float16:
            return self.convert(self.put(f"fpext {half} {x} to {single}"), dt.float32, target, width)
        x = self.round_to_odd(x, width) if source is dt.float64 else self.convert(x, source, dt.float32, width)
        return self.put(f"fptrunc {single} {x} to {half}")

    def round_to_odd(self, x: str, width: int) -> str:
        """float64 to float32 so that rounding once more, to float16, gives what rounding once would have.

        Truncate, and set the last bit if anything was cut off.
        """
        double, single, bits = typed(dt.float64, width), typed(dt.float32, width), typed(dt.uint32, width)
        near = self.put(f"fptrunc {double} {x} to {single}")
        back = self.put(f"fpext {single} {near} to {double}")
        inexact = self.put(f"fcmp one {double} {back}, {x}")
        sizes = [self.intrinsic("fabs", dt.float64, width, v) for v in (back, x)]
        above = self.put(f"fcmp ogt {double} {sizes[0]}, {sizes[1]}")
        raw = self.put(f"bitcast {single} {near} to {bits}")
        step = self.convert(above, dt.bool_, dt.uint32, width)
        cut = self.put(f"sub {bits} {raw}, {step}")
        odd = self.put(f"or {bits} {cut}, {self.convert(inexact, dt.bool_, dt.uint32, width)}")
        return self.put(f"bitcast {bits} {odd} to {single}")
