"""What a replay does with a run that waits for a person's word."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.cli.replay import _Show
from modelyard.errors import NotAllowed
from modelyard.replay import TRAFFIC_MOVES

WAITS = [{"kind": "step_started", "step": "production: ask for approval"}, {"kind": "waiting", "topic": "approval:production"}]
MOVES = [{"kind": "step_started", "step": "production: load"}]
ENDS = [{"kind": "ended", "status": "done", "reason": "demo:2 is the champion now"}]


class Caller:
    """A yard with one run, which waits for a word after `WAITS` and never goes on without it."""

    def __init__(self, approves: bool = True) -> None:
        self.approves, self.waits, self.asked = approves, False, list[str]()
        self.yard: Any = SimpleNamespace(follow=self.follow, shop=SimpleNamespace(runs=SimpleNamespace(feed=self.feed)))
        self.approved = False

    def call(self, verb: str, **words: Any) -> Any:
        self.asked.append(verb)
        if verb == "run":
            return {"awaiting": {"model": "demo", "version": "2", "stage": "production"} if self.waits else None}
        assert (verb, words["version"]) == ("approve", "2")
        if not self.approves:
            raise NotAllowed("ana asked for demo:2 and cannot also approve it")
        self.waits, self.approved = False, True

    def follow(self, run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        self.waits = not self.approved
        yield from WAITS
        assert self.approved, "followed beyond a wait that nobody answered: it would never end"
        yield from [*MOVES, *ENDS]

    def feed(self, run: str) -> Any:
        return SimpleNamespace(items=lambda: [*WAITS, *MOVES, *ENDS] if self.approved else WAITS)


def shown(caller: Any, yes: bool, silent: bool = False) -> _Show:
    return _Show(caller, "UTC", silent, 10, yes)


def test_yes_approves_a_retraining(capsys: pytest.CaptureFixture[str]) -> None:
    caller = Caller()
    with shown(caller, yes=True) as show:
        show.run("retrain-1", TRAFFIC_MOVES)
        assert caller.approved
        show.rest()
    said = capsys.readouterr().out
    assert "demo:2 waits for approval to enter production" in said and said.count("is the champion now") == 1


@pytest.mark.parametrize(("yes", "silent"), [(False, False), (True, False), (False, True)])
def test_a_word_that_nobody_here_gives_is_told_of_once_and_waited_for_never(
    capsys: pytest.CaptureFixture[str], yes: bool, silent: bool
) -> None:
    """No terminal to ask on, or whoever runs the replay may not approve: it goes on, and the run expires by the replay's own clock."""
    caller = Caller(approves=False)
    with shown(caller, yes, silent) as show:
        for _tick in range(5):
            show.run("retrain-1", TRAFFIC_MOVES)
        show.rest()
    said = capsys.readouterr()
    assert (said.err if silent else said.out).count("the replay goes on, and retrain-1 waits") == 1
    assert ("cannot also approve it" in said.err) == yes
    caller.approved, caller.waits = True, False  # from another terminal
    with shown(caller, yes, silent) as show:
        show.rest()


def test_a_word_from_elsewhere_lets_it_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    caller = Caller(approves=False)
    with shown(caller, yes=False) as show:
        show.run("retrain-1", TRAFFIC_MOVES)
        caller.approved, caller.waits = True, False
        show.run("retrain-1", TRAFFIC_MOVES)
        show.rest()
    said = capsys.readouterr().out
    assert said.count("is the champion now") == 1 and said.count("waits for approval") == 1
