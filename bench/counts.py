"""Bytes that a plan holds and moves, counted: no machine blurs them, so tests hold them to ceilings and reports show them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hither.kernels.ir import Machine
from hither.kernels.steps import ALIGN, Copy, Launch, walk
from hither.program.plan import Plan
from hither.targets.wgsl.bindings import plan_bindings
from hither.targets.wgsl.plan import dispatches


def moved(step: Launch | Copy, plan: Plan) -> Iterator[tuple[bool, str, int, int]]:
    """(is written, space, offset, bytes) of everything that a step touches."""
    if isinstance(step, Copy):
        yield False, step.source.space, step.source.offset, step.source.nbytes
        yield True, step.target.space, step.target.offset, step.target.nbytes
        return
    buffers = [b for b in plan.code.kernels[step.kernel].buffers if b.space == "global"]
    for ref, buffer in zip(step.args, buffers, strict=True):
        yield buffer.access in ("write", "scratch"), ref.space, ref.offset, ref.nbytes


def most_alive(plan: Plan) -> int:
    """The most arena bytes alive at once, found from the steps alone: written earlier, and still to be read."""
    alive = np.zeros(-(-plan.code.sizes["arena"] // ALIGN), bool)
    most = 0
    for step in reversed(list(walk(plan.code.entries["predict"]))):
        assert isinstance(step, Launch | Copy), "a plain network has no branches"
        touched = [(w, slice(at // ALIGN, -(-(at + n) // ALIGN))) for w, space, at, n in moved(step, plan) if space == "arena"]
        for _, place in touched:
            alive[place] = True
        most = max(most, int(alive.sum()) * ALIGN)
        for written, place in touched:
            if written:
                alive[place] = False
    assert not alive.any(), "a step reads what no step has written"
    return most


def memory(plan: Plan) -> dict[str, int]:
    """Bytes of each region, and "live": the most arena bytes alive at once."""
    return {**plan.code.sizes, "live": most_alive(plan)}


def traffic(plan: Plan, machine: Machine) -> dict[str, int]:
    """WebGPU, one run. "bound": bytes of all bindings of all dispatches. "compulsory": each launch reads its operands (weights,
    inputs, what other launches made) once and writes its results once, in storage dtypes; of what is only sliced or gathered
    from, the part that is used."""
    bound = sum(b.size for d in dispatches(plan_bindings(plan.code, machine)) for b in d.bindings)
    compulsory = 0
    for steps in plan.code.entries.values():
        for step in walk(steps):
            if isinstance(step, Launch):
                compulsory += step.work.bytes_read + step.work.bytes_written
            elif isinstance(step, Copy):
                compulsory += step.source.nbytes + step.target.nbytes
    return {"bound": bound, "compulsory": compulsory}
