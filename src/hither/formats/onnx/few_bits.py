"""Tensors of 2 and 4 bits: weights that DequantizeLinear reads (opset 21 on).

hither has no arrays of such elements. A file's initialisers are read as bytes with the same values, which is all that
DequantizeLinear needs to know; anything else that takes one is refused, for there the width would matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UnsupportedFeature

if TYPE_CHECKING:
    from .proto import NodeDef

# TensorProto.DataType → its name, bits, and the dtype of bytes that holds its values
FEW_BITS = {21: ("uint4", 4, "uint8"), 22: ("int4", 4, "int8"), 25: ("uint2", 2, "uint8"), 26: ("int2", 2, "int8")}


def packed_bytes(data_type: int, size: int) -> int:
    """Bytes that so many elements lie in: one after the other, the last byte filled up."""
    return -(-size * FEW_BITS[data_type][1] // 8)


def unpacked(data_type: int, packed: np.ndarray, size: int) -> np.ndarray:
    """The elements in bytes, the lowest bits of a byte first, each as a byte of its own."""
    _, bits, kind = FEW_BITS[data_type]
    parts = packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (1 << bits) - 1
    numbers = parts.reshape(-1)[:size]
    if kind == "uint8":
        return numbers
    half = 1 << bits - 1
    return (numbers.astype(np.int8) ^ half) - half  # the highest bit counts negative


def check_readers(few: Mapping[str, int], nodes: Iterable[NodeDef], outputs: Iterable[str]) -> None:
    """Refuse initialisers of few bits where something else than DequantizeLinear takes them.

    Args:
        few: {name: TensorProto.DataType} of such initialisers.

    Raises:
        UnsupportedFeature: says what takes which.
    """
    from .proto import node_uses

    for node in nodes if few else ():
        plain = node.domain == "" and node.op_type == "DequantizeLinear"
        taken = [n for n in node_uses(node) if n in few and not (plain and n != node.inputs[1])]
        if taken:
            kind = FEW_BITS[few[taken[0]]][0]
            raise UnsupportedFeature(
                f"initialiser {taken[0]!r}: hither has no dtype {kind}; DequantizeLinear may read it, and {node.label} does"
            )
    for name in outputs:
        if name in few:
            raise UnsupportedFeature(f"output {name!r}: hither has no dtype {FEW_BITS[few[name]][0]}")
