"""Weights of few bits with a scale per block: MatMulNBits and its kin, GatherBlockQuantized, MatMulBnb4.

Weights stay packed bytes in the Graph, and in memory: products read what the primitive `dequantize` makes of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..... import dtypes as dt
from ..... import ops
from .....array import Array
from .....graph.primitives import apply
from .....graph.trace import static_value
from ...registry import Node, operator
from ..common import as_float, cast
from .domain import DOMAIN, activated

NBITS = {"K": int, "N": int, "bits": 4, "block_size": int, "accuracy_level": 0, "weight_prepacked": 0}
NORMED = {"K": int, "block_size": int, "bits": 4, "accuracy_level": 0}


def unpacked(x: Any, bits: int) -> Any:
    """The numbers of `bits` bits in each byte of uint8 [..., bytes], lowest first: int32 [..., bytes·8/bits].

    Bytes become int32 before they are taken apart: what is four times as large is not folded, so constants stay packed.
    """
    wide = cast(x, dt.int32)
    if bits == 8:
        return wide
    shifts = Array(np.arange(0, 8, bits, dtype=np.int32))
    parts = ops.bitwise_and(ops.bitwise_right_shift(ops.expand_dims(wide, axis=-1), shifts), 2**bits - 1)
    return ops.reshape(parts, (*x.shape[:-1], x.shape[-1] * (8 // bits)))


def blockwise_matmul(
    x: Any, packed: Any, scales: Any, zeros: Any = None, groups: Any = None, *, rows: int, columns: int, bits: int, block: int
) -> Any:
    """x [..., rows] times the matrix [rows, columns] that is packed along its rows in blocks of one scale.

    Args:
        packed: uint8 [columns, blocks, block·bits/8].
        scales: [columns, blocks] or as many elements.
        zeros: what stands for 0 in each block: packed likewise in uint8 [columns, ⌈blocks·bits/8⌉], or numbers like the
            scales; the middle of the range without.
        groups: the block whose scale each row has [rows], where that is not its place.
    """
    blocks, kind = packed.shape[1], x.dtype if x.dtype in (dt.float16, dt.float32) else dt.float32
    scales = ops.reshape(scales if scales.dtype is dt.float16 else as_float(scales), (columns, blocks))
    if zeros is not None:
        of_bytes = zeros.dtype is dt.uint8
        zeros = ops.reshape(zeros, (columns, -1))
        zeros = _codes(zeros, bits)[:, :blocks] if of_bytes else as_float(zeros)
    if groups is None:
        length = -(-rows * bits // 8)
        flat = ops.reshape(packed, (columns, blocks * block * bits // 8))
        operands = (flat if flat.shape[1] == length else flat[:, :length], scales, *([] if zeros is None else [zeros]))
        weights = apply("dequantize", *operands, bits=bits, block=block, size=rows, axis=1, dtype=kind)
    else:
        scales = ops.take(as_float(scales), groups, axis=1)[:, :rows]
        middle: Any = 2 ** (bits - 1) if zeros is None else ops.take(cast(zeros, dt.float32), groups, axis=1)[:, :rows]
        numbers = ops.reshape(unpacked(packed, bits), (columns, blocks * block))[:, :rows]
        weights = (cast(numbers, dt.float32) - middle) * scales
    return ops.matmul(x, cast(weights, x.dtype), transpose_b=True)


def _codes(packed: Any, bits: int) -> Any:
    """The numbers of `bits` bits in each byte of uint8 [..., bytes], lowest first, as uint8; known at once where they can be:
    folding leaves alone what grows."""
    known = static_value(packed)
    if known is None:
        return cast(unpacked(packed, bits), dt.uint8)
    parts = [known >> shift & 2**bits - 1 for shift in range(0, 8, bits)]
    return Array(np.stack(parts, axis=-1).reshape(*known.shape[:-1], -1))


def _blockwise(
    node: Node, x: Any, packed: Any, scales: Any, zeros: Any = None, groups: Any = None, bias: Any = None, columns: int = 0
) -> Any:
    rows, columns, bits, block = node["K"], columns or node["N"], node["bits"], node["block_size"]
    if bits not in (2, 4, 8):
        raise node.unsupported(f"bits={bits}")
    node.check(block >= 16 and not block & (block - 1), f"block_size must be a power of two from 16 on, got {block}")
    node.check(x.shape[-1:] == (rows,), f"K is {rows}, the input has shape {tuple(x.shape)}")
    blocks = -(-rows // block)
    if 0 in packed.shape:  # a projection that is left out
        made = ops.zeros((*x.shape[:-1], columns), dtype=x.dtype)
    else:
        node.check(packed.dtype is dt.uint8, f"packed weights must be uint8, got {packed.dtype}")
        wanted = (columns, blocks, block * bits // 8)
        node.check(packed.size == columns * blocks * block * bits // 8, f"B must be {wanted}, got {tuple(packed.shape)}")
        node.check(scales.size == columns * blocks, f"scales must be {wanted[:2]}, got {tuple(scales.shape)}")
        made = blockwise_matmul(
            x, ops.reshape(packed, wanted), scales, zeros, groups, rows=rows, columns=columns, bits=bits, block=block
        )
    return made if bias is None else made + bias


def _refuse_prepacked(node: Node) -> None:
    if node["weight_prepacked"]:
        raise node.unsupported(f"weight_prepacked={node['weight_prepacked']} (an order of one device's own)")


@operator("MatMulNBits", domain=DOMAIN, attributes=NBITS)
def matmul_nbits(
    node: Node, x: Any, packed: Any, scales: Any, zeros: Any = None, groups: Any = None, bias: Any = None
) -> Any:  # fmt: skip
    """`accuracy_level` allows a runtime to compute in less than the input's dtype; hither does not."""
    _refuse_prepacked(node)
    return _blockwise(node, x, packed, scales, zeros, groups, bias)


