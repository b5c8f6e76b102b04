"""Where the time of a net goes in Chromium: every launch on its own, on one thread, against multiply-adds alone.

`Program.profile` of the wasm device runs in wasmtime, whose code is another than V8's; this runs the module that a bundle
would hold. Two trees are compared with --keep in the one and --against in the other: both then run in one page, in turns.

    python -m bench.kernels_wasm minilm-l6 [--rounds 10] [--plain] [--form int8,int8] [--keep FOLDER | --against FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from hither.kernels.ir import Machine
from hither.kernels.steps import Code, Launch, Ref
from hither.program.stepping import WHOLE, Steps
from hither.targets.wasm.printer import print_module

from .gemm_wasm import CHROMIUM, FLAGS, MACHINE, PEAK_CHAINS, PEAK_TRIPS, peak
from .nets import NETS, Net

PEAK = "peak"


@dataclass(frozen=True)
class Case:
    """A module with an entry for every launch, what its memory holds, and what its launches are."""

    module: bytes
    image: bytes  # weights, then the inputs as they lie in the io region
    about: dict[str, Any]

    @classmethod
    def of(cls, net: Net, relaxed: bool, form: str = "float32", apart: bool = False) -> Case:
        import hither as ht
        from hither.passes.precision import Numbers
        from hither.program.accuracy import seen_ranges
        from hither.program.compile import graphs_of, plan_graphs

        machine = Machine("wasm", fma=relaxed, dot="unsigned")
        graphs, parts = graphs_of(ht.load(str(net.path())), net.specs()), form.split(",")
        numbers = Numbers(*parts[:2])
        if parts[2:]:
            (graph,), feeds = graphs.values(), net.feeds()
            numbers = replace(numbers, ranges=seen_ranges(graph, numbers, [{n: feeds[n] for n in graph.input_names}]))
        planned = plan_graphs(graphs, machine, numbers=numbers)
        (entry,) = planned.entries
        steps = Steps(planned.code.entries[entry])
        code = steps.code(planned.code, entry)
        made = print_module(code, machine, relaxed, names=True, apart=apart)
        feeds = net.feeds()
        inputs = np.zeros(code.sizes["io"], np.uint8)
        for port in planned.entries[entry].inputs:
            data = feeds[port.name].astype(machine.storage(port.abstract.dtype).name)
            inputs[port.ref.offset : port.ref.offset + port.ref.nbytes] = data.reshape(-1).view(np.uint8)
        launches = {
            str(i): [code.kernels[s.kernel].name, s.work.flops, s.work.bytes_read + s.work.bytes_written]
            for i, s in enumerate(steps.leaves)
            if isinstance(s, Launch)
        }
        sizes = [max(code.sizes[s], 256) for s in ("weights", "state", "arena", "io")]
        weights = planned.weights_image().tobytes().ljust(sizes[0], b"\0")
        about = {"sizes": [*sizes, 256, made.scratch_bytes + 256], "whole": WHOLE, "launches": launches}
        return cls(made.bytes, weights + inputs.tobytes(), about)

    @classmethod
    def peak(cls) -> Case:
        out = Ref("io", 0, 16)
        made = print_module(Code([peak()], {PEAK: (Launch(0, (out,)),)}), MACHINE, True)
        return cls(made.bytes, bytes(512), {"sizes": [256] * 6, "whole": PEAK, "launches": {}})

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "module.wasm").write_bytes(self.module)
        (folder / "image.bin").write_bytes(self.image)
        (folder / "about.json").write_text(json.dumps(self.about))

    @classmethod
    def kept(cls, folder: Path) -> Case:
        about = json.loads((folder / "about.json").read_text())
        return cls((folder / "module.wasm").read_bytes(), (folder / "image.bin").read_bytes(), about)


@contextmanager
def serving(files: dict[str, tuple[bytes, str]]) -> Iterator[str]:
    """Serve these paths with the headers that make a page's clock finer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = files.get(self.path, (b"", "text/plain"))
            self.send_response(200 if self.path in files else 404)
            headers = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
            for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()


