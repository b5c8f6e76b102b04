"""What a Trainer is compiled as: entries over one state, whose specs must fit it, in numbers that fit training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import NameMismatch, ShapeMismatch
from hither.program.compile import CompileError

L = ht.nn


def arrays(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def line_trainer(**settings: Any) -> ht.Trainer:
    return ht.Trainer(L.Sequential([L.Input((2,)), L.Dense(1)]), "mse", "sgd", device="cpu", **settings)


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        (None, ShapeMismatch, "fit it first, or give specs"),
        ({"x": ht.Spec((4, 2))}, ShapeMismatch, "fit it first, or give specs"),
        ({"x": ht.Spec((4, 2)), "y": ht.Spec((3, 1))}, ShapeMismatch, r"one row per sample, got x: float32\[4,2\], y"),
        ({"x": ht.Spec((None, 2)), "y": ht.Spec((4, 1))}, ShapeMismatch, "free extents"),
        ({"a": ht.Spec((4, 2)), "b": ht.Spec((4, 2)), "y": ht.Spec((4, 1))}, NameMismatch, "inputs a, b; .* are x, targets"),
        ({"x": ht.Spec((4, 2)), "y_other": ht.Spec((4, 1))}, NameMismatch, "the output 'other'"),
        ({"train": {"x": ht.Spec((4, 2))}}, NameMismatch, "no entry 'train'"),
    ],
)  # fmt: skip
def test_specs_that_do_not_fit_are_refused(specs: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        ht.bundle(line_trainer(), tmp_path / "b", specs)
    assert not (tmp_path / "b").exists()


def test_a_trainer_brings_its_loss_and_its_state() -> None:
    specs = {"x": ht.Spec((4, 2)), "y": ht.Spec((4, 1))}
    with pytest.raises(TypeError, match="no loss"):
        ht.compile(ht.Trainer(line_trainer().net, device="cpu"), specs)
    with pytest.raises(CompileError, match="a Trainer brings what survives its calls"):
        ht.compile(line_trainer(), specs, device="cpu", state={"a": np.zeros(1)})


@pytest.mark.parametrize("numbers", [{"precision": "float16"}, {"precision": "int8/int8"}])
def test_a_trainer_is_not_called_small(tmp_path: Path, numbers: dict[str, str]) -> None:
    """Its weights are float32 state whatever is asked for: a manifest that says float16 would be wrong."""
    specs = {"x": ht.Spec((4, 2)), "y": ht.Spec((4, 1))}
    with pytest.raises(CompileError, match=r"keeps its weights in float32.*net\.as_model\(\)"):
        ht.compile(line_trainer(), specs, device="cpu", **numbers)
    with pytest.raises(CompileError, match="keeps its weights in float32"):
        ht.bundle(line_trainer(), tmp_path / "b", specs, **numbers)
    assert not (tmp_path / "b").exists()


def test_a_trainer_may_store_halves_between_kernels() -> None:
    """That is no matter of its weights: training takes less memory, and the loss falls as it does in float32."""
    normal = arrays()
    x, y = normal(64, 32), normal(64, 4)
    ht.nn.seed(0)
    net = ht.nn.Sequential([ht.nn.Input((32,)), ht.nn.Dense(256, activation="relu"), ht.nn.Dense(4)])
    trainer = ht.Trainer(net, "mse", ht.optim.SGD(0.05), device="cpu")
    specs = {"x": ht.Spec(x.shape), "y": ht.Spec(y.shape)}
    losses, sizes = [], []
    for activations in ("float32", "float16"):
        program = ht.compile(trainer, specs, device="cpu", activations=activations)
        losses.append([float(program.run("train_step", {"x": x, "y": y})["loss"].numpy()) for _ in range(20)])
        sizes.append(program.plan.code.sizes["arena"])
    assert losses[0][-1] < 0.9 * losses[0][0] and sizes[1] < sizes[0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=5e-3)


def test_entries_may_have_shapes_of_their_own() -> None:
    """One sample is predicted, four are trained on; an input has the name that specs give it; steps are the Trainer's."""
    normal = arrays()
    x, y = normal(4, 2), normal(4, 1)
    trainer = line_trainer()
    entries = {"predict": {"point": ht.Spec((1, 2))}, "train_step": {"point": ht.Spec((4, 2)), "y": ht.Spec((4, 1))}}
    program = ht.compile(trainer, entries, device="cpu")
    for _ in range(3):
        expected = trainer.train_on_batch(x, y)["loss"]
        assert float(program.run("train_step", point=x, y=y)["loss"]) == pytest.approx(expected, rel=1e-6)
    assert list(program.run("train_step", point=x, y=y)) == ["loss"]
    program.run("reset_metrics")
    trainer.train_on_batch(x, y)
    assert float(program.run("evaluate", point=x, y=y)["loss"]) == pytest.approx(trainer.test_on_batch(x, y)["loss"], rel=1e-6)
    predicted = next(iter(program(point=x[:1]).values())).numpy()
    np.testing.assert_allclose(predicted, trainer.predict(x, verbose=0).numpy()[:1], rtol=1e-6)


def test_targets_that_specs_leave_out_look_as_they_did(tmp_path: Path) -> None:
    x, y = arrays()(6, 2), np.zeros((6, 1), np.float32)
    trainer = line_trainer()
    trainer.fit(x, y, batch_size=4, verbose=0)
    for given, rows in ((None, 4), ({"x": ht.Spec((3, 2))}, 3)):
        entries = trainer.as_entries(given)
        assert {n: tuple(s.shape) for n, s in entries.specs["train_step"].items()} == {"x": (rows, 2), "y": (rows, 1)}
    with pytest.raises(ShapeMismatch, match='add "y"'):
        trainer.as_entries({"x": ht.Spec((3, 5))})
