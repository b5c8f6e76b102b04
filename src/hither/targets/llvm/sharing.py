"""How threads share the work of a step: the driver publishes it in one word, everybody claims chunks of it.

The driver is the thread that called the entry. It runs the entry's control flow alone. For a step worth sharing it writes
the job, then the word `chunks << 16 | next chunk`, and claims chunks from it by atomic addition, as helpers do. It goes on
when every claimed chunk is done; a helper that is late, or that the operating system has taken off its core, has claimed
nothing and costs nothing.

Why this is safe: an addition returns the count and the chunk of the same moment, so a claim with chunk < chunks belongs to
the step that is published now, however old the helper's reasons for making it; any other claim does nothing. Until the
claimed chunk is counted in DONE the driver neither publishes another step nor returns, so the job, the regions and the code
stay. Helpers touch nothing else. One that has seen an open word adds once and looks again, so a count runs over by the
number of helpers at most and never leaves its half of the word.

Memory: the word and the number of threads of the run (0 between runs), the job, DONE, and the function by which a thread rests;
far apart, because cores write them at different times.
"""

from __future__ import annotations

from ...kernels.sharing import CHUNKS_PER_THREAD
from ...kernels.steps import SPACES
from .prelude import SPINS, relax

WORD, THREADS, JOB, DONE, REST, SHARED_BYTES = 0, 8, 128, 256, 384, 512
REST_MICROSECONDS = 40  # yielding instead would cost a thread its turn for milliseconds under Linux's EEVDF scheduler
_RESTS = 8  # of a helper in a run that has nothing for it, before it goes: about a millisecond

_REGIONS = ", ".join(f"ptr %{space}" for space in SPACES)


def _slot(name: str, base: str, offset: int) -> str:
    return f"  %{name} = getelementptr inbounds i8, ptr %{base}, i64 {offset}"


def _fields() -> list[tuple[str, int]]:
    return [(name, JOB + 8 * i) for i, name in enumerate(("step", *SPACES))]


def share(arch: str) -> str:
    """`share(shared, step, most, regions)`: run a step's function for all its chunks, at most `most`.

    Where `shared` is null there is one chunk, and nothing atomic.
    """
    pause, declaration = relax(arch)
    stores = "\n".join(f"{_slot(f'{n}.slot', 'shared', at)}\n  store ptr %{n}, ptr %{n}.slot, align 8" for n, at in _fields())
    return f"""{declaration}
define internal void @share(ptr %shared, ptr %step, i64 %most, {_REGIONS}) noinline nounwind {{
start:
  %alone = icmp eq ptr %shared, null
  br i1 %alone, label %whole, label %publish
whole:
  call void %step({_REGIONS}, i64 0, i64 1)
  ret void
publish:
{_slot("threads.slot", "shared", THREADS)}
  %threads = load i64, ptr %threads.slot, align 8
  %wanted = mul i64 %threads, {CHUNKS_PER_THREAD}
  %chunks = call i64 @llvm.umin.i64(i64 %wanted, i64 %most)
{stores}
{_slot("done", "shared", DONE)}
  store atomic i64 0, ptr %done monotonic, align 8
  %high = shl i64 %chunks, 16
  %word = or i64 %high, 1
  store atomic i64 %word, ptr %shared release, align 8
  br label %work
work:
  %chunk = phi i64 [ 0, %publish ], [ %next, %work ]
  %mine = phi i64 [ 1, %publish ], [ %more.mine, %work ]
  call void %step({_REGIONS}, i64 %chunk, i64 %chunks)
  %claim = atomicrmw add ptr %shared, i64 1 monotonic
  %next = and i64 %claim, 65535
  %more.mine = add i64 %mine, 1
  %open = icmp ult i64 %next, %chunks
  br i1 %open, label %work, label %rest
rest:
  %others = sub i64 %chunks, %mine
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
leave:
  ret void
}}
"""


def print_helper(arch: str) -> str:
    """A module with `help(shared, index, spins)`: claim chunks, and return when there were none for a while.

    It lives as long as the process, unlike the code of the steps that it calls.
    """
    pause, declaration = relax(arch)
    loads = "\n".join(f"{_slot(f'{n}.slot', 'shared', at)}\n  %{n} = load ptr, ptr %{n}.slot, align 8" for n, at in _fields())
    return f"""{declaration}
define void @help(ptr %shared, i64 %index, i64 %limit) nounwind {{
start:
{_slot("threads.slot", "shared", THREADS)}
{_slot("done", "shared", DONE)}
  %most = add i64 %limit, {_RESTS}
  br label %look
look:
  %spins = phi i64 [ 0, %start ], [ 0, %claim ], [ 0, %work ], [ %waited, %idle ], [ %waited, %sleep ]
  %seen = load atomic i64, ptr %shared monotonic, align 8
  %seen.next = and i64 %seen, 65535
  %seen.chunks = lshr i64 %seen, 16
  %seen.open = icmp ult i64 %seen.next, %seen.chunks
  %threads = load atomic i64, ptr %threads.slot monotonic, align 8
  %invited = icmp ult i64 %index, %threads
  %try = and i1 %seen.open, %invited
  br i1 %try, label %claim, label %idle
claim:
  %claimed = atomicrmw add ptr %shared, i64 1 acquire
  %chunk = and i64 %claimed, 65535
  %chunks = lshr i64 %claimed, 16
  %valid = icmp ult i64 %chunk, %chunks
  br i1 %valid, label %work, label %look
work:
{loads}
  call void %step({_REGIONS}, i64 %chunk, i64 %chunks)
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
