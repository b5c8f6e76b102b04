"""`hither run`: a model on given inputs, once, with its results at a glance."""

from __future__ import annotations

import time
from typing import Annotated

import typer

NAME = "run"


def run_command(
    model: Annotated[str, typer.Argument(help="Model file or bundle folder.")],
    input: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", metavar="NAME=SOURCE", help="A file (.npy .npz .json .png .jpg .wav …), number, zeros or random."
        ),
    ] = [],  # noqa: B006  (typer makes a new list for each call)
    device: Annotated[
        str | None, typer.Option(help="cpu, webgpu, wasm (what a bundle ships), or numpy (evaluates without compiling).")
    ] = None,
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
    shape: Annotated[list[str], typer.Option(metavar="NAME=N,N,…", help="Shape of an input that the model leaves free.")] = [],  # noqa: B006
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the outputs to this .npz file.")] = None,
) -> None:
    """Run a model and show its outputs."""
    import numpy as np

    from . import arguments, report

    loaded = arguments.load_model(model, device, precision, activations)
    arrays, notes = arguments.read_inputs(loaded, input, arguments.one_variant(shape))
    if output is not None and not output.endswith(".npz"):
        raise arguments.ArgumentError(f"--output writes .npz files, got {output!r}")
    for note in notes:
        report.err.print(note, style="dim")
    with report.stages() as stage:
        stage(f"compiling {loaded.name}")
        start = time.perf_counter()
        results = loaded(arrays)
        first = time.perf_counter() - start
        stage("running")
        start = time.perf_counter()
        results = loaded(arrays)
        again = time.perf_counter() - start
    shown = report.table("outputs", "name", "dtype", "shape", "values")
    found = {name: array.numpy() for name, array in results.items()}
    for name, array in found.items():
        shown.add_row(
            name, str(array.dtype), report.shape_text(array.shape), report.summary(array, loaded.outputs[name].labels)
        )
    report.out.print(shown)
    report.out.print(
        f"compile and first run {report.duration(first)}, run {report.duration(again)}, on {loaded.device or 'cpu'}",
        style="dim",
    )
    if output is not None:
        np.savez(output, **found)  # type: ignore[arg-type]
        report.out.print(f"wrote {output}")
