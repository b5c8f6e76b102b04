"""Random programs of public array functions whose results are exact, so that every target must give the same bits.

All values are small integers, whatever their dtype: sums and products of them are exact in every order, results are brought
back to -9 … 9, and results of inexact functions are rounded far from halfway. So a difference is never rounding: it is a
value read at the wrong place, at the wrong time, or not at all. Fusion, layout, memory planning and control flow are what is
tested; the op table tests what each function computes.

`python -m tests.random_programs --device wasm --seconds 600` tries new ones, and prints those that fail.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import hither as ht
from hither.errors import HitherError

from .targets import on_target, oracle

EXTENTS = (1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 16, 17, 33)
MAX_SIZE = 3000
FLOATS = ("float32", "float16", "float64")
DTYPES = ("float32", "float32", "float32", "int32", "int64", "uint8", "bool", "float16", "float64", "int8")

DTYPES_OF = {"cpu": DTYPES, "wasm": DTYPES, "webgpu": tuple(d for d in DTYPES if d != "float64")}

Values = Sequence[Any]
Made = tuple[str, Callable[[Values], Any]]


@dataclass
class RandomProgram:
    """A function of arrays as a list of steps; each step appends one value. Printing it shows what it computes."""

    inputs: list[np.ndarray]
    steps: list[Made] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def __call__(self, *arrays: Any) -> list[Any]:
        values = list(arrays)
        for _, step in self.steps:
            values.append(step(values))
        return [values[i] for i in self.outputs]

    def __str__(self) -> str:
        lines = [f"v{i} = {a.dtype.name}{list(a.shape)}" for i, a in enumerate(self.inputs)]
        lines += [f"v{i} = {text}" for i, (text, _) in enumerate(self.steps, len(self.inputs))]
        return "\n".join([*lines, f"return {', '.join(f'v{i}' for i in self.outputs)}"])


def small(choose: random.Random, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of small integers."""
    rng = np.random.default_rng(choose.getrandbits(16))
    low = 0 if dtype == "bool" or dtype.startswith("uint") else -9
    return rng.integers(low, 2 if dtype == "bool" else 10, shape).astype(dtype)


def bounded(x: Any) -> Any:
    """Back to -9 … 9."""
    return x if _name(x) == "bool" else ht.clip(x, 0 if _name(x).startswith("uint") else -9, 9)


def random_program(choose: random.Random, dtypes: Sequence[str] = DTYPES, steps: int = 12) -> RandomProgram:
    """A program of at most `steps` steps over inputs of these dtypes."""
    inputs = [small(choose, _shape(choose), choose.choice(dtypes)) for _ in range(choose.randint(1, 3))]
    program = RandomProgram(inputs)
    values: list[Any] = [ht.asarray(a) for a in inputs]
    for _ in range(choose.randint(1, steps)):
        make = choose.choices(list(MAKERS), list(MAKERS.values()))[0]
        source = choose.randrange(len(values)) if choose.random() < 0.3 else len(values) - 1
        made = make(choose, values, source, dtypes)
        if made is None:
            continue
        try:
            value = made[1](values)
        except (HitherError, ValueError, TypeError, IndexError):
            continue  # not a function of these arrays: eager use refuses it too
        if value.size > MAX_SIZE:
            continue
        program.steps.append(made)
        values.append(value)
    others = [choose.randrange(len(values)) for _ in range(choose.randint(0, 2))]
    program.outputs = [len(values) - 1, *others]
    return program


