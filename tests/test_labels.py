"""Labels that are no numbers of classes are errors, in Python and in the page, and only where a loss takes such numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import LabelOutOfRange

from .bundles import in_node

L = ht.nn
Sparse = L.losses.SparseCategoricalCrossentropy
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def trainer(loss: Any, **settings: Any) -> ht.Trainer:
    L.seed(0)
    net = L.Sequential([L.Input((4,)), L.Dense(3, name="kind")])
    return ht.Trainer(net, loss, "sgd", device="cpu", **settings)


@pytest.mark.parametrize(("label", "shape"), [(3, (6,)), (-1, (6, 1)), (1.5, (6,)), (np.nan, (6,))])
def test_labels_out_of_range_are_refused(label: float, shape: tuple[int, ...]) -> None:
    """Wherever labels come in; the error says which, what there is, and the weights stay."""
    y = np.zeros(shape, np.float32 if label != int(label if label == label else 0) else np.int32)
    y[4] = label
    made = trainer(Sparse(from_logits=True))
    before = {n: a.numpy().copy() for n, a in made.get_weights().items()}
    for act in (made.train_on_batch, made.test_on_batch, lambda x, y: made.fit(x, y, shuffle=False, verbose=0), made.evaluate):
        with pytest.raises(LabelOutOfRange, match=r"sample 4 of a batch has the label .*'kind' has 3 classes.* 0 to 2: count"):
            act(X, y)
    for name, array in made.get_weights().items():
        np.testing.assert_array_equal(array.numpy(), before[name])


def test_what_counts_nothing_may_have_any_label() -> None:
    """Ignored ones, those that weigh nothing, masked ones; and targets that are no numbers of classes."""
    y = np.array([0, 1, 2, 0, 1, -1], np.int32)
    assert np.isfinite(trainer(Sparse(True, ignore_class=-1)).train_on_batch(X, y)["loss"])
    weights = np.array([1, 1, 1, 1, 1, 0], np.float32)
    assert np.isfinite(trainer(Sparse(True)).train_on_batch(X, y, sample_weight=weights)["loss"])
    assert np.isfinite(trainer(Sparse(True)).train_on_batch(X, y, sample_weight=weights[:, None])["loss"])
    with pytest.raises(LabelOutOfRange, match="sample 5"):
        trainer(Sparse(True)).train_on_batch(X, y, sample_weight=weights + 1)
    assert np.isfinite(trainer("mse").train_on_batch(X, np.full((6, 3), 9, np.float32))["loss"])
    net = L.Sequential([L.Input((5,), dtype="int32"), L.Embedding(9, 4, mask_zero=True), L.Dense(3)])
    words, tags = np.array([[1, 2, 0, 0, 0]], np.int32), np.array([[0, 2, -1, -1, -1]], np.int32)
    masked = ht.Trainer(net, Sparse(True), "sgd", device="cpu")
    assert np.isfinite(masked.train_on_batch(words, tags)["loss"])


@pytest.mark.parametrize("ignore", [None, 7])
def test_pages_refuse_them_too(node: str, tmp_path: Path, ignore: int | None) -> None:
    """Before a step is run; what weighs nothing, or is ignored, is taken."""
    made = trainer(Sparse(True, ignore_class=ignore))
    specs = {"x": ht.Spec((4, 4)), "y": ht.Spec((4,), "int32"), "sample_weight": ht.Spec((4,))}
    manifest = ht.bundle(made, tmp_path / "b", specs, targets=("wasm",))
    inputs = manifest["variants"][0]["entries"]["train_step"]["inputs"]
    assert [(s["name"], s.get("classes"), s.get("ignored")) for s in inputs if s["name"] == "y"] == [("y", 3, ignore)]
    body = """
      const { fit, evaluate } = await import(folder + "/hither-fit.js"), p = await load(folder, { device: "wasm", threads: 1 });
      const error = async (act) => act.then(() => null, (e) => [e.code, e.message]), before = JSON.stringify(await p.state());
      const samples = (label, weight) => ({ x, y: [0, 1, 2, 0, 1, label], sample_weight: [1, 1, 1, 1, 1, weight] });
      const bad = [await error(fit(p, samples(3, 1))), await error(evaluate(p, samples(-1, 1)))];
      const same = JSON.stringify(await p.state()) === before;
      return { bad, same, good: [await error(fit(p, samples(3, 0))), await error(fit(p, samples(2, 1)))],
        seven: await error(evaluate(p, samples(7, 1))) };
    """
    got = in_node(node, tmp_path / "b", body, x=X.ravel().tolist())
    assert "value" in got, got
    got = got["value"]
    for (code, message), label in zip(got["bad"], (3, -1), strict=True):
        assert code == "label" and message.startswith(f'sample 5 has the label {label} in "y", and the network has 3 classes')
    assert got["same"] and got["good"] == [None, None]
    assert (got["seven"] is None) == (ignore == 7)
