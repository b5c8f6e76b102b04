"""How threads share the work of a step: the driver publishes it in a word for each thread, everybody claims chunks of them.

The driver is the thread that called the entry. It runs the entry's control flow alone. For a step worth sharing it writes
the job, then a range of chunks for each thread as a word, `end << 16 | next chunk`, and claims chunks by atomic addition, as
helpers do: from its own range, then from those of others. It goes on when every chunk is done; a helper that is late, or that
the operating system has taken off its core, has claimed nothing and costs nothing.

A thread has its own range because steps that follow each other cut the same rows: what it wrote it then finds in its own cache,
and nearly nobody else reads it. A line that two cores have read is slow to be written again, for all of them are asked:
6.6 ns on a Zen 4 whose cores have a third-level cache in common, 26 ns where they have not, against 0.6 to 1 ns and 3 ns for
one that another core alone has read or written.

Why this is safe: an addition returns the end and the chunk of the same moment, so a claim with chunk < end belongs to the step
that is published now, however old the helper's reasons for making it; any other claim does nothing. The driver neither
publishes another step nor returns until all chunks are claimed, and all but its own are counted in DONE: the job, the regions
and the code stay. Helpers touch nothing else. One that has seen an open word adds once and looks again, so a count runs over
by the number of helpers at most and never leaves its half of the word.

Memory: the words, the number of threads of the run (0 between runs), the job, DONE, and the function by which a thread rests;
far apart, because cores write them at different times.
"""

from __future__ import annotations

from ...kernels.sharing import CHUNKS_PER_THREAD
from ...kernels.steps import SPACES
from .prelude import SPINS, UMIN, relax

WORDS, THREADS, JOB, DONE, REST, SHARED_BYTES = 0, 512, 640, 768, 896, 1024
MOST_RANGES = 64  # words; threads beyond them share ranges
REST_MICROSECONDS = 40  # yielding instead would cost a thread its turn for milliseconds under Linux's EEVDF scheduler
_RESTS = 8  # of a helper in a run that has nothing for it, before it goes: about a millisecond

POINTERS = (*SPACES, "inputs")  # what every step is given; `inputs`: addresses of inputs that lie elsewhere (inputs.py)
REGIONS = ", ".join(f"ptr %{name}" for name in POINTERS)


def _slot(name: str, base: str, offset: int) -> str:
    return f"  %{name} = getelementptr inbounds i8, ptr %{base}, i64 {offset}"


def _fields() -> list[tuple[str, int]]:
    return [(name, JOB + 8 * i) for i, name in enumerate(("step", *POINTERS))]


CHUNKS = JOB + 8 * (1 + len(POINTERS))


def share(arch: str) -> str:
    """`share(shared, step, most, regions)`: run a step's function for all its chunks, at most `most`.

    Where `shared` is null there is one chunk, and nothing atomic.
    """
    pause, declaration = relax(arch)
    return f"""{declaration}
define internal void @share(ptr %shared, ptr %step, i64 %most, {REGIONS}) noinline nounwind {{
{_publish()}{_work()}{_wait(pause)}leave:
  ret void
}}
"""


def _publish() -> str:
    """Write the job, then each thread's range, the driver's last: its first chunk is the driver's already."""
    stores = "\n".join(f"{_slot(f'{n}.slot', 'shared', at)}\n  store ptr %{n}, ptr %{n}.slot, align 8" for n, at in _fields())
    return f"""start:
  %alone = icmp eq ptr %shared, null
  br i1 %alone, label %whole, label %publish
whole:
  call void %step({REGIONS}, i64 0, i64 1)
  ret void
publish:
{_slot("threads.slot", "shared", THREADS)}
  %threads = load i64, ptr %threads.slot, align 8
  %wanted = mul i64 %threads, {CHUNKS_PER_THREAD}
  %chunks = call i64 @llvm.umin.i64(i64 %wanted, i64 %most)
{stores}
{_slot("chunks.slot", "shared", CHUNKS)}
  store i64 %chunks, ptr %chunks.slot, align 8
{_slot("done", "shared", DONE)}
  store atomic i64 0, ptr %done monotonic, align 8
  %ranges = call i64 @llvm.umin.i64(i64 %threads, i64 {MOST_RANGES})
  %above = sub i64 %ranges, 1
  br label %open
open:
  %range = phi i64 [ %above, %publish ], [ %before, %open ]
  %end = phi i64 [ %chunks, %publish ], [ %first, %open ]
  %scaled = mul i64 %range, %chunks
  %rounded = add i64 %scaled, %above
  %first = udiv i64 %rounded, %ranges
  %high = shl i64 %end, 16
  %driver = icmp eq i64 %range, 0
  %low = select i1 %driver, i64 1, i64 %first
  %word = or i64 %high, %low
  %slot = getelementptr inbounds i64, ptr %shared, i64 %range
  store atomic i64 %word, ptr %slot release, align 8
  %before = sub i64 %range, 1
  br i1 %driver, label %work, label %open
"""


