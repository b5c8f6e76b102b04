"""docs/features.md from scripts/features.txt: what TensorFlow.js has, and by which name hither has it.

    python scripts/features.py           write the page
    python scripts/features.py --check   say whether it is stale, and which names do not exist

A name counts only if users can reach it (every step of it is in its module's `__all__`) and it has a docstring; of the
JavaScript loader, if its declarations export it with a comment.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAPPING = Path(__file__).with_suffix(".txt")
PAGE = ROOT / "docs" / "features.md"
LOADER = ROOT / "src" / "hither" / "web" / "runtime" / "hither.d.ts"


@dataclass
class Feature:
    """One API of TensorFlow.js. `names` are hither's; `later` says that they may not exist yet, `loose` that they are not the
    same thing but what one writes it with, `needless` that none is due."""

    name: str
    names: list[str]
    later: bool
    loose: bool
    needless: bool
    remark: str

    @property
    def there(self) -> bool:
        """Whether hither has it."""
        return bool(self.names) and all(exists(n) for n in self.names)


@dataclass
class Section:
    """Features of one theme."""

    title: str
    prefix: str
    features: list[Feature] = field(default_factory=list)

    def count(self) -> tuple[int, int, int]:
        """How many hither has, how many one writes with what it has, of how many that count."""
        due = [f for f in self.features if not f.needless]
        return sum(f.there and not f.loose for f in due), sum(f.there and f.loose for f in due), len(due)


def exists(name: str) -> bool:
    """Whether users have `hither.<name>`: names that their modules offer, documented; internals do not count."""
    if name.startswith("js:"):
        return declared(name.removeprefix("js:"))
    place: object = importlib.import_module("hither")
    for part in name.split("."):
        offered = getattr(place, "__all__", None) if isinstance(place, types.ModuleType) else None
        if (offered is not None and part not in offered) or not hasattr(place, part):
            return False
        place = getattr(place, part)
    return bool(inspect.getdoc(place))


def declared(name: str) -> bool:
    """Whether the loader's declarations have a documented function of this name, or member of an interface."""
    text = LOADER.read_text(encoding="utf-8")
    owner, _, member = name.rpartition(".")
    if not owner:
        return re.search(rf"\*/\nexport function {re.escape(member)}\(", text) is not None
    body = re.search(rf"export interface {re.escape(owner)}\b.*?\n}}", text, re.DOTALL)
    return body is not None and re.search(rf"\*/\n  {re.escape(member)}\(", body[0]) is not None


def read(text: str) -> list[Section]:
    """The mapping file's sections.

    Raises:
        ValueError: for a line that is neither a section nor a mapping, or a name that comes twice in a section.
    """
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            title, _, prefix = line.strip("[]").partition("|")
            sections.append(Section(title.strip(), prefix.strip()))
            continue
        name, equals, rest = (part.strip() for part in line.partition(" = "))
        target, _, remark = (part.strip() for part in rest.partition(";"))
        if not equals or not target or any(f.name == name for f in sections[-1].features):
            raise ValueError(f"{MAPPING.name}:{number}: expected `name = hither names ; remark`, once each, got {line!r}")
        later, loose = "?" in target, "~" in target
        names = [] if target in "-*" else [n.strip() for n in target.lstrip("?~ ").split(",")]
        if loose and not remark:
            raise ValueError(f"{MAPPING.name}:{number}: expected a remark that says how {name} is written, got {line!r}")
        sections[-1].features.append(Feature(name, names, later, loose, target == "*", remark))
    return sections


def missing(sections: list[Section]) -> list[str]:
    """Names that the mapping takes for granted and that do not exist."""
    return [n for s in sections for f in s.features if not f.later for n in f.names if not exists(n)]


def page(sections: list[Section]) -> str:
    """The page as Markdown."""
    counts = [s.count() for s in sections]
    have, loose, due = (sum(c[i] for c in counts) for i in range(3))
    lines = [
        "# What TensorFlow.js has, and hither's name for it", "",
        "Made by `scripts/features.py` from `scripts/features.txt`, for TensorFlow.js 4.22; do not edit. A name counts if",
        "users can reach it, in Python or in the JavaScript loader, and it is documented. *With* marks what hither has no name",
        "for but one writes with what it has; *not needed* counts neither way.", "",
        f"**{have} of {due} by name: {have / due:.0%}.** "
        f"With the {loose} that are written with others: {(have + loose) / due:.0%}.", "",
        "| section | by name | written with others | of | by name |", "|---|--:|--:|--:|--:|",
        *(f"| {s.title} | {a} | {b} | {n} | {a / n:.0%} |" for s, (a, b, n) in zip(sections, counts, strict=True)),
    ]  # fmt: skip
    for section in sections:
        lines += ["", f"## {section.title}", "", "| TensorFlow.js | hither | |", "|---|---|---|"]
        for f in section.features:
            mine = ", ".join(f"`{n.removeprefix('js:')}`" + " of the loader" * n.startswith("js:") for n in f.names)
            mine = ("with " * f.loose + mine) if f.there else "*not needed*" if f.needless else "–"
            lines.append(f"| `{section.prefix}.{f.name}` | {mine} | {f.remark} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    sections = read(MAPPING.read_text(encoding="utf-8"))
    absent = missing(sections)
    for name in absent:
        print(f"{MAPPING.name}: hither.{name} does not exist")
    made = page(sections)
    if "--check" in arguments:
        stale = PAGE.read_text(encoding="utf-8") != made
        if stale:
            print(f"{PAGE.relative_to(ROOT)} is stale: run python scripts/features.py")
        return int(stale or bool(absent))
    PAGE.write_text(made, encoding="utf-8")
    return int(bool(absent))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
