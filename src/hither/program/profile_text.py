"""A Profile as text: the table that `print(profile)` and `hither bench --profile` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .profile import Profile, Row

_GOOD, _POOR = 0.5, 0.2  # efficiencies that are shown green, and red below
OPERATIONS = {"float32": "GFLOP/s", "bytes": "Gop/s of bytes", "pairs": "Gop/s of 16-bit integers"}
_NUMBERS = ("calls", "time", "share", "FLOP", "GFLOP/s", "bytes", "GB/s", "of roofline")


def table(profile: Profile, group: bool = False, limit: int | None = None) -> Table:
    """See Profile.table."""
    rows = profile.grouped() if group else sorted(profile.rows, key=lambda row: -row.seconds)
    shown = rows if limit is None or len(rows) <= limit else rows[:limit]
    what = "kernels" if group else "launches"
    made = Table(title=f"{what}, the slowest first", title_justify="left", title_style="bold", header_style="dim", box=None,
                 pad_edge=False)  # fmt: skip
    made.add_column("kernel" if group else "computes", overflow="ellipsis", no_wrap=True, ratio=3)
    made.add_column("fused" if group else "kernel", overflow="ellipsis", no_wrap=True, ratio=2)
    for name in _NUMBERS:
        made.add_column(name, justify="right", no_wrap=True)
    for row in shown:
        names = map(Text, (row.kernel, row.label) if group else (row.name, row.kernel))  # which may look like markup
        made.add_row(*names, *_numbers(profile, row, row.launches if group else row.calls))
    if len(shown) < len(rows):
        made.add_row(f"{len(rows) - len(shown)} more", "", *_total(profile, rows[len(shown) :]), style="dim")
    made.add_section()
    made.add_row("all", "", *_total(profile, rows), style="bold")
    return made


def plain(profile: Profile, width: int) -> str:
    """The whole report without colours."""
    console = Console(width=width, color_system=None, force_terminal=False, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(report(profile))
    return captured.get().rstrip()


def report(profile: Profile, limit: int | None = 30) -> RenderableType:
    """Heading, launches and kernels."""
    parts: list[RenderableType] = [Text(heading(profile)), table(profile, limit=limit)]
    if len(profile.grouped()) < len(profile.rows):
        parts += ["", table(profile, group=True, limit=limit)]
    return Group(*parts)


def heading(profile: Profile) -> str:
    """What was measured, where."""
    roof = profile.roofline
    threads = f", {profile.threads} threads" if profile.threads > 1 else ""
    (cache, fast), (memory, slow) = roof.bandwidths[0], roof.bandwidths[-1]
    kinds = [kind for kind in roof.peaks if any(row.arithmetic == kind for row in profile.rows)]
    peaks = ", ".join(f"{roof.peaks[kind] / 1e9:.4g} {OPERATIONS[kind]}" for kind in kinds)
    lines = [
        f"{profile.entry} on {profile.device}{threads}: {duration(profile.whole_seconds)} a run "
        f"({duration(profile.seconds)} in {len(profile.rows)} launches), median of {profile.repeats}",
        f"{amount(profile.flops)}FLOP at {profile.flops / max(profile.seconds, 1e-12) / 1e9:.4g} GFLOP/s, "
        f"{amount(profile.bytes)}B moved, {100 * profile.efficiency:.0f} % of what the roofline allows",
        f"roofline: {peaks}; {fast / 1e9:.3g} GB/s from {size(cache)}, {slow / 1e9:.3g} GB/s from {size(memory)}",
        "; ".join((profile.machine, ", ".join(f"{k} {v}" for k, v in profile.versions.items()), profile.date)),
        "",
    ]
    return "\n".join(lines)


def _numbers(profile: Profile, row: Row, calls: int) -> tuple[RenderableType, ...]:
    style = "green" if row.efficiency >= _GOOD else "red" if row.efficiency < _POOR else "yellow"
    shown = ((f"{100 * row.efficiency:.0f} %", style), f" {row.bound[0]}") if row.least_seconds and row.seconds else ()
    return (
        str(calls), duration(row.seconds), f"{100 * profile.share(row):.1f} %", amount(row.flops) if row.flops else "",
        f"{row.flops_per_second / 1e9:.3g}" if row.flops else "", amount(row.bytes),
        f"{row.bytes_per_second / 1e9:.3g}", Text.assemble(*shown),
    )  # fmt: skip


def _total(profile: Profile, rows: Sequence[Row]) -> tuple[str, ...]:
    seconds, flops, moved = (sum(getattr(r, of) for r in rows) for of in ("seconds", "flops", "bytes"))
    least = sum(r.least_seconds for r in rows)
    return (
        str(sum(r.calls for r in rows)), duration(seconds),
        f"{100 * seconds / profile.seconds:.1f} %" if profile.seconds else "",
        amount(flops) if flops else "", f"{flops / seconds / 1e9:.3g}" if flops and seconds else "", amount(moved),
        f"{moved / seconds / 1e9:.3g}" if seconds else "", f"{100 * least / seconds:.0f} %  " if seconds else "",
    )  # fmt: skip


def duration(seconds: float) -> str:
    """1.23 ms, 45.6 µs."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def amount(number: float) -> str:
    """A large number with its prefix, ready for a unit: "1.2 M"."""
    for prefix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} T"


def size(nbytes: int) -> str:
    """A power of two of bytes: 32 KiB, 128 MiB."""
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"
