"""`hither serve`: a folder as a good static host would serve it."""

from __future__ import annotations

from typing import Annotated

import typer

NAME = "serve"


def serve_command(
    directory: Annotated[str, typer.Argument(help="A bundle, or any folder of static files.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    https: Annotated[
        bool, typer.Option("--https", help="With a certificate of its own, for other devices on the network.")
    ] = False,
) -> None:
    """Serve a folder with the headers and MIME types that threads, WebAssembly and WebGPU need."""
    from ..web.server import serve
    from . import report

    serve(directory, port, https=https, announce=lambda line: report.out.print(line))
