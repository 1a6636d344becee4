"""The replay gate: captured production requests through a new version and the champion, before anybody lets it in.

Both are asked on this machine and in the same way: by their row plans where both have one, else by runners of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.build.bundle import Bundle
from modelyard.config.spec import Config, Replay
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused, NotFound, StepFailed, Unavailable
from modelyard.events import ReplayJudged
from modelyard.flows import history, holdout, plans, replayed
from modelyard.flows.asking import TIMED, answers, asking
from modelyard.quality import comparison, comparison_page, paired
from modelyard.quality import metrics as measures
from modelyard.serve.comparing import disagrees
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

DOCUMENT, PAGE = "replay.json", "replay.html"
SAID = 5
"""Different reasons of failed rows that are told."""


@dataclass(frozen=True)
class Pair:
    """Two versions of a model beside each other."""

    shop: Workshop
    model: str
    version: str
    champion: str

    def bundles(self) -> tuple[Bundle, Bundle]:
        """The champion's and the new version's. Raises BadInput for a damaged one."""
        home = self.shop.home.path
        old, new = (bundle.open(self.shop.version(self.model, v).digest, home) for v in (self.champion, self.version))
        return old, new

    @property
    def names(self) -> tuple[str, str]:
        return f"{self.model}:{self.champion}", f"{self.model}:{self.version}"


MEASURED = Replay(last=1000, min_rows=1, max_disagreement=1.0, max_error_rate=1.0, on_fail="warn")
"""A replay that only measures."""
PREDICTS = 100
"""Rows that such a replay has to compare, or it foretells nothing: of a handful that are answered otherwise all may be, by chance, and the
alarm on disagreement would never ring."""


def gate(shop: Workshop, run: Run, version: str, config: Config) -> float:
    """Replay, where production has another version. Returns the share of rows answered otherwise, 0 where too few could be compared.
    Raises GateRefused where the config has a gate on it, and that blocks.

    Without one it is measured all the same: a version that learned from newer rows answers otherwise, and the alarm must know how far."""
    asked = config.deploy.replay or MEASURED
    champion = run.step("production: champion before the replay", lambda: shop.model(run.model).champion)
    if champion in (None, version):
        return 0.0
    judged = run.step("production: replay", _gate, Pair(shop, run.model, version, champion), run, config, asked)
    if judged["ok"] is False and asked.on_fail == "block":
        raise GateRefused(f"the replay of {run.model}:{version}: {judged['sentence']}")
    least = asked.min_rows if config.deploy.replay else PREDICTS
    return float(judged["disagreement"]) if judged["rows"] >= least else 0.0


def _gate(pair: Pair, run: Run, config: Config, asked: Replay) -> Outcome[dict[str, Any]]:
    folder = pair.shop.home.runs / run.id
    folder.mkdir(parents=True, exist_ok=True)
    found = compare(pair, config, asked, folder / "replay.log")
    (folder / DOCUMENT).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    (folder / PAGE).write_text(comparison_page.render(found), encoding="utf-8")
    verdict, measured = found["verdict"], found["measured"] or {"share": 0.0}
    evidence = {key: found[key] for key in ("rows", "errors", "latency", "metric")} | {"page": str(folder / PAGE)}
    told = ReplayJudged(
        pair.model, run.id, pair.version, pair.champion, verdict["ok"], asked.on_fail, measured["share"], verdict["sentence"], evidence
    )
    kept = {"ok": verdict["ok"], "sentence": verdict["sentence"], "disagreement": measured["share"], "rows": found["rows"]}
    return Outcome(kept, [told], verdict["sentence"])


def of_version(shop: Workshop, model: str, version: str) -> dict[str, Any]:
    """The document of the newest replay that judged a version. Raises NotFound where none did."""
    judged = shop.version(model, version).replay
    path = shop.home.runs / judged.run / DOCUMENT if judged is not None else None
    if path is None or not path.exists():
        raise NotFound(f"no replay judged {model}:{version}", next=f"compare it now: modelyard compare {model}:{version}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def side_by_side(shop: Workshop, model: str, version: str | None, other: str | None, last: int | None) -> dict[str, Any]:
    """The document of a comparison that a person asks for, by the bounds of the config in force. Raises BadInput for a version beside
    itself, or where there is no champion to stand beside."""
    state, config = shop.model(model), shop.config(model)
    one, two = shop.version(model, version).version, other or state.champion
    if two is None or one == two:
        raise BadInput(
            f"{model}:{one} has nothing to be compared with" if two is None else f"{model}:{one} cannot be compared with itself",
            next=f"name two versions, such as `modelyard compare {model}:2 {model}:1`",
        )
    pair = Pair(shop, model, one, shop.version(model, two).version)
    asked = (config.deploy.replay or Replay()).model_copy(update={"on_fail": "warn"})
    if last:
        asked = asked.model_copy(update={"last": last, "min_rows": min(asked.min_rows, last)})
    folder = shop.home.runs / "compare"
    folder.mkdir(parents=True, exist_ok=True)
    return compare(pair, config, asked, folder / f"{model}-{one}-{two}.log")


# -- beside each other ------------------------------------------------------------------------------------------------------------


def compare(pair: Pair, config: Config, asked: Replay, log: Path) -> dict[str, Any]:
    """The document of a comparison on the newest captured rows, JSON-ready; `verdict` is by `asked`."""
    old, new = pair.bundles()
    signed = {pair.champion: old.signature, pair.version: new.signature}
    table, notes = replayed.rows(pair.shop, pair.model, asked.last, signed, config.deploy.capture.redacted)
    names = pair.names
    found: dict[str, Any] = {
        "model": pair.model,
        "champion": names[0],
        "version": names[1],
        "made_at": pair.shop.clock.now().isoformat(timespec="seconds"),
        "rows": table.height,
        "notes": notes,
        "about": "",
        "measured": None,
        "metric": None,
        "latency": None,
        "errors": {"old": 0, "new": 0, "new_alone": 0, "said": []},
    }
    if table.height >= max(1, asked.min_rows):
        found |= _asked(pair, table, (old, new), config, log)
    return {**found, "verdict": _verdict(found, asked)}


def _asked(pair: Pair, table: pl.DataFrame, bundles: tuple[Bundle, Bundle], config: Config, log: Path) -> dict[str, Any]:
    """Both versions on the same rows, one after the other."""
    by_plan, found = all(plans.plan_of(b.path) is not None for b in bundles), []
    latency: dict[str, dict[str, float] | None] = {}
    timeout = config.deploy.realtime.timeout.total_seconds()
    for who, opened in zip(("old", "new"), bundles, strict=True):
        try:
            with asking(pair.shop, opened, by_plan=by_plan, log=log, timeout=timeout) as asked:
                outputs, failed = answers(asked, table)
                latency[who] = _latency(asked.time, table, failed)
        except (StepFailed, Unavailable, BadInput) as exc:
            pair.shop.runs.check_open()
            return {"trouble": {"who": who, "what": exc.what}}
        found.append((outputs, failed))
    (old, old_failed), (new, new_failed) = found
    alone = [b for a, b in zip(old_failed, new_failed, strict=True) if b and not a]
    said = list(dict.fromkeys(alone))[:SAID]
    errors = {"old": sum(map(bool, old_failed)), "new": sum(map(bool, new_failed)), "new_alone": len(alone), "said": said}
    both = [not (a or b) for a, b in zip(old_failed, new_failed, strict=True)]
    how = "their row plans" if by_plan else "runners of their own"
    return {
        "about": f"The newest {table.height:,} captured requests, asked of both versions by {how}, on one machine.",
        "errors": errors,
        "latency": latency if all(latency.values()) else None,
        **_measured(table.filter(both), old.filter(both), new.filter(both), bundles, pair, config),
    }


def _latency(time: Callable[[pl.DataFrame], dict[str, float]], table: pl.DataFrame, failed: list[str]) -> dict[str, float] | None:
    """p50 and p99 in ms of single rows that are answered; None where none is."""
    good = table.filter([not reason for reason in failed]).head(TIMED)
    return None if good.is_empty() else time(good)


def _measured(
    rows: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, bundles: tuple[Bundle, Bundle], pair: Pair, config: Config
) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    signature = bundles[0].signature
    one, other = ({"prediction": outputs[tables.PREDICTION].to_list()} for outputs in (old, new))
    differs = disagrees(one, other, signature, holdout.spread(bundles[0].path, signature))
    measured = comparison.measure(rows, old, new, differs, signature, config.evaluate.slices)
    return {"measured": measured, "metric": _metric(rows, old, new, bundles, pair)}


def _metric(rows: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, bundles: tuple[Bundle, Bundle], pair: Pair) -> dict[str, Any] | None:
    """The problem type's first metric of both on the rows whose labels are known; None without any."""
    import polars as pl

    signed = [b.signature for b in bundles]
    try:
        both = [history.labelled(pair.shop, pair.model, pl.concat([rows, outputs], how="horizontal")) for outputs in (old, new)]
    except BadInput:  # labels that are no answer of the model's: the performance monitor says so
        return None
    if not both[0][tables.LABEL].count():
        return None
    name = measures.names_of(signed[0])[0]
    trial = paired.bootstrap(both[0], both[1], signed[0], name, challenger_signature=signed[1])
    sign = 1 if measures.GREATER_IS_BETTER[name] else -1
    one, two = trial.champion[name], trial.challenger[name]
    if not (math.isfinite(one) and math.isfinite(two)):
        return None
    gains = sorted(sign * d for d in trial.differences if math.isfinite(d))
    low, high = (gains[round(q * (len(gains) - 1))] if gains else None for q in (0.025, 0.975))
    return {"metric": name, "rows": trial.rows, "old": one, "new": two, "gain": sign * (two - one), "low": low, "high": high}


