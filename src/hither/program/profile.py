"""Profile: where the time of a run goes, launch by launch, against what the device can do.

Times are medians over repeated passes in which every launch is timed on its own; FLOPs and bytes are those that the
computation cannot avoid (program/work.py); efficiency is the least time that the measured roofline allows for them, or for as
many operations as the kernel carries out, over the time taken. Whole runs are timed in between, so that what lies between
launches shows too.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.steps import Copy, Launch
from .roofline import Roofline, device_name, roofline
from .stepping import WHOLE, Inputs, Steps, stepper, versions
from .work import operations

if TYPE_CHECKING:
    from rich.table import Table

    from .plan import Plan

SHOWN_NAMES = 3  # of the user's names in a row
_WIDTH = 150  # columns of str(profile)
_CERTAIN, _NOISE = 1e-4, 0.05  # a launch this long that is faster than the roofline by more than this disproves it


@dataclass(frozen=True)
class Row:
    """One launch, or (see Profile.grouped) several alike. Numbers are those of a whole run: all its calls together."""

    index: int
    label: str  # what was fused: "conv_add_clip"
    kernel: str
    sources: tuple[str, ...]  # the user's names: ("Conv c1", "Clip c1r")
    calls: int
    launches: int
    seconds: float
    least_seconds: float  # by the roofline
    bound: str  # "compute" | "memory": what limits it at best
    flops: int
    bytes_read: int
    bytes_written: int
    depth: int = 0  # loops around it
    operations: Mapping[str, float] = field(default_factory=dict)  # that its kernel carries out, by kind of arithmetic

    @property
    def name(self) -> str:
        """In the user's terms where the model has names, else what was fused."""
        if not self.sources:
            return self.label or self.kernel
        more = len(self.sources) - SHOWN_NAMES
        return " + ".join(self.sources[:SHOWN_NAMES]) + (f" + {more} more" if more > 0 else "")

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def intensity(self) -> float:
        """FLOP per byte of compulsory traffic."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def arithmetic(self) -> str:
        """The kind of its operations: "float32", "bytes" or, of 16 bits, "pairs"; of mixed ones that of most."""
        return max(self.operations, key=self.operations.__getitem__, default="float32")

    @property
    def efficiency(self) -> float:
        """The least possible time over the time taken, about 0…1; above 1 only by errors of measurement."""
        return self.least_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """What `Program.profile` returns. Printing it shows a table; `to_html` writes a page.

    Example:
        >>> import numpy as np, hither as ht
        >>> prog = ht.compile(lambda x: (x @ x).sum(), {"x": ht.Spec((64, 64), "float32")})
        >>> profile = prog.profile(x=np.ones((64, 64), np.float32))
        >>> profile.flops >= 2 * 64**3
        True
    """

    entry: str
    device: str
    rows: tuple[Row, ...]  # in order of execution
    whole_seconds: float  # median of a whole run, measured between the passes
    repeats: int
    threads: int
    roofline: Roofline
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    date: str = ""

    @property
    def seconds(self) -> float:
        """All launches together."""
        return sum(row.seconds for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    @property
    def bytes(self) -> int:
        """Compulsory traffic of all launches: each reads its operands and writes its results once."""
        return sum(row.bytes for row in self.rows)

    @property
    def efficiency(self) -> float:
        """The least time that the roofline allows all launches over the time they took."""
        return sum(row.least_seconds for row in self.rows) / self.seconds if self.seconds else 0.0

    def share(self, row: Row) -> float:
        """The row's part of the time of all launches, 0…1."""
        return row.seconds / self.seconds if self.seconds else 0.0

    def grouped(self) -> list[Row]:
        """One row per distinct kernel, the slowest first; launches of equal kernels are added up."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.kernel, []).append(row)
        return sorted(map(_added, groups.values()), key=lambda row: -row.seconds)

    def table(self, group: bool = False, limit: int | None = None) -> Table:
        """A rich table of launches (`group`: of distinct kernels), the slowest first, with totals.

        Args:
            limit: show at most so many rows; the rest is one row.
        """
        from .profile_text import table

        return table(self, group, limit)

    def to_html(self, path: str | Path, title: str = "") -> None:
        """Write a page that needs nothing else: timeline, roofline chart and sortable table.

        Args:
            title: the page's heading; entry and device if not given.
        """
        from .profile_page import page

        Path(path).write_text(page(self, title), encoding="utf-8")

    def __str__(self) -> str:
        from .profile_text import plain

        return plain(self, _WIDTH)


def _added(rows: Sequence[Row]) -> Row:
    first = rows[0]
    if len(rows) == 1:
        return first

    def total(of: Callable[[Row], Any]) -> Any:
        return sum(map(of, rows))

    bounds = {bound: sum(r.least_seconds for r in rows if r.bound == bound) for bound in ("compute", "memory")}
    return Row(
        first.index, first.label, first.kernel, tuple(dict.fromkeys(s for r in rows for s in r.sources)),
        total(lambda r: r.calls), total(lambda r: r.launches), total(lambda r: r.seconds), total(lambda r: r.least_seconds),
        max(bounds, key=bounds.__getitem__), total(lambda r: r.flops), total(lambda r: r.bytes_read),
        total(lambda r: r.bytes_written), first.depth, dict(sum((Counter(r.operations) for r in rows), Counter())),
    )  # fmt: skip


def profile(
    plan: Plan, device: str, entry: str, inputs: Inputs, repeats: int, threads: int, ceilings: Roofline | None = None
) -> Profile:
    """Profile an entry of a Plan; see `Program.profile`.

    Args:
        inputs: checked arrays for the entry's inputs.
        repeats: passes; the median counts.
        threads: of the native CPU target; others use one.
        ceilings: instead of this machine's roofline.
    """
    steps = Steps(plan.code.entries[entry])
    on = stepper(steps.code(plan.code, entry), plan.machine, plan.weights_image(), threads)
    seconds, calls, whole = np.empty((repeats, len(steps.leaves))), np.empty((repeats, len(steps.leaves))), np.empty(repeats)
    on.write(inputs)
    on.wall(WHOLE)  # warms caches and, on some devices, compiles
    for i in range(repeats):
        on.write(inputs)
        whole[i] = on.wall(WHOLE)
        on.write(inputs)
        seconds[i], calls[i] = steps.time(on)
    took, times = np.median(seconds, axis=0), np.median(calls, axis=0)

    def against(roof: Roofline) -> list[Row]:
        leaves = zip(steps.leaves, took.tolist(), times.astype(int).tolist(), steps.depths, strict=True)
        return [_row(plan, roof, i, *leaf) for i, leaf in enumerate(leaves)]

    used = ceilings or roofline(plan.machine, on.threads)
    rows = against(used)
    if ceilings is None and any(row.seconds > _CERTAIN and row.efficiency > 1 + _NOISE for row in rows):
        used = roofline(plan.machine, on.threads, again=True)  # the machine was busy when it was measured
        rows = against(used)
    about = f"{device_name(plan.machine)}; {platform.system()} {platform.release()}"
    return Profile(
        entry, device, tuple(rows), float(np.median(whole)), repeats, on.threads, used, versions(plan.machine), about,
        time.strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _row(plan: Plan, ceilings: Roofline, index: int, leaf: Launch | Copy, seconds: float, calls: int, depth: int) -> Row:
    sources: tuple[str, ...] = ()
    done: Mapping[str, float] = {}
    if isinstance(leaf, Copy):
        label = kernel = "copy"
        flops, read, written = 0, leaf.source.nbytes, leaf.target.nbytes
    else:
        label, kernel, work = leaf.label, plan.code.kernels[leaf.kernel].name, leaf.work
        flops, read, written, sources = work.flops, work.bytes_read, work.bytes_written, tuple(map(short, work.sources))
        done = operations(plan.code.kernels[leaf.kernel], flops)
    return Row(
        index, label, kernel, sources, calls, 1 if calls else 0, seconds,
        calls * ceilings.least_seconds(done, read + written), ceilings.bound(done, read + written),
        calls * flops, calls * read, calls * written, depth, {kind: calls * count for kind, count in done.items()},
    )  # fmt: skip


def short(source: str) -> str:
    """A node's source without the file that all of them are of: "Conv 'c1' of net.onnx" is "Conv c1"."""
    return source.rpartition(" of ")[0].replace("'", "") if " of " in source else source
