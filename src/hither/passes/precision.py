"""Precision: large weights are stored in small numbers and widened where they are read.

Only storage changes. A float32 weight becomes a smaller constant and a `convert` of it, which is no work of its own: whoever
reads the weight, a product's panels or a gather, loads small numbers and widens them in registers. Sums, norms and whatever
else a net computes stay float32.

Weights that came from a file of small numbers are float32 by now, whatever they went through, but their values still are what
they were. So a weight whose values float16 or int8 with scales hold is stored so whatever the precision: nothing changes but
bytes.

Weights are what products multiply by and what gathers pick rows from. Constants that are added or compared (positions, anchors,
masks) keep all their digits, and so do small ones: together they are a few per cent of a model's bytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control
from ..graph.primitives.codes import pack_codes
from .bytes import UNSIGNED, Byte, ByteProducts, takes_bytes
from .channels import channel_axes
from .ranges import Range, digest_of

PRECISIONS = ("float32", "float16", "int8", "int4")  # of weights
ACTIVATIONS = ("float32", "float16", "int8")  # float16: what is stored between kernels; int8: what products are computed in
LEAST = 256  # elements of a weight that is worth storing small
BLOCK = 32  # codes of four bits that share a scale
SAMPLE = 4096  # numbers of a weight that tell whether it can be 16 bits and a scale
LEAST_STEP = 1 / 512  # of a quantised weight's largest magnitude: less between two of its magnitudes is rounding
EQUAL = 2.0**-20  # of a weight's largest magnitude: less is how float32 rounds scale · q + minimum, or a product
LARGEST_ERROR = 2.0**-10  # of a weight's largest magnitude; half of a float16's last digit is 2^-11


class PrecisionWarning(UserWarning):
    """A weight is stored in larger numbers than asked for, because those cannot hold it."""


@dataclass(frozen=True)
class Numbers:
    """What numbers a program stores and computes in: one of PRECISIONS, one of ACTIVATIONS, and what keeps float32 whatever is
    asked for: `kept` are digests of weights (`digest_of`) and names of results (kernels.halves). `steps`: what single weights
    are in instead, one of `steps_of`, by digest. `byte`: what products of bytes
    take; `ranges`: where operands of convolutions lay on samples, by the digest of the weights (see passes.ranges)."""

    precision: str = "float32"
    activations: str = "float32"
    kept: frozenset[str] = frozenset()
    steps: Mapping[str, str] = field(default_factory=dict)
    byte: Byte = UNSIGNED
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """ "float16"; with activations that are not float32, "int8/int8"."""
        return self.precision if self.activations == "float32" else f"{self.precision}/{self.activations}"

    def keeps(self, weight: np.ndarray) -> bool:
        """Whether a weight stays as it is."""
        return bool(self.kept) and digest_of(weight) in self.kept

    def of(self, weight: np.ndarray) -> Numbers:
        """What a weight is stored, and its products computed in."""
        step = self.steps.get(digest_of(weight)) if self.steps else None
        return self if step is None else in_step(self, step)


FLOAT32 = Numbers()


def steps_of(numbers: Numbers) -> tuple[str, ...]:
    """What a weight can be in, from what is asked for to float32, each larger and nearer to float32 than the one before."""
    first = PRECISIONS.index(numbers.precision)
    bytes_too = (f"{numbers.precision}/int8",) if numbers.activations == "int8" else ()
    return (*bytes_too, *reversed(PRECISIONS[1 : first + 1]), "float32")


def in_step(numbers: Numbers, step: str) -> Numbers:
    """Such numbers with weights as in one of `steps_of`."""
    precision, _, activations = step.partition("/")
    plain = "float32" if numbers.activations == "int8" else numbers.activations
    return replace(numbers, precision=precision, activations=activations or plain, steps={})


@dataclass(frozen=True)
class Small:
    """How a weight is stored: `numbers`, times `scale` where it has one. A scale belongs to what the axes `kept` count.

    `codes`: the numbers are codes with such parameters of `dequantize`, whose operands are `numbers`, `scale` and, where the
    middle of the codes is not 0, `zero`.
    """

    numbers: np.ndarray
    scale: np.ndarray | None = None
    kept: tuple[int, ...] = ()
    zero: np.ndarray | None = None
    codes: Mapping[str, Any] | None = None

    def parts(self) -> dict[str, np.ndarray]:
        """All that is stored, by what is added to the weight's name."""
        parts = {"": self.numbers, ".scale": self.scale, ".zero": self.zero}
        return {suffix: part for suffix, part in parts.items() if part is not None}

    def widened(self) -> np.ndarray:
        """The weight that the stored numbers stand for, in float32."""
        if self.codes is not None:
            return REGISTRY["dequantize"].run(*self.parts().values(), **self.codes)[0]
        wide = self.numbers.astype(np.float32)
        if self.scale is None:
            return wide
        spread = [n if axis in self.kept else 1 for axis, n in enumerate(wide.shape)]
        return np.asarray(wide * self.scale.reshape(spread))


