"""Fit the polynomials of hither.kernels.math and write src/hither/kernels/math_coefficients.py.

Every approximation is a minimax fit by the Remez exchange algorithm (E. Ya. Remez, 1934), in mpmath's arbitrary precision, of
weight · (target - approximation); the weight turns the error into one relative to the function computed. Coefficients are
rounded to the format one after the other from the lowest degree up, the others refitted around each that is rounded. Run:

    python bench/fit_polynomials.py
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath
from mpmath import mp, mpf

mp.dps = 50
Real = Callable[[mpf], mpf]
GRID = 400


@dataclass(frozen=True)
class Fit:
    """What to approximate: `target` on [low, high] by a polynomial of `degree`, the error weighted by `weight`."""

    name: str
    target: Real
    weight: Real
    low: mpf
    high: mpf
    degree: int


def rounded(value: mpf, bits: int) -> float:
    """The value in float32 or float64."""
    return struct.unpack("f", struct.pack("f", float(value)))[0] if bits == 32 else float(value)


def chebyshev_points(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Extrema of the Chebyshev polynomial on [low, high]."""
    return [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]


def horner(coefficients: list[mpf], x: mpf) -> mpf:
    """The polynomial with these coefficients, lowest degree first."""
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def sampled(fit: Fit, count: int) -> tuple[list[mpf], list[mpf], list[mpf]]:
    """Points, targets and weights, without the points where nothing counts."""
    points = [(x, fit.weight(x)) for x in chebyshev_points(fit.low, fit.high, count)]
    largest = max(w for _, w in points)
    kept = [(x, w) for x, w in points if w > largest * mpf(10) ** -9]
    return [x for x, _ in kept], [fit.target(x) for x, _ in kept], [w for _, w in kept]


def exchange(errors: list[mpf], count: int) -> list[int]:
    """Positions of `count` alternating extrema of the error."""
    runs: list[int] = []
    for i, e in enumerate(errors):
        if runs and (e > 0) == (errors[runs[-1]] > 0):
            if abs(e) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        if len(runs) == count + 1:  # drop an end, so that the signs still alternate
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
        else:
            smallest = min(range(len(runs) - 1), key=lambda i: max(abs(errors[runs[i]]), abs(errors[runs[i + 1]])))
            del runs[smallest : smallest + 2]
    return runs


def remez(fit: Fit, fixed: list[mpf]) -> list[mpf]:
    """The minimax polynomial, with its lowest coefficients given."""
    grid, target, weight = sampled(fit, GRID)
    degrees = range(len(fixed), fit.degree + 1)
    count = len(degrees) + 1
    reference = [int((len(grid) - 1) * (i + 0.5) / count) for i in range(count)]
    best, least = list(fixed), mpf("inf")
    for _ in range(40):
        rows = [[*(grid[i] ** d for d in degrees), (-1) ** n / weight[i]] for n, i in enumerate(reference)]
        right = [target[i] - horner(fixed, grid[i]) for i in reference]
        solved = list(mp.lu_solve(mp.matrix(rows), mp.matrix(right)))
        top = fixed + solved[:-1]
        errors = [w * (t - horner(top, x)) for x, t, w in zip(grid, target, weight)]
        worst = max(map(abs, errors))
        if worst < least:
            best, least = top, worst
        following = exchange(errors, count)
        if len(following) < count or following == reference:
            break
        reference = following
    return best


def fit_rounded(fit: Fit, bits: int) -> tuple[list[float], float]:
    """Coefficients rounded to the format, and log2 of the largest weighted error."""
    fixed: list[mpf] = []
    top = remez(fit, fixed)
    while len(fixed) <= fit.degree:
        fixed.append(mpf(rounded(top[len(fixed)], bits)))
        if bits == 32 and len(fixed) <= fit.degree:  # in float64 the roundings of higher terms do not matter
            top = remez(fit, fixed)
    error = max(abs(w * (t - horner(fixed, x))) for x, t, w in zip(*sampled(fit, GRID)))
    return [float(c) for c in fixed], float(mp.log(error, 2))


# -- the functions -----------------------------------------------------------------------------------------------------------


def series(exact: Real, terms: Callable[[int], mpf], first: int) -> Real:
    """`exact` away from zero, where it cancels; near zero the power series Σ terms(n)·z^(n - first)."""
    return lambda z: (
        exact(z) if abs(z) > mpf("1e-3") else mp.fsum(terms(n) * z ** (n - first) for n in range(first, first + 14))
    )


def odd(f: Real) -> Real:
    """A weight: error in (f(t) - t)/t³, as a function of t², relative to f."""
    return lambda z: z * mp.sqrt(z) / f(mp.sqrt(z)) if z else mpf("1e-30")


def factorial(n: int) -> mpf:
    return mpf(math.factorial(n))


