"""ONNX's own operator tests on hither's targets: `make conformance`, or `python -m tests.conformance --only conv`.

Runs every test of onnx 1.17.0's backend suite in this process, compares as that suite does, and writes docs/conformance.md: the
share that passes on each device, and every failing or excluded test with its reason. It fails when a share is below FLOOR.
`tests/test_onnx_conformance.py` holds NumPy to a floor, `tests/test_conformance_compiled.py` the compiled targets.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import hither.formats
from hither.errors import HitherError, UnsupportedFeature
from hither.formats.onnx.proto import OTHER_DTYPES
from tests.wasm_session import in_node

REPORT = Path(__file__).parent.parent / "docs" / "conformance.md"
SECONDS = 60  # for one test
FLOOR = 0.92  # of the tests that are not excluded

# Dtypes of ONNX that a device does not have. A test that declares one, and is refused for it, is excluded there.
ABSENT: dict[str, dict[int, str]] = {"webgpu": {TensorProto.DOUBLE: "float64"}}

# Their expected numbers come from another random generator; shape and dtype are compared.
RANDOM = ("test_bernoulli*", "test_training_dropout*")

# Why numbers differ, where the test and not hither is to blame.
_AS_ONNXRUNTIME = "; ONNX Runtime 1.32 gives what hither gives"
EXPLAINED = {
    "test_qlinearmatmul_*int8_float*": "the expected numbers wrap around instead of saturating" + _AS_ONNXRUNTIME,
    "test_resize_downsample_scales_*_align_corners": "corners are aligned to an extent that is not whole" + _AS_ONNXRUNTIME,
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": "cells beyond the padding are counted"
    + _AS_ONNXRUNTIME,
    "test_maxunpool_export_with_output_shape": "indices are taken to be those of another output shape" + _AS_ONNXRUNTIME,
    "test_dft_inverse*": "the exact sum is zero; the expected numbers are rounding noise of 2e-7, hither's of 3e-15",
}

Inputs = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Runner = Callable[[Path, Sequence[Inputs]], list[Outputs]]


def run_model(device: str) -> Runner:
    """A runner that loads the model for a device and calls it."""

    def run(path: Path, calls: Sequence[Inputs]) -> list[Outputs]:
        model = hither.formats.load(path, device=device)
        return [{name: np.asarray(a) for name, a in model(call).items()} for call in calls]

    return run


def run_in_node(path: Path, calls: Sequence[Inputs]) -> list[Outputs]:
    """Run a model as WebAssembly in Node, whose engine is that of browsers."""
    with in_node():
        return run_model("wasm")(path, calls)


# What the report speaks of.
RUNNERS: dict[str, Runner] = {
    "numpy": run_model("numpy"),
    "cpu": run_model("cpu"),
    "wasm": run_in_node,
    "webgpu": run_model("webgpu"),
}


@dataclass(frozen=True)
class Result:
    """What became of one test: "pass", "fail" or "excluded", with the reason where it did not pass."""

    name: str
    status: str
    reason: str = ""


def exclusion(model: onnx.ModelProto, absent: Mapping[int, str] = OTHER_DTYPES) -> str | None:
    """Why a test is outside what hither aims at, if it is: its domain, or the kinds of values that are no tensors or of an
    `absent` dtype."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            return f"domain {node.domain}"
    kinds: set[str] = set()

    def see(value_type: Any) -> None:
        kind = value_type.WhichOneof("value")
        if kind == "tensor_type":
            see_dtype(value_type.tensor_type.elem_type)
        elif kind is not None:  # values inside a model need not say what they are
            kinds.add(kind.removesuffix("_type"))

    def see_dtype(data_type: int) -> None:
        if data_type in absent:
            kinds.add(absent[data_type])

    def see_graph(graph: onnx.GraphProto) -> None:
        for value in (*graph.input, *graph.output, *graph.value_info):
            see(value.type)
        for tensor in graph.initializer:
            see_dtype(tensor.data_type)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    see_graph(attribute.g)
                elif attribute.type == onnx.AttributeProto.TENSOR:
                    see_dtype(attribute.t.data_type)
                elif attribute.name in ("to", "output_dtype", "dtype"):
                    see_dtype(attribute.i)

    see_graph(model.graph)
    return ", ".join(sorted(kinds)) or None


