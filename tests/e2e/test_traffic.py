"""What happens to real callers: a canary under load, a gate that refuses, a challenge that is lost, a replay that retrains."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import toy
from tests.e2e.person import change, commit, person, until

pytestmark = pytest.mark.slow

CANARY = "deploy:\n  strategy: {type: canary, steps: [20, 50], bake: 1s}\n  rollback: {latency_p99_ratio: 50}\n"
CANARY += "  replay: {min_rows: 20, max_disagreement: 1}\n"
BODY = json.dumps([{"wind": 1.0, "load": 0.5}, {"wind": -1.0, "load": 0.0}])


class Callers:
    """Threads that keep asking an endpoint, half of them over one connection each, half with a new one for each request."""

    def __init__(self, address: str) -> None:
        self._host = address.removeprefix("http://")
        self._stop = threading.Event()
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(keep_alive,)) for keep_alive in (True, True, False, False)]

    def _call(self, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})
                response = connection.getresponse()
                data = response.read()
                answer = json.loads(data)
                good = response.status == 200 and len(answer["predictions"]) == 2
                self._count(answer["version"] if good else "", "" if good else f"{response.status} {data[:200]!r}")
            except (OSError, http.client.HTTPException, ValueError, KeyError) as exc:
                self._count("", repr(exc))
                connection.close()
            if not keep_alive:
                connection.close()
            self._stop.wait(0.01)  # a steady load, and not all that the machine has: the roll-out's own looks take their share
        connection.close()

    def _count(self, version: str, failure: str) -> None:
        with self._lock:
            if failure:
                self.failed.append(failure)
            else:
                self.answered[version] += 1

    @contextmanager
    def calling(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


@pytest.mark.timeout(900)
def test_a_canary_under_load_fails_no_request(environments: Path, tmp_path: Path) -> None:
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        config = me.place / "config.yaml"
        config.write_text(config.read_text() + CANARY)
        me.run("up", "--detach", "--yes", "--port", "0")
        callers = Callers(me.status("toy")["stages"]["production"]["address"])
        with callers.calling():
            change(config, "steps: 200", "steps: 300")
            commit(me.place)
            done = me.json("up", "--detach", "--yes")
            assert done["champion"] == "2", done
            assert me.json("rollback", "toy")["champion"] == "1"
            me.run("deploy", "toy:2", "--yes")
        assert callers.failed == []
        assert sum(callers.answered.values()) > 500, callers.answered
        assert min(callers.answered["1"], callers.answered["2"]) > 50, callers.answered
        moved = [e["data"]["weights"] for e in me.journal("toy") if e["kind"] == "Deployed" and e["data"]["stage"] == "production"]
        assert {"2": 20, "1": 80} in moved and {"2": 50, "1": 50} in moved
        (judged,) = [e["data"] for e in me.journal("toy") if e["kind"] == "ReplayJudged" and e["data"]["run"].startswith("up")]
        assert (judged["version"], judged["champion"], judged["ok"]) == ("2", "1", True) and judged["evidence"]["rows"] > 100
        assert Path(judged["evidence"]["page"]).read_text().startswith("<!doctype html>")
        compared = me.json("compare", "toy:2", "toy:1", "--last", "50", "--html", "compared.html")
        assert (compared["version"], compared["rows"]) == ("toy:2", 50) and (me.place / "compared.html").exists()
        assert "toy:2 beside toy:1" in me.run("compare", "toy:2", "toy:1").out
        assert me.json("rollout", "toy")["last"].startswith("toy:2 promoted in production")
        assert "no traffic of `toy` moves" in me.json("rollout", "toy", "abort", code=2)["error"]["what"]
        served = me.json("who-served", "toy", "--at", "2026-01-01", code=2)
        assert "nothing of `toy` was in production" in served["error"]["what"]


def test_a_refused_gate_registers_nothing_and_leaves_a_report(environments: Path, tmp_path: Path) -> None:
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        me.run("up", "--detach", "--yes", "--port", "0")
        change(me.place / "config.yaml", "threshold: 0.6}", "threshold: 0.9999}")
        said = me.run("build", code=3)
        report = Path(said.out.split("report: ")[1].split("\n")[0])
        assert "0.9999" in report.read_text() and "failed" in report.read_text()
        assert me.json("build", code=3)["error"]["code"] == "gate_refused"
        assert me.json("up", "--detach", "--yes", code=3)["champion"] == "1"
        found = me.status("toy")
        assert [v["version"] for v in found["versions"]] == ["1"] and found["stages"]["production"]["live"]
        assert "gate_failed" in (me.home / "alerts.log").read_text()


def test_a_version_waits_for_a_word(environments: Path, tmp_path: Path) -> None:
    """Exit code 4: nobody may approve their own deployment; the word comes from another terminal, or it is no."""
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        change(me.place / "config.yaml", "allow_self: true", "allow_self: false")
        assert me.json("up", "--detach", "--port", "0", code=4)["champion"] is None
        again = me.run("up", "--detach", "--yes", code=4)
        assert "cannot also approve it" in again.err
        found = me.status("toy")
        assert [w["version"] for w in found["awaiting"]] == ["1"] and "modelyard approve toy:1" in me.run("status", "toy").out
        refused = me.json("approve", "toy:1", code=1)["error"]
        assert refused["code"] == "not_allowed" and "allow_self" in refused["next"]
        me.run("reject", "toy:1", "--comment", "not on a Friday")
        run = me.json("logs", "toy")["run"]
        assert run["status"] == "refused" and "not on a Friday" in run["reason"]
        assert me.status("toy")["champion"] is None
        change(me.place / "config.yaml", "allow_self: false", "allow_self: true")
        assert me.json("up", "--detach", code=4)["champion"] is None
        assert "approved toy:" in me.run("approve", "toy").out


def test_a_lost_challenge_keeps_the_champion(environments: Path, tmp_path: Path) -> None:
    """A model that ranks by one column alone ranks alike whatever it learned: no challenger is ever better by AUC."""
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        change(me.place / "train.py", "rows @ np.array(weights[1:])", "rows[:, 0] * abs(weights[1])")
        me.run("up", "--detach", "--yes", "--port", "0")
        fresh = toy.rows(60, seed=5, prefix="n")
        me.json("predict", "toy", "-", given=json.dumps([{"id": r[0], "wind": r[2], "load": r[3]} for r in fresh]))
        (me.place / "truth.jsonl").write_text("".join(json.dumps({"id": r[0], "late": r[4]}) + "\n" for r in fresh))
        assert me.json("labels", "toy", "truth.jsonl")["new"] == 60
        lost = me.json("retrain", "toy", "--yes")
        assert lost["status"] == "done" and "is kept as a challenger and not promoted" in lost["reason"]
        assert lost["champion"] == "1" and [v["version"] for v in lost["versions"]] == ["2", "1"]
        assert me.json("predict", "toy", "-", given=BODY)["version"] == "1"
        again = me.json("retrain", "toy", "--yes")
        assert again["champion"] == "1" and len(again["versions"]) == 2, "the same rows again: no third version"
        up = me.json("up", "--detach", "--yes")
        assert up["champion"] == "1" and len(up["versions"]) == 2, "`up` on the same config and source has nothing to do"


@pytest.mark.parametrize("by", ["ctrl-c", "down", "sigterm"])
def test_up_in_the_foreground_serves_until_it_is_stopped(environments: Path, tmp_path: Path, by: str) -> None:
    """Stopped cleanly from here or from another terminal: exit code 0, no process left, and the next `up` goes on from there."""
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        going = me.start("up", "--yes", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert going.stdout is not None
        said = list(itertools.takewhile(lambda line: "serving and watching" not in line, going.stdout))
        assert going.poll() is None, "".join(said)
        assert any("console: http://127.0.0.1:" in line for line in said), said
        assert me.json("predict", "toy", "-", given=BODY)["version"] == "1"
        if by == "down":
            me.run("down")
        else:
            going.send_signal(signal.SIGINT if by == "ctrl-c" else signal.SIGTERM)
        going.stdout.read()
        assert going.wait(timeout=30) == 0
        assert until(me.processes, lambda found: not found, "something is left") == []
        assert not (me.home / "console.url").exists()
        assert me.json("up", "--detach", "--yes", "--port", "0")["champion"] == "1"


def test_ctrl_c_lets_go_of_a_run_that_another_process_owns(environments: Path, tmp_path: Path) -> None:
    with person(environments, toy.toy(tmp_path / "toy")) as me:
        change(
            me.place / "train.py",
            "    import numpy as np\n\n    parser",
            "    import time\n\n    import numpy as np\n\n    time.sleep(6)\n    parser",
        )
        going = me.start("server", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: me.run("status", code=None).code, lambda code: code == 0, "no server")
        watching = me.start("build", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: me.json("status"), lambda found: bool(found), "no run")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=10) == 1
        run = me.status("toy")["runs"][0]
        assert run["status"] == "running", "the owner goes on with it"
        until(lambda: me.status("toy")["versions"], lambda found: len(found) == 1, "the build did not go on", seconds=60)
        me.run("down")
        assert going.wait(timeout=30) == 0


REPLAYED = """\
deploy:
  strategy: {type: all_at_once, bake: 0s}
