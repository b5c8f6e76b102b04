"""Names and signatures of the array API standard 2024.12. If these fail, code written for it does not run on hither."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import hither as ht

from .strict import xp

OWN = {"ArrayAPIStrictFlags", "Device", "ModuleType", "get_array_api_strict_flags", "set_array_api_strict_flags",
       "reset_array_api_strict_flags", "linalg", "fft"}  # fmt: skip
LATER = {"broadcast_shapes", "isin"}  # of 2025.12: hither has them, with arguments of its own
NAMES = sorted(n for n in xp.__all__ if not n.startswith("__") and n not in OWN | LATER)
FUNCTIONS = [n for n in NAMES if inspect.isfunction(getattr(xp, n))]
METHODS = sorted(n for n in dir(xp.asarray(1.0)) if not n.startswith("_") or (n.startswith("__") and n not in dir(object)))


@pytest.mark.parametrize("name", NAMES)
def test_the_namespace_has_the_name(name: str) -> None:
    assert name in ht.__all__ and hasattr(ht, name) and name in dir(ht)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_the_standards_arguments(name: str) -> None:
    check_arguments(name, getattr(xp, name), getattr(ht, name))


def check_arguments(name: str, standard: Any, own: Any) -> None:
    """Same order, kinds and defaults; hither's functions may take more keywords, and lists where the standard has tuples."""
    theirs = inspect.signature(standard).parameters
    mine = inspect.signature(own).parameters
    ordered = [p for p in mine.values() if p.kind is not p.KEYWORD_ONLY]
    for place, (key, wanted) in enumerate(theirs.items()):
        if wanted.kind is wanted.VAR_POSITIONAL:
            assert ordered[place].kind is wanted.kind
        elif wanted.kind is wanted.KEYWORD_ONLY:
            assert key in mine, f"{name} has no keyword {key}"
            assert mine[key].kind is not mine[key].POSITIONAL_ONLY
        else:
            got = ordered[place]
            assert got.kind in (wanted.kind, got.POSITIONAL_OR_KEYWORD), f"{name}: {got} stands for {wanted}"
            assert wanted.kind is wanted.POSITIONAL_ONLY or got.name == key
        if wanted.default is not wanted.empty and wanted.kind is not wanted.VAR_POSITIONAL and key in mine:
            assert mine[key].default is not mine[key].empty, f"{name} has no default of {key}"
            if not repr(wanted.default).startswith(("<", "Device", "array_api")):
                assert mine[key].default == wanted.default or {mine[key].default, wanted.default} <= {0, None, True}
    for key, given in mine.items():  # what hither has beyond the standard must not be needed
        assert key in theirs or given.default is not given.empty or given.kind in (given.VAR_POSITIONAL, given.POSITIONAL_ONLY)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("__buffer__", "__slots__")])
def test_arrays_have_the_method(name: str) -> None:
    x: Any = ht.ones((1, 1))
    if name.startswith("__i") and name not in ("__int__", "__invert__", "__index__", "__iter__"):
        assert hasattr(x, name.replace("__i", "__", 1))  # x += y is x = x + y
    else:
        assert hasattr(x, name)


def test_the_namespace_has_no_strays() -> None:
    """Modules and helpers that dir() would offer as if they were part of the library."""
    import types

    public = [n for n in dir(ht) if not n.startswith("_")]
    assert {n for n in public if isinstance(getattr(ht, n), types.ModuleType)} <= {
        "random",
        "nn",
        "models",
        "optim",
        "train",
        "linalg",
        "fft",
        "data",
        "signal",
    }
    assert not {"Any", "annotations", "import_module", "time", "truth", "graph", "array", "ops"} & set(public)
    assert set(public) <= set(ht.__all__)


def test_arrays_name_their_namespace() -> None:
    x = ht.ones((2,))
    assert x.__array_namespace__() is ht and x.__array_namespace__(api_version="2024.12") is ht
    assert ht.__array_api_version__ == "2024.12"
    with pytest.raises(ValueError, match="2024"):
        x.__array_namespace__(api_version="2030.12")


def test_the_namespace_describes_itself() -> None:
    mine, theirs = ht.__array_namespace_info__(), xp.__array_namespace_info__()
    assert set(mine.capabilities()) == set(theirs.capabilities())
    assert mine.default_device() in mine.devices()
    assert {k: v.name for k, v in mine.default_dtypes().items()} == {
        "real floating": "float32", "complex floating": "complex64", "integral": "int32", "indexing": "int64",
    }  # fmt: skip
    for kind in (None, "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating",
                 "numeric", ("bool", "integral")):  # fmt: skip
        assert set(mine.dtypes(kind=kind)) == set(theirs.dtypes(kind=kind))
        assert all(getattr(ht, n) is d for n, d in mine.dtypes(kind=kind, device="cpu").items())
    with pytest.raises(ValueError, match="kind"):
        mine.dtypes(kind="real")
    with pytest.raises(ValueError, match="cpu"):
        mine.default_dtypes(device="webgpu")