def stored_small(graph: Graph, numbers: Numbers) -> dict[Value, Small]:
    """The weights of a Graph (its branch and loop bodies apart) that are stored small, and how."""
    found = {}
    for value, kept, axis in _weights(graph):
        weight = graph.constants[value]
        small = None if numbers.keeps(weight) else _small(graph, value, kept, axis, numbers.of(weight))
        if small is not None:
            found[value] = small
    return found


def store_weights(graph: Graph, numbers: Numbers) -> Graph:
    """The Graph with its weights stored and its products computed in such numbers; branch and loop bodies too.

    What the numbers of a weight must be multiplied by is applied to the result of the product or gather that reads them.
    Weights that the precision cannot hold stay as they are, with a PrecisionWarning that names them.
    """
    chosen = stored_small(graph, numbers)
    products = ByteProducts(graph, numbers.byte, numbers.ranges)
    widened: dict[Value, Value] = {}

    def operand(builder: GraphBuilder, value: Value) -> Value:
        if value not in chosen:
            return value
        if value not in widened:
            stored = builder.constant(chosen[value].numbers, value.name)
            (widened[value],) = builder.add(REGISTRY["convert"], (stored,), {"dtype": dt.float32})
        return widened[value]

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value]:
        params = node.params
        if isinstance(node.primitive.lowering, Control):
            params = {k: store_weights(v, numbers) if isinstance(v, Graph) else v for k, v in params.items()}
        weight = operands[1] if numbers.activations == "int8" and operands[1:] and operands[1] in chosen else None
        if weight is not None and numbers.of(graph.constants[weight]).activations == "int8":
            found = in_bytes(products, builder, node, operands[0], chosen[operands[1]], operands[1].name)
            if found is not None:
                return [found]
        coded = next((o for o in operands if o in chosen and chosen[o].codes is not None), None)
        if coded is not None:
            return [_of_codes(builder, node, operands, coded, chosen[coded])]
        results = list(builder.add(node.primitive, [operand(builder, o) for o in operands], params, node.source))
        for i, value in enumerate(operands):
            if value in chosen and (scale := chosen[value].scale) is not None:
                factor = builder.constant(scale, f"{value.name}.scale" if value.name else "")
                results = [_scaled(builder, node, operands, i, results[0], factor)]
        return results

    return rewrite(graph, rule)


def in_bytes(products: ByteProducts, builder: GraphBuilder, node: Node, x: Value, weight: Small, name: str) -> Value | None:
    """A product of x by a weight in bytes; None where it has to stay in floats."""
    if node.primitive.name not in ("matmul", "conv", "conv_transpose") or not _is_bytes(weight) or x in builder.constants:
        return None
    assert weight.scale is not None
    return products(builder, node, x, weight.numbers, weight.scale, name)


def takes_ranges(node: Node, weight: Small | None, byte: Byte) -> bool:
    """Whether a node is a convolution of bytes by such a weight, whose operand's range makes a scale."""
    if node.primitive.name not in ("conv", "conv_transpose") or weight is None or not _is_bytes(weight):
        return False
    return takes_bytes(node, node.operands[0], weight.numbers, byte)


def _is_bytes(weight: Small) -> bool:
    return weight.scale is not None and weight.numbers.dtype == np.int8


def widens(node: Node) -> bool:
    """Whether a node only makes small numbers float32: of a constant, that costs nothing but where it is read."""
    if node.primitive.name != "convert" or node.results[0].dtype is not dt.float32:
        return False
    return node.operands[0].dtype.bits < 32 and node.operands[0].dtype is not dt.bool_


# -- numbers -------------------------------------------------------------------------------------------------------------


