"""The accuracy guard: it measures what it says, finds the weights that do the damage, and keeps no more than it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import hither as ht
from hither.cli import application
from hither.errors import DTypeMismatch, HitherError, NameMismatch
from hither.passes.precision import Numbers, digest_of
from hither.program.accuracy import AccuracyError, accepts, accuracy, guard
from hither.program.compile import CompileError, graphs_of

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


FIRST, SECOND, LAST = normal(32, 64) / 6, normal(64, 64) / 8, normal(64, 8) / 8
# In every column one number is so large that int8 has no digits left for the others, on which results depend as well.
OUTLIERS = SECOND.copy()
OUTLIERS[0] = 40.0


def network(second: np.ndarray, x: Any) -> Any:
    """Three products. The first feature of the second one's input is nearly nothing, so that its outliers do not matter."""
    hidden = ht.maximum(x @ FIRST, 0) * np.array([1e-3, *[1.0] * 63], np.float32)
    return {"y": ht.maximum(hidden @ second, 0) @ LAST}


def reference(second: np.ndarray, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(x.astype(np.float64) @ FIRST, 0) * np.array([1e-3, *[1.0] * 63])
    return np.maximum(hidden @ second, 0) @ LAST


SPECS = {"x": ht.Spec((4, 32))}
SAMPLES = [{"x": normal(4, 32)} for _ in range(3)]


def within(program: ht.Program, second: np.ndarray) -> float:
    """The relative error of a program, by NumPy's float64."""
    worst = 0.0
    for sample in SAMPLES:
        exact = reference(second, sample["x"])
        worst = max(worst, float(np.abs(program(sample)["y"].numpy() - exact).max() / np.abs(exact).max()))
    return worst


def test_nothing_is_kept_where_everything_is_accurate() -> None:
    program = ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", calibrate=SAMPLES, tolerance={"relative": 0.03})
    report = program.accuracy
    assert report is not None and not report.kept and not report.synthetic and report.samples == 3
    assert within(program, SECOND) == pytest.approx(report.outputs["y"].relative, rel=1e-3)
    plain = ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8")
    assert plain.accuracy is None and plain.memory()["weights"] == program.memory()["weights"]


def apart(x: Any) -> Any:
    """Two products. The second one's operand has a feature a thousand times as large as the others, which hardly counts, so
    that bytes of it have no digits left; bytes of its weights have."""
    hidden = ht.maximum(x @ FIRST, 0) * np.array([1000.0, *[1.0] * 63], np.float32)
    return {"y": hidden @ np.concatenate([SECOND[:1] * np.float32(1e-4), SECOND[1:]])}


def test_bytes_of_activations_are_given_up_first() -> None:
    """What bytes for activations harm multiplies its int8 weights in float32: no byte of weights more, and accurate."""
    settings: dict[str, Any] = {"precision": "int8", "activations": "int8"}
    program = ht.compile(apart, SPECS, **settings, calibrate=SAMPLES, tolerance={"relative": 0.03})
    report = program.accuracy
    assert report is not None
    (kept,) = report.kept
    assert (kept.shape, kept.numbers) == ((64, 64), "int8") and "keeps int8: a weight [64, 64]" in str(report)
    assert json.loads(json.dumps(report.to_json()))["kept"][0]["numbers"] == "int8"
    assert program.memory()["weights"] <= ht.compile(apart, SPECS, precision="int8").memory()["weights"] + 256
    assert report.everything["y"].relative > 0.03
    for sample in SAMPLES:
        hidden = np.maximum(sample["x"].astype(np.float64) @ FIRST, 0) * np.array([1000.0, *[1.0] * 63])
        exact = hidden @ np.concatenate([SECOND[:1] * 1e-4, SECOND[1:]])
        np.testing.assert_allclose(program(sample)["y"].numpy(), exact, atol=0.03 * np.abs(exact).max())


@pytest.mark.parametrize(("precision", "step"), [("int8", "float32"), ("float16", "float32"), ("int4", "float16")])
def test_steps_are_as_small_as_will_do(precision: str, step: str) -> None:
    """A tolerance below what halves can do is had in float32 only; one that int8 misses by far is had in halves."""
    tolerance = {"relative": 1e-5 if step == "float32" else 1e-3}
    report = ht.compile(
        lambda x: network(SECOND, x), SPECS, precision=precision, calibrate=SAMPLES, tolerance=tolerance
    ).accuracy
    assert report is not None
    assert step in {kept.numbers for kept in report.kept} <= {"float16", "float32"}
    assert (step == "float16") == all(kept.numbers == "float16" for kept in report.kept)
    assert report.outputs["y"].relative <= tolerance["relative"]


def test_the_harmful_weight_keeps_float16() -> None:
    """Only the planted one, and with it the result is as accurate as was asked for."""
    program = ht.compile(
        lambda x: network(OUTLIERS, x), SPECS, precision="int8", calibrate=SAMPLES, tolerance={"relative": 0.03}
    )
    report = program.accuracy
    assert report is not None
    assert [kept.shape for kept in report.kept] == [(64, 64)]
    assert report.everything["y"].relative > 0.1 > 0.03 >= report.outputs["y"].relative
    assert within(program, OUTLIERS) == pytest.approx(report.outputs["y"].relative, rel=1e-3)
    assert "keeps float16" in str(report) and "relative" in str(report)


def test_products_of_bytes_are_judged_with_what_they_multiply() -> None:
    """Weights of one and two are exact in int8; what they multiply is not, in a row where one number is a thousand others."""
    weight = np.where(RNG.random((64, 8)) < 0.5, 1, 2).astype(np.float32)
    x = normal(2, 64)
    x[:, 0] = 500.0
    weight[0] = 0.0

    def net(x: Any) -> Any:
        return {"y": x @ weight}

    specs = {"x": ht.Spec((2, 64))}
    free = ht.compile(net, specs, precision="int8", activations="int8", calibrate=[x], tolerance={"relative": 1.0})
    held = ht.compile(net, specs, precision="int8", activations="int8", calibrate=[x], tolerance={"relative": 0.01})
    assert free.accuracy is not None and held.accuracy is not None
    assert free.accuracy.outputs["y"].relative > 0.1 and not free.accuracy.kept
    assert held.accuracy.outputs["y"].relative < 1e-5 and len(held.accuracy.kept) == 1


def test_weights_of_loops_are_judged_too() -> None:
    """A recurrent step's weight, which only the loop's body reads."""
    weight = normal(32, 32) / 6
    weight[0] = 30.0
    start = np.array([0.0, *[0.1] * 31], np.float32)

    def step(carried: Any, x: Any) -> tuple[Any, Any]:
        after = ht.tanh((carried * np.array([0.0, *[1.0] * 31], np.float32)) @ weight + x)
        return after, after

    def run(x: Any) -> Any:
        return ht.scan(step, ht.asarray(start), x)[1]

    samples = [normal(6, 32) / 4 for _ in range(2)]
    program = ht.compile(run, {"x": ht.Spec((6, 32))}, precision="int8", calibrate=samples, tolerance={"relative": 0.02})
    assert program.accuracy is not None
    assert [kept.shape for kept in program.accuracy.kept] == [(32, 32)]


def test_agreement_of_the_best_can_be_asked_for() -> None:
    program = ht.compile(lambda x: network(OUTLIERS, x), SPECS, precision="int8", calibrate=SAMPLES, tolerance={"top1": 1.0})
    for sample in SAMPLES:
        np.testing.assert_array_equal(program(sample)["y"].numpy().argmax(-1), reference(OUTLIERS, sample["x"]).argmax(-1))
    assert program.accuracy is not None and program.accuracy.outputs["y"].top1 == 1


def test_without_samples_it_says_that_they_are_random() -> None:
    program = ht.compile(lambda x: network(SECOND, x), SPECS, precision="float16", tolerance={"relative": 0.01})
    assert program.accuracy is not None and program.accuracy.synthetic and "random" in str(program.accuracy)


def test_where_nothing_is_tolerated_everything_keeps_float32() -> None:
    program = ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", calibrate=SAMPLES, tolerance={"relative": 0})
    assert program.accuracy is not None and len(program.accuracy.kept) == 3


def test_what_survives_calls_begins_anew_for_each_sample() -> None:
    def count(state: Any, x: Any) -> tuple[Any, Any]:
        total = state["total"] + x @ SECOND
        return {"sum": total}, {"total": total}

    program = ht.compile(
        count, {"x": ht.Spec((1, 64))}, precision="float16", state={"total": np.zeros((1, 64), np.float32)},
        calibrate=[normal(1, 64), normal(1, 64)],
    )  # fmt: skip
    assert program.accuracy is not None and program.accuracy.outputs["sum"].relative < 1e-3
    assert not program.state["total"].numpy().any()


@pytest.mark.parametrize(
    ("exact", "found", "relative", "top1"),
    [
        ([[1.0, -4.0]], [[1.0, -3.0]], 0.25, 1.0),
        ([[1.0, 2.0], [3.0, 4.0]], [[2.5, 2.0], [3.0, 4.0]], 1.5 / 4, 0.5),
        ([[1.0, np.nan]], [[3.0, 2.0]], float("inf"), 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0, 1.0),
        ([[1.0], [2.0]], [[1.0], [2.0], [3.0]], 1.0, None),
    ],
)  # fmt: skip
def test_measures(exact: Any, found: Any, relative: float, top1: float | None) -> None:
    made = accuracy(np.array(exact, np.float32), np.array(found, np.float32))
    assert made.relative == pytest.approx(relative) and made.top1 == top1


def test_infinities_must_be_the_same_ones() -> None:
    """A masked score that was -inf and becomes NaN or inf is no small difference."""
    exact = np.array([[1.0, -np.inf, 2.0]], np.float32)
    assert accuracy(exact, exact.copy()).relative == 0
    for other in (np.nan, np.inf):
        assert accuracy(exact, np.array([[1.0, other, 2.0]], np.float32)).relative == np.inf


def test_of_integers_it_is_how_many_differ() -> None:
    assert accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])).relative == 0.25


