"""What the page measures: per net a folder with the ONNX file, hither's bundle, inputs, and ONNX Runtime's answers.

out/bench/site/NET/  model.onnx  bundle/  arrays.json + arrays.bin
                         layers.json + layers.bin, model.tflite: MobileNetV2, for peers without an ONNX reader
"""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import counts, engines, topologies
from .nets import OUT, ROOT, Net

SITE = OUT / "site"
PEERS = ROOT / "bench" / "js" / "node_modules"
# The modules that a page with this engine is bound to need: a cold start begins with all of them, as a bundle's own index.html
# does, not with one after the other; for every engine alike. "bundle/" is the net's.
MODULES = {
    "hither": ["bundle/hither.js"],
    "onnxruntime": [f"/npm/onnxruntime-web/dist/ort{part}.mjs" for part in (".wasm.bundle.min", "-wasm-simd-threaded")],
    "tfjs": [],
    "litert": ["/npm/@litertjs/core/dist/index.js", "/npm/@litertjs/wasm-utils/dist/index.js"],
}
# What its modules fetch whichever net it is, where naming it in the head makes an engine no slower: with its .wasm there,
# onnxruntime-web gave its first result at 864 ms instead of 832, with .wasm and model at 843 (medians of 12 starts each).
FETCHED = {
    "hither": ["bundle/manifest.json"],
    "onnxruntime": [],
    "tfjs": [f"/npm/@tensorflow/{path}" for path in (
        "tfjs/dist/tf.min.js", "tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
        "tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm",
    )],
    "litert": ["/npm/@litertjs/core/wasm/litert_wasm_internal.wasm"],
}  # fmt: skip


def prepare(net: Net) -> dict[str, Any]:
    """Write the net's folder; the bundle is always made afresh. Returns how long bundling took and how big it is."""
    import hither as ht

    folder = SITE / net.name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.onnx").exists():
        shutil.copyfile(net.path(), folder / "model.onnx")
    if not (folder / "arrays.json").exists():
        call, _ = engines.onnxruntime(net, 1)
        pack(folder, net.feeds(), call())
    if net.name == "mobilenetv2":
        from . import tflite_file  # needs the bench extra; the tests import this module for its measuring functions

        _pack_layers(folder)
        (folder / "model.tflite").write_bytes(tflite_file.mobilenet_v2())
    for engine in MODULES:
        (folder / f"cold-{engine}.html").write_text(_cold_page(engine))
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    start = time.perf_counter()
    manifest = ht.bundle(ht.load(str(net.path())), folder / "bundle", net.specs())
    record = {"bundle_s": time.perf_counter() - start, **weigh(folder / "bundle", manifest)}
    if net.name == "mobilenetv2":
        record["counts"] = _counts(net)
    return record


def _counts(net: Net) -> dict[str, dict[str, int]]:
    """What the plans of one net hold and move, by target."""
    import hither as ht
    from hither.program.compile import machine_for, plan_target
    from hither.web.builds import MACHINES

    machines = {"native": machine_for("cpu"), **{target: each[0] for target, each in MACHINES.items()}}
    plans = {target: plan_target(ht.load(str(net.path())), net.specs(), machine) for target, machine in machines.items()}
    found = {target: counts.memory(plan) for target, plan in plans.items()}
    found["webgpu"] |= counts.traffic(plans["webgpu"], machines["webgpu"])
    return found


def weigh(bundle: Path, manifest: dict[str, Any]) -> dict[str, int]:
    """Bytes of a bundle: code by target as a server compresses it, and weights as they are."""
    code = {b["file"]: packed((bundle / b["file"]).read_bytes()) for b in manifest["builds"]}
    return {
        "kernels_wasm_gz": max((n for f, n in code.items() if f.endswith(".wasm")), default=0),
        "kernels_wgsl_gz": sum(n for f, n in code.items() if f.endswith(".wgsl")),
        "manifest_gz": packed((bundle / "manifest.json").read_bytes()),
        "weights": sum(s["bytes"] for s in manifest["weights"]["segments"]),
    }


