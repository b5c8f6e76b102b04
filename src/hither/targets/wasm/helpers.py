"""Functions that kernels call: the exact floating-point remainder.

Written as instructions by hand; a module has those it calls.
"""

from __future__ import annotations

from .encoder import F32, F64, I32, I64, Function, assemble


def _remainder(kind: str, mantissa: int, exponent_bits: int) -> str:
    """fmod by integer arithmetic on mantissas: shift the dividend's up as far as 64 bits allow, reduce, repeat.

    Locals: 0 a, 1 b, 2 result's sign and bits of |a|, 3 bits of |b|, 4 mantissa of a, 5 mantissa of b (all i64 but the
    floats), 6 exponent difference left, 7 exponent of b, 8 shift.
    """
    bits = 1 + exponent_bits + mantissa
    to_bits = "i32.reinterpret_f32\n i64.extend_i32_u" if kind == "f32" else "i64.reinterpret_f64"
    from_bits = "i32.wrap_i64\n f32.reinterpret_i32" if kind == "f32" else "f64.reinterpret_i64"
    magnitude = (1 << (bits - 1)) - 1
    infinity = ((1 << exponent_bits) - 1) << mantissa
    hidden = 1 << mantissa
    chunk = 63 - mantissa  # the dividend is below 2^(mantissa + 1) before each shift

    def split(source: int, into: int, exponent: int) -> str:
        """Mantissa with its hidden bit, and the exponent (1 for denormals, which lack the bit)."""
        return f"""
            local.get {source}
            i64.const {mantissa}
            i64.shr_u
            i32.wrap_i64
            local.tee {exponent}
            if
              local.get {source}
              i64.const {hidden - 1}
              i64.and
              i64.const {hidden}
              i64.or
              local.set {into}
            else
              local.get {source}
              local.set {into}
              i32.const 1
              local.set {exponent}
            end
        """

    return f"""
        local.get 0
        {to_bits}
        i64.const {magnitude}
        i64.and
        local.set 2
        local.get 1
        {to_bits}
        i64.const {magnitude}
        i64.and
        local.set 3
        local.get 2
        i64.const {infinity}
        i64.ge_u
        local.get 3
        i64.const {infinity}
        i64.gt_u
        i32.or
        local.get 3
        i64.eqz
        i32.or
        if                        ; a infinite or NaN, b NaN or zero: NaN
          local.get 0
          local.get 1
          {kind}.mul
          local.tee 0
          local.get 0
          {kind}.div
          local.get 0
          local.get 0
          {kind}.sub
          {kind}.add
          return
        end
        local.get 2
        local.get 3
        i64.lt_u
        if                        ; |a| < |b|
          local.get 0
          return
        end
        {split(2, 4, 6)}
        {split(3, 5, 7)}
        local.get 6
        local.get 7
        i32.sub
        local.set 6
        local.get 4
        local.get 5
        i64.rem_u
        local.set 4
        block
          loop
            local.get 6
            i32.eqz
            br_if 1
            local.get 6
            i32.const {chunk}
            local.get 6
            i32.const {chunk}
            i32.lt_u
            select
            local.set 8
            local.get 4
            local.get 8
            i64.extend_i32_u
            i64.shl
            local.get 5
            i64.rem_u
            local.set 4
            local.get 6
            local.get 8
            i32.sub
            local.set 6
            br 0
          end
        end
        local.get 4
        i64.eqz
        if
          {kind}.const 0
          local.get 0
          {kind}.copysign
          return
        end
        ; normalise: shift left until the hidden bit is set, or until the exponent is that of denormals
        local.get 4
        i64.clz
        i32.wrap_i64
        i32.const {63 - mantissa}
        i32.sub
        local.tee 8
        local.get 7
        i32.const 1
        i32.sub
        local.get 8
        local.get 7
        i32.lt_u
        select
        local.set 8
        local.get 4
        local.get 8
        i64.extend_i32_u
        i64.shl
        local.tee 4
        i64.const {hidden - 1}
        i64.and
        local.get 7
        local.get 8
        i32.sub
        i32.const 0
        local.get 4
        i64.const {hidden}
        i64.ge_u
        select
        i64.extend_i32_u
        i64.const {mantissa}
        i64.shl
        i64.or
        {from_bits}
        local.get 0
        {kind}.copysign
    """


def helper(name: str) -> Function:
    """The helper of this name: "fmod_f32" or "fmod_f64"."""
    match name:
        case "fmod_f32":
            kind, text = F32, _remainder("f32", 23, 8)
        case "fmod_f64":
            kind, text = F64, _remainder("f64", 52, 11)
        case _:
            raise ValueError(f"there is no helper {name!r}")
    return Function(name, (kind, kind), (kind,), ((4, I64), (3, I32)), assemble(text))
