"""Index arithmetic that simplifies itself: sums of loop variables, with division and remainder by constants.

Views (reshape, transpose, slice, pad, broadcast) are functions from a result's index to an operand's index. Composed, they
build towers of // and %; most cancel once ranges are known. An `Index` is a constant plus a sum of coefficient × atom; an
atom is a loop variable, a run-time value, or a quotient or remainder that would not simplify. What is left tells the
lowering whether a vector of neighbouring elements is one contiguous load, one splat, or a gather.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Var:
    """A loop variable or a run-time value: `low <= value <= high`, always a multiple of `multiple`.

    `value` is the kernel IR value it stands for; `lane` marks the variable that counts the lanes of a vector.
    """

    name: str
    low: int
    high: int
    multiple: int = 1
    value: Any = None
    lane: bool = False
    varies: bool = False  # a run-time vector value (a gathered index): differs from lane to lane

    def varies_by_lane(self) -> bool:
        return self.lane or self.varies


class _Divided:
    """What a quotient and a remainder have in common. Equal by value; ranges and hash are computed once."""

    __slots__ = ("_hash", "_partner", "divisor", "high", "index", "low", "multiple")

    def __init__(self, index: Index, divisor: int, low: int, high: int, multiple: int) -> None:
        self.index, self.divisor = index, divisor
        self.low, self.high, self.multiple = low, high, multiple
        self._hash = hash((type(self).__name__, index._hash, divisor))
        self._partner: Atom | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.divisor == other.divisor and self.index == other.index)

    def __hash__(self) -> int:
        return self._hash

    def varies_by_lane(self) -> bool:
        return self.index.varies_by_lane()


class Quotient(_Divided):
    """floor(index / divisor), when it did not simplify."""

    __slots__ = ()

    def __init__(self, index: Index, divisor: int) -> None:
        multiple = 1
        if len(index.terms) == 1 and index.const == 0:
            ((atom, c),) = index.terms.items()
            if c * atom.multiple % divisor == 0:
                multiple = abs(c) * atom.multiple // divisor
        super().__init__(index, divisor, index.low // divisor, index.high // divisor, multiple)


class Remainder(_Divided):
    """index mod divisor (never negative), when it did not simplify."""

    __slots__ = ()

    def __init__(self, index: Index, divisor: int) -> None:
        super().__init__(index, divisor, 0, divisor - 1, 1)

    @property
    def partner(self) -> Atom | None:
        """The atom that index // divisor is, if it is one: the other half of a number written in this base."""
        if self._partner is None:
            quotient = _quotient(self.index, self.divisor)
            ((atom, one),) = quotient.terms.items() if len(quotient.terms) == 1 else ((self, 0),)
            self._partner = atom if one == 1 and quotient.const == 0 else self
        return None if self._partner is self else self._partner


Atom = Var | Quotient | Remainder


class Index:
    """An integer expression: `const + Σ coefficient · atom`. Immutable; hashable by value."""

    __slots__ = ("_hash", "const", "high", "low", "terms")

    def __init__(self, terms: dict[Atom, int], const: int = 0) -> None:
        for atom, c in terms.items():
            if c == 0 or (atom.low == 0 == atom.high):
                terms = {a: k for a, k in terms.items() if k != 0 and not (a.low == 0 == a.high)}
                break
        if len(terms) > 1:
            terms, const = _recombine(terms, const)
        low = high = const
        for atom, c in terms.items():
            if c > 0:
                low, high = low + c * atom.low, high + c * atom.high
            else:
                low, high = low + c * atom.high, high + c * atom.low
        self._set(terms, const, low, high)

    def _set(self, terms: dict[Atom, int], const: int, low: int, high: int) -> None:
        self.terms, self.const, self.low, self.high = terms, const, low, high
        self._hash = hash((frozenset(terms.items()), const))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Index) and self._hash == other._hash and self.const == other.const and self.terms == other.terms
        )

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return self._shifted(other) if other else self
        if not other.terms:
            return self._shifted(other.const)
        if not self.terms:
            return other._shifted(self.const)
        terms = dict(self.terms)
        for atom, c in other.terms.items():
            terms[atom] = terms.get(atom, 0) + c
        return Index(terms, self.const + other.const)

    __radd__ = __add__

    def _shifted(self, by: int) -> Index:
        made = object.__new__(Index)
        made._set(self.terms, self.const + by, self.low + by, self.high + by)
        return made

    def __mul__(self, factor: int) -> Index:
        if factor == 1:
            return self
        if factor == 0:
            return constant(0)
        made = object.__new__(Index)
        low, high = sorted((self.low * factor, self.high * factor))
        made._set({a: c * factor for a, c in self.terms.items()}, self.const * factor, low, high)
        return made

    __rmul__ = __mul__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index | int) -> Index:
        return self + -other

    def __rsub__(self, other: int) -> Index:
        return -self + other

    def __floordiv__(self, divisor: int) -> Index:
        return _divide(self, divisor)[0]

    def __mod__(self, divisor: int) -> Index:
        return _divide(self, divisor)[1]

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def varies_by_lane(self) -> bool:
        return any(a.varies_by_lane() for a in self.terms)

    def lane_stride(self) -> int | None:
        """How far apart neighbouring lanes are: 0 the same element, 1 contiguous; None where that is not constant."""
        stride = 0
        for atom, c in self.terms.items():
            if isinstance(atom, Var) and atom.lane:
                stride = c
            elif atom.varies_by_lane():
                return None
        return stride

    def has_division(self) -> bool:
        """Whether a quotient or remainder is left in it."""
        return any(not isinstance(a, Var) for a in self.terms)

    def __repr__(self) -> str:
        parts = [str(self.const)] if self.const or not self.terms else []
        for atom, c in self.terms.items():
            match atom:
                case Var():
                    text = atom.name
                case Quotient():
                    text = f"({atom.index!r} // {atom.divisor})"
                case Remainder():
                    text = f"({atom.index!r} % {atom.divisor})"
            parts.append(text if c == 1 else f"{c}*{text}")
        return " + ".join(parts)


