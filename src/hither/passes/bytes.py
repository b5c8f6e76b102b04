"""Products of bytes: activations="int8". What is multiplied by int8 weights is rounded to bytes just before, so that four
products are one operation of the processor (kernels.ir, "dot").

Scales are known beforehand where a convolution's operand is known to lie in some range (passes/ranges.py): then rounding is a
multiply-add at the end of whatever kernel makes the operand, which stores bytes. Else they are found in every run, the largest
magnitude of each row of a matrix product, each pixel of a pointwise convolution and each image of other convolutions.

A byte is a whole number of steps of the scale plus what stands for zero; what that adds to a sum depends on the weights alone
and is taken off behind the product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph, GraphBuilder, Node, Value
from ..graph.primitive import REGISTRY
from .filtering import exact_in_pairs, filtering
from .ranges import ANYTHING, Range, digest_of, proven

LEAST_DEPTH = 32  # products that are summed: for fewer, rounding what they multiply takes longer than they do
TRANSPOSED_DEPTH = 16  # of transposed convolutions, where each number must be in LEAST_DEPTH products instead
MOST_DEPTH = 1 << 16  # for more, sums may leave 32 bits
SIGNED_OFFSET = 128  # between a byte taken as unsigned and as signed


@dataclass(frozen=True)
class Byte:
    """The bytes that a machine multiplies by signed ones: how many bits of them are used, and whether they are signed."""

    bits: int = 8
    signed: bool = False

    @property
    def levels(self) -> int:
        return (1 << self.bits) - 1


UNSIGNED, SEVEN_BITS, SIGNED = Byte(), Byte(bits=7), Byte(signed=True)


@dataclass(frozen=True)
class _Rounded:
    """A value in bytes: `shift` stands for 0, `step` is the number or the numbers (one for each index of the axes that are not
    reduced) that one more stands for."""

    value: Value
    shift: int
    step: Value | float


@dataclass
class ByteProducts:
    """Makes the products of one Graph products of bytes. `ranges` are those seen on samples, by the weight's digest."""

    graph: Graph
    byte: Byte
    ranges: Mapping[str, Range] = field(default_factory=dict)
    _proven: dict[Value, Range] | None = None
    _rounded: dict[object, _Rounded] = field(default_factory=dict)  # several products may read one value
    _producers: dict[Value, Node] = field(default_factory=dict)  # in the Graph that is being made
    _seen: int = 0

    def __call__(
        self, builder: GraphBuilder, node: Node, x: Value, numbers: np.ndarray, scale: np.ndarray, name: str
    ) -> Value | None:
        """`node`, a product or convolution of x by `numbers` times `scale` (one for each output), in bytes; None where it has
        to stay in floats, because sums are short or what is summed does not lie together."""
        if not takes_bytes(node, x, numbers, self.byte):
            return None
        made = _Nodes(builder, node.source)
        matrix, transposed = node.primitive.name == "matmul", node.primitive.name == "conv_transpose"
        pointwise = matrix or (math.prod(numbers.shape[2:]) == 1 and not transposed)
        known = ANYTHING if matrix else self._known(node)
        if transposed and known.low < 0:
            return None  # where bytes stand for negative numbers too, each phase would have an offset of its own
        if matrix:
            sums = numbers.sum(-1 if node.params["transpose_b"] else -2, dtype=np.int32)
        else:
            sums = numbers.reshape(len(numbers), -1).sum(1, dtype=np.int32)
        if math.isfinite(known.low) and math.isfinite(known.high):
            rounded = self._in_range(made, x, known, self._bounds(node))
        else:
            rounded = self._by_largest(made, x, pointwise, self._bounds(node).low >= 0)
        weights = builder.constant(numbers, name)
        (total,) = made(node.primitive.name, [rounded.value, weights], {**node.params, "dtype": dt.int32})
        last = (total.abstract.rank - 1,)
        if rounded.shift:
            offset = builder.constant(-rounded.shift * sums, "")
            (total,) = made("add", [total, *made("broadcast", [offset], {"shape": total.shape, "axes": last})])
        (exact,) = made("convert", [total], {"dtype": dt.float32})
        step, factors = rounded.step, scale.reshape(-1)
        if not isinstance(step, Value):
            factors = factors * np.float32(step)
        factor = builder.constant(factors, f"{name}.scale" if name else "")
        (result,) = made("mul", [exact, *made("broadcast", [factor], {"shape": total.shape, "axes": last})])
        if isinstance(step, Value):
            (result,) = made("mul", [result, _of_result(made, node, step, total.shape, pointwise)])
        return result

    def _bounds(self, node: Node) -> Range:
        """What is proven of the left operand of a node of the Graph."""
        if self._proven is None:
            self._proven = proven(self.graph)
        return self._proven.get(node.operands[0], ANYTHING)

    def _known(self, node: Node) -> Range:
        """Where the left operand of a node lies, as far as anything says."""
        bounds = self._bounds(node)
        seen = self.ranges.get(digest_of(self.graph.constants[node.operands[1]])) if self.ranges else None
        return bounds if seen is None else seen.within(bounds)

    def _in_range(self, made: _Nodes, x: Value, known: Range, bounds: Range) -> _Rounded:
        """Bytes by one scale for all of x; what lies outside of its range becomes the nearest byte there is, and NaN any byte:
        to pass it on, each kernel that stores bytes would have to store beside them whether it met one."""
        key = (x, known)
        if key not in self._rounded:
            low, high, levels = min(known.low, 0.0), max(known.high, 0.0), self.byte.levels
            zero = round(-low / (high - low) * levels) if high > low else 0
            step = float(np.float32(max(high / (levels - zero) if zero < levels else 0, -low / zero if zero else 0) or 1.0))
            shift = zero - SIGNED_OFFSET * self.byte.signed
            pad = self._producer(made.builder, x)
            inside = x if pad is None or pad.primitive.name != "pad" else pad.operands[0]
            least, most = shift - zero, shift - zero + levels
            limits = (least if bounds.low < low else None, most if bounds.high > high else None)
            q = self._to_bytes(made, inside, made.scalar(1 / step, inside), shift, *limits)
            if pad is not None and inside is not x:  # so that bytes are stored where they are padded
                border = min(max(round(pad.params["value"] / step) + shift, least), most)
                (q,) = made("pad", [q], {**pad.params, "value": border})
            self._rounded[key] = _Rounded(q, shift, step)
        return self._rounded[key]

    def _by_largest(self, made: _Nodes, x: Value, pointwise: bool, positive: bool) -> _Rounded:
        """Bytes by a scale for each row, pixel or image, found in every run. Without negative numbers all bytes are for those
        that there are."""
        key = (x, pointwise)
        if key not in self._rounded:
            middle = (self.byte.levels + 1) // 2
            zero, most = (0, self.byte.levels) if positive else (middle, middle - 1)
            shift = zero - SIGNED_OFFSET * self.byte.signed
            rank = x.abstract.rank
            reduced = (rank - 1,) if pointwise else tuple(range(1, rank))
            kept = tuple(axis for axis in range(rank) if axis not in reduced)
            magnitudes = made("bitcast", made("abs", [x]), {"dtype": dt.int32})  # in the order of the floats, NaN the largest
            (largest,) = made("bitcast", made("reduce_max", magnitudes, {"axes": reduced}), {"dtype": dt.float32})
            (step,) = made("mul", [largest, made.scalar(1 / most, largest)])
            (step,) = made("max", [step, made.scalar(1e-30, step)])  # of what is 0 everywhere
            (inverse,) = made("div", [made.scalar(1, step), step])
            (factor,) = made("broadcast", [inverse], {"shape": x.shape, "axes": kept})
            self._rounded[key] = _Rounded(self._to_bytes(made, x, factor, shift), shift, step)
        return self._rounded[key]

    def _to_bytes(
        self, made: _Nodes, x: Value, factor: Value, shift: int, low: int | None = None, high: int | None = None
    ) -> Value:
        kind = {"bits": self.byte.bits, "signed": self.byte.signed}
        return made("round_to_bytes", [x, factor], {"shift": shift, **kind, "low": low, "high": high})[0]

    def _producer(self, builder: GraphBuilder, value: Value) -> Node | None:
        for node in builder.nodes[self._seen :]:
            self._producers.update(dict.fromkeys(node.results, node))
        self._seen = len(builder.nodes)
        return self._producers.get(value)


