"""What issues 3 and 6 ask hither to reach, and what was measured: one row each, computed from the results alone."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log
from typing import NamedTuple

from .precision import PLACES, WAIT_FOR_MEMORY
from .results import Results

MOBILENET = "mobilenetv2"


class Row(NamedTuple):
    """A target; `met` is None where the results do not say yet."""

    measure: str
    target: str
    measured: str
    met: bool | None


def geometric_mean(values: list[float]) -> float | None:
    """Of ratios; None of none."""
    return exp(sum(map(log, values)) / len(values)) if values else None


def _least(measure: str, least: float, value: float | None, unit: str = "×", digits: int = 2) -> Row:
    shown = "not measured" if value is None else f"{value:.{digits}f}{unit}"
    return Row(measure, f"≥ {least:g}{unit}", shown, None if value is None else value >= least)


def _most(measure: str, most: float, value: float | None, unit: str = "", digits: int = 2) -> Row:
    shown = "not measured" if value is None else f"{value:.{digits}f}{unit}"
    return Row(measure, f"≤ {most:g}{unit}", shown, None if value is None else value <= most)


def _over_nets(results: Results, kind: str, threads: int, against: str | None = None) -> dict[str, float]:
    found = {net: results.ratio(kind, net, threads, against=against) for net in results.nets(kind)}
    return {net: ratio for net, ratio in found.items() if ratio is not None}


def _family(results: Results, kind: str, against: str | None, mean: float, least: float | None, title: str) -> Iterator[Row]:
    for threads in results.threads(kind):
        ratios = _over_nets(results, kind, threads, against)
        count = f"{threads} thread" + "s" * (threads > 1)
        yield _least(f"{title}, {count}: geometric mean over the nets", mean, geometric_mean(list(ratios.values())))
        if least is not None and ratios:
            worst = min(ratios, key=ratios.__getitem__)
            yield _least(f"{title}, {count}: lowest ({worst})", least, ratios[worst])


def _scaling(results: Results, kind: str, contestant: str) -> float | None:
    one, two = (results.median(contestant, kind, MOBILENET, threads) for threads in (1, 2))
    return one / two if one and two else None


def _memory(results: Results) -> Iterator[Row]:
    """Bytes held and moved: counts of plans (bench/counts.py), and what programs say that they hold."""
    counted = results.get("bundle", MOBILENET).get("counts", {})
    started = results.get("start", MOBILENET).get("contestants", {}).get("hither", {})
    page = results.get("wasm", MOBILENET, 1).get("contestants", {}).get("hither", {}).get("about", {})
    for target, held in (("native", started.get("memory", {})), ("wasm", page.get("memory", {}))):
        planned = counted.get(target)
        ratio = held["total"] / (planned["weights"] + planned["arena"]) if planned and held.get("total") else None
        yield _most(f"{target}, MobileNetV2: device bytes of a run over weights + planned arena", 1.25, ratio, "×")
    for target in ("native", "wasm", "webgpu"):
        planned = counted.get(target)
        ratio = planned["arena"] / planned["live"] if planned else None
        yield _most(f"{target}, MobileNetV2: arena over the most bytes alive at once", 1.1, ratio, "×")
    planned = counted.get("webgpu")
    yield _most(
        "WebGPU, MobileNetV2: bytes bound by all dispatches over compulsory ones (every launch reads its weights, inputs and "
        "intermediates once and writes its results once)",
        1.3,
        planned["bound"] / planned["compulsory"] if planned else None,
        "×",
    )
    growth = started.get("growth_bytes")
    shown = f"{growth / 1e6:.1f} MB" if growth else "not measured"
    yield Row("native, MobileNetV2, compiled in the process: growth over an idle import", "reported", shown, None)


def _small(results: Results) -> Iterator[Row]:
    """Small numbers: bytes of weights, speed where nets wait for memory and where they do not, and TensorFlow.js's bytes."""
    nets = results.nets("precision")
    cases = {(net, place): results.get("precision", net, place).get("forms") for net in nets for place in PLACES}
    found = {key: forms for key, forms in cases.items() if forms}
    for form, most in (("float16", 0.52), ("int8", 0.28), ("int4", 0.17)):
        shares = {key: forms[form]["weights"] / forms["float32"]["weights"] for key, forms in found.items()}
        worst = max(shares, key=shares.__getitem__, default=None)
        where = f" ({', '.join(worst)} takes most)" if worst else ""
        yield _most(f"{form}: weights in memory over float32's{where}", most, shares.get(worst) if worst else None, "×", 3)
    waiting = {True: (("float16", 1.3), ("int8", 2.0)), False: (("float16", 0.95), ("int8,int8", 1.3))}
    for waits, each in waiting.items():
        kind = "nets that wait for memory" if waits else "convolution nets"
        for form, least in each:
            for place in PLACES:
                speeds = {
                    net: forms["float32"]["median"] / forms[form]["median"]
                    for (net, at), forms in found.items()
                    if at == place and (net in WAIT_FOR_MEMORY) == waits
                }
                if speeds:
                    slowest = min(speeds, key=speeds.__getitem__)
                    yield _least(f"{form}, {place}, {kind}: speed, lowest ({slowest})", least, speeds[slowest])
    for net in results.nets("beside"):
        for device in ("wasm", "webgpu"):
            case = results.get("beside", net, device)
            share = case["ours"]["memory"]["weights"] / case["theirs"]["memory"]["numBytes"] if case else None
            yield _most(f"{device}, {net} in float16: weights in memory over TensorFlow.js's", 0.52, share, "×")


