"""What is kept of an endpoint's requests, and what the owner makes of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.spec import Capture
from modelyard.events import CaptureTrimmed, Deployed
from modelyard.flows import capturing, history, holdout
from modelyard.flows.monitor import alarming
from modelyard.monitor import alarms, datacapture
from modelyard.monitor.book import Word
from modelyard.serve import capture, captured
from modelyard.serve.rows import Rows
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Signature

from .releases import SIGNATURE
from .watched import DAY, T0, Watched, settings


def world_with(home: Path, monkeypatch: pytest.MonkeyPatch, **kept: Any) -> Watched:
    return Watched(home, monkeypatch, settings(deploy={"capture": kept}))


def journal(world: Watched) -> list[str]:
    return [str(entry.event) for entry in world.shop.journal.entries("demo", limit=1000) if isinstance(entry.event, CaptureTrimmed)]


def answered(world: Watched, signature: Signature = SIGNATURE, **more: Any) -> None:
    """A request by a front of production."""
    config = world.shop.stage_config("demo", "production").deploy.capture
    asked = capture.begin(
        _with_folder(capturing.asked(world.shop, config), str(history.folder(world.shop, "demo"))), more.pop("stats", CaptureStats())
    )
    assert asked is not None
    ids, times = more.get("ids", ["p"]), more.get("times")
    at = None if times is None else [int(one.timestamp() * 1e6) for one in times]
    rows = Rows({"x": [1.5] * len(ids)}, len(ids), ids, int(T0.timestamp() * 1e6), at, more.get("extras", {}))
    asked.write("1", signature, rows, {"prediction": [3.0] * len(ids)}, 1.0)
    asked.close()


def _with_folder(asked: Any, folder: str) -> Any:
    import msgspec

    return msgspec.structs.replace(asked, dir=folder)


def test_rows_older_than_asked_go_and_the_journal_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with(home, monkeypatch, retain="10d")
    for day in range(20):
        world.capture([f"{day}-{i}" for i in range(5)], T0 + day * DAY)
    world.time.advance_to(T0 + 20 * DAY)
    assert capturing.tidy(world.shop, "demo", "production").rows == 50
    assert history.answers(world.shop, "demo").height == 50
    assert journal(world) == ["50 captured rows of production let go; those since 2026-03-10T00:00:04 are kept"]
    assert capturing.tidy(world.shop, "demo", "production").rows == 0 and len(journal(world)) == 1


def test_what_was_said_of_old_windows_goes_with_their_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what alarms look back at, however short rows are kept."""
    assert max(alarming.BACK, alarming.LONGEST) <= capturing.WORDS and max(max(both) for both in alarms.SEASONS) < capturing.SILENCE
    world = world_with(home, monkeypatch, retain="40d")
    monkeypatch.setattr(capturing, "WORDS", 3)
    for day in range(60):
        start, end = (T0 + day * DAY).isoformat(), (T0 + (day + 1) * DAY).isoformat()
        kinds = ["drift", "performance"] if day < 9 else ["drift"]
        world.shop.book.put([Word("demo", kind, start, end, "1", "healthy", "", end) for kind in kinds])
    world.time.advance_to(T0 + 60 * DAY)
    capturing.tidy(world.shop, "demo", "staging")
    assert len(world.words("drift")) == 60
    capturing.tidy(world.shop, "demo", "production")
    assert world.words("drift")[0].end == (T0 + 20 * DAY).isoformat() and len(world.words("drift")) == 41
    assert [w.end[:10] for w in world.words("performance")] == ["2026-03-08", "2026-03-09", "2026-03-10"]


def test_the_newest_window_and_an_open_roll_out_keep_their_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with(home, monkeypatch, max_size="1KB")
    for day in range(6):
        world.capture([f"{day}"], T0 + day * DAY)
        world.time.advance_to(T0 + day * DAY + timedelta(hours=12))
        if day == 2:
            world.begin("up", "run-9")
            world.shop.record([Deployed("demo", "production", "", {"1": 90, "2": 10}, "a roll-out")])
    done = capturing.tidy(world.shop, "demo", "production")
    assert sorted(history.answers(world.shop, "demo")["inference_id"]) == ["3", "4", "5"] and done.over > 0
    world.shop.record([Deployed("demo", "production", "", {"1": 100}, "it is over")])
    assert capturing.tidy(world.shop, "demo", "production").over > 0
    assert sorted(history.answers(world.shop, "demo")["inference_id"]) == ["4", "5"], "yesterday's window and today's"


