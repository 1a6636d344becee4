"""The search over hyperparameters: its trials as durable steps, by a trainer of a few lines that needs no process, then by a real one."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import psutil
import pytest

from modelyard.build.metrics import Recorder
from modelyard.build.study import Study
from modelyard.config.spec import Tune
from modelyard.durable import Stopped
from modelyard.errors import BadInput, NoRoom, StepFailed
from modelyard.events import StepDone, VersionRegistered
from modelyard.flows import trials, tuning
from modelyard.flows.build import made
from modelyard.flows.site import Site
from modelyard.runners import Loadable
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature
from modelyard.targets.base import Job, JobState, OnLine
from modelyard.targets.fake import FakeTarget
from modelyard.targets.local import LocalTarget
from tests.flows.test_processing import Bench
from tests.killing import FORKED, Command, Home, Item, Place

SPACE = {"x": {"float": [-3.0, 3.0]}, "kind": {"choice": [1, True, "deep"]}}
LOSS = {"metric": "loss", "direction": "minimize"}
Trainer = Callable[[dict[str, Any], OnLine], None]


def square(given: dict[str, Any], say: OnLine) -> None:
    """Ten epochs to x squared, from above."""
    for epoch in range(10):
        say(f"epoch {epoch} loss={given['x'] ** 2 + 10 - epoch - 1:.6f}")


@dataclass
class Trained:
    """A trainer as a job's work; it remembers what it was asked."""

    trainer: Trainer = square
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, job: Job, on_line: OnLine, cancel: threading.Event) -> JobState:
        given = dict(job.hyperparameters)
        self.asked.append((job.name, given))
        (job.base / "model").mkdir(parents=True, exist_ok=True)
        recorder = Recorder(job.metrics, job.base / "metrics.json")

        def say(line: str) -> None:
            if cancel.is_set():
                raise StepFailed("it was cancelled")
            recorder.hear(line)
            on_line(line)

        self.trainer(given, say)
        (job.base / "model" / "model.json").write_text(json.dumps(given))
        beside = {"metrics.json": job.base / "metrics.json"} if recorder.last else {}
        return JobState("done", output=job.base / "model", beside=beside, metrics=recorder.last)


class Lab(Bench):
    """A bench whose trainings are Python functions."""

    work: Trained

    def trained_by(self, trainer: Trainer = square) -> None:
        self.shop.target.close()
        self.work = Trained(trainer)
        self.shop.target = FakeTarget(self.work)

    def tuned(self, objective: dict[str, Any] = LOSS, script: str = "train.py", **tune: Any) -> Site:
        """The site of a run that is to search."""
        asked = {"trials": 8, "objective": objective, "space": SPACE, **tune}
        train = {"entry_point": script, "hyperparameters": {"depth": 3}, "metric_definitions": [{"name": "loss", "regex": "loss=(.*)"}]}
        site = self.site({}, train={**train, "tune": asked})
        self.code, self.data = self.settled(site)
        return site

    def search(self, site: Site) -> dict[str, Any]:
        return tuning.train(site, "", self.code, self.data)

    def told(self) -> list[dict[str, Any]]:
        """The trials' receipts."""
        return [value for name, value in self.shop.runs.receipts(self.record.id).items() if name.startswith("trial ")]


@pytest.fixture
def lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab(home, monkeypatch)
    lab.trained_by()
    yield lab
    lab.shop.close()
    lab.shop.target.close()