@pytest.mark.parametrize(
    ("calibrate", "error", "says"),
    [
        ([], ValueError, "no samples"),
        ([{"y": normal(4, 32)}], NameMismatch, "'y'"),
        ([normal(4, 32).astype(np.float64)], DTypeMismatch, "float64"),
        ([normal(4, 31)], ValueError, "31"),
    ],
)
def test_samples_that_do_not_fit(calibrate: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", calibrate=calibrate)


@pytest.mark.parametrize(
    "tolerance", [{}, {"top5": 0.9}, {"relative": -1}, {"top1": 99}, 0.01, {"relative": "x"}, {"top1": True}]
)
def test_tolerances_that_mean_nothing(tolerance: Any) -> None:
    """Each is refused by what was given, never by what fails on it later; on the command line too."""
    with pytest.raises(CompileError, match=r"tolerance.*got"):
        ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", tolerance=tolerance)


def test_a_tolerance_of_the_command_line_that_means_nothing(tmp_path: Path) -> None:
    ht.save(ht.nn.Sequential([ht.nn.Input((32,)), ht.nn.Dense(8)]), tmp_path / "net.onnx", {"x": ht.Spec((4, 32))})
    found = CliRunner().invoke(
        application(), ["bundle", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "b"), "--tolerance", "foo=1"]
    )
    assert isinstance(found.exception, HitherError) and "foo" in str(found.exception)  # which main() prints as one line


