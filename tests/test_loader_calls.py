"""Calls of a loaded program: wrong ones say what is right, before anything has run; others queue, end, are aborted.

In Node; what a page adds is in tests/test_loader_pages.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .bundles import COUNT, in_node

X = np.arange(6, dtype=np.float32).reshape(2, 3)
RUN = "await program.run({ x: Float32Array.from([0, 1, 2, 3, 4, 5]), n: [3, -4] })"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("{ x: new Float32Array(6) }", 'input "n" is missing; "predict" takes x: float32[2,3], n: int64[2] or x: float32[5,3]'),
        ("", 'input "x" is missing; "predict" takes x: float32[2,3], n: int64[2] or x: float32[5,3]'),
        ("null", 'input "x" is missing; "predict" takes'),
        ("{ x: new Float32Array(6), n: [1, 2], z: 1 }", 'input "z" does not exist; "predict" takes'),
        ("{ x: new Float32Array(7), n: [1, 2] }", "no variant fits x: [7], n: [2]"),
        ("{ x: { data: new Float32Array(6), shape: [3, 2] }, n: [1, 2] }", "no variant fits x: [3,2]"),
        ("{ x: new Float64Array(6), n: [1, 2] }", 'input "x" is float32: pass Float32Array or a plain array, not Float64Array'),
        ("{ x: new Float32Array(6), n: [1, 0.5] }", 'input "n": element 1 is 0.5, which does not fit int64'),
        ("{ x: [1, 2, 3, 4, 5, undefined], n: [1, 2] }", 'input "x": element 5 is undefined, which does not fit float32'),
        ("{ x: ['one', 2, 3, 4, 5, 6], n: [1, 2] }", 'input "x": element 0 is one, which does not fit float32'),
        ("{ x: Array(6), n: [1, 2] }", 'input "x": element 0 is undefined'),
        ("'nothing', {}", 'the bundle has no entry "nothing"; it has predict'),
        ("{ x: new Float32Array(6), n: [1, 2] }, { variant: '9x9' }", "the bundle has no variant 9x9; it has 2x3_2, 5x3_2"),
        (
            "{ x: new Float32Array(6), n: [1, 2] }, { outputs: { y: new Float32Array(7) } }",
            "outputs.y must be a Float32Array of 8 elements, got Float32Array of 7",
        ),
        (
            "{ x: new Float32Array(6), n: [1, 2] }, { outputs: { z: new Float32Array(8) } }",
            'no output "z"; "predict" gives y: float32[2,4], n: int64[2]',
        ),
    ],
)
def test_wrong_calls_say_what_is_right(node: str, affine: Path, call: str, message: str) -> None:
    got = in_node(node, affine, f"const p = await load(folder, {{ device: 'wasm', threads: 1 }}); await p.run({call})")
    assert message in got["error"]


def test_wrong_arrays_for_results_are_refused_before_the_run(node: str, counter: Path) -> None:
    """A step would have been taken, and its results lost. Where an array's constructor is from does not matter."""
    body = f"""
      const add = {COUNT}, p = await load(folder, {{ device: "wasm", threads: 1 }}), found = [];
      const {{ runInNewContext }} = await import("node:vm"), other = runInNewContext("new Float32Array(3)");
      const total = [new Float32Array(2), new Float64Array(3), [0, 0, 0]].map((total) => ({{ total }}));
      for (const outputs of [...total, {{ sum: new Float32Array(3) }}]) {{
        found.push(await add(p, 1, {{ outputs }}).catch((e) => [e.code, e.message]));
      }}
      const filled = [await add(p, 1), await add(p, 1, {{ outputs: {{ total: other }} }}), other[2]];
      return [found, ...filled, (await p.run({{ x: other }})).total.data[0]];
    """
    found, *totals = in_node(node, counter, body)["value"]
    assert [code for code, _ in found] == ["input"] * 4
    texts = [
        "got Float32Array of 2",
        "a Float32Array of 3 elements, got Float64Array of 3",
        "got Array of 3",
        '"add" gives total: float32[3]',
    ]
    assert all(text in message for text, (_, message) in zip(texts, found, strict=True)), found
    assert totals == [12, 14, 14, 14 + 14 + 1]


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (
            "(await load(folder, { device: 'wasm' })).warmup({ entry: 'nothing' })",
            "input",
            'has no entry "nothing"; it has predict',
        ),
        ("load(folder, { device: 'wasm', threads: NaN })", "option", "threads is NaN, not a number"),
        ("load(folder, { device: 'wasm', threads: 'all' })", "option", "threads is all, not a number"),
    ],
)
def test_wrong_options_say_what_is_right(node: str, affine: Path, call: str, code: str, message: str) -> None:
    """They used to be a TypeError of the loader's insides, or a want of memory that there was not."""
    got = in_node(node, affine, f"await {call}")
    assert got["code"] == code and message in got["error"]


def test_half_a_thread_is_none(node: str, affine: Path) -> None:
    """What is computed of the number of cores may be no whole number: at most so many are threads that exist."""
    body = (
        "return Promise.all([0, 0.5, 1.5].map(async (n) => (await load(folder, { device: 'wasm', threads: n })).info.threads))"
    )
    assert in_node(node, affine, body)["value"] == [1, 1, 1]


def test_abort(node: str, affine: Path) -> None:
    body = """
      const program = await load(folder, { device: "wasm", threads: 1 }), stop = new AbortController();
      const call = program.run({ x: new Float32Array(6), n: [1, 1] }, { signal: stop.signal }).catch((e) => e.name);
      stop.abort();
      const after = await program.run({ x: new Float32Array(6), n: [1, 1] });
      const load2 = await load(folder, { device: "wasm", signal: AbortSignal.abort() }).catch((e) => e.name);
      return [await call, after.n.data[0], load2];
    """
    assert in_node(node, affine, body)["value"] == ["AbortError", 2, "AbortError"]


def test_calls_of_the_state_keep_their_turn(node: str, counter: Path, tmp_path: Path) -> None:
    """What reads or changes the state does so after the calls before it and before those after it, also the first time."""
    body = f"""
      const add = {COUNT}, p = await load(folder, {{ device: "wasm", threads: 1 }}), total = (s) => s.total.data[0];
      const all = await Promise.all([p.save(file), add(p, 1), p.state().then(total), add(p, 1), p.restore(file), add(p, 2),
        p.loadState({{ total: [100, 100, 100] }}), add(p, 1), p.state().then(total)]);
      const wrong = p.loadState({{ nothing: [1] }}).catch((e) => e.code);
      return [...all.map((x) => x ?? null), await wrong, await add(p, 1)];
    """
    got = in_node(node, counter, body, file=str(tmp_path / "kept"))["value"]
    assert got == [None, 12, 12, 14, None, 13, None, 102, 102, "state", 104]


def test_closed_programs_say_so(node: str, affine: Path) -> None:
    got = in_node(node, affine, f"const program = await load(folder, {{ device: 'wasm' }}); program.close(); {RUN}")
    assert got["code"] == "lost" and "it was closed" in got["error"]
