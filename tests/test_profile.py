"""Profiles: what is counted is what was computed, on every device and through control flow; pages and commands show it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console
from typer.testing import CliRunner, Result

import hither as ht
from hither.cli import application
from hither.cli.bench import difference, measure
from hither.program import profile as profiles
from hither.program.compile import machine_for
from hither.program.profile import Profile, short
from hither.program.roofline import Roofline, better, roofline

SIZE = 32
ROOF = Roofline(
    "a machine", 1, {"float32": 1e11, "bytes": 4e11, "pairs": 2e11}, ((1 << 14, 2e11), (1 << 20, 1e11), (1 << 27, 1e10))
)


@pytest.fixture(autouse=True)
def known_roofline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test but one waits for a measurement."""
    monkeypatch.setattr(profiles, "roofline", lambda machine, threads, again=False: ROOF)


def product(x: Any, y: Any) -> Any:
    return {"z": ht.tanh(x @ y)}


def profiled(device: str = "cpu") -> Profile:
    spec, ones = ht.Spec((SIZE, SIZE), "float32"), np.ones((SIZE, SIZE), np.float32)
    return ht.compile(product, {"x": spec, "y": spec}, device=device).profile(x=ones, y=ones, repeats=3)


def hither(*arguments: object) -> Result:
    return CliRunner().invoke(application(), [str(a) for a in arguments])


# -- counting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "wasm", pytest.param("webgpu", marks=pytest.mark.gpu)])
def test_a_matmul_counts_what_it_computes(device: str) -> None:
    profile = profiled(device)
    array = 4 * SIZE * SIZE
    assert profile.flops == 2 * SIZE**3 + SIZE * SIZE  # a multiply-add is two, a tanh one
    final = profile.rows[-1]
    assert (final.flops, final.bytes_written, final.calls) == (profile.flops, array, 1)
    assert final.bytes_read == 2 * array and "matmul" in final.kernel
    assert all(row.seconds >= 0 for row in profile.rows) and profile.whole_seconds > 0 and profile.repeats == 3
    # a kernel that takes no longer than a call costs is said to take no time
    assert sum(map(profile.share, profile.rows)) == pytest.approx(1) or not any(row.seconds for row in profile.rows)


def test_a_convolution_counts_its_taps_and_not_its_padding() -> None:
    x, w = np.ones((1, 8, 10, 10), np.float32), np.random.default_rng(0).random((16, 8, 3, 3), np.float32)
    prog = ht.compile(lambda x: ht.conv(x, w, padding=((1, 1), (1, 1))), {"x": ht.Spec(x.shape, "float32")})
    assert prog.profile(x, repeats=1).flops == 2 * 16 * 10 * 10 * 8 * 3 * 3


def test_work_that_is_only_moved_has_no_flops_and_slices_read_what_they_take() -> None:
    prog = ht.compile(lambda x: x[10:20].T, {"x": ht.Spec((1000, 4), "float32")})
    (row,) = prog.profile(np.ones((1000, 4), np.float32), repeats=1).rows
    assert (row.flops, row.bytes_read, row.bytes_written) == (0, 160, 160)


def test_loops_count_every_trip_and_branches_only_the_one_taken() -> None:
    def function(x: Any, n: Any) -> Any:
        _, y = ht.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] @ s[1]), (np.int32(0), x))
        return ht.cond(n > 2, lambda y: y @ y @ y, lambda y: y + 1, y)

    prog = ht.compile(function, {"x": ht.Spec((8, 8), "float32"), "n": ht.Spec((), "int32")})
    x, one = np.eye(8, dtype=np.float32), 2 * 8**3
    for trips, after in ((4, 2 * one), (1, 64), (0, 64)):
        profile = prog.profile(x=x, n=np.int32(trips), repeats=2)
        arithmetic = sum(row.flops for row in profile.rows if row.bytes >= 8 * 8 * 4)
        assert arithmetic == trips * one + after
        inside = [row for row in profile.rows if row.depth == 1 and row.flops >= one * trips and "matmul" in row.kernel]
        assert [row.calls for row in inside] == [trips]


def test_profiling_leaves_the_program_as_it_was_and_refuses_what_a_run_refuses() -> None:
    prog = ht.compile(lambda x: x * 2, {"x": ht.Spec((3,), "float32")})
    x = np.arange(3, dtype=np.float32)
    prog.profile(x, repeats=2)
    np.testing.assert_array_equal(prog(x)["output"], x * 2)
    with pytest.raises(KeyError, match="train"):
        prog.profile(x, entry="train")
    with pytest.raises(ValueError, match="shape"):
        prog.profile(x=np.ones(4, np.float32))
    with pytest.raises(ValueError, match="at least one"):
        prog.profile(x, repeats=0)