def takes_bytes(node: Node, x: Value, numbers: np.ndarray, byte: Byte) -> bool:
    """Whether a product can be one of bytes, and gains from it."""
    if node.primitive.name == "matmul":
        depth, columns = x.shape[-1], numbers.shape[-2 if node.params["transpose_b"] else -1]
        fits = not node.params["transpose_a"] and x.abstract.rank == 2
    elif node.primitive.name == "conv_transpose":
        depth, columns = numbers.shape[0], math.prod(numbers.shape[1:])
        fits = node.params["groups"] == 1 and node.params["layout"] == "channels_last" and depth % 4 == 0
        most = depth * math.prod(numbers.shape[2:])
        return bool(fits and not byte.signed and depth >= TRANSPOSED_DEPTH and most <= MOST_DEPTH and columns >= LEAST_DEPTH)
    else:
        depth, columns = math.prod(numbers.shape[1:]), numbers.shape[0]
        fits = node.params["groups"] == 1 and node.params["layout"] == "channels_last" and numbers.shape[1] % 4 == 0
        fits = fits and all(p == (0, 0) for p in map(tuple, node.params["padding"]))
        fits = fits and not _by_winograd(node, numbers.shape[1:], byte)
    return bool(fits and depth % 4 == 0 and LEAST_DEPTH <= depth <= MOST_DEPTH and columns >= 4)