def test_samples_that_are_none() -> None:
    with pytest.raises(CompileError, match=r"calibrate= is samples.*got a int, 5"):
        ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", calibrate=5)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_samples_without_finite_results_approve_nothing(broken: float) -> None:
    """NaN differs from NaN by nothing: without a refusal the error of such samples would be 0."""
    samples = [SAMPLES[0], {"x": SAMPLES[1]["x"] * broken}]
    with pytest.raises(AccuracyError, match=r"sample 2 of 2 .* its output 'y' has NaN or infinite numbers, and its input 'x'"):
        ht.compile(lambda x: network(SECOND, x), SPECS, precision="int8", calibrate=samples)
    with pytest.raises(AccuracyError, match=r"random sample 1 of 4 .*'output' has NaN.*inputs are finite; give real samples"):
        ht.compile(lambda x: ht.sqrt(x @ FIRST), SPECS, precision="int8", tolerance={"relative": 0.5})


def test_infinities_of_masks_are_results() -> None:
    """Equal ones are compared by their places, the numbers beside them as ever."""
    mask = np.where(np.arange(64) < 3, -np.inf, 0).astype(np.float32)
    program = ht.compile(
        lambda x: x @ FIRST + mask, SPECS, precision="float16", calibrate=SAMPLES, tolerance={"relative": 0.01}
    )
    assert program.accuracy is not None and 0 < program.accuracy.outputs["output"].relative < 0.01


