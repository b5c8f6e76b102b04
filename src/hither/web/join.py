"""Several JavaScript modules as one, for a page that would otherwise ask for one after the other.

A request costs a page milliseconds, and a Worker, which does not share its page's modules, those of all that it imports once
more. So what every page needs of the runtime is shipped as one file. It keeps the sources' names: parts that declare the same
one at their top level, or rename what they import, cannot be joined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_LIST = re.compile(r"^export \{ ([^}]*) \};\n", re.MULTILINE)
_DECLARED = re.compile(r"^(export )?(?:async )?(?:function\*?|const|let|class) (\[[^\]]*\]|\{[^}]*\}|[^=({]+)", re.MULTILINE)
_NAME = re.compile(r"[\w$]+")


def join(sources: Mapping[str, str], parts: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """The modules of `others`, and those of `parts` as the last one of them.

    Args:
        sources: {file name: source}. Imports between them are `import { name, … } from "./file.js";`, a line each.
        parts: the files to join, each after those that it imports. The last one's exports are the joined module's, beside what
            `others` import from any.
        others: files that import from them.

    Raises:
        ValueError: if a part imports a later one or under another name, or two declare the same name.
    """
    whole = parts[-1]
    declared: dict[str, str] = {}
    asked: set[str] = set()
    bodies: list[str] = []
    for at, part in enumerate(parts):
        source = sources[part]
        for names, file in _IMPORT.findall(source):
            if file in parts[at:] or " as " in names or file not in parts:
                raise ValueError(
                    f"{part} imports {names} of {file}: a joined module imports earlier ones, under their own names"
                )
        source = _IMPORT.sub("", source)
        for exported, names in _DECLARED.findall(source):
            for name in _NAME.findall(names):
                if declared.setdefault(name, part) != part:
                    raise ValueError(f"{part} and {declared[name]} both declare {name}: rename one of them")
                if exported and part == whole:
                    asked.add(name)
        if part == whole:
            asked.update(name for names in _LIST.findall(source) for name in _NAME.findall(names))
        source = _LIST.sub("", source)
        bodies.append(re.sub(r"^export (?=async |function|const|let|class)", "", source, flags=re.MULTILINE))
    made: dict[str, str] = {}
    for other in others:
        wanted: list[str] = []

        def kept(found: re.Match[str], wanted: list[str] = wanted) -> str:
            if found[2] not in parts:
                return found[0]
            wanted.extend(_NAME.findall(found[1]))
            return ""

        rest = _IMPORT.sub(kept, sources[other])
        asked.update(wanted)
        made[other] = f'import {{ {", ".join(wanted)} }} from "./{whole}";\n{rest}' if wanted else rest
    if missing := asked - declared.keys():
        raise ValueError(f"nothing declares {', '.join(sorted(missing))}")
    made[whole] = "\n".join(bodies) + f"\nexport {{ {', '.join(sorted(asked))} }};\n"
    return made