def _by_winograd(node: Node, shape: tuple[int, ...], byte: Byte) -> bool:
    """Whether a convolution takes Winograd's way in floats, which needs as few operations as bytes do; bytes that take it in
    whole numbers need half as many."""
    (channels, *window), dense = shape, all(n == 1 for n in (*node.params["strides"], *node.params["dilation"]))
    whole = window == [3, 3] and not byte.signed and exact_in_pairs((filtering(4, 3, whole=True),) * 2, channels, byte.levels)
    return dense and len(window) == 2 and min(window) >= 3 and max(window) <= 5 and not whole


def seven_bits(graph: Graph) -> Iterator[Value]:
    """Values of bytes that can be seen to be at most 127: rounded to so many bits, or that are such, padded."""
    found: set[Value] = set()
    for node in graph.nodes:
        p = node.params
        rounded = node.primitive.name == "round_to_bytes" and p["bits"] < 8 and not p["signed"]
        padded = node.primitive.name == "pad" and node.operands[0] in found and 0 <= p["value"] <= 127
        if rounded or padded:
            found.add(node.results[0])
    yield from found


def _of_result(made: _Nodes, node: Node, step: Value, shape: tuple[int, ...], pointwise: bool) -> Value:
    """The scales of x as the result has them: pixels that a stride leaves out left out."""
    if pointwise and node.primitive.name == "conv":
        strides = (1, *node.params["strides"])
        if any(s != 1 for s in strides):
            sizes = tuple(-(-n // s) for n, s in zip(step.shape, strides, strict=True))
            step = made("slice", [step], {"starts": (0,) * len(sizes), "sizes": sizes, "steps": strides})[0]
    return made("broadcast", [step], {"shape": shape, "axes": tuple(range(step.abstract.rank))})[0]


class _Nodes:
    """Adds nodes that come from one source."""

    def __init__(self, builder: GraphBuilder, source: str) -> None:
        self.builder, self.source = builder, source

    def __call__(self, name: str, operands: Sequence[Value], params: Mapping[str, Any] | None = None) -> tuple[Value, ...]:
        return self.builder.add(REGISTRY[name], operands, params or {}, self.source)

    def scalar(self, value: float, like: Value) -> Value:
        number = self.builder.constant(np.asarray(value, like.dtype.numpy), "")
        return self("broadcast", [number], {"shape": like.shape, "axes": ()})[0]
