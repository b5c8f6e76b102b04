"""A Profile as a page: profile.html with the numbers put in. It asks for nothing from anywhere."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .profile_text import OPERATIONS

if TYPE_CHECKING:
    from .profile import Profile, Row


def page(profile: Profile, title: str = "") -> str:
    """The page as text."""
    title = title or f"{profile.entry} on {profile.device}"
    data = json.dumps(_numbers(profile, title), ensure_ascii=False, allow_nan=False)
    before, after = files(__package__).joinpath("profile.html").read_text(encoding="utf-8").split("$DATA")
    return before.replace("$TITLE", html.escape(title)) + data.replace("<", "\\u003c") + after  # no </script> in names


def _numbers(profile: Profile, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "entry": profile.entry,
        "device": profile.device,
        "threads": profile.threads,
        "repeats": profile.repeats,
        "date": profile.date,
        "machine": profile.machine,
        "versions": ", ".join(f"{name} {version}" for name, version in profile.versions.items()),
        "whole_seconds": profile.whole_seconds,
        "peaks": {kind: [peak, OPERATIONS[kind]] for kind, peak in profile.roofline.peaks.items()},
        "bandwidths": profile.roofline.bandwidths,
        "launches": [_row(row) for row in profile.rows],
        "kernels": [_row(row) for row in profile.grouped()],
    }


def _row(row: Row) -> dict[str, Any]:
    fields = ("index", "label", "kernel", "name", "sources", "calls", "launches", "seconds", "least_seconds", "bound", "flops",
              "bytes_read", "bytes_written", "depth", "arithmetic")  # fmt: skip
    return {name: getattr(row, name) for name in fields} | {"operations": sum(row.operations.values())}