def read_calls(folder: Path, model: onnx.ModelProto) -> Iterator[tuple[Inputs, list[np.ndarray]]]:
    """The data sets of a test: inputs by name and expected outputs in order."""
    for data in sorted(folder.glob("test_data_set_*")):

        def arrays(kind: str, data: Path = data) -> list[np.ndarray]:
            files = sorted(data.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
            return [numpy_helper.to_array(onnx.load_tensor(f)) for f in files]

        yield dict(zip((i.name for i in model.graph.input), arrays("input"))), arrays("output")


def compare(got: Outputs, expected: Sequence[np.ndarray], names: Sequence[str], random: bool) -> str | None:
    """What differs, if anything; the tolerances are those of ONNX's own runner."""
    for name, want in zip(names, expected, strict=True):
        if name not in got:
            return f"output {name!r} is missing"
        have = got[name]
        if have.dtype != want.dtype or have.shape != want.shape:
            return f"output {name!r} is {have.dtype}{list(have.shape)}, expected {want.dtype}{list(want.shape)}"
        if random:
            continue
        try:
            np.testing.assert_allclose(have, want, rtol=1e-3, atol=1e-7)
        except AssertionError as error:
            lines = [line.strip() for line in str(error).splitlines() if "Max" in line or "Mismatched" in line]
            return f"output {name!r} differs: {'; '.join(lines)}"
    return None


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_test(folder: Path, device: str) -> Result:
    """Run one test on one device."""
    name, runner = folder.name, RUNNERS[device]
    model = onnx.load(folder / "model.onnx")
    reason = exclusion(model)
    if reason is not None:
        return Result(name, "excluded", reason)
    random = any(fnmatch.fnmatch(name, pattern) for pattern in RANDOM)
    calls = list(read_calls(folder, model))
    try:
        with time_limit(SECONDS), np.errstate(all="ignore"):
            results = runner(folder / "model.onnx", [inputs for inputs, _ in calls])
    except Exception as error:  # each failure is a line of the report
        absent = exclusion(model, ABSENT.get(device, {}))
        if isinstance(error, UnsupportedFeature) and absent:
            return Result(name, "excluded", f"{device} has no {absent}")
        kind = "" if isinstance(error, HitherError) else f"{type(error).__name__}: "
        return Result(name, "fail", f"{kind}{error}".splitlines()[0][:300])
    names = [o.name for o in model.graph.output]
    for got, (_, expected) in zip(results, calls, strict=True):
        difference = compare(got, expected, names, random)
        if difference:
            why = [text for pattern, text in EXPLAINED.items() if fnmatch.fnmatch(name, pattern)]
            difference += f" ({why[0]})" if why else ""
            return Result(name, "fail", difference)
    return Result(name, "pass")


def run_all(folder: Path, device: str, only: str = "") -> list[Result]:
    """All tests whose name contains `only`."""
    folders = sorted(f for f in folder.iterdir() if (f / "model.onnx").exists() and only in f.name)
    return [run_test(f, device) for f in folders]


def share(results: Sequence[Result]) -> float:
    """The part of the tests inside the aim that pass."""
    counts = Counter(r.status for r in results)
    return counts["pass"] / max(1, counts["pass"] + counts["fail"])


def report(results: dict[str, list[Result]]) -> str:
    """The Markdown page."""
    lines = [
        "# Conformance",
        "",
        "Generated by `make conformance` from the operator tests of onnx 1.17.0, compared with the tolerances of its own",
        "runner. Excluded are tests with strings, sequences, optionals, bfloat16, float8 and 4-bit types, and the ml and",
        "training domains; on a device also those of dtypes that it does not have, which it refuses by name. Tests of random",
        f"operators ({', '.join(RANDOM)}) compare shapes and dtypes. `numpy` is the evaluator that the other",
        "devices are tested against, `cpu` native code, `wasm` plain-SIMD WebAssembly in Node, `webgpu` native WebGPU.",
        "",
        "| device | pass | fail | excluded | share |",
        "|---|---|---|---|---|",
    ]
    for device, found in results.items():
        counts = Counter(r.status for r in found)
        lines.append(f"| {device} | {counts['pass']} | {counts['fail']} | {counts['excluded']} | {share(found):.1%} |")
    lines += ["", "## Failing", "", *(_grouped(results, "fail") or ["None."])]
    lines += ["", "## Excluded", "", *(_grouped(results, "excluded") or ["None."])]
    return "\n".join(lines) + "\n"


def _grouped(results: dict[str, list[Result]], status: str) -> list[str]:
    """A line for each test of a status: the devices it has it on, unless that is all of them, and the reason on the first."""
    found: dict[str, dict[str, str]] = {}
    for device, of_device in results.items():
        for r in of_device:
            if r.status == status:
                found.setdefault(r.name, {})[device] = r.reason
    lines = []
    for name, reasons in sorted(found.items()):
        where = "" if len(reasons) == len(results) else f" on {', '.join(reasons)}"
        lines.append(f"- `{name}`{where}: {_plain(next(iter(reasons.values())))}")
    return lines


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", action="append", choices=sorted(RUNNERS), help="default: all; may be given repeatedly")
    parser.add_argument("--only", default="", help="run tests whose name contains this; writes no report")
    parser.add_argument("--folder", type=Path, help="the tests, if not to be fetched")
    args = parser.parse_args()
    if args.folder is None:
        from tests.models import node_tests

        args.folder = node_tests()
    results = {device: run_all(args.folder, device, args.only) for device in args.device or RUNNERS}
    for device, found in results.items():
        for r in found:
            if r.status == "fail" or args.only:
                print(f"{device} {r.status} {r.name} {r.reason}")
        counts = Counter(r.status for r in found)
        print(f"{device}: {counts['pass']} pass, {counts['fail']} fail, {counts['excluded']} excluded: {share(found):.2%}")
    if not args.only:
        if args.device is None:  # the report speaks of all of them
            REPORT.write_text(report(results))
            print(f"wrote {REPORT}")
        below = [device for device, found in results.items() if share(found) < FLOOR]
        if below:
            print(f"fewer than {FLOOR:.0%} pass on {', '.join(below)}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
