"""Runners that die, hang and sleep, with real processes: each test says that its fault happened."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.build.launch import descendants
from modelyard.errors import StepFailed
from modelyard.serve import routes
from tests.build.test_processes import until

from .scripts import ANSWERS, BROKEN, constant
from .world import World, kill

DIES = """
import os


def model_fn(folder):
    return {number}


def predict_fn(x, model):
    if 666 in x:
        os._exit(9)
    return [model] * len(x)
"""
HANGS = DIES.replace("os._exit(9)", "import time; time.sleep(3600)")
SLOWLY = ANSWERS.replace("def predict_fn(x, model):", "def predict_fn(x, model):\n    import time\n    time.sleep(0.1)")
COUNTS = """
def model_fn(folder):
    return [0.0]


def predict_fn(x, model):
    model[0] += len(x)
    return [model[0]] * len(x)
"""


def ask(world: World, x: float, timeout: float = 30) -> tuple[int, Any, dict[str, str]]:
    request = urllib.request.Request(
        f"{world.state.address}/invocations", json.dumps({"x": x}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)["predictions"][0]["prediction"], dict(answer.headers)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)["error"]["what"], dict(exc.headers)


def test_a_poison_row_is_refused_after_two_deaths_and_no_crash_loop_follows(world: World) -> None:
    world.script("1", DIES)
    world.apply({"1": 100}, timeout=20)
    with ThreadPoolExecutor(9) as pool:
        company = [pool.submit(ask, world, float(i)) for i in range(4)]
        poison = pool.submit(ask, world, 666.0)
        company += [pool.submit(ask, world, float(i)) for i in range(4)]
        answers, (status, what, _) = [c.result() for c in company], poison.result()
    assert all((code, answer) == (200, 1.0) for code, answer, _ in answers), "its company is answered"
    assert status == 424 and "this row has killed the runner 2 times; it is not tried again" in what
    until(lambda: len(world.told) == 3)
    assert [reason for _, reason in world.told if "ended with code 9" in reason] != [], "the fault fired"
    assert sum("ended with code 9" in reason for _, reason in world.told) == world.state.variants["1"].restarts == 2
    assert ("1", "a row killed a runner twice; refused from now on") in world.told
    began = time.monotonic()
    assert [ask(world, 666.0)[0] for _ in range(20)] == [424] * 20
    assert time.monotonic() - began < 10, "refused at once: a runner that died would take longer each time"
    assert ask(world, 1.0)[:2] == (200, 1.0)
    assert world.state.variants["1"].restarts == 2
    (place,) = world.live()._crews["1"].places
    assert place.back_off.pause < 0.2, "the next death is the first again"


def test_a_runner_that_hangs_is_ended_and_the_row_that_hung_it_twice_is_refused(world: World) -> None:
    world.script("1", HANGS)
    world.apply({"1": 100}, timeout=0.4)
    status, what, _ = ask(world, 666.0)
    assert status == 504 and "did not answer within 0.4 s" in what
    until(lambda: any("held a request for" in reason for _, reason in world.told))
    until(lambda: world.ready("1"))
    assert ask(world, 1.0)[:2] == (200, 1.0), "the others are answered again"
    assert ask(world, 666.0)[0] == 504
    until(lambda: sum("held a request for" in reason for _, reason in world.told) == 2)
    until(lambda: world.ready("1"))
    status, what, _ = ask(world, 666.0)
    assert status == 424 and "it is not tried again" in what
    assert ask(world, 1.0)[:2] == (200, 1.0)


def test_a_version_without_a_runner_sleeps_until_it_is_asked_and_again_when_idle(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    began = time.monotonic()
    state = world.apply({"1": 100}, workers=0, idle=1.0)
    assert time.monotonic() - began < 10
    assert state.ready and state.variants["1"].ready and state.variants["1"].runners == 0
    assert world.pids("1") == [], "zero processes"
    with ThreadPoolExecutor(3) as pool:
        answers = [call.result() for call in [pool.submit(ask, world, 1.0) for _ in range(3)]]
    assert [answer[:2] for answer in answers] == [(200, 1.0)] * 3, "the first requests wait for it"
    assert world.state.variants["1"].runners == 1
    (pid,) = world.pids("1")
    until(lambda: world.state.variants["1"].runners == 0)
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert world.state.ready and ask(world, 1.0)[:2] == (200, 1.0)
    assert world.told == []


def test_who_waits_for_a_version_that_cannot_be_woken_is_told_why(world: World) -> None:
    world.script("1", BROKEN)
    world.apply({"1": 100}, workers=0)
    status, what, headers = ask(world, 1.0)
    assert status == 503 and "cannot load the model: RuntimeError: the weights are not there" in what
    assert int(headers["retry-after"]) >= 1
    until(lambda: world.told)
    assert world.told[0][0] == "1" and "the weights are not there" in world.told[0][1]
    began = time.monotonic()
    assert ask(world, 1.0)[0] == 503
    assert time.monotonic() - began < 5, "at once, while the pause lasts"
    constant(world.home, "1")
    until(lambda: ask(world, 1.0)[:2] == (200, 1.0))


def test_a_full_queue_says_when_there_will_be_room(world: World) -> None:
    world.script("1", SLOWLY.replace("sleep(0.1)", "sleep(0.5)"))
    world.apply({"1": 100}, limits=routes.Limits(timeout_s=20, max_batch=1, max_waiting=6))
    assert ask(world, 1.0)[0] == 200  # now it is known how long one takes
    with ThreadPoolExecutor(16) as pool:
        answers = [call.result() for call in [pool.submit(ask, world, 1.0) for _ in range(16)]]
    full = [headers for status, _, headers in answers if status == 429]
    assert 8 <= len(full) <= 10 and sum(status == 200 for status, _, _ in answers) == 16 - len(full)
    assert all(3 <= int(headers["retry-after"]) <= 15 for headers in full), "six that take half a second each, or longer on a busy machine"


def test_where_memory_runs_out_a_runner_ends_before_the_front_does(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.apply({"1": 100})
    (head,) = world.pids("1")
    scores = {int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (head, *descendants(head))}
    assert max(scores) == 500 > int(Path(f"/proc/{world.front()}/oom_score_adj").read_text())


@pytest.mark.slow
def test_runners_are_added_while_requests_wait_and_end_when_they_have_nothing_to_do(world: World) -> None:
    world.script("1", SLOWLY)
    world.apply({"1": 100}, max_workers=3, idle=1.5, limits=routes.Limits(timeout_s=20, max_batch=1))
    most: list[int] = []

    def scenario() -> None:
        until(lambda: world.state.variants["1"].runners == 3, 40)
        most.append(len(world.pids("1")))

    load = world.under_load(scenario, keep=8, close=2, slow=0)
    assert load.failures == [] and most == [3]
    until(lambda: world.state.variants["1"].runners == 1, 30)
    time.sleep(2)
    assert len(world.pids("1")) == 1 and ask(world, 1.0)[:2] == (200, 1.0)
    assert world.told == []


def test_the_only_runner_is_started_at_once_however_often_it_is_killed_if_it_answers_in_between(world: World) -> None:
    world.script("1", ANSWERS)
    world.apply({"1": 100})
    for deaths in range(1, 6):
        assert ask(world, 1.0)[0] == 200, "whoever comes meanwhile waits for the next"
        until(lambda: world.live()._crews["1"].places[0].back_off.useful)
        kill(world.pids("1")[0])
        until(lambda deaths=deaths: world.state.variants["1"].restarts == deaths)
    assert [reason.rpartition(" in ")[2] for _, reason in world.told] == ["0.2 s"] * 5


def test_a_new_runner_has_predicted_before_it_gets_traffic(world: World) -> None:
    world.script("1", COUNTS)
    world.apply({"1": 100}, example={"x": 5.0})
    assert ask(world, 1.0)[:2] == (200, 4.0), "three predictions were before"
    (first,) = world.pids("1")
    kill(first)
    until(lambda: world.pids("1") not in ([], [first]))
    assert ask(world, 1.0)[:2] == (200, 4.0), "and of one that is started again"


def test_a_version_that_dies_of_its_first_prediction_gets_no_traffic(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.script("2", DIES)
    world.apply({"1": 100})

    def scenario() -> None:
        with pytest.raises(StepFailed, match="the runner ended when it was asked for a prediction"):
            world.apply({"2": 10, "1": 90}, example={"x": 666.0})

    load = world.under_load(scenario, keep=2, close=1, slow=1)
    assert load.failures == [] and set(load.versions) == {"1"}


def test_closing_ends_a_runner_that_is_being_woken(world: World) -> None:
    world.script("1", "import time\ntime.sleep(600)\n" + ANSWERS)
    world.apply({"1": 100}, workers=0)

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):  # answered or cut off
            ask(world, 1.0)

    waiting = threading.Thread(target=wait)
    waiting.start()
    crew = world.live()._crews["1"]
    until(lambda: crew._growing is not None and crew._growing.child is not None)
    began = time.monotonic()
    world.target.close()
    waiting.join(10)
    assert time.monotonic() - began < 15 and not waiting.is_alive()
    assert not [t for t in threading.enumerate() if t.name.startswith("load ")]
