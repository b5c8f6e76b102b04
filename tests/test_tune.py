"""Measured tiles: the fastest candidate wins, is remembered, and computes what the rule's tile computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.kernels.ir import Machine
from hither.kernels.templates.tile import Problem, Tile, choose_tile
from hither.program import tune
from hither.program.compile import CompileError, graphs_of, machine_for
from hither.program.plan import plan
from hither.program.tune import TileSearch, candidates
from hither.runtime.object_cache import ObjectCache

SPECS = {"x": ht.Spec((37, 64), "float32")}
W = np.random.default_rng(0).standard_normal((64, 40)).astype(np.float32)


def product(x: Any) -> Any:
    return ht.matmul(x, W)


class Clock:
    """A timer that says which tile is fastest, and how often it was asked."""

    def __init__(self, fastest: int, margin: float = 0.5) -> None:
        self.fastest, self.margin, self.asked = fastest, margin, list[tuple[Problem, Sequence[Tile]]]()

    def __call__(self, problem: Problem, machine: Machine, tiles: Sequence[Tile]) -> list[float]:
        self.asked.append((problem, tiles))
        return [self.margin if i == self.fastest % len(tiles) else 1.0 for i in range(len(tiles))]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HITHER_CACHE", "on")


def the_problem() -> Problem:
    clock = Clock(0)
    search = TileSearch(machine_for("cpu"), clock)
    plan(graphs_of(product, SPECS), search.machine, tiles=search)
    ((problem, _),) = clock.asked
    return problem


def test_the_fastest_candidate_wins_and_is_remembered(tmp_path: Path) -> None:
    problem, machine = the_problem(), machine_for("cpu")
    cache = ObjectCache(tmp_path / "own", suffix=".tile")
    clock = Clock(-1)
    search = TileSearch(machine, clock, cache)
    tiles = candidates(problem, machine)
    assert len(tiles) > 1 and tiles[0] == choose_tile(machine, 40, 37)
    assert search(problem) == search(problem) == tiles[-1]
    assert TileSearch(machine, clock, cache)(problem) == tiles[-1], "another process finds it on disk"
    assert len(clock.asked) == 1


def test_a_tile_that_is_hardly_faster_changes_nothing(tmp_path: Path) -> None:
    problem, machine = the_problem(), machine_for("cpu")
    assert TileSearch(machine, Clock(-1, 0.99), ObjectCache(tmp_path / "own"))(problem) == choose_tile(machine, 40, 37)


@pytest.mark.parametrize("registers, bits", [(16, 256), (32, 512), (32, 128)])
@pytest.mark.parametrize("n", [1, 24, 40, 512])
def test_candidates_fit_the_registers(registers: int, bits: int, n: int) -> None:
    machine = Machine("llvm", vector_bits=bits, vector_registers=registers)
    for tile in candidates(Problem("matmul", (), (), True, 100, n, 32), machine)[1:]:
        assert tile.rows * tile.vectors + tile.vectors + 1 <= registers
        assert tile.width * 32 in (bits, bits // 2)


@pytest.mark.parametrize("fastest", range(5))
def test_every_tile_computes_the_same(monkeypatch: pytest.MonkeyPatch, fastest: int) -> None:
    """Products with packed, computed and transposed right operands, convolutions and transposed ones."""
    monkeypatch.setattr(tune, "measured", Clock(fastest))
    rng = np.random.default_rng(1)
    image, w, up = (rng.standard_normal(s).astype(np.float32) for s in ((1, 5, 9, 11), (24, 5, 3, 3), (24, 7, 2, 2)))

    def everything(x: Any, y: Any, image: Any) -> dict[str, Any]:
        deep = ht.conv(image, w, padding=((1, 1), (1, 1)))
        return {"packed": ht.matmul(x, W), "there": x @ y, "conv": deep, "up": ht.conv_transpose(deep, up, strides=(2, 2))}

    arrays = {"x": rng.standard_normal((37, 64)), "y": rng.standard_normal((64, 40)), "image": image}
    arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
    specs = {name: ht.Spec(a.shape, "float32") for name, a in arrays.items()}
    expected = ht.compile(everything, specs)(arrays)
    found = ht.compile(everything, specs, tune=True)(arrays)
    np.testing.assert_allclose(found["packed"].numpy(), arrays["x"].astype(np.float64) @ W, rtol=1e-4, atol=1e-4)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name].numpy(), array.numpy(), rtol=1e-4, atol=1e-4)


def test_a_second_compilation_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(-1)
    monkeypatch.setattr(tune, "measured", clock)
    first = ht.compile(product, SPECS, tune=True)
    second = ht.compile(product, SPECS, tune=True)
    plain = ht.compile(product, SPECS)
    assert len(clock.asked) == 1
    kernels = [[k.key() for k in program.plan.code.kernels] for program in (first, second, plain)]
    assert kernels[0] == kernels[1] != kernels[2], "measured tiles are for those who ask"


def test_products_are_really_measured() -> None:
    problem, machine = the_problem(), machine_for("cpu")
    tiles = candidates(problem, machine)[:2]
    seconds = tune.measured(problem, machine, tiles)
    assert len(seconds) == 2 and all(0 < s < 1 for s in seconds)


def test_only_native_code_is_measured() -> None:
    with pytest.raises(CompileError, match="native code"):
        ht.compile(product, SPECS, device="wasm", tune=True)
