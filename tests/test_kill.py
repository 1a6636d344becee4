"""kill -9, at every step and in every state, of the real product; afterwards `modelyard up` goes on as if nothing had been."""

from __future__ import annotations

import shutil
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.events import (
    ApprovalGiven,
    ApprovalRequested,
    Deployed,
    Promoted,
    RunEnded,
    RunResumed,
    RunStarted,
    StepDone,
    VersionRegistered,
)
from tests.killing import FORKED, Command, Home, Place, Process, gone, until

pytestmark = pytest.mark.slow

SOME = [
    *("package", "lock", "data", "compare with what is there", "expectations", "split", "leakage", "environment", "train", "predict"),
    *("evaluate", "gates"),
    *("bundle", "register", "mlflow", "staging: deploy", "staging: smoke test", "staging: promote", "production: ask for approval"),
    *("production: deploy", "production: smoke test", "production: promote", "champion in MLflow"),
]
"""Steps of `up` that there are at least; `steps` are all of them."""
FRONT, RUNNER, TRAINING = "modelyard.serve.front", "modelyard.runtime.runner", "train.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def steps(place: Place, request: pytest.FixtureRequest) -> list[str]:
    """The steps of an `up` that nobody disturbs, in order."""
    home = place.home()
    request.addfinalizer(home.close)
    command = home.up("--yes")
    command.says("serving and watching")
    return [item["step"] for item in home.items(home.run()) if item["kind"] == "step_done"]


@pytest.fixture
def yard(place: Place) -> Iterator[Home]:
    home = place.home()
    yield home
    home.close()


def kill_when(home: Home, command: Command, kind: str, **words: str) -> list[Process]:
    """Kill the owner at the first item of a new run like this."""
    for item in home.news(command):
        if item["kind"] == kind and all(item.get(name) == value for name, value in words.items()):
            return command.kill()
    raise AssertionError(f"it ended before {kind} {words}:\n{command.said}")


def named(processes: list[Process], *words: str) -> list[Process]:
    return [p for p in processes if any(word in p.words for word in words)]


# -- one run, killed at the end of each of its steps ----------------------------------------------------------------------------


@dataclass
class Story:
    """One run's many lives: what the owner said in each, and what it had started when it was killed."""

    home: Home
    when: str
    run: str = ""
    said: list[str] = field(default_factory=list)
    children: dict[str, list[Process]] = field(default_factory=dict)
    items_when_training_was_killed: int = 0

    def kill(self, command: Command, at: str) -> None:
        self.children[at] = command.kill()
        self.said.append(command.said)
        self.run = self.run or self.home.run()


@pytest.fixture(scope="module", params=["after", "before"])
def story(place: Place, steps: list[str], request: pytest.FixtureRequest) -> Story:
    """Killed at every step, once in the middle of training, and at last while it serves; resumed each time.

    `after`: when a step's receipt has just been written. `before`: when its effects are there and its receipt is not.
    """
    story = Story(home := place.home(), request.param)
    request.addfinalizer(home.close)
    home.train_for(0.5)
    for step in steps:
        if step == "train":
            command = home.up("--yes")
            assert any(item.get("text") == "training began" for item in home.news(command, story.run))
            story.kill(command, "training")
            story.items_when_training_was_killed = len(home.items(story.run))
        command = home.up("--yes", pause=(step, story.when))
        command.pauses()
        story.kill(command, step)
    command = home.up("--yes")
    command.says("serving and watching")
    assert b"predictions" in ask(command.says(r"http://127.0.0.1:\d+/invocations"))
    story.kill(command, "serving")
    return story


