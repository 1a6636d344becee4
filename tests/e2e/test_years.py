"""Real years replayed from their first version to their last row: what the monitors say of each window, before labels and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import ROOT
from tests.e2e.person import Person, change, commit, person, repository
from tests.e2e.test_examples import flights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # one to three minutes each, of a machine that does nothing else

Word = dict[str, Any]


@dataclass(frozen=True)
class Years:
    """Who replayed them, what came of it, the traffic, and what each monitor said of its windows in the end, oldest first."""

    me: Person
    model: str
    found: dict[str, Any]
    traffic: pl.DataFrame
    said: dict[str, list[Word]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The journal's entries of a kind, oldest first."""
        return [entry["data"] for entry in self.me.journal(self.model) if entry["kind"] == kind]

    def statuses(self, kind: str) -> list[str]:
        return [word["status"] for word in self.said[kind]]


@contextmanager
def replayed(
    source: Path,
    model: str,
    environments: Path,
    tmp_path: Path,
    table: str = "traffic.parquet",
    prepare: Callable[[Path], object] = lambda place: None,
) -> Iterator[Years]:
    place = repository(source, tmp_path / source.name)
    prepare(place)
    commit(place)
    with person(environments, place) as me:
        words = ("replay", "config.yaml", table, "--label-time", "label_known_at", "--yes", "--exit", "--port", "0")
        found = json.loads(me.run(*words, "--json", timeout=1200).out)
        traffic = pl.read_parquet(place / table)
        assert (found["sent"], found["failed"]) == (traffic.height, 0)
        said: dict[str, list[Word]] = {}
        for word in me.json("monitor", model):
            said.setdefault(word["monitor"], []).append(word)
        yield Years(me, model, found, traffic, said)


def metrics(word: Word) -> dict[str, float]:
    found: dict[str, float] = word["evidence"]["metrics"]
    return found


def decided_with_reasons(years: Years) -> list[dict[str, Any]]:
    """The retrainings that the governor began: each ended with a reason, and its challenger took over or was dropped by a measure.

    No roll-out was taken back by an alarm: none of these versions fails, and what moved was the world. Only one that begins when the
    traffic is nearly over goes back, since nobody asks it.
    """
    began = [run for run in years.of("RunStarted") if run["flow"] == "retrain"]
    assert all(run["by"] == "the governor" for run in began)
    ended = {run["run"]: run for run in years.of("RunEnded")}
    mine = [ended[run["run"]] for run in began]
    assert all(run["reason"] and (run["status"] == "done" or "no data never promotes" in run["reason"]) for run in mine), mine
    judged = {one["run"]: one for one in years.of("ChallengeJudged")}
    assert set(judged) == {run["run"] for run in began} and all(one["reason"] for one in judged.values())
    assert len(years.me.status(years.model)["versions"]) == 1 + len(began)
    won = [run for run in mine if run["status"] == "done" and judged[run["run"]]["promote"]]
    assert (years.found["champion"] == "1") == (not won)
    return began


def fewer(place: Path) -> None:
    """A third of the animals: the whole of them are played by docs/how-to/watch-a-model.md, and its test."""
    for name in ("rodents.parquet", "traffic.parquet"):
        table = pl.read_parquet(place / name)
        table.filter(pl.int_range(pl.len()) % 3 == 0).write_parquet(place / name)
    change(place / "config.yaml", "min_new_labels: 500", "min_new_labels: 150")


def test_rodents_change_with_the_desert_and_the_model_with_them(environments: Path, tmp_path: Path) -> None:
    with replayed(ROOT / "examples" / "rodents", "rodents", environments, tmp_path, prepare=fewer) as years:
        said = years.said
        assert len(said["drift"]) == len(said["performance"]) == len(said["estimate"]) == 19, "a year each, 1984 to 2002"
        accuracy = [metrics(word)["accuracy"] for word in said["performance"]]
        assert all(0.3 < a < 0.95 for a in accuracy)
        assert "violated" in years.statuses("performance")
        assert max(word["revision"] for word in said["performance"]) > 1, "a year whose last species were settled after it was judged"
        assert {"warning", "violated"} & set(years.statuses("drift"))
        assert 1 <= len(decided_with_reasons(years)) <= 18, "a year apart at least"
        assert int(years.found["champion"]) > 1, "a challenger that learned of the change took over"


