"""How threads share the work of a step: the protocol of targets/llvm/sharing.py, where it is explained, in a module's memory.

The driver publishes a range of chunks for each thread in a word, `end << 16 | next chunk`, and everybody claims chunks by atomic
addition, from its own range first. What differs is waiting: WebAssembly cannot give its core to others but by sleeping, so both
sides spin for a moment and then sleep on a word of memory, and say so in another word, that nobody makes a system call to wake
those who do not sleep. Helpers sleep on the number of steps published, which the driver counts when all ranges are there.
"""

from __future__ import annotations

from ...kernels.sharing import CHUNKS_PER_THREAD
from ...kernels.steps import SPACES
from .encoder import I32, Function, assemble

# byte offsets in the memory that threads share, zero at the start; what cores write at different times lies in different lines
WORDS, DONE, AWAITED, SLEEPERS, HELPERS, JOB, STEPS, SYNC_BYTES = 0, 256, 260, 320, 324, 384, 448, 512
MOST_RANGES = 64  # words; threads beyond them share ranges
_SPINS = 131072  # some 160 µs: longer than most chunks, for the last of which others wait, and than sleeping and waking

STEP_PARAMS = (I32,) * (1 + len(SPACES) + 3)  # step, regions, chunk, chunks, scratch
_JOB = range(1 + len(SPACES))  # step, regions: words of the job
_CHUNKS_AT, _RANGES_AT = JOB + 4 * len(_JOB), JOB + 4 * len(_JOB) + 4
_STEP, _MOST, _REGION = 0, 1, 2  # locals of share
_LOCALS = range(_REGION + len(SPACES), _REGION + len(SPACES) + 11)
_THREADS, _SYNC, _SCRATCH, _CHUNK, _CHUNKS, _MINE, _SPIN, _SEEN, _RANGE, _END, _AT = _LOCALS
SHARE_PARAMS = (I32,) * _CHUNK  # step, most chunks, regions, threads, sync, scratch


def share(step: int) -> Function:
    """`share(step, most, regions, threads, sync, scratch)`: run a step for all its chunks, at most `most`.

    One thread runs it as one chunk, and nothing atomic. `step` is the index of the function that runs a chunk of a step.
    """
    regions = range(_REGION, _REGION + len(SPACES))
    pushed = "\n".join(f"local.get {i}" for i in (_STEP, *regions))
    job = "\n".join(
        f"local.get {_SYNC}\n local.get {source}\n i32.store 2 {JOB + 4 * word}"
        for word, source in enumerate((_STEP, *regions, _CHUNKS))
    )
    finished = f"""
        local.get {_SYNC}
        i32.atomic.load 2 {DONE}
        local.tee {_SEEN}
        local.get {_MINE}
        i32.add
        local.get {_CHUNKS}
        i32.eq
    """
    text = f"""
        local.get {_THREADS}
        i32.const 2
        i32.lt_s
        if
          {pushed}
          i32.const 0
          i32.const 1
          local.get {_SCRATCH}
          call {step}
          return
        end
        {_least(f"local.get {_THREADS} i32.const {CHUNKS_PER_THREAD} i32.mul", f"local.get {_MOST}", _CHUNKS)}
        {_least(f"local.get {_THREADS}", f"i32.const {MOST_RANGES}", _THREADS)}
        {job}
        local.get {_SYNC}
        i32.const 0
        i32.atomic.store 2 {DONE}
        local.get {_SYNC}
        local.get {_THREADS}
        i32.atomic.store 2 {_RANGES_AT}
        local.get {_CHUNKS}
        local.set {_END}
        local.get {_THREADS}
        local.set {_RANGE}
        loop                          ; ranges, the driver's last: from chunk 1, for chunk 0 is its already
          local.get {_SYNC}
          local.get {_RANGE}
          i32.const 1
          i32.sub
          local.tee {_RANGE}
          i32.const 2
          i32.shl
          i32.add
          local.get {_END}
          i32.const 16
          i32.shl
          local.get {_RANGE}
          local.get {_CHUNKS}
          i32.mul
          local.get {_THREADS}
          i32.add
          i32.const 1
          i32.sub
          local.get {_THREADS}
          i32.div_u
          local.tee {_END}
          local.get {_RANGE}
          i32.eqz
          i32.or
          i32.or
          i32.atomic.store 2 {WORDS}
          local.get {_RANGE}
          br_if 0
        end
        local.get {_SYNC}
        i32.const 1
        i32.atomic.rmw.add 2 {STEPS}
        drop
        {_wake(_SYNC)}
        loop                          ; chunk 0, then what is left
          {pushed}
          local.get {_CHUNK}
          local.get {_CHUNKS}
          local.get {_SCRATCH}
          call {step}
          local.get {_MINE}
          i32.const 1
          i32.add
          local.set {_MINE}
          loop
            {_claim(_SYNC, _RANGE, _AT, _CHUNK)}
            br_if 1
            local.get {_RANGE}
            i32.const 1
            i32.add
            local.tee {_RANGE}
            local.get {_THREADS}
            i32.lt_u
            br_if 0
          end
        end
        i32.const {_SPINS}
        local.set {_SPIN}
        loop
          {finished}
          if
            return
          end
          local.get {_SPIN}
          i32.const 1
          i32.sub
          local.tee {_SPIN}
          br_if 0
        end
        local.get {_SYNC}
        i32.const 1
        i32.atomic.store 2 {AWAITED}
        loop
          {finished}
          i32.eqz
          if
            local.get {_SYNC}
            local.get {_SEEN}
            i64.const -1              ; without a time limit
            memory.atomic.wait32 2 {DONE}
            drop
            br 1
          end
        end
        local.get {_SYNC}
        i32.const 0
        i32.atomic.store 2 {AWAITED}
    """
    return Function("share", SHARE_PARAMS, (), ((len(_LOCALS) - 3, I32),), assemble(text))


