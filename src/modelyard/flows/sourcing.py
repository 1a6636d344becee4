"""Sourcing: the rows of a build out of their source and into a snapshot, and those that production has taught since."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import envs, locks, source
from modelyard.config.spec import Data
from modelyard.data import incremental, snapshots, sources
from modelyard.errors import NotFound
from modelyard.flows import history, jobs
from modelyard.flows.site import Order
from modelyard.targets.base import Job
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    from modelyard.flows.site import Site

SCRIPT = "source"
"""The name of the job that runs the script of a `script` source."""


@contextmanager
def spool(site: Site) -> Iterator[Path]:
    """A folder for rows on their way into a snapshot; what a killed try left is swept when the home is opened."""
    folder = site.shop.home.path / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=folder) as name:
        yield Path(name)


def take(site: Site, folder: Path) -> tuple[snapshots.Snapshot, list[str]]:
    """A snapshot of the source's rows, and sentences on how it came about. Of an incremental source only new rows are read."""
    data = site.config.data
    if data.source.incremental is None:
        return _whole(site, folder), []
    key = incremental.key(site.run.model, data, site.config.timezone)
    base, why = _base(site, key)
    if base is not None:
        try:
            return _added(site, folder, key, base)
        except snapshots.Moved as moved:
            why = f"read whole again: {moved}"
    return _whole(site, folder, key), [why] if why else []


def _base(site: Site, key: str) -> tuple[snapshots.Base | None, str]:
    """What was read before, unless the person wants everything done again."""
    home = site.shop.home.path
    seen = incremental.recall(home, key)
    if seen is None or not site.order.cache:
        return None, "" if seen is None else "read whole again, as asked"
    try:
        return snapshots.Base(snapshots.find(seen.digest, home), seen.highest), ""
    except NotFound:
        return None, f"read whole again: snapshot {seen.digest[:12]} is gone"


def _whole(site: Site, folder: Path, key: str | None = None) -> snapshots.Snapshot:
    config, home = site.config, site.shop.home.path
    with sources.reading(config.data.source, _request(site, folder / "whole")) as table:
        snapshot = snapshots.take(table, config.rows, config.timezone, home)
        column = config.data.source.incremental
        if key is not None and column is not None and (highest := incremental.highest(table, column)) is not None:
            incremental.remember(home, key, incremental.Seen(snapshot.digest, highest), site.run.model)
    return snapshot


def _added(site: Site, folder: Path, key: str, base: snapshots.Base) -> tuple[snapshots.Snapshot, list[str]]:
    config, home, column = site.config, site.shop.home.path, site.config.data.source.incremental
    assert column is not None
    with sources.reading(config.data.source, _request(site, folder / "added", base.above)) as table:
        snapshot = snapshots.take(table, config.rows, config.timezone, home, base)
        highest = incremental.highest(table, column) if column in table.schema else None
    if highest is not None and highest.value > base.above.value:  # type: ignore[operator]  # of one kind, or the rows were refused
        incremental.remember(home, key, incremental.Seen(snapshot.digest, highest), site.run.model)
    new = snapshot.rows - base.snapshot.rows
    return snapshot, [f"{new:,} of them new: `{column}` above {base.above}"]


def _request(site: Site, folder: Path, above: incremental.Highest | None = None) -> sources.Request:
    data = site.config.data
    made = _scripted(site) if data.source.using == "script" else None
    return sources.Request(
        folder=site.repository,
        spool=folder,
        secret=site.shop.home.secret,
        above=above,
        made=made,
        unused=data.schema_.exclude,
        typed=tuple(data.schema_.types),
        texts=tuple(name for name, kind in data.schema_.types.items() if kind == "str"),
    )


def _scripted(site: Site) -> Path:
    """The table that the user's script writes, run as a job under the processing contract. Raises StepFailed, NotFound, BadInput."""
    asked, code = site.config.data.source, site.folder / "source-code"
    assert isinstance(asked.location, str)  # by the config's own rule
    entry = source.locate(site.repository, asked.location, None)[1]
    source.package(site.repository, asked.location, None, site.fresh(code))
    lock = site.lock()
    if asked.requirements is not None:
        wanted, where = site.repository / asked.requirements, "data.source.requirements"
        lock = locks.lock(wanted, "custom", site.shop.home.path, where=where, refresh=site.order.refresh).text
    done = site.folder / "sourced"
    jobs.run(
        site,
        Job(
            run=site.run.id,
            name=SCRIPT,
            kind="process",
            python=envs.ensure(lock, site.shop.home.path).python,
            entry_point=entry,
            code=code,
            base=site.folder / "source",
            inputs={},
            outputs=("data",),
            arguments=asked.arguments,
        ),
        done,
        cache=False,  # what it reads may be other by now
    )
    return done / "data"


def learned(site: Site, snapshot: snapshots.Snapshot, folder: Path) -> tuple[snapshots.Snapshot, int, list[str]]:
    """A retraining's snapshot: the source's rows and the captured, labelled ones; how many these are, and what was left out of them."""
    config, shop = site.config, site.shop
    assert site.order.learn_until is not None
    until = datetime.fromisoformat(site.order.learn_until)
    window = config.retrain.window
    if window.type != "sliding" and (known := _learned_before(site, snapshot)) is not None:
        return known
    since = until - window.length if window.length else None
    table, added, left_out = history.extend(shop, config, snapshots.table(snapshot), since, until, folder / "learned")
    return snapshots.take(table, _settled(config.rows), config.timezone, shop.home.path), added, left_out


def _learned_before(site: Site, source: snapshots.Snapshot) -> tuple[snapshots.Snapshot, int, list[str]] | None:
    """The rows of the newest retrained version, where the source is what it was then and nothing was taught since: they are not put
    together a second time."""
    shop, model = site.shop, site.run.model
    for version in reversed(shop.model(model).versions.values()):
        if (version.recipe_digest, version.source_digest) != (site.order.recipe, source.digest) or not site.order.cache:
            continue
        record = shop.runs.get(version.run)
        until = record.args.get("learn_until") if record is not None else None
        if until is None or Order(**record.args).config.retrain.window.length is not None:  # type: ignore[union-attr]
            continue
        if _taught_since(shop, model, datetime.fromisoformat(until)):
            return None
        try:
            return snapshots.find(version.data_digest, shop.home.path), int(shop.runs.receipt(version.run, "data")[1]["captured"]), []
        except NotFound:
            return None
    return None


def _taught_since(shop: Workshop, model: str, since: datetime) -> bool:
    """Whether a label came since, or the prediction that one had waited for, or the time of one that was ahead of the clock."""
    if history.labelled_since(shop, model, since):
        return True
    late = (history.newest(shop, model, sys.maxsize, since=since), history.answers(shop, model, since))
    return any(rows.height and history.labelled(shop, model, rows)[tables.LABEL].count() for rows in late)


def _settled(data: Data) -> Data:
    """What is left to do with rows that are a snapshot's already: they are new, sampled, and without the columns that were left out."""
    changed: dict[str, Any] = {
        "source": data.source.model_copy(update={"incremental": None}),
        "sample": None,
        "schema_": data.schema_.model_copy(update={"exclude": ()}),
    }
    return data.model_copy(update=changed)