monitor:
  schedule_expression: "0 6 3 * *"
  window: 1mo
  drift: {share: 0.4, min_rows: 100}
  performance:
    label_delay: 48h
    min_labels: 100
    criteria: [{metric: roc_auc, max_drop: 0.1}]
retrain:
  on: [drift, performance]
  cooldown: 40d
  min_new_labels: 200
  window: {type: sliding, length: 34d}
"""


def test_a_replay_judges_three_months_and_retrains_once(environments: Path, tmp_path: Path) -> None:
    """March is like training, in April the wind turns, in May the retrained model serves."""
    place = toy.toy(tmp_path / "toy")
    learned = toy.rows(900, start="2026-01-01", days=58)
    months = [
        toy.rows(600, 1, start="2026-03-01", days=31, prefix="march"),
        toy.rows(900, 2, start="2026-04-01", days=30, prefix="april", wind=2.5, turned=True),
        toy.rows(900, 3, start="2026-05-01", days=31, prefix="may", wind=2.5, turned=True),
    ]
    toy.write(place / "rows.csv", learned)
    traffic = toy.write(tmp_path / "traffic.csv", list(itertools.chain(*months)))
    config = place / "config.yaml"
    config.write_text(config.read_text().split("monitor:")[0] + REPLAYED)
    change(config, "by: random, ratios: [0.6, 0.1, 0.3], seed: 1", "by: time, ratios: [0.6, 0.1, 0.3]")
    change(config, "  id_col: id", "  id_col: id\n  time_col: at")
    change(config, "allow_self: true", "allow_self: true, retrained: not_required")
    commit(place)
    with person(environments, place) as me:
        found = me.json("replay", "config.yaml", str(traffic), "--yes", "--exit", "--port", "0")
        assert (found["sent"], found["failed"]) == (2400, 0)
        entries = me.journal("toy")
        verdicts = {(e["data"]["monitor"], e["data"]["start"][:7]): e["data"]["status"] for e in entries if e["kind"] == "WindowJudged"}
        assert [verdicts["performance", month] for month in ("2026-03", "2026-04", "2026-05")] == ["healthy", "violated", "healthy"]
        assert [verdicts["drift", month] for month in ("2026-03", "2026-04")] == ["healthy", "violated"]
        retrains = [e["data"] for e in entries if e["kind"] == "RunStarted" and e["data"]["flow"] == "retrain"]
        assert len(retrains) == 1 and retrains[0]["by"] == "the governor"
        challenges = [e["data"] for e in entries if e["kind"] == "ChallengeJudged"]
        assert [c["promote"] for c in challenges] == [True]
        assert found["champion"] == "2"
        assert me.json("monitor", "toy") and me.status("toy")["champion"] == "2"
        served = me.json("who-served", "--prediction", "may00899")
        assert served["version"]["version"] == "2" and served["prediction"]["event_time"].startswith("2026-05-31")
        assert me.json("replay", "config.yaml", str(traffic), "--yes", "--exit", code=2)["error"]["what"].startswith("this home has lived")
