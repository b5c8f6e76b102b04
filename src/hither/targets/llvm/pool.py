"""The native half of the thread pool: how a run is handed to waiting workers without going through Python.

Memory: the barrier's (prelude.py), then the job, then how many workers are done with it, then a mailbox per thread: a
counter of the runs it was given. The end of a run is awaited here and not in the entry, whose code may be freed as soon as
the run has returned.
"""

from __future__ import annotations

from .prelude import BARRIER_BYTES, BARRIER_YIELD, SPINS, relax

JOB = BARRIER_BYTES
DONE = JOB + 128
MAILBOXES = DONE + 128
MAILBOX_BYTES = 128  # two cache lines: neighbours are prefetched together
_FIELDS = ("entry", "weights", "state", "arena", "io", "threads")


def pool_bytes(threads: int) -> int:
    """Bytes of memory for a pool of at most this many threads."""
    return MAILBOXES + MAILBOX_BYTES * threads


def print_pool(arch: str) -> str:
    """A module with `pool_run` and `pool_work`: see hither.runtime.threads.WorkerPool."""
    pause, declaration = relax(arch)
    stores, loads = [], []
    for i, name in enumerate(_FIELDS):
        kind = "i64" if name == "threads" else "ptr"
        stores += [
            f"  %{name}.slot = getelementptr inbounds i8, ptr %pool, i64 {JOB + 8 * i}",
            f"  store {kind} %{name}, ptr %{name}.slot, align 8",
        ]
        loads += [
            f"  %{name}.slot = getelementptr inbounds i8, ptr %pool, i64 {JOB + 8 * i}",
            f"  %{name} = load {kind}, ptr %{name}.slot, align 8",
        ]
    newline = "\n"
    regions = "ptr %weights, ptr %state, ptr %arena, ptr %io"
    return f"""{declaration}
define void @pool_run(ptr %pool, ptr %entry, {regions}, i64 %threads) nounwind {{
start:
{newline.join(stores)}
  br label %post
post:
  %i = phi i64 [ 1, %start ], [ %next, %post ]
  %offset = mul i64 %i, {MAILBOX_BYTES}
  %at = add i64 %offset, {MAILBOXES}
  %mailbox = getelementptr inbounds i8, ptr %pool, i64 %at
  %before = atomicrmw add ptr %mailbox, i64 1 release
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %threads
  br i1 %more, label %post, label %mine
mine:
  call void %entry({regions}, i64 0, i64 %threads, ptr %pool)
  %done = getelementptr inbounds i8, ptr %pool, i64 {DONE}
  %others = sub i64 %threads, 1
  br label %wait
wait:
  %spins = phi i64 [ 0, %mine ], [ %waited, %idle ], [ %waited, %yield ]
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %others
  br i1 %all, label %leave, label %idle
idle:
  {pause}
  %waited = add i64 %spins, 1
  %long = icmp ugt i64 %waited, {SPINS}
  br i1 %long, label %yield, label %wait
yield:
  %yield.slot = getelementptr inbounds i8, ptr %pool, i64 {BARRIER_YIELD}
  %function = load ptr, ptr %yield.slot, align 8
  call i32 %function()
  br label %wait
leave:
  store atomic i64 0, ptr %done monotonic, align 8
  ret void
}}

define i64 @pool_work(ptr %pool, i64 %index, i64 %seen, i64 %limit) nounwind {{
start:
  %offset = mul i64 %index, {MAILBOX_BYTES}
  %at = add i64 %offset, {MAILBOXES}
  %mailbox = getelementptr inbounds i8, ptr %pool, i64 %at
  br label %wait
wait:
  %last = phi i64 [ %seen, %start ], [ %last, %idle ], [ %now, %job ]
  %spins = phi i64 [ 0, %start ], [ %waited, %idle ], [ 0, %job ]
  %now = load atomic i64, ptr %mailbox acquire, align 8
  %given = icmp ne i64 %now, %last
  br i1 %given, label %job, label %idle
idle:
  {pause}
  %waited = add i64 %spins, 1
  %patient = icmp ult i64 %waited, %limit
  br i1 %patient, label %wait, label %leave
job:
{newline.join(loads)}
  call void %entry({regions}, i64 %index, i64 %threads, ptr %pool)
  %done = getelementptr inbounds i8, ptr %pool, i64 {DONE}
  %before = atomicrmw add ptr %done, i64 1 release
  br label %wait
leave:
  ret i64 %last
}}
"""