EXP = series(lambda r: (mp.exp(r) - 1 - r) / r**2, lambda n: 1 / factorial(n), 2)
EXP2 = series(lambda r: (mp.power(2, r) - 1) / r, lambda n: mp.log(2) ** n / factorial(n), 1)
LOG = series(lambda f: (mp.log(1 + f) - f + f**2 / 2) / f**3, lambda n: mpf((-1) ** (n + 1)) / n, 3)
SIN = series(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda n: (-1) ** n / factorial(2 * n + 1), 1)
COS = series(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, lambda n: (-1) ** n / factorial(2 * n), 2)
ATAN = series(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, lambda n: mpf((-1) ** n) / (2 * n + 1), 1)
ASIN = series(
    lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
    lambda n: mp.binomial(2 * n, n) / (mpf(4) ** n * (2 * n + 1)),
    1,
)
ERF = series(
    lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
    lambda n: 2 / mp.sqrt(mp.pi) * (-1) ** n / (factorial(n) * (2 * n + 1)) - (n == 0),
    0,
)


def atanh_series(first: int) -> Real:
    """(2·atanh(s) - its terms below s^(2·first + 1)) / s^(2·first + 1), as a function of s²."""
    return lambda z: mp.fsum(2 * z ** (n - first) / (2 * n + 1) for n in range(first, first + 40))


ERFCX_CENTRE = 4


def erfcx_scaled(q: mpf) -> mpf:
    """e^(x²)·erfc(x)·(1 + 2x) at x = centre·(1 + q)/(1 - q)."""
    x = ERFCX_CENTRE * (1 + q) / (1 - q)
    return mp.exp(x * x) * mp.erfc(x) * (1 + 2 * x)


def mapped(x: float) -> mpf:
    return (mpf(x) - ERFCX_CENTRE) / (mpf(x) + ERFCX_CENTRE)


HALF_LN2, PI_4, TAN_PI_8 = mp.log(2) / 2 * mpf("1.001"), mp.pi / 4 * mpf("1.0001"), mp.sqrt(2) - 1
SMALL, LARGE = mp.sqrt(mpf(1) / 2) - 1, mp.sqrt(2) - 1
ATANH_Z = (LARGE / (2 + LARGE)) ** 2


def fits(bits: int) -> list[Fit]:
    """The fits of a format; degrees are the least that leave the error below an eighth of an ulp or so."""
    wide = bits == 64

    def exp_weight(r: mpf) -> mpf:
        return r**2 / mp.exp(r)

    def log_weight(f: mpf) -> mpf:
        return abs(f**3 / mp.log(1 + f)) if f else mpf("1e-30")

    made = [
        Fit("EXP", EXP, exp_weight, -HALF_LN2, HALF_LN2, 10 if wide else 4),
        Fit("EXP2", EXP2, lambda r: abs(r) / mp.power(2, r), mpf("-0.501"), mpf("0.501"), 11 if wide else 6),
        Fit("SIN", SIN, odd(mp.sin), mpf(0), PI_4**2, 5 if wide else 2),
        Fit("COS", COS, lambda z: z**2 / mp.cos(mp.sqrt(z)), mpf(0), PI_4**2, 5 if wide else 2),
        Fit("ATAN", ATAN, odd(mp.atan), mpf(0), TAN_PI_8**2, 10 if wide else 4),
        Fit("ASIN", ASIN, odd(mp.asin), mpf(0), mpf("0.25"), 12 if wide else 4),
        Fit("ATANH5", atanh_series(2), lambda z: z**2, mpf(0), ATANH_Z, 6 if wide else 2),
        Fit(
            "ERFCX", erfcx_scaled, lambda q: 1 / erfcx_scaled(q), mapped(0), mapped(27.5 if wide else 10.5), 23 if wide else 10
        ),
    ]
    if wide:
        made += [
            Fit("ATANH3", atanh_series(1), lambda z: z, mpf(0), ATANH_Z, 6),
            Fit("ERF", ERF, lambda z: 1 / (1 + ERF(z)), mpf(0), mpf(1), 12),
        ]
    else:
        made += [
            Fit("LOG", LOG, log_weight, SMALL, LARGE, 7),
            Fit("ERF", ERF, lambda z: 1 / (1 + ERF(z)), mpf(0), mpf("0.88"), 6),
            Fit(
                "LOG2_ERFC", lambda a: mp.log(mp.erfc(a), 2), lambda a: mp.log(2) * mp.erfc(a) / mp.erf(a), mpf("0.92"),
                mpf("3.95"), 6,
            ),
        ]  # fmt: skip
    return made


HEADER = '''"""Coefficients of the approximations in hither.kernels.math, lowest degree first.

Written by bench/fit_polynomials.py, which says what each one approximates; the comments give the largest error of the exact
polynomial, relative to the function. Do not edit.
"""

from __future__ import annotations

'''


def main() -> None:
    """Fit everything and write the table."""
    lines = [HEADER.rstrip("\n"), ""]
    for bits in (32, 64):
        lines.append(f"FLOAT{bits}: dict[str, tuple[float, ...]] = {{")
        for fit in fits(bits):
            coefficients, error = fit_rounded(fit, bits)
            print(f"float{bits} {fit.name}: error 2^{error:.1f}", flush=True)
            lines.append(f'    "{fit.name}": (  # 2^{error:.1f}')
            lines += [f"        {c!r}," for c in coefficients]
            lines.append("    ),")
        lines += ["}", ""]
    path = Path(__file__).parent.parent / "src/hither/kernels/math_coefficients.py"
    path.write_text("\n".join(lines))


if __name__ == "__main__":
    print("mpmath", mpmath.__version__)
    main()