def _small(graph: Graph, value: Value, kept: tuple[int, ...] | None, axis: int | None, numbers: Numbers) -> Small | None:
    """A weight as it is to be stored; None where nothing smaller holds it, with a warning if that was asked for."""
    weight, precision = graph.constants[value], numbers.precision
    if kept is not None and precision in ("float32", "int8"):
        exact = exact_int8(weight, kept, axis, numbers.activations != "float32")
        if exact is not None:
            return exact
    if precision == "float32":
        return exact_float16(weight) or (None if axis is None else exact_int16(weight, axis))
    if np.isfinite(weight).all():
        small = as_int4(weight, axis) if precision == "int4" and axis is not None else None
        if small is None:
            small = as_int8(weight, kept) if precision in ("int8", "int4") and kept is not None else as_float16(weight)
        if small is not None:
            return small
    largest = float(np.abs(weight).max())
    warnings.warn(
        f"the weight {value.name or 'without a name'} {list(weight.shape)} keeps float32: its largest magnitude is "
        f"{largest:g}, and float16 holds 6e-5 to 65504 with all digits",
        PrecisionWarning,
        stacklevel=2,
    )
    return None


def as_float16(weight: np.ndarray) -> Small | None:
    """A weight in float16; None where it overflows or is so small that its digits are lost."""
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    error = float(np.abs(half - weight).max(initial=0))
    return Small(half) if error <= LARGEST_ERROR * float(np.abs(weight).max(initial=0)) else None


def as_int8(weight: np.ndarray, kept: tuple[int, ...]) -> Small:
    """A weight in whole numbers of -127 to 127, with a scale for each index of the axes `kept`."""
    others = tuple(axis for axis in range(weight.ndim) if axis not in kept)
    largest = np.abs(weight).max(others, keepdims=True, initial=0)
    scale = np.where(largest > 0, largest, 127).astype(np.float32) / np.float32(127)
    numbers = np.rint(weight / scale).astype(np.int8)
    return Small(numbers, np.ascontiguousarray(scale.reshape([weight.shape[axis] for axis in kept])), kept)


def as_int4(weight: np.ndarray, axis: int) -> Small | None:
    """A weight in whole numbers of -7 to 7, with a float16 scale for each BLOCK of neighbours along an axis, the last one
    shorter perhaps. None where that is not smaller than int8, where a window's taps would share an element, and where the
    scales do not fit float16."""
    rows = np.moveaxis(weight, axis, -1)
    size = rows.shape[-1]
    blocks = -(-size // BLOCK)
    if -(-size // 2) + 2 * blocks >= size or (size % 2 and rows.ndim > 2):
        return None
    padded = np.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (0, blocks * BLOCK - size)]).reshape(*rows.shape[:-1], blocks, BLOCK)
    scale = as_float16(np.abs(padded).max(-1) / 7)
    if scale is None:
        return None
    step = np.maximum(scale.numbers.astype(np.float32), np.finfo(np.float32).tiny)[..., None]
    codes = np.clip(np.rint(padded / step), -7, 7) + 8
    packed = pack_codes(codes.reshape(*rows.shape[:-1], -1)[..., :size], 4)
    return Small(packed, scale.numbers, codes={"bits": 4, "block": BLOCK, "size": size, "axis": axis, "dtype": dt.float32})


def exact_float16(weight: np.ndarray) -> Small | None:
    """A weight in float16 if that is what it is."""
    for part in (weight.reshape(-1)[:LEAST], weight):  # most are found out by their first numbers
        with np.errstate(over="ignore"):
            half = part.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), part):
            return None
    return Small(half) if np.isfinite(half).all() else None


