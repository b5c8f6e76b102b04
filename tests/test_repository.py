"""The repository keeps its own rules: short files that say what they are, no registry hosts, no unsafe reading, typed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "hither"
MAX_LINES = 520
TEXT_SUFFIXES = {".py", ".js", ".ts", ".mjs", ".json", ".md", ".toml", ".yml", ".yaml", ".sh", ".html", ".cfg", ".txt", ""}


def tracked() -> list[Path]:
    """What git would carry: tracked files, and new ones that no ignore rule covers."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_files_are_short() -> None:
    """One idea per file. Generated documents and lock files are exempt."""
    long = {
        name(path): lines
        for path in tracked()
        if path.suffix in {".py", ".js", ".mjs", ".sh"} and (lines := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"files longer than {MAX_LINES} lines: {long}; split them by idea"


def test_source_files_say_what_they_are() -> None:
    silent = [name(path) for path in python_files() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent, f"no docstring on the first lines: {silent}"
    scripts = [path for path in tracked() if path.suffix in {".js", ".mjs"} and SOURCE in path.parents]
    silent = [name(path) for path in scripts if not path.read_text("utf-8").lstrip().startswith(("//", "/*"))]
    assert not silent, f"no comment on the first lines: {silent}"


def test_no_registry_hosts() -> None:
    """Packages come from whatever registry the user's client is configured for; naming a host would bypass it."""
    # Spelled apart, so that this file passes its own test.
    hosts = re.compile(
        r"|".join(
            re.escape(".".join(parts))
            for parts in (
                ("pypi", "org"),
                ("pythonhosted", "org"),
                ("registry", "npmjs"),
                ("npmjs", "com"),
                ("unpkg", "com"),
                ("jsdelivr", "net"),
                ("deb", "debian", "org"),
                ("huggingface", "co"),
            )
        )
    )
    named = [
        f"{name(path)}:{number}"
        for path in tracked()
        if path.suffix in TEXT_SUFFIXES
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if hosts.search(line)
    ]
    assert not named, f"registry hosts named in {named}"


def test_no_weights_committed() -> None:
    """Weights are fetched by package name; the repository holds text and small pictures."""
    large = {name(path): path.stat().st_size for path in tracked() if path.stat().st_size > 1 << 20}
    assert not large, f"files above 1 MiB: {large}"
    models = [name(path) for path in tracked() if path.suffix in {".onnx", ".tflite", ".h5", ".hdf5", ".safetensors", ".bin"}]
    assert not models, f"model files: {models}"


_UNSAFE_CALLS = {"eval", "exec", "__import__"}
_UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


@pytest.mark.parametrize("path", [p for p in python_files() if SOURCE in p.parents], ids=name)
def test_nothing_executes_its_input(path: Path) -> None:
    """A model file is untrusted: no pickle, no eval, no shell, anywhere in the package."""
    wrong = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _UNSAFE_CALLS:
            wrong.append(f"line {node.lineno}: calls {node.func.id}")
        elif isinstance(node, ast.Import):
            wrong += [f"line {node.lineno}: imports {a.name}" for a in node.names if a.name.split(".")[0] in _UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _UNSAFE_MODULES:
            wrong.append(f"line {node.lineno}: imports {node.module}")
        elif isinstance(node, ast.keyword):
            allowed = isinstance(node.value, ast.Constant) and node.value.value is False
            if node.arg in {"allow_pickle", "shell"} and not allowed:
                wrong.append(f"line {node.value.lineno}: passes {node.arg}")
    assert not wrong, f"{name(path)}: {wrong}"


def test_ruff_is_clean() -> None:
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, f"ruff {' '.join(command)}:\n{run.stdout[-4000:]}{run.stderr[-1000:]}"


def test_licence_and_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    extras = project["optional-dependencies"]
    assert {"gpu", "onnx", "keras", "tflite", "image", "audio", "serve", "all"} <= extras.keys()


def test_wheel_holds_everything_the_package_reads(tmp_path: Path) -> None:
    """py.typed, and every non-Python file that code reads at run time (the loader's JavaScript, the schema…)."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in tracked() if SOURCE in path.parents}
    assert "hither/py.typed" in wanted
    assert wanted <= held, f"missing from the wheel: {sorted(wanted - held)}"
