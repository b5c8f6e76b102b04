"""`hither convert`: a model from one format into another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

NAME = "convert"
BUNDLE = "bundle"


def convert_command(
    model: Annotated[str, typer.Argument(help="Model file or folder, in any format that hither reads.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="PATH", help="What to write; without ending: a bundle.")],
    to: Annotated[str | None, typer.Option(help="onnx, safetensors, keras or tfjs, where the ending does not say.")] = None,
    shape: Annotated[
        list[str],
        typer.Option(metavar="NAME=N,N,…", help="Shape of an input; a second one of it begins another variant of a bundle."),
    ] = [],  # noqa: B006  (typer makes a new list for each call)
    value: Annotated[list[str], typer.Option(metavar="NAME=NUMBER", help="Compile an input in as a constant.")] = [],  # noqa: B006
    rename: Annotated[list[str], typer.Option(metavar="OLD=NEW", help="Give an input or output another name.")] = [],  # noqa: B006
    targets: Annotated[
        str | None, typer.Option(help="For a bundle: what to build for, separated by commas; webgpu,wasm by default.")
    ] = None,
) -> None:
    """Write a model in another format: a bundle, ONNX, safetensors, Keras or TensorFlow.js where it is a network of layers."""
    from ..formats import save, writer_of
    from . import arguments, report
    from .bundle import bundle_command

    if to == BUNDLE or (to is None and not Path(output).suffix):
        bundle_command(model, output, targets or "webgpu,wasm", shape=shape, value=value, rename=rename)
        return
    writer = writer_of(Path(output), to)
    if targets:
        raise arguments.ArgumentError(f"--targets is for bundles, not for {writer.name}")
    for option, given in (("--shape", shape), ("--value", value), ("--rename", rename)):
        if given and not writer.for_shapes:
            raise arguments.ArgumentError(
                f"{option} is for bundles and ONNX; {writer.name} holds the network itself, with its own names and free shapes"
            )
    start = time.perf_counter()
    with report.stages() as stage:
        stage(f"reading {model}")
        loaded = arguments.load_model(model)
        if rename:
            loaded = loaded.rename(arguments.pairs("--rename", rename))
        specs = None
        if writer.for_shapes:
            specs = arguments.specs_for(loaded, arguments.one_variant(shape), arguments.pairs("--value", value))
        stage(f"writing {output}")
        save(loaded, output, specs, format=to)
    written = Path(output)
    files = [written] if written.is_file() else sorted(p for p in written.rglob("*") if p.is_file())
    total = report.size(sum(p.stat().st_size for p in files))
    report.out.print(f"{output}: {total} in {report.duration(time.perf_counter() - start)}")
