"""The state is a pure fold of events: of any events, in any order, from any point on."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import events as e
from modelyard.registry.journal import Entry
from modelyard.registry.state import KEPT_RUNS, SLACK, ModelState, State, fold, fold_all

NAMES = st.sampled_from(["a", "b", "c"])
STAGES = st.sampled_from(["staging", "production"])
TIMES = [f"2026-01-{day:02}T00:00:00+00:00" for day in range(1, 29)]


def weights() -> st.SearchStrategy[dict[str, int]]:
    """All to one version, split between two, or none deployed."""
    split = st.tuples(NAMES, NAMES, st.integers(0, 100)).map(lambda t: {t[0]: t[2], t[1]: 100 - t[2]} if t[0] != t[1] else {t[0]: 100})
    return st.just({}) | split


BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["m", "n"]),
    "run": st.sampled_from(["run-1", "run-2", "run-3"]),
    "version": NAMES,
    "to": NAMES,
    "previous": st.none() | NAMES,
    "stage": STAGES,
    "weights": weights(),
    "start": st.sampled_from(TIMES),
    "end": st.sampled_from(TIMES),
    "flow": st.sampled_from(["up", "monitor", "retrain"]),
    "status": st.sampled_from(["done", "failed", "refused", "abandoned"]),
    "metrics": st.dictionaries(NAMES, st.none() | st.floats(0, 1)),
}
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["", "x", "y"]),
    bool: st.booleans(),
    int: st.integers(0, 9),
    float: st.floats(0, 9),
    list[str]: st.lists(st.sampled_from(["x", "y"]), max_size=2),
    dict[str, Any]: st.dictionaries(st.sampled_from(["x", "y"]), st.integers(), max_size=2),
    str | None: st.none() | st.just("x"),
    bool | None: st.none() | st.booleans(),
}


def of_kind(kind: type[e.Event]) -> st.SearchStrategy[e.Event]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{f.name: BY_NAME[f.name] if f.name in BY_NAME else BY_TYPE[hints[f.name]] for f in fields(kind)})


EVENTS = st.lists(st.sampled_from(sorted(e.Event.kinds)).flatmap(lambda name: of_kind(e.Event.kinds[name])), max_size=30)


def entries(events: list[e.Event]) -> list[Entry]:
    return [Entry(n + 1, TIMES[min(n, 27)], TIMES[0], event, str(n)) for n, event in enumerate(events)]


@given(EVENTS)
def test_every_prefix_of_any_events_has_a_state_and_none_is_changed_afterwards(events: list[e.Event]) -> None:
    """Pure and total: a journal, whatever is in it, never keeps a home from opening."""
    states: list[State] = [{}]
    for entry in entries(events):
        states.append(fold(states[-1], entry))
    kept = copy.deepcopy(states)
    again: State = {}
    for n, entry in enumerate(entries(events)):
        again = fold(again, entry)
        assert again == states[n + 1] == fold_all(entries(events)[: n + 1])
    assert states == kept
    assert set(again) == {event.model for event in events}


@given(EVENTS)
def test_models_do_not_touch_each_other(events: list[e.Event]) -> None:
    numbered = entries(events)
    whole = fold_all(numbered)
    for model in whole:
        assert fold_all(n for n in numbered if n.event.model == model)[model] == whole[model]


@given(EVENTS)
def test_the_state_says_what_the_last_word_on_each_thing_was(events: list[e.Event]) -> None:
    for name, model in fold_all(entries(events)).items():
        own = [event for event in events if event.model == name]
        for stage in ("staging", "production"):
            _check_stage(model, stage, [event for event in own if getattr(event, "stage", "") == stage])
        _check_runs(model, own)
        assert list(model.versions) == list(dict.fromkeys(x.version for x in own if isinstance(x, e.VersionRegistered)))
        assert model.alerts == sum(isinstance(x, e.AlertSent) for x in own)
        assert len(model.retrains) == sum(isinstance(x, e.RunStarted) and x.flow == "retrain" for x in own)


def _check_stage(model: ModelState, stage: str, own: list[e.Event]) -> None:
    deployed = [x for x in own if isinstance(x, e.Deployed)]
    holders = [x.version if isinstance(x, e.Promoted) else x.to for x in own if isinstance(x, e.Promoted | e.RolledBack)]
    state = model.stage(stage)
    assert state.champion == (holders[-1] if holders else None)
    assert state.weights == ({v: w for v, w in deployed[-1].weights.items() if w} if deployed else {})
    assert sum(state.weights.values()) in (0, 100)
    assert state.address == (deployed[-1].address if deployed else "")
    assert all(a != b for (_, a), (_, b) in zip(state.history, state.history[1:], strict=False)), "only changes"
    assert [at for at, _ in state.history] == sorted(at for at, _ in state.history)
    if state.history:
        assert state.history[-1][1] == state.weights
        assert model.serving(stage, TIMES[-1]) == state.weights
        assert model.serving(stage, "2025") == {}, "nothing was there before the first deployment"


def _check_runs(model: ModelState, own: list[e.Event]) -> None:
    for run in ("run-1", "run-2", "run-3"):
        words = [x for x in own if getattr(x, "run", "") == run]
        asked = [n for n, x in enumerate(words) if isinstance(x, e.ApprovalRequested)]
        settled = [n for n, x in enumerate(words) if isinstance(x, e.ApprovalGiven | e.RunEnded)]
        waits = bool(asked) and (not settled or settled[-1] < asked[-1])
        assert (run in model.awaiting) == waits, "a word, or the run's end, settles what waits"
        assert (run in model.runs) == any(isinstance(x, e.RunStarted) for x in words)


def test_a_story() -> None:
    registered = e.VersionRegistered("m", "r", "1", "d", "d", "d", "d", "d", None, False, {"auc": 0.9}, ["auc ok"])
    story: list[e.Event] = [
        e.RunStarted("m", "r", "up", "ada"),
        e.StepDone("m", "r", "data", 1.0),
        registered,
        e.Deployed("m", "staging", "http://s", {"1": 100}),
        e.Promoted("m", "staging", "1", None, "first"),
        e.ApprovalRequested("m", "r", "1", "production", "d", "d", "ada", TIMES[-1], True),
        e.ApprovalGiven("m", "r", "1", "production", True, "bob"),
        e.Deployed("m", "production", "http://p", {"1": 100, "0": 0}),
        e.Promoted("m", "production", "1", None, "first"),
        e.RunEnded("m", "r", "done"),
    ]
    states = [fold_all(entries(story)[:n])["m"] for n in range(1, len(story) + 1)]
    assert [s.runs["r"].status for s in states] == ["running"] * 9 + ["done"]
    assert [bool(s.awaiting) for s in states] == [False] * 5 + [True] + [False] * 4
    assert [s.champion for s in states] == [None] * 8 + ["1", "1"]
    last = states[-1]
    assert last.runs["r"].steps == ("data",)
    assert last.stage("production").weights == {"1": 100}, "a version without traffic is not deployed"
    assert [str(a) for a in last.versions["1"].approvals] == ["bob approved m:1 for production"]
    assert last.serving("production", TIMES[6]) == {} and last.serving("production", TIMES[7]) == {"1": 100}


def test_a_run_that_ends_while_it_waits_waits_no_longer() -> None:
    asked = e.ApprovalRequested("m", "r", "1", "production", "d", "d", "ada", TIMES[-1], True)
    state = fold_all(entries([e.RunStarted("m", "r", "up", "ada"), asked, e.RunEnded("m", "r", "abandoned", "newer")]))["m"]
    assert state.awaiting == {} and state.runs["r"].status == "abandoned" and state.runs["r"].reason == "newer"


# -- bounded ----------------------------------------------------------------------------------------------------------------------


def judged(number: int, monitor: str = "drift", status: str = "healthy") -> e.WindowJudged:
    start, end = (f"{2026 + number // 9999}-{number % 9999:04}", f"{2026 + number // 9999}-{number % 9999 + 1:04}")
    return e.WindowJudged("m", monitor, "1", start, end, status, "")


def test_however_long_a_journal_is_a_fold_copies_no_more_than_what_is_kept() -> None:
    """What each event copies is bounded, so that a start-up costs as much as the journal is long, and not its square."""
    story: list[e.Event] = [e.RunStarted("m", "up-0", "up", "ada"), e.RunStarted("m", "still", "monitor", "ada")]
    for n in range(3000):
        run = f"monitor-{n}"
        story += [e.RunStarted("m", run, "monitor", ""), judged(n), judged(n, "performance"), e.RunEnded("m", run, "done")]
    state: State = {}
    for entry in entries(story):
        state = fold(state, entry)
        model = state["m"]
        assert len(model.runs) <= 2 * KEPT_RUNS * SLACK + 1
    assert {"up-0", "still", "monitor-2999"} <= set(model.runs) and "monitor-0" not in model.runs, "what goes on is never dropped"


def test_builds_are_not_driven_out_by_the_monitors_nor_the_one_that_ends_last() -> None:
    story: list[e.Event] = [e.RunStarted("m", "long", "up", "ada")]
    most = int(2 * KEPT_RUNS * SLACK)
    for n in range(most - 1):
        story += [e.RunStarted("m", f"up-{n}", "up", "ada"), e.RunEnded("m", f"up-{n}", "done")]
    story += [e.RunStarted("m", "look", "monitor", ""), e.RunEnded("m", "long", "done")]
    model = fold_all(entries(story))["m"]
    assert model.runs["long"].status == "done", "it ended last, and whoever waited for it looks it up"
    assert len(model.runs) == KEPT_RUNS + 2 and model.runs["look"].status == "running" and f"up-{most - 2}" in model.runs


def test_retrainings_are_those_that_started_whoever_asked() -> None:
    story = [
        e.RetrainDecided("m", True, "drift", "drift"),
        e.RunStarted("m", "retrain-1", "retrain", "the governor"),
        e.RunStarted("m", "up-1", "up", "ada"),
        e.RunStarted("m", "retrain-2", "retrain", "ada"),
    ]
    model = fold_all(entries(list(story)))["m"]
    assert model.retrains == (TIMES[1], TIMES[3]) and model.last_decision == story[0]


def test_windows_count_from_the_last_change_of_their_length_or_timezone() -> None:
    def config(window: str, zone: str, owner: str = "ada") -> dict[str, Any]:
        return {"production": {"timezone": zone, "model": {"owner": owner}, "monitor": {"window": window}}}

    words = [
        config("1d", "UTC"),
        config("1d", "UTC", "bob"),
        config("1w", "UTC"),
        config("1w", "Asia/Tokyo"),
        config("1w", "Asia/Tokyo", "x"),
    ]
    story: list[e.Event] = [e.ConfigInForce("m", "r", str(n), word, "/") for n, word in enumerate(words)]
    since = [fold_all(entries(story)[:n])["m"].watched_since for n in range(1, len(words) + 1)]
    assert since == ["", "", TIMES[2], TIMES[3], TIMES[3]]
    built = fold_all(entries([story[0], e.ConfigAccepted("m", "r", "9", words[2], "/")]))["m"]
    assert built.watched_since == "", "a build changes nothing that watches"


def test_a_monitor_counts_from_when_it_was_switched_on() -> None:
    def config(**watch: Any) -> dict[str, Any]:
        more = {name: {} for name in ("bias", "explain") if watch.pop(name, False)}
        return {"production": {"monitor": watch, **more}}

    off = {"enabled": False}
    words = [config(drift=off), config(drift=off, bias=True), config(bias=True), config(performance=off), config(explain=True)]
    words += [config(performance={"estimate": False}), config(bias=True, explain=True)]
    story: list[e.Event] = [e.ConfigInForce("m", "r", str(n), word, "/") for n, word in enumerate(words)]
    began = [fold_all(entries(story)[:n])["m"].began for n in range(1, len(words) + 1)]
    assert began[:4] == [{}, {"bias": TIMES[1]}, *[{"bias": TIMES[1], "drift": TIMES[2]}] * 2]
    both = {"performance": TIMES[4], "estimate": TIMES[4], "attribution": TIMES[4]}
    assert began[4] == began[5] == {**began[3], **both}
    assert began[6] == {**began[5], "estimate": TIMES[6], "bias": TIMES[6], "attribution": TIMES[6]}


@pytest.mark.parametrize("words", [{}, {"bias": {"facets": [{"column": "x"}]}, "explain": {}}], ids=["plain", "all"])
def test_which_monitors_are_on_is_what_the_monitors_themselves_say(words: dict[str, Any]) -> None:
    from itertools import product

    from modelyard.config.spec import Config
    from modelyard.flows.monitor.monitors import MONITORS
    from modelyard.registry.state import _monitors

    from ..flows.releases import config

    for some in product([True, False], repeat=6):
        drift, data_quality, performance, estimated, bias, attribution = some
        watch: dict[str, Any] = {
            "drift": {"enabled": drift},
            "data_quality": {"enabled": data_quality},
            "performance": {"enabled": performance, "estimate": estimated},
            "bias": {"enabled": bias},
            "attribution": {"enabled": attribution},
        }
        read = Config.model_validate({**config(), **words, "monitor": watch})
        said = _monitors({"production": read.model_dump(mode="json", by_alias=True)})
        assert said == {kind: monitor.enabled(read) for kind, monitor in MONITORS.items()}
