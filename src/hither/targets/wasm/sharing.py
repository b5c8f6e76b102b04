"""How threads share the work of a step: the protocol of targets/llvm/sharing.py, where it is explained, in a module's memory.

The driver publishes `chunks << 16 | next chunk` in one word, a range for all threads, and everybody claims chunks of it by
atomic addition. What differs besides is waiting: WebAssembly cannot give its core to others but by sleeping, so both sides spin
for a moment and then sleep on a word of memory, and say so in another word, that nobody makes a system call to wake those who
do not sleep.
"""

from __future__ import annotations

from ...kernels.sharing import CHUNKS_PER_THREAD
from ...kernels.steps import SPACES
from .encoder import I32, Function, assemble

# byte offsets in the memory that threads share, zero at the start; what cores write at different times lies in different lines
WORD, DONE, AWAITED, SLEEPERS, JOB, SYNC_BYTES = 0, 64, 68, 128, 192, 256
_SPINS = 131072  # some 160 µs: longer than most chunks, for the last of which others wait, and than sleeping and waking

STEP_PARAMS = (I32,) * (1 + len(SPACES) + 3)  # step, regions, chunk, chunks, scratch
_JOB = range(1 + len(SPACES))  # step, regions: words of the job
_STEP, _MOST, _REGION = 0, 1, 2  # locals of share
_THREADS, _SYNC, _SCRATCH, _CHUNK, _CHUNKS, _MINE, _SPIN, _SEEN = range(_REGION + len(SPACES), _REGION + len(SPACES) + 8)
_PUBLISHED = (_STEP, *range(_REGION, _REGION + len(SPACES)))  # what helpers need to know
SHARE_PARAMS = (I32,) * _CHUNK  # step, most chunks, regions, threads, sync, scratch


def share(step: int) -> Function:
    """`share(step, most, regions, threads, sync, scratch)`: run a step for all its chunks, at most `most`.

    One thread runs it as one chunk, and nothing atomic. `step` is the index of the function that runs a chunk of a step.
    """
    pushed = "\n".join(f"local.get {i}" for i in _PUBLISHED)
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
        {_publish()}
        {_work(step, pushed)}
        {_wait()}
    """
    return Function("share", SHARE_PARAMS, (), ((_SEEN + 1 - _CHUNK, I32),), assemble(text))


def _publish() -> str:
    """Write the job, then the word with its chunks, of which the first is the driver's; and wake who sleeps."""
    job = "\n".join(
        f"local.get {_SYNC}\n local.get {source}\n i32.store 2 {JOB + 4 * word}"
        for word, source in zip(_JOB, _PUBLISHED, strict=True)
    )
    return f"""
        local.get {_THREADS}
        i32.const {CHUNKS_PER_THREAD}
        i32.mul
        local.tee {_CHUNKS}
        local.get {_MOST}
        local.get {_CHUNKS}
        local.get {_MOST}
        i32.lt_u
        select
        local.set {_CHUNKS}
        {job}
        local.get {_SYNC}
        i32.const 0
        i32.atomic.store 2 {DONE}
        local.get {_SYNC}
        local.get {_CHUNKS}
        i32.const 16
        i32.shl
        i32.const 1
        i32.or
        i32.atomic.store 2 {WORD}
        {_wake(_SYNC)}
    """


def _work(step: int, pushed: str) -> str:
    """Chunks, as long as there are some; count them in _MINE."""
    return f"""
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
          local.get {_SYNC}
          i32.const 1
          i32.atomic.rmw.add 2 {WORD}
          i32.const 65535
          i32.and
          local.tee {_CHUNK}
          local.get {_CHUNKS}
          i32.lt_u
          br_if 0
        end
    """


def _wait() -> str:
    """Until helpers have done what they have claimed: spin for a moment, then sleep."""
    finished = f"""
        local.get {_SYNC}
        i32.atomic.load 2 {DONE}
        local.tee {_SEEN}
        local.get {_MINE}
        i32.add
        local.get {_CHUNKS}
        i32.eq
    """
    return f"""
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
          memory.atomic.notify 2 {WORD}
          drop
        end
    """


def help_(step: int) -> Function:
    """`help(sync, scratch)`: what all threads but the driver's do, until somebody ends them: claim chunks, spin, sleep."""
    sync, scratch, seen, chunk, chunks, spin = range(6)
    job = "\n".join(f"local.get {sync}\n i32.load 2 {JOB + 4 * word}" for word in _JOB)
    split = f"""
        local.tee {seen}
        i32.const 65535
        i32.and
        local.tee {chunk}
        local.get {seen}
        i32.const 16
        i32.shr_u
        local.tee {chunks}
        i32.lt_u
    """
    text = f"""
        loop
          i32.const {_SPINS}
          local.set {spin}
          loop
            local.get {sync}
            i32.atomic.load 2 {WORD}
            {split}
            if
              local.get {sync}
              i32.const 1
              i32.atomic.rmw.add 2 {WORD}
              {split}
              if
                {job}
                local.get {chunk}
                local.get {chunks}
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
              end
              br 1
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
          memory.atomic.wait32 2 {WORD}
          drop
          local.get {sync}
          i32.const -1
          i32.atomic.rmw.add 2 {SLEEPERS}
          drop
          br 0
        end
    """
    return Function("help", (I32, I32), (), ((4, I32),), assemble(text))
