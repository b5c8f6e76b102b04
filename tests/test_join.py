"""Modules of the runtime joined to one: the same program, and what cannot be joined is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hither.web.join import join


def test_joined_modules_run_as_the_separate_ones(node: str, tmp_path: Path) -> None:
    """What is joined must still see the same names, and others the same objects (an error's class, say)."""
    sources = {
        "a.js": "export const one = 1, two = 2;\nexport class Odd extends Error {}\n",
        "b.js": 'import { one } from "./a.js";\nconst own = one + 10;\nexport async function add(x) {\n  return x + own;\n}\n',
        "main.js": 'import { Odd, two } from "./a.js";\nimport { add } from "./b.js";\n'
        "export const load = async () => [await add(two), await import('./late.js')];\nexport { Odd };\n",
        "late.js": 'import { Odd } from "./a.js";\nimport { own } from "./own.js";\n'
        "export const odd = new Odd(), name = own;\n",
        "own.js": "export const own = 'mine';\n",
    }
    made = join(sources, ("a.js", "b.js", "main.js"), ("late.js", "own.js"))
    assert set(made) == {"main.js", "late.js", "own.js"}
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    body = "const m = await import(process.argv[1]), [sum, late] = await m.load();"
    body += "console.log(JSON.stringify([sum, late.odd instanceof m.Odd, late.name, Object.keys(m)]))"
    command = [node, "--input-type=module", "--eval", body, (tmp_path / "main.js").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [13, True, "mine", ["Odd", "load"]]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("const one = 2;\n", "b.js and a.js both declare one"),
        ('import { one as uno } from "./a.js";\n', "under their own names"),
        ('import { late } from "./late.js";\n', "a joined module imports earlier ones"),
    ],
)
def test_what_cannot_be_joined_is_refused(second: str, message: str) -> None:
    sources = {"a.js": "export const one = 1;\n", "b.js": second, "late.js": "export const late = 1;\n"}
    with pytest.raises(ValueError, match=message):
        join(sources, ("a.js", "b.js"), ("late.js",))
