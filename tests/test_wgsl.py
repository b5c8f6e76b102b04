"""The WGSL target and the native WebGPU runtime: what is printed computes what the kernel interpreter computes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.steps import Launch, Ref
from hither.runtime import webgpu
from hither.targets.wgsl.bindings import plan_bindings
from hither.targets.wgsl.plan import Limits
from hither.targets.wgsl.printer import print_variants

from . import wgsl_cases as cases
from .kernel_interpreter import run_code
from .tint import messages, open_page
from .tint import run as run_in_page
from .wgsl_cases import MACHINE

ALL = {**cases.all_cases(), "halves": cases.halves()}
SMALL = Limits(storage_buffers=16, binding_bytes=1024, buffer_bytes=4096)


def expected(case: cases.Case) -> dict[str, np.ndarray]:
    """What the interpreter leaves where the case's results lie."""
    regions = {space: region.copy() for space, region in case.regions.items()}
    with np.errstate(over="ignore"):  # a float16 constant may be infinite
        run_code(case.code, "main", regions)
    return {
        name: regions[ref.space][ref.offset : ref.offset + ref.nbytes].view(dtype.numpy).copy()
        for name, (ref, dtype) in case.results.items()
    }


def agree(case: cases.Case, got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """Integers equal, floats within the case's tolerance; says which operation differs."""
    for name, right in want.items():
        found = got[name]
        close = (
            np.isclose(found, right, rtol=case.rtol, atol=1e-7, equal_nan=True) if right.dtype.kind == "f" else found == right
        )
        wrong = np.flatnonzero(~close)
        if wrong.size:
            per_row = right.size // len(case.names) if case.names else right.size
            where = [
                f"{case.names[i // per_row] if case.names else ''}[{i % per_row}]: {found[i]} != {right[i]}" for i in wrong[:12]
            ]
            pytest.fail(f"{name}: {wrong.size} of {right.size} differ\n  " + "\n  ".join(where))


def executable(case: cases.Case, limits: Limits | None = None) -> webgpu.WebGpuExecutable:
    """The case on the GPU, its state, arena and io filled."""
    made = webgpu.WebGpuExecutable(case.code, case.machine, case.regions.get("weights"), limits)
    for space, region in case.regions.items():
        if space != "weights":
            made.write(Ref(space, 0, region.size), region.view(np.uint32))
    return made


def run(case: cases.Case, limits: Limits | None = None) -> dict[str, np.ndarray]:
    made = executable(case, limits)
    made.run("main")
    found = made.read([(ref, dtype, (ref.nbytes // dtype.itemsize,)) for ref, dtype in case.results.values()])
    return dict(zip(case.results, found))


@pytest.mark.parametrize("name", ALL)
def test_computes_what_the_interpreter_computes(adapter: Any, name: str) -> None:
    agree(ALL[name], run(ALL[name]), expected(ALL[name]))


def test_reductions_across_subgroups(adapter: Any, page: Any) -> None:
    machine = replace(MACHINE, subgroups=True)
    case = cases.reduced(machine)
    plan = plan_bindings(case.code, machine)
    texts = print_variants(plan, machine)
    assert all("subgroupAdd" in text for text in texts)
    if webgpu.webgpu_machine().subgroups:
        agree(case, run(case), expected(case))
    open_page(page)
    assert messages(page, texts, ["subgroups"]) == [[]]
    after = run_in_page(page, plan, texts, "main", case.regions, ["subgroups"])
    agree(
        case,
        {n: after[r.space][r.offset : r.offset + r.nbytes].view(d.numpy) for n, (r, d) in case.results.items()},
        expected(case),
    )


@pytest.mark.parametrize("packed_dot", [True, False])
def test_products_of_bytes(adapter: Any, page: Any, packed_dot: bool) -> None:
    """By WGSL's own operation and without it, natively where there is one, and in Chromium: not a bit may differ."""
    machine = replace(MACHINE, dot="signed", packed_dot=packed_dot)
    case = cases.dots(machine)
    plan = plan_bindings(case.code, machine)
    texts = print_variants(plan, machine)
    assert all(("dot4I8Packed" in text) == packed_dot for text in texts)
    if not packed_dot or webgpu.webgpu_machine().packed_dot:
        agree(case, run(case), expected(case))
    open_page(page)
    assert messages(page, texts) == [[]]
    after = run_in_page(page, plan, texts, "main", case.regions)
    agree(
        case,
        {n: after[r.space][r.offset : r.offset + r.nbytes].view(d.numpy) for n, (r, d) in case.results.items()},
        expected(case),
    )


def test_arrays_above_the_limits_are_bound_in_pieces(adapter: Any) -> None:
    case = cases.oversized()
    agree(case, run(case, SMALL), expected(case))


def test_whole_vectors_are_bound_as_vectors(adapter: Any) -> None:
    case = ALL["quads"]
    (variant,) = plan_bindings(case.code, MACHINE).variants
    assert [g.width for g in variant.groups] == [4, 4, 1, 4]  # z is read from odd places
    together = Launch(0, tuple(Ref("arena", 0, 384) for _ in range(4)))
    arena = replace(case.code, entries={"main": (together,)}, sizes={"arena": 512})
    assert [g.width for g in plan_bindings(arena, MACHINE).variants[0].groups] == [1]  # a shared binding suits all


def test_no_name_hides_a_type() -> None:
    k = cases.Builder(MACHINE)
    out = k.buffer("out", dt.int32, 40, "write")
    for _ in range(40):  # names are numbered: one of them once was i32
        with k.loop(0, 40) as loop:
            k.store(out, loop.index, k.convert(loop.index, dt.int32))
    case = cases.of_kernel(k.finish("names"), [])
    (text,) = print_variants(plan_bindings(case.code, MACHINE), MACHINE)
    assert not {"i32", "u32", "f32", "f16", "bool"} & set(re.findall(r"(?:let|var|fn) (\w+)", text))


# -- browsers ------------------------------------------------------------------------------------------------------------


def test_tint_compiles_every_text_without_a_message(page: Any) -> None:
    open_page(page)
    texts = {}
    for name, case in ALL.items():
        if case.machine.float16:  # Chromium's software adapter has no shader-f16
            continue
        for i, text in enumerate(print_variants(plan_bindings(case.code, case.machine), case.machine)):
            texts[f"{name} {i}"] = text
    case = cases.oversized()
    for i, text in enumerate(print_variants(plan_bindings(case.code, case.machine, SMALL), case.machine)):
        texts[f"oversized {i}"] = text
    found = {n: m for n, m in zip(texts, messages(page, list(texts.values()))) if m}
    assert not found


@pytest.mark.parametrize(
    "name", ["float32", "float32 to int", "int8", "vectors", "quads", "workgroup", "half pairs", "aliased", "crowded"]
)
def test_runs_in_the_browser(page: Any, name: str) -> None:
    case = ALL[name]
    plan = plan_bindings(case.code, case.machine)
    after = run_in_page(open_page(page), plan, print_variants(plan, case.machine), "main", case.regions)
    got = {n: after[r.space][r.offset : r.offset + r.nbytes].view(d.numpy) for n, (r, d) in case.results.items()}
    agree(case, got, expected(case))