def rows(results: Results) -> Iterator[Row]:
    """Every target that a benchmark can decide; tests/test_budgets.py guards what depends on no machine."""
    yield from _family(results, "native", "onnxruntime", 1.3, 0.9, "native against onnxruntime")
    yield from _family(results, "native", None, 1.0, None, "native against the best peer")
    for threads in results.threads("native"):
        yield _least(
            f"native, MobileNetV2 against the best peer, threads: {threads}", 1.3, results.ratio("native", MOBILENET, threads)
        )
    yield from _family(results, "wasm", None, 2.0, 1.2, "WASM against the best peer")
    for threads, least in ((1, 2.3), (2, 2.7)):
        ratio = results.ratio("wasm", MOBILENET, threads, against="onnxruntime-web")
        yield _least(f"WASM, MobileNetV2 against onnxruntime-web, threads: {threads}", least, ratio)
    trained = (("train", "training step against PyTorch", 1.0), ("train-wasm", "training step in the page", 2.0))
    for kind, title, least in trained:
        for threads in results.threads(kind):
            for net, ratio in _over_nets(results, kind, threads).items():
                yield _least(f"{title}, {net}, threads: {threads}", least, ratio)
    yield from _family(results, "converted", None, 2.0, None, "converted nets, WASM against the best of tfjs and LiteRT.js")
    cold = results.get("cold", MOBILENET).get("contestants", {})
    first = [cold.get(name, {}).get("result_ms") for name in ("hither", "onnxruntime-web")]
    yield _least("cold start in the page against onnxruntime-web", 4, first[1] / first[0] if all(first) else None)
    for kind, peer in (("native", "onnxruntime"), ("wasm", "onnxruntime-web")):
        ours, theirs = _scaling(results, kind, "hither"), _scaling(results, kind, peer)
        relative = ours / theirs if ours and theirs else None
        row = _least(f"{kind}: scaling from 1 to 2 threads over {peer}'s", 0.95, relative)
        detail = f" ({ours:.2f}× over {theirs:.2f}×)" if ours and theirs else ""
        yield row._replace(measured=row.measured + detail)
    counts = results.get("webgpu", MOBILENET).get("contestants", {}).get("hither", {}).get("counts", {})
    yield _most("WebGPU, MobileNetV2: dispatches", 70, counts.get("dispatches"), digits=0)
    yield _most("WebGPU, MobileNetV2: submits of a run", 1, counts.get("submits"), digits=0)
    created = counts["buffers"] + counts["groups"] + counts["pipelines"] if counts else None
    yield _most("WebGPU, MobileNetV2: objects created by a later run", 0, created, digits=0)
    yield from _memory(results)
    yield from _small(results)
    start = results.get("start", MOBILENET).get("contestants", {})
    yield _most("compile MobileNetV2 natively, cold", 3, start.get("hither", {}).get("load_s"), " s")
    yield _most("compile MobileNetV2 natively, disk cache", 0.3, start.get("hither, cached", {}).get("load_s"), " s")
    yield _most("compile MobileNetV2 to a bundle", 5, results.get("bundle", MOBILENET).get("bundle_s"), " s")