def _normed(node: Node, x: Any, skip: Any, scale: Any) -> tuple[Any, Any]:
    """The root-mean-square norm of x + skip that a fused operator begins with, and the sum."""
    total = x if skip is None else x + skip
    return total if scale is None else ops.rms_norm(total, scale, epsilon=node["epsilon"]), total


@operator(
    "MatMulNBitsMlp", domain=DOMAIN, attributes={**NORMED, "N": int, "activation": str, "epsilon": 1e-5},
    optional=("skip", "norm", "gate_bias"),
)  # fmt: skip
def matmul_nbits_mlp(
    node: Node, x: Any, skip: Any, norm: Any, gate: Any, gate_scales: Any, gate_bias: Any, up: Any, up_scales: Any,
    up_bias: Any = None,
) -> Any:  # fmt: skip
    """activation(x · gate) · (x · up), of x normalised."""
    x, total = _normed(node, x, skip, norm)
    first = _blockwise(node, x, gate, gate_scales, bias=gate_bias)
    second = _blockwise(node, x, up, up_scales, bias=up_bias)
    first = ops.silu(first) if node["activation"] == "silu" else activated(node, first, node["activation"], ())
    return first * second, total


@operator(
    "MatMulNBitsQkv", domain=DOMAIN, attributes={**NORMED, "Nq": int, "Nkv": int, "epsilon": 1e-6},
    optional=("skip", "q_bias", "k_bias"),
)  # fmt: skip
def matmul_nbits_qkv(
    node: Node, x: Any, skip: Any, norm: Any, q: Any, q_scales: Any, q_bias: Any, k: Any, k_scales: Any, k_bias: Any, v: Any,
    v_scales: Any, v_bias: Any = None,
) -> Any:  # fmt: skip
    x, total = _normed(node, x, skip, norm)
    return (
        _blockwise(node, x, q, q_scales, bias=q_bias, columns=node["Nq"]),
        _blockwise(node, x, k, k_scales, bias=k_bias, columns=node["Nkv"]),
        _blockwise(node, x, v, v_scales, bias=v_bias, columns=node["Nkv"]),
        total,
    )


