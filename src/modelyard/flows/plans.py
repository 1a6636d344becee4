"""What a build and a bundle say of the version's row plan: whether there is one, why not, and how fast it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from modelyard.serve.plan.schema import FORMAT

DOCUMENT, PLAN = "compile.json", "plan.json"
LATENCY = "latency.json"
"""How long single rows take by the runner, in a run's folder."""
MADE = (DOCUMENT, PLAN)
"""What the compile step leaves in the run's folder, for the bundle and the report; the plan only where it is proven."""


def said(found: dict[str, Any]) -> str:
    """How a version answers, in a line: of what compile.json holds."""
    if found["status"] == "compiled":
        rows = f"{found['rows_proven']:,} + {found['edge_rows']:,} rows"
        return f"row plan: {found['microseconds']:.3g} us a row, equal on {rows}"
    what = "the row plan is refused, " if found["status"] == "unequal" else ""
    return f"runner: {what}{found['reason']}"


def latency(folder: Path) -> dict[str, Any]:
    """How long single rows take by what will serve them: the row plan where there is one, else the runner."""
    path = folder / DOCUMENT
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    own: dict[str, Any] = found.get("latency") or json.loads((folder / LATENCY).read_text(encoding="utf-8"))
    return own


def answers(sealed: Path) -> str:
    """How the version of a bundle answers, in a line; empty where it was built before that was asked."""
    path = sealed / DOCUMENT
    return said(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ""


def compared(sealed: Path, again: Path) -> str:
    """A clause on the row plan of a version that was made again: equal answers of both plans follow from equal predictions, since each
    was proven against its own model. Empty where the bundle has none."""
    before, after = sealed / PLAN, again / PLAN
    if not before.exists():
        return ""
    if not after.exists():
        return "; its row plan could not be made again"
    same = before.read_bytes() == after.read_bytes()
    return "; the row plan is the same" if same else "; the row plan is another, and was proven equal to the model too"


class _Format(msgspec.Struct):
    format: int = 0


def plan_of(sealed: Path) -> Path | None:
    """The row plan of a bundle; None where it has none, or one of a format that this Modelyard does not read: then a runner answers."""
    path = sealed / PLAN
    try:
        return path if msgspec.json.decode(path.read_bytes(), type=_Format).format == FORMAT else None
    except FileNotFoundError:
        return None