def test_the_best_trial_becomes_the_model_and_its_hyperparameters_the_versions(lab: Lab) -> None:
    site = lab.tuned(trials=12)
    best = lab.search(site)
    told = lab.told()
    values = [trial["params"]["x"] ** 2 for trial in told]
    assert [trial["value"] for trial in told] == pytest.approx(values, abs=1e-6)
    assert best["trial"] == 1 + values.index(min(values)) and best["metrics"] == {"loss": pytest.approx(min(values), abs=1e-6)}
    assert best["hyperparameters"] == {"depth": 3, **told[best["trial"] - 1]["params"]}
    assert json.loads((site.model / "model.json").read_text()) == best["hyperparameters"]
    assert made(site) == {"outputs": [["train", best["output"]]], "hyperparameters": best["hyperparameters"]}
    assert len(tuning.told(site)[best["trial"] - 1].series) == 10 == len((site.folder / "metrics.json").read_text().splitlines())
    assert not [p for p in (site.folder / "trials").glob("*/*") if p.is_dir()], "what trials made is let go of"
    assert {type(trial["params"]["kind"]) for trial in told} == {int, bool, str}, "1 and true are two choices"
    document = json.loads((site.folder / "tuning.json").read_text())
    assert (document["metric"], document["direction"], document["best"]) == ("loss", "minimize", best["trial"])
    assert [t["value"] for t in document["trials"]] == [t["value"] for t in told]
    assert document["importances"]["x"] > document["importances"]["kind"]
    assert [n for n in lab.ran() if "tr" in n] == [*(f"trial {n}" for n in range(1, 13)), "train"]
    last = [item for item in site.run.feed.items() if item["kind"] == "trials"][-1]
    assert (last["done"], last["total"], last["best"]["number"]) == (12, 12, best["trial"])
    assert last["sentence"].startswith(f"12 of 12 trials; the best so far is trial {best['trial']} with 0.")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_one_seed_tries_the_same_and_another_does_not(lab: Lab, sampler: str) -> None:
    def tried(seed: int) -> list[Any]:
        lab.search(lab.tuned(trials=14, sampler=sampler, seed=seed))
        return [trial["params"] for trial in lab.told()]

    first = tried(1)
    assert first == tried(1) != tried(2)


class Killed(BaseException):
    """The process dies here, as far as a run can tell."""


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband"])
def test_wherever_it_is_cut_short_the_search_comes_out_as_if_it_had_not_been(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, pruner: str
) -> None:
    asked: dict[str, Any] = {"trials": 14, "pruner": pruner}
    lab.search(lab.tuned(**asked))
    whole = [{k: v for k, v in trial.items() if k not in ("seconds", "at", "started_at")} for trial in lab.told()]
    states = Counter(trial["state"] for trial in whole)
    assert states["complete"] and (pruner == "none") == (states["pruned"] == 0), states
    lab.tuned(**asked)
    keep = lab.shop.runs.keep

    def once(name: str, when: str) -> None:
        """Die at the receipt of a step: just before it, or just after."""

        def dies(run: str, step: str, value: Any, events: Any) -> Any:
            kept = None if step == name and when == "before" else keep(run, step, value, events)
            if step == name:
                raise Killed
            return kept

        monkeypatch.setattr(lab.shop.runs, "keep", dies)
        with pytest.raises(Killed):
            lab.search(lab.again())
        monkeypatch.setattr(lab.shop.runs, "keep", keep)

    for name, when in (("trial 1", "before"), ("trial 4", "after"), ("trial 5", "before"), ("trial 13", "before"), ("train", "before")):
        once(name, when)
    site = lab.again()
    lab.search(site)
    assert [{k: v for k, v in trial.items() if k not in ("seconds", "at", "started_at")} for trial in lab.told()] == whole
    assert json.loads((site.model / "model.json").read_text())["depth"] == 3
    kept = [item["step"] for item in lab.shop.runs.feed(lab.record.id).items() if item["kind"] == "step_done"]
    assert Counter(kept).most_common(1)[0][1] == 1, "no trial was counted twice"


