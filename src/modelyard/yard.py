"""The yard: everything a person can ask for, one method each. CLI, API and console call these and nothing else.

The story, top to bottom: a config is loaded and planned; `up` builds a version, releases it through staging and a person's word into
production, and keeps watching it; monitors judge what was captured; the governor asks for a retraining, which is a build and a
release again. The chapters are in `flows/`.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from modelyard import schedules
from modelyard.build import early
from modelyard.clock import Clock
from modelyard.config.check import check
from modelyard.config.load import Loaded, load
from modelyard.config.plan import plan_stages
from modelyard.config.spec import STAGES, Stage
from modelyard.durable import Run, RunRecord
from modelyard.errands import Errands, Tell, nobody
from modelyard.errors import BadConfig, BadInput, Unavailable
from modelyard.events import RunnerFailed
from modelyard.flows import (
    approval,
    batch,
    constraining,
    datasets,
    endpoints,
    explanation,
    holdout,
    importing,
    keys,
    labelling,
    lineage,
    picturing,
    replaying,
    reporting,
    reproduce,
    requesting,
    rollouts,
    status,
    trying,
)
from modelyard.flows.build import build
from modelyard.flows.release import forsake, moving, reconfigure, release, roll_back
from modelyard.flows.retrain import retrain
from modelyard.flows.shifting import ABORT
from modelyard.flows.site import Order
from modelyard.flows.steps import same_code, settled
from modelyard.going import Going
from modelyard.home import Home
from modelyard.quality.metrics import GREATER_IS_BETTER, names_for
from modelyard.targets.local import LocalTarget
from modelyard.upkeep import Upkeep
from modelyard.workshop import Workshop

UNKEPT = "its schedule cannot be kept"
"""How a person is told of a model whose look failed."""


class Yard:
    """Owns a home from `open` to `close`. Raises HomeLocked where another process does.

    `lasts`: its endpoints go on when its process is killed, and the next owner takes them over.
    """

    def __init__(self, home: Path, clock: Clock | None = None, *, lasts: bool = False) -> None:
        self.home = Home(home)
        self.home.lock()
        try:
            self.shop = Workshop(self.home, LocalTarget(self.home, self._runner_failed, self._row_refused, lasts=lasts), clock)
        except BaseException:
            self.home.unlock()
            raise
        self._closing = threading.Event()
        self._upkeep = Upkeep(self.shop, self._closing)
        self._watcher: threading.Thread | None = None
        self.opened = False
        self._flows: dict[str, Callable[[Run], str]] = {
            "up": self._up,
            "build": self._build,
            "deploy": self._deploy,
            "rollback": self._roll_back,
            "monitor": lambda run: self.errands.asked(run),
            "retrain": self._retrain,
            "reproduce": self._reproduce,
            "batch": self._batch,
        }
        self._going = Going(self.shop, self._flows, self._upkeep, self._closing)
        self._batches = batch.Batches()
        self.errands = Errands(self.shop, self._going, self._upkeep, self._start)

    # -- life ----------------------------------------------------------------------------------------------------------------

    def open(self) -> Yard:
        """Bring up the endpoints that the state says are live; `watch` tries those again that do not come up."""
        self._upkeep.restore()
        self.opened = True
        return self

    def resume(self) -> None:
        """Go on with every run that was cut short."""
        for record in self.shop.runs.unfinished():
            self._going.launch(record)

    def start_watching(self) -> None:
        """Look at the schedules from now on, in a thread that `close` waits for."""
        self._watcher = threading.Thread(target=self.watch, name="schedules", daemon=True)
        self._watcher.start()

    def watch(self) -> None:
        """Look at the schedules, and after what failed, until `close`; the server's own thread."""
        schedules.Schedules(
            self.shop,
            self._closing,
            next=self.errands.next_time,
            look=self.tick,
            mend=self._mend,
            failed=self._unkept,
            well=self._kept,
            over=lambda model: self._upkeep.pauses.over(f"schedule {model}"),
        ).watch()

    def _mend(self, model: str) -> None:
        """Go on with what was cut short, bring up what did not come up, see to what was captured."""
        self._going.go_on(model)
        self._upkeep.retry(model)
        self._upkeep.tidy(model)

    def _unkept(self, model: str, exc: Exception) -> None:
        self._upkeep.pauses.failed(f"schedule {model}")
        self._upkeep.trouble(model, "pipeline_failed", f"{model}: {UNKEPT}", exc)

    def _kept(self, model: str) -> None:
        self._upkeep.pauses.forget(f"schedule {model}")
        self._upkeep.forgive(model, f"{model}: {UNKEPT}")

    def close(self) -> None:
        """Stop runs at their next step, end every process, let go of the home. What is unfinished goes on at the next start."""
        self._closing.set()
        self.shop.runs.stop()
        if self._watcher is not None:
            self._watcher.join()
        self.shop.target.close()
        self._going.close()
        self._upkeep.close()
        self.shop.close()
        self.home.unlock()

    def _runner_failed(self, model: str, stage: str, version: str, reason: str) -> None:
        self._upkeep.died(model, stage, version, reason)
        self.shop.record([RunnerFailed(model, stage, version, reason)])

    def _row_refused(self, model: str, stage: str, version: str, reason: str) -> None:
        """It killed two runners, which are told of by themselves: one row makes no crash loop."""
        self.shop.record([RunnerFailed(model, stage, version, reason)])

    # -- runs ----------------------------------------------------------------------------------------------------------------

    def wait(self, run: str, timeout: float | None = None) -> dict[str, Any]:
        """How a run ended, after waiting for its end."""
        return self._going.wait(run, timeout)

    def run(self, run: str) -> dict[str, Any]:
        """A run as the state knows it. Raises NotFound."""
        return self._going.run(run)

    def follow(self, run: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        """What happens in a run, item by item, until it ends or this process closes."""
        return self._going.follow(run, offset)

    def news(self, run: str, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
        """What is new in a run's feed; see `Going.news`."""
        return self._going.news(run, offset)

    def logs(self, what: str) -> dict[str, Any]:
        """The feed of a run, or of a model's newest run. Raises NotFound."""
        return self._going.logs(what)

    # -- verbs: from config to production ------------------------------------------------------------------------------------

    def plan(self, config: str) -> dict[str, Any]:
        """What a config would change against what runs, every loosened gate flagged."""
        loaded = load(Path(config))
        known = self.shop.state.get(loaded.config.model.name)
        before: Any = known.config if known and known.config else None
        changes = plan_stages(before, loaded.canonical(), greater_is_better=GREATER_IS_BETTER)
        return {"model": loaded.config.model.name, "digest": loaded.digest, "changes": [asdict(change) for change in changes]}

    def up(self, config: str, by: str, *, cache: bool = True, refresh: bool = False) -> dict[str, Any]:
        """Build, release, watch. A run of the same config that was cut short goes on instead of a new one."""
        return self._begin("up", config, by, cache=cache, refresh=refresh)

    def build(self, config: str, by: str, *, cache: bool = True, refresh: bool = False) -> dict[str, Any]:
        """Build and register a version, for continuous integration; nothing is deployed.

        Without `cache` every step is done again, also where nothing changed; `refresh` resolves the requirements anew.
        """
        return self._begin("build", config, by, cache=cache, refresh=refresh)

    def _begin(self, flow: str, config: str, by: str, **how: bool) -> dict[str, Any]:
        loaded = load(Path(config))
        known = names_for(loaded.config.model.problem_type, at=loaded.config.evaluate.at)
        problems = check(loaded, metrics=known, greater_is_better=GREATER_IS_BETTER)
        with self._going.deciding:  # of two that ask for the same at once, the second gets the first one's run
            kept = self._cut_short(loaded.config.model.name, flow, loaded, how)
            if problems and (kept is None or not settled(self.shop, kept)):
                raise BadConfig(problems)
            self._make_way(loaded.config.model.name, flow, kept)
            return self._go_on_or_start(flow, config, loaded, kept, by, how)

    def _go_on_or_start(
        self, flow: str, config: str, loaded: Loaded, kept: RunRecord | None, by: str, how: dict[str, bool]
    ) -> dict[str, Any]:
        model, planned = loaded.config.model.name, self.plan(config)
        loosened = [c["sentence"] for c in planned["changes"] if c["loosens"]]
        if kept is not None:
            offset = 0 if kept.id in self._going else self.shop.runs.feed(kept.id).size()
            self._going.launch(kept)
            return {"run": kept.id, "model": model, "resumed": True, "offset": offset, **planned}
        order = Order(
            {str(stage): values for stage, values in loaded.canonical().items()},
            loaded.digest,
            str(loaded.folder),
            by,
            loosened,
            file=loaded.path.name,
            cache=how["cache"],
            refresh=how["refresh"],
        )
        id = early.reserved(flow, loaded.path)
        record = self.shop.runs.start(model, flow, asdict(order), by=by, config_digest=loaded.digest, id=id)
        self._going.launch(record)
        return {"run": record.id, "resumed": False, "offset": 0, **planned}

    def _cut_short(self, model: str, flow: str, loaded: Loaded, how: dict[str, bool]) -> RunRecord | None:
        """A run of this very config and code to go on with."""
        for record in self.shop.runs.unfinished(model):
            same = (record.flow, record.args.get("digest")) == (flow, loaded.digest) and how.items() <= record.args.items()
            if same and same_code(self.shop, record, loaded):
                return record
        return None

    def _make_way(self, model: str, flow: str, kept: RunRecord | None) -> None:
        """Put aside what waits under other words, and end what was cut short; other work that is under way refuses."""
        for record in self.shop.runs.unfinished(model):
            if record.flow in ("monitor", "batch") or (kept is not None and record.id == kept.id):
                continue
            if record.id not in self._going:
                self.shop.runs.end(record, "abandoned", "the config or the code changed since it was cut short")
                forsake(self.shop, model, live=self.opened)
            elif self.run(record.id)["awaiting"]:
                approval.put_aside(self.shop, model, f"a newer {flow} took its place")
                self._going.wait(record.id)
            else:
                raise BadInput(f"{record.flow} {record.id} of `{model}` is under way", next=f"follow it with `modelyard logs {record.id}`")

    def deploy(self, model: str, version: str | None, stage: Stage | None, by: str) -> dict[str, Any]:
        """Release a version: through both stages, or into one."""
        return self._change("deploy", model, by, version=self.shop.version(model, version).version, because=stage or "")

    def rollback(self, model: str, by: str) -> dict[str, Any]:
        """Give production back to the version that held it before; a roll-out under way is taken back instead."""
        run = moving(self.shop, model)
        if run is not None and run in self._going and self.shop.runs.send(run, ABORT, {"by": by}):
            return {"run": run, "model": model, "aborted": True}
        return self._change("rollback", model, by)

    def rollout(self, model: str, word: str, by: str) -> dict[str, Any]:
        """The roll-out under way (`status`), or a person's word to it: `abort`, or `promote` for an A/B test that a person decides."""
        self.shop.model(model)
        return rollouts.status(self.shop, model) if word == "status" else rollouts.decide(self.shop, model, word, by=by)

    def replayed(self, model: str, version: str) -> dict[str, Any]:
        """The replay that judged a version before it entered production. Raises NotFound."""
        return replaying.of_version(self.shop, model, version)

    def compare(self, model: str, version: str | None, other: str | None, last: int | None) -> dict[str, Any]:
        """Two versions side by side on the newest captured requests; the newest against the champion, where none are named."""
        return replaying.side_by_side(self.shop, model, version, other, last)

    def retrain(self, model: str, by: str, *, cache: bool = True) -> dict[str, Any]:
        """Build a challenger on what is known now, on a person's word: the governor's brakes hold nobody back. Without `cache` also on
        the very rows that a version was made of."""
        return self._change("retrain", model, by, learn_until=self.shop.clock.now().isoformat(), because=f"asked by {by}", cache=cache)

    def reproduce(self, model: str, version: str | None, by: str) -> dict[str, Any]:
        """Build a version again from its own code, data and lock, and compare."""
        asked = reproduce.order(self.shop, model, self.shop.version(model, version).version, by=by)
        return self._start("reproduce", model, asked)

    def _change(self, flow: str, model: str, by: str, **words: Any) -> dict[str, Any]:
        """A run on a person's word, by the config in force, or the version's own where none is in force yet."""
        state = self.shop.model(model)
        if flow != "rollback":
            with self._going.deciding:
                self._make_way(model, flow, None)
        if not state.in_force and (version := words.get("version")):
            found = self.shop.version(model, version)
            configs = json.loads((self.shop.bundle(found) / "config.json").read_text(encoding="utf-8"))
            return self._start(flow, model, Order(configs, found.config_digest, state.folder, by, [], **words))
        return self._start(flow, model, Order(state.config, state.config_digest, state.folder, by, [], **words))

    def _start(self, flow: str, model: str, order: Order, id: str | None = None) -> dict[str, Any]:
        record = self.shop.runs.start(model, flow, asdict(order), by=order.by, because=order.because, config_digest=order.digest, id=id)
        self._going.launch(record)
        return {"run": record.id, "model": model}

    # -- the flows, by name --------------------------------------------------------------------------------------------------

    def _up(self, run: Run) -> str:
        order, version = Order(**run.args), build(self.shop, run)
        champion = run.step("champion", lambda: self.shop.model(run.model).champion)
        found = self.shop.version(run.model, version)
        if champion is not None and version == champion:
            self._reconfigure(run, order, champion)
            return f"{run.model}:{version} is in production already"
        if found.run != run.id and found.set_aside:
            again = f"to try it again: modelyard deploy {run.model}:{version}"
            return f"{run.model}:{version} stays out of production: {found.set_aside} ({again})"
        release(self.shop, run, version, by=run.args["by"], stages=STAGES)
        return f"{run.model}:{version} is in production"

    def _reconfigure(self, run: Run, order: Order, champion: str) -> None:
        """Put a config in force that asks for no new version. One that loosens a gate needs the word that a version would need."""
        if not run.step("compare config", lambda: bool(self.shop.model(run.model).config_digest != order.digest)):
            return
        if order.loosened:
            approval.admit(self.shop, run, champion, "production", order, by=order.by, retrained=False)
        reconfigure(self.shop, run, order)

    def _build(self, run: Run) -> str:
        return f"built {run.model}:{build(self.shop, run)}"

    def _deploy(self, run: Run) -> str:
        stages = STAGES if not run.args["because"] else (run.args["because"],)
        release(self.shop, run, run.args["version"], by=run.args["by"], stages=stages)
        return f"{run.model}:{run.args['version']} is in {stages[-1]}"

    def _roll_back(self, run: Run) -> str:
        return f"{run.model}:{roll_back(self.shop, run, by=run.args['by'])} is in production again"

    def _retrain(self, run: Run) -> str:
        return retrain(self.shop, run)

    def _reproduce(self, run: Run) -> str:
        return reproduce.reproduce(self.shop, run)

    def _batch(self, run: Run) -> str:
        return batch.scheduled(self.shop, run)

    # -- verbs: people -------------------------------------------------------------------------------------------------------

    def approve(self, model: str, version: str | None, by: str, comment: str = "") -> dict[str, Any]:
        """Let a waiting version in."""
        word = approval.decide(self.shop, model, version, approved=True, by=by, comment=comment)
        return {**word.to_dict(), "sentence": str(word)}

    def reject(self, model: str, version: str | None, by: str, comment: str = "") -> dict[str, Any]:
        """Keep a waiting version out."""
        word = approval.decide(self.shop, model, version, approved=False, by=by, comment=comment)
        return {**word.to_dict(), "sentence": str(word)}

    def status(self, model: str | None = None) -> list[dict[str, Any]]:
        """Every model, or one."""
        return status.overview(self.shop) if model is None else [status.of_model(self.shop, self.shop.model(model))]

    def journal(self, model: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries, oldest first. Raises NotFound for a model that there is not."""
        if model is not None:
            self.shop.model(model)
        return [entry.to_dict() for entry in self.shop.journal.entries(model, limit=limit)]

    def verify_journal(self) -> dict[str, int]:
        """Recompute the journal's chain of hashes. Raises YardError, naming the first entry that does not hold."""
        return {"entries": self.shop.journal.verify()}

    def who_served(self, prediction: str | None = None, model: str | None = None, at: str | None = None) -> dict[str, Any]:
        """Who answered: by a prediction's id, or for a model at a time."""
        if prediction is not None:
            return lineage.of_prediction(self.shop, prediction, model)
        if model is None or at is None:
            raise BadInput("name a prediction, or a model and a time", next="modelyard who-served --prediction ID, or MODEL --at TIME")
        return lineage.at(self.shop, model, at)

    # -- verbs: keys ---------------------------------------------------------------------------------------------------------

    def create_key(self, model: str, stage: Stage, name: str, by: str) -> dict[str, Any]:
        """A new API key of an endpoint, shown this once."""
        return keys.create(self.shop, model, stage, name, by)

    def revoke_key(self, model: str, stage: Stage, name: str, by: str) -> dict[str, Any]:
        """Let a key in no more."""
        return keys.revoke(self.shop, model, stage, name, by)

    def list_keys(self, model: str, stage: Stage) -> list[dict[str, Any]]:
        """Who has a key to an endpoint."""
        return keys.listed(self.shop, model, stage)

    # -- verbs: data ---------------------------------------------------------------------------------------------------------

    def predict(self, model: str, body: bytes, content_type: str) -> Any:
        """Ask the production endpoint. Raises Unavailable when it is not up."""
        state = self.shop.target.endpoint(endpoints.name(model, "production"))
        if not self.shop.model(model).stage("production").weights or state is None:
            raise Unavailable(f"`{model}` has no endpoint that is up", next="bring it up with `modelyard up --detach`")
        return json.loads(holdout.post(state.address, body, content_type=content_type, own=state.own))

    def trial(self, model: str, stage: Stage) -> dict[str, Any]:
        """What a stage's endpoint takes, with an example: see `trying.form`. Raises Unavailable when it is not up."""
        return trying.form(self.shop, model, stage)

    def tried(self, model: str, stage: Stage, values: dict[str, str], *, explain: bool) -> dict[str, Any]:
        """What a stage's endpoint answers to one row; see `trying.ask`."""
        return trying.ask(self.shop, model, stage, values, explain=explain)

    def batch(self, model: str, version: str | None, source: str, target: str, *, id: str = "", **how: Any) -> dict[str, Any]:
        """Predict a file into a file, or the files of a folder into those of another; `how` as `flows.batch.batch` takes it. `id` is what
        whoever waits for it calls it: one of their own, by which `stop_batch` ends it."""
        return self._batches.run(id or uuid.uuid4().hex, self.shop, model, version, Path(source), Path(target), **how)

    def stop_batch(self, id: str) -> dict[str, bool]:
        """End a batch that somebody waits for. What is done of it stays."""
        return {"stopped": self._batches.stop(id)}

    def explain(self, model: str, version: str | None, id: str | None, rows: str | None) -> dict[str, Any]:
        """How a version came to its outputs: for a kept row, for the rows of a file, or overall."""
        return explanation.of_version(self.shop, model, version, id, Path(rows) if rows else None)

    def constraints(self, model: str, version: str | None, window: str | None = None, judge: str | None = None) -> dict[str, Any]:
        """What a version's columns must hold; or what a window, or the statistics.json `judge`, breaks of it. See `constraining`."""
        if judge is not None:
            return constraining.of_statistics(self.shop, model, Path(judge), version)
        return constraining.of_version(self.shop, model, version) if window is None else constraining.of_window(self.shop, model, window)

    def report(self, model: str, version: str | None) -> dict[str, Any]:
        """A version's model card as it stands today: what it was built as, and what became of it."""
        return reporting.of_version(self.shop, model, version)

    def labels(self, model: str, file: str) -> dict[str, Any]:
        """Take labels in: a file with the model's id and target columns, or `inference_id` and `label`; or SageMaker's ground truth."""
        return labelling.of_file(self.shop, model, Path(file))

    def take_labels(self, model: str, data: bytes, content_type: str) -> dict[str, Any]:
        """Take in labels that were sent, as `labels` does those of a file."""
        return labelling.of_bytes(self.shop, model, data, content_type)

    def label_coverage(self, model: str, since: str = "", until: str = "") -> dict[str, Any]:
        """How much of each window is labelled, and up to when labels are complete. Times as a person writes them, in the model's zone."""
        zone = picturing.zone_of(self.shop.model(model))
        first, last = picturing.bounds(zone, since, until, self.shop.clock.now())
        begin, end = (datetime.fromisoformat(bound) if given else None for given, bound in ((since, first), (until, last)))
        return labelling.coverage(self.shop, model, begin, end)

    def request_labels(self, model: str, target: str, **how: Any) -> dict[str, Any]:
        """Write the predictions to ask people about to a file; `how` as `flows.requesting.request` takes it."""
        return requesting.request(self.shop, model, Path(target), **how)

    def take_captured(self, model: str, folder: str) -> dict[str, Any]:
        """Take in what SageMaker's data capture wrote below a folder, for the monitors to judge."""
        return importing.take(self.shop, model, Path(folder))

    def windows(
        self, model: str, since: str = "", until: str = "", monitor: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """What the monitors said of each window, oldest first; the word that holds on each, and the newest `limit` of them."""
        return [asdict(word) for word in picturing.listed(self.shop, model, since, until, monitor, limit)]

    def count_windows(self, model: str, since: str = "", until: str = "", monitor: str | None = None) -> dict[str, int]:
        """How many words hold on the windows of a span."""
        return {"windows": picturing.counted(self.shop, model, since, until, monitor)}

    def window_report(self, model: str, since: str = "", until: str = "", window: str = "") -> dict[str, Any]:
        """The report of a window or a span: see `picturing.of_span`."""
        return picturing.of_span(self.shop, model, since, until, window)

    def monitor(self, model: str, by: str) -> dict[str, Any]:
        """Look at every window that is due, now."""
        state = self.shop.model(model)
        return self._start("monitor", model, Order({}, state.config_digest, "", by, []))

    def data_diff(self, a: str, b: str) -> dict[str, Any]:
        """Two tables, snapshots or versions' data side by side."""
        return datasets.diff(self.shop, a, b)

    def data_list(self, model: str | None) -> list[dict[str, Any]]:
        """The snapshots there are, or those of a model, and which versions use them."""
        return datasets.listed(self.shop, model)

    def data_profile(self, what: str) -> dict[str, Any]:
        """What a table, snapshot or version's data holds, column by column."""
        return datasets.profiled(self.shop, what)

    def data_reread(self, model: str) -> dict[str, Any]:
        """Have the next build read an incremental source whole."""
        return datasets.reread(self.shop, model)

    def retraining(self, model: str) -> str | None:
        """The retraining of a model that is under way."""
        return self._under_way(model, "retrain")

    def _under_way(self, model: str, flow: str) -> str | None:
        runs = self.shop.model(model).runs.values()
        return next((r.run for r in runs if r.flow == flow and r.status == "running"), None)

    def halt(self) -> None:
        """Let every run stop at its next step; they go on at the next start."""
        self._closing.set()
        self.shop.runs.stop()

    # -- time ----------------------------------------------------------------------------------------------------------------

    def tick(self, model: str, tell: Tell = nobody) -> str | None:
        """Do what the model's schedules ask for by now. Returns the retraining that it started, if it did."""
        return self.errands.tick(model, tell)

    def look(self, model: str, tell: Tell = nobody) -> str | None:
        """Judge every window that is due, now, and ask the governor. Returns the retraining that it started, if it did."""
        return self.errands.look(model, tell)[1]