def test_what_is_finite_in_float32_alone_is_infinitely_wrong() -> None:
    """Whatever the measure: rows of NaN agree with nothing, and outputs that have no rows cannot hide one."""
    exact = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    found = exact.copy()
    found[1, 1] = np.nan
    judged = accuracy(exact, found)
    assert judged.relative == np.inf and judged.top1 == pytest.approx(2 / 3)
    one = accuracy(exact[:, :1], found[:, 1:])
    assert one.top1 is None and not accepts({"y": one}, {"top1": 0.5})


def test_samples_may_be_stacked() -> None:
    stacked = {"x": np.stack([s["x"] for s in SAMPLES])}
    program = ht.compile(lambda x: network(SECOND, x), SPECS, precision="float16", calibrate=stacked)
    assert program.accuracy is not None and program.accuracy.samples == 3


def test_a_bundle_keeps_the_weight_and_carries_the_report(tmp_path: Path) -> None:
    manifest = ht.bundle(
        lambda x: network(OUTLIERS, x),
        tmp_path,
        SPECS,
        targets=("wasm",),
        precision="int8",
        calibrate=SAMPLES,
        tolerance={"relative": 0.03},
    )
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    assert [kept["shape"] for kept in manifest["accuracy"]["kept"]] == [[64, 64]]
    model = ht.load(tmp_path)
    exact = reference(OUTLIERS, SAMPLES[0]["x"])
    assert np.abs(model(SAMPLES[0])["y"].numpy() - exact).max() <= 0.03 * np.abs(exact).max()


def test_the_command_judges_on_files(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    weights = [numpy_helper.from_array(FIRST, "a"), numpy_helper.from_array(SECOND, "b")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 32])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 64])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    (tmp_path / "samples").mkdir()
    for i, sample in enumerate(SAMPLES):
        np.save(tmp_path / "samples" / f"{i}.npy", sample["x"])
    command = [
        "bundle", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out"), "--targets", "wasm", "--precision", "int8",
        "--calibrate", str(tmp_path / "samples"), "--tolerance", "relative=0.05",
    ]  # fmt: skip
    done = CliRunner().invoke(application(), command)
    assert done.exit_code == 0, done.output
    assert "int8 against float32 on 3 inputs" in done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["accuracy"]["tolerance"] == {"relative": 0.05}


