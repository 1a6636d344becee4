"""The three examples and a scaffolded repository, from `check` to `down`, by real subprocesses of the CLI in a home of their own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import ROOT, require
from tests.e2e.person import Person, change, commit, person, repository, until

pytestmark = pytest.mark.slow

AT_ONCE = "deploy:\n  strategy: {type: all_at_once, bake: 1s}\n"


@contextmanager
def before(example: str, environments: Path, tmp_path: Path) -> Iterator[Person]:
    place = repository(ROOT / "examples" / example, tmp_path / example)
    with person(environments, place) as somebody:
        yield somebody


def goes_up(me: Person, model: str) -> dict[str, Any]:
    """check, plan, up, status: the first version in production, on the word of whoever asked."""
    assert f"holds: {model}" in me.run("check").out
    planned = me.json("plan")
    assert [c["effect"] for c in planned["changes"]] == ["build"] and planned["model"] == model
    done = me.json("up", "--detach", "--yes", "--port", "0")
    assert (done["status"], done["champion"]) == ("done", "1")
    assert me.json("plan")["changes"] == []
    found = me.status(model)
    assert found["stages"]["production"]["live"] and found["stages"]["staging"]["live"]
    assert all("passed" in gate for gate in found["versions"][0]["gates"])
    assert Path(found["versions"][0]["report"]).stat().st_size < 2_000_000
    assert len(found["versions"][0]["approvals"]) == 1
    assert model in me.run("status").out and "passed" in me.run("status", model).out
    return found


def predicts(me: Person, model: str, rows: list[dict[str, Any]], id_col: str) -> list[dict[str, Any]]:
    """By JSON, by CSV and by standard input, all alike; and the journal says who answered."""
    (me.place / "rows.json").write_text(json.dumps(rows))
    write_csv(me.place / "rows.csv", rows)
    by_json = me.json("predict", model, "rows.json")
    by_csv = me.json("predict", model, "rows.csv")
    by_hand = me.json("predict", model, "-", given=json.dumps(rows[0]))
    assert by_json == by_csv and by_hand["predictions"] == by_json["predictions"][:1]
    assert [p["inference_id"] for p in by_json["predictions"]] == [row[id_col] for row in rows]
    served = me.json("who-served", "--prediction", rows[1][id_col])
    assert served["stage"] == "production" and served["version"]["version"] == by_json["version"]
    assert served["prediction"]["y.prediction"] == by_json["predictions"][1]["prediction"]
    assert len(served["version"]["commit"]) == 40 and served["version"]["gates"] and served["version"]["approvals"]
    answers: list[dict[str, Any]] = by_json["predictions"]
    return answers


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def batches(me: Person, model: str, rows: list[dict[str, Any]], answers: list[dict[str, Any]], id_col: str) -> None:
    """A file of rows into a file of predictions, in each format, as the endpoint answers."""
    pl.DataFrame(rows).write_parquet(me.place / "rows.parquet")
    (me.place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    readers = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}
    for source, target in (("csv", "parquet"), ("parquet", "jsonl"), ("jsonl", "csv")):
        done = me.json("batch", model, f"rows.{source}", f"out.{target}")
        assert done["rows"] == len(rows)
        table = readers[target](me.place / f"out.{target}")
        assert table[id_col].to_list() == [row[id_col] for row in rows]
        assert table["prediction"].to_list() == [answer["prediction"] for answer in answers]


def second_version(me: Person, model: str, old: str, new: str) -> None:
    """A changed hyperparameter: planned, built, released; then back to the first, and the second again by `deploy`."""
    change(me.place / "config.yaml", old, new)
    commit(me.place)
    assert any("hyperparameters" in c["sentence"] for c in me.json("plan")["changes"])
    assert me.json("up", "--detach", "--yes")["champion"] == "2"
    assert me.json("rollback", model)["champion"] == "1"
    assert me.json("predict", model, "rows.json")["version"] == "1"
    me.run("deploy", f"{model}:2", "--yes")
    assert me.json("predict", model, "rows.json")["version"] == "2"


def comes_back(me: Person, model: str, answers: list[dict[str, Any]]) -> None:
    """After `down` nothing runs and everything is known; `up` brings the same version back without building it."""
    address = me.status(model)["stages"]["production"]["address"]
    me.down()
    found = me.status(model)
    assert found["champion"] and not found["stages"]["production"]["live"]
    assert "no endpoint that is up" in me.run("predict", model, "rows.json", code=1).err
    done = me.json("up", "--detach", "--yes")
    assert [v["version"] for v in done["versions"]] == [v["version"] for v in found["versions"]]
    assert done["stages"]["production"]["address"] == address, "it keeps its port"
    assert me.json("predict", model, "rows.json")["predictions"] == answers


def test_breast_cancer(environments: Path, tmp_path: Path) -> None:
    model = "breast-cancer"
    with before(model, environments, tmp_path) as me:
        config = me.place / "config.yaml"
        config.write_text(config.read_text().replace("monitor:\n", f"{AT_ONCE}monitor:\n"))
        change(config, "window: 1d", "window: 5s")
        change(config, "label_delay: 7d ", "label_delay: 1s ")
        change(config, "min_rows: 100}\n  perf", "min_rows: 30}\n  perf")
        goes_up(me, model)
        with (me.place / "breast_cancer.csv").open() as file:
            known = list(csv.DictReader(file))
        rows: list[dict[str, Any]] = [
            {k: v if k == "sample_id" else float(v) for k, v in row.items() if k != "diagnosis"} for row in known[:200]
        ]
        answers = predicts(me, model, rows, "sample_id")
        right = sum(a["prediction"] == k["diagnosis"] for a, k in zip(answers, known, strict=False))
        assert right > 180
        batches(me, model, rows, answers, "sample_id")

        write_csv(me.place / "truth.csv", [{"sample_id": k["sample_id"], "diagnosis": k["diagnosis"]} for k in known[:200]])
        assert me.json("labels", model, "truth.csv")["new"] == 200
        once_more = me.json("labels", model, "truth.csv")
        assert (once_more["new"], once_more["corrected"], once_more["repeated"]) == (0, 0, 200)
        verdicts = until(
            lambda: {v["monitor"]: v for v in me.json("monitor", model, "--now") if v["evidence"].get("rows")},
            lambda found: {"drift", "performance"} <= set(found),
            "a window of five seconds is not judged",
        )
        assert verdicts["performance"]["status"] == "healthy" and "recall" in verdicts["performance"]["reason"]
        assert verdicts["drift"]["version"] == "1"
        assert "performance" in me.run("monitor", model).out

        second_version(me, model, "C: 0.5", "C: 0.05")
        same = me.json("data", "diff", f"{model}:1", f"{model}:2")
        assert same["rows"] == [569, 569] and max(c["psi"] or 0 for c in same["columns"]) == 0
        half = me.json("data", "diff", "breast_cancer.csv", "rows.csv")
        assert half["rows"] == [569, 200] and half["removed"] == ["diagnosis"]

        for version in ("1", "2"):
            again = me.json("reproduce", f"{model}:{version}")
            assert again["reproduced"] and "predictions and" in again["reason"]

        retrained = me.json("retrain", model, "--yes")
        assert retrained["status"] == "done", retrained
        assert [v["version"] for v in retrained["versions"]] == ["3", "2", "1"]
        assert ("kept as a challenger" in retrained["reason"]) == (retrained["champion"] == "2")

        logs = me.json("logs", model)
        assert logs["run"]["run"] == retrained["run"] and logs["items"][-1]["kind"] == "ended"
        assert "trained on" in me.run("logs", retrained["run"]).out
        comes_back(me, model, me.json("predict", model, "rows.json")["predictions"])


def test_iris_onnx(environments: Path, tmp_path: Path) -> None:
    """A model that somebody else made: no training step, so nothing to reproduce."""
    model = "iris-onnx"
    with before(model, environments, tmp_path) as me:
        goes_up(me, model)
        with (me.place / "iris.csv").open() as file:
            known = list(csv.DictReader(file))
        rows: list[dict[str, Any]] = [{k: v if k == "flower_id" else float(v) for k, v in row.items() if k != "species"} for row in known]
        answers = predicts(me, model, rows, "flower_id")
        assert sum(a["prediction"] == int(k["species"]) for a, k in zip(answers, known, strict=True)) > 135
        assert set(answers[0]["probabilities"]) == {"0", "1", "2"}
        batches(me, model, rows, answers, "flower_id")
        assert "brought already trained" in me.json("reproduce", f"{model}:1", code=2)["error"]["what"]
        assert "no earlier version" in me.json("rollback", model, code=2)["error"]["what"]
        assert me.json("monitor", model, "--now") == []
        comes_back(me, model, answers)


def flights() -> Path:
    """The example with its data, fetched where it is not there."""
    example = ROOT / "examples" / "flights"
    if not (example / "data" / "traffic.parquet").exists():
        done = subprocess.run([sys.executable, str(example / "prepare.py")], capture_output=True, text=True, timeout=240)
        require("" if done.returncode == 0 else f"the flights cannot be had: {done.stderr.strip()[-300:]}")
    return example


def test_flights(environments: Path, tmp_path: Path) -> None:
    model, example = "flight-delay", flights()
    traffic = pl.read_parquet(example / "data" / "traffic.parquet", n_rows=300)
    with before("flights", environments, tmp_path) as me:
        change(me.place / "config.yaml", "type: canary, steps: [25, 50], bake: 1s", "type: all_at_once, bake: 1s")
        found = goes_up(me, model)
        assert 0.60 < found["versions"][0]["metrics"]["roc_auc"] < 0.75
        # Without its time, which lies too far back for an endpoint whose clock is the wall's: it counts as happening now.
        columns = ["flight_id", "carrier", "origin", "dest", "sched_dep_time", "sched_arr_time", "distance", "weekday", "dep_hour"]
        rows: list[dict[str, Any]] = json.loads(traffic.select(columns).write_json())
        answers = predicts(me, model, rows, "flight_id")
        batches(me, model, rows, answers, "flight_id")
        old = json.dumps({**rows[0], "scheduled_at": traffic["scheduled_at"][0].isoformat()})
        assert "days ago" in me.json("predict", model, "-", given=old, code=2)["error"]["what"]
        traffic.filter(pl.col("late").is_not_null()).select("flight_id", "late").write_csv(me.place / "truth.csv")
        assert me.json("labels", model, "truth.csv")["new"] == traffic["late"].count()
        me.run("monitor", model, "--now")
        second_version(me, model, "max-iter: 150", "max-iter: 60")
        assert me.json("reproduce", f"{model}:1")["reproduced"]
        drift = me.json("data", "diff", f"{model}:1", "rows.csv")
        assert {c["column"] for c in drift["columns"]} >= {"carrier", "distance"}
        comes_back(me, model, me.json("predict", model, "rows.json")["predictions"])


def test_a_scaffolded_repository(environments: Path, tmp_path: Path) -> None:
    """`init` on nothing but a table, then `check` and `build`, with no line written by hand."""
    place = tmp_path / "churn"
    place.mkdir()
    (place / "breast_cancer.csv").write_bytes((ROOT / "examples" / "breast-cancer" / "breast_cancer.csv").read_bytes())
    with person(environments, place) as me:
        written = me.json("init", "--data", "breast_cancer.csv", "--target", "diagnosis")["written"]
        assert {"config.yaml", "train.py", "requirements.txt"} <= {Path(w).name for w in written}
        text = (place / "config.yaml").read_text()
        assert (
            me.json("init", "--data", "breast_cancer.csv", "--target", "diagnosis", code=None)
            and (place / "config.yaml").read_text() == text
        )
        assert me.json("check")["ok"]
        built = me.json("build")
        assert built["status"] == "done" and built["versions"][0]["metrics"]["roc_auc"] > 0.9
