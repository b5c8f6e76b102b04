"""Small weights of kernels that read each of them many times: widened by a step of its own, in every run."""

from __future__ import annotations

from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered
from ..fusion import Group, flatten
from ..index import Index
from ..nests import write_nest


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
