"""Sparse tensors: the values that are not zero, and a tree over (blocked) axes that says where they are.

The format is TACO's (Kjolstad et al., 2017) as TensorFlow Lite stores it: axes in traversal order, block axes last, each either
dense (an extent) or sparse (segments and indices, as the rows of CSR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Level:
    """One axis of the tree: dense of `extent`, or sparse with `segments` and `indices`."""

    extent: int
    segments: np.ndarray | None = None
    indices: np.ndarray | None = None


def expand(
    values: np.ndarray, shape: tuple[int, ...], order: Sequence[int], blocks: Sequence[int], levels: Sequence[Level]
) -> np.ndarray:
    """The dense array of `shape`.

    Args:
        values: what is stored, in the order of the tree's leaves.
        order: the axis at each level; axes from `len(shape)` on are those within blocks.
        blocks: for each block axis, which axis of the tensor it is a part of.
        levels: one for each entry of `order`.

    Raises:
        ValueError: the description is inconsistent.
    """
    rank, depth = len(shape), len(order)
    if sorted(order) != list(range(rank + len(blocks))) or len(levels) != depth:
        raise ValueError(
            f"sparse axes {tuple(order)} with {len(levels)} levels do not fit {rank} axes and {len(blocks)} blocks"
        )
    if any(not 0 <= b < rank for b in blocks) or len(set(blocks)) != len(blocks):
        raise ValueError(f"sparse blocks {tuple(blocks)} do not name axes of {rank}")
    size = int(np.prod(shape, dtype=np.int64))
    block_of = {axis: levels[order.index(rank + i)].extent for i, axis in enumerate(blocks)}
    position = np.zeros(1, np.int64)  # of the nodes at this level of the tree
    found: list[np.ndarray] = []  # their coordinates on the axes so far
    for axis, level in zip(order, levels):
        if level.segments is None or level.indices is None:
            if level.extent < 0 or len(position) * level.extent > max(size, 1):
                raise ValueError(f"a sparse tensor of shape {shape} has a dense level of {level.extent}")
            parent = np.repeat(np.arange(len(position)), level.extent)
            own = np.tile(np.arange(level.extent), len(position))
            position = position[parent] * level.extent + own
        else:
            segments, indices = level.segments.astype(np.int64), level.indices.astype(np.int64)
            if len(position) and position.max() + 1 >= len(segments):
                raise ValueError("the segments of a sparse tensor are too few")
            starts, stops = segments[position], segments[position + 1]
            counts = stops - starts
            if (counts < 0).any() or (starts < 0).any() or (stops > len(indices)).any() or counts.sum() > size:
                raise ValueError("the segments of a sparse tensor do not fit its indices")
            parent = np.repeat(np.arange(len(position)), counts)
            first = np.cumsum(counts) - counts
            position = np.arange(len(parent)) - first[parent] + starts[parent]
            own = indices[position]
            extent = block_of[blocks[axis - rank]] if axis >= rank else -(-shape[axis] // block_of.get(axis, 1))
            if ((own < 0) | (own >= extent)).any():
                raise ValueError("an index of a sparse tensor is out of range")
        found = [f[parent] for f in found] + [own]
    if len(position) and position.max() >= len(values):
        raise ValueError(f"a sparse tensor holds {len(values)} values and needs {int(position.max()) + 1}")
    at: list[np.ndarray] = [np.zeros(len(position), np.int64)] * rank
    for level_index, axis in enumerate(order):
        if axis < rank:
            at[axis] = at[axis] + found[level_index] * block_of.get(axis, 1)
        else:
            at[blocks[axis - rank]] = at[blocks[axis - rank]] + found[level_index]
    for coordinate, extent in zip(at, shape):
        if (coordinate >= extent).any():
            raise ValueError("a sparse tensor reaches beyond its shape")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(at)] = values[position]
    return dense