def measure(cases: list[Case], rounds: int, launches: bool, least: float) -> list[dict[str, list[float]]]:
    """Milliseconds per call of each entry, case by case."""
    from playwright.sync_api import sync_playwright

    files = {"/": (Path(__file__).with_suffix(".html").read_bytes(), "text/html")}
    request = []
    for i, case in enumerate(cases):
        files[f"/{i}.wasm"] = (case.module, "application/wasm")
        files[f"/{i}.bin"] = (case.image, "application/octet-stream")
        entries = [case.about["whole"], *(case.about["launches"] if launches else ())]
        request.append({"module": f"/{i}.wasm", "image": f"/{i}.bin", "entries": entries, **case.about, "launches": None})

    with serving(files) as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{origin}/")
        found = page.evaluate("measure", {"cases": request, "rounds": rounds, "least": least, "settle": 700})
        browser.close()
    return list(found)


def show(case: Case, times: dict[str, list[float]], peak_gflops: float) -> None:
    """One line per distinct kernel, the slowest first."""
    rows: dict[str, list[float]] = {}
    for number, (kernel, flops, nbytes) in case.about["launches"].items():
        row = rows.setdefault(kernel, [0, 0, 0, 0])
        for i, value in enumerate((float(np.median(times[number])), flops, nbytes, 1)):
            row[i] += value
    total = sum(row[0] for row in rows.values())
    print(f"{'ms':>8} {'share':>6} {'GFLOP/s':>8} {'of peak':>7} {'GB/s':>6}  calls  kernel")
    for kernel, (ms, flops, nbytes, calls) in sorted(rows.items(), key=lambda r: -r[1][0]):
        rate = flops / ms / 1e6
        print(
            f"{ms:8.3f} {ms / total:6.1%} {rate:8.1f} {rate / peak_gflops:7.0%} {nbytes / ms / 1e6:6.1f} {calls:6.0f}  {kernel}"
        )
    flops = sum(row[1] for row in rows.values())
    print(f"{total:8.3f} all launches, {flops / total / 1e6:.1f} GFLOP/s, {flops / total / 1e6 / peak_gflops:.0%} of peak")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels_wasm", description=__doc__.splitlines()[0])
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--plain", action="store_true", help="without relaxed SIMD")
    parser.add_argument("--form", default="float32", help="of weights and activations: int8,int8 or int8,int8,calibrated")
    parser.add_argument(
        "--apart", action="store_true", help="products of bytes as engines get them that have no such operation"
    )
    parser.add_argument("--whole", action="store_true", help="whole runs only")
    parser.add_argument("--keep", type=Path, help="write the module there, and measure nothing")
    parser.add_argument("--against", type=Path, help="a module that --keep wrote")
    options = parser.parse_args()
    case = Case.of(NETS[options.net], not options.plain, options.form, options.apart)
    if options.keep:
        case.keep(options.keep)
        return
    cases = [Case.peak(), case, *([Case.kept(options.against)] if options.against else [])]
    peaks, *found = measure(cases, options.rounds, not options.whole, 0.5)
    gflops = 8.0 * PEAK_TRIPS * PEAK_CHAINS / np.median(peaks[PEAK]) / 1e6
    print(f"{options.net}, multiply-adds alone {gflops:.1f} GFLOP/s")
    for case, times, what in zip(cases[1:], found, ("this tree", "the other"), strict=False):
        if not options.whole:
            show(case, times, gflops)
        whole = times[case.about["whole"]]
        print(f"{np.median(whole):8.3f} whole run, {what}, median; {min(whole):.3f} least")
    if options.against:
        ratios = np.asarray(found[1][WHOLE]) / np.asarray(found[0][WHOLE])
        print(f"{np.median(ratios):8.3f} times as fast as the other (median of ratios)")


if __name__ == "__main__":
    main()
