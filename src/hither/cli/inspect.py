"""`hither inspect`: what is in a model or a bundle, and what it would cost to run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..graph.core import Graph

NAME = "inspect"
DEVICES = ("cpu", "wasm", "webgpu")
SHOWN_METADATA = 60  # characters of a value


def inspect_command(
    model: Annotated[str, typer.Argument(help="Model file or bundle folder.")],
    shape: Annotated[list[str], typer.Option(metavar="NAME=N,N,…", help="Shape of an input that the model leaves free.")] = [],  # noqa: B006
    value: Annotated[list[str], typer.Option(metavar="NAME=NUMBER", help="Compile an input in as a constant.")] = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="What to plan for, separated by commas: cpu, wasm, webgpu.")] = ",".join(DEVICES),
    graph: Annotated[bool, typer.Option("--graph", help="Print the Graph.")] = False,
    kernels: Annotated[bool, typer.Option("--kernels", help="Print the kernels for the first device.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the graph as a page whose blocks unfold.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the graph as a static picture.")] = None,
) -> None:
    """Show inputs, outputs, operators, parameters, FLOPs, kernels and dispatches; draw the graph."""
    from . import arguments, report

    path = Path(model)
    folder = path.parent if path.name == "manifest.json" else path
    if (folder / "manifest.json").is_file():
        if shape or value or graph or kernels or html or svg:
            raise arguments.ArgumentError(
                "--shape, --value, --graph, --kernels, --html and --svg are for models; a bundle is compiled already"
            )
        _bundle(folder)
        return
    chosen = device.replace(",", " ").split()
    unknown = [d for d in chosen if d not in DEVICES]
    if unknown or not chosen:
        raise arguments.ArgumentError(f"--device takes {', '.join(DEVICES)}, got {device!r}")
    loaded = arguments.load_model(model)
    _signature(loaded)
    try:
        specs = arguments.specs_for(loaded, arguments.one_variant(shape), arguments.pairs("--value", value))
    except arguments.ArgumentError as error:
        if shape or value or graph or kernels or html or svg:
            raise
        report.out.print(f"\nFor operators, FLOPs, kernels and memory: {error}", style="yellow")
        return
    traced = loaded.graph(specs)
    _operators(traced)
    _draw(traced, html, svg)
    plans = _costs(loaded, specs, chosen)
    if graph:
        report.out.print(str(traced), soft_wrap=True)
    if kernels:
        for kernel in plans[chosen[0]].code.kernels:
            report.out.print(str(kernel) + "\n", soft_wrap=True)


def _signature(model: Any) -> None:
    from . import report

    report.out.print(model.name, style="bold")
    shown = report.table("", "", "name", "dtype", "shape")
    for kind, specs in (("input", model.inputs), ("output", model.outputs)):
        for name, spec in specs.items():
            shown.add_row(kind, name, str(spec.dtype), report.shape_text(spec.shape))
    report.out.print(shown)
    arrays = list(model.weights.values())
    dtypes = Counter(str(a.dtype) for a in arrays)
    parameters, nbytes = sum(a.size for a in arrays), sum(a.nbytes for a in arrays)
    kinds = ", ".join(f"{n} {kind}" for kind, n in dtypes.most_common())
    report.out.print(
        f"\nparameters {report.count(parameters)} ({parameters}) in {report.size(nbytes)}; arrays: {kinds or 'none'}"
    )
    for key, value in model.metadata.items():
        line = " ".join(str(value).split())
        short = line if len(line) <= SHOWN_METADATA else f"{line[:SHOWN_METADATA]}… ({len(value)} characters)"
        report.out.print(f"{key}: {short}", style="dim")


def _nodes(graph: Graph) -> Iterator[Any]:
    """Every node, those of branches and loop bodies included (each once)."""
    for node in graph.nodes:
        yield node
        for param in node.params.values():
            if isinstance(param, Graph):
                yield from _nodes(param)


def flops(graph: Graph) -> dict[str, int]:
    """Operations by primitive: a multiply-add is two; loop bodies are counted once."""
    from ..program.work import node_flops

    found: Counter[str] = Counter()
    for node in _nodes(graph):
        found[node.primitive.name] += node_flops(node)
    return dict(found)


def _operators(graph: Graph) -> None:
    from . import report

    counts = Counter(node.primitive.name for node in _nodes(graph))
    work = flops(graph)
    total = sum(work.values())
    title = f"\n{sum(counts.values())} primitives, {report.count(total)} FLOP"
    shown = report.table(title, "primitive", "count", "FLOP", "share", right=("count", "FLOP", "share"))
    for name, number in sorted(counts.items(), key=lambda item: (-work[item[0]], -item[1])):
        share = f"{100 * work[name] / total:.1f} %" if total and work[name] else ""
        shown.add_row(name, str(number), report.count(work[name]) if work[name] else "", share)
    report.out.print(shown)


def _draw(graph: Graph, html: Path | None, svg: Path | None) -> None:
    """Write the picture of the Graph into the files that are asked for."""
    if not (html or svg):
        return
    from . import report
    from .graph_picture import html_page, picture, svg_file

    level = picture(graph)
    for path, write in ((html, html_page), (svg, svg_file)):
        if path is not None:
            path.write_text(write(level, graph.name), encoding="utf-8")
            report.out.print(f"\n{path}: {report.size(path.stat().st_size)}")


def _costs(model: Any, specs: Mapping[str, Any], devices: list[str]) -> dict[str, Any]:
    """Plan for each device, show what a run does there, and return the plans."""
    from ..kernels.steps import Cond, Launch, While, walk
    from ..program.compile import plan_target
    from . import report

    shown = report.table("\none run", "device", "kernels", "dispatches", "round trips", "weights", "arena", "in and out",
                         right=("kernels", "dispatches", "round trips", "weights", "arena", "in and out"))  # fmt: skip
    plans = {}
    with report.stages(len(devices)) as stage:
        for device in devices:
            stage(f"planning for {device}")
            plan = plans[device] = plan_target(model, specs, _machine(device))
            steps = list(walk(next(iter(plan.code.entries.values()))))
            trips = sum(isinstance(s, Cond | While) for s in steps) if device == "webgpu" else 0
            launches = sum(isinstance(s, Launch) for s in steps)
            regions = (report.size(plan.code.sizes[space]) for space in ("weights", "arena", "io"))
            shown.add_row(device, str(len(plan.code.kernels)), str(launches), str(trips), *regions)
    report.out.print(shown)
    return plans


def _machine(device: str) -> Any:
    """What is compiled for: this computer's CPU, or what bundles are built for (planning needs no device)."""
    if device == "cpu":
        from ..program.compile import machine_for

        return machine_for(device)
    from ..web.builds import MACHINES

    return MACHINES[device][0]