def check_program(device: str, program: RandomProgram) -> None:
    """Assert that a target gives what the evaluator gives, bit for bit."""
    for got, expected in zip(on_target(device, program, program.inputs), oracle(program, program.inputs), strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(got, expected)


def _shape(choose: random.Random) -> tuple[int, ...]:
    shape = tuple(choose.choice(EXTENTS) for _ in range(choose.choice((0, 1, 2, 2, 3, 3, 4, 4))))
    while math.prod(shape) > MAX_SIZE:
        shape = shape[1:]
    if shape and choose.random() < 0.03:
        shape = (*shape[:-1], 0)
    return shape


def _name(x: Any) -> str:
    return str(x.dtype)


def _is_float(x: Any) -> bool:
    return _name(x).startswith("float")


# -- steps: each takes the values so far and the number of one to work on ----------------------------------------------------


def unary(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    if _name(x) == "bool":
        return f"logical_not(v{i})", lambda v: ht.logical_not(v[i])
    functions: dict[str, Callable[[Any], Any]] = {
        "abs": ht.abs, "square": ht.square, "twice": lambda x: x * 2 + 1, "modulo": lambda x: ht.remainder(x, 3),
        "clip": lambda x: ht.clip(x, 1, 5), "relu": ht.relu, "sign": ht.sign,
    }  # fmt: skip
    if not _name(x).startswith("uint"):
        functions["negative"] = ht.negative
    if _is_float(x):
        functions |= {
            "tanh": lambda x: ht.round(ht.tanh(x) * 4), "exp": lambda x: ht.round(ht.exp(ht.minimum(x, 1)) * 3),
            "floor": lambda x: ht.floor(x / 2), "sqrt": lambda x: ht.round(ht.sqrt(ht.abs(x)) * 2),
            "sigmoid": lambda x: ht.round(ht.sigmoid(x) * 7),
        }  # fmt: skip
    name = choose.choice(list(functions))
    return f"{name}(v{i})", lambda v: bounded(functions[name](v[i]))


def binary(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    j = choose.choice([j for j, y in enumerate(values) if _name(y) == _name(x) and _broadcast(x.shape, y.shape) is not None])
    functions: dict[str, Callable[[Any, Any], Any]] = {
        "add": ht.add, "multiply": ht.multiply, "maximum": ht.maximum, "minimum": ht.minimum, "less": ht.less,
        "equal": ht.equal, "where": lambda a, b: ht.where(ht.less(a, b), a, ht.where(ht.equal(b, 3), b, a)),
    }  # fmt: skip
    if _name(x) == "bool":
        functions = {"and": ht.logical_and, "or": ht.logical_or, "xor": ht.logical_xor, "equal": ht.equal}
    elif not _name(x).startswith("uint"):
        functions["subtract"] = ht.subtract
    name = choose.choice(list(functions))
    return f"{name}(v{i}, v{j})", lambda v: bounded(functions[name](v[i], v[j]))


def constant(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    """Combine with a constant that broadcasts."""
    x = values[i]
    shape = tuple(choose.choice((1, n)) for n in x.shape)[choose.randint(0, x.ndim) :]
    array = small(choose, shape, _name(x))
    name = "equal" if _name(x) == "bool" else choose.choice(("add", "multiply", "maximum", "where"))

    def step(v: Values) -> Any:
        if name == "where":
            return ht.where(ht.asarray(array > 0), v[i], ht.asarray(array))
        return bounded(getattr(ht, name)(v[i], ht.asarray(array)))

    return f"{name}(v{i}, constant {list(shape)})", step


def cast(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    to = choose.choice(dtypes)
    return f"astype(v{i}, {to})", lambda v: bounded(ht.astype(v[i], to))


def view(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    shape, rank = tuple(x.shape), x.ndim
    axis = choose.randrange(rank) if rank else 0
    kind = choose.choice(
        ("permute", "permute", "reshape", "reshape", "expand", "flip", "roll", "slice", "slice", "broadcast", "pad", "tile",
         "swap_reshape")
    )  # fmt: skip
    match kind:
        case "permute":
            axes = choose.sample(range(rank), rank)
            return f"permute_dims(v{i}, {axes})", lambda v: ht.permute_dims(v[i], axes)
        case "reshape":
            to = _factors(choose, x.size)
            return f"reshape(v{i}, {to})", lambda v: ht.reshape(v[i], to)
        case "swap_reshape":
            axes, to = choose.sample(range(rank), rank), _factors(choose, x.size)
            return f"reshape(permute_dims(v{i}, {axes}), {to})", lambda v: ht.reshape(ht.permute_dims(v[i], axes), to)
        case "expand":
            at = choose.randint(0, rank)
            return f"expand_dims(v{i}, axis={at})", lambda v: ht.expand_dims(v[i], axis=at)
        case "broadcast":
            to = (choose.randint(1, 3), *(choose.choice((2, 5)) if n == 1 else n for n in shape))
            return f"broadcast_to(v{i}, {to})", lambda v: ht.broadcast_to(v[i], to)
    if not rank:
        return None
    match kind:
        case "flip":
            return f"flip(v{i}, axis={axis})", lambda v: ht.flip(v[i], axis=axis)
        case "roll":
            shift = choose.randint(-5, 5)
            return f"roll(v{i}, {shift}, axis={axis})", lambda v: ht.roll(v[i], shift, axis=axis)
        case "slice":
            start, step = choose.randint(0, max(shape[axis] - 1, 0)), choose.choice((1, 1, 2, 3, -1, -2))
            key = tuple([slice(None)] * axis + [slice(start, None, step)])
            return f"v{i}[axis {axis}: {start}::{step}]", lambda v: v[i][key]
        case "pad":
            mode = choose.choice(("constant", "constant", "edge", "reflect"))
            amounts = [(choose.randint(0, 2), choose.randint(0, 2)) for _ in shape]
            return f"pad(v{i}, {amounts}, {mode})", lambda v: ht.pad(v[i], amounts, mode=mode)
    times = [choose.choice((1, 1, 2)) for _ in shape]
    return f"tile(v{i}, {times})", lambda v: ht.tile(v[i], times)


def join(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    if not x.ndim:
        return None
    axis = choose.randrange(x.ndim)

    def fits(y: Any) -> bool:
        same = [a == b for d, (a, b) in enumerate(zip(x.shape, y.shape)) if d != axis]
        return _name(y) == _name(x) and y.ndim == x.ndim and all(same)

    chosen = [i, *choose.choices([j for j, y in enumerate(values) if fits(y)], k=choose.randint(1, 2))]
    return f"concat({', '.join(f'v{j}' for j in chosen)}, axis={axis})", lambda v: ht.concat([v[j] for j in chosen], axis=axis)


def reduce(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    axes = tuple(choose.sample(range(x.ndim), choose.randint(0, x.ndim))) or None
    keep = choose.random() < 0.5
    name = choose.choice(("any", "all") if _name(x) == "bool" else ("sum", "sum", "max", "min"))
    return f"{name}(v{i}, axis={axes}, keepdims={keep})", lambda v: bounded(getattr(ht, name)(v[i], axis=axes, keepdims=keep))


def normalise(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    """Several reductions over the same rows."""
    x = values[i]
    if not _is_float(x) or not x.ndim or not x.size:
        return None
    axis = choose.choice((-1, -1, choose.randrange(x.ndim)))
    functions: dict[str, Callable[[Any], Any]] = {
        "centred": lambda x: x - ht.round(ht.mean(x, axis=axis, keepdims=True) * 1.37),
        "below_max": lambda x: x - ht.max(x, axis=axis, keepdims=True),
        "spread": lambda x: ht.max(x, axis=axis, keepdims=True) - ht.min(x, axis=axis, keepdims=True) - x,
        "without_maxima": lambda x: ht.where(ht.equal(x, ht.max(x, axis=axis, keepdims=True)), 0, x),
    }  # fmt: skip
    if _name(x) != "float16":  # whose rounding reaches halfway
        functions["softmax"] = lambda x: ht.round(ht.softmax(x, axis=axis) * 3.3)
    name = choose.choice(list(functions))
    return f"{name}(v{i}, axis={axis})", lambda v: bounded(functions[name](v[i]))


def along(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    if not x.ndim or not x.size or _name(x) == "bool":
        return None
    axis, n = choose.randrange(x.ndim), x.size
    positions = np.random.default_rng(n).integers(0, x.shape[axis], choose.randint(1, 6)).astype(np.int32)
    order = {"sort": ht.sort, "argsort": ht.argsort, "cumulative_sum": ht.cumulative_sum, "argmax": ht.argmax}

    def take_computed(x: Any) -> Any:
        return ht.take(x, ht.astype(ht.abs(ht.reshape(x, (-1,))[:5]) % x.shape[axis], "int32"), axis=axis)

    def scatter(x: Any) -> Any:
        return ht.scatter_along_axis(x, ht.flip(ht.argsort(x, axis=axis), axis=axis), x, axis=axis, combine="add")

    functions: dict[str, Callable[[Any], Any]] = {
        **{name: lambda x, f=f: f(x, axis=axis) for name, f in order.items()},
        "take": lambda x: ht.take(x, ht.asarray(positions), axis=axis),
        "take_along": lambda x: ht.take_along_axis(x, ht.argsort(x, axis=axis), axis=axis),
        "take_computed": take_computed,
        "scatter": scatter,
    }
    name = choose.choice(list(functions))
    return f"{name}(v{i}, axis={axis})", lambda v: bounded(functions[name](v[i]))


def product(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    if x.ndim < 2 or _name(x) not in ("float32", "float16", "float64", "int32"):
        return None
    if choose.random() < 0.5:
        weights = small(choose, (x.shape[-1], choose.choice(EXTENTS)), _name(x))
        return f"matmul(v{i}, constant {list(weights.shape)})", lambda v: bounded(ht.matmul(v[i], ht.asarray(weights)))
    fitting = [j for j, y in enumerate(values) if y.ndim >= 2 and _name(y) == _name(x) and y.shape[-1] == x.shape[-1]]
    j = choose.choice(fitting)
    return f"matmul(v{i}, v{j}, transpose_b)", lambda v: bounded(ht.matmul(v[i], v[j], transpose_b=True))


def window(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    """Convolutions and pools; what is no picture becomes one."""
    x = values[i]
    if _name(x) not in ("float32", "float16") or not x.size:
        return None
    shape = tuple(x.shape) if x.ndim == 4 else (1, *_factors(choose, x.size, 3))
    channels = shape[1]
    padding, strides, size = choose.randint(0, 1), choose.choice((1, 1, 2)), choose.choice((1, 2, 3))
    kind = choose.choice(("conv", "conv", "depthwise", "max_pool", "avg_pool", "transpose"))
    out = channels if kind == "depthwise" else choose.choice(EXTENTS)
    weights = small(choose, (out, 1 if kind == "depthwise" else channels, size, size), _name(x))
    turned = np.ascontiguousarray(weights.swapaxes(0, 1))

    def step(v: Values) -> Any:
        picture = ht.reshape(v[i], shape)
        options = {"strides": strides, "padding": padding}
        match kind:
            case "max_pool":
                return ht.max_pool(picture, size, strides=strides)
            case "avg_pool":
                return bounded(ht.round(ht.avg_pool(picture, size, strides=strides) * 1.37))
            case "transpose":
                return bounded(ht.conv_transpose(picture, ht.asarray(turned), strides=strides))
        return bounded(ht.conv(picture, ht.asarray(weights), groups=channels if kind == "depthwise" else 1, **options))

    return f"{kind}(reshape(v{i}, {shape}), {list(weights.shape)}, strides={strides}, padding={padding})", step


def control(choose: random.Random, values: Values, i: int, dtypes: Sequence[str]) -> Made | None:
    x = values[i]
    j = choose.choice(
        [j for j, y in enumerate(values) if _name(y) == _name(x) and _broadcast(x.shape, y.shape) == tuple(x.shape)]
    )
    if _name(x) == "bool" or not x.size:
        return None
    if choose.random() < 0.5:
        return f"cond(any(v{i} > 3), multiply, maximum, v{j})", lambda v: ht.cond(
            ht.any(ht.greater(v[i], 3)), lambda a: bounded(a * v[j]), lambda a: ht.maximum(a, v[j]), v[i]
        )
    return f"fori_loop(0, 3, add(v{i}, v{j}))", lambda v: ht.fori_loop(
        0, ht.astype(ht.minimum(ht.max(ht.abs(v[j])), 3), "int32"), lambda _, a: bounded(a + v[j]), v[i]
    )


MAKERS: dict[Callable[..., Made | None], int] = {
    unary: 5, binary: 6, constant: 3, cast: 2, view: 9, join: 3, reduce: 4, normalise: 2, along: 3, product: 3, window: 3,
    control: 1,
}  # fmt: skip


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _factors(choose: random.Random, size: int, count: int | None = None) -> tuple[int, ...]:
    """A shape of this size."""
    shape = []
    for _ in range(choose.randint(0, 3) if count is None else count - 1):
        divisor = choose.choice([d for d in range(1, min(size, 40) + 1) if size % d == 0] or [1])
        shape.append(divisor)
        size //= divisor
    shape.insert(choose.randint(0, len(shape)), size)
    return tuple(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=DTYPES_OF, default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds to try")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    failed = 0
    for seed in itertools.count(args.seed):
        if time.monotonic() > end:
            break
        program = random_program(random.Random(seed), DTYPES_OF[args.device])
        try:
            check_program(args.device, program)
        except Exception as error:  # whatever it is, the program that leads to it is the finding
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {error}\n{program}\n")
    print(f"{args.device}: {seed - args.seed} programs, {failed} failed")


if __name__ == "__main__":
    main()
