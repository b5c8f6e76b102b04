"""Small weights of kernels that read each of them many times: widened by a step of its own, in every run."""

from __future__ import annotations

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import GRAIN, Context, Emitter, Lowered
from ..fusion import Group, flatten
from ..index import Index
from ..nests import write_nest
from .codes import CodePanels
from .tile import Tile


def widened(context: Context, group: Group, packed: Value) -> tuple[Value, list[Lowered]]:
    """A constant in the dtype it is computed in, and the kernel that makes it so: none where it is stored so, or on a GPU,
    which widens as it loads. Only for what is few: it takes memory, and the arena's at that."""
    if context.machine.gpu or context.stored(packed).bits >= packed.dtype.bits:
        return packed, []
    made = Value(Abstract(packed.shape, packed.dtype), f"{packed.name}_widened")
    e = Emitter(context, Group(group.anchor or group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        at = flatten(index, packed.shape)
        e.store_flat(made, at, e.load_flat(packed, at))

    write_nest(e, packed.shape, store)
    return made, [e.finish(f"widen_{'x'.join(map(str, packed.shape))}")]


def widened_panels(context: Context, group: Group, panels: CodePanels, tile: Tile) -> tuple[Value, list[Lowered]]:
    """Panels of floats of panels of codes, and the kernel that makes them."""
    count, length = panels.packed.shape[0], panels.taps * panels.run * panels.columns
    made = Value(Abstract((count, panels.taps, panels.run, panels.columns), dt.float32), f"{panels.packed.name}_widened")
    e = Emitter(context, Group(group.anchor or group.root, []))
    k = e.k
    held = e.buffer(made, "write")
    with k.loop(0, count, kind="parallel", worth=max(1, length // GRAIN)) as loop:
        panel = k.var(loop, "panel", 0, count - 1)
        source, scales = k.index(panel * panels.length), k.index(panel * panels.scale_length)
        panels.unpack(e, held, k.index(panel * length), source, scales, 1, tile.width)
    return made, [e.finish(f"widen_codes_{'x'.join(map(str, made.shape))}")]
