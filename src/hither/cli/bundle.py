"""`hither bundle`: a model as a folder of static files that runs in a browser tab."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Annotated, Any

import typer

NAME = "bundle"


def bundle_command(
    model: Annotated[str, typer.Argument(help="Model file.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")],
    targets: Annotated[str, typer.Option(help="What to build for, separated by commas.")] = "webgpu,wasm",
    precision: Annotated[str, typer.Option(help="What weights are stored and computed in.")] = "float32",
    shape: Annotated[
        list[str],
        typer.Option(
            metavar='"NAME=N,N,… …"', help="Shapes of the inputs; repeat it for several variants over the same weights."
        ),
    ] = [],  # noqa: B006  (typer makes a new list for each call)
    value: Annotated[list[str], typer.Option(metavar="NAME=NUMBER", help="Compile an input in as a constant.")] = [],  # noqa: B006
    rename: Annotated[list[str], typer.Option(metavar="OLD=NEW", help="Give an input or output another name.")] = [],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="The bundle's name; the folder's by default.")] = None,
) -> None:
    """Compile a model for the browser."""
    from ..web.builds import bundle
    from . import arguments, report

    start = time.perf_counter()
    values = arguments.pairs("--value", value)
    with report.stages() as stage:
        stage(f"reading {model}")
        loaded = arguments.load_model(model)
        if rename:
            loaded = loaded.rename(arguments.pairs("--rename", rename))
        variants = [arguments.specs_for(loaded, arguments.shapes(text), values) for text in shape or [""]]
        stage(f"compiling {loaded.name}: {len(variants)} variant{'s' if len(variants) > 1 else ''} for {targets}")
        chosen = tuple(t for t in targets.replace(",", " ").split())
        manifest = bundle(loaded, output, variants, chosen, precision, name)
    report.out.print(sizes(Path(output)))
    report.out.print(f"{output} in {report.duration(time.perf_counter() - start)}; digest {manifest['digest']}", markup=False)
    report.out.print(f"try it: hither serve {output}", style="dim", markup=False)


def sizes(folder: Path) -> Any:
    """A table of what a bundle's files cost to store and, compressed as hosts send them, to download."""
    from . import report

    groups = {
        "loader": ("hither*.js",),
        "kernels": ("kernels*",),
        "manifest": ("manifest.json",),
        "weights": ("weights-*.bin",),
    }
    shown = report.table("bundle", "part", "file", "bytes", "gzip", right=("bytes", "gzip"))
    for part, patterns in groups.items():
        for path in sorted(p for pattern in patterns for p in folder.glob(pattern)):
            data = path.read_bytes()
            shown.add_row(part, path.name, report.size(len(data)), report.size(len(gzip.compress(data, 6, mtime=0))))
    return shown