def packed(data: bytes) -> int:
    """Bytes after gzip -6, what static hosts send."""
    return len(gzip.compress(data, 6))


def _cold_page(engine: str) -> str:
    """The page of a cold start: what every engine's has, and the files of one."""
    needed = ["/web/cold.js", "/web/net.js", f"/web/engines/{engine}.js", *MODULES[engine]]
    page = (ROOT / "bench" / "web" / "cold.html").read_text()
    links = [f'<link rel="modulepreload" href="{path}">' for path in needed]
    for path in (*FETCHED[engine], "arrays.json", "arrays.bin"):  # the last two are the input
        kind = 'as="script"' if path.endswith(".js") else 'as="fetch" crossorigin'
        links.append(f'<link rel="preload" {kind} href="{path}">')
    return page.replace("<!-- modules -->", "\n".join(links))


def pack(
    folder: Path, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray], weights: dict[str, np.ndarray] | None = None
) -> None:  # fmt: skip
    """Write inputs, expected outputs and, for peers that are to have them, weights as web/net.js reads them."""
    chunks, index, at = [], {}, 0
    for key, arrays in (("inputs", inputs), ("outputs", outputs), ("weights", weights or {})):
        index[key] = []
        for name, array in arrays.items():
            entry = {"name": name, "dtype": str(array.dtype), "shape": array.shape, "offset": at, "length": array.size}
            index[key].append(entry)
            data = array.tobytes()
            chunks.append(data + bytes(-len(data) % 16))
            at += len(chunks[-1])
    (folder / "arrays.bin").write_bytes(b"".join(chunks))
    (folder / "arrays.json").write_text(json.dumps(index))


def _pack_layers(folder: Path) -> None:
    """MobileNetV2 without ONNX: its layers, the dense one last, with weights in ONNX's layout."""
    chunks, at = [], 0

    def place(array: np.ndarray) -> dict[str, Any]:
        nonlocal at
        chunks.append(array.tobytes())
        at += len(chunks[-1])
        return {"shape": array.shape, "offset": at - len(chunks[-1])}

    layers = [*topologies.mobilenet_layers(), None]
    listed = [
        {**({} if layer is None else vars(layer)), "weight": place(weight), "bias": place(bias)}
        for layer, (weight, bias) in zip(layers, topologies.mobilenet_weights(), strict=True)
    ]
    (folder / "layers.bin").write_bytes(b"".join(chunks))
    (folder / "layers.json").write_text(json.dumps(listed))


@dataclass
class Served:
    """A running server: what was asked for so far, in order, as paths from the origin."""

    origin: str
    requests: list[str] = field(default_factory=list)

    def weigh(self, paths: Sequence[str]) -> dict[str, int]:
        """Bytes behind these paths: code as a server compresses it, models and weights as they are."""
        roots = {"web": ROOT / "bench" / "web", "npm": PEERS, "nets": SITE}
        sums = {"code_gz": 0, "model": 0}
        for path in dict.fromkeys(paths):
            _, mount, rest = path.split("/", 2)
            if Path(rest).name.startswith("arrays.") or mount == "web":
                continue  # the input, and the benchmark's own page
            data = (roots[mount] / rest).read_bytes()
            if rest.endswith((".onnx", ".bin", ".tflite")):
                sums["model"] += len(data)
            else:
                sums["code_gz"] += packed(data)
        return sums


@contextmanager
def serving() -> Iterator[Served]:
    """Serve the nets, the pages and the peers' packages with the headers that threads need."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.types import Receive, Scope, Send

    from hither.web.server import application

    SITE.mkdir(parents=True, exist_ok=True)
    folders = {"/web": ROOT / "bench" / "web", "/npm": PEERS, "/nets": SITE}
    inner = Starlette(routes=[Mount(path, application(folder)) for path, folder in folders.items()])
    served = Served("")

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            served.requests.append(scope["path"])
        await inner(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(recording, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the benchmark's server did not start")
        thread.join(0.02)
    served.origin = f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(10)
