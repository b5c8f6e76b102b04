"""How commands print: the consoles, sizes and durations, arrays at a glance.

Names and values come from files, so no text is markup here; what has a style is a Text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

TOP = 5
MAX_LABELLED = 1 << 16  # elements along an axis that is worth ranking

WIDE = 140  # columns where no terminal says how many there are: pipes and files should not wrap


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


out, err = _console(False), _console(True)


def error_line(message: str) -> None:
    """One error as the user reads it."""
    err.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)


def table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """A table in the style of all commands; columns named in `right` hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def size(nbytes: float) -> str:
    """Bytes for people: 1.5 MB."""
    scaled, unit = _scaled(nbytes, ("", "k", "M", "G"))
    return f"{scaled:.0f} B" if not unit else f"{scaled:.3g} {unit}B"


def count(number: float) -> str:
    """A large number for people: 4.2 M."""
    scaled, unit = _scaled(number, ("", "k", "M", "G", "T"))
    return f"{scaled:.3g} {unit}".rstrip()


def _scaled(number: float, prefixes: Sequence[str]) -> tuple[float, str]:
    """The number in the largest of these units, a thousand apart, that leaves at least 1 of it."""
    step = 0
    while number >= 999.5 and step < len(prefixes) - 1:
        number, step = number / 1000, step + 1
    return number, prefixes[step]


def duration(seconds: float) -> str:
    """A duration for people: 1.23 ms."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def shape_text(shape: Sequence[Any] | None) -> str:
    """A shape as it is written in --shape, free extents by name or as ?."""
    return "any" if shape is None else ",".join("?" if e is None else str(e) for e in shape) or "scalar"


def summary(array: np.ndarray, labels: Sequence[str] | None = None) -> Text:
    """An array at a glance: its values when few, else range and mean, and the highest entries of a vector of scores."""
    if array.size == 0:
        return Text("empty")
    if array.size <= 8:
        return Text(np.array2string(array, precision=5, separator=", ", max_line_width=100, threshold=8))
    if array.dtype == bool:
        return Text(f"{int(array.sum())} of {array.size} true")
    low, high = array.min(), array.max()
    text = Text(f"min {low:.5g}  max {high:.5g}  mean {array.mean(dtype=np.float64):.5g}")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        text.append("  ").append(f"{bad} not finite", "bold red")
    vector = array.size == array.shape[-1] and array.size <= MAX_LABELLED
    if vector and not bad:
        flat = array.reshape(-1)
        best = np.argsort(-flat.astype(np.float64), kind="stable")[:TOP]
        named = (f"{labels[i] if labels and i < len(labels) else i}: {flat[i]:.4g}" for i in best)
        text.append(f"\ntop {len(best)}  " + "  ".join(named))
    return text


class Stages:
    """The work of a long command as a list of stages, with a bar while it runs and a line for each that is done."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self.progress = progress
        self.task = progress.add_task("", total=total, start=True)
        self.started = False

    def __call__(self, name: str) -> None:
        """Begin a stage; the one before it is done."""
        self.progress.update(self.task, description=name, advance=1 if self.started else 0)
        if not err.is_terminal:
            err.print(f"{name} …")
        self.started = True


@contextmanager
def stages(total: int | None = None) -> Iterator[Stages]:
    """Show the stages of a command on the terminal while it runs."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Stages(progress, total)