def constant(value: int) -> Index:
    """The Index that is always `value`."""
    return Index({}, int(value))


def variable(atom: Atom) -> Index:
    """The Index that is this atom."""
    return Index({atom: 1}, 0)


def _recombine(terms: dict[Atom, int], const: int) -> tuple[dict[Atom, int], int]:
    """k·d·(x // d) + k·(x % d) is k·x: what undoing a reshape leaves behind."""
    for atom, c in terms.items():
        if not isinstance(atom, Remainder):
            continue
        other = atom.partner
        if other is None or terms.get(other) != c * atom.divisor:
            continue
        rest = {a: k for a, k in terms.items() if a != atom and a != other}
        for a, k in atom.index.terms.items():
            rest[a] = rest.get(a, 0) + c * k
        return _recombine({a: k for a, k in rest.items() if k}, const + c * atom.index.const)
    return terms, const


def _divide(index: Index, divisor: int) -> tuple[Index, Index]:
    """Quotient and remainder by a positive constant, simplified as far as ranges and common factors allow.

    Write index = g·a + b with 0 <= b < g and g a divisor of `divisor`; then index // divisor = a // (divisor/g) and
    index % divisor = g·(a % (divisor/g)) + b. Terms are tried as part of b from the smallest stride up.
    """
    if divisor <= 0:
        raise ValueError(f"division by {divisor}: index arithmetic divides by positive constants only")
    if divisor == 1:
        return index, constant(0)
    if index.low >= 0 and index.high < divisor:
        return constant(0), index
    ordered = sorted(index.terms.items(), key=lambda item: abs(item[1] * item[0].multiple))
    for count in range(len(ordered) + 1):
        small, large = ordered[:count], ordered[count:]
        g = math.gcd(divisor, *[c * atom.multiple for atom, c in large])
        if g == 1:
            continue
        base, offset = divmod(index.const, g)
        b = Index(dict(small), offset)
        if not (b.low >= 0 and b.high < g):
            continue
        a = _exact(large, base, g)
        if a is None:
            continue
        if g == divisor:
            return a, b
        quotient, remainder = _divide(a, divisor // g)  # fewer terms, a smaller divisor: more may drop out
        return quotient, remainder * g + b
    whole = {atom: c // divisor for atom, c in index.terms.items() if c % divisor == 0}
    if whole:  # what varies in steps of the divisor is no part of the remainder, and stays what it is in the quotient
        base, offset = divmod(index.const, divisor)
        quotient, remainder = _divide(Index({a: c for a, c in index.terms.items() if a not in whole}, offset), divisor)
        return quotient + Index(whole, base), remainder
    return _quotient(index, divisor), _remainder(index, divisor)


def _exact(large: list[tuple[Atom, int]], base: int, g: int) -> Index | None:
    """Σ (c/g)·atom + base. An atom whose coefficient is not itself a multiple of g (its values are) is scaled first."""
    terms: dict[Atom, int] = {}
    const = base
    for atom, c in large:
        if c % g == 0:
            terms[atom] = terms.get(atom, 0) + c // g
        else:
            needed = g // math.gcd(g, c)  # atom // needed is exact, since atom is a multiple of it
            scaled = Quotient(Index({atom: 1}, 0), needed)
            terms[scaled] = terms.get(scaled, 0) + c // (g // needed)
    return Index(terms, const)


def _quotient(index: Index, divisor: int) -> Index:
    if len(index.terms) == 1 and index.const == 0:
        (atom, c), *_ = index.terms.items()
        if c == 1 and isinstance(atom, Quotient):  # (x // a) // b = x // (a·b)
            return variable(Quotient(atom.index, atom.divisor * divisor))
    return variable(Quotient(index, divisor))


def _remainder(index: Index, divisor: int) -> Index:
    if len(index.terms) == 1 and index.const == 0:
        (atom, c), *_ = index.terms.items()
        if c == 1 and isinstance(atom, Remainder) and atom.divisor % divisor == 0:  # (x % ab) % b = x % b
            return atom.index % divisor
    return variable(Remainder(index, divisor))
