"""Small bundles for the loader's tests, and Node programs that load them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from hither.array import Array
from hither.spec import Spec
from hither.web.builds import MACHINES, bundle
from hither.web.bundle import encode_steps, write_bundle
from hither.web.manifest import (
    BundleSpec,
    EntryPlan,
    EntrySignature,
    Layout,
    Place,
    Placement,
    TensorSpec,
    Variant,
    WasmBuild,
    WebGpuBuild,
    WeightTensor,
    parse,
    seal,
)

WEIGHT = (np.arange(12, dtype=np.float32).reshape(3, 4) - 5) / 4
TABLE = np.random.default_rng(0).normal(size=(700, 700)).astype(np.float32)  # 1.96 MB: two segments


def affine(x: Any, n: Any) -> dict[str, Any]:
    """A matmul, and integers that browsers' GPUs must carry in 32 bits."""
    return {"y": x @ Array(WEIGHT) + 1.5, "n": n * 2}


def affine_reference(x: np.ndarray) -> np.ndarray:
    """What `affine` gives for x, by NumPy alone."""
    return x @ WEIGHT + np.float32(1.5)


def make_affine(folder: Path, **options: Any) -> dict[str, Any]:
    """Two variants over one weight."""
    specs = [{"x": Spec((rows, 3), "float32"), "n": Spec((2,), "int64")} for rows in (2, 5)]
    return bundle(affine, folder, specs, **options)


def make_large(folder: Path) -> dict[str, Any]:
    """One input, and weights of two segments."""
    return bundle(lambda x: {"y": x @ Array(TABLE)}, folder, {"x": Spec((1, 700), "float32")})


def make_picture(folder: Path) -> dict[str, Any]:
    """A picture in; itself, as numbers, out."""
    spec = Spec((1, 3, 4, 6), "float32", media="image", layout="NCHW", scale=1 / 255, mean=[0.5, 0.25, 0], std=[0.5, 1, 2])
    return bundle(lambda image: {"pixels": image * 1.0}, folder, {"image": spec})


def make_line(folder: Path) -> dict[str, Any]:
    """A Trainer of one dense layer with its bias, for 4 rows and for 1."""
    import hither as ht

    ht.nn.seed(2)
    net = ht.nn.Sequential([ht.nn.Input((2,)), ht.nn.Dense(1, name="line")])
    choices = [{"x": Spec((n, 2)), "y": Spec((n, 1))} for n in (4, 1)]
    return bundle(ht.Trainer(net, "mse", ht.optim.SGD(0.1), device="cpu"), folder, choices, targets=("wasm",))


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change a manifest and give it the digest that fits, as another writer could have written it."""
    path = folder / "manifest.json"
    manifest = parse(path.read_bytes())
    path.write_bytes(seal({**manifest, **changes}))


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)


def in_node(node: str, folder: Path, body: str, *flags: str, **values: Any) -> Any:
    """Run `body`, an async function's, with `load`, `folder` and `values` in scope; what it returns, through JSON."""
    names = "".join(f"const {k} = {json.dumps(v)};\n" for k, v in values.items())
    program = (
        f'import {{ load, HitherError }} from "{(folder / "hither.js").as_uri()}";\n'
        f"const folder = {json.dumps(str(folder))};\n{names}"
        f"const main = async () => {{ {body} }};\n"
        "const plain = (k, v) => typeof v === 'bigint' ? Number(v) : ArrayBuffer.isView(v) ? Array.from(v) : v;\n"
        "try { console.log(JSON.stringify({ value: await main() ?? null }, plain)); }\n"
        "catch (e) { console.log(JSON.stringify({ error: e.message, code: e.code ?? e.name })); }\n"
    )
    command = [node, *flags, "--input-type=module", "--eval", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode or not done.stdout.strip():
        raise AssertionError(f"node failed ({done.returncode}):\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def make_counter(folder: Path) -> dict[str, Any]:
    """An entry that adds its input, and one, to three numbers of state, which start at 10; made by hand."""
    from hither import dtypes as dt
    from hither.kernels.builder import Builder
    from hither.kernels.steps import Code, Launch, Ref
    from hither.targets.wasm.printer import print_module
    from hither.targets.wgsl.bindings import plan_bindings
    from hither.targets.wgsl.printer import print_module as join_wgsl
    from hither.targets.wgsl.printer import print_variants

    builds: list[WasmBuild | WebGpuBuild] = []
    places = {"inputs": (Place(0, "float32"),), "outputs": (Place(256, "float32"),)}
    layout = Layout(0, 256, (Placement(0, "state", 0, "float32"),))
    for target in ("webgpu", "wasm"):
        machine = MACHINES[target][-1]
        k = Builder(machine)
        x, total = k.buffer("x", dt.float32, 3), k.buffer("total", dt.float32, 3, "read_write")
        out = k.buffer("out", dt.float32, 3, "write")
        with k.loop(0, 3, kind="parallel") as loop:
            value = k.load(x, loop.index) + k.load(total, loop.index) + 1  # so that even a run on zeros is seen
            k.store(total, loop.index, value)
            k.store(out, loop.index, value)
        refs = (Ref("io", 0, 12), Ref("state", 0, 12), Ref("io", 256, 12))
        sizes = {"weights": 0, "state": 256, "arena": 0, "io": 512}
        code = Code([k.finish("add")], {"add": (Launch(0, refs),)}, sizes)
        if target == "wasm":
            made = print_module(code, machine, relaxed=False, worth_sharing=1)
            builds.append(
                WasmBuild(
                    layout, made.bytes, made.shared_flag_offset, 0, 512, made.scratch_bytes, made.sync_bytes,
                    ({"add": EntryPlan(**places, call="add", rehearsable=True)},),
                )
            )  # fmt: skip
        else:
            plan = plan_bindings(code, machine)
            access = tuple("".join("r" if a == "read" else "w" for a in v.access()) for v in plan.variants)
            buffers = tuple((b.space, b.offset, b.size) for b in plan.buffers)
            entry = EntryPlan(**places, steps=encode_steps(plan.entries["add"]))
            builds.append(
                WebGpuBuild(layout, join_wgsl(print_variants(plan, machine)), access, buffers, 0, 512, ({"add": entry},))
            )
    signature = EntrySignature((TensorSpec("x", (3,), "float32"),), (TensorSpec("total", (3,), "float32"),), updates_state=True)
    tensors = (WeightTensor("total", np.full(3, 10, np.float32)),)
    return write_bundle(folder, BundleSpec("counter", (Variant("3", {"add": signature}),), "add", tensors, tuple(builds)))


# JavaScript: one step of the counter of make_counter, and its total.
COUNT = "async (p, v, o) => (await p.run('add', { x: [v, v, v] }, o)).total.data[0]"
