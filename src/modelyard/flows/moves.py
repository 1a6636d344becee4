"""A move: one version entering a stage, and what every way in or back is made of."""

from __future__ import annotations

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
from modelyard.workshop import Workshop

SMOKE_ROWS = 20


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
        """Send rows of the hold-out to the live endpoint's variant and compare with what the build recorded. Returns what is wrong."""
        found = self.shop.version(self.model, self.version)
        opened = bundle.open(found.digest, self.shop.home.path)
        state = self.shop.target.endpoint(endpoints.name(self.model, self.stage))
        if state is None:
            raise Unavailable(f"the {self.stage} endpoint of {self.model} is not there")
        rows, expected = holdout.sample(opened.path, opened.signature, SMOKE_ROWS)
        try:
            result = smoke.compare(expected, holdout.ask(state.address, rows, opened.signature, variant=self.version, own=state.own))
        except YardError as exc:  # it answers with an error, or not at all: wrong too
            self.shop.runs.check_open()
            result = smoke.Smoke(False, f"the endpoint did not answer: {exc.what}")
        told = SmokeTested(self.model, self.stage, self.version, result.ok, result.sentence)
        return Outcome(None if result.ok else result.sentence, [told], result.sentence)

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
