"""Results as JSON in the git-ignored out/ folder, so that a partial rerun replaces its own cases and keeps the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .beside import NETS as BESIDE
from .converted import CONVERTED
from .nets import NETS
from .precision import SUBJECTS
from .trained import TRAINED

Record = dict[str, Any]


class Results:
    """Cases by key: `native/NET/THREADS`, `start/NET`, `bundle/NET`, `wasm/NET/THREADS`, `webgpu/NET`, `cold/NET`,
    `train/NET/THREADS`, `train-wasm/NET/THREADS`, `precision/NET/native`, `precision/NET/browser`, `beside/NET/wasm`,
    `beside/NET/webgpu`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, dict[str, str]] = {}
        self.cases: dict[str, Record] = {}
        if path.exists():
            kept = json.loads(path.read_text())
            self.about, self.cases = kept["about"], kept["cases"]

    def note(self, what: str, facts: dict[str, str]) -> None:
        """Say something about the machine or the versions."""
        self.about[what] = facts
        self._save()

    def put(self, key: str, record: Record) -> None:
        """Keep a case, and write everything: an interrupted run loses only the case it was in."""
        self.cases[key] = record
        self._save()

    def drop(self, key: str) -> None:
        """Forget a case: it no longer holds."""
        self.cases.pop(key, None)
        self._save()

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"about": self.about, "cases": self.cases}, indent=1))
        part.replace(self.path)

    def get(self, *key: object) -> Record:
        """A case, or an empty one."""
        return self.cases.get("/".join(map(str, key)), {})

    def median(self, contestant: str, *key: object, of: str = "median") -> float | None:
        """A contestant's median (or another statistic) in milliseconds."""
        value = self.get(*key).get("contestants", {}).get(contestant, {}).get(of)
        return None if value is None else float(value)

    def ratio(self, *key: object, against: str | None = None, of: str = "median") -> float | None:
        """How many times as long the best peer takes (or `against`): above 1, hither is faster."""
        ours = self.median("hither", *key, of=of)
        peers = [name for name in self.get(*key).get("contestants", {}) if name != "hither" and against in (None, name)]
        theirs = [t for name in peers if (t := self.median(name, *key, of=of)) is not None]
        return min(theirs) / ours if ours and theirs else None

    def nets(self, kind: str) -> list[str]:
        """Nets with a case of this kind, in the order in which they are listed."""
        measured = {key.split("/")[1] for key in self.cases if key.startswith(f"{kind}/")}
        listed = dict.fromkeys((*NETS, *CONVERTED, *TRAINED, *SUBJECTS, *BESIDE))
        return [name for name in listed if name in measured]

    def threads(self, kind: str) -> list[int]:
        """Thread counts with a case of this kind."""
        return sorted({int(key.split("/")[2]) for key in self.cases if key.startswith(f"{kind}/")})
