"""The development server: serves a bundle as a good static host would.

It sends the headers without which a browser will not share memory between threads (COOP, COEP, CORP), the MIME types that
module scripts and streaming WebAssembly need, and answers range requests. Browsers offer WebGPU, cameras and service workers
only on https or localhost: `--https` makes a certificate of its own for other devices on the network.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import HitherError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MEDIA_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".ts": "text/plain",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".wgsl": "text/plain",
    ".bin": "application/octet-stream",
    ".html": "text/html",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
}
ISOLATION = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "cross-origin",
}

DEPTH, PAGES = 3, 20  # of folders in which pages are looked for, and how many are announced
AT_ONCE = 1 << 20  # bytes read in one go: each read of starlette's is a trip to another thread, longer than the reading


class ServeError(HitherError, RuntimeError):
    """A folder cannot be served; the message says what to do."""


def application(folder: str | Path, isolated: bool = True) -> ASGIApp:
    """An ASGI application serving the files of `folder`.

    Args:
        folder: what to serve; "/" is its index.html.
        isolated: send the COOP and COEP headers that allow threads.

    Raises:
        ServeError: if `folder` is no folder, or starlette is not installed.
    """
    if not Path(folder).is_dir():
        raise ServeError(f"{folder} is not a folder; make a bundle first: hither bundle MODEL -o {folder}")
    try:
        from starlette.applications import Starlette
        from starlette.responses import FileResponse, Response
        from starlette.routing import Mount
        from starlette.staticfiles import StaticFiles
    except ImportError as error:
        raise ServeError("the server needs starlette and uvicorn: pip install 'hither[serve]'") from error

    class Files(StaticFiles):
        """Static files with our headers, and MIME types that do not depend on the system's tables."""

        def file_response(self, full_path: Any, stat_result: os.stat_result, scope: Any, status_code: int = 200) -> Any:
            response = super().file_response(full_path, stat_result, scope, status_code)
            kind = MEDIA_TYPES.get(Path(full_path).suffix)
            if kind is not None:
                text = kind.startswith("text/") or kind == "application/json"
                response.headers["content-type"] = f"{kind}; charset=utf-8" if text else kind
            response.headers["cache-control"] = "no-cache"
            response.headers["x-content-type-options"] = "nosniff"
            response.headers.update(ISOLATION if isolated else {})
            if isinstance(response, FileResponse):
                response.chunk_size = AT_ONCE
                ranged = any(name == b"range" for name, _ in scope["headers"])
                if scope["method"] == "GET" and not ranged and stat_result.st_size <= AT_ONCE:
                    whole = Response(Path(full_path).read_bytes(), status_code)
                    response.headers["content-length"] = whole.headers["content-length"]
                    whole.raw_headers = response.raw_headers
                    return whole
            return response

    return Starlette(routes=[Mount("/", Files(directory=folder, html=True))])


def serve(
    folder: str | Path,
    port: int = 8000,
    host: str | None = None,
    https: bool = False,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve `folder` until interrupted.

    Args:
        port: 0 takes a free one.
        host: the address to listen on: localhost; with `https`, by default, the whole network.
        https: use a self-signed certificate, so that phones on the network get WebGPU, camera and offline use.
        announce: is told each address, of pages below the folder where it is none itself.

    Raises:
        ServeError: the folder is missing, the port is taken, or a package is missing.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ServeError("the server needs starlette and uvicorn: pip install 'hither[serve]'") from error
    app = application(folder)
    host = host or ("0.0.0.0" if https else "127.0.0.1")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    listening.listen(128)  # from here on browsers may come: the address is announced before the server answers
    port = listening.getsockname()[1]
    with listening, tempfile.TemporaryDirectory() as private:
        options: dict[str, Any] = {}
        if https:
            key, certificate = self_signed([_lan_address(), "127.0.0.1"])
            names = {"ssl_keyfile": key, "ssl_certfile": certificate}
            for option, data in names.items():
                path = Path(private, option)
                path.write_bytes(data)
                options[option] = str(path)
        scheme = "https" if https else "http"
        paths = pages_in(folder)
        for page in paths:
            announce(f"{scheme}://localhost:{port}/{page}")
        if host == "0.0.0.0":
            announce(f"{scheme}://{_lan_address()}:{port}/{paths[0]}  (other devices; accept the certificate warning)")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", **options)).run(sockets=[listening])


def pages_in(folder: str | Path) -> list[str]:
    """The paths to announce: "" where the folder has an index.html, else those of folders below that have one, the nearest
    first, at most PAGES of them and DEPTH deep. "" alone where there are none: other files are served, too."""
    root = Path(folder)
    if (root / "index.html").is_file():
        return [""]
    found: list[str] = []
    for depth in range(1, DEPTH + 1):
        pages = islice(root.glob("/".join(["*"] * depth + ["index.html"])), PAGES - len(found))
        found += sorted(quote(page.parent.relative_to(root).as_posix()) + "/" for page in pages)
    return found or [""]


def self_signed(addresses: list[str]) -> tuple[bytes, bytes]:
    """A private key and a certificate for localhost and these IP addresses, PEM, valid for 30 days.

    Raises:
        ServeError: if the package `cryptography` is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise ServeError("--https needs the package cryptography: pip install cryptography") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hither serve")])
    now = datetime.now(UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName("localhost")]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


def _lan_address() -> str:
    """This machine's address on its network; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