def _bundle(folder: Path) -> None:
    from ..web.bundle import read_manifest
    from ..web.contents import accuracies, weights_of
    from . import report
    from .bundle import sizes

    manifest = read_manifest(folder)
    precisions = list(accuracies(manifest))
    title = f"{manifest['name']}, {' or '.join(precisions)}, {manifest['generator']}"
    report.out.print(title, style="bold")
    shown = report.table("", "variant", "entry", "", "name", "dtype", "shape")
    for variant in manifest["variants"]:
        for name, entry in variant["entries"].items():
            for kind in ("inputs", "outputs"):
                for tensor in entry[kind]:
                    row = (
                        variant["name"],
                        name,
                        kind[:-1],
                        tensor["name"],
                        tensor["dtype"],
                        report.shape_text(tensor["shape"]),
                    )
                    shown.add_row(*row)
    report.out.print(shown)
    weights = manifest["weights"]
    first, later = (sum(s["bytes"] for s in weights.get(part, ())) for part in ("segments", "refinement"))
    then = f", and {report.size(later)} that refine them once it runs" if later else ""
    report.out.print(f"\n{len(weights['tensors'])} weight tensors in {report.size(first)}{then}")
    if len(precisions) > 1:
        for name in precisions:
            tensors, segments = weights_of(manifest, name)
            report.out.print(f"  {name}: {len(tensors)} tensors, {report.size(sum(s.nbytes for s in segments))} to download")
    numbers = ("dispatches", "round trips", "weights", "arena", "in and out")
    costs = report.table("\nbuilds", "target", "precision", "requires", "kernels", *numbers, right=numbers)
    for build in manifest["builds"]:
        steps = [s for s in _steps(build["variants"][0][manifest["default_entry"]].get("steps", []))]
        dispatches = str(sum("run" in s for s in steps)) if build["target"] == "webgpu" else "1 call"
        trips = str(sum("run" not in s for s in steps))
        needs, kernels = ", ".join(build["requires"]) or "nothing", f"{build['file']} {report.size(build['bytes'])}"
        held = (manifest["layouts"][build["layout"]]["weights"], build["arena"], build["io"])
        costs.add_row(
            build["target"], build.get("precision", manifest["precision"]), needs, kernels, dispatches, trips,
            *map(report.size, held),
        )  # fmt: skip
    report.out.print(costs)
    report.out.print(sizes(folder))
    report.out.print(f"digest {manifest['digest']}", style="dim")


def _steps(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield step
        for key in ("then", "else", "do"):
            yield from _steps(step.get(key, []))
