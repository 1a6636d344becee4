"""The data of a build, from its source to a snapshot and its splits: scripts run as jobs, and sources of which only new rows are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.build.envs import Env
from modelyard.config.spec import STAGES, Config
from modelyard.data import incremental, snapshots
from modelyard.durable import Run
from modelyard.errors import BadInput, StepFailed
from modelyard.events import ConfigAccepted
from modelyard.flows import reporting, sourcing, steps
from modelyard.flows.site import Order, Site
from modelyard.home import Home
from modelyard.targets.local import LocalTarget
from modelyard.workshop import Workshop

SCRIPT = """
import csv, os, pathlib, sys
from helper import ROWS
out = pathlib.Path(os.environ.get("MODELYARD_PROCESSING_DIR", "/opt/ml/processing")) / "output" / "data"
if sys.argv[1] == "fail":
    sys.exit("the source is closed today")
if sys.argv[1] != "nothing":
    times = 1 if sys.argv[1] == "link" else int(sys.argv[1])
    with open(out / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["x", "y"], *((i, i * times) for i in range(ROWS))])
if sys.argv[1] == "link":
    (out / "t.csv").rename(out.parent / "t.csv")
    (out / "t.csv").symlink_to(out.parent / "t.csv")
if sys.argv[1] == "3":
    (out / "t.jsonl").write_text("{}")
"""


class Source:
    """A repository with data or a script that makes it, and builds that come as far as the split."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.repository = Home(home / "yard"), home / "repository"
        self.repository.mkdir()
        monkeypatch.setattr(sourcing.envs, "ensure", lambda lock, home: Env("0", Path(sys.executable), lock))
        self.shop = Workshop(self.home, LocalTarget(self.home, lambda *failure: None))

    def data(self, cache: bool = True, **data: Any) -> tuple[Site, Any]:
        """The data step of a new build; its site and outcome."""
        asked = {
            "version": 1,
            "model": {"name": "demo", "problem_type": "regression"},
            "data": {"target_col": "y", **data},
            "train": {"framework": "sklearn", "entry_point": "train.py"},
        }
        config = Config.model_validate(asked)
        configs = {str(s): config.model_dump(mode="json", by_alias=True) for s in STAGES}
        order = replace(Order(configs, "0", str(self.repository), "alice", []), cache=cache)
        record = self.shop.runs.start("demo", "build", asdict(order), by="alice")
        site = Site(self.shop, Run(self.shop.runs, record, self.shop.runs.feed(record.id)), order, order.config)
        site.folder.mkdir(parents=True)
        site.lock_file().write_text("")
        try:
            return site, steps.data(site)
        finally:
            self.shop.runs.end(record, "done")


@pytest.fixture
def source(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    made = Source(home, monkeypatch)
    yield made
    made.shop.target.close()
    made.shop.close()


def script(*arguments: str) -> dict[str, Any]:
    return {"source": {"using": "script", "location": "source/make.py", "arguments": arguments}}


def test_a_script_writes_the_table_as_a_job(source: Source) -> None:
    (source.repository / "source").mkdir()
    (source.repository / "source" / "make.py").write_text(SCRIPT)
    (source.repository / "source" / "helper.py").write_text("ROWS = 40")
    site, done = source.data(**script("2"))
    assert done.value["rows"] == 40
    assert snapshots.read(snapshots.find(done.value["digest"], source.home.path))["y"].sum() == 2 * sum(range(40))
    assert steps.split(site, done.value).value == {"train": 28, "validation": 6, "test": 6}
    profile = reporting.profiled(site, done.value["digest"])
    assert [column["name"] for column in profile["columns"]] == ["x", "y"]
    with pytest.raises(StepFailed, match="the source is closed today"):
        source.data(**script("fail"))
    for argument, said in (("nothing", "left no table"), ("3", "left files of several kinds"), ("link", "left t.csv, which is no plain")):
        with pytest.raises(BadInput, match=said):
            source.data(**script(argument))


def growing(**more: Any) -> dict[str, Any]:
    return {"source": {"using": "csv", "location": "d.csv", "incremental": "at"}, "time_col": "at", "split": {"by": "time"}, **more}


def write(source: Source, days: list[int], **columns: Any) -> None:
    start = datetime(2024, 1, 1)
    frame = pl.DataFrame(
        {"at": [start + timedelta(days=d) for d in days], "x": [d / 2 for d in days], "y": [float(d) for d in days], **columns}
    )
    frame.write_csv(source.repository / "d.csv")


def test_a_build_reads_what_is_new_and_adds_it(source: Source) -> None:
    write(source, list(range(20)))
    _, first = source.data(**growing())
    assert first.value["lineage"] == {} and first.value["rows"] == 20
    _, same = source.data(**growing())
    assert same.value["digest"] == first.value["digest"] and "0 of them new: `at` above 2024-01-19T00:00:00" in same.summary.replace(
        "20T", "19T"
    )
    write(source, [-5, *range(25)])  # one row comes late, below what was seen
    site, second = source.data(**growing())
    assert second.value["lineage"] == {"parent": first.value["digest"], "above": "2024-01-20T00:00:00", "rows": 5}
    assert second.value["rows"] == 25
    assert steps.split(site, second.value).value == {"train": 18, "validation": 3, "test": 4}
    # without the cache, and once it is forgotten, everything is read
    _, whole = source.data(cache=False, **growing())
    assert (whole.value["rows"], whole.value["lineage"]) == (26, {})
    assert "read whole again, as asked" in whole.summary
    write(source, [-6, -5, *range(25)])
    assert source.data(**growing())[1].value["rows"] == 26
    assert incremental.forget(source.home.path, "demo") == 1
    assert source.data(**growing())[1].value["rows"] == 27


def test_a_source_whose_columns_change_is_read_whole(source: Source) -> None:
    write(source, list(range(20)))
    source.data(**growing())
    write(source, list(range(25)), z=[1] * 25)
    _, done = source.data(**growing())
    assert done.value["rows"] == 25 and done.value["lineage"] == {}
    assert "read whole again: the source's columns have changed" in done.summary
    write(source, list(range(30)), z=[1] * 30)
    _, added = source.data(**growing())
    assert added.value["lineage"]["rows"] == 5
    assert added.value["rows"] == 30


def test_a_retraining_of_a_source_that_leaves_columns_out(source: Source) -> None:
    write(source, list(range(20)), junk=["j"] * 20)
    site, done = source.data(**growing(schema={"exclude": ["junk"]}))
    source.shop.record([ConfigAccepted("demo", site.run.id, "0", site.order.configs, str(source.repository))])
    later = replace(site, order=replace(site.order, learn_until=datetime(2030, 1, 1, tzinfo=UTC).isoformat()))
    with sourcing.spool(site) as folder:
        snapshot, _ = sourcing.take(later, folder)
        learned, added, left_out = sourcing.learned(later, snapshot, folder)
    assert (learned.digest, added, left_out) == (done.value["digest"], 0, [])
