"""A world whose production endpoint has answered: capture files made by hand, labels, and a look of the monitors at them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.clock import ReplayClock
from modelyard.durable import Run
from modelyard.events import RunStarted
from modelyard.flows import history, monitor
from modelyard.monitor import profile
from modelyard.monitor.book import Word
from modelyard.serve import captured
from modelyard.targets.fake import FakeTarget

from .releases import SIGNATURE, World, config

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def settings(**parts: Any) -> dict[str, Any]:
    """A config that looks at days, judges performance a day later, and asks for nothing else."""
    watch = {
        "window": "1d",
        "drift": {"min_rows": 10},
        "performance": {"min_labels": 2, "label_delay": "24h", "criteria": [{"metric": "mae", "threshold": 0.5}]},
    }
    return {**config(), "timezone": "UTC", "monitor": watch, **parts}


class Watched(World):
    """Version 1 is in production from T0 on. The clock is `time`."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, Any] | None = None) -> None:
        self.time = ReplayClock(T0)
        super().__init__(home, monkeypatch, FakeTarget(), self.time)
        self.accept(words or settings())
        self.register("1")
        self.release("1", ("production",))
        for record in self.shop.runs.unfinished():
            self.shop.runs.end(record, "done")

    def _staging(self, version: str) -> Path:
        folder = super()._staging(version)
        rows = pl.DataFrame({"f.x": [i / 100 for i in range(1000)], "y.prediction": [i / 50 for i in range(1000)]})
        (folder / "baseline.json").write_text(json.dumps(profile.baseline(rows, SIGNATURE)))
        return folder

    def capture(
        self,
        ids: Sequence[str],
        at: datetime,
        x: Sequence[float] | None = None,
        version: str = "1",
        *,
        together: bool = False,
        late: timedelta = timedelta(0),
    ) -> None:
        """Requests about `at`, a second apart, or as the rows of one request; answered at once, or so late."""
        where, x = history.folder(self.shop, "demo"), list(x or [1.0] * len(ids))
        times = pl.Series([at + timedelta(seconds=0 if together else i) for i in range(len(ids))], dtype=pl.Datetime("us", "UTC"))
        columns = {
            "inference_id": list(ids),
            "event_time": times,
            "received_at": times + late,
            "version": version,
            "latency_ms": 1.0,
            "f.x": x,
        }
        frame = pl.DataFrame(columns).with_columns((2 * pl.col("f.x")).alias("y.prediction"))
        captured.add(where, frame)

    def label(self, labels: dict[str, Any]) -> dict[str, int]:
        return history.label(self.shop, "demo", pl.DataFrame({"inference_id": list(labels), "label": list(labels.values())}))

    def look(self) -> bool:
        """A look of the monitors and the governor; whether it wants a retraining."""
        monitor.look(self.shop, "demo")
        return monitor.govern(self.shop, "demo").retrain

    def words(self, kind: str) -> list[Word]:
        """What a monitor's words on its windows are now, oldest first."""
        return self.shop.book.between("demo", monitor=kind)

    def begin(self, flow: str, id: str = "run-1") -> None:
        self.shop.record([RunStarted("demo", id, flow, "ada")])

    def run(self, flow: str, args: dict[str, Any]) -> Run:
        """A run in the hands of a test."""
        record = self.shop.runs.start("demo", flow, args, by="ada")
        return Run(self.shop.runs, record, self.shop.runs.feed(record.id))
