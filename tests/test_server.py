"""The development server sends what threads, module scripts and resumed downloads need."""

from __future__ import annotations

import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from hither.web.server import ServeError, application, pages_in, self_signed, serve

from .browser import serving


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "hither.js").write_text("export {}")
    (folder / "kernels.wasm").write_bytes(b"\0asm\1\0\0\0")
    (folder / "weights-0.bin").write_bytes(bytes(range(100)))
    with serving(folder) as site:
        yield site.origin


def get(url: str, **headers: str) -> tuple[int, Message, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return response.status, response.headers, response.read()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/hither.js", "text/javascript"), ("/kernels.wasm", "application/wasm"),
     ("/weights-0.bin", "application/octet-stream")],
)  # fmt: skip
def test_types_and_isolation(origin: str, path: str, kind: str) -> None:
    status, headers, _ = get(origin + path)
    assert status == 200 and headers.get_content_type() == kind
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"


def test_ranges(origin: str) -> None:
    status, headers, body = get(origin + "/weights-0.bin", Range="bytes=90-")
    assert status == 206 and headers["content-range"] == "bytes 90-99/100" and body == bytes(range(90, 100))


@pytest.mark.parametrize("path", ["/missing.js", "/../pyproject.toml", "/%2e%2e/pyproject.toml"])
def test_nothing_else_is_served(origin: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(origin + path)
    assert caught.value.code == 404


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="hither bundle MODEL -o"):
        application(tmp_path / "none")


def test_a_taken_port_says_what_to_do(origin: str, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="choose another --port"):
        serve(tmp_path, port=int(origin.rsplit(":", 1)[1]))


def test_self_signed_certificates_name_every_address() -> None:
    if importlib.util.find_spec("cryptography") is None:
        with pytest.raises(ServeError, match="pip install cryptography"):
            self_signed(["127.0.0.1"])
        return
    from cryptography import x509

    key, certificate = self_signed(["192.168.1.7", "127.0.0.1"])
    assert b"PRIVATE KEY" in key
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.168.1.7", "127.0.0.1"]


def test_addresses_that_are_announced_answer(tmp_path: Path) -> None:
    """A folder of bundles has no page itself: its address would be a 404, so those of the pages below are announced."""
    assert pages_in(tmp_path) == [""], "files are served all the same"
    for name in ("site/face/fast", "site/a voice", "too/deep/by/one"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "index.html").write_text("<!doctype html>")
    paths = pages_in(tmp_path)
    assert paths == ["site/a%20voice/", "site/face/fast/"]
    with serving(tmp_path) as site:
        assert [get(f"{site.origin}/{path}")[0] for path in paths] == [200, 200]
    (tmp_path / "index.html").write_text("<!doctype html>")
    assert pages_in(tmp_path) == [""]
