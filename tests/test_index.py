"""Index arithmetic against brute force: what an Index simplifies to is worth what the expression it came from was worth."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.index import Atom, Index, Quotient, Remainder, Var, constant, variable
from hither.kernels.ir import INDEX, Machine

from .kernel_interpreter import interpret

Environment = dict[Var, int]
Meaning = Callable[[Environment], int]


def value_of(index: Index, env: Environment) -> int:
    """What an Index is worth, by the definition of its atoms."""

    def atom(a: Atom) -> int:
        match a:
            case Var():
                return env[a]
            case Quotient():
                return value_of(a.index, env) // a.divisor
            case Remainder():
                return value_of(a.index, env) % a.divisor

    return index.const + sum(c * atom(a) for a, c in index.terms.items())


def environments(variables: list[Var]) -> list[Environment]:
    """Every assignment of the variables."""
    ranges = [range(-(-v.low // v.multiple) * v.multiple, v.high + 1, v.multiple) for v in variables]
    return [dict(zip(variables, values)) for values in itertools.product(*ranges)]


@st.composite
def variables(draw: st.DrawFn) -> list[Var]:
    made = []
    for i in range(draw(st.integers(1, 3))):
        multiple = draw(st.sampled_from([1, 1, 2, 4]))
        low = draw(st.sampled_from([0, 0, 0, -1, -2])) * multiple
        made.append(Var(f"v{i}", low, low + draw(st.integers(0, 5)) * multiple, multiple))
    made.append(Var("lane", 0, 3, lane=True))
    return made


@st.composite
def expressions(draw: st.DrawFn) -> tuple[list[Var], Index, Meaning]:
    """An Index built by random arithmetic, and the same arithmetic on numbers."""
    chosen = draw(variables())
    pool: list[tuple[Index, Meaning]] = [(variable(v), lambda env, v=v: env[v]) for v in chosen]
    for _ in range(draw(st.integers(1, 7))):
        (x, fx) = draw(st.sampled_from(pool))
        match draw(st.sampled_from(["add", "scale", "shift", "div", "mod", "negate", "div", "mod", "add"])):
            case "add":
                y, fy = draw(st.sampled_from(pool))
                made = (x + y, lambda env, f=fx, g=fy: f(env) + g(env))
            case "scale":
                c = draw(st.sampled_from([2, 3, 4, 6, 8, 12, -1, 0]))
                made = (x * c, lambda env, f=fx, c=c: f(env) * c)
            case "shift":
                c = draw(st.integers(-9, 9))
                made = (x + c, lambda env, f=fx, c=c: f(env) + c)
            case "negate":
                c = draw(st.integers(0, 20))
                made = (c - x, lambda env, f=fx, c=c: c - f(env))
            case "div":
                c = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12, 24]))
                made = (x // c, lambda env, f=fx, c=c: f(env) // c)
            case _:
                c = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12, 24]))
                made = (x % c, lambda env, f=fx, c=c: f(env) % c)
        pool.append(made)
    index, meaning = pool[-1]
    return chosen, index, meaning


@given(expressions())
@settings(max_examples=400)
def test_simplification_keeps_the_value(case: tuple[list[Var], Index, Meaning]) -> None:
    chosen, index, meaning = case
    for env in environments(chosen):
        value = meaning(env)
        assert value_of(index, env) == value, f"{index} at {env}"
        assert index.low <= value <= index.high, f"{index} at {env} outside {index.low}…{index.high}"


@given(expressions(), st.sampled_from([2, 3, 4, 6, 12]), st.sampled_from([1, 2, 3, -2]))
@settings(max_examples=200)
def test_quotient_and_remainder_recombine(case: tuple[list[Var], Index, Meaning], divisor: int, factor: int) -> None:
    """Undoing a reshape leaves nothing behind: (x // d)·d + x % d is x, also scaled."""
    _, index, _ = case
    again = (index // divisor) * (divisor * factor) + (index % divisor) * factor
    for env in environments(case[0])[:64]:
        assert value_of(again, env) == factor * value_of(index, env)


@given(expressions())
@settings(max_examples=200)
def test_lane_stride_is_the_step_between_lanes(case: tuple[list[Var], Index, Meaning]) -> None:
    chosen, index, meaning = case
    stride = index.lane_stride()
    if stride is None:
        return
    *others, lane = chosen
    for env in environments(others):
        values = [meaning({**env, lane: i}) for i in range(4)]
        assert np.all(np.diff(values) == stride), f"{index} steps {np.diff(values)}, not {stride}"


@given(expressions())
@settings(max_examples=60)
def test_the_builder_computes_what_an_index_says(case: tuple[list[Var], Index, Meaning]) -> None:
    """Lowered to kernel IR and run: floor division and remainder by shifts and truncating operations."""
    chosen, index, meaning = case
    *others, lane = chosen
    k = Builder(Machine("llvm"), width=4)
    x, y = k.buffer("x", dt.int64, len(others) + 1), k.buffer("y", dt.int64, 4, "write")
    bound = [Var(v.name, v.low, v.high, v.multiple, k.load(x, i, dtype=INDEX)) for i, v in enumerate(others)]
    replaced = dict(zip(others, bound))

    def rebuilt(i: Index) -> Index:
        total = constant(i.const)
        for atom, c in i.terms.items():
            match atom:
                case Var():
                    total = total + variable(replaced.get(atom, atom)) * c
                case Quotient():
                    total = total + variable(Quotient(rebuilt(atom.index), atom.divisor)) * c
                case Remainder():
                    total = total + variable(Remainder(rebuilt(atom.index), atom.divisor)) * c
        return total

    k.store(y, 0, k.broadcast(k.convert(k.index(rebuilt(index)), dt.int64), 4))
    kernel = k.finish("index")
    for env in environments(others)[::7]:
        result = np.zeros(4, np.int64)
        interpret(kernel, [np.array([*(env[v] for v in others), 0]), result])
        assert result.tolist() == [meaning({**env, lane: i}) for i in range(4)], f"{index} at {env}"


# -- what must simplify ------------------------------------------------------------------------------------------------------


def test_a_reshape_and_its_inverse_cancel() -> None:
    """(6, 4, 10) flattened, seen as (24, 10) and as (240,), and back: no division is left."""
    a, b, c = (variable(Var(name, 0, extent - 1)) for name, extent in (("a", 6), ("b", 4), ("c", 10)))
    flat = a * 40 + b * 10 + c
    assert flat // 40 == a and flat // 10 % 4 == b and flat % 10 == c
    assert flat // 10 == a * 4 + b
    assert (flat // 10) * 10 + flat % 10 == flat


def test_a_flat_index_split_and_joined_again_is_itself() -> None:
    flat = variable(Var("flat", 0, 239))
    joined = (flat // 40) * 40 + (flat // 10 % 4) * 10 + flat % 10
    assert joined == flat and not joined.has_division()


def test_ranges_decide() -> None:
    i = variable(Var("i", 0, 7))
    assert i // 8 == constant(0) and i % 8 == i
    assert (i + 8) // 8 == constant(1) and (i + 8) % 8 == i
    assert (i - 8) // 8 == constant(-1)


def test_multiples_let_vectors_through() -> None:
    """A vector of 4 at a multiple of 4 stays within one row of 12: contiguous, although the flat index is divided."""
    flat = variable(Var("i", 0, 44, multiple=4)) + variable(Var("lane", 0, 3, lane=True))
    row, column = flat // 12, flat % 12
    assert row.lane_stride() == 0 and column.lane_stride() == 1
    assert (flat // 3).lane_stride() is None and (flat * 5).lane_stride() == 5


@pytest.mark.parametrize("divisor", [0, -3])
def test_division_by_what_is_not_positive_is_refused(divisor: int) -> None:
    with pytest.raises(ValueError, match="positive constants"):
        variable(Var("i", 0, 3)) // divisor


def test_nearest_neighbour_resizing_reads_vectors_of_channels() -> None:
    """Channels last, twice as high and wide: index arithmetic that left the channel in a quotient made every read a gather."""
    lane, channel = variable(Var("lane", 0, 3, lane=True)), variable(Var("channel", 0, 92, 4))
    y, x = variable(Var("y", 0, 79)), variable(Var("x", 0, 79))
    line = ((channel + lane) * 80 + y) // 2  # of a channels-first picture of 40 lines
    assert line == (channel + lane) * 40 + y // 2
    flat = (line * 40 + x // 2) % 1600 * 96 + (line * 40 + x // 2) // 1600
    assert flat.lane_stride() == 1