def test_trials_that_were_cut_short_in_parallel_are_done_again_with_the_same_hyperparameters(lab: Lab) -> None:
    """Three run when the owner closes; what two of them had found must not change what the third tries."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def waits(given: dict[str, Any], say: OnLine) -> None:
        begun.release()
        while not gate.is_set():
            say("still")
            time.sleep(0.005)
        square(given, say)

    lab.trained_by(waits)
    site = lab.tuned(trials=6, parallel=3, sampler="tpe")
    failed: list[BaseException] = []

    def go() -> None:
        try:
            lab.search(site)
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=go)
    thread.start()
    for _ in range(3):
        begun.acquire()
    lab.shop.runs.stop()
    lab.shop.target.close()
    thread.join()
    assert isinstance(failed[0], Stopped) and lab.told() == []
    before = dict(lab.work.asked)
    assert sorted(before) == ["trial 1", "trial 2", "trial 3"]
    lab.shop.runs._stopping = False  # as a new owner finds it
    lab.trained_by()
    lab.search(lab.again())
    after = dict(lab.work.asked)
    assert {name: after[name] for name in before} == before
    assert [trial["number"] for trial in sorted(lab.told(), key=lambda t: t["number"])] == [1, 2, 3, 4, 5, 6]


def test_an_objective_that_no_trial_reports_ends_the_search_after_the_first_ones(lab: Lab) -> None:
    def silent(given: dict[str, Any], say: OnLine) -> None:
        say("accuracy: 0.7")

    lab.trained_by(silent)
    with pytest.raises(StepFailed) as failed:
        lab.search(lab.tuned(trials=20))
    assert "the first trial ended without a value of loss" in failed.value.what and "loss=(.*)" in failed.value.what
    assert failed.value.log_tail == ("accuracy: 0.7",) and "train.metric_definitions" in failed.value.next
    assert len(lab.work.asked) == 1
    lab.trained_by(silent)
    with pytest.raises(StepFailed, match="--no-cache"):
        lab.search(lab.tuned(trials=20))
    assert lab.work.asked == [], "it was done before"


def test_a_metric_of_the_problem_is_computed_on_the_validation_split(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers slope * x, where y is x + 2: rmse is known by hand, and no slope above 2 can answer at all."""
    scored: list[float] = []

    def score(model: Loadable, table: pl.DataFrame, signed: Signature, log: Path) -> pl.DataFrame:
        slope = json.loads((model.model / "model.json").read_text())["x"]
        scored.append(slope)
        if slope > 2:
            raise ModelFailed("the model raised ValueError: too steep")
        assert table.height == 2 and model.signature.is_file() and signed.target_col == "y"
        return table.with_columns((pl.col("x") * slope).alias("y.prediction"))

    monkeypatch.setattr(trials, "score", score)
    asked: dict[str, Any] = {"trials": 20, "sampler": "random", "seed": 2}
    best = lab.search(lab.tuned({"metric": "rmse"}, **asked))
    for trial in lab.told():
        x = trial["params"]["x"]
        if x > 2:
            assert (trial["state"], trial["reason"]) == ("failed", "the model raised ValueError: too steep")
        else:
            assert trial["value"] == pytest.approx((((x - 3) ** 2 + (2 * x - 4) ** 2) / 2) ** 0.5)
    good = [trial for trial in lab.told() if trial["state"] == "complete"]
    assert 0 < len(good) < 20 and best["trial"] == min(good, key=lambda t: t["value"])["number"]
    scored.clear()
    lab.search(lab.tuned({"metric": "rmse"}, **asked))
    assert len(scored) == 20 - len(good) and min(scored) > 2, "what was computed before is not computed again"


def test_failing_trials_are_told_and_never_win(lab: Lab) -> None:
    def moody(given: dict[str, Any], say: OnLine) -> None:
        if given["x"] > 1:
            raise StepFailed("it exited with code 1", log_tail=("Traceback", "ValueError: x is too large"))
        say("loss=-100")
        say("loss=nan" if given["x"] < -1 else f"loss={given['x']}")
        if -0.5 < given["x"] < 0:
            say("loss=-inf")

    lab.trained_by(moody)
    best = lab.search(lab.tuned(trials=20, sampler="random", seed=3))
    told = lab.told()
    good = [t for t in told if t["state"] == "complete"]
    assert {t["state"] for t in told} == {"complete", "failed"} and all(-1 <= t["params"]["x"] <= 1 for t in good)
    assert best["metrics"]["loss"] == min(t["value"] for t in good), "the last value counts, not the best"
    reasons = {t["reason"] for t in told if t["state"] == "failed"}
    assert reasons == {"it exited with code 1", "loss is not a number"}
    crashed = next(t for t in told if "code 1" in t["reason"])
    assert crashed["tail"][-1] == "ValueError: x is too large"


