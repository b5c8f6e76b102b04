"""`hither bench`: how long a model takes, alone or side by side with another runtime.

Runs alternate between the contestants, because a shared machine's clock drifts by tens of per cent: each pair of runs sees
the same machine. Results are compared first, so that no one is timed computing something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

NAME = "bench"
AGAINST = ("onnxruntime",)


def bench_command(
    model: Annotated[str, typer.Argument(help="Model file or bundle folder.")],
    device: Annotated[str | None, typer.Option(help="cpu, webgpu, wasm or numpy.")] = None,
    precision: Annotated[str | None, typer.Option(help="What to compute in.")] = None,
    against: Annotated[str, typer.Option(help="Other runtimes to measure, separated by commas: onnxruntime.")] = "",
    shape: Annotated[list[str], typer.Option(metavar="NAME=N,N,…", help="Shape of an input that the model leaves free.")] = [],  # noqa: B006
    input: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=SOURCE", help="As for run; random by default.")
    ] = [],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 5.0,
) -> None:
    """Measure a model: median and 90th percentile of a run, after warm-up."""
    import numpy as np

    from . import arguments, report

    rivals = [r for r in against.replace(",", " ").split() if r]
    unknown = [r for r in rivals if r not in AGAINST]
    if unknown:
        raise arguments.ArgumentError(f"cannot measure against {unknown[0]!r}; there is {', '.join(AGAINST)}")
    loaded = arguments.load_model(model, device, precision)
    device = loaded.device or "cpu"
    given = {text.partition("=")[0] for text in input}
    inputs = [*input, *(f"{n}=random" for n in loaded.inputs if n not in given)]
    arrays, notes = arguments.read_inputs(loaded, inputs, arguments.shapes(" ".join(shape)))
    for note in notes:
        report.err.print(note, style="dim", markup=False)
    with report.stages() as stage:
        stage(f"compiling {loaded.name} for {device}")

        def ours() -> dict[str, Any]:
            return {name: array.numpy() for name, array in loaded(arrays).items()}

        contestants = {f"hither {device}": ours}
        contestants.update({r: _onnxruntime(model, arrays) for r in rivals})
        results = {name: run() for name, run in contestants.items()}
        stage(f"measuring for {seconds:g} s")
        times = measure(contestants, seconds)
    shown = report.table(
        "time of one run", "runtime", "min", "median", "p90", "runs", "error", right=("min", "median", "p90", "runs", "error")
    )
    reference = results[next(iter(contestants))]
    for name, measured in times.items():
        low, median, high = np.min(measured), np.median(measured), np.percentile(measured, 90)
        error = "" if results[name] is reference else f"{difference(results[name], reference):.1e}"
        shown.add_row(name, *(report.duration(float(t)) for t in (low, median, high)), str(len(measured)), error)
    report.out.print(shown)


def measure(contestants: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each run, the contestants taking turns; at least three runs each."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def difference(found: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """The largest difference of any output, relative to that output's largest magnitude."""
    import numpy as np

    worst = 0.0
    for name, array in reference.items():
        a, b = np.asarray(array, np.float64), np.asarray(found[name], np.float64)
        if a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(1e-30, np.abs(a).max())))
    return worst


def _onnxruntime(path: str, arrays: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    from .arguments import ArgumentError

    try:
        import onnxruntime
    except ImportError as error:
        raise ArgumentError("--against onnxruntime needs it installed: pip install onnxruntime") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, dict(arrays))))