def exact_int8(weight: np.ndarray, kept: tuple[int, ...], axis: int | None, signed: bool) -> Small | None:
    """A weight in bytes with scales if it is such numbers, dequantised: of each index of the axes `kept`, whole multiples of a
    scale that span no more than 255.

    Where they are not all within int8, they are codes with zero points along `axis`, or without such an axis, float16, which
    holds whole numbers up to 2048; unless they have to be `signed` bytes.
    """
    rows = np.moveaxis(weight, kept, range(len(kept))).reshape(math.prod(weight.shape[a] for a in kept), -1)
    scale, numbers = np.ones(len(rows), np.float32), np.zeros(rows.shape, np.float32)
    largest = float(np.abs(weight).max(initial=0))
    for i, row in enumerate(rows):
        found = _multiples(row, largest)
        if found is None:
            return None
        numbers[i], scale[i] = found
    if signed and not _is_int8(numbers):
        return None
    shape = [weight.shape[a] for a in kept]
    others = [n for a, n in enumerate(weight.shape) if a not in kept]

    def in_place(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(rows.reshape(*shape, *others), range(len(kept)), kept))

    if _is_int8(numbers) or axis is None:
        kind = np.int8 if _is_int8(numbers) else np.float16
        return Small(in_place(numbers.astype(kind)), scale.reshape(shape), kept)
    zero = np.maximum(-numbers.min(1), 0).astype(np.uint8)
    codes = np.moveaxis(in_place((numbers + zero[:, None]).astype(np.uint8)), axis, -1)
    ones = [n if a in kept else 1 for a, n in enumerate(weight.shape) if a != axis]
    size = weight.shape[axis]
    params = {"bits": 8, "block": size, "size": size, "axis": axis, "dtype": dt.float32}
    return Small(np.ascontiguousarray(codes), scale.reshape(*ones, 1), zero=zero.reshape(*ones, 1), codes=params)


def exact_int16(weight: np.ndarray, axis: int) -> Small | None:
    """A weight in 16 bits with one scale and one zero point if it is such numbers, dequantised; codes along `axis`.

    Few of them tell: the least difference between magnitudes is about the scale, and each larger magnitude, a multiple of it,
    tells it better.
    """
    some = weight.reshape(-1)[:SAMPLE]
    if not np.isfinite(some).all():
        return None
    levels = np.unique(np.abs(some))
    steps = np.diff(levels, prepend=0)
    steps = steps[steps > levels[-1] / 2**17]
    if not len(steps):
        return None
    scale = np.float64(steps.min())
    for level in levels[levels > scale / 2]:
        times = np.rint(level / scale)
        if abs(times * scale - level) > 4 * EQUAL * 65535 * scale:
            return None
        scale = level / times
    for part in (some, weight.reshape(-1)):
        numbers = np.rint(part / scale)
        low, high = min(numbers.min(), 0), max(numbers.max(), 0)
        if high - low > 65535 or not _stand_for(numbers, scale, part, min(65535 * scale, float(np.abs(weight).max()))):
            return None
    ones, size = (1,) * weight.ndim, weight.shape[axis]
    codes = np.moveaxis((numbers - low).astype(np.uint16).reshape(weight.shape), axis, -1)
    params = {"bits": 16, "block": size, "size": size, "axis": axis, "dtype": dt.float32}
    zero = np.full(ones, -low, np.uint16)
    return Small(np.ascontiguousarray(codes), np.full(ones, scale, np.float32), zero=zero, codes=params)


def _is_int8(numbers: np.ndarray) -> bool:
    return bool(numbers.min(initial=0) >= -128 and numbers.max(initial=0) <= 127)


def _stand_for(numbers: np.ndarray, scale: float | np.float32, row: np.ndarray, largest: float) -> bool:
    """Whether a row is numbers · scale but for float32's rounding in a tensor with such a `largest` magnitude. What was
    dequantised has one value for each number; what only varies little has several."""
    if not np.abs(numbers * scale - row).max() <= EQUAL * largest:
        return False
    return len(np.unique(numbers)) == len(np.unique(row))


def _multiples(row: np.ndarray, largest: float) -> tuple[np.ndarray, np.float32] | None:
    """Whole numbers and a scale whose products are `row`; None where there are none, or they span more than 255. `largest`: the
    largest magnitude of the whole weight.

    The scale is the one with which most products are equal to what they should be, bit by bit. All are where a file's integers
    were multiplied by a float32. Where they were dequantised otherwise (scale · q + minimum, as TF.js does) or multiplied
    since (by a normalisation's factor), they may differ by float32's rounding, which is relative to the range of the whole
    weight, and of all 256 codes, though a row may have small ones only: see EQUAL.
    """
    levels = np.unique(np.abs(row))
    if len(levels) > 256 or not np.isfinite(levels).all():
        return None
    levels = levels[levels > 0]
    if not len(levels):
        return np.zeros_like(row), np.float32(1)
    steps, top = np.diff(levels, prepend=0), levels[-1]
    step = steps[steps > LEAST_STEP * top].min()
    for parts in range(1, 256):  # of the least difference: few magnitudes need not be neighbours
        most = max(np.rint(parts * top / step), 1)
        numbers = np.rint(row * (most / top))
        if most > 255 or max(numbers.max(), 0) - min(numbers.min(), 0) > 255:
            return None
        if np.abs(numbers * (top / most) - row).max() <= EQUAL * min(255 * top / most, largest):
            break
    fitted = np.float32(np.dot(row, numbers.astype(np.float64)) / np.dot(numbers, numbers.astype(np.float64)))
    scales = [fitted, np.nextafter(fitted, np.float32(0)), np.nextafter(fitted, np.float32(np.inf))]
    scale = max(scales, key=lambda s: np.count_nonzero(numbers * s == row))
    return (numbers, scale) if _stand_for(numbers, scale, row, min(255 * scale, largest)) else None


