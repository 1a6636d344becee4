"""Release: version -> replay -> a person's word -> endpoint -> smoke test -> traffic by the config's strategy, or all the way back."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.config.spec import STAGES, Stage
from modelyard.durable import Run
from modelyard.errors import BadInput, GateRefused
from modelyard.events import ConfigInForce, Deployed, Event, Promoted, RolledBack
from modelyard.flows import endpoints, replaying
from modelyard.flows.approval import admit
from modelyard.flows.moves import Move
from modelyard.flows.shifting import shift
from modelyard.flows.site import Order
from modelyard.flows.watching import KEPT
from modelyard.workshop import Workshop


def release(shop: Workshop, run: Run, version: str, *, by: str, retrained: bool = False, stages: tuple[Stage, ...]) -> None:
    """Take a version through stages by the run's own config, which is in force once the version is let into production.

    Raises GateRefused where the replay, a smoke test, an alarm or a person says no, Unavailable where a front dies in a smoke test and
    does not come back.
    """
    order = Order(**run.args)
    predicted = 0.0
    for stage in stages:
        if stage == "production":  # before anybody is asked, so that who gives the word has seen it
            predicted = replaying.gate(shop, run, version, order.of_stage(stage))
        admit(shop, run, version, stage, order, by=by, retrained=retrained)
        if stage == "production":
            enforce(shop, run, order)
        with shop.busy(f"{run.model}-{stage}"):
            champion = run.step(f"{stage}: champion", lambda at=stage: shop.model(run.model).stage(at).champion)
            move = Move(shop, run, version, stage, champion, order.of_stage(stage))
            if stage == "production" and champion not in (None, version):
                shift(move, predicted)
            else:
                _replace(move)
    if "production" in stages:
        run.step("champion in MLflow", _alias, shop, run, version)


def enforce(shop: Workshop, run: Run, order: Order) -> None:
    """Let production, its monitors, alerts and governor go by the run's config from now on."""
    if shop.model(run.model).config_digest != order.digest or not shop.model(run.model).in_force:
        run.tell("config in force", ConfigInForce(run.model, run.id, order.digest, order.configs, order.folder))


def reconfigure(shop: Workshop, run: Run, order: Order) -> None:
    """Put a config in force that asks for no new version, once the endpoints have taken it up: where one cannot, as on a port that is
    taken, the old one stays in force, and whoever asks again is not told that there is nothing to do."""
    for stage in STAGES:
        if shop.model(run.model).stage(stage).weights:
            run.step(f"{stage}: apply config", _reapply, shop, run.model, stage, order)
    enforce(shop, run, order)


def _reapply(shop: Workshop, model: str, stage: Stage, order: Order) -> None:
    """Let the stage's endpoint take up a new config with the versions that it serves."""
    with shop.busy(f"{model}-{stage}"):
        weights = shop.model(model).stage(stage).weights
        state = endpoints.serve(shop, model, stage, weights, order.of_stage(stage), folder=order.folder)
        shop.record([Deployed(model, stage, state.address, weights, "by a new config")])


# -- all at once ----------------------------------------------------------------------------------------------------------------


def _replace(move: Move) -> None:
    """A stage's first version, staging's next one, or a champion deployed anew: no traffic to lead over step by step."""
    run, stage = move.run, move.stage
    run.step(f"{stage}: deploy", move.serve, {move.version: 100}, "deployed")
    with move.unblamed():
        wrong = run.step(f"{stage}: smoke test", move.smoke_test)
    if wrong is not None:
        run.step(f"{stage}: roll back", move.back, wrong)
        raise GateRefused(f"the smoke test failed: {wrong}")
    run.step(f"{stage}: promote", move.promote, "first version" if move.champion is None else "all at once")


def _alias(shop: Workshop, run: Run, version: str) -> None:
    shop.store.alias(run.model, "champion", shop.version(run.model, version))
    shop.store.alias(run.model, "challenger", None)


# -- back, on a person's word ---------------------------------------------------------------------------------------------------


def roll_back(shop: Workshop, run: Run, *, by: str) -> str:
    """Give production back to the version that held it before. Returns that version. Raises BadInput when there is none."""
    now, to = run.step("to", _before, shop, run.model)
    with shop.busy(f"{run.model}-production"):
        run.step("roll back", Move(shop, run, now, "production", to, shop.config(run.model)).back, f"asked by {by}")
    run.step("champion in MLflow", _alias, shop, run, to)
    return str(to)


ENDED = {"production: roll back", "production: promote"}
"""Steps after which no traffic moves any more."""


def moving(shop: Workshop, model: str) -> str | None:
    """The run that leads production traffic over now; there is one at the most, since an endpoint is changed by one run at a time."""
    for run in reversed(list(shop.model(model).runs.values())):
        if run.status == "running" and (shop.home.runs / run.run / KEPT).exists() and not ENDED & set(run.steps):
            return run.run
    return None


def forsake(shop: Workshop, model: str, *, live: bool) -> None:
    """Give all production traffic back to the champion after a roll-out was abandoned halfway; nobody watches a split then."""
    stage = shop.model(model).stage("production")
    if stage.champion is None:
        return
    weights, up = {stage.champion: 100}, shop.target.endpoint(endpoints.name(model, "production")) if live else None
    if stage.weights == weights and (up is None or len(up.variants) == 1):  # a shadow has no weight, and is asked all the same
        return
    address = endpoints.serve(shop, model, "production", weights).address if live else stage.address
    shop.record([Deployed(model, "production", address, weights, "the roll-out was abandoned")])


def _before(shop: Workshop, model: str) -> list[str]:
    """The version that holds production and the one that held it before."""
    held = holders(entry.event for entry in shop.journal.entries(model))
    if len(held) < 2:
        raise BadInput(f"`{model}` has no earlier version in production to go back to", next="`modelyard status` shows its versions")
    return [held[-1], held[-2]]


def holders(events: Iterable[Event]) -> list[str]:
    """Versions that were promoted in production and not taken back, oldest first; the last one holds it now.

    A version that a roll-out tried in vain never held it, so that nobody goes back to it.
    """
    held: list[str] = []
    for event in events:
        if isinstance(event, Promoted) and event.stage == "production":
            held = [v for v in held if v != event.version] + [event.version]
        elif isinstance(event, RolledBack) and event.stage == "production" and event.to in held:
            held = held[: held.index(event.to) + 1]
    return held