# -- the roofline --------------------------------------------------------------------------------------------------------


def test_the_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    assert ROOF.least_seconds({"float32": 1e9}, 1000) == pytest.approx(1e-2)
    assert ROOF.least_seconds({"float32": 1e8, "bytes": 4e8}, 0) == pytest.approx(2e-3)
    assert ROOF.bound({"float32": 1e9}, 1000) == "compute"
    assert (
        ROOF.least_seconds({"bytes": 1}, 1 << 20) == pytest.approx((1 << 20) / 1e11)
        and ROOF.bound({"bytes": 1}, 1 << 20) == "memory"
    )
    assert ROOF.bandwidth(1) == 2e11 and ROOF.bandwidth(1 << 40) == 1e10
    assert 1e11 < ROOF.bandwidth(1 << 17) < 2e11
    other = Roofline(
        "a machine", 1, {"float32": 2e11, "bytes": 1e11, "pairs": 2e11}, ((1 << 14, 1e11), (1 << 20, 2e11), (1 << 27, 1e10))
    )
    assert better(ROOF, other) == Roofline(
        "a machine", 1, {"float32": 2e11, "bytes": 4e11, "pairs": 2e11}, ((1 << 14, 2e11), (1 << 20, 2e11), (1 << 27, 1e10))
    )


def test_a_roofline_that_a_launch_disproves_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Roofline("a machine", 1, dict.fromkeys(ROOF.peaks, 1.0), ((1 << 14, 1e12), (1 << 27, 1e12)))
    monkeypatch.setattr(profiles, "roofline", lambda machine, threads, again=False: ROOF if again else slow)
    prog = ht.compile(lambda x: x @ x, {"x": ht.Spec((512, 512), "float32")})
    assert prog.profile(np.ones((512, 512), np.float32), repeats=1).roofline is ROOF


def test_operations_are_those_of_the_kernel() -> None:
    """Bytes are multiplied four at a time where a float is, and Winograd's convolution of 3×3 multiplies 4 times less: held
    against FLOPs of floats, both would take less time than is possible."""
    rng = np.random.default_rng(0)
    w, filters = rng.standard_normal((64, 64)).astype(np.float32), rng.standard_normal((64, 64, 3, 3)).astype(np.float32)

    def slowest(function: Any, shape: tuple[int, ...], **precision: str) -> Any:
        prog = ht.compile(function, {"x": ht.Spec(shape, "float32")}, **precision)
        rows = prog.profile(rng.standard_normal(shape).astype(np.float32), repeats=1).rows
        return max(rows, key=lambda row: row.flops)

    floats = slowest(lambda x: x @ w, (64, 64))
    assert floats.operations == {"float32": pytest.approx(2 * 64**3)} and floats.arithmetic == "float32"
    small = slowest(lambda x: x @ w, (64, 64), precision="int8", activations="int8")
    if machine_for("cpu").dot:
        assert small.arithmetic == "bytes" and small.operations["bytes"] == pytest.approx(2 * 64**3, rel=0.2)
        assert small.least_seconds < 0.5 * floats.least_seconds
    # a fused block finds out as it runs which lines it has, so how often its loops go round is not known: it has them all
    wide, deep = rng.standard_normal((96, 32, 1, 1)).astype(np.float32), rng.standard_normal((96, 1, 3, 3)).astype(np.float32)

    def block(x: Any) -> Any:
        return ht.conv(ht.relu(ht.conv(x, wide)), deep, groups=96, padding=((1, 1), (1, 1)))

    fused = slowest(block, (1, 32, 56, 56))
    assert "block" in fused.kernel and sum(fused.operations.values()) == pytest.approx(fused.flops)
    direct = 2 * 64 * 64 * 9 * 32 * 32
    fewer = slowest(lambda x: ht.conv(x, filters, padding=((1, 1), (1, 1))), (1, 64, 32, 32))
    assert "winograd" in fewer.kernel and fewer.flops == direct
    assert direct / 4 <= fewer.operations["float32"] < 0.6 * direct


@pytest.mark.slow
def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path))
    first = roofline(machine_for("wasm"))
    assert min(first.peaks.values()) > 1e8 and all(rate > 1e7 for _, rate in first.bandwidths)
    assert roofline(machine_for("wasm")) == first


# -- showing -------------------------------------------------------------------------------------------------------------


def test_equal_kernels_are_added_up() -> None:
    def function(x: Any) -> Any:
        for _ in range(3):
            x = x @ x
        return x

    profile = ht.compile(function, {"x": ht.Spec((16, 16), "float32")}).profile(np.eye(16, dtype=np.float32), repeats=1)
    groups = {row.kernel: row for row in profile.grouped()}
    (matmul,) = (row for name, row in groups.items() if "matmul" in name)
    assert matmul.launches == 3 and matmul.flops == 3 * 2 * 16**3
    assert sum(row.seconds for row in groups.values()) == pytest.approx(profile.seconds)