def _least(a: str, b: str, target: int) -> str:
    """Set a local to the lesser of two numbers."""
    a, b = a.replace(" local", "\nlocal").replace(" i32", "\ni32"), b.replace(" i32", "\ni32")
    return f"{a}\n{b}\n{a}\n{b}\ni32.lt_u\nselect\nlocal.set {target}"


def _claim(sync: int, of: int, at: int, chunk: int) -> str:
    """Claim a chunk of range `of`; whether there was one. `at` is a local for it."""
    split = f"""
        local.tee {chunk}
        i32.const 65535
        i32.and
        local.get {chunk}
        i32.const 16
        i32.shr_u
        i32.lt_u
    """
    return f"""
        local.get {sync}
        local.get {of}
        i32.const 2
        i32.shl
        i32.add
        local.tee {at}
        i32.atomic.load 2 {WORDS}
        {split}
        if
          local.get {at}
          i32.const 1
          i32.atomic.rmw.add 2 {WORDS}
          {split}
          local.set {at}
          local.get {chunk}
          i32.const 65535
          i32.and
          local.set {chunk}
        else
          i32.const 0
          local.set {at}
        end
        local.get {at}
    """


def wake() -> Function:
    """`wake(threads, sync)`: wake the helpers that sleep, ahead of the work; for a run of one thread nothing."""
    text = f"""
        local.get 0
        i32.const 2
        i32.ge_s
        if
          {_wake(1)}
        end
    """
    return Function("wake", (I32, I32), (), (), assemble(text))


def _wake(sync: int) -> str:
    return f"""
        local.get {sync}
        i32.atomic.load 2 {SLEEPERS}
        if
          local.get {sync}
          i32.const -1                ; all of them
          memory.atomic.notify 2 {STEPS}
          drop
        end
    """


def help_(step: int) -> Function:
    """`help(sync, scratch)`: what all threads but the driver's do, until somebody ends them: claim chunks, spin, sleep."""
    sync, scratch, index, seen, chunk, spin, of, tried, at, ranges = range(10)
    job = "\n".join(f"local.get {sync}\n i32.load 2 {JOB + 4 * word}" for word in _JOB)
    text = f"""
        local.get {sync}
        i32.const 1
        i32.atomic.rmw.add 2 {HELPERS}
        i32.const 1
        i32.add
        local.set {index}
        loop
          i32.const {_SPINS}
          local.set {spin}
          loop
            local.get {sync}
            i32.atomic.load 2 {STEPS}
            local.set {seen}
            local.get {sync}
            i32.atomic.load 2 {_RANGES_AT}
            local.tee {ranges}
            if
              local.get {index}
              local.get {ranges}
              i32.rem_u
              local.set {of}
              local.get {ranges}
              local.set {tried}
              loop
                {_claim(sync, of, at, chunk)}
                if
                  {job}
                  local.get {chunk}
                  local.get {sync}
                  i32.load 2 {_CHUNKS_AT}
                  local.get {scratch}
                  call {step}
                  local.get {sync}
                  i32.const 1
                  i32.atomic.rmw.add 2 {DONE}
                  drop
                  local.get {sync}
                  i32.atomic.load 2 {AWAITED}
                  if
                    local.get {sync}
                    i32.const 1
                    memory.atomic.notify 2 {DONE}
                    drop
                  end
                  i32.const {_SPINS}
                  local.set {spin}
                  br 3
                end
                i32.const 0
                local.get {of}
                i32.const 1
                i32.add
                local.tee {of}
                local.get {of}
                local.get {ranges}
                i32.eq
                select
                local.set {of}
                local.get {tried}
                i32.const 1
                i32.sub
                local.tee {tried}
                br_if 0
              end
            end
            local.get {spin}
            i32.const 1
            i32.sub
            local.tee {spin}
            br_if 0
          end
          local.get {sync}
          i32.const 1
          i32.atomic.rmw.add 2 {SLEEPERS}
          drop
          local.get {sync}
          local.get {seen}
          i64.const -1                ; without a time limit
          memory.atomic.wait32 2 {STEPS}
          drop
          local.get {sync}
          i32.const -1
          i32.atomic.rmw.add 2 {SLEEPERS}
          drop
          br 0
        end
    """
    return Function("help", (I32, I32), (), ((8, I32),), assemble(text))
