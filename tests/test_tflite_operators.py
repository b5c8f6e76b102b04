"""Every TensorFlow Lite operator computes what LiteRT computes: floats closely, integers to a quantisation step."""

from __future__ import annotations

import numpy as np
import pytest

from hither.formats.tflite import load_bytes

from . import tflite_cases_quantized  # noqa: F401  (adds its rows)
from .tflite_build import Operand, Quantized, litert, one_operator
from .tflite_cases import CASES, Case


def check(case: Case, device: str) -> None:
    """Run a case, call by call, and compare."""
    model = load_bytes(case.data, device=device)
    for expected, feeds in zip(litert(case.data, case.feeds, case.reference), case.feeds, strict=True):
        got = model(feeds)
        assert list(got) == list(expected)
        for name, want in expected.items():
            have = got[name].numpy()
            assert (have.shape, have.dtype) == (want.shape, want.dtype), name
            if want.dtype.kind == "f":
                np.testing.assert_allclose(have, want, rtol=0, atol=case.tolerance * max(float(np.abs(want).max(initial=0)), 1))
            else:
                np.testing.assert_allclose(have.astype(np.int64), want.astype(np.int64), rtol=0, atol=case.steps)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_agrees_with_litert(case: Case) -> None:
    check(case, "numpy")


def test_weights_of_8_bits_for_floats_compute_exactly() -> None:
    """Dynamic range: LiteRT rounds the activations to 8 bits as well; hither computes on the weights' real values."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 16)).astype(np.float32), rng.integers(-127, 128, (5, 16)).astype(np.int8)
    scales = [0.01, 0.02, 0.03, 0.04, 0.05]
    data, feeds = one_operator(
        "FULLY_CONNECTED", [x, Operand(w, Quantized(scales), known=True), None], table="FullyConnectedOptions"
    )  # fmt: skip
    want = x.astype(np.float64) @ (w * np.array(scales, np.float32)[:, None].astype(np.float64)).T
    np.testing.assert_allclose(load_bytes(data, device="cpu")(feeds)["y0"].numpy(), want, rtol=1e-5, atol=1e-5)