def test_the_table_names_kernels_and_totals() -> None:
    text = str(profiled())
    assert "on cpu" in text and "matmul" in text and "100.0 %" in text and "100 GFLOP/s" in text
    assert max(map(len, text.splitlines())) <= 150
    assert "%" in text and not any(tag in text for tag in ("[green]", "[yellow]", "[red]", "[/]"))


def test_names_are_no_markup() -> None:
    """In a console of the caller's, too: what a file calls "/x[/b]" ended the report with an error about a closing tag."""
    profile = profiled()
    named = replace(profile, rows=tuple(replace(row, sources=("/x[/b][0]",)) for row in profile.rows))
    console = Console(width=150, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(named.table())
    assert "/x[/b][0]" in captured.get()


def test_sources_are_said_in_the_users_terms() -> None:
    assert short("Conv 'c1' of net.onnx") == "Conv c1" and short("a layer") == "a layer"


class Page(HTMLParser):
    """Elements that are open, and every address that a page would ask for."""

    VOID = ("meta", "input", "link", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wanted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.wanted += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(tmp_path: Path) -> None:
    profile = profiled()
    profile.to_html(tmp_path / "profile.html", title="a </script><b> & $DATA")
    text = (tmp_path / "profile.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open and not page.wanted and "<title>a &lt;/script&gt;&lt;b&gt; &amp; $DATA</title>" in text
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["title"] == "a </script><b> & $DATA" and data["peaks"]["float32"][0] == 1e11
    assert sum(row["flops"] for row in data["launches"]) == profile.flops
    assert [row["seconds"] for row in data["launches"]] == [row.seconds for row in profile.rows]


@pytest.mark.browser
def test_the_page_draws_itself(tmp_path: Path, chromium: Any) -> None:
    profile = profiled()
    profile.to_html(tmp_path / "profile.html")
    page = chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if not request.url.startswith("file:") else None)
    page.goto((tmp_path / "profile.html").as_uri())
    assert page.locator("tbody tr").count() == len(profile.rows) == page.locator("#timeline .box").count()
    page.click("text=distinct kernels")
    page.click("text=by efficiency")
    page.fill("#filter", "no such kernel")
    assert page.locator("tbody tr").count() == 0 and not errors
    page.close()


# -- hither bench --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = np.linspace(-1, 1, 64 * 32, dtype=np.float32).reshape(64, 32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"], name="project"), helper.make_node("Relu", ["z"], ["y"], name="clip")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])],
        [helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.tobytes(), raw=True)],
    )
    path = tmp_path_factory.mktemp("models") / "linear.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_bench_profiles_in_the_terms_of_the_model(linear: Path, tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    result = hither("bench", linear, "--shape", "x=4,64", "--profile", "--html", page, "--threads", "1", "--seconds", "0.1")
    assert result.exit_code == 0, result.output
    assert "MatMul project + Relu clip" in result.output and "of roofline" in result.output and str(page.name) in result.output
    assert "linear.onnx" in page.read_text(encoding="utf-8")
    refused = hither("bench", linear, "--html", page)
    assert refused.exit_code == 1 and "--profile" in str(refused.exception)
    numpy = hither("bench", linear, "--shape", "x=4,64", "--profile", "--device", "numpy", "--seconds", "0.1")
    assert numpy.exit_code == 1 and "no kernels" in str(numpy.exception)


def test_bench_compares_only_what_agrees(linear: Path) -> None:
    common = ("bench", linear, "--shape", "x=4,64", "--against", "onnxruntime", "--threads", "1", "--seconds", "0.1")
    result = hither(*common)
    assert result.exit_code == 0 and "1 thread" in result.output and "× as fast" in result.output, result.output
    refused = hither(*common, "--tolerance", "0")
    if refused.exit_code:  # equal to the last bit would be fine, too
        assert "onnxruntime by" in str(refused.exception)


def test_differences_are_relative_and_unequal_shapes_are_infinite() -> None:
    a = {"y": np.array([1.0, 100.0, np.nan])}
    assert difference({"y": np.array([2.0, 100.0, np.nan])}, a) == pytest.approx(0.01)
    assert difference({"y": np.ones(2)}, a) == difference({}, a) == difference({"y": np.array([1.0, 100.0, 0.0])}, a) == np.inf


def test_contestants_take_turns() -> None:
    order: list[str] = []
    times = measure({name: (lambda name=name: order.append(name)) for name in "ab"}, 0.05)
    changes = sum(x != y for x, y in pairwise(order))
    assert all(len(found) >= 3 for found in times.values()) and changes >= 2