# -- where weights are read ------------------------------------------------------------------------------------------------


def _weights(graph: Graph) -> Iterator[tuple[Value, tuple[int, ...] | None, int | None]]:
    """Constants that are large, float32, and read as weights alone, with the axes that all readers let have scales, and the one
    along which all can read codes."""
    users = graph.users()
    for value, array in graph.constants.items():
        if value.dtype is not dt.float32 or array.dtype != np.float32 or array.size < LEAST or value in graph.outputs:
            continue
        reads = [(node, i) for node in users.get(value, ()) for i, o in enumerate(node.operands) if o is value]
        if all(i in _PLACES.get(node.primitive.name, ()) for node, i in reads):
            kept, coded = {channel_axes(node, i) for node, i in reads}, {_coded(node, i) for node, i in reads}
            yield value, kept.pop() if len(kept) == 1 else None, coded.pop() if len(coded) == 1 else None


_PLACES = {"matmul": (0, 1), "conv": (1,), "conv_transpose": (1,), "take": (0,)}  # of the operands that are weights


def _coded(node: Node, i: int) -> int | None:
    """The axis of a weight along which codes may lie: that of a product's sums, or a table's row. None where there is none."""
    w, p = node.operands[i].abstract, node.params
    match node.primitive.name:
        case "matmul" if i == 1 and w.rank == 2 and not p["transpose_a"]:
            return 1 if p["transpose_b"] else 0
        case "conv" if p["groups"] == 1 and p["layout"] == "channels_last":
            return 1
        case "take" if w.rank == 2 and p["axis"] == 0:
            return 1
    return None


def _of_codes(builder: GraphBuilder, node: Node, operands: tuple[Value, ...], of: Value, weight: Small) -> Value:
    """A product or gather of a weight that is kept in codes: what is gathered is codes, too."""
    assert weight.codes is not None
    parts = [builder.constant(part, f"{of.name}{suffix}" if of.name else "") for suffix, part in weight.parts().items()]
    dequantize, params = REGISTRY["dequantize"], weight.codes
    if node.primitive.name == "take":
        taken = [builder.add(REGISTRY["take"], (part, operands[1]), {"axis": 0}, node.source)[0] for part in parts]
        return builder.add(dequantize, taken, {**params, "axis": taken[0].abstract.rank - 1}, node.source)[0]
    (wide,) = builder.add(dequantize, parts, params, node.source)
    given = [wide if o is of else o for o in operands]
    return builder.add(node.primitive, given, node.params, node.source)[0]


def _scaled(builder: GraphBuilder, node: Node, operands: tuple[Value, ...], i: int, result: Value, scale: Value) -> Value:
    """A product or gather of a weight's numbers, times the weight's scale."""
    rank = result.abstract.rank
    match node.primitive.name:
        case "matmul":
            axes: tuple[int, ...] = (*range(rank - 2), rank - 2 + i)
        case "take":
            first, indices = node.params["axis"], operands[1]
            (scale,) = builder.add(REGISTRY["take"], (scale, indices), {"axis": 0}, node.source)
            axes = tuple(range(first, first + indices.abstract.rank))
        case _:
            axes = (rank - 1 if node.params["layout"] == "channels_last" else 1,)
    (factor,) = builder.add(REGISTRY["broadcast"], (scale,), {"shape": result.shape, "axes": axes}, node.source)
    return builder.add(REGISTRY["mul"], (result, factor), {}, node.source)[0]


__all__ = [
    "ACTIVATIONS", "FLOAT32", "PRECISIONS", "Numbers", "PrecisionWarning", "Small", "digest_of", "in_bytes", "in_step",
    "steps_of", "store_weights", "stored_small", "takes_ranges", "widens",
]  # fmt: skip
