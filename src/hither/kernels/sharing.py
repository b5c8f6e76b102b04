"""How finely the work of a kernel, and of a whole entry, can be shared among threads: decided when code is printed.

Threads claim chunks of a step while it runs, so that one that starts late or is slow takes fewer; which chunk runs on which
thread changes no result, because chunks differ in nothing but their ranges of iterations.
"""

from __future__ import annotations

from .ir import Kernel, Op
from .steps import Code, Cond, Copy, Launch, Step, While

CHUNKS_PER_THREAD = 4  # a claim costs some 50 ns
MOST_CHUNKS = (1 << 15) - 1  # half of what fits into a half of the word from which chunks are claimed
COPY_CHUNK = 1 << 17  # bytes that are worth a chunk of their own
ASSUMED_TRIPS = 8  # of a loop whose bound is unknown
WORTH_WAKING = 128  # chunks of least size: some 200 µs natively; a sleeping thread takes 60 µs until it helps


def trips(op: Op) -> int | None:
    """How often a loop runs, where its bounds are constants."""
    start, stop = (a.op.attr if a.op is not None and a.op.kind == "const" else None for a in op.args[:2])
    if start is None or stop is None:
        return None
    return len(range(start, stop, op.attr.step))


def loop_chunks(op: Op) -> int:
    """Into how many chunks a parallel loop's grain allows to cut it."""
    count = trips(op)
    if count is None:
        raise ValueError(f"a parallel loop has the bounds {op.args[:2]}; it needs constants")
    return min(max(1, count // op.attr.grain), MOST_CHUNKS)


def most_chunks(kernel: Kernel) -> int:
    """Into how many chunks a kernel's work may be cut; 1 where there is nothing to share."""
    loops = [loop_chunks(op) for op in kernel.body.ops if op.kind == "loop" and op.attr.kind == "parallel"]
    if not loops and any(op.kind in ("thread", "threads") for op in kernel.walk()):
        return MOST_CHUNKS  # it cuts its work itself
    return max(loops, default=1)


def _worth(kernel: Kernel) -> int:
    """What a chunk of a kernel is worth at least, in chunks of least size."""
    return max((op.attr.worth for op in kernel.body.ops if op.kind == "loop" and op.attr.kind == "parallel"), default=1)


def copy_chunks(step: Copy) -> int:
    """Into how many chunks a copy may be cut."""
    return max(1, min(step.source.nbytes, step.target.nbytes) // COPY_CHUNK)


def shared_work(code: Code, steps: tuple[Step, ...]) -> int:
    """How much of an entry threads can share, estimated in chunks of the least size that is worth one."""
    total = 0
    for step in steps:
        match step:
            case Copy():
                chunks = copy_chunks(step)
                total += chunks if chunks > 1 else 0
            case Launch():
                kernel = code.kernels[step.kernel]
                chunks = most_chunks(kernel)
                total += chunks * _worth(kernel) if chunks > 1 else 0
            case Cond():
                total += max(shared_work(code, step.then), shared_work(code, step.otherwise))
            case While():
                total += shared_work(code, step.body) * (ASSUMED_TRIPS if step.bound is None else step.bound)
    return total