def test_hotel_rates_rise_and_fall_with_the_year(environments: Path, tmp_path: Path) -> None:
    with replayed(ROOT / "examples" / "hotel-rates", "hotel-rates", environments, tmp_path) as years:
        said = years.said
        assert len(said["performance"]) >= 35, "a week each, December to August"
        assert set(years.statuses("performance")) >= {"healthy", "violated"}
        assert max(word["revision"] for word in said["performance"]) > 2, "guests who stay for long are settled late"
        both = {word["start"]: word["evidence"] for word in said["performance"] if "estimated" in word["evidence"]}
        assert len(both) > 20, "weeks whose error was estimated before it was known"
        assert 1 <= len(decided_with_reasons(years)) <= 9, "no more than one a month"
        assert years.found["alerts"] >= 2


EVERY = 10
"""Of the flights one in so many: ten months in a minute or two."""


def thinned(place: Path) -> None:
    """A tenth of the traffic, and a config whose counts are a tenth."""
    table = pl.read_parquet(place / "data" / "traffic.parquet")
    table.filter(pl.int_range(pl.len()) % EVERY == 0).write_parquet(place / "data" / "tenth.parquet")
    change(place / "config.yaml", "min_rows: 1000}", "min_rows: 500}")
    change(place / "config.yaml", "min_labels: 1000", "min_labels: 500")
    change(place / "config.yaml", "min_new_labels: 5000", "min_new_labels: 500")


def month(word: Word) -> str:
    """2013-03 of a window that begins on the first of March in New York."""
    assert word["start"].endswith(("-01T05:00:00+00:00", "-01T04:00:00+00:00"))
    return str(word["start"][:7])


def test_the_flights_of_2013_month_by_month(environments: Path, tmp_path: Path) -> None:
    """Labels a day late, a few a week: counted once each, whenever they come; the estimate's band holds what they tell."""
    with replayed(flights(), "flight-delay", environments, tmp_path, "data/tenth.parquet", thinned) as years:
        months = [f"2013-{m:02}" for m in range(3, 13)]
        for kind in ("data_quality", "drift", "estimate", "performance", "bias", "attribution"):
            assert [month(word) for word in years.said[kind]] == months, kind
        local = pl.col("scheduled_at").dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m")
        came = dict(years.traffic.group_by(local).agg(pl.col("late").count()).iter_rows())
        rows = dict(years.traffic.group_by(local).len().iter_rows())
        whole = [w["evidence"] | {"month": month(w)} for w in years.said["performance"] if w["evidence"]["rows"] == rows[month(w)]]
        assert len(whole) >= 6, "months in which no version took over from another"
        told = {one["month"]: one["labels"] for one in whole if one["month"] != "2013-12"}  # the replay ends before December's last ones
        assert told == {m: came[m] for m in told}, "each label once, also those of a week later"
        assert sum(word["revision"] > 1 for word in years.said["performance"]) >= 8

        first = [w for w in years.said["performance"] if w["version"] == "1"]
        known = {word["start"]: word for word in years.said["estimate"] if word["version"] == "1"}
        bands = [known[w["start"]]["evidence"]["intervals"]["roc_auc"] for w in first]
        assert all(low <= metrics(w)["roc_auc"] <= high for w, (low, high) in zip(first, bands, strict=True)), "as was foretold"
        assert all(high - low < 0.2 for low, high in bands), "and the band says something"
        assert years.statuses("data_quality") == ["healthy"] * 10
        assert years.statuses("drift")[0] == "healthy", "March is like January and February"
        decided_with_reasons(years)