@operator(
    "GatherBlockQuantized", domain=DOMAIN, attributes={"bits": 4, "block_size": 128, "gather_axis": 0, "quantize_axis": 1}
)
def gather_block_quantized(node: Node, data: Any, indices: Any, scales: Any, zeros: Any = None) -> Any:
    """Slices of a block-wise quantised table, as floats. Only what is gathered is unpacked."""
    bits, block, rank = node["bits"], node["block_size"], len(data.shape)
    if data.dtype is not dt.uint8 or bits not in (2, 4, 8):
        raise node.unsupported(f"{data.dtype} data of {bits} bits")
    gathered, blocked = node.axis(node["gather_axis"], rank), node.axis(node["quantize_axis"], rank)
    node.check(gathered == 0 and gathered != blocked, f"gather_axis must be 0 and not quantize_axis, got {gathered}, {blocked}")
    node.check(block >= 16 and not block & (block - 1), f"block_size must be a power of two from 16 on, got {block}")
    count, axis = data.shape[0], blocked + len(indices.shape) - 1
    inside = ops.logical_and(indices >= -count, indices < count)
    at = ops.where(inside, indices, 0)
    numbers = unpacked(ops.take(data, at, axis=0), bits)
    each = Array((np.arange(numbers.shape[axis]) // block).astype(np.int32))
    factor = apply("take", ops.take(scales, at, axis=0), each, axis=axis)
    if zeros is None:
        middle: Any = 2 ** (bits - 1)
    else:
        places = unpacked(ops.take(zeros, at, axis=0), bits)[..., : scales.shape[-1]]
        middle = cast(apply("take", places, each, axis=axis), dt.float32)
    made = (cast(numbers, dt.float32) - middle) * as_float(factor)
    kept = ops.reshape(inside, (*inside.shape, *[1] * (rank - 1)))
    return cast(ops.where(kept, made, 0.0), scales.dtype)


# The 16 values of the two 4-bit types of bitsandbytes. NF4: Dettmers et al., QLoRA, 2023, appendix E. FP4: sign, two bits of
# exponent, one of mantissa, relative to the largest.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
_HALF_FP4 = (0.0, 5.208333333e-03, 0.6666666667, 1.0, 0.3333333333, 0.5, 0.1666666667, 0.25)
_FP4 = (*_HALF_FP4, *(-v for v in _HALF_FP4))


@operator(
    "MatMulBnb4", domain=DOMAIN,
    attributes={"K": int, "N": int, "block_size": int, "quant_type": int, "transB": 1, "training_mode": 0},
)  # fmt: skip
def matmul_bnb4(node: Node, x: Any, packed: Any, largest: Any) -> Any:
    """A product with weights [N, K] of 4-bit floats: 16 values times the largest of each block of the flattened matrix."""
    rows, columns, block = node["K"], node["N"], node["block_size"]
    node.check(node["quant_type"] in (0, 1), f"quant_type must be 0 or 1, got {node['quant_type']}")
    count = rows * columns
    node.check(block >= 16 and block & (block - 1) == 0, f"block_size must be a power of two from 16 on, got {block}")
    node.check(packed.size == (count + 1) // 2, f"{packed.size} bytes do not hold {columns}×{rows} weights")
    halves = ops.reshape(unpacked(ops.reshape(packed, (-1,)), 4), (-1, 2))[:, ::-1]  # the high one comes first
    codes = ops.reshape(halves, (-1,))[:count]
    table = Array(np.array(_NF4 if node["quant_type"] else _FP4, np.float32))
    factor = ops.take(as_float(largest), Array((np.arange(count) // block).astype(np.int32)), axis=0)
    weights = cast(ops.reshape(ops.take(table, codes, axis=0) * factor, (columns, rows)), x.dtype)
    return ops.matmul(x, weights, transpose_b=bool(node["transB"]))
