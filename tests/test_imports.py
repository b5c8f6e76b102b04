"""`import hither` stays light, and rooms import only the rooms above them: the two promises of DESIGN §3 about imports.

The first keeps start-up fast and every backend optional; the second keeps the compiler readable from top to bottom and
its printers free of one another.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hither"

OPTIONAL = (
    "llvmlite",
    "wgpu",
    "onnx",
    "onnxruntime",
    "h5py",
    "pyfive",
    "tflite",
    "flatbuffers",
    "safetensors",
    "PIL",
    "soundfile",
    "typer",
    "rich",
    "uvicorn",
    "starlette",
    "wasmtime",
    "tensorflow",
    "torch",
)

# Top to bottom. A room may import itself and what stands above it. What users hold (Array, Spec, dtypes, errors) is on
# top: array.py reaches execution through a hook, and a lowering is a function of the builder it is handed, so graph/
# needs no kernel code.
ROOMS = (
    "errors",
    "dtypes",
    "namespace",
    "array",
    "graph",
    "spec",
    "media",
    "ops",
    "transforms",
    "passes",
    "kernels",
    "targets",
    "runtime",
    "program",
    "model",
    "nn",
    "formats",
    "optim",
    "train",
    "data",
    "models",
    "web",
    "cli",
)
# `hither/__init__.py` and `__main__.py` are the doors to the house: they may name any room.
DOORS = ("__init__", "__main__")


def test_import_is_light() -> None:
    """Nothing optional is loaded, and hither costs at most 0.3 s of the processor's time over NumPy, the best of five runs:
    the limit is part of hither's promise, not a benchmark."""
    script = (
        "import sys, time, json\n"
        "import numpy\n"
        "start = time.process_time()\n"
        "import hither\n"
        "seconds = time.process_time() - start\n"
        f"print(json.dumps([seconds, [m for m in {OPTIONAL!r} if m in sys.modules]]))"
    )
    seconds = []
    for _ in range(5):
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
        took, loaded = json.loads(run.stdout)
        assert not loaded, f"import hither loaded {loaded}; import them where they are first used"
        seconds.append(took)
    assert min(seconds) <= 0.3, f"import hither took {min(seconds):.3f} s over numpy"


def test_imports_with_nothing_optional_installed(tmp_path: Path) -> None:
    """Every optional package raises ImportError here; hither and its rooms of compilation still import."""
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        "import sys\n"
        f"BLOCKED = {OPTIONAL!r}\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in BLOCKED:\n"
        "            raise ImportError(f'{name} is blocked by the test')\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCE.parent)])}
    run = subprocess.run([sys.executable, "-c", "import hither"], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def _files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _room(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def _module(path: Path) -> list[str]:
    """The dotted package that relative imports of this file start from."""
    return ["hither", *path.relative_to(SOURCE).parent.parts]


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of a room at any depth, those that only a type checker reads excepted."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        targets: list[list[str]] = []
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                package = _module(path)
                base = package[: len(package) - node.level + 1] + base
            # `from hither import x` and `from .. import x` name the room in the alias.
            targets = [[*base, alias.name] for alias in node.names] if base == ["hither"] else [base]
        for target in targets:
            if target[0] == "hither":
                yield node.lineno, target[1] if len(target) > 1 else "__init__"


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_rooms_import_only_rooms_above(path: Path) -> None:
    room = _room(path)
    if room in DOORS:
        return
    assert room in ROOMS, f"{room} is not a room: put it into ROOMS at its place, and into docs/architecture.md"
    place = ROOMS.index(room)
    wrong = []
    for line, target in _imports(path):
        if target in DOORS:
            wrong.append(f"line {line}: imports the package itself; import the room")
        elif target not in ROOMS:
            wrong.append(f"line {line}: imports hither.{target}, which is not a room")
        elif ROOMS.index(target) > place:
            wrong.append(f"line {line}: {room} imports {target}, which stands below it")
    assert not wrong, f"{path.relative_to(SOURCE)}:\n  " + "\n  ".join(wrong)


def test_targets_are_siblings() -> None:
    """The three printers do not import one another: what they share is kernel IR."""
    wrong = []
    for path in _files():
        parts = path.relative_to(SOURCE).parts
        if parts[0] == "targets" and len(parts) > 2:
            text = path.read_text(encoding="utf-8")
            for other in {"llvm", "wasm", "wgsl"} - {parts[1]}:
                if f"targets.{other}" in text or f"from ..{other}" in text:
                    wrong.append(f"{path.relative_to(SOURCE)} imports targets/{other}")
    assert not wrong, wrong
