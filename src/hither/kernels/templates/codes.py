"""Panels of codes: a product's right operand kept in numbers of few bits, with a scale for each block of steps.

The panels of a matrix whose rows are codes (primitives/codes) have an element for several steps of a column, beside panels of
scales and, where 0 is not the middle of the codes, of zero points. A product reads them step by step, or has some of them
widened into scratch memory first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ... import dtypes as dt
from ...graph.core import Node, Value
from ...graph.primitives.codes import codes_in
from ..emitter import Codes, Context, Emitter
from ..ir import Buffer, Val
from .tile import pack_panels

MANTISSA, FLOAT_BIAS = 23, 127  # of a float32: its digits, and the exponent that stands for 1


@dataclass(frozen=True)
class CodePanels:
    """`packed` [panel, taps · rows, columns], `scales` and `zeros` [panel, taps · blocks, columns], or one row for all taps:
    `shared`. A tap has `run` steps in `blocks` blocks of `block`, the last one shorter perhaps."""

    packed: Value
    scales: Value
    zeros: Value | None
    bits: int
    block: int
    run: int
    taps: int
    columns: int
    shared: bool
    whole: bool  # zero points are whole numbers

    @property
    def several(self) -> int:
        """Steps in an element."""
        return codes_in(self.bits)

    @property
    def rows(self) -> int:
        """Elements of a tap in a column."""
        return -(-self.run // self.several)

    @property
    def blocks(self) -> int:
        """Blocks of a tap."""
        return -(-self.run // self.block)

    @property
    def length(self) -> int:
        """Elements of a panel."""
        return self.taps * self.rows * self.columns

    @property
    def scale_pitch(self) -> int:
        """From the scales of a tap to those of the next."""
        return 0 if self.shared else self.blocks * self.columns

    @property
    def scale_length(self) -> int:
        """Scales of a panel."""
        return (1 if self.shared else self.taps) * self.blocks * self.columns

    def numbers(
        self, e: Emitter, at: Val, offsets: Sequence[int], widths: Sequence[int], zeros: Sequence[Val]
    ) -> list[list[Val]]:
        """The steps of the elements at `at`, each by vectors of columns: numbers yet to be scaled, in float32.

        A code of several in an element becomes a float where it stands: as the last digits of a large power of two, which is
        taken off with the zero point. Both are exact, and two operations instead of shifting, masking and converting.
        """
        k = e.k
        found: list[list[Val]] = [[] for _ in range(self.several)]
        for i, (offset, width) in enumerate(zip(offsets, widths, strict=True)):
            word = k.convert(k.load(e.buffer(self.packed), at + offset, width), dt.int32)
            for step, into in enumerate(found):
                first = self.bits * step
                if not self.in_place:
                    code = word >> first & (1 << self.bits) - 1 if self.several > 1 else word
                    into.append(k.convert(code, dt.float32) - (zeros[i] if zeros else float(self.middle)))
                    continue
                digits = (word & (1 << self.bits) - 1 << first) | (FLOAT_BIAS + MANTISSA - first << MANTISSA)
                large = float(1 << MANTISSA - first)
                into.append(k.bitcast(digits, dt.float32) - (zeros[i] + large if zeros else large + self.middle))
        return found

    @property
    def middle(self) -> int:
        """What stands for 0 where no zero points say so."""
        return 1 << self.bits - 1

    @property
    def in_place(self) -> bool:
        """Whether codes become floats where they stand: zero points must be whole numbers for that."""
        return self.several > 1 and self.whole

    def parameters(self, e: Emitter, at: Val, offsets: Sequence[int], widths: Sequence[int]) -> tuple[list[Val], list[Val]]:
        """Scales and zero points at `at`; none of the latter where the middle of the codes is 0."""

        def vectors(value: Value) -> list[Val]:
            return [e.k.load(e.buffer(value), at + o, w, dt.float32) for o, w in zip(offsets, widths, strict=True)]

        return vectors(self.scales), [] if self.zeros is None else vectors(self.zeros)

    def unpack(self, e: Emitter, held: Buffer, start: Val | int, source: Val, scales: Val, count: int, width: int) -> None:
        """`count` panels, from the elements at `source` and the scales at `scales` on, as floats in `held` from `start` on."""
        k, columns, length = e.k, self.columns, self.run * self.columns
        full, rest = divmod(self.run, self.block)
        each = self.block // self.several * columns
        offsets, widths = range(0, columns, width), [width] * (columns // width)

        def block(parameters: Val, first: Val, target: Val, steps: int) -> None:
            """`steps` steps that share a scale."""
            scale, zeros = self.parameters(e, parameters, offsets, widths)

            def write(row: Val | int, some: int) -> None:
                for step, values in enumerate(self.numbers(e, first + row * columns, offsets, widths, zeros)[:some]):
                    there = target + (row * self.several + step) * columns
                    for offset, value, factor in zip(offsets, values, scale, strict=True):
                        k.store(held, there + offset, value * factor)

            if steps >= self.several:
                with k.loop(0, steps // self.several) as row:
                    write(row.index, self.several)
            if steps % self.several:
                write(steps // self.several, steps % self.several)

        with k.loop(0, count) as panel, k.loop(0, self.taps) as tap:
            parameters = scales + panel.index * self.scale_length + tap.index * self.scale_pitch
            number = panel.index * self.taps + tap.index
            first, target = source + number * (self.rows * columns), k.as_index(start) + number * length
            if full:
                with k.loop(0, full) as at:
                    target_of_block = target + at.index * (self.block * columns)
                    block(parameters + at.index * columns, first + at.index * each, target_of_block, self.block)
            if rest:
                block(parameters + full * columns, first + full * each, target + full * self.block * columns, rest)


def code_panels(context: Context, weight: Value, columns: int) -> CodePanels:
    """The panels of a weight that is kept in codes: [N, *taps, run] in rows."""
    codes = context.codes[weight]
    outputs, *taps, _ = codes.packed.shape

    def panels(array: np.ndarray) -> np.ndarray:
        each = np.broadcast_to(array, (outputs, *array.shape[1:]))
        return pack_panels(each.reshape(outputs, -1).T, columns)

    def made(what: str, array: np.ndarray, dtype: dt.DType | None = None) -> Value:
        name = f"{weight.name}.{what}" if weight.name and what else weight.name
        return context.new_constant((weight, "codes", what, columns), lambda: panels(array), name, dtype)

    return CodePanels(
        made("", codes.packed),
        made("scale", codes.scales, dt.float32),
        None if codes.zeros is None else made("zero", codes.zeros, dt.float32),
        codes.bits, codes.block, codes.size, math.prod(taps), columns, math.prod(codes.scales.shape[1:-1]) == 1,
        codes.zeros is None or codes.zeros.dtype.kind in "iu",
    )  # fmt: skip


def codes_of(node: Node, constants: Mapping[Value, np.ndarray]) -> Codes | None:
    """The codes that a node makes floats of, if they are known."""
    if node.primitive.name != "dequantize" or not all(o in constants for o in node.operands):
        return None
    packed, scales, *zeros = (constants[o] for o in node.operands)
    return Codes(packed, scales, zeros[0] if zeros else None, node.params["bits"], node.params["block"], node.params["size"])


def multiplies_codes(reader: Node, made: Node) -> bool:
    """Whether a node is a product that reads what `made` makes of codes as its template reads codes: as its right operand,
    summed along the axis along which they lie, each tap in whole elements."""
    if reader.primitive.name not in ("matmul", "conv") or reader.operands[0] is made.results[0]:
        return False
    p, (w,) = reader.params, made.results
    axis, size, several = made.params["axis"], made.params["size"], codes_in(made.params["bits"])
    whole = made.params["block"] % several == 0 or made.params["block"] >= size
    scales = made.operands[1].shape
    if reader.primitive.name == "matmul":
        return whole and w.abstract.rank == 2 and not p["transpose_a"] and axis == (1 if p["transpose_b"] else 0)
    taps = math.prod(w.shape[2:])
    fits = taps == 1 or (size % several == 0 and math.prod(scales[1:-1]) in (1, taps))
    last = p["layout"] == "channels_last"
    return whole and fits and last and axis == 1 and p["groups"] == 1 and all(q == (0, 0) for q in map(tuple, p["padding"]))
