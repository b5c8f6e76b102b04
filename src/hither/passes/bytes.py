"""Products of bytes: activations="int8". What is multiplied by int8 weights is rounded to bytes just before, by a scale that is
found in every run, so that four products are one operation of the processor (kernels.ir, "dot").

Each row of a matrix product, each pixel of a pointwise convolution and each image of other convolutions has a scale of its own:
its largest magnitude becomes 127, or 63 where 7 bits are faster. Bytes are unsigned, 128 or 64 larger than what they stand for,
as processors want them; what that adds to a sum depends on the weights alone and is taken off behind the product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph, GraphBuilder, Node, Value
from ..graph.primitive import REGISTRY

ROUNDING = 1.5 * 2**23  # added to a float below 2^22, it leaves the nearest whole number in the lowest bits
BITS, FEWER_BITS = 8, 7  # of a byte that are used; WebAssembly's fast operation takes 7, see `seven_bits`
LEAST_DEPTH = 32  # products that are summed: for fewer, rounding what they multiply takes longer than they do


def byte_product(
    builder: GraphBuilder, node: Node, x: Value, numbers: np.ndarray, scale: np.ndarray, name: str, bits: int
) -> Value | None:
    """`node`, a product or convolution of x by `numbers` times `scale` (one for each output), in bytes; None where it has to
    stay in floats, because sums are short or what is summed does not lie together. `bits`: of the bytes that x becomes."""
    zero = 1 << (bits - 1)  # the byte that stands for 0
    made = _Nodes(builder, node.source)
    if node.primitive.name == "matmul":
        depth, pointwise = x.shape[-1], True
        fits = not node.params["transpose_a"] and x.abstract.rank == 2
        columns = numbers.shape[-2 if node.params["transpose_b"] else -1]
        sums = numbers.sum(-1 if node.params["transpose_b"] else -2, dtype=np.int32)
    else:
        depth, pointwise = math.prod(numbers.shape[1:]), math.prod(numbers.shape[2:]) == 1
        fits = node.params["groups"] == 1 and node.params["layout"] == "channels_last" and numbers.shape[1] % 4 == 0
        fits = (
            fits and all(p == (0, 0) for p in map(tuple, node.params["padding"])) and not _by_winograd(node, numbers.shape[2:])
        )
        columns, sums = numbers.shape[0], numbers.reshape(len(numbers), -1).sum(1, dtype=np.int32)
    if not fits or depth % 4 or depth < LEAST_DEPTH or columns < 4:
        return None
    rank = x.abstract.rank
    reduced = (rank - 1,) if pointwise else tuple(range(1, rank))
    kept = tuple(axis for axis in range(rank) if axis not in reduced)
    magnitudes = made("bitcast", made("abs", [x]), {"dtype": dt.int32})  # in the order of the floats, NaN the largest
    (largest,) = made("bitcast", made("reduce_max", magnitudes, {"axes": reduced}), {"dtype": dt.float32})
    step = made("mul", [largest, made.scalar(1 / (zero - 1), largest)])[0]
    step = made("max", [step, made.scalar(1e-30, step)])[0]  # of what is 0 everywhere
    inverse = made("div", [made.scalar(1, step), step])[0]
    spread = made("broadcast", [inverse], {"shape": x.shape, "axes": kept})[0]
    scaled = made("mul", [x, spread])[0]
    (q,) = made("bitcast", made("add", [scaled, made.scalar(ROUNDING + zero, scaled)]), {"dtype": dt.int32})
    if bits == FEWER_BITS:
        (q,) = made("bit_and", [q, made.scalar(2 * zero - 1, q)])  # they are no more, but this can be seen
    (q,) = made("convert", [q], {"dtype": dt.uint8})
    weights = builder.constant(numbers, name)
    (total,) = made(node.primitive.name, [q, weights], {**node.params, "dtype": dt.int32})
    last = (total.abstract.rank - 1,)
    offset = made("broadcast", [builder.constant(-zero * sums, "")], {"shape": total.shape, "axes": last})[0]
    (exact,) = made("convert", [made("add", [total, offset])[0]], {"dtype": dt.float32})
    factor = made(
        "broadcast",
        [builder.constant(scale.reshape(-1), f"{name}.scale" if name else "")],
        {"shape": total.shape, "axes": last},
    )[0]
    rows = _of_result(made, node, step, total.shape, pointwise)
    return made("mul", [made("mul", [exact, factor])[0], rows])[0]


def _by_winograd(node: Node, window: tuple[int, ...]) -> bool:
    """Whether a convolution takes Winograd's way in floats, which needs as few operations as bytes do."""
    dense = all(n == 1 for n in (*node.params["strides"], *node.params["dilation"]))
    return dense and len(window) == 2 and min(window) >= 3 and max(window) <= 5


def seven_bits(graph: Graph) -> Iterator[Value]:
    """Values of bytes that can be seen to be at most 127: whose higher bits were taken off."""
    producers = graph.producers()
    for node in graph.nodes:
        limit = producers.get(node.operands[0]) if node.primitive.name == "convert" else None
        if limit is None or limit.primitive.name != "bit_and" or node.results[0].dtype is not dt.uint8:
            continue
        for operand in limit.operands:
            spread = producers.get(operand)
            known = graph.constants.get(spread.operands[0] if spread and spread.primitive.name == "broadcast" else operand)
            if known is not None and known.size and 0 <= known.min() <= known.max() <= 127:
                yield node.results[0]
                break


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
