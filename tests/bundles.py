"""Small bundles for the loader's tests, and Node programs that load them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from hither.array import Array
from hither.spec import Spec
from hither.web.builds import bundle
from hither.web.manifest import parse, seal

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