def ask(address: str) -> bytes:
    request = urllib.request.Request(address, b'[{"x": 1.5, "noise": 0.5}]', {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return bytes(response.read())


def test_every_life_after_the_first_goes_on_with_the_run(story: Story, steps: list[str]) -> None:
    assert [step for step in steps if step in SOME] == SOME
    train = steps.index("train")
    assert list(story.children) == [*steps[:train], "training", *steps[train:], "serving"]
    assert story.said[0].startswith(f"run {story.run}")
    assert all(said.startswith(f"resuming {story.run}") for said in story.said[1:]), story.said


def test_no_completed_step_ran_again(story: Story, steps: list[str]) -> None:
    done: set[str] = set()
    kept: Counter[str] = Counter()
    for item in story.home.items(story.run):
        if item["kind"] == "step_done":
            assert item["step"] not in done
            done.add(item["step"])
        elif item["kind"] == "step_started":
            assert item["step"] not in done, "it was completed before"
        elif item["kind"] == "step_kept":
            assert item["step"] in done
            kept[item["step"]] += 1
    assert kept["package"] >= len(steps) - 1, "it was kept in every later life"
    assert kept[steps[-2]] >= 1
    told = Counter(event.step for event in story.home.events(StepDone) if event.run == story.run)
    assert told == Counter(steps), "once each, in the journal too"


def test_training_that_was_killed_left_nothing_and_began_anew(story: Story) -> None:
    assert named(story.children["training"], TRAINING, FORKED), "it was alive when its owner was killed"
    later = story.home.items(story.run)[story.items_when_training_was_killed :]
    lines = [item["text"] for item in later if item["kind"] == "line"]
    # an owner that dies between the end of training and its receipt finds in the step cache what training made
    assert lines == ["training began", "training ended"], "from its start, and once"


def test_every_effect_is_there_once(story: Story) -> None:
    events = story.home.events
    assert [(e.run, e.version) for e in events(VersionRegistered)] == [(story.run, "1")]
    assert sorted(e.stage for e in events(Promoted)) == ["production", "staging"]
    assert [e.stage for e in events(ApprovalRequested)] == ["production"]
    assert [(e.stage, e.approved, e.comment) for e in events(ApprovalGiven)] == [("production", True, "--yes")]
    assert [e.status for e in events(RunEnded) if e.run == story.run] == ["done"]
    first = [e for e in events(Deployed) if e.reason == "deployed"]
    assert sorted(e.stage for e in first) == ["production", "staging"]
    assert all(e.reason in ("deployed", "restored") for e in events(Deployed))
    assert len(list((story.home.path / "bundles").iterdir())) == 1


def test_mlflow_has_one_version_one_run_and_one_alias(story: Story) -> None:
    assert story.home.mlflow("select name, version from model_versions") == [("tiny", 1)]
    assert story.home.mlflow("select status from runs") == [("FINISHED",)]
    assert story.home.mlflow("select alias, version from registered_model_aliases") == [("champion", 1)]
    assert story.home.mlflow("select count(*) from metrics where key = 'roc_auc'") == [(1,)]


def test_killed_while_it_serves_it_leaves_no_front_and_no_runner(story: Story) -> None:
    """`Command.kill` waits five seconds at the most for all of them to be gone."""
    children = story.children["serving"]
    assert len(named(children, FRONT)) == 2
    assert len([p for p in named(children, RUNNER) if not p.words.startswith("bwrap")]) == 2
    assert not [p for p in children if p.alive]
    assert not named([Process(p, 0, _words(p)) for p in _pids()], str(story.home.path)), "nor anything else of this home"


def _pids() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]


def _words(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


# -- kills elsewhere --------------------------------------------------------------------------------------------------------------


def test_ten_kills_in_recovery_converge(yard: Home, steps: list[str]) -> None:
    """Five while it comes up, each a little later; five in the step that it does again."""
    yard.train_for(1.0)
    kill_when(yard, yard.up("--yes"), "step_done", step="compare with what is there")
    run, before = yard.run(), len(yard.items(yard.run()))
    for n in range(5):
        command = yard.up("--yes")
        time.sleep(0.2 + 0.3 * n)  # importing, opening the home, listening, resuming: wherever that is on this machine
        command.kill()
    for _ in range(5):
        command = yard.up("--yes")
        for item in yard.news(command, run):
            if item.get("text") == "training began":
                assert named(command.kill(), TRAINING, FORKED)
                break
    command = yard.up("--yes")
    assert f"resuming {run}" in command.says("serving and watching") or f"resuming {run}" in command.said
    command.kill()
    later = [i for i in yard.items(run)[before:] if i["kind"] in ("line", "ended")]
    assert sum(i.get("text") == "training began" for i in later) >= 6
    assert [i.get("text") or i["status"] for i in later][-2:] == ["training ended", "done"]
    assert [e.version for e in yard.events(VersionRegistered)] == ["1"]
    assert Counter(e.step for e in yard.events(StepDone)) == Counter(steps)
    assert yard.events(RunResumed)


def test_a_changed_config_after_a_kill_abandons_the_run_with_the_reason(yard: Home) -> None:
    kill_when(yard, yard.up("--yes"), "step_done", step="split")
    first = yard.run()
    yard.train_for(0.25)
    command = yard.up("--yes")
    assert "resuming" not in command.says("serving and watching")
    command.kill()
    ends = {e.run: (e.status, e.reason) for e in yard.events(RunEnded)}
    assert ends[first] == ("abandoned", "the config or the code changed since it was cut short")
    assert ends.pop(first) and [status for status, _ in ends.values()] == ["done"]
    assert [e.version for e in yard.events(VersionRegistered)] == ["1"]
    assert yard.items(first)[-1]["status"] == "abandoned", "whoever looks at its feed sees it too"


def test_changed_code_after_a_kill_abandons_the_run_too(yard: Home) -> None:
    kill_when(yard, yard.up("--yes"), "step_done", step="environment")
    first = yard.run()
    script = yard.repository / "train.py"
    script.write_text(script.read_text() + "# edited\n")
    command = yard.up("--yes")
    assert until(lambda: yard.run() != first and yard.run(), "a new run")
    command.says(r"package +\d")
    command.kill()
    assert [(e.run, e.status) for e in yard.events(RunEnded)] == [(first, "abandoned")]


def test_a_run_that_has_all_it_needs_goes_on_whatever_becomes_of_the_folder(yard: Home, tmp_path: Path) -> None:
    kill_when(yard, yard.up("--yes"), "step_done", step="environment")
    run = yard.run()
    for name in ("train.py", "rows.csv", "requirements.txt"):
        (yard.repository / name).unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(yard.repository, moved)
    command = Command(yard, "up", str(moved / "config.yaml"), "--port", "0", "--yes")
    command.says("serving and watching")
    assert f"resuming {run}" in command.said
    command.kill()
    assert [(e.run, e.status) for e in yard.events(RunEnded)] == [(run, "done")]


def test_a_run_that_still_needs_the_folder_says_what_is_missing_and_is_kept(yard: Home) -> None:
    kill_when(yard, yard.up("--yes"), "step_done", step="package")
    run = yard.run()
    rows = (yard.repository / "rows.csv").read_bytes()
    (yard.repository / "rows.csv").unlink()
    command = yard.up("--yes")
    assert command.end() == 2 and "there is no file rows.csv" in command.said
    assert not yard.events(RunEnded), "it is not given up for that"
    (yard.repository / "rows.csv").write_bytes(rows)
    command = yard.up("--yes")
    command.says("serving and watching")
    assert f"resuming {run}" in command.said


def test_a_word_from_another_process_is_delivered_while_the_owner_runs_and_while_nobody_does(yard: Home) -> None:
    owner = yard.up()
    owner.says("tiny:1 waits for approval")
    run = yard.run()
    word = Command(yard, "approve", "tiny", "--comment", "looks good")
    assert word.end() == 0 and "approved tiny:1" in word.said and "carries it out" not in word.said
    owner.says("serving and watching")
    assert yard.items(run)[-1]["status"] == "done"
    second = Command(yard, "approve", "tiny")
    assert second.end() == 2 and "no version of `tiny` waits" in second.said
    owner.kill()

    yard.train_for(0.01)
    owner = yard.up()
    owner.says("tiny:2 waits for approval")
    run = yard.run()
    owner.kill()
    word = Command(yard, "approve", "tiny:2", "--comment", "while nobody ran")
    assert word.end() == 0 and "carries it out" in word.said
    again = Command(yard, "reject", "tiny:2")
    assert again.end() == 2, "the first word counts"
    owner = yard.up()
    owner.says("serving and watching")
    assert f"resuming {run}" in owner.said
    owner.kill()
    assert [(e.version, e.comment) for e in yard.events(ApprovalGiven)] == [("1", "looks good"), ("2", "while nobody ran")]
    assert [e.version for e in yard.events(Promoted) if e.stage == "production"] == ["1", "2"]


def test_a_config_that_asks_for_no_new_version_is_applied_though_killed_halfway(yard: Home) -> None:
    """What a flow goes by must be on record: when it comes by again, the config in force is its own already."""
    config, code = yard.repository / "config.yaml", yard.repository / "code"
    code.mkdir()
    (yard.repository / "train.py").rename(code / "train.py")  # beside config.yaml, another config would be other code
    config.write_text(config.read_text().replace("entry_point: train.py", "entry_point: train.py\n  source_dir: code"))
    command = yard.up("--yes")
    command.says("serving and watching")
    command.kill()
    config.write_text(config.read_text() + "\nmonitor: {schedule_expression: '7 * * * *'}\n")
    command = yard.up("--yes", pause=("production: apply config", "before"))
    command.pauses()
    command.kill()
    run = yard.run()
    command = yard.up("--yes")
    command.says("serving and watching")
    command.kill()
    assert [e.step for e in yard.events(StepDone) if e.run == run and e.step == "production: apply config"]
    assert [e.status for e in yard.events(RunEnded)] == ["done", "done"]
    assert [e.version for e in yard.events(VersionRegistered)] == ["1"]


def test_of_two_that_come_up_at_once_one_owns_and_the_other_asks_it(yard: Home) -> None:
    both = [yard.up("--yes"), yard.up("--yes")]
    until(lambda: any("serving and watching" in c.said for c in both), "one that serves")
    serving = next(c for c in both if "serving and watching" in c.said)
    other = both[1 - both.index(serving)]
    assert other.end() == 0, other.said
    assert "tiny:1 is in production" in other.said
    assert not serving.ended
    assert not named(serving.children(), "modelyard.cli"), "nobody was started in the background"
    serving.kill()
    assert len(yard.events(RunStarted)) == 1, "they share one run"
    assert [e.version for e in yard.events(VersionRegistered)] == ["1"]
    assert len(yard.events(ApprovalGiven)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_run_stops_everything_and_the_next_up_goes_on(yard: Home, number: signal.Signals) -> None:
    yard.train_for(60)
    command = yard.up("--yes")
    for item in yard.news(command):
        if item.get("text") == "training began":
            break
    run, children = yard.run(), command.children()
    assert named(children, TRAINING, FORKED), "it was alive"
    command.process.send_signal(number)
    assert command.end() == 1
    gone(children, 5)
    assert "Traceback" not in command.said
    assert not yard.events(RunEnded), "it is cut short, not ended"
    assert yard.items(run)[-1]["kind"] == "stopped"
    again = yard.up("--yes")
    again.says(f"resuming {run}")
    for item in yard.news(again, run):
        if item.get("text") == "training began":
            break
    again.kill()


def test_ctrl_c_while_it_serves_stops_everything(yard: Home) -> None:
    """Polars, once loaded, takes part in the handling of SIGINT, and a wait that knows no time limit would never hear of it."""
    command = yard.up("--yes")
    command.says("serving and watching")
    children = command.children()
    assert len(named(children, FRONT)) == 2 and named(children, RUNNER)
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 0, command.said
    gone(children, 5)
    assert "Traceback" not in command.said
    assert not (yard.path / "owner.sock").exists()
    assert [e.status for e in yard.events(RunEnded)] == ["done"]
