"""`python -m bench`: measure, keep the results as JSON in out/bench, and write docs/benchmarks.md and its plot.

python -m bench                                  everything: some half an hour on two cores
python -m bench --only native --nets mobilenetv2 one part again; the rest of the report stays
python -m bench --quick                          a few seconds per part, to see that it works; writes out/bench/quick.md
python -m bench --only report                    the report again, from what was measured
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from . import engines, measure, report
from .beside import NETS as BESIDE
from .converted import CONVERTED
from .nets import NETS, OUT, ROOT, Net
from .precision import PLACES, SUBJECTS
from .results import Results
from .trained import TRAINED

PARTS = ("native", "start", "browser", "converted", "train", "gpu", "cold", "precision", "beside", "report")
QUICK = ("mobilenetv2", "silero-vad", "blazeface-front", "cnn", "matvec", "facemesh")
EVERY = tuple(dict.fromkeys((*NETS, *CONVERTED, *TRAINED, *SUBJECTS, *BESIDE)))
GPU_NETS = ("mobilenetv2",)  # a software adapter measures counts, not speed: one net is enough


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", default="", help=f"comma-separated, of: {', '.join(EVERY)}")
    parser.add_argument("--only", default="", help=f"comma-separated, of: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (12)")
    parser.add_argument("--threads", default="1,2", help="thread counts (1,2)")
    parser.add_argument("--quick", action="store_true", help="two nets, two rounds, no document")
    parser.add_argument(
        "--quiet-wait", type=float, default=0, metavar="SECONDS", help="before each case, wait for an idle machine"
    )
    options = parser.parse_args()
    options.nets = _chosen(parser, "--nets", options.nets, QUICK if options.quick else EVERY, EVERY)
    options.only = _chosen(parser, "--only", options.only, PARTS, PARTS)
    options.threads = [int(n) for n in options.threads.split(",")]
    options.rounds = options.rounds or (2 if options.quick else 12)
    return options


def _chosen(parser: argparse.ArgumentParser, option: str, text: str, default: tuple[str, ...], known: object) -> list[str]:
    names = [n.strip() for n in text.split(",") if n.strip()] or list(default)
    for name in names:
        if name not in known:  # type: ignore[operator]
            parser.error(f"{option}: no {name!r}; there are {', '.join(known)}")  # type: ignore[call-overload]
    return names


class Bench:
    """One run: what was asked for, and where results go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.nets: list[Net] = [NETS[name] for name in options.nets if name in NETS]
        self.results = Results(OUT / ("quick.json" if options.quick else "results.json"))
        self.failed: list[str] = []

    def say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {what}", file=sys.stderr, flush=True)

    def before(self, what: str) -> None:
        """Announce a case, and wait for the machine if asked to."""
        self.say(what)
        if self.options.quiet_wait:
            measure.wait_until_quiet(self.options.quiet_wait)

    def native(self) -> None:
        from . import native

        for net in self.nets:
            for threads in self.options.threads:
                self.before(f"native  {net.name}, threads: {threads}")
                self.case(f"native/{net.name}/{threads}", native.steady, net, threads, self.options.rounds)

    def start(self) -> None:
        from . import native

        for net in self.nets:
            self.before(f"start   {net.name}")
            self.case(f"start/{net.name}", native.start, net, 1, 1 if self.options.quick else 3)

    def browser(self, only: list[str]) -> None:
        from . import browser, site

        if not browser.peers_installed():
            raise SystemExit("the browser's peers are not installed; run: scripts/node.sh bench/js (make bench does)")
        with browser.chromium() as chromium, site.serving() as served:
            self.results.note("browser", {**browser.versions(chromium), "WebGPU adapter": browser.adapter(chromium, served)})
            if "converted" in only:
                self.converted(chromium, served)
            if "train" in only:
                self.train(chromium, served)
            if "precision" in only:
                self.precision(chromium)
            if "beside" in only:
                self.beside(chromium, served)
            for net in self.nets if {"browser", "gpu", "cold"} & set(only) else ():
                self.before(f"bundle  {net.name}")
                if not self.case(f"bundle/{net.name}", site.prepare, net):
                    continue
                for threads in self.options.threads if "browser" in only else ():
                    self.before(f"wasm    {net.name}, threads: {threads}")
                    key = f"wasm/{net.name}/{threads}"
                    self.case(key, browser.steady, chromium, served, net, "wasm", threads, self.options.rounds)
                if "gpu" in only and net.name in GPU_NETS:
                    self.before(f"webgpu  {net.name}")
                    rounds = min(4, self.options.rounds)
                    self.case(f"webgpu/{net.name}", browser.steady, chromium, served, net, "webgpu", 1, rounds)
                if "cold" in only and net.name in GPU_NETS:
                    self.before(f"cold    {net.name}")
                    repeats = 1 if self.options.quick else 7
                    self.case(f"cold/{net.name}", browser.cold, chromium, served, net, "wasm", 1, repeats)

    def converted(self, chromium: Any, served: Any) -> None:
        from . import browser, converted

        for net in (CONVERTED[name] for name in self.options.nets if name in CONVERTED):
            self.before(f"bundle  {net.name}")
            if not self.case(f"bundle/{net.name}", converted.prepare, net):
                continue
            for threads in self.options.threads:
                self.before(f"converted {net.name}, threads: {threads}")
                case = (chromium, served, net, "wasm", threads, self.options.rounds, converted.ENGINES)
                self.case(f"converted/{net.name}/{threads}", browser.steady, *case)

    def precision(self, chromium: Any) -> None:
        from . import precision

        for name in (name for name in self.options.nets if name in SUBJECTS):
            for place in PLACES:
                self.before(f"precision {name}, {place}")
                self.case(f"precision/{name}/{place}", precision.measured, name, place, self.options.rounds, chromium)

    def beside(self, chromium: Any, served: Any) -> None:
        from . import beside

        names = [name for name in self.options.nets if name in BESIDE]
        self.before(f"bundle  {', '.join(names)} for TF.js's side")
        beside.prepare_all(names)
        for name in names:
            for device in ("wasm", "webgpu"):
                self.before(f"beside  {name}, {device}")
                picture = beside.PICTURE if (name, device) == (names[0], "wasm") and not self.options.quick else None
                self.case(f"beside/{name}/{device}", beside.measured, chromium, served, name, device, picture)

    def train(self, chromium: Any, served: Any) -> None:
        from . import train, train_browser

        self.results.note("training, natively", train.versions())
        for net in (TRAINED[name] for name in self.options.nets if name in TRAINED):
            for threads in self.options.threads:
                self.before(f"train   {net.name}, threads: {threads}")
                self.case(f"train/{net.name}/{threads}", train.steady, net, threads, self.options.rounds)
            self.before(f"bundle  {net.name}")
            if not self.case(f"bundle/{net.name}", train_browser.prepare, net):
                continue
            for threads in self.options.threads:
                self.before(f"train   {net.name} in the page, threads: {threads}")
                case = (chromium, served, net, threads, self.options.rounds)
                self.case(f"train-wasm/{net.name}/{threads}", train_browser.steady, *case)

    def case(self, key: str, measure_it: Callable[..., dict[str, Any]], *arguments: Any) -> bool:
        """Measure and keep a case. One that fails is told now, drops its older result, and fails the run in the end."""
        try:
            self.results.put(key, measure_it(*arguments))
        except Exception:
            traceback.print_exc()
            self.failed.append(key)
            self.results.drop(key)
            return False
        if (ratio := self.results.ratio(*key.split("/"))) is not None:
            self.say(f"        {ratio:.2f}× the best peer")
        return True

    def run(self) -> None:
        only = self.options.only
        if set(only) != {"report"}:
            self.results.note("machine", measure.machine())
            self.results.note("native", engines.versions())
        if "native" in only:
            self.native()
        if "start" in only:
            self.start()
        if {"browser", "converted", "train", "gpu", "cold", "precision", "beside"} & set(only):
            self.browser(only)
        folder = OUT if self.options.quick else ROOT / "docs"
        path = report.write(self.results, folder, "quick" if self.options.quick else "benchmarks")
        self.say(f"wrote {path.relative_to(ROOT)}")
        if self.failed:
            raise SystemExit(f"{len(self.failed)} cases failed: {', '.join(self.failed)}")


if __name__ == "__main__":
    Bench(arguments()).run()
