"""What an entry of a Program is, once planned: a list of steps over four regions of memory.

This is the contract between the compiler, which makes Code, and every target, which prints and runs it. Regions:
"weights" (read-only, shared by all), "state" (survives calls), "arena" (planned scratch) and "io" (inputs and outputs of one
call). Offsets are bytes, aligned to ALIGN; nothing is addressed absolutely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .ir import Kernel

ALIGN = 256  # WebGPU binds storage buffers at multiples of 256 bytes; CPUs are content with 64
STEP = 1000  # what starting a step takes, in operations: a call, and work shared out among threads
SPACES = ("weights", "state", "arena", "io")


@dataclass(frozen=True)
class Ref:
    """A piece of a region: where an array lies while a step runs."""

    space: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Work:
    """What a launch must do at least, for profiles: arithmetic, and bytes that have to be read and written once.

    `sources` are the user's names of what it computes (Node.source), in order.
    """

    flops: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Launch:
    """Run kernel number `kernel`; `args[i]` is bound to its i-th buffer. `label` and `work` say what it computes, for
    profiles."""

    kernel: int
    args: tuple[Ref, ...]
    label: str = ""
    work: Work = Work()


@dataclass(frozen=True)
class Copy:
    """Copy bytes; source and target do not overlap."""

    source: Ref
    target: Ref


@dataclass(frozen=True)
class Cond:
    """Run `then` if the bool at `flag` is true, else `otherwise`."""

    flag: Ref
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True)
class While:
    """While the bool at `flag` is true, run `body` (which updates it). `bound`: at most this many trips, None if unknown."""

    flag: Ref
    body: tuple[Step, ...]
    bound: int | None = None


Step = Launch | Copy | Cond | While


@dataclass
class Code:
    """Kernels (each printed once, however often launched) and the entries that launch them.

    `sizes` gives the bytes of each region. On GPUs a bool flag is a uint32, elsewhere a byte. `inputs`: where each entry's
    inputs lie in "io", in order, for targets that read them where the caller has them.
    """

    kernels: list[Kernel]
    entries: dict[str, tuple[Step, ...]]
    sizes: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, tuple[Ref, ...]] = field(default_factory=dict)


def most_work(steps: tuple[Step, ...]) -> int | None:
    """What running these steps takes at most: arithmetic operations and bytes moved, one as long as the other, and STEP for
    each step. None where nothing bounds a loop."""
    total = 0
    for step in steps:
        match step:
            case Launch(work=work):
                most: int | None = work.flops + work.bytes_read + work.bytes_written
            case Copy():
                most = step.source.nbytes + step.target.nbytes
            case Cond():
                sides = most_work(step.then), most_work(step.otherwise)
                most = None if None in sides else max(side for side in sides if side is not None)
            case While():
                body = most_work(step.body)
                most = None if body is None or step.bound is None else step.bound * body
        if most is None:
            return None
        total += most + STEP
    return total


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Every step, those inside branches and loops included."""
    for step in steps:
        yield step
        match step:
            case Cond():
                yield from walk(step.then)
                yield from walk(step.otherwise)
            case While():
                yield from walk(step.body)


def refs(step: Step) -> tuple[Ref, ...]:
    """The places that a step itself names; what is inside branches and loops has places of its own."""
    match step:
        case Launch():
            return step.args
        case Copy():
            return step.source, step.target
        case Cond() | While():
            return (step.flag,)