# -- the verdict ------------------------------------------------------------------------------------------------------------------


def _verdict(found: dict[str, Any], asked: Replay) -> dict[str, Any]:
    """`ok` is None where there was too little to compare: then it lets pass, and says so."""
    trouble, measured, errors = found.get("trouble"), found["measured"], found["errors"]
    if trouble is not None and trouble["who"] == "new":
        return {"ok": False, "on_fail": asked.on_fail, "sentence": f"the new version cannot be asked: {trouble['what']}"}
    if trouble is not None:
        return {"ok": None, "on_fail": asked.on_fail, "sentence": f"nothing was compared: the champion cannot be asked: {trouble['what']}"}
    if found["rows"] < max(1, asked.min_rows):
        few = f"{found['rows']:,} captured rows, {asked.min_rows:,} are needed"
        why = found["notes"][0] if found["notes"] and not found["rows"] else few
        return {"ok": None, "on_fail": asked.on_fail, "sentence": f"nothing was compared: {why}"}
    if measured is None and not errors["new_alone"]:
        return {"ok": None, "on_fail": asked.on_fail, "sentence": "nothing was compared: no row was answered by both versions"}
    wrong, share = _wrong(found, asked), errors["new_alone"] / found["rows"]
    said = [f"{found['rows']:,} captured requests"]
    if measured is not None:
        said.append(f"{measured['share']:.2%} answered otherwise ({measured['low']:.2%} to {measured['high']:.2%})")
    said.append(f"{share:.2%} failed by the new version alone" if share else "none failed by the new version alone")
    if found["metric"] is not None:
        metric = found["metric"]
        said.append(f"{metric['metric']} {metric['new']:.4g} against {metric['old']:.4g} on {metric['rows']:,} labelled rows")
    return {"ok": not wrong, "on_fail": asked.on_fail, "sentence": "; ".join([*wrong, *(said if not wrong else said[:1])])}


def _wrong(found: dict[str, Any], asked: Replay) -> list[str]:
    """What is beyond its bound, in sentences."""
    measured, metric = found["measured"], found["metric"]
    failed, wrong = found["errors"]["new_alone"] / found["rows"], []
    if failed > asked.max_error_rate:
        why = f", such as: {found['errors']['said'][0]}" if found["errors"]["said"] else ""
        wrong.append(f"{failed:.2%} of the rows fail with the new version alone, and {asked.max_error_rate:.2%} may{why}")
    if measured is not None and measured["share"] > asked.max_disagreement:
        spread = f"{measured['low']:.2%} to {measured['high']:.2%}"
        wrong.append(f"{measured['share']:.2%} of the rows are answered otherwise ({spread}), and {asked.max_disagreement:.2%} may")
    if asked.min_metric_change is not None and metric is not None and metric["gain"] < asked.min_metric_change:
        numbers = f"{metric['new']:.4g} against {metric['old']:.4g} on {metric['rows']:,} labelled rows"
        wrong.append(f"{metric['metric']} {numbers} changes by {metric['gain']:+.3g}, and {asked.min_metric_change:+.3g} at least is asked")
    return wrong
