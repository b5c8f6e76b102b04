"""Loops whose bodies compute what is carried in its place: right whatever a body does with old values, and without copies.

Expected values are NumPy's, turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.kernels.steps import Copy, Launch, While, walk
from hither.program import eager

from .wasm_session import in_node

DEVICES = ["cpu", pytest.param("wasm", marks=pytest.mark.node), pytest.param("webgpu", marks=pytest.mark.gpu)]
TURNS = 5
Turn = Callable[[Any, int, tuple[Any, ...]], tuple[Any, ...]]


def put(xp: Any, x: Any, row: Any, i: Any) -> Any:
    """x with a row replaced: by hither, or by NumPy."""
    if xp is ht:
        return ht.dynamic_update_slice(x, ht.expand_dims(row, axis=0), ht.stack([ht.asarray(i, dtype="int32"), ht.asarray(0)]))
    made = x.copy()
    made[min(max(int(i), 0), len(x) - 1)] = row
    return made


# What a turn makes of three carried arrays [6, 9]. Each is wrong if some old value is overwritten too early.
TURNS_OF: dict[str, Turn] = {
    "each in its place": lambda xp, i, s: (s[0] + 1, s[1] * 2, s[2] - 3),
    "changed places": lambda xp, i, s: (s[1], s[0], s[2]),
    "changed places and values": lambda xp, i, s: (s[1] + 1, s[0] * 2, s[0] + s[1]),
    "one value twice": lambda xp, i, s: (s[0] + s[2], s[0] + s[2], s[1]),
    "kept and moved": lambda xp, i, s: (s[0], s[0], s[1] + s[2]),
    "read by a product later": lambda xp, i, s: (s[0] * 0.5, xp.matmul(s[0], xp.matrix_transpose(s[1])) @ s[2] * 0.01, s[2]),
    "read at other places": lambda xp, i, s: (s[0] + xp.flip(s[0], axis=1), s[1], s[2]),
    "a row": lambda xp, i, s: (put(xp, s[0], s[1][0] + i, i), s[1] + 1, s[2]),
    "a row beyond the end": lambda xp, i, s: (put(xp, s[0], s[1][0], i + 4), s[1] + 1, s[2]),
    "a row, the old array read later": lambda xp, i, s: (put(xp, s[0], s[1][0], i), s[1] + s[0], s[2]),
    "a row of the array itself": lambda xp, i, s: (put(xp, s[0], s[0][5] + 1, i), s[1], s[2]),
    "a row of another array": lambda xp, i, s: (put(xp, s[1], s[0][0], i), s[0], s[2]),
    "two rows": lambda xp, i, s: (put(xp, put(xp, s[0], s[1][0], i), s[1][1], i + 1), s[1] * 2, s[2]),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", TURNS_OF)
def test_carried_values(name: str, device: str) -> None:
    turn = TURNS_OF[name]
    arrays = [np.random.default_rng(i).standard_normal((6, 9)).astype(np.float32) for i in range(3)]
    function = lambda a, b, c: ht.fori_loop(0, TURNS, lambda i, state: turn(ht, i, state), (a, b, c))  # noqa: E731
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(function, {n: ht.Spec((6, 9), "float32") for n in "abc"}, device=device)
    found = program(dict(zip("abc", arrays)))
    expected = tuple(arrays)
    for i in range(TURNS):
        expected = turn(np, i, expected)
    for got, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_a_scan_stores_one_row_a_turn() -> None:
    """The rows that a scan collects are neither copied nor written anew in each turn: time does not grow with their square."""
    function = lambda x: ht.scan(lambda carry, row: (carry * 0.5 + row, carry), ht.zeros(64), x)[1]  # noqa: E731
    program = ht.compile(function, {"x": ht.Spec((100, 64), "float32")})
    (loop,) = [s for s in walk(program.plan.code.entries["predict"]) if isinstance(s, While)]
    copied = [step.source.nbytes for step in walk(loop.body) if isinstance(step, Copy)]
    written = [step.work.bytes_written for step in walk(loop.body) if isinstance(step, Launch)]
    assert max(*copied, *written) <= 64 * 4
    x = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    carry, rows = np.zeros(64), []
    for row in x:
        rows.append(carry)
        carry = carry * 0.5 + row
    np.testing.assert_allclose(program(x=x)["output"].numpy(), rows, rtol=1e-5, atol=1e-5)


def test_long_loops_are_compiled_once_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called at once, what goes round often would take NumPy longer than compiling it takes, and every later call much longer.
    What goes round a few times, or is complex, is NumPy's, and so is everything where there is no LLVM."""
    made: list[str] = []
    now = eager._compile
    monkeypatch.setattr(eager, "_programs", type(eager._programs)())
    monkeypatch.setattr(eager, "_compile", lambda primitive, *rest: (made.append(primitive.name), now(primitive, *rest))[1])
    rng = np.random.default_rng(0)
    for n, compiled in ((4, []), (40, ["call"]), (40, [])):
        made.clear()
        x = rng.standard_normal((n, n)).astype(np.float32)
        np.testing.assert_allclose(ht.linalg.eigh(x)[0].numpy(), np.linalg.eigvalsh(x), atol=1e-4)
        np.testing.assert_allclose(ht.linalg.eigh(x + 0j)[0].numpy(), np.linalg.eigvalsh(x), atol=1e-4)
        assert made == compiled

    def smoothed(x: Any) -> Any:
        return ht.sum(ht.scan(lambda carry, row: (0.9 * carry + row,) * 2, ht.zeros(3), x)[1])

    x = rng.standard_normal((500, 3)).astype(np.float32)
    expected = ((1 - 0.9 ** np.arange(500, 0, -1)) / 0.1)[:, None].repeat(3, 1)
    for compiled in (True, False):
        made.clear()
        np.testing.assert_allclose(ht.grad(smoothed)(x).numpy(), expected, rtol=1e-4)
        assert bool(made) == compiled
    made.clear()
    monkeypatch.setattr(eager, "has_llvm", lambda: False)
    np.testing.assert_allclose(ht.grad(smoothed)(x + 1).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(ht.linalg.svdvals(x[:30]).numpy(), np.linalg.svd(x[:30])[1], rtol=1e-4)
    assert not made
