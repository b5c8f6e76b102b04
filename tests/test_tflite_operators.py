"""Every TensorFlow Lite operator computes what LiteRT computes: floats closely, integers to a quantisation step."""

from __future__ import annotations

import numpy as np
import pytest

from hither.formats.tflite import load_bytes

from . import tflite_cases_quantized  # noqa: F401  (adds its rows)
from .tflite_build import litert
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
