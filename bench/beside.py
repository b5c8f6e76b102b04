"""Side by side with TensorFlow.js: float16 networks that were published for it, in both engines, from the same files.

python -m bench.beside            prepare the networks and serve the page, to be looked at in a browser
python -m bench --only beside     measure them for docs/benchmarks.md

The question is what stays in memory. TensorFlow.js widens quantised weights to float32 when it loads them; hither keeps them.
Bytes are what the engines say (`tf.memory()`, `program.memory()`) and what is counted where memories and buffers are made
(web/counting.js). A case fails if the answers differ, or if the weights take more than LEAST of TensorFlow.js's.

out/bench/site/NET/  half/ (the bundle)  arrays.json + arrays.bin  model.json + shards
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests import models_tfjs

from . import browser, measure, site
from .converted import CONVERTED, Converted
from .nets import ROOT

LEAST = 0.52  # of TensorFlow.js's bytes of weights, at most: half, and what is no weight
ERROR = 5e-3  # of the largest output: what one rounds to float16 on its way and the other does not
NETS: dict[str, Converted] = {
    net.name: net
    for net in (
        CONVERTED["movenet-lightning"],
        CONVERTED["hand-landmark-lite"],
        Converted("facemesh", "Face mesh, 468 points, 192²: TF.js", tfjs="facemesh"),
    )
}
PICTURE = ROOT / "docs" / "images" / "beside-tfjs.png"


def prepare(net: Converted) -> dict[str, Any]:
    """Write the net's folder; what the page is to know of it."""
    import hither as ht

    folder = site.SITE / net.name
    folder.mkdir(parents=True, exist_ok=True)
    feeds = net.feeds()
    site.pack(folder, feeds, {k: a.numpy() for k, a in net.load("numpy")(feeds).items()})
    source, model = models_tfjs.MODELS[str(net.tfjs)].path(), models_tfjs.MODELS[str(net.tfjs)]
    shutil.copyfile(source, folder / "model.json")
    shards = [source.with_name(Path(shard).name) for shard in model.shards]
    for shard in shards:
        shutil.copyfile(shard, folder / shard.name)
    shutil.rmtree(folder / "half", ignore_errors=True)
    ht.bundle(net.load(), folder / "half", net.specs(), precision="float16")
    return {"name": net.name, "about": net.about.partition(":")[0], "file": sum(s.stat().st_size for s in shards)}


def prepare_all(names: Sequence[str]) -> None:
    """The networks of these names, and the page's list of all that have been prepared."""
    listed = site.SITE / "beside.json"
    made = {n["name"]: n for n in (json.loads(listed.read_text()) if listed.exists() else ()) if n["name"] in NETS}
    made |= {name: prepare(NETS[name]) for name in names}
    listed.write_text(json.dumps([made[name] for name in NETS if name in made]))


def measured(chromium: Any, served: site.Served, name: str, device: str, picture: Path | None = None) -> dict[str, Any]:
    """What the page finds for a network; `picture`: where a screenshot goes.

    Raises:
        Disagreement: the answers differ.
        AssertionError: hither's weights take more than they may.
    """
    record: dict[str, Any] = measure.conditions()
    with browser.page_of(chromium) as page:
        page.set_viewport_size({"width": 1000, "height": 760})
        page.goto(f"{served.origin}/web/beside.html?net={name}&device={device}")
        page.wait_for_function("globalThis.beside")
        found = page.evaluate("beside")
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=picture, full_page=True)
    for who in ("theirs", "ours"):
        found[who] |= measure.summary(np.asarray(found[who].pop("times")) / 1e3)
    if not found["error"] <= ERROR:
        raise measure.Disagreement(f"{name}: hither and TensorFlow.js differ by {found['error']} of the largest output")
    share = found["ours"]["memory"]["weights"] / found["theirs"]["memory"]["numBytes"]
    assert share <= LEAST, f"{name}, {device}: weights take {share:.3f} of TensorFlow.js's, {LEAST} at most"
    return record | found


def main() -> None:
    """Serve the page until it is interrupted."""
    if not browser.peers_installed():
        raise SystemExit("TensorFlow.js is not installed; run: scripts/node.sh bench/js (make bench does)")
    prepare_all(list(NETS))
    with site.serving() as served:
        print(f"{served.origin}/web/beside.html    (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
