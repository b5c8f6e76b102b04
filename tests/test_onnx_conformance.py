"""ONNX's own operator tests on the NumPy evaluator: their share may not fall. `make conformance` runs every device."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .conformance import Result, compare, exclusion, report, run_all, share
from .models import node_tests
from .onnx_build import build, helper, info

FLOOR = 0.98


def test_share_that_passes() -> None:
    """A failure is a refusal that says why, or different numbers; never an exception from inside."""
    results = run_all(node_tests(), "numpy")
    failing = [r for r in results if r.status == "fail"]
    assert len(results) > 1200
    assert share(results) >= FLOOR, "\n".join(f"{r.name}: {r.reason}" for r in failing)
    assert not [r for r in failing if r.reason.split(":")[0].endswith("Error")]


def test_exclusions_are_by_type_and_domain() -> None:
    def model(dtype: int) -> onnx.ModelProto:
        found = onnx.ModelProto.FromString(build([helper.make_node("Identity", ["x"], ["y"])], [info("x")], ["y"]))
        found.graph.input[0].type.tensor_type.elem_type = dtype
        found.graph.output[0].type.tensor_type.elem_type = dtype
        return found

    assert exclusion(model(TensorProto.FLOAT)) is None
    assert exclusion(model(TensorProto.BFLOAT16)) == "bfloat16"
    other = model(TensorProto.FLOAT)
    other.graph.node[0].domain = "ai.onnx.ml"
    assert exclusion(other) == "domain ai.onnx.ml"


def test_differences_are_seen() -> None:
    import numpy as np

    one = np.ones(3, np.float32)
    assert compare({"y": one}, [one], ["y"], random=False) is None
    assert "expected float32[3]" in str(compare({"y": one.astype(np.float64)}, [one], ["y"], random=False))
    assert "differs" in str(compare({"y": one * 2}, [one], ["y"], random=False))
    assert compare({"y": one * 2}, [one], ["y"], random=True) is None


def test_report_lists_failures_and_exclusions() -> None:
    found = [Result("test_a", "pass"), Result("test_b", "fail", "it | differs"), Result("test_c", "excluded", "string")]
    text = report({"numpy": found})
    assert "| numpy | 1 | 1 | 1 | 50.0% |" in text
    assert "- `test_b`: it \\| differs" in text
    assert "- `test_c`: string" in text
