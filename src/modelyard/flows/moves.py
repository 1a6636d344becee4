"""A move: one version entering a stage, and what every way in or back is made of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelyard.build import bundle
from modelyard.config.spec import Config, Stage
from modelyard.deploy import smoke
from modelyard.deploy.rollout import Rollout
from modelyard.durable import Outcome, Run
from modelyard.errors import Unavailable, YardError
from modelyard.events import Deployed, Promoted, RolledBack, SmokeTested
from modelyard.flows import endpoints, holdout
from modelyard.serve.refusals import NoRunner
from modelyard.signature import Signature
from modelyard.workshop import Workshop

SMOKE_ROWS = 20
FRONT_BACK, POLL = 60.0, 0.2
"""Seconds for which a smoke test waits for a front that died, and between two tries."""


class FrontDied(Unavailable):
    """The front died during a smoke test and was not back in time, or is gone. It runs no user code: the version is not at fault."""


@dataclass(frozen=True)
class Move:
    """A version entering a stage that `champion` holds (None where nobody does)."""

    shop: Workshop
    run: Run
    version: str
    stage: Stage
    champion: str | None
    config: Config

    @property
    def model(self) -> str:
        return self.run.model

    def serve(self, weights: dict[str, int], reason: str, rollout: Rollout | None = None) -> Outcome[dict[str, Any]]:
        """Make the endpoint serve these weights; while traffic moves, with the mirrors of the roll-out's step."""
        state = endpoints.serve(self.shop, self.model, self.stage, weights, self.config, rollout)
        told = Deployed(self.model, self.stage, state.address, {v: w for v, w in weights.items() if w}, reason)
        return Outcome({"address": state.address}, [told], f"{self.stage} at {state.address}")

    def smoke_test(self) -> Outcome[str | None]:
        """Send rows of the hold-out to the live endpoint's variant and compare with what the build recorded. Returns what is wrong.

        Raises FrontDied, which says nothing about the version.
        """
        found = self.shop.version(self.model, self.version)
        opened = bundle.open(found.digest, self.shop.home.path)
        rows, expected = holdout.sample(opened.path, opened.signature, SMOKE_ROWS)
        try:
            result = smoke.compare(expected, self._answers(rows, opened.signature))
        except FrontDied:
            raise
        except YardError as exc:  # it answers with an error, or not at all: wrong too
            self.shop.runs.check_open()
            result = smoke.Smoke(False, f"the endpoint did not answer: {exc.what}")
        told = SmokeTested(self.model, self.stage, self.version, result.ok, result.sentence)
        return Outcome(None if result.ok else result.sentence, [told], result.sentence)

    def _answers(self, rows: list[dict[str, Any]], signature: Signature) -> list[dict[str, Any]]:
        """What the live endpoint's variant answers. A front that dies meanwhile is started again by the target, and then asked again."""
        deadline, died = time.monotonic() + FRONT_BACK, False
        while True:
            state = self.shop.target.endpoint(endpoints.name(self.model, self.stage))
            if state is None:
                self.shop.runs.check_open()
                raise FrontDied(f"the {self.stage} endpoint of {self.model} is not there")
            try:
                return holdout.ask(state.address, rows, signature, variant=self.version, own=state.own)
            except holdout.Unanswered as exc:
                died, last = True, exc
            except YardError as exc:
                if not died or exc.code != NoRunner.code:  # else the new front is up, and has no way to the runner yet
                    raise
            self.shop.runs.check_open()
            if time.monotonic() > deadline:
                raise self._front_died(state.address) from last
            time.sleep(POLL)

    def _front_died(self, address: str) -> FrontDied:
        named = f"{self.model}:{self.version}"
        said = f"the front of the {self.stage} endpoint died in the smoke test of {named} and did not come back within {FRONT_BACK:g} s"
        folder, again = str(self.shop.home.endpoints / endpoints.name(self.model, self.stage)), f"`modelyard deploy {named}` tries again"
        return FrontDied(f"{said}; the version is not at fault", where=address, next=f"see front.log in {folder}; {again}")

    def withdraw(self, reason: str) -> Outcome[None]:
        """All traffic as it was before, with no word against the version: it may come again."""
        if self.champion == self.version:
            return Outcome(None, summary="there is no other version: it stays")
        if self.champion is None:
            return self.back(reason)
        return Outcome(None, self.serve({self.champion: 100}, reason).events, f"{self.model}:{self.champion} serves as before")

    @contextmanager
    def unblamed(self) -> Iterator[None]:
        """Where the platform fails in the block, and not the version, the version is withdrawn and the error goes on."""
        try:
            yield
        except FrontDied as exc:
            self.run.step(f"{self.stage}: withdraw", self.withdraw, exc.what)
            raise

    def back(self, reason: str) -> Outcome[None]:
        """All traffic to the old version; where there is none, the endpoint ends. A champion deployed anew stays: there is no other."""
        if self.champion == self.version:
            return Outcome(None, summary="there is no other version: it stays")
        if self.champion is None:
            self.shop.target.remove(endpoints.name(self.model, self.stage))
            return Outcome(None, [Deployed(self.model, self.stage, "", {}, reason)], "the endpoint is gone")
        outcome = self.serve({self.champion: 100}, "rolled back")
        told = RolledBack(self.model, self.stage, self.version, self.champion, reason)
        return Outcome(None, [*outcome.events, told], f"{self.model}:{self.champion} serves again")

    def promote(self, reason: str) -> Outcome[None]:
        return Outcome(None, [Promoted(self.model, self.stage, self.version, self.champion, reason)], reason)
