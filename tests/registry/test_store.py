"""MLflow's database after an attempt to make it was cut short in this very process, as by a full disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from modelyard.registry.store import Store, Trial


def test_tables_that_were_cut_short_are_made_anew_by_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.db import utils

    def cut_short(engine: Any) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE _alembic_tmp_params (x INTEGER)"))
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", cut_short)
        with pytest.raises(OSError, match="No space left"):
            store._open()
    client = store._open()
    assert client.search_registered_models() == []
    assert [p.name for p in tmp_path.glob("*making*")] == []
    tables = client._tracking_client.store.engine.connect().execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert "runs" in tables and "_alembic_tmp_params" not in tables


def trial(number: int, **facts: Any) -> Trial:
    usual: dict[str, Any] = {"metric": "val/loss", "state": "complete", "value": 0.5, "reason": "", "params": {"depth": 3, "rate": 0.1}}
    at = datetime(2026, 1, 2, 3, number, tzinfo=UTC)
    series = (("val/loss", 0, 0.9, 0.1), ("val/loss", 1, 0.5, 0.2), ("epochs//", 0, 1.0, 0.2))
    return Trial(number, started_at=at, seconds=2.5, **{**usual, "series": series, **facts})


def test_trials_are_nested_runs_told_once_though_a_crash_comes_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    client = store._open()
    parent = client.create_run(client.create_experiment("demo")).info.run_id
    given = [
        trial(1),
        trial(2, state="pruned", value=0.9),
        trial(3, state="failed", value=None, reason="it exited with code 1", series=()),
        trial(4, metric="roc_auc", value=0.75, series=()),
        trial(5, series=tuple(("long", step, float(step), step / 1000) for step in range(2501))),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(type(client), "set_terminated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # the first is told whole, but for its end
            store.trials(parent, given)
    store.trials(parent, given)
    store.trials(parent, given)
    monkeypatch.setattr("modelyard.registry.store.PAGE", 2)  # pages are turned
    store.trials(parent, given)

    runs = {run.info.run_name: run for run in client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")}
    assert sorted(runs) == ["trial 1", "trial 2", "trial 3", "trial 4", "trial 5"]
    assert [runs[name].info.status for name in sorted(runs)] == ["FINISHED", "KILLED", "FAILED", "FINISHED", "FINISHED"]
    assert {r.info.end_time - r.info.start_time for r in runs.values()} == {2500}
    first = runs["trial 1"]
    assert first.data.params == {"depth": "3", "rate": "0.1"}
    assert first.data.metrics == {"val/loss": 0.5, "epochs": 1.0}
    history = client.get_metric_history(first.info.run_id, "val/loss")
    assert [(m.step, m.value) for m in history] == [(0, 0.9), (1, 0.5)], "each value once"
    assert runs["trial 3"].data.tags["modelyard.reason"] == "it exited with code 1" and runs["trial 3"].data.metrics == {}
    assert runs["trial 4"].data.metrics == {"roc_auc": 0.75}
    long = client.get_metric_history(runs["trial 5"].info.run_id, "long")
    assert len(long) == 834 and long[-1].value == 2500.0
