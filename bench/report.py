"""The document: tables of what was measured, a plot, and what could not be measured and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import plot, targets
from .converted import CONVERTED
from .nets import NETS
from .results import Results
from .trained import TRAINED

HOW = """\
`make bench` writes this page ([bench/](../bench)). Contestants run in one process, or in one page of headless Chromium, and
take turns: in each round everyone runs for a moment, in rotating order, the first runs of each turn uncounted. Before anything
is timed, every contestant's outputs are compared with ONNX Runtime's. Times are milliseconds of one whole call, from
inputs in the caller's memory to results in the caller's memory, GPU work included. Ratios are of medians: **above 1, hither
is faster**; the ratio of minima beside them suffers less from a busy machine. All compute in float32. hither runs what computes
much in a worker, so its times include a message there and back; the other engines block the page. *Load* is the machine's load
average when a case began and *busy* the share of the processors that others used just before: high numbers mean noisy rows.
"""
Table = Iterator[str]


def write(results: Results, folder: Path, name: str) -> Path:
    """Write `name`.md and `name`.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plotted = plot.write(results, folder / f"{name}.svg")
    path = folder / f"{name}.md"
    path.write_text("\n".join(document(results, f"{name}.svg" if plotted else None)) + "\n", encoding="utf-8")
    return path


def document(results: Results, picture: str | None) -> Iterator[str]:
    """The page, line by line."""
    yield "# Benchmarks\n"
    yield HOW
    yield from about(results)
    if picture:
        yield f"![Ratio to the best peer, by net]({picture})\n"
    yield "## Targets\n"
    yield from table(
        ("measure", "target", "measured", ""),
        (
            (r.measure, r.target, r.measured, {True: "met", False: "**not met**", None: ""}[r.met])
            for r in targets.rows(results)
        ),
    )
    yield "## Nets\n"
    everything = (*NETS.values(), *CONVERTED.values(), *TRAINED.values())
    yield from table(("net", "what"), ((net.name, net.about) for net in everything))
    for kind, title in (("native", "Native"), ("wasm", "WebAssembly in Chromium")):
        for threads in results.threads(kind):
            yield f"## {title}, {threads} thread{'s' * (threads > 1)}\n"
            yield from steady(results, kind, threads)
    yield from converted(results)
    yield from trained(results)
    yield from webgpu(results)
    yield from cold(results)
    yield from start(results)
    yield from bundles(results)
    yield from precision(results)
    yield from beside(results)
    yield from skipped(results)


def table(head: Sequence[str], rows: Any) -> Table:
    """A Markdown table; columns of numbers to the right."""
    made = [list(map(str, row)) for row in rows]
    numeric = [all(_numeric(row[i]) for row in made) for i in range(len(head))]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---:" if n and i else "---" for i, n in enumerate(numeric)) + "|"
    for row in made:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _numeric(cell: str) -> bool:
    return not cell or cell.strip("*")[:1].isdigit() or cell == "–"


def about(results: Results) -> Iterator[str]:
    """Machine, versions, dates."""
    machine = results.about.get("machine", {})
    if machine:
        yield f"Machine: {machine['processor']}, {machine['cores']} cores; {machine['system']}. No GPU unless named below.\n"
    for where, title in (("native", "Native"), ("browser", "Browser")):
        if where in results.about:
            yield f"{title}: " + ", ".join(f"{n} {v}" for n, v in results.about[where].items()) + ".\n"
    dates = sorted(str(case["date"]) for case in results.cases.values() if "date" in case)
    if dates:
        yield f"Measured between {dates[0]} and {dates[-1]}.\n"


def steady(results: Results, kind: str, threads: int) -> Table:
    """Times of every net, with geometric means of the ratios below."""
    nets = [net for net in results.nets(kind) if results.get(kind, net, threads)]
    seen = (name for net in nets for name in results.get(kind, net, threads)["contestants"])
    names = list(dict.fromkeys(seen))
    first = {
        "native": "onnxruntime", "wasm": "onnxruntime-web", "converted": "tfjs", "train": "pytorch", "train-wasm": "jax-js",
    }[kind]  # fmt: skip
    compared = ((first, "median"), (None, "median"), (None, "min"))
    rows = []
    for net in nets:
        case = results.get(kind, net, threads)
        cells = [_times(case["contestants"].get(name)) for name in names]
        ratios = [results.ratio(kind, net, threads, against=peer, of=of) for peer, of in compared]
        noise = f"{case['load']:.1f} / {100 * case['busy']:.0f} %"
        rows.append((net, *cells, *map(_ratio, ratios), noise))
    means = [
        targets.geometric_mean([r for net in nets if (r := results.ratio(kind, net, threads, against=peer, of=of)) is not None])
        for peer, of in compared
    ]
    rows.append(("geometric mean", *([""] * len(names)), *map(_ratio, means), ""))
    yield "Median (min … p90), ms.\n"
    yield from table(("net", *names, f"ratio to {first}", "to the best peer", "of minima", "load / busy"), rows)


