"""A replay's clock and labels, and what it says of traffic that cannot be replayed. Whole replays: tests/e2e/test_traffic.py."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from modelyard import replay as replays
from modelyard.config.spec import Config
from modelyard.durable import Stopped
from modelyard.errors import BadInput, NotFound
from modelyard.events import Deployed
from modelyard.flows import holdout
from modelyard.monitor import labels
from modelyard.serve.keys import Pass
from modelyard.signature import Column, Signature
from tests.flows.watched import DAY, T0, Watched, settings


def words(**parts: Any) -> dict[str, Any]:
    made = settings(**parts)
    made["data"] = {**made["data"], "id_col": "id", "time_col": "at"}
    made["monitor"] = {**made["monitor"], "schedule_expression": "0 0 */10 * *"}
    return made


def _unasked(run: str) -> dict[str, Any]:
    return {"awaiting": None}


# -- time -------------------------------------------------------------------------------------------------------------------------


class Replayed:
    """A replay of thirty days, six rows a day, each labelled 18 hours later; the endpoint answers nothing and notes the clock."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int = 1_000, challenger: str | None = None) -> None:
        self._stop_after = stop_after
        self.world = Watched(home, monkeypatch, words())
        at = [T0 + timedelta(hours=4 * i + 1) for i in range(180)]
        traffic = pl.DataFrame({"id": [f"r{i:03}" for i in range(180)], "at": at, "x": 1.0, "y": 2.0})
        traffic = traffic.with_columns(pl.col("at").dt.cast_time_unit("us"), (pl.col("at") + timedelta(hours=18)).alias(replays.KNOWN))
        self._at, self._sent, self.ticks = at, 0, list[datetime]()
        self.posted: list[tuple[datetime, datetime]] = []
        self.shown: list[datetime] = []
        monkeypatch.setattr(holdout, "post", self._post)
        monkeypatch.setattr(replays, "BODY_ROWS", 10)
        self.followed = list[str]()
        yard: Any = SimpleNamespace(
            shop=self.world.shop, home=self.world.home, retraining=lambda model: challenger, tick=self._tick, run=_unasked
        )
        audience: Any = SimpleNamespace(progress=lambda p: self.shown.append(p.now), judged=lambda word: None, run=self._follow)
        monkeypatch.setattr(replays, "moving", lambda shop, model: self.followed[-1] if self.followed else None)
        self.progress = replays.replay(yard, self.world.time, "demo", traffic, audience)

    def _tick(self, model: str, tell: Any) -> None:
        self.ticks.append(self.world.time.now())

    def _follow(self, run: str, until: str | None) -> None:
        """The first step of its roll-out has begun."""
        self.followed.append(run)
        self.world.shop.record([Deployed("demo", "production", "http://127.0.0.1:1", {"1": 75, "2": 25}, "canary step")])

    def _post(self, address: str, body: bytes, own: Pass) -> bytes:
        self._sent += len(json.loads(body))
        self.posted.append((self.world.time.now(), self._at[self._sent - 1]))
        if len(self.posted) == self._stop_after:
            self.world.shop.runs.stop()
        return b""


