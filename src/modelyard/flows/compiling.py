"""The compile step: the fitted model written out as a row plan, proven equal to the model, and timed; or the reason why a runner serves.

The model's own runner extracts the plan (`modelyard.runtime.extract`), the platform checks and folds it (`modelyard.serve.plan`), and
holds it against the native model (flows/proving.py). Only a proven plan is kept.
"""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import asdict
from typing import Any

import msgspec

from modelyard import tables
from modelyard.durable import Outcome
from modelyard.errors import StepFailed, YardError
from modelyard.flows import evaluation, warmth
from modelyard.flows.plans import DOCUMENT, LATENCY, MADE, PLAN, said
from modelyard.flows.proving import Proof, Prover, Unequal
from modelyard.flows.session import running
from modelyard.flows.site import Site
from modelyard.serve import oracle, runner
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.edges import MOST, edge_rows
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.reading import read
from modelyard.signature import Signature

WARM_UP, REQUESTS, FEWEST = 50, 500, 20
"""Single rows asked before the clock runs, and while it does; of a slow plan fewer, as many as `SECONDS` allow."""
TOLERANCE = 1e-9
"""How far scores may lie from the model's own where neither the config nor the plan says otherwise."""
SECONDS = 2.0
"""How long the hold-out's rows are asked one by one, and are timed, and about how long edge rows are."""
FEWEST_EDGE_ROWS = 1_000
"""Edge rows of a slow plan; a fast one is asked `edges.MOST`."""
NEVER = {
    "r": "R holds the model",
    "custom": "a server of its own holds the model",
    **dict.fromkeys(("pytorch", "tensorflow"), "networks have no row plan"),
    "onnx": "models in ONNX have no row plan",
}
"""Frameworks whose models have no row plan, so that no runner need be started to say so."""


def compile(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Write compile.json and, where the plan is proven, plan.json. Returns {"status", "reason"}.

    compile.json: `status` (compiled, declined: the model cannot be written out, unequal: the plan did not answer as the model does, off),
    `reason` (of the last three a sentence), and of a plan `rows_proven` (`one_by_one` of them row by row too), `edge_rows`,
    `refused_alike`, `largest_difference` and `where`, `tolerance` and why it is larger than the config's (`tolerance_reason`), `source`,
    `bytes`, `microseconds` a row, `latency`.
    Raises StepFailed where `inference.compile` is `required` and there is no plan.
    """
    asked = site.config.inference
    for name in MADE:
        (site.folder / name).unlink(missing_ok=True)
    if asked.compile == "off":
        return _told(site, {"status": "off", "reason": "`inference.compile` is off"})
    found = {"status": "declined", "reason": NEVER[site.framework]} if site.framework in NEVER else _tried(site, lock, code)
    told = _told(site, found)
    if asked.compile == "required" and found["status"] != "compiled":
        raise StepFailed(
            f"the model has no row plan: {found['reason']}",
            where="inference.compile",
            next="change the model, or write `compile: auto`, which goes on with the runner",
        )
    return told


def _tried(site: Site, lock: str, code: dict[str, Any]) -> dict[str, Any]:
    """What compile.json says: of a proven plan, or why there is none. A version can do without, whatever goes wrong here."""
    signed, log = evaluation.signature(site), site.folder / "compile.log"
    try:
        with running(evaluation.loadable(site, lock, code), log, warmth.of(site)) as socket, oracle.asked(socket, signed) as model:
            return _compiled(site, signed, model)
    except oracle.Declined as exc:
        return {"status": "declined", "reason": str(exc)}
    except Unequal as exc:
        return {"status": "unequal", "reason": str(exc)}
    except YardError as exc:  # a plan that does not hold, a runner that died of being asked
        return {"status": "declined", "reason": exc.what}
    except Exception as exc:
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return {"status": "declined", "reason": f"an error of Modelyard's own, see {log.name}: {type(exc).__name__}: {exc}"[:500]}


def _told(site: Site, found: dict[str, Any]) -> Outcome[dict[str, Any]]:
    (site.folder / DOCUMENT).write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")
    return Outcome({key: found[key] for key in ("status", "reason")}, summary=said(found))


def _compiled(site: Site, signed: Signature, model: oracle.Oracle) -> dict[str, Any]:
    """The proven plan's document; the plan itself is written. Raises Declined, Unequal, BadInput, Unavailable."""
    import polars as pl

    asked, whole = site.config.inference, read(model.plan())
    plan = fold(whole)
    body, path = msgspec.json.encode(plan), site.folder / f".{PLAN}"
    path.write_bytes(body)
    ready, holdout = RowPlan.load(path, signed), pl.read_parquet(site.folder / "holdout.parquet")
    columns = {name: values.to_list() for name, values in runner.features(holdout, signed).items()}
    allowed = asked.tolerance.scores if asked.tolerance.scores is not None else max(TOLERANCE, plan.scores_tolerance or 0.0)
    prover = Prover(ready, signed, allowed)
    prover.holdout(columns, {name: holdout[tables.output(name)].to_list() for name in signed.outputs}, SECONDS)
    rows = [[values[i] for values in columns.values()] for i in range(min(holdout.height, WARM_UP + REQUESTS))]
    latency = timed(ready, rows)
    if asked.compile != "required":
        _worth_it(site, latency)
    most = max(FEWEST_EDGE_ROWS, min(MOST, int(SECONDS * 1000 / latency["p50_ms"])))
    prover.edges(edge_rows(whole, plan, rows, most=most), model)  # of the whole plan too: an edge that folding lost shows
    path.replace(site.folder / PLAN)
    return {
        "status": "compiled",
        "reason": "",
        "source": plan.source,
        **_proven(prover.proof),
        "tolerance": allowed,
        "tolerance_reason": plan.reason if asked.tolerance.scores is None and allowed > TOLERANCE else "",
        "bytes": len(body),
        "microseconds": round(latency["p50_ms"] * 1000, 2),
        "latency": latency,
    }


def _worth_it(site: Site, latency: dict[str, Any]) -> None:
    """Raises Declined for a plan that is slower than the model itself: thousands of deep trees are, with a library of C++."""
    native = json.loads((site.folder / LATENCY).read_text(encoding="utf-8"))["p50_ms"]
    if latency["p50_ms"] > native:
        raise oracle.Declined(f"a row takes {latency['p50_ms']:.3g} ms by its row plan, and {native:.3g} ms by the model itself")


def _proven(proof: Proof) -> dict[str, Any]:
    found = asdict(proof)
    return {"rows_proven": found.pop("rows"), "largest_difference": found.pop("largest"), **found}


def timed(plan: RowPlan, rows: list[list[Any]]) -> dict[str, Any]:
    """How long single rows take: {"p50_ms", "p99_ms", "requests", "by"}; rows are asked in turn."""
    import numpy as np

    seconds: list[float] = []
    until = time.perf_counter() + SECONDS
    for number in range(WARM_UP + REQUESTS):
        row = rows[number % len(rows)]
        began = time.perf_counter()
        plan.row(row)
        seconds.append(time.perf_counter() - began)
        if began > until and number >= 2 * FEWEST:
            break
    counted = seconds[WARM_UP if len(seconds) == WARM_UP + REQUESTS else FEWEST :]
    p50, p99 = np.quantile(counted, [0.5, 0.99]) * 1000
    return {"p50_ms": round(float(p50), 5), "p99_ms": round(float(p99), 5), "requests": len(counted), "by": "row plan"}
