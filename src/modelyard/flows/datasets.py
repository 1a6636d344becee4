"""Data as people look at it: which snapshots there are and who uses them, what one holds, and what differs between two."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.data import compare, incremental, profile, snapshots, sources
from modelyard.data.parts import Parts
from modelyard.errors import NotFound
from modelyard.workshop import Workshop


@contextmanager
def named(shop: Workshop, word: str) -> Iterator[Parts]:
    """A table by a person's word: a file, a snapshot's digest (or how it begins), or MODEL:VERSION. Raises NotFound, BadInput."""
    found = _snapshot(shop, word) if not Path(word).exists() else None
    if found is not None:
        yield snapshots.table(found)
        return
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=_room(shop)) as spool:
        yield sources.table(Path(word), Path(spool))


def _room(shop: Workshop) -> Path:
    folder = shop.home.path / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _snapshot(shop: Workshop, word: str) -> snapshots.Snapshot:
    model, _, version = word.partition(":")
    if version and model in shop.state:
        return snapshots.find(shop.version(model, version).data_digest, shop.home.path)
    found = sorted(_room(shop).glob(f"{word}*")) if re.fullmatch(r"[0-9a-f]{6,64}", word) else []
    if len(found) != 1:
        said = "several snapshots begin" if found else "there is no file, snapshot or MODEL:VERSION"
        raise NotFound(f"{said} {word}", next="name a file (.parquet, .csv, .jsonl), a snapshot (modelyard data list), or MODEL:VERSION")
    return snapshots.find(found[0].name, shop.home.path)


def diff(shop: Workshop, a: str, b: str) -> dict[str, Any]:
    with named(shop, a) as first, named(shop, b) as second:
        return compare.diff(first, second)


def profiled(shop: Workshop, word: str) -> dict[str, Any]:
    """The profile of a table; of a version's or a file that is a snapshot, beside the target of the config in force."""
    model, _, version = word.partition(":")
    if version and model in shop.state and not Path(word).exists():
        data = shop.config(model).data
        found = _snapshot(shop, word)
        if data.target_col in found.columns:
            return profile.of(found, data, shop.home.path)
    with named(shop, word) as table:
        return profile.profile(table)


def listed(shop: Workshop, model: str | None) -> list[dict[str, Any]]:
    """The snapshots, newest first; of a model, those its versions were built on (`used_by`) or that held their source (`source_of`)."""
    if model is not None:
        shop.model(model)
    users: dict[str, list[str]] = {}
    sources_of: dict[str, list[str]] = {}
    for state in shop.state.values():
        for version in state.versions.values():
            if model in (None, state.model):
                users.setdefault(version.data_digest, []).append(f"{state.model}:{version.version}")
                if version.source_digest != version.data_digest:
                    sources_of.setdefault(version.source_digest, []).append(f"{state.model}:{version.version}")
    rows = []
    for found in snapshots.kept(shop.home.path):
        used, source_of = users.get(found.digest, []), sources_of.get(found.digest, [])
        if model is None or used or source_of:
            taken = datetime.fromtimestamp(found.files[0].parent.stat().st_mtime, UTC).isoformat(timespec="seconds")
            facts = {"digest": found.digest, "rows": found.rows, "columns": len(found.columns), "bytes": found.size, "taken_at": taken}
            rows.append({**facts, "lineage": found.lineage, "used_by": used, "source_of": source_of})
    return rows


def reread(shop: Workshop, model: str) -> dict[str, Any]:
    """Have a model's next build read its incremental source whole."""
    shop.model(model)
    return {"model": model, "forgotten": incremental.forget(shop.home.path, model)}
