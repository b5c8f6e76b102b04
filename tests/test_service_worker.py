"""The opt-in service worker: what it keeps for offline use, and that keeping never costs an answer that has come.

It runs in Node, between a network and a cache that the test makes; tests/test_loader_pages.py has it in a browser.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from hither.web.bundle import SCRIPTS, runtime_file

SOURCE = Path(__file__).resolve().parent.parent / "src" / "hither" / "web" / "runtime" / "sw.js"

ASKED = """
globalThis.location = { origin: "http://page", href: "http://page/sw.js" };
const handlers = {};
globalThis.self = { addEventListener: (name, handler) => (handlers[name] = handler), skipWaiting() {} };
const kept = {};
globalThis.caches = { open: async () => ({
  async put(request, response) {
    if (FULL) throw new TypeError("the disk is full");
    kept[request.url] = await response.text();
  },
  match: async (request) => (request.url in kept ? new Response(kept[request.url]) : undefined),
}) };
let online = true;
globalThis.fetch = async () => { if (!online) throw new TypeError("offline"); return new Response("fresh"); };
console.warn = () => {};
await import("MODULE");
const ask = async (path) => {
  let answer;
  handlers.fetch({ request: { method: "GET", url: "http://page" + path }, respondWith: (promise) => (answer = promise) });
  const response = await answer.catch((e) => new Response(e.message));
  return [await response.text(), response.headers.get("cross-origin-opener-policy")];
};
const found = [await ask("/index.html"), await ask("/weights-1.bin")];
online = false;
console.log(JSON.stringify([...found, await ask("/index.html"), await ask("/weights-1.bin")]));
"""


def asked(node: str, full: bool) -> Any:
    """The answers for a page and for weights, online and then offline: [text, COOP header] each."""
    program = ASKED.replace("MODULE", SOURCE.as_uri()).replace("FULL", json.dumps(full))
    command = [node, "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def test_what_was_seen_online_is_there_offline_but_for_what_the_loader_keeps(node: str) -> None:
    fresh = ["fresh", "same-origin"]
    assert asked(node, full=False) == [fresh, fresh, fresh, ["offline", None]]


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(node: str) -> None:
    """Where the disk is full, or the host says "Vary: *", a page online must not fail for want of an older copy."""
    fresh = ["fresh", "same-origin"]
    assert asked(node, full=True) == [fresh, fresh, ["offline", None], ["offline", None]]


def test_every_script_of_the_loader_is_kept_from_the_beginning() -> None:
    """A page that trains for the first time when it is offline needs hither-fit.js, too."""
    listed = set(re.findall(r'"([\w.-]+\.js)"', runtime_file("sw.js").decode()))
    assert listed == {"hither.js", "try.js", *SCRIPTS}
