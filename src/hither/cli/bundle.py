"""`hither bundle`: a model as a folder of static files that runs in a browser tab."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

NAME = "bundle"


def bundle_command(
    model: Annotated[str, typer.Argument(help="Model file.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")],
    targets: Annotated[str, typer.Option(help="What to build for, separated by commas.")] = "webgpu,wasm",
    precision: Annotated[
        str,
        typer.Option(
            help="How weights are stored: float32, float16, int8, int4; int8/int8 with bytes for activations too. Several, the "
            "preferred one first, for who loads it to choose from: float32,float16."
        ),
    ] = "float32",
    activations: Annotated[
        str, typer.Option(help="What is computed with: float32, float16 (stored between kernels), or int8 with int8 weights.")
    ] = "float32",
    shape: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=N,N,…", help="Shape of an input; a second one of it begins another variant over the same weights."
        ),
    ] = [],  # noqa: B006  (typer makes a new list for each call)
    value: Annotated[list[str], typer.Option(metavar="NAME=NUMBER", help="Compile an input in as a constant.")] = [],  # noqa: B006
    rename: Annotated[list[str], typer.Option(metavar="OLD=NEW", help="Give an input or output another name.")] = [],  # noqa: B006
    calibrate: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|DIR", help="Real inputs, on which the accuracy of the precision is judged; repeat it for several."
        ),
    ] = [],  # noqa: B006
    tolerance: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=NUMBER", help="relative=0.01: the largest error; top1=0.99: how often the best must be the same."
        ),
    ] = [],  # noqa: B006
    progressive: Annotated[
        bool, typer.Option(help="Start after half the download; weights are refined while it runs.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The bundle's name; the folder's by default.")] = None,
) -> None:
    """Compile a model for the browser."""
    from ..web.builds import bundle
    from ..web.contents import accuracies
    from . import arguments, report

    start = time.perf_counter()
    values = arguments.pairs("--value", value)
    with report.stages() as stage:
        stage(f"reading {model}")
        loaded = arguments.load_model(model)
        if rename:
            loaded = loaded.rename(arguments.pairs("--rename", rename))
        variants = [arguments.specs_for(loaded, given, values) for given in arguments.variants(shape)]
        stage(f"compiling {loaded.name}: {len(variants)} variant{'s' if len(variants) > 1 else ''} for {targets}")
        chosen = tuple(t for t in targets.replace(",", " ").split())
        precisions = precision.replace(",", " ").split()
        samples = arguments.samples(loaded, calibrate, variants[0]) if calibrate else None
        manifest = bundle(
            loaded,
            output,
            variants,
            targets=chosen,
            precision=precisions[0] if len(precisions) == 1 else precisions,
            activations=activations,
            calibrate=samples,
            tolerance=arguments.tolerance(tolerance),
            progressive=progressive,
            name=name,
        )
    report.out.print(sizes(Path(output)))
    for found in accuracies(manifest).values():
        if found is not None:
            report.out.print(accuracy(found))
    report.out.print(f"{output} in {report.duration(time.perf_counter() - start)}; digest {manifest['digest']}")
    report.out.print(f"try it: hither serve {output}", style="dim")


def accuracy(found: Mapping[str, Any]) -> Any:
    """A table of how far a bundle's outputs are from float32, and of what keeps larger numbers for that."""
    from . import report

    kind = f"{'random ' if found['synthetic'] else ''}input{'' if found['samples'] == 1 else 's'}"
    kind += "; give real ones with --calibrate" if found["synthetic"] else ""
    wanted = ", ".join(f"{k} {v:g}" for k, v in found["tolerance"].items())
    title = f"{found['precision']} against float32 on {found['samples']} {kind}; tolerance: {wanted}"
    shown = report.table(
        title, "", "name", "relative error", "top-1", "all small", right=("relative error", "top-1", "all small")
    )
    for name, one in found["outputs"].items():
        agree = "" if one["top1"] is None else f"{100 * one['top1']:.1f} %"
        shown.add_row("output", name, _error(one["relative"]), agree, _error(found["everything"][name]["relative"]))
    for kept in found["kept"]:
        shown.add_row(f"{kept['numbers']} {kept['kind']}", kept["name"], "", "", _error(kept["relative"]))
    return shown


def _error(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"


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
