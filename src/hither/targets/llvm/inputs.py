"""Inputs that are read where the caller has them, instead of being copied into the io region first.

A picture of 224 x 224 takes some 60 microseconds to be copied, and more with several threads: who writes lines that other
cores have read waits for them. So an entry is given a table of addresses, one for each input that is large enough.
"""

from __future__ import annotations

from ...kernels.steps import Code, Copy, Launch, Ref, Step, refs, walk

WORTH = 1 << 14  # bytes; smaller inputs are copied sooner than they are looked at
ALIGNED = 16  # bytes: what allocators of arrays give everywhere, and all that code may rely on for such an input


def direct(code: Code, entry: str) -> tuple[Ref, ...]:
    """The places of an entry's inputs that its steps find through the table, in the table's order."""
    steps = list(walk(code.entries[entry]))
    return tuple(ref for ref in code.inputs.get(entry, ()) if ref.nbytes >= WORTH and _is_only_read(code, steps, ref))


def _is_only_read(code: Code, steps: list[Step], place: Ref) -> bool:
    """Whether steps read an input as the one array that it is, and leave it as it was: it is the caller's."""
    for step in steps:
        for i, ref in enumerate(refs(step)):
            apart = ref.space != place.space or ref.offset + ref.nbytes <= place.offset
            if apart or place.offset + place.nbytes <= ref.offset:
                continue
            match step:
                case Launch():
                    reads = code.kernels[step.kernel].buffers[i].access == "read"
                case Copy():
                    reads = i == 0
                case _:
                    reads = False  # a flag, of which steps know where it is
            if ref != place or not reads:
                return False
    return True
