"""Functions that generated modules carry with them, so that objects need no C library: copy, float remainder."""

from __future__ import annotations

_RELAX = {  # what a core should do while it waits for another
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}

UMIN = "declare i64 @llvm.umin.i64(i64, i64)"
SPINS = 2000  # pauses before a waiting thread rests: a few tens of microseconds


def relax(arch: str) -> tuple[str, str]:
    """The spin-wait hint of an architecture, and its declaration."""
    return _RELAX.get(arch, ("", ""))


COPY = """define internal void @copy(ptr %target, ptr %source, i64 %begin, i64 %end) noinline nounwind #0 {
entry:
  %bytes = sub i64 %end, %begin
  %blocks = and i64 %bytes, -64
  %middle = add i64 %begin, %blocks
  %any = icmp slt i64 %begin, %middle
  br i1 %any, label %wide, label %rest
wide:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %wide ]
  %from = getelementptr inbounds i8, ptr %source, i64 %i
  %to = getelementptr inbounds i8, ptr %target, i64 %i
  %block = load <64 x i8>, ptr %from, align 1
  store <64 x i8> %block, ptr %to, align 1
  %i.next = add i64 %i, 64
  %more = icmp slt i64 %i.next, %middle
  br i1 %more, label %wide, label %rest
rest:
  %some = icmp slt i64 %middle, %end
  br i1 %some, label %narrow, label %done
narrow:
  %j = phi i64 [ %middle, %rest ], [ %j.next, %narrow ]
  %from.byte = getelementptr inbounds i8, ptr %source, i64 %j
  %to.byte = getelementptr inbounds i8, ptr %target, i64 %j
  %byte = load i8, ptr %from.byte, align 1
  store i8 %byte, ptr %to.byte, align 1
  %j.next = add i64 %j, 1
  %again = icmp slt i64 %j.next, %end
  br i1 %again, label %narrow, label %done
done:
  ret void
}
"""


def remainder(bits: int) -> str:
    """C's fmod for float or double, exact for every pair of operands.

    Both are integers times a power of two: ma·2^ea and mb·2^eb with ea >= eb once |a| >= |b|, so the remainder is
    (ma·2^(ea-eb) mod mb)·2^eb, computed a few bits of the power at a time.
    """
    kind, mantissa = {32: ("float", 23), 64: ("double", 52)}[bits]
    infinity = ((1 << (bits - 1 - mantissa)) - 1) << mantissa
    bias = (1 << (bits - 2 - mantissa)) - 1 + mantissa  # value = m · 2^(e - bias)
    widen = [f"%w{x} = " + ("zext i32 %i{x} to i64" if bits == 32 else "or i64 %i{x}, 0").format(x=x) for x in "ab"]
    narrow = "trunc i64 %power.wide to i32" if bits == 32 else "or i64 %power.wide, 0"
    return f"""define internal {kind} @fmod.f{bits}({kind} %a, {kind} %b) noinline nounwind #0 {{
entry:
  %ia = bitcast {kind} %a to i{bits}
  %ib = bitcast {kind} %b to i{bits}
  {widen[0]}
  {widen[1]}
  %ua = and i64 %wa, {(1 << (bits - 1)) - 1}
  %ub = and i64 %wb, {(1 << (bits - 1)) - 1}
  %a.special = icmp uge i64 %ua, {infinity}
  %b.nan = icmp ugt i64 %ub, {infinity}
  %b.zero = icmp eq i64 %ub, 0
  %bad.0 = or i1 %a.special, %b.nan
  %bad = or i1 %bad.0, %b.zero
  br i1 %bad, label %nan, label %compare
nan:
  ret {kind} 0x7FF8000000000000
compare:
  %less = icmp ult i64 %ua, %ub
  br i1 %less, label %same, label %split
same:
  ret {kind} %a
split:
  %ea.raw = lshr i64 %ua, {mantissa}
  %eb.raw = lshr i64 %ub, {mantissa}
  %ma.raw = and i64 %ua, {(1 << mantissa) - 1}
  %mb.raw = and i64 %ub, {(1 << mantissa) - 1}
  %ma.one = or i64 %ma.raw, {1 << mantissa}
  %mb.one = or i64 %mb.raw, {1 << mantissa}
  %a.denormal = icmp eq i64 %ea.raw, 0
  %b.denormal = icmp eq i64 %eb.raw, 0
  %ma = select i1 %a.denormal, i64 %ma.raw, i64 %ma.one
  %mb = select i1 %b.denormal, i64 %mb.raw, i64 %mb.one
  %ea = select i1 %a.denormal, i64 1, i64 %ea.raw
  %eb = select i1 %b.denormal, i64 1, i64 %eb.raw
  %n = sub i64 %ea, %eb
  %first = urem i64 %ma, %mb
  br label %head
head:
  %r = phi i64 [ %first, %split ], [ %r.next, %step ]
  %left = phi i64 [ %n, %split ], [ %left.next, %step ]
  %finished = icmp eq i64 %left, 0
  br i1 %finished, label %scale, label %step
step:
  %few = icmp ult i64 %left, {63 - mantissa}
  %k = select i1 %few, i64 %left, i64 {63 - mantissa}
  %shifted = shl i64 %r, %k
  %r.next = urem i64 %shifted, %mb
  %left.next = sub i64 %left, %k
  br label %head
scale:
  %e = sub i64 %eb, {bias}
  %normal = add i64 %e, {bias - mantissa}
  %is.normal = icmp sgt i64 %normal, 0
  %normal.bits = shl i64 %normal, {mantissa}
  %place = sub i64 %eb, 1
  %place.safe = select i1 %is.normal, i64 0, i64 %place
  %denormal.bits = shl i64 1, %place.safe
  %power.wide = select i1 %is.normal, i64 %normal.bits, i64 %denormal.bits
  %power.bits = {narrow}
  %power = bitcast i{bits} %power.bits to {kind}
  %rf = uitofp i64 %r to {kind}
  %magnitude = fmul {kind} %rf, %power
  %magnitude.bits = bitcast {kind} %magnitude to i{bits}
  %sign = and i{bits} %ia, {-(1 << (bits - 1))}
  %result.bits = or i{bits} %magnitude.bits, %sign
  %result = bitcast i{bits} %result.bits to {kind}
  ret {kind} %result
}}
"""
