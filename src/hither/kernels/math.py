"""Transcendental functions, written once in kernel IR, so that every target agrees and no object needs a libm.

`FUNCTIONS[name](k, *values)` builds the function with a Builder for float32 or float64 values of any width. They are written
for vectors: selects instead of branches but for two rare uniform ones (the exact reduction of huge angles, the loop of fmod).
float32 uses 32-bit integers only, for WGSL. Each docstring gives method, source and error bound. Bounds hold whether or not
fma rounds once and are asserted in tests/test_kernel_math.py; they assume correctly rounded division and square root, which
GPUs may miss by 2.5 ulp. Special values are NumPy's; a GPU may flush denormals and lose NaN in `min` and `max`.
"""

from __future__ import annotations

from collections.abc import Callable

from .ir import Val
from .math_algebraic import cbrt, fmod, mod, rsqrt
from .math_exponential import cosh, erf, erfc, exp, exp2, expm1, sigmoid, sinh, tanh
from .math_logarithm import acosh, asinh, atanh, log1p, log2_, log10_, log_, pow_, softplus
from .math_parts import is_finite, is_inf, is_nan
from .math_trigonometric import acos, asin, atan, atan2, cos, sin, tan_

FUNCTIONS: dict[str, Callable[..., Val]] = {
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log_,
    "log2": log2_,
    "log10": log10_,
    "log1p": log1p,
    "pow": pow_,
    "sin": sin,
    "cos": cos,
    "tan": tan_,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "atan2": atan2,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "erf": erf,
    "erfc": erfc,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "fmod": fmod,
    "mod": mod,
    "rsqrt": rsqrt,
    "cbrt": cbrt,
}

__all__ = ["FUNCTIONS", "is_finite", "is_inf", "is_nan"]
