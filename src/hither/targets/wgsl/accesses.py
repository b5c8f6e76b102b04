"""What is written of one WGSL module so far, and the loads and stores of its buffers.

WGSL addresses words: what is narrower is cut out of them, vectors of four are one access where a buffer is bound as such, and
an operand above the largest binding lies in pieces (see bindings.py).
"""

from __future__ import annotations

from ... import dtypes as dt
from ...dtypes import DType
from ...errors import UnsupportedFeature
from ...kernels.ir import Buffer, Kernel, Machine, Op
from .alignment import Multiples
from .expressions import Expressions, vector
from .plan import Plan, Variant, element, packed
from .words import PACK_HALVES, element_of, elements_of, words_of_halves


class Accesses:
    """The text of one variant, line by line, and expressions for what lies in its buffers."""

    def __init__(self, plan: Plan, variant: Variant, machine: Machine) -> None:
        self.kernel: Kernel = plan.kernels[variant.kernel]
        self.variant, self.machine = variant, machine
        self.lines: list[str] = []
        self.values = Expressions(self.kernel.name, machine.float16)
        self.depth = 1
        self.count = 0
        kernel = self.kernel
        self.multiples = Multiples(kernel)
        self.binding = [sum(g.pieces for g in variant.groups[:i]) for i in range(len(variant.groups))]
        self.scratch = {b: f"s{i}" for i, b in enumerate(kernel.scratch)}
        self.global_index = {b: i for i, b in enumerate(kernel.buffers)}
        self.atomic_scratch = {op.attr[0] for op in kernel.walk() if op.kind == "atomic"} & set(kernel.scratch)

    def array_type(self, b: Buffer) -> str:
        kind = self.values.scalar(self.held(b))
        return f"array<{f'atomic<{kind}>' if b in self.atomic_scratch else kind}, {max(b.size, 1)}>"

    def held(self, b: Buffer) -> DType:
        """The dtype a load gives: halves that the machine lacks are widened by it."""
        return dt.float32 if b.dtype is dt.float16 and not self.machine.float16 else b.dtype

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def fresh(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def bound(self, number: int, piece: int = 0) -> str:
        """The variable of a group, or of one of its pieces."""
        return f"b{self.binding[number] + piece}"

    def located(self, buffer: Buffer, index: str) -> tuple[int, str]:
        """The group that a kernel buffer lies in, and the place in its array of the element (or vector) at `index`."""
        number, base = self.variant.slots[self.global_index[buffer]]
        shifted = f"{index} + {base}" if base else index
        width = self.variant.groups[number].width
        return number, shifted if width == 1 else f"({shifted}) >> {width.bit_length() - 1}u"

    def element(self, buffer: Buffer, index: str) -> str:
        """A reference to an element of scratch memory, or of a buffer that is bound in one piece."""
        if buffer in self.scratch:
            return f"{self.scratch[buffer]}[{index}]"
        number, place = self.located(buffer, index)
        return f"{self.bound(number)}[{place}]"

    def in_vectors(self, buffer: Buffer) -> bool:
        """Whether a buffer is bound as an array of vectors, so that an access is one element."""
        return buffer not in self.scratch and self.variant.groups[self.variant.slots[self.global_index[buffer]][0]].width > 1

    def lanes_of(self, buffer: Buffer, indices: list[str], dtype: DType) -> str:
        if self.in_vectors(buffer):
            return self.word(*self.located(buffer, indices[0]))
        lanes = [self.read(buffer, i) for i in indices]
        return lanes[0] if len(lanes) == 1 else f"{self.values.type(dtype, len(lanes))}({', '.join(lanes)})"

    def read(self, buffer: Buffer, index: str) -> str:
        if buffer in self.scratch:
            text = self.element(buffer, index)
            return f"atomicLoad(&{text})" if buffer in self.atomic_scratch else text
        number, place = self.located(buffer, index)
        if packed(buffer.dtype, self.machine.float16):
            return self.read_packed(buffer, number, place)
        kind = element(buffer.dtype, self.machine.float16)
        if kind == "f16" and self.variant.groups[number].element != "f16":
            return self.read_half(number, place)
        text = self.word(number, place)
        return text if kind == self.variant.groups[number].element else f"bitcast<{kind}>({text})"

    def word(self, number: int, place: str) -> str:
        """What lies at a place of a group."""
        group = self.variant.groups[number]
        if group.pieces > 1:
            return f"{self.piece_function(number, 'read')}({place})"
        text = f"{self.bound(number)}[{place}]"
        return f"atomicLoad(&{text})" if group.atomic else text

    def assign(self, number: int, place: str, value: str) -> None:
        """Store at a place of a group."""
        group = self.variant.groups[number]
        if group.pieces > 1:
            self.line(f"{self.piece_function(number, 'write')}({place}, {value});")
        elif group.atomic:
            self.line(f"atomicStore(&{self.bound(number)}[{place}], {value});")
        else:
            self.line(f"{self.bound(number)}[{place}] = {value};")

    def read_packed(self, buffer: Buffer, number: int, index: str) -> str:
        """An element narrower than a 32-bit word, which WGSL cannot address."""
        name, per_word = self.fresh("w"), 32 // buffer.dtype.bits
        self.line(f"let {name} = {index};")
        word = self.unsigned_word(number, f"({name} >> {per_word.bit_length() - 1}u)")
        return element_of(buffer.dtype, word, name)

    def unsigned_word(self, number: int, place: str) -> str:
        word = self.word(number, place)
        return word if self.variant.groups[number].element == "u32" else f"bitcast<u32>({word})"

    def in_words(self, op: Op, width: int) -> bool:
        """Whether a load takes whole words of a buffer that holds several elements in each."""
        buffer = op.attr
        if buffer in self.scratch or width == 1 or not packed(buffer.dtype, self.machine.float16):
            return False
        return width % (32 // buffer.dtype.bits) == 0 and self.multiples.of(op.args[0]) % width == 0

    def read_words(self, buffer: Buffer, index: str, width: int) -> str:
        """A vector of elements that fill whole words."""
        number, place = self.located(buffer, index)
        bits, first = buffer.dtype.bits, self.fresh("w")
        self.line(f"let {first} = ({place}) >> {(32 // bits).bit_length() - 1}u;")
        words = [self.unsigned_word(number, f"{first} + {i}" if i else first) for i in range(width * bits // 32)]
        return elements_of(buffer.dtype, words, width)

    def read_half(self, number: int, index: str) -> str:
        """A float16 in a group of words."""
        name = self.fresh("w")
        self.line(f"let {name} = {index};")
        word = self.word(number, f"({name} >> 1u)")
        word = word if self.variant.groups[number].element == "u32" else f"bitcast<u32>({word})"
        self.line(f"let {name}_pair = unpack2x16float({word});")
        return f"f16(select({name}_pair.x, {name}_pair.y, ({name} & 1) == 1))"

    def piece_function(self, number: int, how: str) -> str:
        """A function that reads ("read") or writes ("write") place i of a group bound in pieces."""
        group = self.variant.groups[number]
        kind, size = vector(group.element, group.width), group.piece // group.width
        cases = []
        for piece in range(group.pieces):
            place = f"{self.bound(number, piece)}[i - {piece * size}]"
            action = f"return {place};" if how == "read" else f"{place} = v; return;"
            last = piece == group.pieces - 1
            cases.append(action if last else f"if (i < {(piece + 1) * size}) {{ {action} }}")
        name = f"{how}_{self.bound(number)}"
        signature = f"(i: i32) -> {kind}" if how == "read" else f"(i: i32, v: {kind})"
        return self.values.declare(name, f"fn {name}{signature} {{ {' '.join(cases)} }}")

    def write_halves(self, buffer: Buffer, index: str, value: str, count: int) -> None:
        """Pairs of halves as words; the first lies at the beginning of one."""
        number, place = self.located(buffer, index)
        word = self.fresh("w")
        self.line(f"let {word} = ({place}) >> 1u;")
        kind = self.variant.groups[number].element
        self.values.declare("pack_halves", PACK_HALVES)
        for i, pair in enumerate(words_of_halves(value, count)):
            self.assign(number, f"{word} + {i}" if i else word, pair if kind == "u32" else f"bitcast<{kind}>({pair})")

    def write(self, buffer: Buffer, index: str, value: str) -> None:
        if buffer in self.scratch:
            target = self.element(buffer, index)
            self.line(f"atomicStore(&{target}, {value});" if buffer in self.atomic_scratch else f"{target} = {value};")
            return
        if packed(buffer.dtype, self.machine.float16):
            raise UnsupportedFeature(
                f"kernel {self.kernel.name} stores {buffer.dtype} into {buffer.name}: WebGPU cannot store less than 32 bits; "
                "declare the buffer through Builder.buffer, which widens it"
            )
        number, place = self.located(buffer, index)
        kind = self.variant.groups[number].element
        self.assign(
            number, place, value if element(buffer.dtype, self.machine.float16) == kind else f"bitcast<{kind}>({value})"
        )