def test_a_device_that_is_off_where_the_trial_was_not() -> None:
    """A device may round otherwise than the trial. Weights are then tried one by one after all, so that the harmful one takes a
    step and not whichever comes first; the report says how far it alone is off."""
    tolerance = {"relative": 0.03}
    graphs = graphs_of(lambda x: network(SECOND, x), SPECS)
    tried: list[dict[str, str]] = []

    def compiled(numbers: Numbers) -> ht.Program:
        """Off by far as long as all are as asked for."""
        tried.append(dict(numbers.steps))
        net = network if numbers.steps else lambda second, x: {"y": network(second, x)["y"] * 2}
        return ht.compile(lambda x: net(SECOND, x), SPECS)

    _, report = guard(graphs, SPECS, Numbers("int8"), compiled, SAMPLES, tolerance)
    (kept,) = report.kept
    damage, program = {}, ht.compile(lambda x: network(SECOND, x), SPECS)
    for weight in (FIRST, SECOND, LAST):
        others = frozenset(digest_of(w) for w in (FIRST, SECOND, LAST) if w is not weight)
        found = guard(graphs, SPECS, Numbers("int8", kept=others), lambda _: program, SAMPLES, {"relative": 1.0})[1]
        damage[digest_of(weight)] = found.everything["y"].relative
    assert tried == [{}, {max(damage, key=lambda key: damage[key]): "float16"}]
    assert kept.relative == pytest.approx(max(damage.values()), rel=1e-3)


def test_every_entry_with_samples_is_judged(tmp_path: Path) -> None:
    """The second one has the harmful weight: a sample of its own finds it; without, the report says that it was not judged."""

    def easy(x: Any) -> Any:
        return network(SECOND, x)

    def hard(x: Any, factor: Any) -> Any:
        return {"z": network(OUTLIERS, x)["y"] * factor}

    entries = {"easy": easy, "hard": hard}
    specs = {"easy": SPECS, "hard": {**SPECS, "factor": ht.Spec(())}}
    settings: dict[str, Any] = {"precision": "int8", "tolerance": {"relative": 0.03}}
    more = [{**sample, "factor": np.float32(2)} for sample in SAMPLES]
    report = ht.compile(entries, specs, **settings, calibrate=SAMPLES).accuracy
    assert report is not None
    assert report.unjudged == ("hard",) and set(report.outputs) == {"y"} and not report.kept
    assert "not judged, for want of samples: hard" in str(report)
    program = ht.compile(entries, specs, **settings, calibrate={"easy": SAMPLES, "hard": more})
    report = program.accuracy
    assert report is not None
    assert not report.unjudged and set(report.outputs) == {"y", "hard.z"} and report.samples == 6
    assert [kept.shape for kept in report.kept] == [(64, 64)]
    assert report.everything["hard.z"].relative > 0.1
    for sample in more:
        exact = 2 * reference(OUTLIERS, sample["x"])
        found = program.run("hard", sample)["z"].numpy()
        np.testing.assert_allclose(found, exact, atol=0.03 * np.abs(exact).max())
    same = {"easy": easy, "hard": lambda x: {"z": network(OUTLIERS, x)["y"]}}  # which takes the same inputs
    found = ht.bundle(same, tmp_path / "b", SPECS, targets=("wasm",), calibrate=SAMPLES, **settings)["accuracy"]
    assert set(found["outputs"]) == {"y", "hard.z"} and found["unjudged"] == [] and len(found["kept"]) == 1
    report = ht.compile(entries, specs, **settings).accuracy  # random numbers say too little of entries that train
    assert report is not None and report.synthetic and report.unjudged == ("hard",)


def test_samples_of_an_entry_have_to_fit_it() -> None:
    entries = {"a": lambda x: network(SECOND, x), "b": lambda x: {"z": x}}
    with pytest.raises(NameMismatch):
        ht.compile(entries, SPECS, precision="int8", calibrate={"a": SAMPLES, "b": [{"other": SAMPLES[0]["x"]}]})
    with pytest.raises(CompileError, match="entries and inputs of 'x' alike"):
        ht.compile({"x": entries["a"]}, SPECS, precision="int8", calibrate={"x": SAMPLES})