def test_the_clock_goes_along_with_rows_and_labels(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = Replayed(home, monkeypatch)
    assert (replayed.progress.sent, replayed.progress.failed) == (180, 0)
    assert replayed.ticks == [T0 + days * DAY for days in (10, 20, 30, 31)], "the 11th, 21st, 31st and 1st"
    assert all(timedelta(0) <= last - clock < 2 * DAY for clock, last in replayed.posted), "rows are sent when they happened"
    assert replayed.shown == sorted(replayed.shown) and len(set(replayed.shown)) == len(replayed.shown)
    ledger = labels.latest(replayed.world.home.labels("demo"))
    assert ledger.height == 180
    late = ledger["received_at"] - ledger["labelled_at"]
    assert late.min() >= timedelta(0) and late.max() <= timedelta(days=7), "taken in when they came to be known"  # type: ignore[operator]


def test_ctrl_c_stops_the_traffic_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[bytes] = []
    real = Replayed._post
    monkeypatch.setattr(Replayed, "_post", lambda self, address, body, own: posted.append(body) or real(self, address, body, own))
    with pytest.raises(Stopped):
        Replayed(home, monkeypatch, stop_after=3)
    assert len(posted) == 3, "nothing is sent after the word to stop"


def test_labels_after_a_retraining_count_as_new(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = Replayed(home, monkeypatch)
    ledger, retrained = labels.latest(replayed.world.home.labels("demo")), replayed.ticks[0]
    fresh = ledger.filter(pl.col("received_at") > retrained)
    assert fresh.height == ledger.filter(pl.col("labelled_at") >= retrained).height > 0


def test_a_roll_out_that_goes_on_at_the_next_tick_gets_its_traffic(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for until it has traffic, and no longer: it takes seconds of the machine's own, which may be months of the replay's, and
    is rolled back where nobody asks meanwhile."""
    replayed = Replayed(home, monkeypatch, challenger="retrain-1")
    assert replayed.progress.sent == 180 and len(replayed.ticks) == 4
    assert replayed.followed == ["retrain-1"]


# -- bad traffic ------------------------------------------------------------------------------------------------------------------

CSV = "id,at,x,y,known\na,2026-03-01T12:00:00,1,2,2026-03-02T12:00:00\nb,2026-03-01T06:00:00,1,2,\n"


def read(tmp_path: Path, text: str, label_time: str | None = None, **data: Any) -> pl.DataFrame:
    (tmp_path / "traffic.csv").write_text(text)
    made = words(timezone="America/New_York")
    made["data"] = {**made["data"], **data}
    return replays.read(tmp_path / "traffic.csv", Config.model_validate(made), label_time)


def test_naive_times_are_in_the_configs_timezone(tmp_path: Path) -> None:
    table = read(tmp_path, CSV, "known")
    assert table["id"].to_list() == ["b", "a"]
    assert table["at"][1].isoformat() == "2026-03-01T17:00:00+00:00"
    assert [at and at.isoformat() for at in table[replays.KNOWN]] == [None, "2026-03-02T17:00:00+00:00"]
    later = read(tmp_path, CSV)
    assert later[replays.KNOWN][1].isoformat() == "2026-03-02T17:00:00+00:00", "a day later, where nothing says when"


@pytest.mark.parametrize(
    ("text", "label_time", "data", "said", "where"),
    [
        ("id,at,x,y\n", None, {}, "there is no traffic to replay", "traffic.csv"),
        ("", None, {}, "the traffic cannot be read", "traffic.csv"),
        (CSV, "knwon", {}, "`--label-time` names the column `knwon`", "traffic.csv"),
        (CSV.replace(",y,", ",z,"), None, {}, "`data.target_col` names the column `y`", "traffic.csv"),
        (CSV.replace("id,", "key,"), None, {}, "`data.id_col` names the column `id`", "traffic.csv"),
        (CSV, None, {"time_col": None}, "a replay needs `data.time_col` in the config", "data.time_col"),
        (CSV.replace("2026-03-01T12:00:00", "noon"), None, {}, "cannot be read as datetime, first 'noon'", "traffic.csv, at"),
        (CSV.replace("2026-03-02T12:00:00", "soon"), "known", {}, "column `known` cannot be read as times", "traffic.csv, known"),
        (CSV.replace("2026-03-01T12:00:00", ""), None, {}, "1 rows of the traffic have no time", "traffic.csv, at"),
    ],
)  # fmt: skip
def test_traffic_that_cannot_be_replayed(
    tmp_path: Path, text: str, label_time: str | None, data: dict[str, Any], said: str, where: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text, label_time, **data)
    assert said in caught.value.what and caught.value.where.endswith(where) and caught.value.next


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        replays.read(tmp_path / "none.csv", Config.model_validate(words()), None)


def test_columns_come_in_the_types_of_the_config_and_decimals_as_numbers(tmp_path: Path) -> None:
    """As a build reads them: an endpoint takes no number for text, and no text for a number."""
    assert read(tmp_path, CSV.replace(",1,2,", ",007,2,"), schema={"types": {"x": "str"}})["x"].to_list() == ["007", "007"]
    frame = pl.read_csv(tmp_path / "traffic.csv").with_columns(pl.col("x").cast(pl.Decimal(10, 2)))
    frame.write_parquet(tmp_path / "traffic.parquet")
    table = replays.read(tmp_path / "traffic.parquet", Config.model_validate(words()), None)
    assert (table["x"].dtype, table["x"].to_list()) == (pl.Float64, [7.0, 7.0])
    text = "id,at,x,y,since\na,2026-03-01T12:00:00,1,2,2026-03-01T12:00:00\n"
    since = read(tmp_path, text)["since"][0]
    assert since.isoformat() == "2026-03-01T17:00:00+00:00", "a feature's naive times are in the config's timezone, too"


def test_ids_and_leading_zeros_of_a_csv_stay(tmp_path: Path) -> None:
    """The traffic of a month need not hold what made a column text in training, nor an id of letters."""
    text = CSV.replace("id,", "tail,n,none,id,").replace("\na,", "\n007,1.50,NA,00012,").replace("\nb,", "\n010,2.5,1,00013,")
    table = read(tmp_path, text)
    assert table["id"].to_list() == ["00013", "00012"] and table["tail"].to_list() == ["010", "007"]
    assert table["n"].to_list() == [2.5, 1.5] and table["none"].to_list() == [1, None], "cells that are missing, as a build has them"
    assert read(tmp_path, text.replace("00012", "12.0").replace("00013", "13.0"))["id"].to_list() == ["13", "12"], "as labels have them"
    table.with_columns(pl.Series("id", [13.0, 12.0])).drop(replays.KNOWN).write_parquet(tmp_path / "traffic.parquet")
    assert replays.read(tmp_path / "traffic.parquet", Config.model_validate(words()), None)["id"].to_list() == ["13", "12"]


def test_features_are_sent_as_the_version_takes_them() -> None:
    columns = (Column("tail", "str"), Column("n", "int"), Column("x", "float"), Column("code", "str"), Column("odd", "int"))
    table = pl.DataFrame({"tail": ["007"], "n": ["007"], "x": ["01.5"], "code": [7], "odd": ["seven"], "beside": ["007"]})
    sent = replays._as_signed(table, Signature("regression", columns))
    assert sent.row(0, named=True) == {"tail": "007", "n": 7, "x": 1.5, "code": "7", "odd": "seven", "beside": "007"}