def converted(results: Results) -> Iterator[str]:
    """Networks published for TF.js and TFLite, against those engines on the same files."""
    for threads in results.threads("converted"):
        yield f"## Converted nets, WebAssembly in Chromium, {threads} thread{'s' * (threads > 1)}\n"
        if threads == 1:
            yield (
                "Networks published for TensorFlow.js or TensorFlow Lite. Everyone reads the published file; the answers are "
                "compared with hither's evaluation in NumPy.\n"
            )
        yield from steady(results, "converted", threads)


def trained(results: Results) -> Iterator[str]:
    """Training steps."""
    if results.nets("train") or results.nets("train-wasm"):
        yield "## Training steps\n"
        yield (
            "One step on a batch that is in memory, from arrays to the loss as a number: forward, backward, and Adam. Everyone "
            "begins with the same weights, and the losses of the first steps are compared before anything is timed. *Tuned* "
            "PyTorch holds pictures channels last and fuses its Adam. Engines that take seconds for a step are timed on three "
            "steps, alone in a page.\n"
        )
    for kind, title in (("train", "Natively"), ("train-wasm", "In Chromium")):
        for threads in results.threads(kind):
            yield f"### {title}, {threads} thread{'s' * (threads > 1)}\n"
            yield from steady(results, kind, threads)


def _times(found: dict[str, Any] | None) -> str:
    if not found:
        return "–"
    return f"{_ms(found['median'])} ({_ms(found['min'])} … {_ms(found['p90'])})"


def _ms(value: float) -> str:
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 0.1
        else f"{value:.3f}"
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _mb(value: float | None) -> str:
    return "–" if not value else f"{value / 1e6:.1f}"


def _kb(value: float) -> str:
    return f"{value / 1024:.0f}"


def webgpu(results: Results) -> Iterator[str]:
    """Counts first: an emulated GPU does not rank kernels."""
    for net in results.nets("webgpu"):
        case = results.get("webgpu", net)
        yield f"## WebGPU in Chromium, {net}\n"
        yield f"Adapter: {results.about['browser']['WebGPU adapter']}. Emulated GPUs show counts; their times rank nothing.\n"
        yield from table(
            (
                "engine",
                "ms",
                "dispatches",
                "submits",
                "buffers made",
                "bind groups made",
                "pipelines",
                "to the first result, s",
            ),
            (
                (
                    name,
                    _times(c),
                    *(c["counts"][k] for k in ("dispatches", "submits", "buffers", "groups")),
                    c["setup"]["pipelines"],
                    f"{(c['load_ms'] + c['first_ms']) / 1e3:.1f}",
                )
                for name, c in case["contestants"].items()
            ),
        )
        yield "Dispatches, submits, buffers and bind groups are of one run after the first.\n"


def cold(results: Results) -> Iterator[str]:
    """Navigate → load → first result, in a fresh profile, from a server on the same machine."""
    for net in results.nets("cold"):
        yield f"## Cold start in the page, {net}, WASM, 1 thread\n"
        yield (
            "From the start of the navigation to the first result: empty cache, local server (no network time). Every page "
            "names its engine's modules, and what these fetch for any net, in its head, so that they come at once.\n"
        )
        contestants = results.get("cold", net)["contestants"]
        ours = contestants["hither"]["result_ms"]
        yield from table(
            ("engine", "loaded, ms", "first result, ms", "ratio", "code fetched, KB gzip", "model fetched, MB", "requests"),
            (
                (
                    name,
                    f"{c['ready_ms']:.0f}",
                    f"{c['result_ms']:.0f}",
                    _ratio(c["result_ms"] / ours),
                    _kb(c["fetched"]["code_gz"]),
                    _mb(c["fetched"]["model"]),
                    c["requests"],
                )
                for name, c in contestants.items()
            ),
        )
        phases = ", ".join(f"{phase} at {ms} ms" for phase, ms in contestants["hither"]["phases"].items())
        yield f"hither's phases in the last of these starts: {phases}.\n"


def start(results: Results) -> Iterator[str]:
    """Native start-up and memory."""
    if not results.nets("start"):
        return
    yield "## Native start-up and memory, 1 thread\n"
    yield (
        "Each in a process of its own. *Load* reads the file and compiles or prepares it; *growth* is resident memory over the "
        "idle import after a few runs, *peak* its maximum; *device* is what `program.memory()` says.\n"
    )
    rows = []
    for net in results.nets("start"):
        for name, c in results.get("start", net)["contestants"].items():
            device = _mb(c["memory"]["total"]) if "memory" in c else ""
            times = (f"{c['load_s']:.2f}", _ms(c["first_ms"]))
            rows.append((net, name, *times, _mb(c["growth_bytes"]), _mb(c["peak_bytes"]), device))
    yield from table(("net", "engine", "load, s", "first call, ms", "growth, MB", "peak, MB", "device, MB"), rows)


