"""Memory in a page: dropped programs free what they hold, lack of memory is an error like others, runs allocate nothing.

`python -m tests.memory` does the same for longer.
"""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import pytest

import hither as ht
from hither.web.bundle import read_manifest

from .browser import serving
from .bundles import edit_manifest
from .page_memory import OPTIONS, cycles, make_training, repeats
from .test_loader_pages import BLANK, RUN, in_page

INPUTS = "{ x: new Float32Array(6), n: [3, -4] }"
GIB = 1 << 30


@pytest.fixture
def site(affine: Path, tmp_path: Path) -> Any:
    """The bundle "affine", and "large", which asks for more memory than there is."""
    shutil.copytree(affine, tmp_path / "affine")
    large = Path(shutil.copytree(affine, tmp_path / "large"))
    builds = read_manifest(large)["builds"]
    for build in builds:
        if build["target"] == "webgpu":
            build["buffers"] += [["arena", i * GIB, GIB] for i in range(1, 17)]
            build["limits"]["maxBufferSize"] = GIB
        else:
            build["arena"] = 5 * GIB
    edit_manifest(large, builds=builds)
    (tmp_path / "blank.html").write_text(BLANK)
    with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_dropped_programs_free_what_they_hold(page: Any, site: Any, options: str) -> None:
    """Without close() and without a forced collection: never more than three programs' memory."""
    page.goto(f"{site.origin}/blank.html")
    got = cycles(page, f"{site.origin}/affine/", INPUTS, options, times=8)
    assert 0 < got["one"] <= got["most"] <= 3 * got["one"]
    assert got["gpu"] <= 3 * got["one"]


def test_the_same_in_a_worker_of_the_page(page: Any, site: Any) -> None:
    page.goto(f"{site.origin}/blank.html")
    got = cycles(page, f"{site.origin}/affine/", INPUTS, OPTIONS["wasm"], times=8, in_worker=True)
    assert 0 < got["one"] <= got["most"] <= 3 * got["one"]


def test_programs_that_are_in_use_stay(page: Any, site: Any) -> None:
    """The loader may only make room by collecting what nobody refers to."""
    body = f"""
      const {{ memory }} = await import(url + "hither.js"), kept = [];
      for (let i = 0; i < 6; i++) kept.push(await load(url, {{ device: "wasm", threads: 1 }}));
      const results = await Promise.all(kept.map((program) => {RUN.replace("await ", "")}));
      const held = memory();
      kept[0].close();
      kept[1][Symbol.dispose ?? Symbol.for("Symbol.dispose")](); // what `using` calls
      return {{ results: results.map((r) => r.n.data[0]), held, after: memory(), one: kept[2].memory().total }};
    """
    got = in_page(page, site, body)["value"]
    assert got["results"] == [6] * 6
    assert totals(got["held"]) == {"webgpu": 0, "wasm": 6 * got["one"], "programs": 6}
    assert totals(got["after"]) == {"webgpu": 0, "wasm": 4 * got["one"], "programs": 4}


def totals(found: dict[str, Any]) -> dict[str, int]:
    """What memory() says in sum, having looked at whether its parts add up."""
    for device in ("webgpu", "wasm"):
        held = found["devices"][device]
        assert held["weights"] + held["state"] + held["arena"] == held["live"] == held["total"] - held["pooled"]
        assert held["total"] == found[device] and (held["programs"] > 0) == (held["total"] > 0)
    assert sum(held["programs"] for held in found["devices"].values()) == found["programs"]
    return {key: found[key] for key in ("webgpu", "wasm", "programs")}


def test_programs_that_are_in_use_hold_up_no_load(page: Any, site: Any) -> None:
    """The engine is moved until it has looked at them, not for as long as it may take where somebody is to be found."""
    body = """
      const kept = [], tries = [], Original = ArrayBuffer;
      let made = 0;
      globalThis.ArrayBuffer = class extends Original { constructor(...a) { super(...a); made += a[0] === 2 ** 26; } };
      for (let i = 0; i < 9; i++) {
        made = 0;
        kept.push(await load(url, { device: "wasm", threads: 1 }));
        tries.push(made);
      }
      return tries;
    """
    tries = in_page(page, site, body)["value"]
    assert tries[:2] == [0, 0] and sum(t > 0 for t in tries) <= 4  # when two new ones are there
    assert sorted(tries)[-2] < 32 and sum(tries) <= 64


def test_python_and_the_page_tell_memory_in_the_same_words(page: Any, site: Any, affine: Path) -> None:
    body = """
      const { memory } = await import(url + "hither.js"), program = await load(url, { device: "wasm", threads: 1 });
      return { page: memory().devices.wasm, own: program.memory() };
    """
    got = in_page(page, site, body)["value"]
    gc.collect()
    model = ht.load(affine)
    here = ht.memory()["wasm"]
    assert got["page"].keys() == here.keys() - {"arrays"} and model is not None
    assert here["weights"] == got["page"]["weights"] == got["own"]["weights"] > 0
    assert here["state"] == got["page"]["state"] and here["programs"] == got["page"]["programs"] == 1
    assert here["weights"] + here["state"] + here["arena"] == here["live"] == here["total"] - here["pooled"]


@pytest.mark.parametrize(("device", "needs"), [("webgpu", 16 * GIB), ("wasm", 5 * GIB)])
def test_too_large_a_program_is_refused_and_the_next_one_runs(page: Any, site: Any, device: str, needs: int) -> None:
    body = f"""
      const {{ memory }} = await import(url + "hither.js");
      const error = await load("/large/", {{ device: "{device}" }}).catch((e) => [e.code, e.message]);
      const held = memory(), program = await load(url, {{ device: "{device}" }});
      return {{ error, held, n: ({RUN}).n.data[0] }};
    """
    got = in_page(page, site, body)["value"]
    code, message = got["error"]
    assert code == "memory"
    (said,) = [int(word) for word in message.split() if word.isdigit() and int(word) >= needs]
    assert said < needs + GIB and "smaller variant" in message
    assert totals(got["held"]) == {"webgpu": 0, "wasm": 0, "programs": 0}
    assert got["n"] == 6


def test_a_signal_that_serves_many_runs_collects_nothing(page: Any, site: Any) -> None:
    body = """
      const { signal } = new AbortController(), program = await load(url, { device: "wasm", threads: 1 });
      let listeners = 0;
      const { addEventListener, removeEventListener } = signal;
      signal.addEventListener = (...a) => (listeners++, addEventListener.apply(signal, a));
      signal.removeEventListener = (...a) => (listeners--, removeEventListener.apply(signal, a));
      for (let i = 0; i < 5; i++) await program.run({ x: new Float32Array(6), n: [1, 1] }, { signal });
      return listeners;
    """
    assert in_page(page, site, body)["value"] == 0


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_runs_and_training_steps_make_nothing(page: Any, tmp_path: Path, options: str) -> None:
    make_training(tmp_path / "training")
    (tmp_path / "blank.html").write_text(BLANK)
    with serving(tmp_path) as running:
        page.goto(f"{running.origin}/blank.html")
        got = repeats(page, f"{running.origin}/training/", "{ x: new Float32Array(128).fill(1) }", options, times=30)
    assert got["after"] == got["before"]
    assert got["then"] == got["held"] and got["held"]["programs"] == 1
    assert totals(got["closed"]) == {"webgpu": 0, "wasm": 0, "programs": 0}
