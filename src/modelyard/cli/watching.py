"""Commands that look: at models, runs, verdicts, and at who answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, complete_models, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import Screen, colour, follow, table


@click.command()
@click.argument("model", required=False, shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@JSON
def status(model: str | None, as_json: bool) -> None:
    """Show every model, or one MODEL in full: versions, stages, verdicts, and what waits for a word."""
    with asking() as caller:
        models = caller.call("status", model=model)
    if show(models, as_json):
        return
    if not models:
        click.echo("no model yet\n  next: modelyard up config.yaml")
    elif model is None:
        click.echo(table([_brief(m) for m in models], ["MODEL", "CHAMPION", "PRODUCTION", "DRIFT", "PERFORMANCE", "WAITING"]))
    else:
        _full(models[0])


def _brief(model: dict[str, Any]) -> list[str]:
    production = model["stages"]["production"]
    where = production["address"] if production["live"] else click.style("not up", dim=True) if production["weights"] else "-"
    verdicts = [colour(v["status"]) if (v := model["monitors"][kind]) else "-" for kind in ("drift", "performance")]
    waiting = ", ".join(f"{w['version']} for {w['stage']}" for w in model["awaiting"])
    return [model["model"], model["champion"] or "-", where, *verdicts, waiting or "-"]


def _full(model: dict[str, Any]) -> None:
    click.secho(f"{model['model']}  {model['problem_type']}  {model['owner'] or ''}", bold=True)
    for stage, state in model["stages"].items():
        shares = ", ".join(f"version {v} {w}%" for v, w in state["weights"].items()) or "nothing"
        click.echo(f"  {stage:<12} {shares}  {state['address'] if state['live'] else '(not up)' if state['weights'] else ''}")
    if (moving := model["rollout"]) is not None:
        alarms = "; ".join(f"{a['alarm']} {a['seen']}" for a in moving["alarms"] if a["alarm"] in ("errors", "latency", "disagreement"))
        step = f"version {moving['version']}, {moving['kind']} step {moving['step']}"
        click.echo(f"  {click.style('moves', fg='cyan')}        {step}: {alarms}")
        click.echo(f"    next: modelyard rollout {model['model']}")
    for kind, verdict in model["monitors"].items():
        if verdict:
            click.echo(f"  {kind:<12} {colour(verdict['status'])}  {verdict['start'][:10]}..{verdict['end'][:10]}  {verdict['reason']}")
    if model["last_decision"]:
        click.echo(f"  governor     {model['last_decision']}")
    for waiting in model["awaiting"]:
        click.echo(f"  {click.style('waits', fg='yellow')}        {waiting['sentence']}")
        click.echo(f"    next: modelyard approve {model['model']}:{waiting['version']}")
    click.secho("versions", bold=True)
    for version in model["versions"]:
        click.echo(f"  {version['version']:>3}  {version['registered_at'][:19]}  {version['digest'][:12]}  {'; '.join(version['gates'])}")
        answers = f"answers by {version['answers']}" if version["answers"] else ""
        for word in filter(None, (answers, *version["approvals"], *([version["replay"]["sentence"]] if version["replay"] else []))):
            click.echo(f"       {word}")
    click.secho("runs", bold=True)
    for run in model["runs"]:
        click.echo(f"  {run['run']:<20} {colour(run['status'])}  {run['reason']}")


@click.command()
@click.argument("what", metavar="MODEL|RUN", shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@JSON
def logs(what: str, as_json: bool) -> None:
    """Show what happened in a run, or in MODEL's newest one, with every line its steps wrote."""
    with asking() as caller:
        answer = caller.call("logs", what=what)
        if show(answer, as_json):
            return
        run = answer["run"]
        click.secho(f"{run['run']}  {run['model']}  {colour(run['status'])}  by {run['by']}  {run['because']}", bold=True)
        with Screen() as screen:
            for item in answer["items"]:
                screen.show(item)


@click.command()
@MODEL
@click.option("--now", is_flag=True, help="Judge every window that is due, now.")
@click.option("--captured", metavar="FOLDER", type=click.Path(path_type=Path), help="First take in SageMaker's data capture below FOLDER.")
@JSON
def monitor(model: str, now: bool, captured: Path | None, as_json: bool) -> int:
    """Show what MODEL's monitors said of each window; with --now, or with what was captured elsewhere, judge what is due first."""
    judges = now or captured is not None
    with asking(runs=judges) as caller:
        code = 0
        caller.call("status", model=model)  # a model that is not there has no verdicts, and should be said so
        if captured is not None:
            taken = caller.call("take-captured", model=model, folder=str(captured.resolve()))
            known = f", {taken['known']:,} known already" if taken["known"] else ""
            click.echo(f"{click.style('✓', fg='green')} {taken['rows']:,} captured rows taken in{known}", err=as_json)
        if judges:
            code = follow(caller, caller.call("monitor", model=model)["run"], as_json=as_json).code
        entries = caller.call("journal", model=model, limit=10_000)
    verdicts = [e["data"] for e in entries if e["kind"] == "WindowJudged"]
    if show(verdicts, as_json):
        return code
    if not verdicts:
        click.echo(f"no window has been judged yet\n  next: modelyard monitor {model} --now, once a window of traffic is over")
    rows = [[v["monitor"], f"{v['start'][:16]} .. {v['end'][:16]}", v["version"], colour(v["status"]), v["reason"]] for v in verdicts]
    click.echo(table(rows, ["MONITOR", "WINDOW (UTC)", "VERSION", "VERDICT", "REASON"]) if rows else "", nl=bool(rows))
    return code


@click.command(name="who-served")
@click.argument("model", required=False, shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@click.option("--prediction", metavar="ID", help="The inference id of a captured prediction.")
@click.option("--at", metavar="TIME", help="An instant, such as 2026-11-24T12:00:00+00:00.")
@JSON
def who_served(model: str | None, prediction: str | None, at: str | None, as_json: bool) -> None:
    """Say which version answered a prediction, or served MODEL at a TIME: its data, commit, gates and approver."""
    with asking() as caller:
        answer = caller.call("who-served", model=model, prediction=prediction, at=at)
    if show(answer, as_json):
        return
    if "prediction" in answer:
        row = answer["prediction"]
        click.echo(f"{prediction}: {row['y.prediction']} at {row['event_time']} in {answer['stage']}, {row['latency_ms']:.1f} ms")
    for version in [answer["version"]] if "version" in answer else answer["versions"]:
        _lineage(version, answer.get("weights", {}))


def _lineage(version: dict[str, Any], weights: dict[str, int]) -> None:
    share = f"  {weights[version['version']]}% of the traffic" if weights else ""
    click.secho(f"{version['model']}:{version['version']}{share}", bold=True)
    commit = version["commit"] or "not in Git"
    for name, value in (
        ("bundle", version["digest"]),
        ("data", version["data_digest"]),
        ("code", version["code_digest"]),
        ("commit", f"{commit}{' (with uncommitted changes)' if version['dirty'] else ''}"),
        ("environment", version["lock_digest"]),
        ("config", version["config_digest"]),
        ("because", version["because"]),
    ):
        if value:
            click.echo(f"  {name:<12} {value}")
    for gate in version["gates"]:
        click.echo(f"  gate         {gate}")
    for word in version["approvals"]:
        click.echo(f"  approval     {word['sentence']}")