def test_sagemakers_files_are_written_once_whoever_compacts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with(home, monkeypatch, sagemaker=True)
    answered(world)
    root = world.home.endpoints / "demo-production" / "sagemaker"
    assert not root.exists()
    history.answers(world.shop, "demo")  # a monitor looks
    (file,) = root.rglob("*.jsonl")
    assert file.relative_to(root).parts[:6] == ("demo-production", "1", "2026", "03", "01", "00")
    assert json.loads(file.read_text())["eventMetadata"]["inferenceId"] == "p"


def test_sagemakers_files_hold_what_callers_asked_and_when_it_happened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they sent it: monitors that read the files put each row into the window that it is of. Requests of our own are none of it."""
    world = world_with(home, monkeypatch, sagemaker=True)
    named = {**settings(), "deploy": {"capture": {"sagemaker": True}}}
    named["data"] = {**named["data"], "time_col": "at"}
    world.enforce(named, "config-3")
    answered(world, ids=["p", f"{holdout.SMOKE}-0"], times=[T0 - 3 * DAY, T0])
    capturing.compact(world.shop, "demo", "production")
    (file,) = (world.home.endpoints / "demo-production" / "sagemaker").rglob("*.jsonl")
    (event,) = map(json.loads, file.read_text().splitlines())
    assert json.loads(event["captureData"]["endpointInput"]["data"])["at"] == "2026-02-26T00:00:00Z"
    signed = replace(SIGNATURE, time_col="at")
    (row,) = datacapture.read(file, signed, T0 + DAY).iter_rows(named=True)
    assert (row["event_time"], row["received_at"]) == (T0 - 3 * DAY, T0)


def test_a_hashed_column_has_one_key_in_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with(home, monkeypatch, redact=[{"column": "mail", "how": "hash"}])
    answered(world, extras={"mail": ["ada@example.org"]})
    key = world.home.path / "capture.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    first = key.read_bytes()
    asked = capturing.asked(world.shop, Capture.model_validate({"redact": [{"column": "mail", "how": "hash"}]}))
    assert asked.key == str(key) and key.read_bytes() == first
    (hashed,) = history.answers(world.shop, "demo")["x.mail"]
    assert len(hashed) == 64 and "ada" not in hashed
    assert capturing.asked(world.shop, Capture()).key is None


def test_drift_of_a_redacted_feature_is_not_judged_and_the_verdict_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings(deploy={"capture": {"redact": [{"column": "x"}]}})
    world = Watched(home, monkeypatch, words)
    world.capture([f"{i}" for i in range(20)], T0, x=[1000.0] * 20)  # far from the baseline; kept before the rule came
    where = history.folder(world.shop, "demo")
    rows = captured.read(where).drop("f.x")
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    (said,) = [word.reason for word in world.words("drift") if word.evidence["rows"]]
    assert said.endswith("; not judged, since the capture does not keep it: x") and "moved (x" not in said
    assert rows.height == 20


def test_a_redacted_column_is_not_learned_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars as pl

    from modelyard.config.spec import Config
    from modelyard.data.parts import of

    words = settings(deploy={"capture": {"redact": [{"column": "x", "how": "hash"}]}})
    world = Watched(home, monkeypatch, words)
    world.capture(["7"], T0)
    world.label({"7": 3.0})
    source = of(pl.DataFrame({"x": [0.5], "y": [1.0]}))
    table, added, _ = history.extend(world.shop, Config.model_validate(words), source, None, T0 + DAY, home / "spool")
    assert added == 1 and table.frame()["x"].to_list() == [0.5, None]


def test_a_hash_from_when_a_column_was_redacted_is_not_learned_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a value of a text column it would be one more category."""
    import polars as pl

    from modelyard.config.spec import Config
    from modelyard.data.parts import of

    world = Watched(home, monkeypatch, settings(deploy={"capture": {"redact": [{"column": "x", "how": "hash"}]}}))
    world.capture(["7", "8"], T0)
    (file,) = history.folder(world.shop, "demo").glob("rows-*.parquet")
    made = pl.Series("f.x", ["AA", hashlib.sha256(b"x").hexdigest()])
    pl.read_parquet(file, glob=False).with_columns(made).write_parquet(file)
    world.label({"7": 3.0, "8": 3.0})
    source = of(pl.DataFrame({"x": ["UA"], "y": [1.0]}))
    table, added, left_out = history.extend(world.shop, Config.model_validate(settings()), source, None, T0 + DAY, home / "spool")
    assert added == 1 and table.frame()["x"].to_list() == ["UA", "AA"]
    assert left_out == ["1 rows have hashes of x, which was redacted then, and are left out."]
