"""Blocks: a convolution joins the depthwise convolution that alone reads it, where the array between them is large.

This comes after fusion has made groups: it looks for a convolution's group that stores into a pad, and a depthwise convolution
of that pad. Together they are one kernel (templates/block.py), which needs some lines of the picture instead of all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from .. import dtypes as dt
from ..graph.core import Graph, Node, Value
from .fusion import Group
from .ir import Machine

SHORT_LINE = 6  # pixels: a tile takes its rows from one line, and shorter ones would leave it half empty
RESIDENT = 4  # an array larger than this part of the second-level cache is not left there for its reader
FLOAT_BYTES = 4
SLOWER = 4  # WebAssembly computes that much slower than native code, memory is as fast: blocks pay for larger arrays only


def join_blocks(groups: Sequence[Group], graph: Graph, machine: Machine, known: Callable[[Value], bool]) -> list[Group]:
    """The groups, convolutions joined to the depthwise ones that they feed. Natively pads of pictures join those; in
    WebAssembly copying their lines costs more than a padded picture does."""
    if machine.gpu:
        return list(groups)  # lines have no order there
    native = machine.name == "llvm"
    room = machine.l2_bytes * (1 if native else SLOWER) // RESIDENT
    users, outputs = graph.users(), set(graph.outputs)
    makers = {g.root.results[0]: g for g in groups}
    gone: set[Group] = set()
    for group in groups:
        node = group.anchor
        if node is None or not _depthwise(node, known):
            continue
        padded = node.operands[0]
        border = makers.get(padded)
        if border is None or not _only_pads(border) or users[padded] != [node] or padded in outputs:
            continue
        feeder = makers.get(border.root.operands[0])
        if feeder is None or not _walks_lines(feeder, known):
            continue
        if padded.abstract.size * FLOAT_BYTES > room:  # of halves, too: not making them is worth as much
            group.feeder = feeder
            gone |= {feeder, border}
            if native and (picture := _padded_picture(feeder, makers, users, outputs)) is not None:
                feeder.feeder = picture
                gone.add(picture)
    return [g for g in groups if g not in gone]


def _depthwise(node: Node, known: Callable[[Value], bool]) -> bool:
    """Whether a node filters each channel of pictures by a window of two axes that does not jump over lines."""
    if node.primitive.name != "conv" or node.results[0].abstract.rank != 4 or node.results[0].dtype is not dt.float32:
        return False
    (x, w), p = node.operands, node.params
    each = p["groups"] == x.shape[-1] == node.results[0].shape[-1]
    return each and known(w) and tuple(p["dilation"]) == (1, 1) and w.shape[2] >= p["strides"][0]


def _only_pads(group: Group) -> bool:
    """Whether a group is a pad of lines and columns with zeros whose inside is stored by others."""
    p = group.root.params
    if group.root.primitive.name != "pad" or not group.placed or group.placement is not None or p["value"] != 0:
        return False
    return all(p[side][axis] == 0 for side in ("low", "high") for axis in (0, 3)) and min(*p["low"], *p["high"]) >= 0


def _padded_picture(
    feeder: Group, makers: Mapping[Value, Group], users: Mapping[Value, Sequence[Node]], outputs: Collection[Value]
) -> Group | None:
    """The pad of a channels-first picture that a convolution alone reads, through a transpose: a line of output needs few lines
    of it."""
    assert feeder.anchor is not None
    view = feeder.producers().get(feeder.anchor.operands[0])
    if view is None or view.primitive.name != "transpose":
        return None
    pad = makers.get(view.operands[0])
    if pad is None or pad.root.primitive.name != "pad" or len(pad.nodes) > 1 or pad.placed or pad.placement is not None:
        return None
    (padded,), low, high = pad.results, pad.root.params["low"], pad.root.params["high"]
    plain = view.params["permutation"] == (0, 2, 3, 1) and low[:2] == high[:2] == (0, 0) and min(*low, *high) >= 0
    alone = users[padded] == [view] and users[view.results[0]] == [feeder.anchor] and padded not in outputs
    return pad if plain and alone and padded.dtype is dt.float32 else None


def _walks_lines(group: Group, known: Callable[[Value], bool]) -> bool:
    """Whether a group is a dense convolution, finished element by element, that can be computed a line at a time."""
    node = group.anchor
    if node is None or node.primitive.name != "conv" or group.feeder is not None:
        return False
    result = group.root.results[0]
    dense = node.params["groups"] == 1 and known(node.operands[1])
    if result.abstract.rank != 4 or result.shape[2] < SHORT_LINE:
        return False
    same = (
        result.shape == node.results[0].shape
        and result.dtype in (dt.float32, dt.float16)
        and node.results[0].dtype is dt.float32
    )
    return dense and same
