"""docs/features.md from scripts/features.txt: what TensorFlow.js has, and by which name hither has it.

    python scripts/features.py           write the page
    python scripts/features.py --check   say whether it is stale, and which names do not exist

A name counts only if it resolves in the hither that runs this.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAPPING = Path(__file__).with_suffix(".txt")
PAGE = ROOT / "docs" / "features.md"


@dataclass
class Feature:
    """One API of TensorFlow.js. `names` are hither's; `later` says that they may not exist yet, `needless` that none is due."""

    name: str
    names: list[str]
    later: bool
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

    def count(self) -> tuple[int, int]:
        """How many hither has, of how many that count."""
        due = [f for f in self.features if not f.needless]
        return sum(f.there for f in due), len(due)


def exists(name: str) -> bool:
    """Whether `hither.<name>` can be reached: attributes of hither, or of a module of it."""
    parts = name.split(".")
    place: object = importlib.import_module("hither")
    path = "hither"
    for part in parts:
        path += f".{part}"
        if hasattr(place, part):
            place = getattr(place, part)
            continue
        try:
            place = importlib.import_module(path)
        except ModuleNotFoundError:
            return False
    return True


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
        later = target.startswith("?")
        names = [] if target in "-*" else [n.strip() for n in target.lstrip("? ").split(",")]
        sections[-1].features.append(Feature(name, names, later, target == "*", remark))
    return sections


def missing(sections: list[Section]) -> list[str]:
    """Names that the mapping takes for granted and that do not exist."""
    return [n for s in sections for f in s.features if not f.later for n in f.names if not exists(n)]


def page(sections: list[Section]) -> str:
    """The page as Markdown."""
    counts = [s.count() for s in sections]
    have, due = (sum(c[i] for c in counts) for i in (0, 1))
    lines = [
        "# What TensorFlow.js has, and hither's name for it", "",
        "Made by `scripts/features.py` from `scripts/features.txt`, for TensorFlow.js 4.22; do not edit. A name counts if it "
        "exists.",
        "Lines marked *not needed* count neither way.", "",
        f"**{have} of {due}: {have / due:.0%}**", "", "| section | there | of | |", "|---|--:|--:|--:|",
        *(f"| {s.title} | {a} | {b} | {a / b:.0%} |" for s, (a, b) in zip(sections, counts, strict=True)),
    ]  # fmt: skip
    for section in sections:
        lines += ["", f"## {section.title}", "", "| TensorFlow.js | hither | |", "|---|---|---|"]
        for f in section.features:
            mine = ", ".join(f"`{n}`" for n in f.names) if f.there else "*not needed*" if f.needless else "–"
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