def bundles(results: Results) -> Iterator[str]:
    """Bundle times and bytes, and memory in the page."""
    if not results.nets("bundle"):
        return
    yield "## Bundles\n"
    rows = []
    for net in results.nets("bundle"):
        b = results.get("bundle", net)
        page = results.get("wasm", net, 1).get("contestants", {}).get("hither", {}).get("about", {}).get("memory", {})
        sizes = (_kb(b[k]) for k in ("kernels_wasm_gz", "kernels_wgsl_gz", "manifest_gz"))
        rows.append((net, f"{b['bundle_s']:.2f}", *sizes, _mb(b["weights"]), _mb(page.get("total"))))
    head = (
        "net",
        "bundle(), s",
        "WASM, KB gzip",
        "WGSL, KB gzip",
        "manifest, KB gzip",
        "weights, MB",
        "memory in the page, MB",
    )
    yield from table(head, rows)


def precision(results: Results) -> Iterator[str]:
    """Each precision against float32."""
    if not results.nets("precision"):
        return
    yield "## Precisions, 1 thread\n"
    yield (
        "hither against its own float32. *Weights*: their share of float32's bytes in memory; *speed*: how many times as fast, "
        "by medians; *error*: the largest difference of any output, over that output's largest magnitude. `int8,int8` "
        "multiplies bytes by bytes. Some of these nets have random weights; accuracy on data is tested elsewhere.\n"
    )
    for place, title in (("native", "Natively"), ("browser", "WebAssembly in Chromium")):
        rows = []
        for net in results.nets("precision"):
            forms = results.get("precision", net, place).get("forms", {})
            base = forms.get("float32")
            for form, found in forms.items() if base else ():
                times = (_times(found), _ratio(base["median"] / found["median"]))
                rows.append((net, form, f"{found['weights'] / base['weights']:.3f}×", *times, f"{found['error']:.0e}"))
        if rows:
            yield f"### {title}\n"
            yield from table(("net", "weights, activations", "weights", "ms", "speed", "error"), rows)


def beside(results: Results) -> Iterator[str]:
    """The same float16 files in TensorFlow.js and hither, in one page."""
    if not results.nets("beside"):
        return
    yield "## Side by side with TensorFlow.js: float16 files, in one page\n"
    yield (
        "Networks published for TensorFlow.js with float16 weights. Both engines read those files (hither through `ht.load` "
        'and `ht.bundle(…, precision="float16")`) and run in one tab, on one thread. *Weights*: `tf.memory().numBytes` and '
        "`program.memory().weights` after a run. *Counted*: all WebAssembly memories and GPU buffers of the engine, counted "
        "where they are made. `python -m bench.beside` serves the page.\n"
    )
    rows = []
    for net in results.nets("beside"):
        for device in ("wasm", "webgpu"):
            case = results.get("beside", net, device)
            if not case:
                continue
            theirs, ours = case["theirs"], case["ours"]
            weights = (theirs["memory"]["numBytes"], ours["memory"]["weights"])
            counted = [sum(who["counted"].values()) for who in (theirs, ours)]
            rows.append(
                (
                    net, device, _mb(case["file"]), *map(_mb, weights), f"{weights[1] / weights[0]:.2f}×", *map(_mb, counted),
                    f"{counted[1] / counted[0]:.2f}×", _times(theirs), _times(ours), f"{case['error']:.0e}",
                )
            )  # fmt: skip
    yield from table(
        (
            "net", "device", "file, MB", "weights: tfjs, MB", "hither, MB", "ratio", "counted: tfjs, MB", "hither, MB", "ratio",
            "tfjs, ms", "hither, ms", "differ by",
        ),
        rows,
    )  # fmt: skip
    yield "On WebGPU times are those of an emulated GPU and rank nothing.\n"
    yield "![The page: weights, memory, time](images/beside-tfjs.png)\n"


def skipped(results: Results) -> Iterator[str]:
    """Who could not run what."""
    found: dict[tuple[str, str], list[str]] = {}
    for key, case in results.cases.items():
        for name, reason in case.get("skipped", {}).items():
            found.setdefault((name, reason.replace("|", "\\|")), []).append(key)
    if found:
        yield "## Not measured\n"
        rows = ((name, _families(keys), reason) for (name, reason), keys in found.items())
        yield from table(("engine", "cases", "reason"), rows)


def _families(keys: Sequence[str]) -> str:
    kinds: dict[str, list[str]] = {}
    for key in keys:
        kind, net, *_ = key.split("/")
        kinds.setdefault(kind, [])
        if net not in kinds[kind]:
            kinds[kind].append(net)
    return "; ".join(f"{kind}: {', '.join(nets)}" for kind, nets in kinds.items())
