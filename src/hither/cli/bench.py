"""`hither bench`: how long a model takes, alone or side by side with other runtimes, and where the time goes.

Contestants take turns, because a shared machine's clock drifts by tens of per cent: each round sees the same machine.
Results are compared first, so that no one is timed computing something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import HitherError

NAME = "bench"
TOLERANCE = 2e-3  # of an output's largest magnitude: float32 sums in another order, not another network
FLOOR = 1e-3  # the least magnitude that differences are held against
MOST_PASSES = 200  # of a profile
_TURN = 0.15  # seconds that a contestant runs before the next one does, at most


class Disagreement(HitherError, ValueError):
    """Two runtimes compute different things, so that comparing their times would mean nothing."""


def bench_command(
    model: Annotated[str, typer.Argument(help="Model file or bundle folder.")],
    device: Annotated[str | None, typer.Option(help="cpu, webgpu, wasm or numpy.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="What weights are stored in: float32 (the default), float16, int8 or int4; int8/int8 as below."),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            help="What is computed with: float32 (the default), float16 (stored between kernels), int8 (int8 weights)."
        ),
    ] = None,
    against: Annotated[str, typer.Option(help="Other runtimes to measure, separated by commas: onnxruntime, openvino.")] = "",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads, of others too; all processors by default.")] = None,
    shape: Annotated[list[str], typer.Option(metavar="NAME=N,N,…", help="Shape of an input that the model leaves free.")] = [],  # noqa: B006
    input: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=SOURCE", help="As for run; random by default.")
    ] = [],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 5.0,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference from others, of the largest magnitude.")
    ] = TOLERANCE,
    tune: Annotated[bool, typer.Option("--tune", help="Measure the tiles of products first; known from then on.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show time, FLOPs and bytes of every kernel.")] = False,
    html: Annotated[str, typer.Option(metavar="FILE", help="With --profile: write it as a page, too.")] = "",
) -> None:
    """Measure a model: median and 90th percentile of a run, after warm-up."""
    from ..runtime.threads import get_num_threads, set_num_threads
    from . import arguments, report
    from .rivals import RIVALS

    rivals = list(dict.fromkeys(r for r in against.replace(",", " ").split() if r))
    unknown = [r for r in rivals if r not in RIVALS]
    if unknown:
        raise arguments.ArgumentError(f"cannot measure against {unknown[0]!r}; there is {', '.join(RIVALS)}")
    if html and not profile:
        raise arguments.ArgumentError("--html FILE writes the profile: give --profile, too")
    loaded = arguments.load_model(model, device, precision, activations)
    loaded = loaded.to(tune=True) if tune else loaded
    device = loaded.device or "cpu"
    given = {text.partition("=")[0] for text in input}
    inputs = [*input, *(f"{n}=random" for n in loaded.inputs if n not in given)]
    arrays, notes = arguments.read_inputs(loaded, inputs, arguments.one_variant(shape))
    for note in notes:
        report.err.print(note, style="dim")
    set_num_threads(threads)
    try:
        if rivals or not profile:
            _compare(
                loaded, device, arrays, {r: RIVALS[r](model, arrays, get_num_threads()) for r in rivals}, seconds, tolerance
            )
        if profile:
            _profile(loaded, device, arrays, seconds, html)
    finally:
        set_num_threads(None)


def _compare(
    model: Any, device: str, arrays: Mapping[str, Any], rivals: Mapping[str, Callable[[], Mapping[str, Any]]],
    seconds: float, tolerance: float,
) -> None:  # fmt: skip
    import numpy as np

    from ..runtime.threads import get_num_threads
    from . import report

    def ours() -> dict[str, Any]:
        return {name: array.numpy() for name, array in model(arrays).items()}

    with report.stages() as stage:
        stage(f"compiling {model.name} for {device}")
        reference = ours()
        errors = {name: difference(run(), reference) for name, run in rivals.items()}
        wrong = {name: error for name, error in errors.items() if not error <= tolerance}
        if wrong:
            found = ", ".join(f"{name} by {error:.1e}" for name, error in wrong.items())
            raise Disagreement(
                f"results differ from {found} of the largest magnitude (allowed: {tolerance:.0e}), so times would not compare; "
                "give inputs that the model was made for (--input), or a --tolerance"
            )
        stage(f"measuring for {seconds:g} s")
        times = measure({f"hither {device}": ours, **rivals}, seconds)
    one = device == "wasm" or device == "numpy"
    number = get_num_threads()
    title = f"time of one run, {number} thread{'s' if number > 1 else ''}{' (hither: 1)' if one and number > 1 else ''}"
    right = ("min", "median", "p90", "runs", "error", "hither is")
    columns = ("runtime", *right) if rivals else ("runtime", *right[:4])
    shown = report.table(title, *columns, right=right)
    mine = float(np.median(next(iter(times.values()))))
    for name, measured in times.items():
        low, median, high = (float(f) for f in (np.min(measured), np.median(measured), np.percentile(measured, 90)))
        versus = (f"{errors[name]:.1e}", f"{median / mine:.2f}× as fast") if name in errors else ("", "") if rivals else ()
        shown.add_row(name, *map(report.duration, (low, median, high)), str(len(measured)), *versus)
    report.out.print(shown)


def _profile(model: Any, device: str, arrays: Mapping[str, Any], seconds: float, html: str) -> None:
    from ..program.profile_text import report as table
    from . import report

    with report.stages() as stage:
        stage(f"profiling {model.name} on {device}")
        model(arrays)
        start = time.perf_counter()
        model(arrays)
        passes = seconds / (3 * (time.perf_counter() - start))  # a pass runs it whole, and step by step
        made = model.profile(arrays, repeats=int(min(max(passes, 3), MOST_PASSES)))
    report.out.print(table(made))
    if html:
        made.to_html(html, title=model.name)
        report.out.print(f"\nwrote {Path(html)}")


def measure(contestants: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Seconds of single runs, the contestants taking turns in rotating order; at least three runs each.

    The first fifth of a turn, one run at least, is not counted: it brings the contestant's data back into the caches, and
    outlasts the spinning threads of whoever ran before. A run longer than a turn is its own warm-up.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names, rounds = list(contestants), 0
    turn = min(_TURN, seconds / (3 * len(names)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        shift = rounds % len(names)
        for name in names[shift:] + names[:shift]:
            run, start = contestants[name], time.perf_counter()
            if not times[name] or times[name][-1] < turn:
                run()
                while time.perf_counter() < start + turn / 5:
                    run()
            while True:
                begin = time.perf_counter()
                run()
                now = time.perf_counter()
                times[name].append(now - begin)
                if now > start + turn:
                    break
        rounds += 1
    return times


def difference(found: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """The largest difference of any output, relative to that output's largest magnitude; infinite where shapes differ."""
    import numpy as np

    worst = 0.0
    for name, array in reference.items():
        a, b = np.asarray(array), np.asarray(found[name]) if name in found else None
        if b is None or a.shape != b.shape:
            return float("inf")
        if a.dtype.kind not in "biuf":
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
        elif a.size:
            x, y = a.astype(np.float64), b.astype(np.float64)
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            with np.errstate(invalid="ignore"):
                error = float(np.where(same, 0.0, np.abs(x - y)).max()) / max(FLOOR, float(np.nanmax(np.abs(x), initial=0.0)))
            worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst
