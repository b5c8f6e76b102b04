"""Serves folders to the test browser with the headers of a deployment, counts what is asked for, and runs code in pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hither.web.server import application

PAGES: list[ExitStack] = []
"""For each open page of a test, what is to be done once it has closed."""

BLANK = "<!doctype html><title>test</title><link rel=icon href=data:,>"


@dataclass
class Site:
    """A running static server. `requests` are the paths asked for so far, in order."""

    origin: str
    requests: list[str] = field(default_factory=list)


class _Recording:
    """Notes the path of each request before it is answered; `shared` lets pages of other origins read the answer."""

    def __init__(self, app: ASGIApp, site: Site, shared: bool) -> None:
        self.app, self.site, self.shared = app, site, shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.site.requests.append(scope["path"])

        async def answer(message: Message) -> None:
            if self.shared and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Access-Control-Allow-Origin"] = "*"
            await send(message)

        await self.app(scope, receive, answer)


@contextmanager
def serving(folder: Path, isolated: bool = True, shared: bool = False) -> Iterator[Site]:
    """Serve `folder` on a free port of localhost; `isolated` says whether COOP and COEP headers are sent, `shared` whether
    pages of other origins may read what is served. Where a page is open the server outlives this block until the page closes: a
    page that still loads something must not find it gone."""
    site = Site("")
    app = _Recording(application(folder, isolated=isolated), site, shared)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the test server did not start")
        thread.join(0.02)
    site.origin = f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    try:
        yield site
    finally:
        if PAGES:
            PAGES[-1].callback(stop)
        else:
            stop()


def in_page(page: Any, site: Site, body: str, bundle: str = "affine") -> Any:
    """Run `body`, an async function's, in a page with `load` and `url` in scope; what it returns, through JSON."""
    if not page.url.startswith(site.origin):
        page.goto(f"{site.origin}/blank.html")
    return page.evaluate(
        f"""async () => {{
          const url = "/{bundle}/", {{ load }} = await import(url + "hither.js");
          const plain = (k, v) => typeof v === "bigint" ? Number(v) : ArrayBuffer.isView(v) ? Array.from(v) : v;
          try {{ return JSON.parse(JSON.stringify({{ value: await (async () => {{ {body} }})() ?? null }}, plain)); }}
          catch (e) {{ return {{ error: e.message, code: e.code ?? e.name }}; }}
        }}"""
    )