def test_a_search_of_failures_ends_early_and_a_pruned_or_late_one_says_so(lab: Lab) -> None:
    def crashes(given: dict[str, Any], say: OnLine) -> None:
        raise StepFailed("it exited with code 1", log_tail=("boom",))

    lab.trained_by(crashes)
    with pytest.raises(StepFailed, match="all 3 trials failed, the last one: it exited with code 1") as failed:
        lab.search(lab.tuned(trials=20))
    assert failed.value.log_tail == ("boom",) and len(lab.work.asked) == 3


def test_no_trial_starts_once_the_timeout_is_over_and_a_restart_does_not_forget(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(tuning, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(given: dict[str, Any], say: OnLine) -> None:
        now[0] += 20
        if len(lab.work.asked) == 2 and now[0] == 40:
            lab.shop.runs._stopping = True  # the owner closes after the second trial
        square(given, say)

    lab.trained_by(slow)
    site = lab.tuned(trials=50, timeout="65s")
    with pytest.raises(Stopped):
        lab.search(site)
    assert len(lab.told()) == 2
    lab.shop.runs._stopping, now[0] = False, 7000.0
    lab.search(lab.again())
    assert len(lab.told()) == 4, "20 s each: the fourth began at 60 s"


def test_a_full_disk_is_no_trials_fault_and_the_others_are_broken_off(lab: Lab) -> None:
    """Of two that run, one never ends by itself; neither leaves a receipt, and both are done once there is room."""
    begun = threading.Event()

    def full(given: dict[str, Any], say: OnLine) -> None:
        if begun.is_set():
            raise StepFailed("it exited with code 1") from OSError(errno.ENOSPC, "No space left on device")
        begun.set()
        while True:
            say("still")
            time.sleep(0.005)

    lab.trained_by(full)
    site = lab.tuned(trials=4, parallel=2)
    with pytest.raises(NoRoom):
        lab.search(site)
    assert len(lab.work.asked) == 2 and lab.told() == []
    lab.trained_by()
    lab.search(lab.again())
    assert sorted((trial["number"], trial["state"]) for trial in lab.told()) == [(n, "complete") for n in (1, 2, 3, 4)]


def test_a_study_that_is_made_again_goes_by_what_was_tried(lab: Lab) -> None:
    site = lab.tuned(trials=3)
    given = {"x": 0.125, "kind": "deep"}
    trials.ask(site, 1, given)  # begun, and the process died
    search = tuning.Search(site, "", lab.code, lab.data)
    search.go()
    assert lab.told()[0]["params"] == given and lab.work.asked[0] == ("trial 1", {"depth": 3, **given})
    known = search._study._study.trials
    assert known[0].params == {"x": 0.125, "kind": 2} and [t.value for t in known] == [t["value"] for t in lab.told()]


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"metric": "rmse", "direction": "maximize"}, "rmse is to be minimized, not maximized"),
        ({"metric": "loss"}, "which way loss is better is not known"),
        ({"metric": "roc_auc"}, "no trial will report roc_auc"),
    ],
)
def test_an_objective_that_cannot_be_is_refused_before_any_trial(lab: Lab, objective: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        lab.search(lab.tuned(objective))
    assert lab.work.asked == []


STUCK = """
import json, os, time
given = json.loads(os.environ["SM_HPS"])
print("loss=%s" % (100 if given["x"] > 0 else given["x"]), flush=True)
if given["x"] > 0:
    time.sleep(3600)
open(os.path.join(os.environ["SM_MODEL_DIR"], "model.json"), "w").write(json.dumps(given))
"""


def test_a_pruned_trials_process_is_gone(lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad trial never ends by itself: that the search ends at all is because it was ended."""
    lab.shop.target.close()
    lab.shop.target = LocalTarget(lab.home, lambda *failure: None)
    lab.script("stuck.py", STUCK)
    asked: dict[str, Any] = {"trials": 8, "sampler": "random", "pruner": "median", "parallel": 1}
    for seed in range(1000):  # one by which the first five, which no rule judges yet, are good, and a later one is bad
        study = Study(Tune.model_validate({**asked, "objective": LOSS, "space": SPACE, "seed": seed}), "minimize")
        bad = [study.ask()["x"] > 0 for _ in range(8)]
        if not any(bad[:5]) and any(bad[5:]):
            break
    site = lab.tuned(**asked, seed=seed, script="stuck.py")
    best = lab.search(site)
    states = [trial["state"] for trial in lab.told()]
    assert states[:5] == ["complete"] * 5
    assert [state for state, worse in zip(states, bad, strict=True) if worse] == ["pruned"] * sum(bad)
    assert best["hyperparameters"]["x"] < 0
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or ())]
    assert left == []


# -- the whole product -----------------------------------------------------------------------------------------------------------

TUNE = """
  tune:
    trials: 4
    parallel: 2
    objective: {metric: roc_auc}
    space: {seconds: {float: [0.5, 1.0]}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def yard(place: Place) -> Iterator[Home]:
    home = place.home()
    config = home.repository / "config.yaml"
    config.write_text(config.read_text().replace("\n  hyperparameters: {seconds: 0.0}\n", TUNE))
    yield home
    home.close()


def texts(items: list[Item], text: str) -> list[str]:
    return [item["step"] for item in items if item.get("text") == text]


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_search_loses_no_trial_and_counts_none_twice(yard: Home) -> None:
    command = Command(yard, "build", yard.config)
    for item in yard.news(command):
        if (item.get("text"), item.get("step")) == ("training began", "trial 3"):
            assert [p for p in command.kill() if "train.py" in p.words or FORKED in p.words]
            break
    run = yard.run()
    before = {n: (yard.path / "runs" / run / "trials" / str(n) / "asked.json").read_bytes() for n in (1, 2, 3)}
    command = Command(yard, "build", yard.config)
    assert command.end() == 0, command.said
    assert f"{run}/report.html" in command.said
    folder = yard.path / "runs" / run
    assert {n: (folder / "trials" / str(n) / "asked.json").read_bytes() for n in before} == before
    ends = [e.step for e in yard.events(StepDone) if e.step.startswith("trial ")]
    assert sorted(ends) == [f"trial {n}" for n in (1, 2, 3, 4)], "each ended once"
    document = json.loads((folder / "tuning.json").read_text())
    assert [(t["number"], t["state"]) for t in document["trials"]] == [(n, "complete") for n in (1, 2, 3, 4)]
    assert len(texts(yard.items(run), "training began")) >= 4 + 1, "what was cut short began again"
    (version,) = yard.events(VersionRegistered)
    best = document["trials"][document["best"] - 1]
    assert version.hyperparameters == best["params"]

    kept = yard.mlflow(
        "select n.value, r.status, p.value, m.value, a.value from runs r"
        " join tags n on n.run_uuid = r.run_uuid and n.key = 'modelyard.trial'"
        " join tags a on a.run_uuid = r.run_uuid and a.key = 'mlflow.parentRunId'"
        " join params p on p.run_uuid = r.run_uuid join metrics m on m.run_uuid = r.run_uuid and m.key = 'roc_auc'"
    )
    assert sorted(row[:4] for row in kept) == [
        (str(t["number"]), "FINISHED", str(t["params"]["seconds"]), t["value"]) for t in document["trials"]
    ]
    (parent,) = {row[4] for row in kept}
    assert yard.mlflow(f"select value from params where run_uuid = '{parent}'") == [(str(best["params"]["seconds"]),)]

    again = Command(yard, "reproduce", "tiny:1")
    assert again.end() == 0 and "tiny:1 is reproduced" in again.said, again.said
    assert "trial" not in again.said, "the search is not repeated, its best training is"