def _work() -> str:
    """Chunks of the driver's range, then of the others', as long as there are some."""
    return f"""work:
  %chunk = phi i64 [ 0, %open ], [ %next, %claim ]
  %mine = phi i64 [ 0, %open ], [ %more.mine, %claim ]
  %current = phi i64 [ 0, %open ], [ %from, %claim ]
  %more.mine = add i64 %mine, 1
  call void %step({REGIONS}, i64 %chunk, i64 %chunks)
  br label %look
look:
  %from = phi i64 [ %current, %work ], [ %from.next, %closed ]
  %from.slot = getelementptr inbounds i64, ptr %shared, i64 %from
  %seen = load atomic i64, ptr %from.slot monotonic, align 8
  %seen.next = and i64 %seen, 65535
  %seen.end = lshr i64 %seen, 16
  %seen.open = icmp ult i64 %seen.next, %seen.end
  br i1 %seen.open, label %claim, label %closed
claim:
  %claimed = atomicrmw add ptr %from.slot, i64 1 monotonic
  %next = and i64 %claimed, 65535
  %valid = icmp ult i64 %next, %seen.end
  br i1 %valid, label %work, label %closed
closed:
  %from.next = add i64 %from, 1
  %further = icmp ult i64 %from.next, %ranges
  br i1 %further, label %look, label %rest
"""


def _wait(pause: str) -> str:
    """Until helpers have done what they have claimed."""
    return f"""rest:
  %others = sub i64 %chunks, %more.mine
  br label %wait
wait:
  %spins = phi i64 [ 0, %rest ], [ %waited, %idle ], [ %waited, %sleep ]
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %others
  br i1 %all, label %leave, label %idle
idle:
  {pause}
  %waited = add i64 %spins, 1
  %long = icmp ugt i64 %waited, {SPINS}
  br i1 %long, label %sleep, label %wait
sleep:
{_slot("rest.slot", "shared", REST)}
  %function = load ptr, ptr %rest.slot, align 8
  call i32 %function(i32 {REST_MICROSECONDS})
  br label %wait
"""


def print_helper(arch: str) -> str:
    """A module with `help(shared, index, spins)`: claim chunks, and return when there were none for a while.

    It lives as long as the process, unlike the code of the steps that it calls.
    """
    pause, declaration = relax(arch)
    loads = "\n".join(f"{_slot(f'{n}.slot', 'shared', at)}\n  %{n} = load ptr, ptr %{n}.slot, align 8" for n, at in _fields())
    return f"""{declaration}
{UMIN}
define void @help(ptr %shared, i64 %index, i64 %limit) nounwind {{
start:
{_slot("threads.slot", "shared", THREADS)}
{_slot("done", "shared", DONE)}
  %most = add i64 %limit, {_RESTS}
  br label %look
look:
  %spins = phi i64 [ 0, %start ], [ 0, %work ], [ %waited, %idle ], [ %waited, %sleep ]
  %threads = load atomic i64, ptr %threads.slot monotonic, align 8
  %invited = icmp ult i64 %index, %threads
  br i1 %invited, label %own, label %idle
own:
  %ranges = call i64 @llvm.umin.i64(i64 %threads, i64 {MOST_RANGES})
  %mine = urem i64 %index, %ranges
  br label %range
range:
  %from = phi i64 [ %mine, %own ], [ %following, %closed ]
  %tried = phi i64 [ 1, %own ], [ %trying, %closed ]
  %slot = getelementptr inbounds i64, ptr %shared, i64 %from
  %seen = load atomic i64, ptr %slot monotonic, align 8
  %seen.next = and i64 %seen, 65535
  %seen.end = lshr i64 %seen, 16
  %seen.open = icmp ult i64 %seen.next, %seen.end
  br i1 %seen.open, label %claim, label %closed
claim:
  %claimed = atomicrmw add ptr %slot, i64 1 acquire
  %chunk = and i64 %claimed, 65535
  %end = lshr i64 %claimed, 16
  %valid = icmp ult i64 %chunk, %end
  br i1 %valid, label %work, label %closed
closed:
  %after = add i64 %from, 1
  %past = icmp uge i64 %after, %ranges
  %following = select i1 %past, i64 0, i64 %after
  %trying = add i64 %tried, 1
  %more = icmp ult i64 %tried, %ranges
  br i1 %more, label %range, label %idle
work:
{loads}
{_slot("chunks.slot", "shared", CHUNKS)}
  %chunks = load i64, ptr %chunks.slot, align 8
  call void %step({REGIONS}, i64 %chunk, i64 %chunks)
  %before = atomicrmw add ptr %done, i64 1 release
  br label %look
idle:
  {pause}
  %waited = add i64 %spins, 1
  %patient = icmp ult i64 %waited, %limit
  br i1 %patient, label %look, label %tired
tired:
  %gone = icmp ugt i64 %waited, %most
  %stay = xor i1 %gone, true
  %running = and i1 %invited, %stay
  br i1 %running, label %sleep, label %leave
sleep:
{_slot("rest.slot", "shared", REST)}
  %function = load ptr, ptr %rest.slot, align 8
  call i32 %function(i32 {REST_MICROSECONDS})
  br label %look
leave:
  ret void
}}
"""
